/*
 * The line before a model (see queue.h). Retry-After is the time the line would need at the mean
 * pace of late: an estimate, bounded so that nobody is sent away for long.
 */
#include "flow/queue.h"

#include <stddef.h>

void fg_queue_init(struct fg_queue *q, uint32_t limit)
{
    *q = (struct fg_queue){.limit = limit};
    fg_list_init(&q->waiting);
}

bool fg_queue_push(struct fg_queue *q, struct fg_wait *w, uint64_t now_ns)
{
    /* A free slot and nobody in front: it does not wait, so the limit does not count. */
    if (q->count >= q->limit && !(q->count == 0 && q->running < q->slots))
        return false;
    w->since_ns = now_ns;
    fg_list_push(&q->waiting, &w->node);
    q->count++;
    return true;
}

void fg_queue_push_front(struct fg_queue *q, struct fg_wait *w)
{
    fg_list_push_front(&q->waiting, &w->node);
    q->count++;
}

void fg_queue_remove(struct fg_queue *q, struct fg_wait *w)
{
    fg_list_remove(&w->node);
    q->count--;
}

struct fg_wait *fg_queue_pop(struct fg_queue *q)
{
    struct fg_list *node = fg_list_pop(&q->waiting);
    if (!node)
        return NULL;
    q->count--;
    return FG_CONTAINER(node, struct fg_wait, node);
}

struct fg_wait *fg_queue_grant(struct fg_queue *q)
{
    if (q->running >= q->slots)
        return NULL;
    struct fg_wait *w = fg_queue_pop(q);
    if (w)
        q->running++;
    return w;
}

void fg_queue_release(struct fg_queue *q, uint64_t served_ns)
{
    if (q->running)
        q->running--;
    if (served_ns)
        q->mean_ns = q->mean_ns ? q->mean_ns - q->mean_ns / 8 + served_ns / 8 : served_ns;
}

uint32_t fg_queue_position(const struct fg_queue *q, const struct fg_wait *w)
{
    uint32_t position = 0;
    for (const struct fg_list *n = q->waiting.next; n != &q->waiting; n = n->next) {
        position++;
        if (n == &w->node)
            return position;
    }
    return 0;
}

uint32_t fg_queue_retry_after(const struct fg_queue *q)
{
    uint64_t slots = q->slots ? q->slots : 1;
    uint64_t s = q->mean_ns / 1000000000ull * q->count / slots;
    return s < 1 ? 1 : s > 60 ? 60 : (uint32_t)s;
}

bool fg_queue_is_idle(const struct fg_queue *q)
{
    return q->count == 0 && q->running == 0;
}
