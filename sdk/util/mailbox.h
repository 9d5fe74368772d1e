/*
 * util/mailbox.h - how threads meet: many writers, one reader, an eventfd.
 *
 * A writer appends a task under a short lock and wakes the reader when the box was empty; the
 * reader takes the whole list at once and runs it. One wake-up serves a burst.
 */
#ifndef FG_UTIL_MAILBOX_H
#define FG_UTIL_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

#include "util/list.h"

struct fg_task { /* embed in what is sent; the sender's until posted, the runner's after */
    struct fg_list node;
    void (*run)(struct fg_task *);
};

struct fg_mailbox {
    pthread_mutex_t lock;
    struct fg_list tasks;
    int fd; /* eventfd, non-blocking, readable while tasks wait */
    bool closed;
};

int32_t fg_mailbox_init(struct fg_mailbox *, struct fg_error *);
/* Runs nothing. Tasks still in it are the caller's to have drained before. */
void fg_mailbox_done(struct fg_mailbox *);
/* [any] false when the box is closed: the task was not taken. */
bool fg_mailbox_post(struct fg_mailbox *, struct fg_task *);
/* [reader] Runs what is there; returns how many ran. Also clears the eventfd. */
size_t fg_mailbox_run(struct fg_mailbox *);
/* [any] Later posts are refused. */
void fg_mailbox_close(struct fg_mailbox *);

#endif
