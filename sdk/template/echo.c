/*
 * The smallest complete plugin: it says back what it was told, one word an event. Copy this folder,
 * keep what the contract asks (threads, credit, cancel, the one last event, who frees what), and
 * put your engine where say_word() is. Nothing but <fluxgate/plugin.h> is used.
 *
 * One thread a model takes turns among its jobs; one lock a model guards all that several threads
 * touch, and is never held while emit() runs. What it does not do: templates, sampling, tokens.
 */
#include <fluxgate/plugin.h>

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RUNNING = 8, CONTEXT = 4096 };
static const char model_name[] = "echo";

struct fg_backend {
    const struct fg_host *host;
    uint64_t jobs; /* atomic: [any] reads it */
};

struct fg_job { /* from submit() to release() */
    struct fg_job *next;
    struct fg_model *model;
    struct fg_stream *stream;
    struct fg_str text;          /* to be echoed; in the request, which stays until release() */
    struct fg_str stop;          /* where it was cut */
    size_t at;                   /* bytes said; the thread's */
    struct fg_usage usage;       /* the thread's */
    uint32_t max_words;          /* 0: all */
    bool started, is_too_long;   /* the thread's */
    uint32_t resumes;            /* [lock] */
    bool paused, cancelled;      /* [lock] */
    bool over, released;         /* [lock] whoever makes both true frees the job */
};

struct fg_model {
    struct fg_backend *backend;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct fg_job *jobs;   /* [lock] in the order of their turns */
    uint32_t running;      /* [lock] */
    uint32_t max_running, context;
    bool closing;          /* [lock] */
};

