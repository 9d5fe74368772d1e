/*
 * The table of loaded models: who is loaded where, who waits for it, who has to go. A job asks
 * here for a slot (fg_live_acquire) and gives it back (fg_live_release). Loading and unloading
 * themselves are load.c's, on the backend's control thread.
 *
 * A job that can neither get a slot nor stand in a model's line waits in limbo: for a backend to
 * come back, or for room. Whatever changes there wakes all of limbo, and each asks again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/inner.h"
#include "obs/log.h"
#include "obs/metrics.h"
#include "util/error.h"

static struct fg_hub_job *job_of(struct fg_wait *w)
{
    return FG_CONTAINER(w, struct fg_hub_job, wait);
}

static void wake_locked(struct fg_wait *w, int32_t outcome, const struct fg_error *err,
                        struct fg_after *after)
{
    struct fg_hub_job *job = job_of(w);
    job->place = FG_PLACE_COMING;
    job->outcome = outcome;
    if (err)
        job->wake_error = *err;
    if (outcome != FG_WAKE_GRANTED && job->live) {
        job->left_slot = job->live->slot_index; /* the model may be gone when the job wakes */
        job->live = NULL;
    }
    fg_list_push(&after->wakes, &w->node);
}

void fg_live_pump_locked(struct fg_live *live, struct fg_after *after)
{
    struct fg_wait *w;
    if (live->state != FG_LIVE_READY || live->lost)
        return;
    while ((w = fg_queue_grant(&live->queue)))
        wake_locked(w, FG_WAKE_GRANTED, NULL, after);
}

void fg_live_flush_locked(struct fg_live *live, int32_t outcome, const struct fg_error *err,
                          struct fg_after *after)
{
    struct fg_wait *w;
    while ((w = fg_queue_pop(&live->queue)))
        wake_locked(w, outcome, err, after);
}

/* A retiring model without jobs is unloaded. */
void fg_live_settle_locked(struct fg_live *live, struct fg_after *after)
{
    if (!live->retiring || live->state != FG_LIVE_READY || !fg_queue_is_idle(&live->queue))
        return;
    live->state = FG_LIVE_CLOSING;
    if (!live->is_barred)
        live->hub->live_count--;
    fg_list_push(&after->unloads, &live->todo);
}

void fg_hub_wake_limbo_locked(struct fg_hub *hub, struct fg_after *after)
{
    struct fg_list *node;
    while ((node = fg_list_pop(&hub->limbo)))
        wake_locked(FG_CONTAINER(node, struct fg_wait, node), FG_WAKE_AGAIN, NULL, after);
    hub->limbo_count = 0;
}

void fg_live_free(struct fg_live *live)
{
    if (!live)
        return;
    fg_catalog_release(live->catalog);
    free(live);
}

static bool same_model(const struct fg_model_entry *a, const struct fg_model_entry *b)
{
    return fg_str_eq(a->full_name, b->full_name) && fg_str_eq(a->digest, b->digest) &&
           fg_str_eq(a->path, b->path);
}

static struct fg_live *find_locked(struct fg_hub *hub, const struct fg_model_entry *entry,
                                   uint32_t excluded, uint32_t barred, bool *retiring,
                                   struct fg_after *after)
{
    struct fg_live *found = NULL;
    *retiring = false;
    FG_LIST_EACH (node, next, &hub->lives) {
        struct fg_live *live = FG_CONTAINER(node, struct fg_live, node);
        if (!fg_str_eq(live->entry->full_name, entry->full_name))
            continue;
        if (!same_model(live->entry, entry)) { /* the file was replaced */
            live->retiring = true;
            fg_live_settle_locked(live, after);
            continue;
        }
        if (excluded >> live->slot_index & 1)
            continue;
        if (barred >> live->slot_index & 1) { /* before the cards' own event came */
            fg_live_bar_locked(live, after);
            continue;
        }
        if (live->retiring || live->state == FG_LIVE_CLOSING)
            *retiring = true;
        else
            found = live;
    }
    return found;
}

