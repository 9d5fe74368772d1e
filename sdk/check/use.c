/*
 * Calls to the plugin, each noted down before it is made: when the process ends in it, the report
 * names it. And the requests that the checks ask with.
 */
#include "check/check.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "util/error.h"

void step(struct bench *b, const char *what)
{
    snprintf(b->notes->step, sizeof b->notes->step, "%s", what);
}

const char *status_name(int32_t status)
{
    return fg_status_name(status);
}

/* ---- module, backend, model ------------------------------------------------------------------ */

void module_open(struct bench *b)
{
    step(b, "dlopen()");
    void *module = dlopen(b->options->module, RTLD_NOW | RTLD_LOCAL);
    if (!module)
        broken(b, "the module cannot be loaded: %s", dlerror());
    const struct fg_plugin *(*entry)(uint32_t) = NULL;
    *(void **)&entry = dlsym(module, "fg_plugin_entry");
    if (!entry)
        broken(b, "the module does not export fg_plugin_entry");
    step(b, "fg_plugin_entry()");
    b->plugin = entry(FG_ABI);
    if (!b->plugin)
        broken(b, "fg_plugin_entry() gives NULL for this host's ABI %u.%u", FG_ABI_MAJOR,
               FG_ABI_MINOR);
}

struct fg_backend *backend_open(struct bench *b)
{
    struct fg_backend *backend = NULL;
    struct fg_error err = {0};
    if (!b->plugin)
        module_open(b);
    step(b, "open()");
    const int32_t rc = b->plugin->open(&b->host, b->options->config, &backend, &err);
    if (rc != FG_OK)
        broken(b, "open() fails with %s: %.252s", status_name(rc), err.text);
    if (!backend)
        broken(b, "open() answers OK and gives no backend");
    return backend;
}

void backend_close(struct bench *b, struct fg_backend *backend)
{
    step(b, "close()");
    b->plugin->close(backend);
}

struct wanted {
    char name[256];
    bool is_found;
};
static void on_listed(void *ctx, const struct fg_model_info *info)
{
    struct wanted *w = ctx;
    if (w->is_found || info->name.len >= sizeof w->name)
        return;
    snprintf(w->name, sizeof w->name, "%.*s", FG_STR_ARG(info->name));
    w->is_found = true;
}

static void on_info(void *ctx, const struct fg_model_info *info)
{
    struct bench *b = ctx;
    b->can = info->can;
    b->max_running = info->max_running;
    b->context = info->context;
    b->embedding = info->embedding;
}

struct fg_model *model_load(struct bench *b, struct fg_backend *backend)
{
    struct wanted w = {0};
    struct fg_model_spec spec = {.size = sizeof spec, .name = FG_STR("checked")};
    struct fg_model *model = NULL;
    struct fg_error err = {0};
    if (b->options->model && access(b->options->model, R_OK) == 0) {
        spec.path = fg_str_of(b->options->model);
    } else if (b->options->model) {
        spec.name = fg_str_of(b->options->model);
    } else {
        step(b, "list()");
        (void)b->plugin->list(backend, on_listed, &w, &err);
        if (!w.is_found)
            skipped(b, "the plugin lists no model: name one with --model");
        spec.name = fg_str_of(w.name);
    }
    step(b, "load()");
    const int32_t rc = b->plugin->load(backend, &spec, &model, &err);
    if (rc != FG_OK)
        broken(b, "load() of \"%.*s\" fails with %s: %.252s", FG_STR_ARG(spec.name),
               status_name(rc), err.text);
    if (!model)
        broken(b, "load() answers OK and gives no model");
    step(b, "info()");
    b->plugin->info(model, on_info, b);
    return model;
}

void model_unload(struct bench *b, struct fg_model *model)
{
    step(b, "unload()");
    b->plugin->unload(model);
}

/* ---- requests -------------------------------------------------------------------------------- */

