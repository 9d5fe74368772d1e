/* See event.h. Offset 0 is the event itself, so it stands for NULL. */
#include "plugin/event.h"

#include <string.h>

#define ALIGN 8u

struct pack {
    char *base; /* NULL: only measured */
    size_t at;
};

static size_t put(struct pack *p, const void *from, size_t bytes)
{
    size_t at = p->at;
    if (p->base && bytes)
        memcpy(p->base + at, from, bytes);
    p->at = (at + bytes + ALIGN - 1) / ALIGN * ALIGN;
    return at;
}

/* An offset in the clothes of a pointer. */
static void *put_array(struct pack *p, const void *from, size_t count, size_t each)
{
    return from && count ? (void *)(uintptr_t)put(p, from, count * each) : NULL;
}

static struct fg_str put_str(struct pack *p, struct fg_str s)
{
    const char *ptr = put_array(p, s.ptr, s.len, 1);
    return (struct fg_str){ptr, ptr ? s.len : 0};
}

static struct fg_logprob *put_logprobs(struct pack *p, const struct fg_logprob *from,
                                       uint32_t count, int depth)
{
    struct fg_logprob *array = put_array(p, from, count, sizeof *from);
    if (!array)
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        struct fg_logprob one = from[i];
        one.bytes = put_str(p, one.bytes);
        one.top = depth ? put_logprobs(p, from[i].top, from[i].top_count, depth - 1) : NULL;
        one.top_count = one.top ? one.top_count : 0;
        if (p->base)
            memcpy(p->base + (uintptr_t)array + i * sizeof one, &one, sizeof one);
    }
    return array;
}

void fg_event_take(const struct fg_event *given, struct fg_event *ev, struct fg_usage *usage)
{
    *ev = (struct fg_event){0};
    memcpy(ev, given, given->size < sizeof *ev ? given->size : sizeof *ev);
    ev->size = sizeof *ev;
    if (!ev->usage)
        return;
    *usage = (struct fg_usage){0};
    memcpy(usage, ev->usage, ev->usage->size < sizeof *usage ? ev->usage->size : sizeof *usage);
    usage->size = sizeof *usage;
    ev->usage = usage;
}

size_t fg_event_pack(const struct fg_event *ev, void *block)
{
    struct pack p = {.base = block, .at = (sizeof *ev + ALIGN - 1) / ALIGN * ALIGN};
    struct fg_event to = *ev;
    to.text = put_str(&p, ev->text);
    to.name = put_str(&p, ev->name);
    to.id = put_str(&p, ev->id);
    to.tokens = put_array(&p, ev->tokens, ev->token_count, sizeof *ev->tokens);
    to.token_count = to.tokens ? ev->token_count : 0;
    to.logprobs = put_logprobs(&p, ev->logprobs, ev->logprob_count, 1);
    to.logprob_count = to.logprobs ? ev->logprob_count : 0;
    to.values = put_array(&p, ev->values, ev->value_count, sizeof *ev->values);
    to.value_count = to.values ? ev->value_count : 0;
    to.usage = put_array(&p, ev->usage, ev->usage != NULL, sizeof *ev->usage);
    if (block)
        memcpy(block, &to, sizeof to);
    return p.at;
}

static void *at(char *base, const void *offset)
{
    return offset ? base + (uintptr_t)offset : NULL;
}

static void unpack_logprobs(char *base, struct fg_logprob *array, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        array[i].bytes.ptr = at(base, array[i].bytes.ptr);
        array[i].top = at(base, array[i].top);
        for (uint32_t k = 0; k < array[i].top_count; k++) {
            struct fg_logprob *top = (struct fg_logprob *)array[i].top;
            top[k].bytes.ptr = at(base, top[k].bytes.ptr);
        }
    }
}

const struct fg_event *fg_event_unpack(void *block)
{
    struct fg_event *ev = block;
    char *base = block;
    ev->text.ptr = at(base, ev->text.ptr);
    ev->name.ptr = at(base, ev->name.ptr);
    ev->id.ptr = at(base, ev->id.ptr);
    ev->tokens = at(base, ev->tokens);
    ev->logprobs = at(base, ev->logprobs);
    ev->values = at(base, ev->values);
    ev->usage = at(base, ev->usage);
    unpack_logprobs(base, (struct fg_logprob *)ev->logprobs, ev->logprob_count);
    return ev;
}