static void limbo_locked(struct fg_hub_job *job)
{
    struct fg_hub *hub = job->hub;
    job->place = FG_PLACE_LIMBO;
    job->live = NULL;
    fg_list_push(&hub->limbo, &job->wait.node);
    hub->limbo_count++;
}

static int32_t fail(struct fg_job_end *end, int32_t reason, uint32_t retry_after_s,
                    struct fg_error *err, const char *text)
{
    end->reason = reason;
    end->status = FG_BUSY;
    end->retry_after_s = retry_after_s;
    fg_fail(err, FG_BUSY, "%s", text);
    return FG_ACQ_FAILED;
}

/* Makes room for one more: the least recently used idle model goes now; when all are busy the
 * least recently used one stops taking new work. False: there is no room yet. */
static bool make_room_locked(struct fg_hub *hub, struct fg_after *after)
{
    if (hub->live_count < hub->set.max_loaded)
        return true;
    struct fg_live *idle = NULL, *busy = NULL;
    bool leaving = false;
    FG_LIST_EACH (node, next, &hub->lives) {
        struct fg_live *live = FG_CONTAINER(node, struct fg_live, node);
        if (live->state != FG_LIVE_READY)
            continue;
        if (live->retiring)
            leaving = true;
        else if (fg_queue_is_idle(&live->queue) && (!idle || live->used_ns < idle->used_ns))
            idle = live;
        else if (!fg_queue_is_idle(&live->queue) && (!busy || live->used_ns < busy->used_ns))
            busy = live;
    }
    if (idle) {
        idle->retiring = true;
        fg_live_settle_locked(idle, after);
        return hub->live_count < hub->set.max_loaded;
    }
    if (busy && !leaving)
        busy->retiring = true;
    return false;
}

static struct fg_live *new_live(struct fg_hub *hub, const struct fg_survey *s,
                                const struct fg_catalog *catalog,
                                const struct fg_model_entry *entry, uint32_t context)
{
    struct fg_live *live = calloc(1, sizeof *live);
    if (!live)
        return NULL;
    uint32_t at = s->route.candidates[0].index;
    uint64_t now = fg_clock_ns();
    live->hub = hub;
    live->catalog = fg_catalog_retain(catalog);
    live->entry = entry;
    live->slot = fg_registry_at(hub->registry, at);
    live->slot_index = at;
    live->generation = s->status[at].generation;
    live->asked_context = context;
    live->load_started_ns = live->used_ns = live->progress_ns = now;
    live->expires_ns = FG_NEVER;
    fg_list_init(&live->node);
    fg_list_init(&live->todo);
    snprintf(live->backend, sizeof live->backend, "%s", fg_backend_name(live->slot));
    live->placed_because = s->route.candidates[0].reason;
    live->passed_over = s->route.skipped_count;
    return live;
}

static void insert_locked(struct fg_hub *hub, struct fg_live *live, struct fg_after *after)
{
    live->parallel = hub->set.parallel;
    fg_queue_init(&live->queue, hub->set.max_waiting);
    fg_list_push(&hub->lives, &live->node);
    hub->live_count++;
    fg_list_push(&after->loads, &live->todo);
}

static uint32_t wanted_context(const struct fg_hub *hub, const struct fg_model_entry *entry,
                               uint32_t asked)
{
    uint32_t context = asked ? asked : hub->set.context;
    return entry->context && context > entry->context ? entry->context : context;
}

/* A num_ctx above the loaded one means one reload, once the running jobs are through. */
static bool must_grow_locked(const struct fg_hub_job *job, struct fg_live *live, bool *wait)
{
    uint32_t want = job->ask.context ? wanted_context(job->hub, job->entry, job->ask.context) : 0;
    uint32_t have = live->context > live->asked_context ? live->context : live->asked_context;
    *wait = want > have && live->state == FG_LIVE_LOADING;
    return want > have && live->state == FG_LIVE_READY;
}

