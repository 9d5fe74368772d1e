/*
 * The hub's own life, and what the front ends ask that is not a job: the catalog, loaded models,
 * health. See hub.h; the road of a request is in job.c.
 */
#include "flow/hub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "flow/inner.h"
#include "obs/log.h"
#include "obs/metrics.h"
#include "util/error.h"

enum { MAX_LOADED_VISIT = 64, UNLOAD_WAIT_S = 20 };

/* ---- after the lock ------------------------------------------------------------------------- */

void fg_after_init(struct fg_after *after)
{
    fg_list_init(&after->wakes);
    fg_list_init(&after->loads);
    fg_list_init(&after->unloads);
    after->restarts = 0;
    after->poke = false;
}

void fg_after_run(struct fg_hub *hub, struct fg_after *after)
{
    struct fg_list *node;
    while ((node = fg_list_pop(&after->unloads))) /* first: they make room for the loads */
        fg_live_unload_post(FG_CONTAINER(node, struct fg_live, todo));
    while ((node = fg_list_pop(&after->loads)))
        fg_live_load_post(FG_CONTAINER(node, struct fg_live, todo));
    while ((node = fg_list_pop(&after->wakes))) {
        struct fg_wait *w = FG_CONTAINER(node, struct fg_wait, node);
        struct fg_hub_job *job = FG_CONTAINER(w, struct fg_hub_job, wait);
        (void)fg_worker_post(job->worker, &job->wake);
    }
    if (after->restarts)
        fg_hub_restart(hub, after->restarts);
    if (after->poke)
        fg_hub_poke(hub);
}

/* ---- catalog --------------------------------------------------------------------------------- */

const struct fg_catalog *fg_hub_snapshot(struct fg_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    const struct fg_catalog *c = fg_catalog_retain(hub->catalog);
    pthread_mutex_unlock(&hub->lock);
    return c;
}

const struct fg_catalog *fg_hub_catalog(struct fg_hub *hub)
{
    /* The keeper looks at the directories if it has not done so lately; most requests need not wake
     * it for that. */
    if (fg_clock_ns() - __atomic_load_n(&hub->checked_ns, __ATOMIC_RELAXED) > FG_CHECK_NS)
        fg_hub_poke(hub);
    return fg_hub_snapshot(hub);
}

/* ---- loaded models ----------------------------------------------------------------------------
 */

void fg_hub_loaded(struct fg_hub *hub, void (*visit)(void *, const struct fg_loaded *), void *ctx)
{
    struct {
        struct fg_loaded loaded;
        const struct fg_catalog *catalog;
        char backend[64], device[128];
    } *rows = calloc(MAX_LOADED_VISIT, sizeof *rows);
    if (!rows)
        return;
    size_t n = 0;
    uint64_t now = fg_clock_ns(), wall = fg_clock_wall_ns();
    pthread_mutex_lock(&hub->lock);
    FG_LIST_EACH (node, next, &hub->lives) {
        const struct fg_live *live = FG_CONTAINER(node, struct fg_live, node);
        if (n == MAX_LOADED_VISIT || live->state != FG_LIVE_READY || live->lost)
            continue;
        rows[n].catalog = fg_catalog_retain(live->catalog);
        memcpy(rows[n].backend, live->backend, sizeof live->backend);
        memcpy(rows[n].device, live->device, sizeof live->device);
        rows[n].loaded = (struct fg_loaded){
            .model = live->entry,
            .backend = fg_str_of(rows[n].backend),
            .device = fg_str_of(rows[n].device),
            .memory_bytes = live->memory_bytes,
            .context = live->context,
            .running = live->queue.running,
            .waiting = live->queue.count,
            .slots = live->queue.slots,
            .expires_wall_ns =
                live->expires_ns == FG_NEVER ? INT64_MAX : (int64_t)(wall + live->expires_ns - now),
        };
        n++;
    }
    pthread_mutex_unlock(&hub->lock);
    for (size_t i = 0; i < n; i++) {
        visit(ctx, &rows[i].loaded);
        fg_catalog_release(rows[i].catalog);
    }
    free(rows);
}

