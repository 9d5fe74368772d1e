/* See event.h. */
#include "plugin/event.h"

#include <string.h>

static struct fg_logprob *put_logprobs(struct fg_pack *p, const struct fg_logprob *from,
                                       uint32_t count, int depth)
{
    struct fg_logprob *array = fg_pack_array(p, from, count, sizeof *from);
    for (uint32_t i = 0; array && i < count; i++) {
        struct fg_logprob one = from[i];
        one.bytes = fg_pack_str(p, one.bytes);
        one.top = depth ? put_logprobs(p, from[i].top, from[i].top_count, depth - 1) : NULL;
        one.top_count = one.top ? one.top_count : 0;
        fg_pack_set(p, array, i, &one, sizeof one);
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
    struct fg_pack p = fg_pack_begin(block, sizeof *ev);
    struct fg_event to = *ev;
    to.text = fg_pack_str(&p, ev->text);
    to.name = fg_pack_str(&p, ev->name);
    to.id = fg_pack_str(&p, ev->id);
    to.tokens = fg_pack_array(&p, ev->tokens, ev->token_count, sizeof *ev->tokens);
    to.token_count = to.tokens ? ev->token_count : 0;
    to.logprobs = put_logprobs(&p, ev->logprobs, ev->logprob_count, 1);
    to.logprob_count = to.logprobs ? ev->logprob_count : 0;
    to.values = fg_pack_array(&p, ev->values, ev->value_count, sizeof *ev->values);
    to.value_count = to.values ? ev->value_count : 0;
    to.usage = fg_pack_array(&p, ev->usage, 1, sizeof *ev->usage);
    fg_pack_set(&p, NULL, 0, &to, sizeof to);
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

static struct fg_logprob *view_logprobs(struct fg_view *v, const struct fg_logprob *offset,
                                        uint32_t *count, int depth)
{
    struct fg_logprob *array = fg_view_copy(v, offset, count, sizeof *array);
    for (uint32_t i = 0; i < *count; i++) {
        array[i].bytes = fg_view_str(v, array[i].bytes);
        if (!depth)
            array[i].top_count = 0;
        array[i].top = view_logprobs(v, array[i].top, &array[i].top_count, depth - 1);
        if (v->bad)
            return NULL;
    }
    return array;
}

bool fg_event_view(struct fg_view *v, struct fg_event *ev)
{
    uint32_t one = 1;
    if (v->len < sizeof *ev)
        return false;
    memcpy(ev, v->base, sizeof *ev);
    if (ev->size != sizeof *ev)
        return false;
    ev->text = fg_view_str(v, ev->text);
    ev->name = fg_view_str(v, ev->name);
    ev->id = fg_view_str(v, ev->id);
    ev->tokens = fg_view_array(v, ev->tokens, &ev->token_count, sizeof *ev->tokens);
    ev->values = fg_view_array(v, ev->values, &ev->value_count, sizeof *ev->values);
    ev->logprobs = view_logprobs(v, ev->logprobs, &ev->logprob_count, 1);
    struct fg_usage *usage = fg_view_copy(v, ev->usage, &one, sizeof *usage);
    if (usage)
        usage->size = sizeof *usage;
    ev->usage = usage;
    return !v->bad;
}
