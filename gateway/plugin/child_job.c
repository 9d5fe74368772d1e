/*
 * Jobs inside fg-plugin-host. What the plugin takes for its stream is a record of ours: emit()
 * packs the event into the sender, which the main thread writes.
 *
 * emit() answers PAUSE when the gateway said so (its queue for this job is full) or when the socket
 * is (all jobs). A paused job is resumed when neither is true any more. The gateway counts its
 * resumes; a PAUSE that one of them overtook is void.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plugin/child.h"
#include "plugin/event.h"
#include "util/error.h"
#include "util/str.h"

enum { INDEX_BITS = 20, INDEX_MASK = (1 << INDEX_BITS) - 1 };

struct fg_stream { /* from SUBMIT to RELEASE */
    struct fg_served *served;
    uint64_t id;
    struct fg_job *job; /* the plugin's; NULL: it was refused */
    void *data;         /* the request, as it came */
    struct fg_arena *arena;
    struct fg_msg_submit ask;
    uint64_t resumes; /* the gateway's count; the main thread's */
    /* atomic */
    uint32_t over;    /* the last event was emitted */
    uint32_t stopped; /* nobody listens */
    uint32_t dropped; /* an event did not fit: the job ends with FAILED */
    uint32_t gate;    /* the gateway said PAUSE */
    uint32_t told;    /* the plugin was told PAUSE */
};

/* ---- events, on any thread --------------------------------------------------------------------
 */

static bool is_last(const struct fg_event *ev)
{
    return ev->kind == FG_EV_DONE || ev->kind == FG_EV_FAILED;
}

/* Returns the bytes that waited before it; SIZE_MAX: it could not be sent. */
static size_t send_event(struct fg_stream *s, const struct fg_event *ev)
{
    size_t len = fg_event_pack(ev, NULL);
    void *payload = fg_wire_begin(&s->served->out, FG_MSG_EVENT, s->id, len, 0);
    if (!payload)
        return SIZE_MAX;
    fg_event_pack(ev, payload);
    size_t before = fg_wire_end(&s->served->out, payload);
    return before;
}

static int32_t emit_last(struct fg_stream *s, struct fg_event *ev)
{
    struct fg_served *served = s->served; /* the record may go as soon as the event is out */
    bool stopped = __atomic_load_n(&s->stopped, __ATOMIC_RELAXED);
    const struct fg_event failed = {.size = sizeof failed,
                                    .kind = FG_EV_FAILED,
                                    .code = FG_NO_MEMORY,
                                    .text = FG_STR("an event was too large for its stream")};
    if (__atomic_exchange_n(&s->over, 1, __ATOMIC_ACQ_REL))
        return FG_FLOW_STOP;
    size_t before =
        __atomic_load_n(&s->dropped, __ATOMIC_RELAXED) ? send_event(s, &failed) : send_event(s, ev);
    if (before == SIZE_MAX)
        _exit(1); /* a job without a last event would wait for ever; our end is one, too */
    if (before == 0)
        fg_child_wake(served);
    return stopped ? FG_FLOW_STOP : FG_FLOW_GO;
}

static int32_t paused(struct fg_stream *s)
{
    struct fg_served *served = s->served;
    __atomic_store_n(&s->told, 1, __ATOMIC_RELEASE);
    /* What made us pause may be over by now: the main thread looks once more. */
    __atomic_store_n(&served->look, 1, __ATOMIC_RELEASE);
    fg_child_wake(served);
    return FG_FLOW_PAUSE;
}

int32_t fg_child_emit(struct fg_stream *s, const struct fg_event *given)
{
    struct fg_event ev;
    struct fg_usage usage;
    fg_event_take(given, &ev, &usage);
    if (is_last(&ev))
        return emit_last(s, &ev);
    if (__atomic_load_n(&s->over, __ATOMIC_ACQUIRE) ||
        __atomic_load_n(&s->stopped, __ATOMIC_RELAXED) ||
        __atomic_load_n(&s->dropped, __ATOMIC_RELAXED))
        return FG_FLOW_STOP;
    size_t before = send_event(s, &ev);
    if (before == SIZE_MAX) {
        __atomic_store_n(&s->dropped, 1, __ATOMIC_RELAXED);
        return FG_FLOW_STOP;
    }
    if (before == 0)
        fg_child_wake(s->served);
    if (__atomic_load_n(&s->gate, __ATOMIC_ACQUIRE) || before > FG_CHILD_HIGH)
        return paused(s);
    return FG_FLOW_GO;
}

/* ---- words about jobs, on the main thread -----------------------------------------------------
 */

static bool make_room(struct fg_served *s, uint32_t index)
{
    if (index < s->job_room)
        return true;
    uint32_t room = s->job_room ? s->job_room : 64;
    while (room <= index)
        room *= 2;
    struct fg_stream **jobs = realloc(s->jobs, room * sizeof *jobs);
    if (!jobs)
        return false;
    memset(jobs + s->job_room, 0, (room - s->job_room) * sizeof *jobs);
    s->jobs = jobs;
    s->job_room = room;
    return true;
}

