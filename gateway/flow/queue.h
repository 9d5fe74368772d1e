/*
 * flow/queue.h - who waits for a slot of a model: a bounded line, first in first out.
 *
 * Pure: no clock, no lock, no thread of its own. The owner's lock protects it and time is passed
 * in. Running jobs are never harmed by newcomers: a full line refuses.
 */
#ifndef FG_FLOW_QUEUE_H
#define FG_FLOW_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/list.h"

struct fg_wait { /* embedded in a job */
    struct fg_list node;
    uint64_t since_ns;
};
struct fg_queue {
    struct fg_list waiting;
    uint32_t count, limit;
    uint32_t slots, running;
    uint64_t mean_ns; /* of a served job; guides Retry-After */
};

void fg_queue_init(struct fg_queue *, uint32_t limit);
/* False: full. A front push is for one that already had its turn; it is never refused. */
bool fg_queue_push(struct fg_queue *, struct fg_wait *, uint64_t now_ns);
void fg_queue_push_front(struct fg_queue *, struct fg_wait *);
void fg_queue_remove(struct fg_queue *, struct fg_wait *); /* it must be in this line */
/* The next one that gets a slot (which it then holds), NULL: none waits or no slot is free. */
struct fg_wait *fg_queue_grant(struct fg_queue *);
/* The oldest, whatever the slots say; it gets none. */
struct fg_wait *fg_queue_pop(struct fg_queue *);
/* A slot comes back; served_ns: how long it was held, 0: do not learn from it. */
void fg_queue_release(struct fg_queue *, uint64_t served_ns);
uint32_t fg_queue_position(const struct fg_queue *, const struct fg_wait *); /* from 1; 0: not in */
/* Seconds after which trying again makes sense, 1 .. 60. */
uint32_t fg_queue_retry_after(const struct fg_queue *);
bool fg_queue_is_idle(const struct fg_queue *);

#endif