static int32_t enter_locked(struct fg_hub_job *job, struct fg_live *live, struct fg_job_end *end,
                            struct fg_error *err, struct fg_after *after)
{
    if (!fg_queue_push(&live->queue, &job->wait, fg_clock_ns()))
        return fail(end, FG_JOB_QUEUE_FULL, fg_queue_retry_after(&live->queue), err,
                    "server busy, please try again.  maximum pending requests exceeded");
    job->place = FG_PLACE_QUEUE;
    job->live = live;
    if (live->state == FG_LIVE_READY && live->queue.running < live->queue.slots &&
        live->queue.count == 1) { /* nobody in front: no detour over the mailbox */
        (void)fg_queue_grant(&live->queue);
        job->place = FG_PLACE_NONE;
        return FG_ACQ_GRANTED;
    }
    fg_live_pump_locked(live, after);
    return FG_ACQ_WAITS;
}

static int32_t acquire_locked(struct fg_hub_job *job, const struct fg_survey *s,
                              struct fg_live **spare, struct fg_job_end *end, struct fg_error *err,
                              struct fg_after *after)
{
    struct fg_hub *hub = job->hub;
    bool retiring, wait = false;
    struct fg_live *live = find_locked(hub, job->entry, job->excluded, s->barred, &retiring, after);
    if (live && must_grow_locked(job, live, &wait)) {
        fg_log(FG_LOG_INFO, "model_reload", "backend=%s context=%u wanted=%u", live->backend,
               live->context, job->ask.context);
        live->retiring = retiring = true;
        fg_live_settle_locked(live, after);
        live = NULL;
    }
    if (live && !wait)
        return enter_locked(job, live, end, err, after);
    bool nowhere = !s->route.candidate_count;
    if (!live && !retiring && nowhere && !s->route.may_come_back)
        return fail(end, FG_JOB_NO_BACKEND, 0, err,
                    s->route.skipped_count ? s->route.skipped[0].reason
                                           : "no backend is configured");
    if (live || retiring || nowhere || !*spare || !make_room_locked(hub, after)) {
        if (hub->limbo_count >= hub->set.max_waiting)
            return fail(end, FG_JOB_QUEUE_FULL, 5, err,
                        "server busy, please try again.  maximum pending requests exceeded");
        limbo_locked(job);
        return FG_ACQ_WAITS;
    }
    live = *spare;
    *spare = NULL;
    insert_locked(hub, live, after);
    return enter_locked(job, live, end, err, after);
}

static void tell_skipped(struct fg_hub_job *job, const struct fg_survey *s)
{
    size_t at = 0;
    job->skipped[0] = '\0';
    for (uint32_t i = 0; i < s->route.skipped_count; i++) {
        const struct fg_route_choice *c = &s->route.skipped[i];
        int n = snprintf(job->skipped + at, sizeof job->skipped - at, "%s%s: %s", at ? "; " : "",
                         s->backends[c->index].name, c->reason);
        if (n < 0 || (size_t)n >= sizeof job->skipped - at)
            return;
        at += (size_t)n;
    }
}

int32_t fg_live_acquire(struct fg_hub_job *job, struct fg_job_end *end, struct fg_error *err)
{
    struct fg_hub *hub = job->hub;
    struct fg_survey s;
    struct fg_after after;
    fg_survey_take(hub, job->entry, job->excluded, job->first_error.text, &s);
    tell_skipped(job, &s);
    fg_after_init(&after);
    pthread_mutex_lock(&hub->lock);
    uint32_t context = wanted_context(hub, job->entry, job->ask.context);
    bool retiring;
    bool need = !find_locked(hub, job->entry, job->excluded, s.barred, &retiring, &after);
    struct fg_live *spare = NULL;
    if (need && s.route.candidate_count)
        spare = new_live(hub, &s, job->catalog, job->entry, context);
    int32_t rc = need && s.route.candidate_count && !spare
                     ? fail(end, FG_JOB_NO_MEMORY, 1, err, "no memory to load the model")
                     : acquire_locked(job, &s, &spare, end, err, &after);
    pthread_mutex_unlock(&hub->lock);
    fg_live_free(spare);
    fg_after_run(hub, &after);
    return rc;
}

