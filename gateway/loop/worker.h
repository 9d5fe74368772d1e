/*
 * loop/worker.h - an event-loop thread: one libevent base, one mailbox, nothing shared.
 *
 * Everything that belongs to a connection happens on its worker. A worker never waits: no file
 * reads, no DNS, no long locks. Only fg_worker_post() is legal from other threads.
 */
#ifndef FG_LOOP_WORKER_H
#define FG_LOOP_WORKER_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

#include "util/mailbox.h"

struct fg_worker;

/* Starts no thread. */
int32_t fg_worker_open(uint32_t index, struct fg_worker **, struct fg_error *);
int32_t fg_worker_start(struct fg_worker *, struct fg_error *);
void fg_worker_stop(struct fg_worker *);  /* [any] asks the loop to end */
void fg_worker_join(struct fg_worker *);  /* stops and waits; the base stays until the close */
void fg_worker_close(struct fg_worker *); /* joins, runs tasks still posted, frees */

uint32_t fg_worker_index(const struct fg_worker *);
struct event_base *fg_worker_base(struct fg_worker *); /* [its thread], or before start */
/* [any] Runs task->run on the worker's thread, in order. False: the worker is closed. */
bool fg_worker_post(struct fg_worker *, struct fg_task *);
bool fg_worker_is_current(const struct fg_worker *); /* for asserts */
/* [any] Monotonic time of the loop's last turn, for /health. */
uint64_t fg_worker_last_turn_ns(const struct fg_worker *);

#endif
