/*
 * One request on its road: name -> model -> line -> slot -> plugin -> events -> end. A job is born
 * on its worker, is touched there only, and dies there.
 *
 *   seek()     what model is it? (an unknown name waits for one look at the disk)
 *   acquire()  a slot of it: at once, or from a line, or from limbo (live.c)
 *   begin()    submit to the plugin; from here to release() the slot is held
 *   pump()     events to the sink, with credit
 *   finish()   release, over(), free
 *
 * While nothing went to the sink a job whose backend was lost starts again (at most 2 times).
 * STARTED is therefore held back until the first output: a crash in prefill is then invisible.
 * A client that leaves before the slot is there costs nothing; later the plugin is told to cancel,
 * and the job lives on without callbacks ("detached") until the last event gives the slot back.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/inner.h"
#include "obs/log.h"
#include "obs/metrics.h"
#include "store/name.h"
#include "util/error.h"

enum {
    BURST = 64,       /* events of one turn of the loop */
    TICK_MS = 500,    /* while it waits */
    BACKOFF_MS = 100, /* after a lost backend or BUSY */
    TELL_S = 10,
    STUCK_S = 30, /* a cancelled job that does not end is told in the log */
};

static bool seek(struct fg_hub_job *job);

static bool is_over_ns(uint64_t since, uint64_t limit, uint64_t now)
{
    return limit && now > since && now - since > limit;
}

static void arm(struct fg_hub_job *job, uint64_t ms)
{
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    event_add(job->timer, &tv);
}

/* ---- the end ----------------------------------------------------------------------------------
 */

static void destroy(struct fg_hub_job *job)
{
    struct fg_hub *hub = job->hub;
    fg_list_remove(&job->lane_node);
    if (job->timer)
        event_free(job->timer);
    if (job->pump)
        event_free(job->pump);
    fg_catalog_release(job->catalog);
    fg_arena_close(job->ask.arena);
    free(job->held_ids);
    fg_metric_add(hub->jobs_now, -1);
    __atomic_sub_fetch(&hub->running, 1, __ATOMIC_ACQ_REL);
    free(job);
}

static int64_t keep_alive(const struct fg_hub_job *job)
{
    if (job->ask.keep_alive_set)
        return job->ask.keep_alive_ns;
    pthread_mutex_lock(&job->hub->lock);
    int64_t ns = job->hub->set.keep_alive_ns;
    pthread_mutex_unlock(&job->hub->lock);
    return ns;
}

/* Plugin job, stream and slot go back. */
static void let_go(struct fg_hub_job *job, bool lost)
{
    uint64_t served = job->first_ns ? fg_clock_ns() - job->granted_ns : 0;
    fg_job_meter_end(job);
    if (job->plugin_job)
        job->live->table->release(job->plugin_job);
    if (job->stream)
        fg_stream_close(job->stream);
    job->plugin_job = NULL;
    job->stream = NULL;
    job->is_running = false;
    event_del(job->pump);
    if (job->live)
        fg_live_release(job->hub, job->live, served, keep_alive(job), lost);
    job->live = NULL;
}

static void count_end(const struct fg_hub_job *job, int32_t reason, bool cancelled)
{
    if (!job->live)
        return;
    const struct fg_backend_metrics *m = &job->hub->metrics[job->live->slot_index];
    fg_metric_add(cancelled ? m->cancelled : reason == FG_JOB_OK ? m->done : m->failed, 1);
}

static void tell_end(struct fg_hub_job *job, const struct fg_job_end *end)
{
    char id[64], joules[32] = "-";
    if (job->has_joules)
        snprintf(joules, sizeof joules, "%.3f", job->joules);
    fg_metric_add(job->hub->outcomes[end->reason], 1);
    fg_log(end->reason == FG_JOB_OK ? FG_LOG_DEBUG : FG_LOG_INFO, "job_over",
           "job=%s reason=%s tries=%u ms=%llu joules=%s",
           fg_log_quote(job->ask.request ? job->ask.request->id : FG_STR("load"), id, sizeof id),
           fg_reason_name(end->reason), job->tries,
           (unsigned long long)((fg_clock_ns() - job->created_ns) / FG_NS_PER_MS), joules);
}