static int32_t fail(struct fg_error *err, int32_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int32_t fail(struct fg_error *err, int32_t status, const char *format, ...)
{
    va_list args;
    if (!err)
        return status;
    err->status = status;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return status;
}

static bool is(struct fg_str s, const char *text)
{
    return s.len == strlen(text) && (s.len == 0 || memcmp(s.ptr, text, s.len) == 0);
}

/* ---- the thread: one word of one job a turn -------------------------------------------------- */

static struct fg_str next_word(struct fg_str text, size_t at)
{
    size_t end = at;
    while (end < text.len && text.ptr[end] == ' ')
        end++;
    while (end < text.len && text.ptr[end] != ' ')
        end++;
    return (struct fg_str){text.ptr + at, end - at}; /* cut at a blank: whole characters */
}

static int32_t emit(const struct fg_job *job, const struct fg_event *ev)
{
    return job->model->backend->host->emit(job->stream, ev);
}

static int32_t say_word(struct fg_job *job)
{
    if (!job->started) {
        job->started = true;
        return emit(job, &(struct fg_event){.size = sizeof(struct fg_event),
                                            .kind = FG_EV_STARTED,
                                            .usage = &job->usage});
    }
    const struct fg_str word = next_word(job->text, job->at);
    job->at += word.len;
    job->usage.output_tokens++;
    return emit(job, &(struct fg_event){
                         .size = sizeof(struct fg_event), .kind = FG_EV_TEXT, .text = word});
}

/* After this the gateway may release the job at any moment, even before emit() returns. */
static void say_last(struct fg_job *job, int32_t code)
{
    static const char too_long[] = "echo: the prompt does not fit the context";
    if (job->is_too_long && code != FG_END_CANCELLED)
        (void)emit(job, &(struct fg_event){.size = sizeof(struct fg_event),
                                           .kind = FG_EV_FAILED,
                                           .code = FG_TOO_LONG,
                                           .text = {too_long, sizeof too_long - 1},
                                           .usage = &job->usage});
    else
        (void)emit(job, &(struct fg_event){
                             .size = sizeof(struct fg_event),
                             .kind = FG_EV_DONE,
                             .code = code,
                             .text = code == FG_END_STOP ? job->stop : (struct fg_str){0},
                             .usage = &job->usage});
}

static bool all_said(const struct fg_job *job, int32_t *code)
{
    const bool enough = job->max_words && job->usage.output_tokens >= job->max_words;
    *code = enough && job->at < job->text.len ? FG_END_LENGTH : FG_END_STOP;
    if (job->is_too_long)
        return true;
    return job->started && (enough || job->at >= job->text.len);
}

/* A job whose turn it is leaves the list. NULL: nobody can go on. */
static struct fg_job *take_turn_locked(struct fg_model *m)
{
    for (struct fg_job **at = &m->jobs; *at; at = &(*at)->next) {
        struct fg_job *job = *at;
        if (job->paused && !job->cancelled)
            continue;
        *at = job->next;
        return job;
    }
    return NULL;
}

static void put_back_locked(struct fg_model *m, struct fg_job *job)
{
    struct fg_job **at = &m->jobs;
    while (*at)
        at = &(*at)->next;
    job->next = NULL;
    *at = job;
}

static void end_locked(struct fg_model *m, struct fg_job *job, int32_t code)
{
    m->running--; /* before the last event: who sees it may submit again at once */
    pthread_mutex_unlock(&m->lock);
    say_last(job, code);
    pthread_mutex_lock(&m->lock);
    job->over = true;
    if (job->released)
        free(job);
}

static void turn_locked(struct fg_model *m, struct fg_job *job)
{
    int32_t code;
    if (job->cancelled) {
        end_locked(m, job, FG_END_CANCELLED);
        return;
    }
    if (all_said(job, &code)) {
        end_locked(m, job, code);
        return;
    }
    /* A resume() may come before emit() has even returned PAUSE: only if none came, we wait. */
    const uint32_t resumes = job->resumes;
    pthread_mutex_unlock(&m->lock);
    const int32_t flow = say_word(job);
    pthread_mutex_lock(&m->lock);
    if (flow == FG_FLOW_STOP)
        job->cancelled = true;
    job->paused = flow == FG_FLOW_PAUSE && job->resumes == resumes;
    put_back_locked(m, job);
}

static void *run(void *arg)
{
    struct fg_model *m = arg;
    pthread_mutex_lock(&m->lock);
    while (!m->closing) {
        struct fg_job *job = take_turn_locked(m);
        if (job)
            turn_locked(m, job);
        else
            pthread_cond_wait(&m->changed, &m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* ---- jobs, [worker] -------------------------------------------------------------------------- */

/* What this backend cannot do is refused by name, never silently left out. */
static int32_t check(const struct fg_request *r, struct fg_error *err)
{
    if (r->op != FG_OP_CHAT && r->op != FG_OP_COMPLETE)
        return fail(err, FG_UNSUPPORTED, "echo: only chat and completion are supported");
    if (r->choices > 1)
        return fail(err, FG_UNSUPPORTED, "echo: one answer at a time");
    if (r->input_token_count)
        return fail(err, FG_UNSUPPORTED, "echo: there are no token ids here");
    if (r->tool_count || r->schema_json.len || r->logprobs || r->resume_count)
        return fail(err, FG_UNSUPPORTED,
                    "echo: tools, schemas, logprobs and continuation are not supported");
    if (r->op == FG_OP_CHAT && !r->message_count)
        return fail(err, FG_INVALID, "echo: a chat needs a message");
    return FG_OK;
}

static struct fg_str text_of(const struct fg_request *r)
{
    struct fg_str text = {"", 0};
    if (r->op == FG_OP_COMPLETE)
        return r->input_count ? r->inputs[0] : text;
    const struct fg_message *last = &r->messages[r->message_count - 1];
    for (uint32_t i = 0; i < last->part_count; i++)
        if (last->parts[i].kind == FG_PART_TEXT)
            text = last->parts[i].data;
    return text;
}

static void cut_at_stops(const struct fg_request *r, struct fg_job *job)
{
    for (uint32_t i = 0; i < r->stop_count; i++) {
        const struct fg_str stop = r->stops[i];
        const char *hit = NULL;
        if (stop.len && job->text.len)
            hit = memmem(job->text.ptr, job->text.len, stop.ptr, stop.len);
        if (hit) {
            job->text.len = (size_t)(hit - job->text.ptr);
            job->stop = stop;
        }
    }
}

/* A word is a token here. One must be left of the context to answer with. */
static void take_prompt(const struct fg_request *r, struct fg_job *job)
{
    const uint32_t most = job->model->context - 1;
    uint32_t words = 0;
    for (size_t at = 0; at < job->text.len; words++) {
        if (words == most && r->flags & FG_REQ_TRUNCATE) {
            job->text.len = at;
            break;
        }
        at += next_word(job->text, at).len;
    }
    job->is_too_long = words > most && !(r->flags & FG_REQ_TRUNCATE);
    job->usage = (struct fg_usage){.size = sizeof job->usage, .prompt_tokens = words};
}

static struct fg_job *new_job(struct fg_model *m, const struct fg_request *r,
                              struct fg_stream *stream)
{
    struct fg_job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->model = m;
    job->stream = stream;
    job->text = text_of(r);
    job->max_words = r->max_tokens;
    take_prompt(r, job);
    cut_at_stops(r, job);
    return job;
}

static int32_t echo_submit(struct fg_model *m, const struct fg_request *r, struct fg_stream *stream,
                           struct fg_job **out, struct fg_error *err)
{
    const int32_t rc = check(r, err);
    if (rc != FG_OK)
        return rc;
    struct fg_job *job = new_job(m, r, stream);
    if (!job)
        return fail(err, FG_NO_MEMORY, "echo: no memory for a job");
    pthread_mutex_lock(&m->lock);
    const bool full = m->running >= m->max_running;
    if (!full) {
        m->running++;
        *out = job; /* before the thread can see it */
        put_back_locked(m, job);
        pthread_cond_signal(&m->changed);
    }
    pthread_mutex_unlock(&m->lock);
    if (full) {
        free(job);
        return fail(err, FG_BUSY, "echo: all slots are taken");
    }
    __atomic_add_fetch(&m->backend->jobs, 1, __ATOMIC_RELAXED);
    return FG_OK;
}

static void echo_resume(struct fg_job *job)
{
    struct fg_model *m = job->model;
    pthread_mutex_lock(&m->lock);
    job->resumes++;
    job->paused = false;
    pthread_cond_signal(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

static void echo_cancel(struct fg_job *job)
{
    struct fg_model *m = job->model;
    pthread_mutex_lock(&m->lock);
    job->cancelled = true;
    pthread_cond_signal(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

static void echo_release(struct fg_job *job)
{
    struct fg_model *m = job->model;
    pthread_mutex_lock(&m->lock);
    const bool over = job->over; /* else the thread is just coming back from the last emit() */
    job->released = true;
    pthread_mutex_unlock(&m->lock);
    if (over)
        free(job);
}

/* ---- models, [control] ----------------------------------------------------------------------- */

static struct fg_model_info describe(void)
{
    return (struct fg_model_info){.size = sizeof(struct fg_model_info),
                                  .can = FG_CAN_CHAT | FG_CAN_COMPLETE,
                                  .name = {model_name, sizeof model_name - 1},
                                  .family = {"echo", 4},
                                  .context = CONTEXT,
                                  .max_running = MAX_RUNNING};
}

/* This backend has a model by itself, as a remote server would; one that opens files lists none. */
static int32_t echo_list(struct fg_backend *b, fg_model_visit *visit, void *ctx,
                         struct fg_error *err)
{
    (void)b;
    (void)err;
    const struct fg_model_info info = describe();
    visit(ctx, &info);
    return FG_OK;
}

static int32_t echo_load(struct fg_backend *b, const struct fg_model_spec *spec,
                         struct fg_model **out, struct fg_error *err)
{
    if (spec->path.len) /* another backend may */
        return fail(err, FG_UNSUPPORTED, "echo: model files are not read");
    if (!is(spec->name, model_name))
        return fail(err, FG_NOT_FOUND, "echo: the only model here is \"%s\"", model_name);
    struct fg_model *m = calloc(1, sizeof *m);
    if (!m)
        return fail(err, FG_NO_MEMORY, "echo: no memory for a model");
    m->backend = b;
    m->max_running = spec->max_running && spec->max_running < MAX_RUNNING ? spec->max_running
                                                                            : MAX_RUNNING;
    m->context = spec->context > 1 && spec->context < CONTEXT ? spec->context : CONTEXT;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    if (pthread_create(&m->thread, NULL, run, m) != 0) {
        pthread_cond_destroy(&m->changed);
        pthread_mutex_destroy(&m->lock);
        free(m);
        return fail(err, FG_INTERNAL, "echo: cannot start a thread");
    }
    *out = m; /* given to the gateway until unload() */
    return FG_OK;
}

static void echo_info(struct fg_model *m, fg_model_visit *visit, void *ctx)
{
    struct fg_model_info info = describe();
    info.memory_bytes = sizeof *m;
    info.max_running = m->max_running;
    info.context = m->context;
    info.device = (struct fg_str){"one thread", 10};
    visit(ctx, &info);
}

static void echo_unload(struct fg_model *m)
{
    pthread_mutex_lock(&m->lock);
    m->closing = true;
    pthread_cond_signal(&m->changed);
    pthread_mutex_unlock(&m->lock);
    pthread_join(m->thread, NULL);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* ---- the backend ----------------------------------------------------------------------------- */

static int32_t echo_open(const struct fg_host *host, struct fg_str config_json,
                         struct fg_backend **out, struct fg_error *err)
{
    (void)config_json; /* "" or one JSON object: the options of the gateway's configuration file */
    struct fg_backend *b = calloc(1, sizeof *b);
    if (!b)
        return fail(err, FG_NO_MEMORY, "echo: no memory for a backend");
    b->host = host;
    *out = b; /* all state hangs here: no globals, so that two instances can live */
    return FG_OK;
}

static void echo_close(struct fg_backend *b)
{
    free(b);
}

static int32_t echo_device(struct fg_backend *b, uint32_t index, struct fg_device *out)
{
    (void)b;
    if (index > 0)
        return FG_NOT_FOUND;
    snprintf(out->name, sizeof out->name, "echo");
    snprintf(out->id, sizeof out->id, "echo-0");
    out->reason[0] = '\0';
    out->state = FG_DEVICE_READY;
    out->memory_total = out->memory_free = 0;
    out->busy = out->celsius = out->watts = NAN;
    out->faults = 0;
    return FG_OK;
}

static void echo_metrics(struct fg_backend *b, fg_metric_visit *visit, void *ctx)
{
    visit(ctx, "echo_jobs_total", "", (double)__atomic_load_n(&b->jobs, __ATOMIC_RELAXED));
}

static const void *echo_extension(struct fg_backend *b, const char *id)
{
    (void)b;
    (void)id;
    return NULL;
}

static const struct fg_plugin table = {
    .size = sizeof table,
    .abi = FG_ABI,
    .name = "echo",
    .version = "1.0.0",
    .open = echo_open,
    .close = echo_close,
    .device = echo_device,
    .list = echo_list,
    .load = echo_load,
    .info = echo_info,
    .unload = echo_unload,
    .submit = echo_submit,
    .resume = echo_resume,
    .cancel = echo_cancel,
    .release = echo_release,
    .metrics = echo_metrics,
    .extension = echo_extension,
};

FG_EXPORT const struct fg_plugin *fg_plugin_entry(uint32_t host_abi)
{
    return host_abi >> 16 == FG_ABI_MAJOR ? &table : NULL;
}
