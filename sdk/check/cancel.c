/* cancel() is a wish, the last event is the fact, release() is the end - in every order. */
#include "check/check.h"

#include <stdlib.h>
#include <unistd.h>

#include "util/clock.h"

struct world {
    struct fg_backend *backend;
    struct fg_model *model;
};
static struct world open_world(struct bench *b)
{
    struct world w = {.backend = backend_open(b)};
    w.model = model_load(b, w.backend);
    return w;
}
static void close_world(struct bench *b, struct world *w)
{
    model_unload(b, w->model);
    backend_close(b, w->backend);
}

static void cancel_before_the_first_event(struct bench *b)
{
    struct world w = open_world(b);
    struct ask a;
    struct fg_stream s;
    ask_init(b, &a, 64, 64);
    for (int i = 0; i < 20; i++) {
        stream_init(&s, &a.request, ALWAYS_GO);
        struct fg_job *job = job_submit(b, w.model, &a.request, &s);
        job_cancel(b, job, &s);
        wait_over(b, &s, b->cancel_ms, "after cancel()");
        job_release(b, job);
        stream_done(&s);
    }
    close_world(b, &w);
}

/* Held by a pause, so that the answer cannot be over before. */
static void cancel_of_a_paused_job(struct bench *b)
{
    struct world w = open_world(b);
    struct ask a;
    struct fg_stream s;
    ask_init(b, &a, 64, 64);
    for (int i = 0; i < 5; i++) {
        stream_init(&s, &a.request, PAUSE_ONCE);
        struct fg_job *job = job_submit(b, w.model, &a.request, &s);
        if (!wait_outputs(b, &s, 1, b->patience_ms))
            broken(b, "no output within %u ms", b->patience_ms);
        usleep(1000 * (unsigned)i);
        job_cancel(b, job, &s);
        wait_over(b, &s, b->cancel_ms, "after cancel() of a paused job");
        if (s.pauses && (s.last_kind != FG_EV_DONE || s.last_code != FG_END_CANCELLED))
            broken(b, "a job that was cancelled while it was paused ends with kind %d, code %d, "
                      "not with DONE/CANCELLED", s.last_kind, s.last_code);
        job_release(b, job);
        stream_done(&s);
    }
    close_world(b, &w);
}

static void cancel_may_be_called_again_and_late(struct bench *b)
{
    struct world w = open_world(b);
    struct ask a;
    struct fg_stream s;
    ask_init(b, &a, 32, 32);
    stream_init(&s, &a.request, PAUSE_ONCE);
    struct fg_job *job = job_submit(b, w.model, &a.request, &s);
    (void)wait_outputs(b, &s, 1, b->patience_ms);
    for (int i = 0; i < 3; i++)
        job_cancel(b, job, &s);
    wait_over(b, &s, b->cancel_ms, "after cancel()");
    for (int i = 0; i < 3; i++) {
        job_cancel(b, job, &s);
        job_resume(b, job, &s);
    }
    usleep(20000);
    judge(b, &s); /* no second end */
    job_release(b, job);
    stream_done(&s);
    ask_init(b, &a, 4, 4);
    stream_init(&s, &a.request, ALWAYS_GO);
    job = job_submit(b, w.model, &a.request, &s);
    wait_over(b, &s, b->patience_ms, "after submit()");
    job_cancel(b, job, &s); /* after the end of a job that ended by itself */
    usleep(20000);
    judge(b, &s);
    job_release(b, job);
    stream_done(&s);
    close_world(b, &w);
}

static uint64_t lasting_ns(struct bench *b, struct fg_model *model, const struct fg_request *r)
{
    struct fg_stream s;
    const uint64_t start = fg_clock_ns();
    job_run(b, model, r, &s, ALWAYS_GO);
    stream_done(&s);
    return fg_clock_ns() - start;
}

static bool time_is_up(const struct bench *b, uint64_t start_ns)
{
    return fg_clock_ns() - start_ns > (uint64_t)b->options->timeout_ms * FG_NS_PER_MS / 3;
}

/* cancel() at every moment of a job's life, most often near its end. */
static void cancel_races_with_the_end(struct bench *b)
{
    struct world w = open_world(b);
    struct ask a;
    struct fg_stream s;
    uint32_t cancelled = 0;
    ask_init(b, &a, 8, 8);
    uint64_t whole = lasting_ns(b, w.model, &a.request);
    whole = lasting_ns(b, w.model, &a.request); /* the second one is warm */
    const uint64_t start = fg_clock_ns();
    for (uint32_t i = 0; i < b->options->rounds && !time_is_up(b, start); i++) {
        stream_init(&s, &a.request, ALWAYS_GO);
        const uint64_t until = fg_clock_ns() + whole * (i % 64) / 48;
        struct fg_job *job = job_submit(b, w.model, &a.request, &s);
        while (fg_clock_ns() < until)
            ;
        job_cancel(b, job, &s);
        wait_over(b, &s, b->cancel_ms, "after cancel()");
        cancelled += s.last_code == FG_END_CANCELLED;
        job_release(b, job);
        judge(b, &s);
        stream_done(&s);
    }
    (void)cancelled;
    close_world(b, &w);
}

/* The gateway releases as soon as it has the last event, which may be before the emit() that
 * brought it has returned; then unload() and close() may follow at once. */
static void release_may_come_before_the_last_emit_returns(struct bench *b)
{
    struct ask a;
    struct fg_stream s;
    for (uint32_t i = 0; i < 10; i++) {
        struct world w = open_world(b);
        ask_init(b, &a, 4, 4);
        struct fg_request *request = guarded(b, &a.request, sizeof a.request);
        stream_init(&s, request, SLOW_LAST);
        struct fg_job *job = job_submit(b, w.model, request, &s);
        if (i % 2)
            job_cancel(b, job, &s);
        wait_over(b, &s, b->patience_ms, "after submit()");
        job_release(b, job);
        unguard(request, sizeof *request); /* it was the plugin's to read until release() */
        stream_done(&s);
        step(b, "unload() right after release(), which unmapped the request and ended the stream");
        b->plugin->unload(w.model);
        backend_close(b, w.backend);
    }
}

const struct check checks_cancel[] = {
    {"cancel before the first event ends the job once", cancel_before_the_first_event, NEEDS_TEXT},
    {"cancel of a paused job ends it with DONE/CANCELLED", cancel_of_a_paused_job, NEEDS_TEXT},
    {"cancel may be called again, and after the last event", cancel_may_be_called_again_and_late,
     NEEDS_TEXT},
    {"cancel and the end may race, there is one last event", cancel_races_with_the_end, NEEDS_TEXT},
    {"release may come before the last emit returns, unload right after",
     release_may_come_before_the_last_emit_returns, NEEDS_TEXT},
    {NULL, NULL, 0},
};