/* The one way out with an answer. The slot has gone back before. Always false: no job any more. */
static bool over(struct fg_hub_job *job, const struct fg_job_end *end)
{
    struct fg_job_end told = *end;
    told.has_joules = job->has_joules;
    told.joules = job->joules;
    tell_end(job, end);
    if (!job->cancelled)
        job->ask.sink->over(job->ask.ctx, &told);
    destroy(job);
    return false;
}

static bool fail(struct fg_hub_job *job, int32_t reason, int32_t status, const char *text)
{
    struct fg_job_end end = {.reason = reason, .status = status, .text = fg_str_of(text)};
    return over(job, &end);
}

/* ---- from the slot to the first event -----------------------------------------------------------
 */

static bool submit_failed(struct fg_hub_job *job, int32_t status, const struct fg_error *err,
                          uint32_t prompt_tokens);
static void on_ready(void *ctx);

static void take_times(struct fg_hub_job *job)
{
    const struct fg_live *live = job->live;
    uint64_t now = fg_clock_ns(), since = job->wait_since_ns;
    job->granted_ns = now;
    if (live->ready_ns > since) { /* it waited for the load first */
        job->load_ns += live->ready_ns - since;
        since = live->ready_ns;
    }
    job->queue_ns += now > since ? now - since : 0;
    fg_metric_observe(job->hub->queue_wait, (double)job->queue_ns / 1e9);
}

static uint32_t needed(int32_t op)
{
    static const uint32_t can[] = {
        [FG_OP_CHAT] = FG_CAN_CHAT,         [FG_OP_COMPLETE] = FG_CAN_COMPLETE,
        [FG_OP_EMBED] = FG_CAN_EMBED,       [FG_OP_RERANK] = FG_CAN_RERANK,
        [FG_OP_TOKENIZE] = FG_CAN_TOKENIZE, [FG_OP_DETOKENIZE] = FG_CAN_TOKENIZE,
        [FG_OP_RENDER] = FG_CAN_TOKENIZE,
    };
    return op >= 0 && (size_t)op < sizeof can / sizeof *can ? can[op] : UINT32_MAX;
}

static bool can_do(const struct fg_hub_job *job, uint32_t can)
{
    uint32_t need = job->ask.request ? needed(job->ask.request->op) : 0;
    return (can & need) == need;
}

static void tell_started(struct fg_hub_job *job)
{
    const struct fg_live *live = job->live;
    const struct fg_model_entry *e = job->entry;
    struct fg_served served = {
        .model = e->name,
        .backend = fg_str_of(live->backend),
        .engine = fg_str_of(live->engine),
        .device = fg_str_of(live->device),
        .quantization = live->quantization[0] ? fg_str_of(live->quantization) : e->quantization,
        .digest = e->digest,
        .skipped = fg_str_of(job->skipped),
        .context = live->context,
        .queue_ns = job->queue_ns,
        .load_ns = job->load_ns,
        .can = live->can,
    };
    if (job->skipped[0])
        fg_metric_add(job->hub->downgraded, 1);
    job->started = true;
    job->calling = true;
    job->ask.sink->started(job->ask.ctx, &served);
    job->calling = false;
}

static bool begin(struct fg_hub_job *job)
{
    struct fg_error err = {0};
    job->place = FG_PLACE_NONE;
    take_times(job);
    if (!can_do(job, job->live->can)) {
        let_go(job, false);
        return fail(job, FG_JOB_CANNOT, FG_UNSUPPORTED, "the model cannot do this");
    }
    if (!job->ask.request) { /* only to be loaded */
        tell_started(job);
        let_go(job, false);
        return fail(job, FG_JOB_OK, FG_OK, "");
    }
    int32_t rc = fg_stream_open(job->worker, on_ready, job, &job->stream, &err);
    if (rc == FG_OK)
        rc = job->live->table->submit(job->live->model, job->ask.request, job->stream,
                                      &job->plugin_job, &err);
    if (rc != FG_OK) {
        job->plugin_job = NULL;
        return submit_failed(job, rc, &err, 0);
    }
    job->is_running = true;
    fg_job_meter_start(job);
    arm(job, TICK_MS);
    return true;
}

static bool again(struct fg_hub_job *job, bool lost)
{
    let_go(job, lost);
    if (job->cancelled || job->detached) {
        destroy(job);
        return false;
    }
    job->usage_held = false;
    job->fraction = 0;
    job->is_backoff = true;
    if (lost) /* it had its turn: the time it ran is not time in the queue */
        job->wait_ns = fg_clock_ns();
    arm(job, BACKOFF_MS);
    return true;
}

