/*
 * The watcher: waits for the driver's events and hands them to the sampler, and notices when the
 * sampler does not come back from a call. It publishes in its place then: cards of a driver that
 * hangs take nothing new.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu/inner.h"
#include "obs/log.h"
#include "util/clock.h"

enum { WAIT_MS = 500 };

bool fg_gpu_look_for_stall(struct fg_gpu *g, uint64_t now_ns)
{
    bool stalls = false;
    pthread_mutex_lock(&g->lock);
    struct fg_gpus *s = g->snapshot;
    bool late = g->turn_since_ns && now_ns > g->turn_since_ns &&
                now_ns - g->turn_since_ns > FG_GPU_STALL_S * FG_NS_PER_S;
    struct fg_gpus *copy = NULL;
    size_t size = sizeof *s + s->count * sizeof s->cards[0];
    if (late && s->count && s->cards[0].cause != FG_CAUSE_STALL && (copy = malloc(size))) {
        size_t behind = offsetof(struct fg_gpus, refs) + sizeof s->refs; /* others count there */
        memcpy((char *)copy + behind, (const char *)s + behind, size - behind);
        copy->refs = 1;
        for (uint32_t i = 0; i < copy->count; i++) {
            struct fg_gpu_card *c = &copy->cards[i];
            c->weight = 0;
            if (c->state > FG_GPU_DRAINING && i)
                continue; /* what is worse stays as it is; the first one marks the snapshot */
            c->state = FG_GPU_DRAINING;
            c->cause = FG_CAUSE_STALL;
            c->since_wall_ns = fg_clock_wall_ns();
            snprintf(c->reason, sizeof c->reason, "%s", fg_gpu_cause_text(FG_CAUSE_STALL));
        }
        g->snapshot = copy;
        stalls = true;
    }
    pthread_mutex_unlock(&g->lock);
    if (stalls)
        fg_gpus_release(s);
    return stalls;
}

void fg_gpu_quiet(struct fg_gpu *g)
{
    pthread_mutex_lock(&g->lock);
    g->has_events = false;
    while (g->watcher_waits)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static void hand_over(struct fg_gpu *g, const struct fg_nvml_event *e)
{
    pthread_mutex_lock(&g->lock);
    bool fits = g->event_count < FG_GPU_EVENTS;
    if (fits)
        g->events[g->event_count++] = *e;
    g->poked = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
    if (!fits)
        FG_COUNT("fluxgate_gpu_events_dropped_total", "events of the driver that came too fast");
}

/* Also after a wait for events that failed at once: a broken library must not make this spin. */
static void wait_a_while(struct fg_gpu *g, bool for_events)
{
    uint64_t at = fg_clock_ns() + WAIT_MS * FG_NS_PER_MS;
    struct timespec until = {.tv_sec = (time_t)(at / FG_NS_PER_S),
                             .tv_nsec = (long)(at % FG_NS_PER_S)};
    pthread_mutex_lock(&g->lock);
    if (!g->stopping && g->has_events == for_events) {
        if (for_events || g->turn_since_ns)
            pthread_cond_timedwait(&g->changed, &g->lock, &until);
        else /* nothing can stall: set_turn() wakes this */
            pthread_cond_wait(&g->changed, &g->lock);
    }
    pthread_mutex_unlock(&g->lock);
}

static void tell_stall(struct fg_gpu *g)
{
    pthread_mutex_lock(&g->lock);
    struct fg_gpu_events sink = g->sink;
    pthread_mutex_unlock(&g->lock);
    fg_log(FG_LOG_ERROR, "gpu_driver_stall", "text=\"the NVIDIA driver does not answer\"");
    if (sink.changed)
        sink.changed(sink.ctx);
}

void *fg_gpu_watch_run(void *gpu)
{
    struct fg_gpu *g = gpu;
    pthread_setname_np(pthread_self(), "fg-gpu-watch");
    for (;;) {
        struct fg_nvml_event e;
        pthread_mutex_lock(&g->lock);
        bool stop = g->stopping, wait = g->has_events;
        struct fg_nvml *nvml = wait ? g->nvml : NULL; /* stays while watcher_waits is set */
        g->watcher_waits = wait && !stop;
        pthread_mutex_unlock(&g->lock);
        if (stop)
            break;
        uint64_t since = fg_clock_ns();
        bool came = wait && fg_nvml_wait(nvml, WAIT_MS, &e);
        bool quick = fg_clock_ns() - since < WAIT_MS * FG_NS_PER_MS / 2;
        pthread_mutex_lock(&g->lock);
        g->watcher_waits = false;
        pthread_cond_broadcast(&g->changed);
        pthread_mutex_unlock(&g->lock);
        if (came)
            hand_over(g, &e);
        else if (quick)
            wait_a_while(g, wait);
        if (fg_gpu_look_for_stall(g, fg_clock_ns()))
            tell_stall(g);
    }
    pthread_mutex_lock(&g->lock);
    g->watcher_over = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
    return NULL;
}
