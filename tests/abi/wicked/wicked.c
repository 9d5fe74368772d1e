/*
 * A plugin that does what it is told, above all what it must not.
 *
 * inputs[0] of a request, words and numbers:
 *   say N          N TEXT events, then DONE; obeys STOP and cancel
 *   polite N       the same, and obeys PAUSE; DONE's text is "pauses=P late=L": how often it was
 *                  paused, and events it was asked for while paused (0)
 *   flood N [B]    N TEXT events of 1 KiB, whatever emit() says; of B bytes: then log lines
 *                  until it is cancelled
 *   burst N US     N TEXT events with US microseconds between them
 *   crash K        K events, then the end of the process
 *   exit K         K events, then exit(3)
 *   hang           nothing ever comes, not even after cancel
 *   wait           nothing comes until cancel
 *   refuse S       submit() fails with status S
 *   toolong        FAILED/FG_TOO_LONG with usage
 *   embed N        one EMBEDDING of N floats
 *   text N         one TEXT of N bytes
 *   twice          DONE, and then more of everything
 *   probs          one TEXT with all an event may carry
 *   echo           TEXT: the digest of the request
 *   kind K         an event of kind K, then DONE
 *   choice C       an event of choice C, then DONE
 *   deaf           submit() does not return
 * path of a model: "fail" (refused), "slow" (progress in ten steps), "hang", "crash"; else fine.
 * configuration:   "crash", "refuse", "lost", "hang", "log", "noisy" (stderr); else fine.
 * inspect:         a path "N" gives a JSON string of N bytes, "fail" an error.
 */
#include <fluxgate/ext/inspect.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "digest.h"

struct fg_backend {
    const struct fg_host *host;
    atomic_int models, jobs;
};
struct fg_model {
    struct fg_backend *backend;
    char name[64];
};
struct fg_job {
    struct fg_model *model;
    struct fg_stream *stream;
    const struct fg_request *request;
    pthread_t thread;
    char verb[16];
    long number, second;
    atomic_int cancelled, resumes;
};

static struct fg_str str(const char *text)
{
    return (struct fg_str){text, strlen(text)};
}

static int32_t fail(struct fg_error *err, int32_t status, const char *text)
{
    if (err) {
        err->status = status;
        snprintf(err->text, sizeof err->text, "%s", text);
    }
    return status;
}

static bool has(struct fg_str s, const char *word)
{
    return memmem(s.ptr ? s.ptr : "", s.len, word, strlen(word)) != NULL;
}

/* ---- jobs ---- */

static int32_t emit(struct fg_job *j, const struct fg_event *ev)
{
    return j->model->backend->host->emit(j->stream, ev);
}

static int32_t emit_text(struct fg_job *j, uint32_t index, struct fg_str text)
{
    const int32_t token = (int32_t)index;
    const struct fg_event ev = {
        .size = sizeof ev, .kind = FG_EV_TEXT, .text = text, .tokens = &token, .token_count = 1};
    return emit(j, &ev);
}

static void emit_done(struct fg_job *j, int32_t code, const char *text)
{
    const struct fg_usage usage = {.size = sizeof usage, .prompt_tokens = 5, .output_tokens = 6};
    const struct fg_event ev = {
        .size = sizeof ev, .kind = FG_EV_DONE, .code = code, .text = str(text), .usage = &usage};
    emit(j, &ev);
}

static void emit_failed(struct fg_job *j, int32_t code, const char *text)
{
    const struct fg_usage usage = {.size = sizeof usage, .prompt_tokens = 1234};
    const struct fg_event ev = {
        .size = sizeof ev, .kind = FG_EV_FAILED, .code = code, .text = str(text), .usage = &usage};
    emit(j, &ev);
}

static void say(struct fg_job *j)
{
    for (long i = 0; i < j->number && !j->cancelled; i++) {
        if (emit_text(j, (uint32_t)i, str("word ")) == FG_FLOW_STOP)
            break;
        if (j->second)
            usleep((useconds_t)j->second);
    }
    emit_done(j, j->cancelled ? FG_END_CANCELLED : FG_END_STOP, "");
}