/* A failure before anything was sent: another try, or the end with the plugin's own words. */
static bool submit_failed(struct fg_hub_job *job, int32_t status, const struct fg_error *err,
                          uint32_t prompt_tokens)
{
    bool lost = status == FG_DEVICE_LOST;
    if (status == FG_BUSY && !job->started)
        return again(job, false); /* until the queue deadline */
    if (lost && !job->started && job->tries < FG_TRIES) {
        job->tries++;
        fg_log(FG_LOG_WARN, "job_retried", "backend=%s try=%u", job->live->backend, job->tries);
        return again(job, true);
    }
    static const struct {
        int32_t status, reason;
    } map[] = {
        {FG_DEVICE_LOST, FG_JOB_BACKEND_LOST}, {FG_NO_MEMORY, FG_JOB_NO_MEMORY},
        {FG_INVALID, FG_JOB_REFUSED},          {FG_UNSUPPORTED, FG_JOB_REFUSED},
        {FG_TOO_LONG, FG_JOB_REFUSED},         {FG_NOT_FOUND, FG_JOB_REFUSED},
        {FG_TIMEOUT, FG_JOB_TIMEOUT},
    };
    struct fg_job_end end = {
        .reason = FG_JOB_INTERNAL,
        .status = status,
        .text = fg_str_of(err->text),
        .retry_after_s = lost ? 1 : 0,
        .prompt_tokens = prompt_tokens,
        .context = job->live->context,
    };
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (map[i].status == status)
            end.reason = map[i].reason;
    count_end(job, end.reason, false);
    let_go(job, lost);
    if (job->detached)
        job->cancelled = true;
    return over(job, &end);
}

/* ---- events
 * --------------------------------------------------------------------------------------- */

static void first_output(struct fg_hub_job *job)
{
    job->first_ns = fg_clock_ns();
    fg_metric_observe(job->hub->metrics[job->live->slot_index].first_token,
                      (double)(job->first_ns - job->granted_ns) / 1e9);
    tell_started(job);
    if (job->detached || !job->usage_held)
        return;
    struct fg_event ev = {.size = sizeof ev,
                          .kind = FG_EV_STARTED,
                          .usage = &job->held_usage,
                          .tokens = job->held_ids,
                          .token_count = job->held_id_count};
    job->calling = true;
    job->ask.sink->event(job->ask.ctx, &ev);
    job->calling = false;
}

static void copy_usage(const struct fg_usage *from, struct fg_usage *to)
{
    *to = (struct fg_usage){0};
    if (from)
        memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
    to->size = sizeof *to;
}

/* Without memory they are not told: nothing but Ollama's old `context` is lost by it. */
static void hold_ids(struct fg_hub_job *job, const struct fg_event *ev)
{
    free(job->held_ids);
    job->held_ids = ev->token_count ? malloc(ev->token_count * sizeof *job->held_ids) : NULL;
    job->held_id_count = job->held_ids ? ev->token_count : 0;
    if (job->held_ids)
        memcpy(job->held_ids, ev->tokens, ev->token_count * sizeof *job->held_ids);
}

static void note_figures(struct fg_hub_job *job, const struct fg_usage *usage)
{
    struct fg_hub *hub = job->hub;
    double joules = job->has_joules ? job->joules : (double)NAN;
    pthread_mutex_lock(&hub->lock);
    fg_measured_note(&hub->measured, fg_measured_key(job->entry->full_name), job->live->slot_index,
                     usage->output_tokens, usage->output_ns, joules);
    pthread_mutex_unlock(&hub->lock);
}

static bool finish(struct fg_hub_job *job, const struct fg_event *ev)
{
    struct fg_usage usage;
    struct fg_event last = *ev;
    copy_usage(ev->usage, &usage);
    usage.queue_ns = job->queue_ns;
    usage.load_ns = job->load_ns;
    last.usage = &usage;
    const struct fg_backend_metrics *m = &job->hub->metrics[job->live->slot_index];
    fg_metric_add(m->tokens_in, usage.prompt_tokens);
    fg_metric_add(m->tokens_out, usage.output_tokens);
    __atomic_store_n(&job->hub->last_good_ns, fg_clock_ns(), __ATOMIC_RELAXED);
    if (!job->detached) {
        job->calling = true;
        job->ask.sink->event(job->ask.ctx, &last);
        job->calling = false;
    }
    count_end(job, FG_JOB_OK, job->detached);
    fg_job_meter_end(job);
    if (!job->detached)
        note_figures(job, &usage);
    let_go(job, false);
    job->cancelled = job->detached;
    if (job->cancelled) {
        destroy(job);
        return false;
    }
    return fail(job, FG_JOB_OK, FG_OK, "");
}

