/*
 * Jobs in a child. Workers submit, resume, cancel and release by appending a frame; the child's
 * thread turns EVENT frames into events of the job's stream.
 *
 * A job lives from submit to release; the table finds it by the id in a frame. A job's last event
 * comes from the child's thread only, be it the child's or, when the child is gone, ours; `ended`
 * is set before, so there is exactly one, and the thread does not touch the job after it.
 *
 * Credit: PAUSE and RESUME may cross on their way. Resumes are counted, and a PAUSE carries the
 * count that was true before the event was emitted: when more resumes came since, it is void.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/event.h"
#include "plugin/remote_inner.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/str.h"

enum {
    INDEX_BITS = 20,
    JOBS_MOST = 1 << INDEX_BITS,
    OUT_MOST = 96 << 20,  /* bytes on their way to the child; beyond it BUSY */
    INDEX_MOST = 1 << 16, /* tool calls in one answer */
};

/* ---- the table --------------------------------------------------------------------------------
 */

static bool grow_locked(struct fg_backend *r)
{
    uint32_t room = r->room ? r->room * 2 : 64;
    struct fg_job **jobs = room <= JOBS_MOST ? realloc(r->jobs, room * sizeof *jobs) : NULL;
    if (!jobs)
        return false;
    memset(jobs + r->room, 0, (room - r->room) * sizeof *jobs);
    r->jobs = jobs;
    r->room = room;
    return true;
}