void fg_hub_unload(struct fg_hub *hub, struct fg_worker *worker, struct fg_str name,
                   void (*done)(void *ctx, bool found), void *ctx)
{
    (void)worker;
    struct fg_after after;
    const struct fg_catalog *catalog = fg_hub_snapshot(hub);
    const struct fg_model_entry *entry = fg_catalog_find(catalog, name, NULL);
    fg_after_init(&after);
    pthread_mutex_lock(&hub->lock);
    FG_LIST_EACH (node, next, &hub->lives) {
        struct fg_live *live = FG_CONTAINER(node, struct fg_live, node);
        if (!entry || !fg_str_eq(live->entry->full_name, entry->full_name))
            continue;
        live->retiring = true;
        fg_live_settle_locked(live, &after);
    }
    pthread_mutex_unlock(&hub->lock);
    fg_after_run(hub, &after);
    fg_catalog_release(catalog);
    done(ctx, entry != NULL);
}

/* ---- backends ----------------------------------------------------------------------------------
 */

void fg_hub_backend_changed(struct fg_hub *hub, struct fg_backend_slot *slot)
{
    struct fg_backend_status status;
    struct fg_after after;
    fg_after_init(&after);
    fg_backend_get_status(slot, &status);
    pthread_mutex_lock(&hub->lock);
    FG_LIST_EACH (node, next, &hub->lives) {
        struct fg_live *live = FG_CONTAINER(node, struct fg_live, node);
        if (live->slot != slot || live->state != FG_LIVE_READY || live->lost ||
            (status.state == FG_BACKEND_UP && status.generation == live->generation))
            continue;
        live->lost = live->retiring = true;
        fg_live_flush_locked(live, FG_WAKE_AGAIN, NULL, &after);
        fg_live_settle_locked(live, &after);
    }
    fg_hub_wake_limbo_locked(hub, &after);
    after.poke = true;
    pthread_mutex_unlock(&hub->lock);
    fg_after_run(hub, &after);
    if (status.state == FG_BACKEND_UP)
        fg_hub_process_is_new(hub, slot);
}

static const char *const state_names[] = {"starting", "up", "down", "failed"};

static json_t *backend_json(const struct fg_backend_slot *slot, json_t *reasons, bool *up)
{
    struct fg_backend_status s;
    fg_backend_get_status(slot, &s);
    *up = s.state == FG_BACKEND_UP;
    if (!*up)
        json_array_append_new(reasons, json_sprintf("backend %s: %s", fg_backend_name(slot),
                                                    s.reason[0] ? s.reason : "not up"));
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:s}", "name", fg_backend_name(slot), "state",
                     s.state >= 0 && s.state <= 3 ? state_names[s.state] : "unknown", "generation",
                     (int)s.generation, "restarts", (int)s.restarts, "pid", (int)s.pid, "reason",
                     s.reason);
}

json_t *fg_hub_health(struct fg_hub *hub)
{
    json_t *backends = json_array(), *reasons = json_array();
    uint32_t count = fg_registry_count(hub->registry), good = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool up;
        json_array_append_new(backends,
                              backend_json(fg_registry_at(hub->registry, i), reasons, &up));
        good += up;
    }
    if (__atomic_load_n(&hub->draining, __ATOMIC_ACQUIRE))
        json_array_append_new(reasons, json_string("shutting down"));
    json_t *cards = fg_hub_cards_json(hub, reasons);
    const char *status = !good ? "down" : json_array_size(reasons) ? "degraded" : "ok";
    return json_pack("{s:s, s:o, s:o, s:o}", "status", status, "reasons", reasons, "backends",
                     backends, "gpus", cards);
}

/* ---- life
 * ---------------------------------------------------------------------------------------- */

