/*
 * loop/control.h - a thread for calls that may wait (load a model, open a backend, scan a disk).
 *
 * Tasks run in the order in which they were posted and never overlap. An answer goes back to a
 * worker by fg_worker_post().
 */
#ifndef FG_LOOP_CONTROL_H
#define FG_LOOP_CONTROL_H

#include "util/mailbox.h"

struct fg_control;

int32_t fg_control_open(const char *name, struct fg_control **, struct fg_error *); /* starts it */
void fg_control_close(struct fg_control *);                  /* runs what was posted, then joins */
bool fg_control_post(struct fg_control *, struct fg_task *); /* [any] */

#endif