static struct fg_stream *find(struct fg_served *s, uint64_t id)
{
    uint32_t index = (uint32_t)(id & INDEX_MASK);
    struct fg_stream *job = index < s->job_room ? s->jobs[index] : NULL;
    return job && job->id == id ? job : NULL;
}

static void free_job(struct fg_stream *job)
{
    if (!job)
        return;
    fg_arena_close(job->arena);
    free(job->data);
    free(job);
}

static struct fg_model *model_of(struct fg_served *s, uint64_t id)
{
    pthread_mutex_lock(&s->lock);
    struct fg_model *model = id && id <= s->model_count ? s->models[id - 1] : NULL;
    pthread_mutex_unlock(&s->lock);
    return model;
}

static void refuse(struct fg_stream *job, int32_t status, const struct fg_error *err)
{
    struct fg_event ev = {.size = sizeof ev,
                          .kind = FG_EV_FAILED,
                          .code = status,
                          .text = {err->text, strnlen(err->text, sizeof err->text)}};
    (void)emit_last(job, &ev);
}

static bool submit(struct fg_served *s, const struct fg_wire_frame *f)
{
    struct fg_stream *job = calloc(1, sizeof *job);
    struct fg_error err = {0};
    if (!job || !make_room(s, (uint32_t)(f->id & INDEX_MASK))) {
        free(job);
        return false;
    }
    job->served = s;
    job->id = f->id;
    job->arena = fg_arena_open(0, 2 * (size_t)FG_WIRE_MOST);
    job->data = fg_wire_take_big(&s->in);
    if (!job->data && (job->data = malloc(f->len ? f->len : 1)))
        memcpy(job->data, f->data, f->len);
    struct fg_view v = {.base = job->data, .len = f->len, .arena = job->arena};
    if (!job->arena || !job->data || !fg_submit_view(&v, &job->ask)) {
        free_job(job);
        return false;
    }
    s->jobs[f->id & INDEX_MASK] = job;
    struct fg_model *model = model_of(s, job->ask.model);
    int32_t rc = model ? s->table->submit(model, &job->ask.request, job, &job->job, &err)
                       : fg_fail(&err, FG_INTERNAL, "the model is not loaded in this process");
    if (rc != FG_OK) {
        job->job = NULL;
        refuse(job, rc, &err);
    }
    return true;
}

static void on_release(struct fg_served *s, struct fg_stream *job)
{
    if (job->job)
        s->table->release(job->job);
    s->jobs[job->id & INDEX_MASK] = NULL;
    free_job(job);
}

static void try_resume(struct fg_stream *job)
{
    if (__atomic_load_n(&job->gate, __ATOMIC_ACQUIRE) || !job->job)
        return;
    if (__atomic_exchange_n(&job->told, 0, __ATOMIC_ACQ_REL))
        job->served->table->resume(job->job);
}

static bool read_count(const struct fg_wire_frame *f, uint64_t *count)
{
    if (f->len != sizeof *count)
        return false;
    memcpy(count, f->data, sizeof *count);
    return true;
}

static bool on_pause(struct fg_stream *job, const struct fg_wire_frame *f)
{
    uint64_t count;
    if (!read_count(f, &count))
        return false;
    if (job->resumes <= count)
        __atomic_store_n(&job->gate, 1, __ATOMIC_RELEASE);
    return true;
}

static bool on_resume(struct fg_served *s, struct fg_stream *job, const struct fg_wire_frame *f)
{
    if (!read_count(f, &job->resumes))
        return false;
    __atomic_store_n(&job->gate, 0, __ATOMIC_RELEASE);
    if (fg_wire_waiting(&s->out) <= FG_CHILD_HIGH)
        try_resume(job);
    else
        __atomic_store_n(&s->look, 1, __ATOMIC_RELEASE);
    return true;
}

void fg_child_jobs_look(struct fg_served *s)
{
    if (fg_wire_waiting(&s->out) > FG_CHILD_LOW)
        return; /* again after the next write */
    __atomic_store_n(&s->look, 0, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < s->job_room; i++)
        if (s->jobs[i] && __atomic_load_n(&s->jobs[i]->told, __ATOMIC_ACQUIRE))
            try_resume(s->jobs[i]);
}

bool fg_child_job_frame(struct fg_served *s, const struct fg_wire_frame *f)
{
    if (!__atomic_load_n(&s->is_open, __ATOMIC_ACQUIRE))
        return false;
    if (f->type == FG_MSG_SUBMIT)
        return !find(s, f->id) && submit(s, f);
    struct fg_stream *job = find(s, f->id);
    if (!job)
        return f->type <= FG_MSG_RESUME;
    if (f->type == FG_MSG_CANCEL && job->job)
        s->table->cancel(job->job);
    else if (f->type == FG_MSG_RELEASE)
        on_release(s, job);
    else if (f->type == FG_MSG_STOP)
        __atomic_store_n(&job->stopped, 1, __ATOMIC_RELAXED);
    else if (f->type == FG_MSG_PAUSE)
        return on_pause(job, f);
    else if (f->type == FG_MSG_RESUME)
        return on_resume(s, job, f);
    return true;
}
