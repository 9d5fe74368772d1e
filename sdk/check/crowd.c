/* Many jobs, several threads, two instances: each worker of the gateway has jobs of its own. */
#include "check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"

enum { WORKERS = 4, FILL_MOST = 256 };

/* ---- slots ----------------------------------------------------------------------------------- */

struct held {
    struct ask ask;
    struct fg_stream stream;
    struct fg_job *job;
};

static int32_t try_submit(struct bench *b, struct fg_model *model, struct held *h)
{
    struct fg_error err = {0};
    stream_init(&h->stream, &h->ask.request, PAUSE_ONCE);
    h->stream.submitter = pthread_self();
    h->stream.is_submitting = true;
    h->stream.embedding = b->embedding;
    step(b, "submit() to the last slot and beyond");
    const int32_t rc = b->plugin->submit(model, &h->ask.request, &h->stream, &h->job, &err);
    pthread_mutex_lock(&h->stream.lock);
    h->stream.is_submitting = false;
    pthread_mutex_unlock(&h->stream.lock);
    if (rc != FG_OK && h->stream.events)
        broken(b, "submit() answers %s and an event came", status_name(rc));
    if (rc != FG_OK && !err.text[0])
        broken(b, "submit() answers %s and says nothing", status_name(rc));
    return rc;
}

static void end_held(struct bench *b, struct held *h)
{
    job_cancel(b, h->job, &h->stream);
    wait_over(b, &h->stream, b->cancel_ms, "after cancel()");
    job_release(b, h->job);
    stream_done(&h->stream);
}

/* Paused jobs keep their slots. */
static void beyond_its_slots_it_is_busy(struct bench *b)
{
    struct fg_backend *backend = backend_open(b);
    struct fg_model *model = model_load(b, backend);
    if (b->max_running > FILL_MOST)
        skipped(b, "max_running is %u: too many to fill", b->max_running);
    struct held *held = calloc((size_t)b->max_running + 1, sizeof *held);
    if (!held)
        skipped(b, "no memory");
    for (uint32_t i = 0; i <= b->max_running; i++)
        ask_init(b, &held[i].ask, 8, 8);
    for (uint32_t i = 0; i < b->max_running; i++) {
        const int32_t rc = try_submit(b, model, &held[i]);
        if (rc != FG_OK)
            broken(b, "info() told of %u jobs at once, job %u is refused with %s", b->max_running,
                   i + 1, status_name(rc));
    }
    struct held *last = &held[b->max_running];
    const int32_t rc = try_submit(b, model, last);
    if (rc != FG_BUSY)
        broken(b, "info() told of %u jobs at once, job %u is answered with %s and not with "
                  "FG_BUSY: waiting is the gateway's", b->max_running, b->max_running + 1,
               status_name(rc));
    stream_done(&last->stream);
    for (int i = 0; i < 5; i++) { /* a slot that came back can be taken again at once */
        end_held(b, &held[0]);
        const int32_t again = try_submit(b, model, &held[0]);
        if (again != FG_OK)
            broken(b, "after release() of one job the next is refused with %s", status_name(again));
    }
    for (uint32_t i = 0; i < b->max_running; i++)
        end_held(b, &held[i]);
    free(held);
    model_unload(b, model);
    backend_close(b, backend);
}

/* ---- threads --------------------------------------------------------------------------------- */

struct worker {
    struct bench *b;
    struct fg_model *model;
    pthread_t thread;
    uint32_t number, rounds;
    uint64_t until_ns;
    uint32_t finished;
};

static int32_t policy_of(uint32_t n)
{
    static const int32_t policies[] = {ALWAYS_GO, PAUSE_EACH, ALWAYS_GO, STOP_ONCE, PAUSE_ONCE};
    return policies[n % (sizeof policies / sizeof *policies)];
}

