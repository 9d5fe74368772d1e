/*
 * One thread that sleeps in poll() on its mailbox and runs what comes, one task after the other.
 * There is no event base here: a task may take minutes. Its stack is larger than a worker's,
 * because plugins that run in this process are opened and load models on it.
 */
#include "loop/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"

enum { STACK_BYTES = 1024 * 1024 };

struct fg_control {
    struct fg_mailbox box;
    pthread_t thread;
    bool closing; /* atomic; set once the box is closed */
};

static void *take_turns(void *ctx)
{
    struct fg_control *c = ctx;
    struct pollfd p = {.fd = c->box.fd, .events = POLLIN};
    for (;;) {
        /* The ring of close() may have been taken with that of a task before it: so look first. */
        if (!__atomic_load_n(&c->closing, __ATOMIC_ACQUIRE))
            (void)poll(&p, 1, -1); /* EINTR: a look at an empty box */
        /* Read before the box is: once it is set, nothing new can come behind this run. */
        bool last = __atomic_load_n(&c->closing, __ATOMIC_ACQUIRE);
        (void)fg_mailbox_run(&c->box);
        if (last)
            return NULL;
    }
}

int32_t fg_control_open(const char *name, struct fg_control **out, struct fg_error *err)
{
    pthread_attr_t attr;
    struct fg_control *c = calloc(1, sizeof *c);
    if (!c)
        return fg_fail(err, FG_NO_MEMORY, "no memory for the control thread of %.64s", name);
    int32_t rc = fg_mailbox_init(&c->box, err);
    if (rc != FG_OK) {
        free(c);
        return rc;
    }
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int failed = pthread_create(&c->thread, &attr, take_turns, c);
    pthread_attr_destroy(&attr);
    if (failed) {
        fg_mailbox_done(&c->box);
        free(c);
        return fg_fail(err, FG_NO_MEMORY, "%.64s: no control thread: %s", name, strerror(failed));
    }
    char short_name[16];
    snprintf(short_name, sizeof short_name, "%.15s", name);
    (void)pthread_setname_np(c->thread, short_name);
    *out = c;
    return FG_OK;
}

void fg_control_close(struct fg_control *c)
{
    if (!c)
        return;
    fg_mailbox_close(&c->box);
    __atomic_store_n(&c->closing, true, __ATOMIC_RELEASE);
    ssize_t n = write(c->box.fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)n;
    pthread_join(c->thread, NULL);
    fg_mailbox_done(&c->box);
    free(c);
}

bool fg_control_post(struct fg_control *c, struct fg_task *task)
{
    return fg_mailbox_post(&c->box, task);
}