static bool failed(struct fg_hub_job *job, const struct fg_event *ev)
{
    struct fg_error err = {.status = ev->code};
    size_t n = ev->text.len < sizeof err.text - 1 ? ev->text.len : sizeof err.text - 1;
    if (n && ev->text.ptr)
        memcpy(err.text, ev->text.ptr, n);
    if (job->detached) {
        count_end(job, FG_JOB_OK, true);
        let_go(job, ev->code == FG_DEVICE_LOST);
        destroy(job);
        return false;
    }
    return submit_failed(job, ev->code, &err, ev->usage ? ev->usage->prompt_tokens : 0);
}

/* False: the job is gone. */
static bool take(struct fg_hub_job *job, const struct fg_event *ev)
{
    if (ev->kind == FG_EV_FAILED)
        return failed(job, ev);
    if (ev->kind == FG_EV_STARTED) {
        copy_usage(ev->usage, &job->held_usage);
        hold_ids(job, ev);
        job->usage_held = true;
        return true;
    }
    if (ev->kind == FG_EV_PROGRESS) {
        job->fraction = ev->value_count ? ev->values[0] : job->fraction;
        return true;
    }
    if (!job->detached && !job->started)
        first_output(job);
    if (ev->kind == FG_EV_DONE)
        return finish(job, ev);
    if (job->detached)
        return true;
    job->calling = true;
    job->ask.sink->event(job->ask.ctx, ev);
    job->calling = false;
    return true;
}

static void pump(struct fg_hub_job *job)
{
    for (int n = 0; n < BURST; n++) {
        bool resume = false;
        if (!job->is_running || (job->paused && !job->detached))
            return;
        const struct fg_event *ev = fg_stream_next(job->stream, &resume);
        if (resume && !fg_stream_is_over(job->stream))
            job->live->table->resume(job->plugin_job);
        if (!ev || !take(job, ev))
            return;
    }
    event_active(job->pump, EV_TIMEOUT, 0); /* others get their turn first */
}

static void on_ready(void *ctx)
{
    pump(ctx);
}

static void on_pump(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    pump(ctx);
}

/* ---- waiting
 * -------------------------------------------------------------------------------------- */

static bool settle(struct fg_hub_job *job, int32_t acquired, struct fg_job_end *end,
                   struct fg_error *err)
{
    if (acquired == FG_ACQ_GRANTED)
        return begin(job);
    if (acquired == FG_ACQ_WAITS) {
        arm(job, TICK_MS);
        return true;
    }
    if (end->reason == FG_JOB_NO_BACKEND && job->excluded) { /* each one refused to load it */
        end->reason = FG_JOB_LOAD_FAILED;
        end->status = job->first_error.status;
        end->text = fg_str_of(job->first_error.text);
    } else {
        end->text = fg_str_of(err->text);
    }
    return over(job, end);
}

static bool acquire(struct fg_hub_job *job)
{
    struct fg_job_end end = {0};
    struct fg_error err = {0};
    job->wait_since_ns = fg_clock_ns();
    int32_t rc = fg_live_acquire(job, &end, &err);
    return settle(job, rc, &end, &err);
}

static bool wait_for_scan(struct fg_hub_job *job)
{
    struct fg_hub *hub = job->hub;
    job->scanned = true;
    pthread_mutex_lock(&hub->lock);
    job->place = FG_PLACE_SCAN;
    fg_list_push(&hub->scanners, &job->wait.node);
    pthread_mutex_unlock(&hub->lock);
    fg_hub_poke(hub);
    arm(job, TICK_MS);
    return true;
}