static void polite(struct fg_job *j)
{
    char text[64];
    long pauses = 0;
    for (long i = 0; i < j->number && !j->cancelled; i++) {
        int mark = j->resumes;
        int32_t flow = emit_text(j, (uint32_t)i, str("a word of some length, to fill the queue "));
        if (flow == FG_FLOW_STOP)
            break;
        if (flow != FG_FLOW_PAUSE)
            continue;
        pauses++;
        while (j->resumes == mark && !j->cancelled)
            usleep(100);
    }
    snprintf(text, sizeof text, "pauses=%ld", pauses);
    emit_done(j, j->cancelled ? FG_END_CANCELLED : FG_END_STOP, text);
}

static void flood(struct fg_job *j)
{
    size_t len = j->second ? (size_t)j->second : 1024;
    char *all = malloc(len);
    memset(all, 'x', len);
    for (long i = 0; i < j->number; i++)
        emit_text(j, (uint32_t)i, (struct fg_str){all, len});
    free(all);
    const struct fg_host *host = j->model->backend->host;
    for (; j->second && !j->cancelled; usleep(50000)) /* a full queue drops log lines */
        host->log(host, FG_LOG_INFO, str("flooded"));
    emit_done(j, FG_END_STOP, "");
}

static void crash(struct fg_job *j)
{
    for (long i = 0; i < j->number; i++)
        emit_text(j, (uint32_t)i, str("word "));
    usleep(20000); /* so that they are seen before */
    if (j->verb[0] == 'e')
        _exit(3);
    abort();
}

static void embed(struct fg_job *j)
{
    float *values = calloc((size_t)j->number, sizeof *values);
    for (long i = 0; i < j->number; i++)
        values[i] = (float)i;
    const struct fg_event ev = {.size = sizeof ev,
                                .kind = FG_EV_EMBEDDING,
                                .values = values,
                                .value_count = (uint32_t)j->number};
    emit(j, &ev);
    free(values);
    emit_done(j, FG_END_STOP, "");
}

static void text(struct fg_job *j)
{
    char *all = malloc((size_t)j->number);
    memset(all, 'y', (size_t)j->number);
    emit_text(j, 0, (struct fg_str){all, (size_t)j->number});
    free(all);
    emit_done(j, FG_END_STOP, "");
}

static void probs(struct fg_job *j)
{
    const int32_t tokens[] = {7, 8};
    const float values[] = {0.25f};
    const struct fg_logprob top[] = {{.token = 7, .logprob = -0.5f, .bytes = str("a")},
                                     {.token = 9, .logprob = -1.5f, .bytes = str("bc")}};
    const struct fg_logprob all[] = {
        {.token = 7, .logprob = -0.5f, .bytes = str("a"), .top = top, .top_count = 2},
        {.token = 8, .logprob = -2.5f, .bytes = str("d")}};
    const struct fg_usage usage = {.size = sizeof usage, .cached_tokens = 77};
    const struct fg_event ev = {.size = sizeof ev,
                                .kind = FG_EV_TEXT,
                                .text = str("ad"),
                                .name = str("name"),
                                .id = str("id"),
                                .tokens = tokens,
                                .token_count = 2,
                                .logprobs = all,
                                .logprob_count = 2,
                                .values = values,
                                .value_count = 1,
                                .code = 3,
                                .usage = &usage};
    emit(j, &ev);
    emit_done(j, FG_END_LENGTH, "stop");
}

static void echo(struct fg_job *j)
{
    struct digest d;
    digest_request(&d, j->request);
    emit_text(j, 0, (struct fg_str){d.text, d.len});
    emit_done(j, FG_END_STOP, "");
}

static void twice(struct fg_job *j)
{
    emit_done(j, FG_END_STOP, "first");
}

static void odd(struct fg_job *j)
{
    struct fg_event ev = {.size = sizeof ev, .kind = FG_EV_TEXT, .text = str("odd")};
    if (strcmp(j->verb, "kind") == 0)
        ev.kind = (int32_t)j->number;
    else
        ev.choice = (uint32_t)j->number;
    emit(j, &ev);
    emit_done(j, FG_END_STOP, "");
}

