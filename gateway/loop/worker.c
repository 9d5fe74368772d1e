/*
 * An event loop on its own thread. The mailbox's eventfd is an ordinary event of the base, so tasks
 * and sockets take turns; a timer once a second shows that the loop still turns while nothing
 * happens. Stopping sets a flag and rings the eventfd: no event base is touched from two threads,
 * therefore libevent gets no locks. What the tasks and events do is their owners' business.
 */
#include "loop/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"

enum { STACK_BYTES = 256 * 1024, BEAT_S = 1 };

struct fg_worker {
    uint32_t index;
    struct event_base *base;
    struct event *mail, *beat;
    struct fg_mailbox box;
    pthread_t thread;
    bool has_box, started;
    bool stopping;         /* atomic */
    uint64_t last_turn_ns; /* atomic */
};

static __thread struct fg_worker *current;

static void turned(struct fg_worker *w)
{
    __atomic_store_n(&w->last_turn_ns, fg_clock_ns(), __ATOMIC_RELAXED);
}

static void ring(struct fg_worker *w)
{
    ssize_t n = write(w->box.fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)n; /* EAGAIN: the counter is full, so the loop wakes anyway */
}

static void on_mail(evutil_socket_t fd, short what, void *ctx)
{
    struct fg_worker *w = ctx;
    (void)fd;
    (void)what;
    turned(w);
    (void)fg_mailbox_run(&w->box);
    if (__atomic_load_n(&w->stopping, __ATOMIC_ACQUIRE))
        event_base_loopbreak(w->base);
}

static void on_beat(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    turned(ctx);
}

static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    if (!config)
        return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

int32_t fg_worker_open(uint32_t index, struct fg_worker **out, struct fg_error *err)
{
    struct timeval second = {.tv_sec = BEAT_S};
    struct fg_worker *w = calloc(1, sizeof *w);
    if (!w)
        return fg_fail(err, FG_NO_MEMORY, "no memory for worker %u", index);
    w->index = index;
    turned(w);
    int32_t rc = fg_mailbox_init(&w->box, err);
    w->has_box = rc == FG_OK;
    if (rc != FG_OK)
        goto failed;
    rc = FG_NO_MEMORY;
    w->base = new_base();
    if (w->base) {
        w->mail = event_new(w->base, w->box.fd, EV_READ | EV_PERSIST, on_mail, w);
        w->beat = event_new(w->base, -1, EV_PERSIST, on_beat, w);
    }
    if (!w->mail || !w->beat || event_add(w->mail, NULL) != 0 || event_add(w->beat, &second) != 0) {
        fg_fail(err, rc, "worker %u: no event loop: %s", index, strerror(errno));
        goto failed;
    }
    *out = w;
    return FG_OK;
failed:
    fg_worker_close(w);
    return rc;
}

static void *turn(void *ctx)
{
    struct fg_worker *w = ctx;
    current = w;
    while (!__atomic_load_n(&w->stopping, __ATOMIC_ACQUIRE))
        if (event_base_loop(w->base, EVLOOP_NO_EXIT_ON_EMPTY) < 0)
            break; /* epoll itself failed: nothing can be served on this thread any more */
    return NULL;
}

int32_t fg_worker_start(struct fg_worker *w, struct fg_error *err)
{
    pthread_attr_t attr;
    char name[16];
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int rc = pthread_create(&w->thread, &attr, turn, w);
    pthread_attr_destroy(&attr);
    if (rc != 0)
        return fg_fail(err, FG_NO_MEMORY, "worker %u: no thread: %s", w->index, strerror(rc));
    w->started = true;
    snprintf(name, sizeof name, "worker-%u", w->index);
    (void)pthread_setname_np(w->thread, name);
    return FG_OK;
}

void fg_worker_stop(struct fg_worker *w)
{
    __atomic_store_n(&w->stopping, true, __ATOMIC_RELEASE);
    ring(w);
}

void fg_worker_join(struct fg_worker *w)
{
    if (!w->started)
        return;
    fg_worker_stop(w);
    pthread_join(w->thread, NULL);
    w->started = false;
}

void fg_worker_close(struct fg_worker *w)
{
    if (!w)
        return;
    fg_worker_join(w);
    if (w->has_box) {
        struct fg_worker *before = current;
        current = w; /* the loop is gone: its tasks run here, as if on its thread */
        fg_mailbox_close(&w->box);
        (void)fg_mailbox_run(&w->box);
        current = before;
    }
    if (w->mail)
        event_free(w->mail);
    if (w->beat)
        event_free(w->beat);
    if (w->base)
        event_base_free(w->base);
    if (w->has_box)
        fg_mailbox_done(&w->box);
    free(w);
}

uint32_t fg_worker_index(const struct fg_worker *w)
{
    return w->index;
}

struct event_base *fg_worker_base(struct fg_worker *w)
{
    return w->base;
}

bool fg_worker_post(struct fg_worker *w, struct fg_task *task)
{
    return fg_mailbox_post(&w->box, task);
}

bool fg_worker_is_current(const struct fg_worker *w)
{
    return current == w;
}

uint64_t fg_worker_last_turn_ns(const struct fg_worker *w)
{
    return __atomic_load_n(&w->last_turn_ns, __ATOMIC_RELAXED);
}
