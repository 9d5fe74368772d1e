/* See held.h. One block an event: the struct, its arrays, its strings. */
#include "upstream/held.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct cut { /* what is left of the block */
    char *at;
};

static size_t rounded(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

static size_t size_of(const struct fg_event *ev)
{
    size_t n = rounded(sizeof(struct fg_held)) + rounded(sizeof(struct fg_usage)) +
               rounded(ev->text.len) + rounded(ev->name.len) + rounded(ev->id.len) +
               rounded(ev->value_count * sizeof *ev->values) +
               rounded(ev->logprob_count * sizeof *ev->logprobs);
    for (uint32_t i = 0; i < ev->logprob_count; i++) {
        const struct fg_logprob *l = &ev->logprobs[i];
        n += rounded(l->bytes.len) + rounded(l->top_count * sizeof *l->top);
        for (uint32_t t = 0; t < l->top_count; t++)
            n += rounded(l->top[t].bytes.len);
    }
    return n;
}

static void *copy(struct cut *c, const void *from, size_t len)
{
    void *to = c->at;
    if (len)
        memcpy(to, from, len);
    c->at += rounded(len);
    return to;
}

static void copy_str(struct cut *c, struct fg_str *s)
{
    s->ptr = copy(c, s->ptr, s->len);
}

static void copy_logprobs(struct cut *c, struct fg_event *ev)
{
    struct fg_logprob *all = copy(c, ev->logprobs, ev->logprob_count * sizeof *all);
    ev->logprobs = all;
    for (uint32_t i = 0; i < ev->logprob_count; i++) {
        copy_str(c, &all[i].bytes);
        if (!all[i].top_count)
            continue;
        struct fg_logprob *top = copy(c, all[i].top, all[i].top_count * sizeof *top);
        all[i].top = top;
        for (uint32_t t = 0; t < all[i].top_count; t++)
            copy_str(c, &top[t].bytes);
    }
}

struct fg_held *fg_held_copy(const struct fg_event *from)
{
    char *block = malloc(size_of(from));
    if (!block)
        return NULL;
    struct fg_held *h = (struct fg_held *)(void *)block;
    struct cut c = {block + rounded(sizeof *h)};
    struct fg_event *ev = &h->event;
    *ev = *from;
    ev->tokens = NULL; /* a remote server tells no ids */
    ev->token_count = 0;
    copy_str(&c, &ev->text);
    copy_str(&c, &ev->name);
    copy_str(&c, &ev->id);
    if (ev->usage)
        ev->usage = copy(&c, ev->usage, sizeof *ev->usage);
    if (ev->value_count)
        ev->values = copy(&c, ev->values, ev->value_count * sizeof *ev->values);
    if (ev->logprob_count)
        copy_logprobs(&c, ev);
    fg_list_init(&h->node);
    return h;
}

void fg_held_drop(struct fg_list *list)
{
    struct fg_list *node;
    while ((node = fg_list_pop(list)))
        free(FG_CONTAINER(node, struct fg_held, node));
}