void fg_live_preload(struct fg_hub *hub, const struct fg_catalog *catalog,
                     const struct fg_model_entry *entry)
{
    struct fg_survey s;
    struct fg_after after;
    fg_survey_take(hub, entry, 0, NULL, &s);
    if (!s.route.candidate_count)
        return;
    fg_after_init(&after);
    pthread_mutex_lock(&hub->lock);
    bool retiring;
    if (!find_locked(hub, entry, 0, s.barred, &retiring, &after) &&
        hub->live_count < hub->set.max_loaded) {
        struct fg_live *live = new_live(hub, &s, catalog, entry, wanted_context(hub, entry, 0));
        if (live)
            insert_locked(hub, live, &after);
    }
    pthread_mutex_unlock(&hub->lock);
    fg_after_run(hub, &after);
}

void fg_live_release(struct fg_hub *hub, struct fg_live *live, uint64_t served_ns,
                     int64_t keep_alive_ns, bool lost)
{
    struct fg_after after;
    uint64_t now = fg_clock_ns();
    fg_after_init(&after);
    pthread_mutex_lock(&hub->lock);
    fg_queue_release(&live->queue, served_ns);
    live->used_ns = now;
    live->expires_ns = keep_alive_ns < 0 ? FG_NEVER : now + (uint64_t)keep_alive_ns;
    /* A model that holds no memory here is a name of a remote server: one broken connection to it
     * says nothing of the others, and there is nothing to load again. */
    if (lost && live->memory_bytes) {
        live->lost = live->retiring = true;
        fg_live_flush_locked(live, FG_WAKE_AGAIN, NULL, &after);
    }
    fg_live_pump_locked(live, &after);
    if (fg_queue_is_idle(&live->queue)) {
        if (keep_alive_ns == 0)
            live->retiring = true;
        fg_live_settle_locked(live, &after);
        fg_hub_wake_limbo_locked(hub, &after);
        if (live->expires_ns < hub->keeper_next_ns) /* a busy one does not expire */
            after.poke = true;
    }
    pthread_mutex_unlock(&hub->lock);
    fg_after_run(hub, &after);
}

bool fg_live_leave(struct fg_hub_job *job)
{
    struct fg_hub *hub = job->hub;
    struct fg_after after;
    bool left = true;
    fg_after_init(&after);
    pthread_mutex_lock(&hub->lock);
    if (job->place == FG_PLACE_QUEUE) {
        fg_queue_remove(&job->live->queue, &job->wait);
        fg_live_settle_locked(job->live, &after);
    } else if (job->place == FG_PLACE_LIMBO) {
        fg_list_remove(&job->wait.node);
        hub->limbo_count--;
    } else if (job->place == FG_PLACE_SCAN) {
        fg_list_remove(&job->wait.node);
    } else {
        left = false;
    }
    if (left) {
        job->place = FG_PLACE_NONE;
        job->live = NULL;
    }
    pthread_mutex_unlock(&hub->lock);
    fg_after_run(hub, &after);
    return left;
}

uint64_t fg_live_sweep(struct fg_hub *hub, uint64_t now_ns)
{
    struct fg_after after;
    uint64_t next = FG_NEVER;
    fg_after_init(&after);
    pthread_mutex_lock(&hub->lock);
    FG_LIST_EACH (node, safe, &hub->lives) {
        struct fg_live *live = FG_CONTAINER(node, struct fg_live, node);
        if (live->state != FG_LIVE_READY || !fg_queue_is_idle(&live->queue))
            continue;
        if (live->expires_ns <= now_ns) {
            live->retiring = true;
            fg_live_settle_locked(live, &after);
        } else if (live->expires_ns < next) {
            next = live->expires_ns;
        }
    }
    hub->keeper_next_ns = next;
    pthread_mutex_unlock(&hub->lock);
    fg_after_run(hub, &after);
    return next;
}