static void hang(struct fg_job *j)
{
    while (j->verb[0] == 'h' || !j->cancelled)
        usleep(1000);
    emit_done(j, FG_END_CANCELLED, "");
}

static void too_long(struct fg_job *j)
{
    emit_failed(j, FG_TOO_LONG, "the prompt is too long");
}

static const struct {
    const char *verb;
    void (*run)(struct fg_job *);
} verbs[] = {
    {"say", say},          {"polite", polite}, {"flood", flood}, {"burst", say},
    {"crash", crash},      {"exit", crash},    {"hang", hang},   {"wait", hang},
    {"embed", embed},      {"text", text},     {"twice", twice}, {"probs", probs},
    {"toolong", too_long}, {"echo", echo},     {"kind", odd},    {"choice", odd},
};

static void *run(void *ctx)
{
    struct fg_job *j = ctx;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].verb, j->verb) == 0) {
            verbs[i].run(j);
            return NULL;
        }
    emit_failed(j, FG_INVALID, "no such word");
    return NULL;
}

static int32_t w_submit(struct fg_model *m, const struct fg_request *r, struct fg_stream *stream,
                        struct fg_job **out, struct fg_error *err)
{
    char words[64] = {0};
    struct fg_job *j = calloc(1, sizeof *j);
    struct fg_str ask = r->input_count ? r->inputs[0] : str("echo");
    memcpy(words, ask.ptr, ask.len < sizeof words - 1 ? ask.len : sizeof words - 1);
    if (sscanf(words, "%15s %ld %ld", j->verb, &j->number, &j->second) < 1)
        snprintf(j->verb, sizeof j->verb, "echo");
    while (strcmp(j->verb, "deaf") == 0)
        sleep(1);
    if (strcmp(j->verb, "refuse") == 0) {
        int32_t status = (int32_t)j->number;
        free(j);
        return fail(err, status, "refused as asked");
    }
    j->model = m;
    j->stream = stream;
    j->request = r;
    if (pthread_create(&j->thread, NULL, run, j) != 0) {
        free(j);
        return fail(err, FG_NO_MEMORY, "no thread");
    }
    m->backend->jobs++;
    *out = j;
    return FG_OK;
}

static void w_resume(struct fg_job *j)
{
    j->resumes++;
}

static void w_cancel(struct fg_job *j)
{
    j->cancelled = 1;
}

static void w_release(struct fg_job *j)
{
    if (strcmp(j->verb, "twice") == 0) { /* within its life, but after its end */
        emit_text(j, 1, str("late"));
        emit_done(j, FG_END_LENGTH, "second");
    }
    pthread_join(j->thread, NULL);
    j->model->backend->jobs--;
    free(j);
}

/* ---- the rest ---- */

static int32_t w_open(const struct fg_host *host, struct fg_str config, struct fg_backend **out,
                      struct fg_error *err)
{
    if (has(config, "crash"))
        abort();
    while (has(config, "hang"))
        sleep(1);
    if (has(config, "refuse"))
        return fail(err, FG_INVALID, "configuration: key \"do\" is not known");
    if (has(config, "lost"))
        return fail(err, FG_DEVICE_LOST, "no card");
    for (int i = 0; has(config, "noisy") && i < 100000; i++)
        fprintf(stderr, "noise %d \x1b[31m\"quoted\"\n", i);
    struct fg_backend *b = calloc(1, sizeof *b);
    b->host = host;
    if (has(config, "log"))
        host->log(host, FG_LOG_WARN, str("a line from the plugin"));
    *out = b;
    return FG_OK;
}

static void w_close(struct fg_backend *b)
{
    if (b->models || b->jobs)
        abort();
    free(b);
}

static int32_t w_device(struct fg_backend *b, uint32_t index, struct fg_device *out)
{
    (void)b;
    if (index > 1)
        return FG_NOT_FOUND;
    out->state = index ? FG_DEVICE_DEGRADED : FG_DEVICE_READY;
    snprintf(out->name, sizeof out->name, "card %u", index);
    snprintf(out->reason, sizeof out->reason, "%s", index ? "hot" : "");
    out->memory_total = 1ull << 33;
    return FG_OK;
}