static bool seek(struct fg_hub_job *job)
{
    bool invalid = false;
    fg_catalog_release(job->catalog);
    job->catalog = fg_hub_snapshot(job->hub);
    job->entry = fg_catalog_find(job->catalog, fg_str_of(job->model), &invalid);
    if (!job->entry && invalid)
        return fail(job, FG_JOB_NAME_INVALID, FG_INVALID, "invalid model name");
    if (!job->entry && !job->scanned)
        return wait_for_scan(job);
    if (!job->entry)
        return fail(job, FG_JOB_MODEL_UNKNOWN, FG_NOT_FOUND, "model not found");
    if (job->entry->error.len) {
        struct fg_job_end end = {
            .reason = FG_JOB_LOAD_FAILED, .status = FG_INVALID, .text = job->entry->error};
        return over(job, &end);
    }
    if (!fg_model_entry_is_bare(job->entry) && !can_do(job, job->entry->can))
        return fail(job, FG_JOB_CANNOT, FG_UNSUPPORTED, "the model cannot do this");
    return acquire(job);
}

/* The model could not be loaded: somewhere else, once more, or the end with the engine's words. */
static bool load_failed(struct fg_hub_job *job)
{
    struct fg_error *err = &job->wake_error;
    if (err->status == FG_DEVICE_LOST && job->tries < FG_TRIES) {
        job->tries++;
        job->is_backoff = true;
        arm(job, BACKOFF_MS);
        return true;
    }
    if (!job->excluded)
        job->first_error = *err;
    if (err->status != FG_INVALID && err->status != FG_NOT_FOUND &&
        fg_registry_count(job->hub->registry) > 1) {
        job->excluded |= 1u << job->left_slot;
        return seek(job);
    }
    struct fg_job_end end = {
        .reason = FG_JOB_LOAD_FAILED, .status = err->status, .text = fg_str_of(err->text)};
    if (err->status == FG_DEVICE_LOST) {
        end.reason = FG_JOB_BACKEND_LOST;
        end.retry_after_s = 2;
    }
    return over(job, &end);
}

static void on_wake(struct fg_task *task)
{
    struct fg_hub_job *job = FG_CONTAINER(task, struct fg_hub_job, wake);
    pthread_mutex_lock(&job->hub->lock);
    int32_t outcome = job->outcome;
    job->place = FG_PLACE_NONE;
    pthread_mutex_unlock(&job->hub->lock);
    if (job->cancelled) {
        if (outcome == FG_WAKE_GRANTED)
            let_go(job, false);
        destroy(job);
        return;
    }
    if (outcome == FG_WAKE_GRANTED)
        begin(job);
    else if (outcome == FG_WAKE_FAILED)
        load_failed(job);
    else
        seek(job);
}

struct look { /* what a waiting job sees of its model, under the lock */
    int32_t place;
    uint32_t position, retry_after_s;
    bool is_loading;
    uint64_t progress_ns, load_timeout_ns, deadline_ns, first_token_ns, request_ns;
    float fraction;
};

static void look(struct fg_hub_job *job, struct look *l)
{
    struct fg_hub *hub = job->hub;
    *l = (struct look){.retry_after_s = 5};
    pthread_mutex_lock(&hub->lock);
    l->place = job->place;
    l->load_timeout_ns = hub->set.load_timeout_ns;
    l->deadline_ns = hub->set.deadline_ns;
    l->first_token_ns = hub->set.first_token_ns;
    l->request_ns = hub->set.request_ns;
    if (job->place == FG_PLACE_QUEUE) {
        const struct fg_live *live = job->live;
        l->position = fg_queue_position(&live->queue, &job->wait);
        l->retry_after_s = fg_queue_retry_after(&live->queue);
        l->is_loading = live->state == FG_LIVE_LOADING;
        l->progress_ns = __atomic_load_n(&live->progress_ns, __ATOMIC_RELAXED);
        l->fraction = (float)__atomic_load_n(&live->progress_permille, __ATOMIC_RELAXED) / 1000.0f;
    }
    pthread_mutex_unlock(&hub->lock);
}

static bool late(struct fg_hub_job *job, int32_t reason, int32_t status, uint32_t retry_after_s,
                 const char *text)
{
    struct fg_job_end end = {.reason = reason,
                             .status = status,
                             .text = fg_str_of(text),
                             .retry_after_s = retry_after_s};
    if (!fg_live_leave(job) && !job->is_backoff)
        return true; /* its wake-up is under way: the next tick decides */
    return over(job, &end);
}

