/* A gpu's life, and what anybody may ask of it at any time. See gpu.h. */
#include "gpu/gpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu/inner.h"
#include "obs/log.h"
#include "util/clock.h"
#include "util/error.h"

enum { FIRST_LOOK_MS = 2000, CLOSE_MS = 2000 };

/* ---- snapshots --------------------------------------------------------------------------------
 */

const struct fg_gpus *fg_gpu_snapshot(struct fg_gpu *g)
{
    pthread_mutex_lock(&g->lock);
    struct fg_gpus *s = g->snapshot;
    __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&g->lock);
    return s;
}

void fg_gpus_release(const struct fg_gpus *s)
{
    struct fg_gpus *own = (struct fg_gpus *)s; /* counting is no change */
    if (own && !__atomic_sub_fetch(&own->refs, 1, __ATOMIC_ACQ_REL))
        free(own);
}

void fg_gpu_restarted(struct fg_gpu *g, uint32_t cards)
{
    pthread_mutex_lock(&g->lock);
    g->restarted |= cards;
    g->poked = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

void fg_gpu_look_again(struct fg_gpu *g)
{
    pthread_mutex_lock(&g->lock);
    g->look_again = g->poked = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

uint32_t fg_gpu_history(struct fg_gpu *g, uint32_t index, struct fg_gpu_point *out, uint32_t room)
{
    uint32_t n = 0;
    pthread_mutex_lock(&g->lock);
    const struct fg_gpu_unit *u = index < FG_GPU_MOST ? &g->units[index] : NULL;
    if (u && u->points) {
        n = u->point_count < room ? u->point_count : room;
        for (uint32_t i = 0; i < n; i++) /* point_at is where the next one goes */
            out[i] = u->points[(u->point_at + g->history - n + i) % g->history];
    }
    pthread_mutex_unlock(&g->lock);
    return n;
}

/* ---- life -------------------------------------------------------------------------------------
 */

int32_t fg_gpu_make(const struct fg_conf_gpu *conf, const char *pci_folder, const char *proc_folder,
                    struct fg_gpu **out, struct fg_error *err)
{
    pthread_condattr_t attr;
    struct fg_gpu *g = calloc(1, sizeof *g);
    if (!g)
        return fg_fail(err, FG_NO_MEMORY, "no memory for the cards");
    pthread_mutex_init(&g->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&g->changed, &attr);
    pthread_condattr_destroy(&attr);
    g->is_enabled = conf->enable;
    g->interval_ns = conf->interval_ms * FG_NS_PER_MS;
    g->history = conf->history;
    g->reopen_s = FG_GPU_REOPEN_S;
    g->pci_folder = pci_folder ? pci_folder : "/sys/bus/pci/devices";
    g->proc_folder = proc_folder ? proc_folder : "/proc";
    g->library = conf->library ? strdup(conf->library) : NULL;
    if (!conf->library || g->library)
        fg_gpu_publish(g, fg_clock_ns()); /* empty; a snapshot there must always be */
    if (!g->snapshot) {
        fg_gpu_free(g);
        return fg_fail(err, FG_NO_MEMORY, "no memory for the cards");
    }
    *out = g;
    return FG_OK;
}

void fg_gpu_free(struct fg_gpu *g)
{
    if (!g)
        return;
    fg_gpu_quiet(g);
    fg_nvml_close(g->nvml);
    for (uint32_t i = 0; i < FG_GPU_MOST; i++)
        free(g->units[i].points);
    fg_gpus_release(g->snapshot);
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
    free(g->library);
    free(g);
}

static struct timespec after_ms(uint64_t ms)
{
    uint64_t at = fg_clock_ns() + ms * FG_NS_PER_MS;
    return (struct timespec){.tv_sec = (time_t)(at / FG_NS_PER_S),
                             .tv_nsec = (long)(at % FG_NS_PER_S)};
}

/* Until the first turn is over, so that the first request knows the cards. */
static void wait_for_first_look(struct fg_gpu *g)
{
    struct timespec until = after_ms(FIRST_LOOK_MS);
    int rc = 0;
    pthread_mutex_lock(&g->lock);
    while (!g->is_looked && rc == 0)
        rc = pthread_cond_timedwait(&g->changed, &g->lock, &until);
    pthread_mutex_unlock(&g->lock);
    if (rc == ETIMEDOUT)
        fg_log(FG_LOG_WARN, "gpu_first_look", "text=\"the driver takes its time\"");
}

int32_t fg_gpu_open(const struct fg_conf *conf, struct fg_gpu **out, struct fg_error *err)
{
    struct fg_gpu *g = NULL;
    int32_t rc = fg_gpu_make(&conf->gpu, NULL, NULL, &g, err);
    if (rc != FG_OK || !conf->gpu.enable) {
        *out = g;
        return rc;
    }
    int failed = pthread_create(&g->sampler, NULL, fg_gpu_sample_run, g);
    g->has_sampler = !failed;
    if (!failed)
        failed = pthread_create(&g->watcher, NULL, fg_gpu_watch_run, g);
    g->has_watcher = g->has_sampler && !failed;
    if (failed) {
        fg_gpu_close(g);
        return fg_fail(err, FG_NO_MEMORY, "no thread for the cards: %s", strerror(failed));
    }
    wait_for_first_look(g);
    *out = g;
    return FG_OK;
}

void fg_gpu_tell(struct fg_gpu *g, const struct fg_gpu_events *sink)
{
    pthread_mutex_lock(&g->lock);
    g->sink = *sink;
    bool now = g->snapshot->count > 0;
    pthread_mutex_unlock(&g->lock);
    if (now)
        sink->changed(sink->ctx);
}

void fg_gpu_close(struct fg_gpu *g)
{
    if (!g)
        return;
    struct timespec until = after_ms(CLOSE_MS);
    int rc = 0;
    pthread_mutex_lock(&g->lock);
    g->stopping = true;
    g->sink = (struct fg_gpu_events){0};
    pthread_cond_broadcast(&g->changed);
    while (((g->has_sampler && !g->is_over) || (g->has_watcher && !g->watcher_over)) && rc == 0)
        rc = pthread_cond_timedwait(&g->changed, &g->lock, &until);
    pthread_mutex_unlock(&g->lock);
    if (rc != 0) { /* a thread is inside the driver: what it touches must stay */
        fg_log(FG_LOG_WARN, "gpu_left_open", "text=\"the driver does not answer\"");
        return;
    }
    if (g->has_watcher)
        pthread_join(g->watcher, NULL);
    if (g->has_sampler)
        pthread_join(g->sampler, NULL);
    fg_gpu_free(g);
}