static void visit_one(fg_model_visit *visit, void *ctx, const char *name)
{
    const struct fg_model_info info = {.size = sizeof info,
                                       .can = FG_CAN_CHAT | FG_CAN_COMPLETE,
                                       .name = str(name),
                                       .family = str("wicked"),
                                       .quantization = str("Q0"),
                                       .digest = str("sha256:00"),
                                       .parameters = 123456789012,
                                       .file_bytes = 1,
                                       .memory_bytes = 2,
                                       .context = 4096,
                                       .embedding = 8,
                                       .max_running = 64,
                                       .device = str("a card")};
    visit(ctx, &info);
}

static int32_t w_list(struct fg_backend *b, fg_model_visit *visit, void *ctx, struct fg_error *err)
{
    (void)b;
    (void)err;
    visit_one(visit, ctx, "one");
    visit_one(visit, ctx, "two");
    return FG_OK;
}

static int32_t w_load(struct fg_backend *b, const struct fg_model_spec *spec, struct fg_model **out,
                      struct fg_error *err)
{
    if (has(spec->path, "crash"))
        abort();
    while (has(spec->path, "hang"))
        sleep(1);
    if (has(spec->path, "fail"))
        return fail(err, FG_INVALID, "fail.gguf: tensor x: type 99 is not supported");
    for (int i = 1; has(spec->path, "slow") && i <= 10; i++) {
        usleep(20000);
        spec->progress(spec->progress_ctx, (float)i / 10);
    }
    struct fg_model *m = calloc(1, sizeof *m);
    m->backend = b;
    snprintf(m->name, sizeof m->name, "%.*s", (int)spec->name.len, spec->name.ptr);
    b->models++;
    *out = m;
    return FG_OK;
}

static void w_info(struct fg_model *m, fg_model_visit *visit, void *ctx)
{
    visit_one(visit, ctx, m->name);
}

static void w_unload(struct fg_model *m)
{
    m->backend->models--;
    free(m);
}

static void w_metrics(struct fg_backend *b, fg_metric_visit *visit, void *ctx)
{
    visit(ctx, "wicked_models", "model=\"a\",kind=\"b\\\"c\"", b->models);
    visit(ctx, "wicked_plain", "", 2.5);
    visit(ctx, "wicked_null", NULL, 3);
    visit(ctx, "1 bad name", "", 1);
    visit(ctx, "wicked_bad", "x=\"a\nb\"", 1);
}

static int32_t w_inspect(struct fg_backend *b, struct fg_str path, uint32_t flags,
                         fg_inspect_visit *visit, void *ctx, struct fg_error *err)
{
    (void)b;
    if (has(path, "fail"))
        return fail(err, FG_INVALID, "not a model");
    char number[32] = {0};
    memcpy(number, path.ptr, path.len < 31 ? path.len : 31);
    size_t len = strtoul(number, NULL, 10) + flags;
    char *json = malloc(len);
    memset(json, 'j', len);
    visit(ctx, (struct fg_str){json, len});
    free(json);
    return FG_OK;
}

static const void *w_extension(struct fg_backend *b, const char *id)
{
    static const struct fg_inspect inspect = {.size = sizeof inspect, .inspect = w_inspect};
    (void)b;
    return strcmp(id, FG_EXT_INSPECT) == 0 ? &inspect : NULL;
}

const struct fg_plugin *fg_plugin_entry(uint32_t host_abi)
{
    static const struct fg_plugin table = {
        .size = sizeof table,
        .abi = FG_ABI,
        .name = "wicked",
        .version = "6.6.6",
        .open = w_open,
        .close = w_close,
        .device = w_device,
        .list = w_list,
        .load = w_load,
        .info = w_info,
        .unload = w_unload,
        .submit = w_submit,
        .resume = w_resume,
        .cancel = w_cancel,
        .release = w_release,
        .metrics = w_metrics,
        .extension = w_extension,
    };
    (void)host_abi;
    return &table;
}