/* Called last: the sink may cancel the job from here. */
static void tell_waiting(struct fg_hub_job *job, const struct look *l, uint64_t now)
{
    if (job->started || !job->ask.sink->waiting || now - job->told_ns < TELL_S * FG_NS_PER_S)
        return;
    job->told_ns = now;
    const char *phase = job->is_running ? "prefill" : l->is_loading ? "load" : "queue";
    job->ask.sink->waiting(job->ask.ctx, l->is_loading || job->is_running ? 0 : l->position, phase,
                           job->is_running ? job->fraction : l->fraction);
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct fg_hub_job *job = ctx;
    struct look l;
    uint64_t now = fg_clock_ns();
    look(job, &l);
    if (job->is_backoff) {
        if (is_over_ns(job->wait_ns, l.deadline_ns, now)) {
            late(job, FG_JOB_NO_BACKEND, FG_BUSY, 5, "no backend could take the request in time");
            return;
        }
        job->is_backoff = false;
        seek(job);
        return;
    }
    if (job->detached) { /* told to end and does not: the slot stays taken, somebody must know */
        fg_log(FG_LOG_ERROR, "job_does_not_end", "backend=%s model=%s", job->live->backend,
               fg_log_quote(job->entry->name, (char[300]){0}, 300));
        arm(job, STUCK_S * 1000);
        return;
    }
    if (job->is_running) {
        if (!job->first_ns && is_over_ns(job->granted_ns, l.first_token_ns, now)) {
            fg_job_end_early(job, FG_JOB_TIMEOUT, FG_TIMEOUT, "no output within the time allowed");
            return;
        }
        if (is_over_ns(job->created_ns, l.request_ns, now)) {
            fg_job_end_early(job, FG_JOB_TIMEOUT, FG_TIMEOUT, "the request took too long");
            return;
        }
    } else if (l.is_loading) {
        job->wait_ns = now; /* the queue's time starts when the model is there */
        if (is_over_ns(l.progress_ns, l.load_timeout_ns, now)) {
            late(job, FG_JOB_LOAD_FAILED, FG_TIMEOUT, 0, "loading the model took too long");
            return;
        }
    } else if (l.place != FG_PLACE_COMING && is_over_ns(job->wait_ns, l.deadline_ns, now)) {
        late(job, FG_JOB_QUEUE_DEADLINE, FG_TIMEOUT, l.retry_after_s,
             "no slot came free in time, please try again");
        return;
    }
    if (l.place == FG_PLACE_LIMBO && fg_live_leave(job)) {
        seek(job); /* looks again by itself, so that no missed wake-up can hold it */
        return;
    }
    if (!job->is_running || !job->started || l.request_ns)
        arm(job, TICK_MS);
    tell_waiting(job, &l, now);
}

/* ---- what the front ends call
 * ---------------------------------------------------------------------- */

/* Looked up afresh each time: the end of one job may make its front end cancel others. */
static struct fg_hub_job *first_listening(struct fg_lane *lane)
{
    FG_LIST_EACH (node, next, &lane->jobs) {
        struct fg_hub_job *job = FG_CONTAINER(node, struct fg_hub_job, lane_node);
        if (!job->detached && !job->cancelled)
            return job;
    }
    return NULL;
}

static void on_cancel_all(struct fg_task *task)
{
    struct fg_lane *lane = FG_CONTAINER(task, struct fg_lane, cancel_all);
    __atomic_store_n(&lane->cancelling, 0, __ATOMIC_RELEASE);
    struct fg_hub_job *job;
    while ((job = first_listening(lane)))
        fg_job_end_early(job, FG_JOB_DRAINING, FG_CANCELLED, "the server is shutting down");
}

static struct fg_lane *lane_of(struct fg_hub *hub, struct fg_worker *worker)
{
    uint32_t index = fg_worker_index(worker);
    if (index >= FG_LANES)
        return NULL;
    struct fg_lane *lane = __atomic_load_n(&hub->lanes[index], __ATOMIC_ACQUIRE);
    if (lane)
        return lane;
    lane = calloc(1, sizeof *lane); /* only this worker makes its lane */
    if (!lane)
        return NULL;
    lane->worker = worker;
    lane->hub = hub;
    lane->cancel_all.run = on_cancel_all;
    fg_list_init(&lane->jobs);
    __atomic_store_n(&hub->lanes[index], lane, __ATOMIC_RELEASE);
    return lane;
}

