/* Push with credit: what emit() answers, and what must follow. */
#include "check/check.h"

#include <string.h>
#include <unistd.h>

static struct fg_model *open_model(struct bench *b, struct fg_backend **backend)
{
    *backend = backend_open(b);
    return model_load(b, *backend);
}
static void close_model(struct bench *b, struct fg_backend *backend, struct fg_model *model)
{
    model_unload(b, model);
    backend_close(b, backend);
}

static void after_pause_nothing_comes_until_resume(struct bench *b)
{
    struct fg_backend *backend;
    struct fg_model *model = open_model(b, &backend);
    struct ask a;
    struct fg_stream s;
    ask_init(b, &a, 32, 32);
    stream_init(&s, &a.request, PAUSE_ONCE);
    struct fg_job *job = job_submit(b, model, &a.request, &s);
    if (!wait_outputs(b, &s, 1, b->patience_ms))
        broken(b, "no output within %u ms", b->patience_ms);
    usleep(QUIET_MS * 1000);
    judge(b, &s); /* emit() has noted what came though it must not */
    job_resume(b, job, &s);
    wait_over(b, &s, b->patience_ms, "after resume()");
    if (s.pauses && s.outputs < 2 && s.usage.output_tokens > 1)
        broken(b, "after resume() the rest of the text is missing");
    job_release(b, job);
    stream_done(&s);
    close_model(b, backend, model);
}

/* The text of one road under a policy; resumes as often as it is paused. */
static void run_paused(struct bench *b, struct fg_model *model, const struct fg_request *r,
                       int32_t policy, struct fg_stream *s)
{
    stream_init(s, r, policy);
    struct fg_job *job = job_submit(b, model, r, s);
    for (;;) {
        pthread_mutex_lock(&s->lock);
        const bool is_over = s->is_over;
        const bool is_due = policy == OVERTAKE ? s->wants_resume || s->is_paused : s->is_paused;
        pthread_mutex_unlock(&s->lock);
        judge(b, s);
        if (is_over)
            break;
        if (is_due)
            job_resume(b, job, s);
        else
            usleep(20); /* the parent's clock ends this */
    }
    job_release(b, job);
}

static void compare(struct bench *b, int32_t policy, const char *how)
{
    struct fg_backend *backend;
    struct fg_model *model = open_model(b, &backend);
    struct ask a;
    struct fg_stream plain, again, paused;
    ask_init(b, &a, 24, 24);
    job_run(b, model, &a.request, &plain, ALWAYS_GO);
    job_run(b, model, &a.request, &again, ALWAYS_GO);
    run_paused(b, model, &a.request, policy, &paused);
    const struct fg_str one = fg_buf_str(&plain.text);
    if (fg_str_eq(one, fg_buf_str(&again.text)) && !fg_str_eq(one, fg_buf_str(&paused.text)))
        broken(b, "%s: %zu bytes of text came, without pauses it were %zu: an event that was "
                  "answered with PAUSE was taken, and none may be lost or come again", how,
               paused.text.len, plain.text.len);
    stream_done(&plain);
    stream_done(&again);
    stream_done(&paused);
    close_model(b, backend, model);
}

static void no_text_is_lost_by_pauses(struct bench *b)
{
    compare(b, PAUSE_EACH, "a pause after every output");
}

/* The client may catch up before emit() has even returned: resume() then comes before the plugin
 * knows that it is paused, and must not be forgotten. */
static void a_resume_may_overtake_its_pause(struct bench *b)
{
    compare(b, OVERTAKE, "resume() called before emit() returned PAUSE");
}

static void stop_ends_the_job(struct bench *b)
{
    struct fg_backend *backend;
    struct fg_model *model = open_model(b, &backend);
    struct ask a;
    struct fg_stream s;
    ask_init(b, &a, 64, 64);
    stream_init(&s, &a.request, STOP_ONCE);
    struct fg_job *job = job_submit(b, model, &a.request, &s);
    wait_over(b, &s, b->patience_ms, "though emit() answered STOP");
    job_release(b, job);
    stream_done(&s);
    close_model(b, backend, model);
}

static void resume_does_nothing_unless_paused(struct bench *b)
{
    struct fg_backend *backend;
    struct fg_model *model = open_model(b, &backend);
    struct ask a;
    struct fg_stream s;
    ask_init(b, &a, 16, 16);
    stream_init(&s, &a.request, ALWAYS_GO);
    struct fg_job *job = job_submit(b, model, &a.request, &s);
    for (int i = 0; i < 1000 && !wait_outputs(b, &s, UINT32_MAX, 0); i++)
        job_resume(b, job, &s);
    wait_over(b, &s, b->patience_ms, "after many calls of resume()");
    job_resume(b, job, &s); /* after the last event, before release() */
    usleep(20000);
    judge(b, &s);
    job_release(b, job);
    stream_done(&s);
    close_model(b, backend, model);
}

const struct check checks_credit[] = {
    {"after PAUSE nothing comes until resume", after_pause_nothing_comes_until_resume, NEEDS_TEXT},
    {"no text is lost or doubled by pauses", no_text_is_lost_by_pauses, NEEDS_TEXT},
    {"a resume may overtake the PAUSE it answers", a_resume_may_overtake_its_pause, NEEDS_TEXT},
    {"STOP ends the job with DONE/CANCELLED", stop_ends_the_job, NEEDS_TEXT},
    {"resume does nothing unless the job is paused", resume_does_nothing_unless_paused, NEEDS_TEXT},
    {NULL, NULL, 0},
};
