/*
 * When a job speaks: one thread for all of an instance's jobs, however many, and a heap of the
 * times at which they are due. A thousand streams of fifty events a second cost a thousand wake-ups
 * a second at most, because due times are rounded up to a millisecond.
 *
 * A job is in one of these states, under the lock: in the heap; speaking (the driver is in
 * fg_fake_say() without the lock); parked (paused or hung: resume() or cancel() puts it into the
 * heap); over. release() of a job that is still speaking its last word leaves it to the driver.
 */
#include "fake/fake.h"

#include <stdlib.h>
#include <time.h>

#include "util/clock.h"
#include "util/error.h"

/* ---- heap, [lock] ---------------------------------------------------------------------------- */

static void place(struct fg_fake_driver *d, uint32_t at, struct fg_job *job)
{
    d->heap[at] = job;
    job->heap_at = (int32_t)at;
}

static void rise(struct fg_fake_driver *d, uint32_t at, struct fg_job *job)
{
    while (at && d->heap[(at - 1) / 2]->due_ns > job->due_ns) {
        place(d, at, d->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(d, at, job);
}

static void sink(struct fg_fake_driver *d, uint32_t at, struct fg_job *job)
{
    for (uint32_t child = 2 * at + 1; child < d->count; child = 2 * at + 1) {
        if (child + 1 < d->count && d->heap[child + 1]->due_ns < d->heap[child]->due_ns)
            child++;
        if (d->heap[child]->due_ns >= job->due_ns)
            break;
        place(d, at, d->heap[child]);
        at = child;
    }
    place(d, at, job);
}

static void queue_locked(struct fg_fake_driver *d, struct fg_job *job, uint64_t due_ns)
{
    job->due_ns = due_ns;
    rise(d, d->count++, job); /* there is room: see reserve */
    if (due_ns < d->sleeps_until)
        pthread_cond_signal(&d->changed);
}

static struct fg_job *pop_locked(struct fg_fake_driver *d)
{
    struct fg_job *top = d->heap[0];
    struct fg_job *moved = d->heap[--d->count];
    if (d->count)
        sink(d, 0, moved);
    top->heap_at = FG_FAKE_UNQUEUED;
    return top;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void free_job(struct fg_job *job)
{
    free(job->own.ids);
    free(job->prompt.ids);
    fg_buf_done(&job->text);
    free(job->logprobs);
    free(job->values);
    free(job);
}

/* What a turn left the job in. Job and lock are the caller's; the job may be gone afterwards. */
static void settle_locked(struct fg_fake_driver *d, struct fg_job *job,
                          const struct fg_fake_turn *turn)
{
    job->is_speaking = false;
    if (turn->next == FG_FAKE_OVER) { /* released perhaps, and then even its model may be gone */
        if (job->released)
            free_job(job);
        return;
    }
    const bool wants_end =
        __atomic_load_n(&job->cancelled, __ATOMIC_ACQUIRE) && !job->model->script->deaf;
    job->is_hung = turn->next == FG_FAKE_HUNG && !wants_end;
    job->is_paused = turn->next == FG_FAKE_PAUSED && !wants_end &&
                     __atomic_load_n(&job->resumes, __ATOMIC_ACQUIRE) == turn->mark;
    if (!job->is_paused && !job->is_hung)
        queue_locked(d, job, wants_end ? 0 : turn->due_ns);
}

static void sleep_locked(struct fg_fake_driver *d, uint64_t until)
{
    d->sleeps_until = until;
    if (until == UINT64_MAX) {
        pthread_cond_wait(&d->changed, &d->lock);
    } else {
        until = (until + FG_NS_PER_MS - 1) / FG_NS_PER_MS * FG_NS_PER_MS;
        const struct timespec at = {.tv_sec = (time_t)(until / FG_NS_PER_S),
                                    .tv_nsec = (long)(until % FG_NS_PER_S)};
        pthread_cond_timedwait(&d->changed, &d->lock, &at);
    }
    d->sleeps_until = 0;
}

static void *run(void *arg)
{
    struct fg_fake_driver *d = arg;
    pthread_setname_np(pthread_self(), "fg-fake");
    pthread_mutex_lock(&d->lock);
    while (!d->closing) {
        if (!d->count || d->heap[0]->due_ns > fg_clock_ns()) {
            sleep_locked(d, d->count ? d->heap[0]->due_ns : UINT64_MAX);
            continue;
        }
        struct fg_job *job = pop_locked(d);
        job->is_speaking = true;
        pthread_mutex_unlock(&d->lock);
        const struct fg_fake_turn turn = fg_fake_say(job);
        pthread_mutex_lock(&d->lock);
        settle_locked(d, job, &turn);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

int32_t fg_fake_driver_start(struct fg_fake_driver *d, struct fg_error *err)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, &attr);
    pthread_condattr_destroy(&attr);
    d->runs = pthread_create(&d->thread, NULL, run, d) == 0;
    return d->runs ? FG_OK : fg_fail(err, FG_INTERNAL, "fake: cannot start a thread");
}

void fg_fake_driver_stop(struct fg_fake_driver *d)
{
    pthread_mutex_lock(&d->lock);
    d->closing = true;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
    if (d->runs)
        pthread_join(d->thread, NULL);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
    free(d->heap);
}

int32_t fg_fake_driver_reserve(struct fg_fake_driver *d, uint32_t jobs)
{
    pthread_mutex_lock(&d->lock);
    struct fg_job **heap = realloc(d->heap, ((size_t)d->capacity + jobs) * sizeof(struct fg_job *));
    if (heap) {
        d->heap = heap;
        d->capacity += jobs;
    }
    pthread_mutex_unlock(&d->lock);
    return heap ? FG_OK : FG_NO_MEMORY;
}

void fg_fake_driver_forget(struct fg_fake_driver *d, uint32_t jobs)
{
    pthread_mutex_lock(&d->lock);
    d->capacity -= jobs; /* the memory stays: the next model takes it */
    pthread_mutex_unlock(&d->lock);
}

/* ---- the table's side, [worker] -------------------------------------------------------------- */

/* Refused by the script, or because the slots are taken. On FG_OK a slot is held. */
static int32_t admit(struct fg_model *m, struct fg_error *err)
{
    const struct fg_fake_script *s = m->script;
    const uint64_t n = __atomic_fetch_add(&m->submitted, 1, __ATOMIC_RELAXED);
    if (s->refuse)
        return fg_fail(err, (int32_t)s->refuse, "%s", s->fail_text);
    if (s->busy_share > 0 &&
        (uint64_t)((double)(n + 1) * s->busy_share) > (uint64_t)((double)n * s->busy_share))
        return fg_fail(err, FG_BUSY, "fake: busy, as the script says");
    if (__atomic_add_fetch(&m->running, 1, __ATOMIC_ACQ_REL) <= m->max_running)
        return FG_OK;
    __atomic_sub_fetch(&m->running, 1, __ATOMIC_ACQ_REL);
    return fg_fail(err, FG_BUSY, "fake: all %u slots are taken", m->max_running);
}

/* A job that has no pace to keep speaks at once, on the worker; else the driver does. */
static void begin(struct fg_job *job)
{
    struct fg_fake_driver *d = &job->model->backend->driver;
    const struct fg_fake_script *s = job->model->script;
    struct fg_fake_turn turn = {.next = FG_FAKE_LATER};
    if (!s->thread && !s->first_ms && job->pace_ns <= 0)
        turn = fg_fake_say(job);
    if (turn.next == FG_FAKE_OVER)
        return;
    pthread_mutex_lock(&d->lock);
    settle_locked(d, job, &turn);
    pthread_mutex_unlock(&d->lock);
}

int32_t fg_fake_submit(struct fg_model *m, const struct fg_request *request,
                       struct fg_stream *stream, struct fg_job **out, struct fg_error *err)
{
    struct fg_job *job = calloc(1, sizeof *job);
    if (!job)
        return fg_fail(err, FG_NO_MEMORY, "fake: no memory for a job");
    job->model = m;
    job->stream = stream;
    job->request = request;
    job->submit_ns = fg_clock_ns();
    job->heap_at = FG_FAKE_UNQUEUED;
    int32_t rc = fg_fake_answer(job, err);
    if (rc == FG_OK)
        rc = admit(m, err);
    if (rc != FG_OK) {
        free_job(job);
        return rc;
    }
    *out = job;
    begin(job);
    return FG_OK;
}

void fg_fake_resume(struct fg_job *job)
{
    struct fg_fake_driver *d = &job->model->backend->driver;
    pthread_mutex_lock(&d->lock);
    __atomic_add_fetch(&job->resumes, 1, __ATOMIC_ACQ_REL);
    if (job->is_paused) {
        job->is_paused = false;
        queue_locked(d, job, 0);
    }
    pthread_mutex_unlock(&d->lock);
}

void fg_fake_cancel(struct fg_job *job)
{
    struct fg_fake_driver *d = &job->model->backend->driver;
    pthread_mutex_lock(&d->lock);
    __atomic_store_n(&job->cancelled, 1, __ATOMIC_RELEASE);
    if (!job->model->script->deaf) {
        if (job->is_paused || job->is_hung) {
            job->is_paused = job->is_hung = false;
            queue_locked(d, job, 0);
        } else if (job->heap_at != FG_FAKE_UNQUEUED) { /* before its time */
            job->due_ns = 0;
            rise(d, (uint32_t)job->heap_at, job);
            if (d->sleeps_until)
                pthread_cond_signal(&d->changed);
        }
    }
    pthread_mutex_unlock(&d->lock);
}

void fg_fake_release(struct fg_job *job)
{
    struct fg_fake_driver *d = &job->model->backend->driver;
    pthread_mutex_lock(&d->lock);
    const bool is_speaking = job->is_speaking; /* just coming back from its last emit() */
    job->released = true;
    pthread_mutex_unlock(&d->lock);
    if (!is_speaking)
        free_job(job);
}