static bool prepare(struct fg_hub_job *job, struct fg_lane *lane)
{
    struct event_base *base = fg_worker_base(job->worker);
    job->timer = evtimer_new(base, on_tick, job);
    job->pump = evtimer_new(base, on_pump, job);
    job->wake.run = on_wake;
    if (lane)
        fg_list_push(&lane->jobs, &job->lane_node);
    return job->timer && job->pump && lane;
}

/* False: longer than any name. */
static bool take_name(struct fg_hub_job *job, struct fg_str name)
{
    if (name.len > FG_NAME_MAX || (name.len && memchr(name.ptr, 0, name.len)))
        return false;
    if (name.len) {
        memcpy(job->model, name.ptr, name.len);
        return true;
    }
    pthread_mutex_lock(&job->hub->lock);
    snprintf(job->model, sizeof job->model, "%s",
             job->hub->set.default_model ? job->hub->set.default_model : "");
    pthread_mutex_unlock(&job->hub->lock);
    return true;
}

struct fg_hub_job *fg_job_start(struct fg_hub *hub, struct fg_worker *worker,
                                const struct fg_job_ask *ask)
{
    struct fg_hub_job *job = calloc(1, sizeof *job);
    if (!job) {
        struct fg_job_end end = {.reason = FG_JOB_NO_MEMORY,
                                 .status = FG_NO_MEMORY,
                                 .text = FG_STR("no memory"),
                                 .retry_after_s = 1};
        ask->sink->over(ask->ctx, &end);
        fg_arena_close(ask->arena);
        return NULL;
    }
    job->hub = hub;
    job->worker = worker;
    job->ask = *ask;
    job->created_ns = job->wait_ns = job->told_ns = fg_clock_ns();
    fg_list_init(&job->lane_node);
    fg_list_init(&job->wait.node);
    __atomic_add_fetch(&hub->running, 1, __ATOMIC_ACQ_REL);
    fg_metric_add(hub->jobs_now, 1);
    bool alive;
    if (!prepare(job, lane_of(hub, worker)))
        alive = fail(job, FG_JOB_NO_MEMORY, FG_NO_MEMORY, "no memory");
    else if (__atomic_load_n(&hub->draining, __ATOMIC_ACQUIRE))
        alive = fail(job, FG_JOB_DRAINING, FG_BUSY, "the server is shutting down");
    else if (!take_name(job, ask->model))
        alive = fail(job, FG_JOB_NAME_INVALID, FG_INVALID, "invalid model name");
    else
        alive = seek(job);
    return alive ? job : NULL;
}

/* Nobody listens any more; what was submitted runs out without callbacks. */
static void detach(struct fg_hub_job *job)
{
    if (job->detached)
        return;
    job->detached = true;
    arm(job, STUCK_S * 1000);
    fg_stream_stop(job->stream);
    if (!fg_stream_is_over(job->stream))
        job->live->table->cancel(job->plugin_job);
    event_active(job->pump, EV_TIMEOUT, 0); /* it may have been paused with the last event there */
}

void fg_job_cancel(struct fg_hub_job *job)
{
    if (job->is_running) {
        detach(job);
        return;
    }
    job->cancelled = true;
    if (job->calling) /* from within a callback: the caller goes on to the end */
        return;
    if (fg_live_leave(job) || job->is_backoff)
        destroy(job);
    /* else its wake-up is under way and ends it */
}

void fg_job_end_early(struct fg_hub_job *job, int32_t reason, int32_t status, const char *text)
{
    struct fg_job_end end = {
        .reason = reason, .status = status, .text = fg_str_of(text), .context = 0};
    if (job->detached || job->cancelled)
        return;
    if (job->is_running) {
        void *ctx = job->ask.ctx;
        tell_end(job, &end);
        detach(job);
        job->ask.sink->over(ctx, &end);
        return;
    }
    if (fg_live_leave(job) || job->is_backoff) {
        over(job, &end);
        return;
    }
    job->cancelled = true; /* its wake-up ends it */
    tell_end(job, &end);
    job->ask.sink->over(job->ask.ctx, &end);
}

void fg_job_pause(struct fg_hub_job *job)
{
    job->paused = true;
}

void fg_job_unpause(struct fg_hub_job *job)
{
    job->paused = false;
    if (job->is_running)
        event_active(job->pump, EV_TIMEOUT, 0);
}