void ask_init(struct bench *b, struct ask *a, uint32_t words, uint32_t max_tokens)
{
    memset(a, 0, sizeof *a);
    size_t at = 0;
    for (uint32_t i = 0; i < words && at + 16 < sizeof a->text; i++)
        at += (size_t)snprintf(a->text + at, sizeof a->text - at, "%sword%u", i ? " " : "", i);
    a->part = (struct fg_part){.kind = FG_PART_TEXT, .data = {a->text, at}};
    a->message = (struct fg_message){.role = FG_ROLE_USER, .part_count = 1, .parts = &a->part};
    a->input = a->part.data;
    a->sampling = (struct fg_sampling){
        .size = sizeof a->sampling,
        .set = FG_SET_TEMPERATURE | FG_SET_SEED,
        .top_p = 1,
        .typical_p = 1,
        .repeat_penalty = 1,
        .seed = 1,
    };
    a->request = (struct fg_request){
        .size = sizeof a->request,
        .flags = FG_REQ_IGNORE_EOS | FG_REQ_NO_CACHE,
        .id = FG_STR("check"),
        .sampling = &a->sampling,
        .max_tokens = max_tokens,
    };
    if (b->can & FG_CAN_COMPLETE) {
        a->request.op = FG_OP_COMPLETE;
        a->request.inputs = &a->input;
        a->request.input_count = 1;
    } else {
        a->request.op = FG_OP_CHAT;
        a->request.messages = &a->message;
        a->request.message_count = 1;
    }
    if (!(b->can & (FG_CAN_CHAT | FG_CAN_COMPLETE)))
        skipped(b, "the model does not generate text");
}

void *guarded(struct bench *b, const void *bytes, size_t len)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t pages = (len + page - 1) / page;
    char *area = mmap(NULL, (pages + 1) * page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED || mprotect(area + pages * page, page, PROT_NONE) != 0)
        broken(b, "fg-plugin-check: no memory");
    char *at = area + pages * page - len;
    memcpy(at, bytes, len);
    return at;
}

void unguard(void *at, size_t len)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t pages = (len + page - 1) / page;
    char *area = (char *)at + len - pages * page;
    (void)mprotect(area, pages * page, PROT_NONE);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

void judge(struct bench *b, struct fg_stream *s)
{
    char text[sizeof s->broken];
    pthread_mutex_lock(&s->lock);
    memcpy(text, s->broken, sizeof text);
    pthread_mutex_unlock(&s->lock);
    if (text[0])
        broken(b, "%s", text);
}

struct fg_job *job_submit(struct bench *b, struct fg_model *model, const struct fg_request *request,
                          struct fg_stream *s)
{
    struct fg_job *job = NULL;
    struct fg_error err = {0};
    s->submitter = pthread_self();
    s->is_submitting = true;
    s->embedding = b->embedding;
    step(b, "submit()");
    const int32_t rc = b->plugin->submit(model, request, s, &job, &err);
    pthread_mutex_lock(&s->lock);
    s->is_submitting = false;
    pthread_mutex_unlock(&s->lock);
    if (rc != FG_OK)
        broken(b, "submit() fails with %s: %.252s", status_name(rc), err.text);
    if (!job)
        broken(b, "submit() answers OK and gives no job");
    judge(b, s);
    return job;
}

void job_resume(struct bench *b, struct fg_job *job, struct fg_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_paused = false; /* before the call: the plugin may emit within it */
    pthread_mutex_unlock(&s->lock);
    step(b, "resume()");
    b->plugin->resume(job);
    pthread_mutex_lock(&s->lock);
    s->wants_resume = false;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void job_cancel(struct bench *b, struct fg_job *job, struct fg_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_cancelled = true;
    pthread_mutex_unlock(&s->lock);
    step(b, "cancel()");
    b->plugin->cancel(job);
}

void job_release(struct bench *b, struct fg_job *job)
{
    step(b, "release()");
    b->plugin->release(job);
}

static bool wait_until(struct fg_stream *s, uint32_t outputs, uint32_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    while (!s->is_over && s->outputs < outputs && !s->broken[0] && rc == 0)
        rc = pthread_cond_timedwait(&s->changed, &s->lock, &until);
    const bool is_there = s->is_over || s->outputs >= outputs;
    pthread_mutex_unlock(&s->lock);
    return is_there;
}

void wait_over(struct bench *b, struct fg_stream *s, uint32_t ms, const char *what)
{
    const bool is_over = wait_until(s, UINT32_MAX, ms);
    judge(b, s);
    if (!is_over)
        broken(b, "no last event within %u ms %s (%u events came)", ms, what, s->events);
}

bool wait_outputs(struct bench *b, struct fg_stream *s, uint32_t outputs, uint32_t ms)
{
    const bool is_there = wait_until(s, outputs, ms);
    judge(b, s);
    return is_there;
}

void job_run(struct bench *b, struct fg_model *model, const struct fg_request *request,
             struct fg_stream *s, int32_t policy)
{
    stream_init(s, request, policy);
    struct fg_job *job = job_submit(b, model, request, s);
    wait_over(b, s, b->patience_ms, "after submit()");
    job_release(b, job);
    judge(b, s);
    if (s->last_kind == FG_EV_FAILED)
        broken(b, "the job fails with %s: %.255s", status_name(s->last_code), s->reason);
}