static const double seconds[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
#define BUCKETS (sizeof seconds / sizeof *seconds)

static const char *const reason_names[] = {
    "ok",          "model_unknown", "name_invalid", "cannot",  "queue_full", "queue_deadline",
    "load_failed", "no_backend",    "backend_lost", "refused", "timeout",    "draining",
    "no_memory",   "internal",
};
_Static_assert(sizeof reason_names / sizeof *reason_names == FG_JOB_INTERNAL + 1, "a name each");

const char *fg_reason_name(int32_t reason)
{
    return reason_names[reason];
}

static void open_metrics(struct fg_hub *hub)
{
    for (int32_t i = 0; i <= FG_JOB_INTERNAL; i++) {
        char outcome[64];
        snprintf(outcome, sizeof outcome, "outcome=\"%s\"", reason_names[i]);
        hub->outcomes[i] = fg_metric(FG_METRIC_COUNTER, "fluxgate_jobs_total", "jobs by outcome",
                                     outcome, NULL, 0);
    }
    hub->queue_wait = fg_metric(FG_METRIC_HISTOGRAM, "fluxgate_queue_wait_seconds",
                                "time in the queue before a slot", NULL, seconds, BUCKETS);
    hub->loaded =
        fg_metric(FG_METRIC_GAUGE, "fluxgate_models_loaded", "models now in memory", NULL, NULL, 0);
    hub->jobs_now = fg_metric(FG_METRIC_GAUGE, "fluxgate_jobs_now",
                              "jobs that wait or run, not yet released", NULL, NULL, 0);
    hub->downgraded = fg_metric(FG_METRIC_COUNTER, "fluxgate_jobs_downgraded_total",
                                "jobs served while a backend that is better placed was not usable",
                                NULL, NULL, 0);
    for (uint32_t i = 0; i < fg_registry_count(hub->registry) && i < FG_ROUTE_MAX; i++) {
        struct fg_backend_metrics *m = &hub->metrics[i];
        char l[160];
        snprintf(l, sizeof l, "backend=\"%s\"", fg_backend_name(fg_registry_at(hub->registry, i)));
#define COUNTER(name, help) fg_metric(FG_METRIC_COUNTER, "fluxgate_backend_" name, help, l, NULL, 0)
        m->done = COUNTER("jobs_done_total", "jobs that ended well");
        m->failed = COUNTER("jobs_failed_total", "jobs that failed here");
        m->cancelled = COUNTER("jobs_cancelled_total", "jobs whose client left");
        m->tokens_in = COUNTER("prompt_tokens_total", "tokens of prompts");
        m->tokens_out = COUNTER("output_tokens_total", "tokens of answers");
        m->loads = COUNTER("model_loads_total", "models loaded");
        m->load_failures = COUNTER("model_load_failures_total", "models that could not be loaded");
        m->joules = COUNTER("joules_total", "energy of jobs, where a card is the backend's alone");
#undef COUNTER
        m->first_token = fg_metric(FG_METRIC_HISTOGRAM, "fluxgate_first_output_seconds",
                                   "from the slot to the first output", l, seconds, BUCKETS);
    }
}

int32_t fg_hub_open(const struct fg_conf *conf, struct fg_registry *registry, struct fg_hub **out,
                    struct fg_error *err)
{
    struct fg_store_list none = {0};
    struct fg_hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return fg_fail(err, FG_NO_MEMORY, "no memory for the hub");
    pthread_mutex_init(&hub->lock, NULL);
    pthread_cond_init(&hub->lives_changed, NULL);
    hub->registry = registry;
    hub->keeper_next_ns = FG_NEVER;
    fg_list_init(&hub->lives);
    fg_list_init(&hub->limbo);
    fg_list_init(&hub->scanners);
    fg_list_init(&hub->lookers);
    fg_list_init(&hub->facts_done);
    fg_list_init(&hub->listed_done);
    fg_list_init(&hub->facts);
    fg_list_init(&hub->ready.waiters);
    open_metrics(hub);
    hub->poke_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int32_t rc = hub->poke_fd < 0 ? fg_fail(err, FG_INTERNAL, "eventfd: errno %d", errno) : FG_OK;
    if (rc == FG_OK)
        rc = fg_settings_copy(conf, &hub->set, err);
    if (rc == FG_OK)
        rc = fg_hub_bind(hub, conf, err);
    if (rc == FG_OK)
        rc = fg_catalog_new(&none, NULL, &hub->catalog, err);
    if (rc == FG_OK)
        rc = fg_keeper_start(hub, err);
    if (rc != FG_OK) {
        fg_hub_close(hub);
        return rc;
    }
    *out = hub;
    return FG_OK;
}

void fg_hub_drain(struct fg_hub *hub)
{
    __atomic_store_n(&hub->draining, 1, __ATOMIC_RELEASE);
}

uint32_t fg_hub_running(const struct fg_hub *hub)
{
    return __atomic_load_n(&hub->running, __ATOMIC_ACQUIRE);
}

void fg_hub_cancel_all(struct fg_hub *hub)
{
    for (uint32_t i = 0; i < FG_LANES; i++) {
        struct fg_lane *lane = __atomic_load_n(&hub->lanes[i], __ATOMIC_ACQUIRE);
        if (lane && !__atomic_exchange_n(&lane->cancelling, 1, __ATOMIC_ACQ_REL))
            (void)fg_worker_post(lane->worker, &lane->cancel_all);
    }
}

int32_t fg_hub_reload(struct fg_hub *hub, const struct fg_conf *conf, struct fg_error *err)
{
    struct fg_settings fresh, old;
    int32_t rc = fg_settings_copy(conf, &fresh, err);
    if (rc != FG_OK)
        return rc;
    pthread_mutex_lock(&hub->lock);
    old = hub->set;
    hub->set = fresh;
    hub->scan_forced = true;
    FG_LIST_EACH (node, next, &hub->lives)
        FG_CONTAINER(node, struct fg_live, node)->queue.limit = fresh.max_waiting;
    pthread_mutex_unlock(&hub->lock);
    fg_settings_done(&old);
    struct fg_gpu *gpu = fg_hub_gpu(hub);
    if (gpu) /* cards that were reset meanwhile are looked at afresh */
        fg_gpu_look_again(gpu);
    fg_hub_poke(hub);
    return FG_OK;
}

/* Waits until every model is unloaded; false: some are still held. */
static bool unload_all(struct fg_hub *hub)
{
    struct fg_after after;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += UNLOAD_WAIT_S;
    int rc = 0;
    pthread_mutex_lock(&hub->lock);
    while (!fg_list_empty(&hub->lives) && rc == 0) {
        fg_after_init(&after);
        FG_LIST_EACH (node, next, &hub->lives) {
            struct fg_live *live = FG_CONTAINER(node, struct fg_live, node);
            live->retiring = true;
            fg_live_settle_locked(live, &after);
        }
        pthread_mutex_unlock(&hub->lock);
        fg_after_run(hub, &after);
        pthread_mutex_lock(&hub->lock);
        if (!fg_list_empty(&hub->lives))
            rc = pthread_cond_timedwait(&hub->lives_changed, &hub->lock, &until);
    }
    bool empty = fg_list_empty(&hub->lives);
    pthread_mutex_unlock(&hub->lock);
    return empty;
}

static bool is_asking(const struct fg_hub *hub)
{
    return hub->inspecting || fg_listed_is_asking(hub);
}

void fg_hub_close(struct fg_hub *hub)
{
    struct fg_list *node;
    if (!hub)
        return;
    fg_keeper_stop(hub);
    fg_lookers_done(hub);
    bool clean = unload_all(hub) && !is_asking(hub);
    for (int i = 0; is_asking(hub) && i < 500; i++) { /* at most 5 s for one file */
        fg_inspect_collect(hub);
        fg_listed_collect(hub);
        if (is_asking(hub))
            usleep(10000);
        clean = !is_asking(hub) && fg_list_empty(&hub->lives);
    }
    if (!clean || fg_hub_running(hub)) { /* a plugin still holds what is ours: leave it */
        fg_log(FG_LOG_WARN, "hub_left_open", "jobs=%u", fg_hub_running(hub));
        return;
    }
    while ((node = fg_list_pop(&hub->facts)))
        fg_facts_release(FG_CONTAINER(node, struct fg_facts, node));
    for (uint32_t i = 0; i < FG_LANES; i++)
        free(hub->lanes[i]);
    fg_catalog_release(hub->catalog);
    fg_listed_done(hub);
    fg_store_list_done(&hub->list);
    fg_settings_done(&hub->set);
    fg_hub_unbind(hub);
    free(hub->lost_path);
    if (hub->poke_fd >= 0)
        close(hub->poke_fd);
    pthread_cond_destroy(&hub->lives_changed);
    pthread_mutex_destroy(&hub->lock);
    free(hub);
}