static int32_t insert(struct fg_backend *r, struct fg_job *job, struct fg_error *err)
{
    int32_t rc = FG_OK;
    pthread_mutex_lock(&r->lock);
    if (r->gone || r->closing) {
        rc = fg_fail(err, FG_DEVICE_LOST, "backend \"%.64s\": its process is gone", r->ask.name);
    } else if (r->count == r->room && !grow_locked(r)) {
        rc = fg_fail(err, FG_NO_MEMORY, "no memory for a job");
    } else {
        uint32_t at = (uint32_t)(r->sequence % r->room);
        while (r->jobs[at])
            at = (at + 1) % r->room;
        job->id = ++r->sequence << INDEX_BITS | at;
        job->since_ns = fg_clock_ns();
        r->jobs[at] = job;
        r->count++;
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

static struct fg_job *find_locked(struct fg_backend *r, uint64_t id)
{
    uint32_t at = (uint32_t)(id & (JOBS_MOST - 1));
    struct fg_job *job = at < r->room ? r->jobs[at] : NULL;
    return job && job->id == id ? job : NULL;
}

/* False: the last event was emitted meanwhile, the job stays. */
static bool take_out(struct fg_job *job, bool even_ended)
{
    struct fg_backend *r = job->remote;
    pthread_mutex_lock(&r->lock);
    bool out = even_ended || !job->ended;
    if (out) {
        r->jobs[job->id & (JOBS_MOST - 1)] = NULL;
        r->count--;
    }
    pthread_mutex_unlock(&r->lock);
    return out;
}

/* ---- what workers call ------------------------------------------------------------------------
 */

static bool is_lost(struct fg_backend *r)
{
    pthread_mutex_lock(&r->lock);
    bool gone = r->gone;
    pthread_mutex_unlock(&r->lock);
    return gone;
}

static void say(struct fg_job *job, uint8_t type, const void *payload, size_t len)
{
    struct fg_backend *r = job->remote;
    if (is_lost(r))
        return;
    if (fg_wire_send(&r->out, type, job->id, payload, len))
        fg_remote_flush(r);
    else
        fg_remote_kill(r, "no memory for a message to it");
}

int32_t fg_remote_submit(struct fg_model *model, const struct fg_request *request,
                         struct fg_stream *stream, struct fg_job **out, struct fg_error *err)
{
    struct fg_backend *r = model->remote;
    struct fg_msg_submit m = {.model = model->id};
    memcpy(&m.request, request,
           request->size < sizeof m.request ? request->size : sizeof m.request);
    const size_t len = fg_submit_pack(&m, NULL);
    if (len > FG_WIRE_MOST)
        return fg_fail(err, FG_INVALID, "the request is too large: %zu bytes, at most %d", len,
                       FG_WIRE_MOST);
    struct fg_job *job = calloc(1, sizeof *job);
    if (!job)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a job");
    job->remote = r;
    job->stream = stream;
    job->choices = m.request.choices ? m.request.choices : 1;
    job->inputs = m.request.input_count;
    int32_t rc = insert(r, job, err);
    if (rc != FG_OK) {
        free(job);
        return rc;
    }
    void *payload = fg_wire_begin(&r->out, FG_MSG_SUBMIT, job->id, len, OUT_MOST);
    if (payload) {
        fg_submit_pack(&m, payload);
        fg_wire_end(&r->out, payload);
        fg_remote_flush(r);
    } else if (take_out(job, false)) {
        free(job);
        return fg_fail(err, FG_BUSY, "backend \"%.64s\" is behind with its requests", r->ask.name);
    }
    *out = job; /* without payload: the child ended just now, and the stream has been told */
    return FG_OK;
}

void fg_remote_resume(struct fg_job *job)
{
    uint64_t count = __atomic_add_fetch(&job->resumes, 1, __ATOMIC_ACQ_REL);
    __atomic_store_n(&job->since_ns, fg_clock_ns(), __ATOMIC_RELAXED);
    __atomic_store_n(&job->paused, 0, __ATOMIC_RELEASE);
    if (!__atomic_load_n(&job->ended, __ATOMIC_ACQUIRE))
        say(job, FG_MSG_RESUME, &count, sizeof count);
}

void fg_remote_cancel(struct fg_job *job)
{
    if (!__atomic_load_n(&job->ended, __ATOMIC_ACQUIRE))
        say(job, FG_MSG_CANCEL, NULL, 0);
}

void fg_remote_release(struct fg_job *job)
{
    say(job, FG_MSG_RELEASE, NULL, 0);
    (void)take_out(job, true);
    free(job);
}

/* ---- what the child says ----------------------------------------------------------------------
 */

static bool is_last(const struct fg_event *ev)
{
    return ev->kind == FG_EV_DONE || ev->kind == FG_EV_FAILED;
}

/* What front ends take for granted of a plugin is made true here. */
static bool is_sane(const struct fg_job *job, struct fg_event *ev)
{
    if (ev->kind < FG_EV_STARTED || ev->kind > FG_EV_FINISH || ev->choice >= job->choices)
        return false;
    if (ev->kind == FG_EV_EMBEDDING && ev->index >= job->inputs)
        return false;
    if (ev->index >= INDEX_MOST && ev->index >= job->inputs)
        return false;
    if (ev->kind == FG_EV_FAILED)
        ev->code = ev->code > FG_OK && ev->code <= FG_TOO_LONG ? ev->code : FG_INTERNAL;
    else if (ev->kind == FG_EV_DONE || ev->kind == FG_EV_FINISH)
        return ev->code >= FG_END_STOP && ev->code <= FG_END_CANCELLED;
    return ev->kind != FG_EV_PROGRESS || ev->value_count <= 1;
}

static bool refuse(struct fg_backend *r, const struct fg_event *ev)
{
    char text[120];
    snprintf(text, sizeof text,
             "broke the protocol: an event of kind %d, choice %u, index %u, code %d", ev->kind,
             ev->choice, ev->index, ev->code);
    fg_remote_kill(r, text);
    return false;
}

static void answer_flow(struct fg_job *job, int32_t flow, uint64_t resumes)
{
    struct fg_backend *r = job->remote;
    bool sent = true;
    if (flow == FG_FLOW_PAUSE) {
        __atomic_store_n(&job->paused, 1, __ATOMIC_RELAXED);
        if (__atomic_load_n(&job->resumes, __ATOMIC_ACQUIRE) != resumes)
            __atomic_store_n(&job->paused, 0, __ATOMIC_RELAXED);
        sent = fg_wire_send(&r->out, FG_MSG_PAUSE, job->id, &resumes, sizeof resumes);
    } else if (flow == FG_FLOW_STOP && !job->stop_sent) {
        job->stop_sent = true;
        sent = fg_wire_send(&r->out, FG_MSG_STOP, job->id, NULL, 0);
    }
    if (!sent)
        fg_remote_kill(r, "no memory for a message to it");
}

bool fg_remote_event(struct fg_backend *r, const struct fg_wire_frame *f)
{
    struct fg_event ev;
    struct fg_view v = {.base = f->data, .len = f->len, .arena = r->arena};
    if (!fg_event_view(&v, &ev)) {
        if (v.no_memory)
            fg_remote_kill(r, "no memory for an event of it");
        return v.no_memory;
    }
    pthread_mutex_lock(&r->lock);
    struct fg_job *job = find_locked(r, f->id);
    bool wanted = job && !job->ended, good = !wanted || is_sane(job, &ev);
    if (wanted && good && is_last(&ev))
        __atomic_store_n(&job->ended, 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&r->lock);
    if (!good)
        return refuse(r, &ev);
    if (!wanted)
        return true;
    r->event_ns = r->now_ns;
    struct fg_stream *stream = job->stream;
    uint64_t resumes = __atomic_load_n(&job->resumes, __ATOMIC_ACQUIRE);
    int32_t flow = fg_stream_emit(stream, &ev);
    if (!is_last(&ev)) /* else the job may be gone */
        answer_flow(job, flow, resumes);
    return true;
}

void fg_remote_fail_jobs(struct fg_backend *r, const char *reason)
{
    struct fg_event ev = {
        .size = sizeof ev, .kind = FG_EV_FAILED, .code = FG_DEVICE_LOST, .text = fg_str_of(reason)};
    for (uint32_t i = 0;; i++) {
        struct fg_stream *stream = NULL;
        pthread_mutex_lock(&r->lock);
        bool over = i >= r->room;
        struct fg_job *job = over ? NULL : r->jobs[i];
        if (job && !job->ended) {
            __atomic_store_n(&job->ended, 1, __ATOMIC_RELEASE);
            stream = job->stream;
        }
        pthread_mutex_unlock(&r->lock);
        if (over)
            return;
        if (stream)
            (void)fg_stream_emit(stream, &ev);
    }
}

bool fg_remote_is_hanging(struct fg_backend *r, uint64_t limit_ns)
{
    bool hangs = false;
    if (r->now_ns - r->event_ns < limit_ns)
        return false;
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->room && !hangs; i++) {
        const struct fg_job *job = r->jobs[i];
        if (!job || job->ended || __atomic_load_n(&job->paused, __ATOMIC_ACQUIRE))
            continue;
        uint64_t since = __atomic_load_n(&job->since_ns, __ATOMIC_RELAXED);
        hangs = r->now_ns > since && r->now_ns - since >= limit_ns;
    }
    pthread_mutex_unlock(&r->lock);
    return hangs;
}