/* Resumes, and cancels some; as a worker of the gateway does, one thread for all of a job. */
static void drive(struct worker *w, struct fg_stream *s, struct fg_job *job, uint32_t round)
{
    const uint64_t end = fg_clock_ns() + w->b->patience_ms * FG_NS_PER_MS;
    bool is_cancelled = false;
    for (uint32_t looks = 0;; looks++) {
        pthread_mutex_lock(&s->lock);
        const bool is_over = s->is_over, is_due = s->is_paused;
        const bool is_time = round % 3 == 0 && looks > round % 7 && !is_cancelled;
        s->is_cancelled = s->is_cancelled || is_time;
        s->is_paused = false;
        pthread_mutex_unlock(&s->lock);
        judge(w->b, s);
        if (is_over)
            return;
        if (is_due)
            w->b->plugin->resume(job);
        if (is_time) {
            is_cancelled = true;
            w->b->plugin->cancel(job);
        }
        if (fg_clock_ns() > end)
            broken(w->b, "a job of several threads had no last event within %u ms",
                   w->b->patience_ms);
        usleep(100);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct bench *b = w->b;
    struct ask a;
    ask_init(b, &a, 4 + w->number, 8);
    for (uint32_t round = 0; round < w->rounds && fg_clock_ns() < w->until_ns;) {
        struct fg_stream s;
        struct fg_job *job = NULL;
        struct fg_error err = {0};
        stream_init(&s, &a.request, policy_of(round + w->number));
        s.submitter = pthread_self();
        s.is_submitting = true;
        const int32_t rc = b->plugin->submit(w->model, &a.request, &s, &job, &err);
        pthread_mutex_lock(&s.lock);
        s.is_submitting = false;
        pthread_mutex_unlock(&s.lock);
        if (rc == FG_OK) {
            drive(w, &s, job, round++);
            b->plugin->release(job);
            w->finished++;
        } else if (rc != FG_BUSY) {
            broken(b, "submit() from several threads fails with %s: %.252s", status_name(rc),
                   err.text);
        } else {
            usleep(200);
        }
        stream_done(&s);
    }
    return NULL;
}

static void start(struct bench *b, struct worker *w, struct fg_model *model, uint32_t number)
{
    *w = (struct worker){
        .b = b,
        .model = model,
        .number = number,
        .rounds = b->options->rounds / WORKERS + 1,
        .until_ns = fg_clock_ns() + (uint64_t)b->options->timeout_ms * FG_NS_PER_MS / 3,
    };
    if (pthread_create(&w->thread, NULL, work, w) != 0)
        broken(b, "fg-plugin-check: no thread");
}

static void several_threads_have_jobs(struct bench *b)
{
    struct fg_backend *backend = backend_open(b);
    struct fg_model *model = model_load(b, backend);
    struct worker workers[WORKERS];
    struct ask probe;
    ask_init(b, &probe, 1, 1); /* skips on the main thread */
    step(b, "jobs of several threads");
    for (uint32_t i = 0; i < WORKERS; i++)
        start(b, &workers[i], model, i);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    model_unload(b, model);
    backend_close(b, backend);
}

struct watcher {
    struct bench *b;
    struct fg_backend *backend;
    pthread_t thread;
    atomic_bool is_done;
};
static void ignore_metric(void *ctx, const char *name, const char *labels, double value)
{
    (void)ctx;
    (void)name;
    (void)labels;
    (void)value;
}
static void *watch(void *arg)
{
    struct watcher *w = arg;
    while (!atomic_load(&w->is_done)) {
        struct fg_device device = {.size = sizeof device};
        (void)w->b->plugin->device(w->backend, 0, &device);
        w->b->plugin->metrics(w->backend, ignore_metric, NULL);
        (void)w->b->plugin->extension(w->backend, "fluxgate.there-is-no-such/9");
        usleep(300);
    }
    return NULL;
}

static void two_instances_are_watched_while_they_work(struct bench *b)
{
    struct fg_backend *backends[2] = {backend_open(b), backend_open(b)};
    struct fg_model *models[2] = {model_load(b, backends[0]), model_load(b, backends[1])};
    struct worker workers[WORKERS];
    struct watcher watchers[2];
    struct ask probe;
    ask_init(b, &probe, 1, 1);
    step(b, "jobs, device() and metrics() of two instances");
    for (int i = 0; i < 2; i++) {
        watchers[i].b = b;
        watchers[i].backend = backends[i];
        atomic_init(&watchers[i].is_done, false);
        if (pthread_create(&watchers[i].thread, NULL, watch, &watchers[i]) != 0)
            broken(b, "fg-plugin-check: no thread");
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        start(b, &workers[i], models[i % 2], i);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    model_unload(b, models[0]); /* watched until the last moment: [any] */
    model_unload(b, models[1]);
    for (int i = 0; i < 2; i++) {
        atomic_store(&watchers[i].is_done, true);
        pthread_join(watchers[i].thread, NULL);
        backend_close(b, backends[i]);
    }
}

/* An instance that was closed takes nothing of the other with it. */
static void an_instance_outlives_the_other(struct bench *b)
{
    struct fg_backend *one = backend_open(b), *two = backend_open(b);
    struct fg_model *first = model_load(b, one), *second = model_load(b, two);
    struct ask a;
    struct fg_stream s;
    ask_init(b, &a, 8, 8);
    job_run(b, first, &a.request, &s, ALWAYS_GO);
    stream_done(&s);
    model_unload(b, first);
    backend_close(b, one);
    job_run(b, second, &a.request, &s, ALWAYS_GO);
    stream_done(&s);
    model_unload(b, second);
    backend_close(b, two);
}

const struct check checks_crowd[] = {
    {"beyond max_running it is busy, and a slot that came back is taken",
     beyond_its_slots_it_is_busy, NEEDS_TEXT},
    {"an instance outlives the other", an_instance_outlives_the_other, NEEDS_TEXT},
    {"several threads have jobs at once", several_threads_have_jobs, NEEDS_TEXT},
    {"two instances are watched by other threads while they work",
     two_instances_are_watched_while_they_work, NEEDS_TEXT},
    {NULL, NULL, 0},
};
