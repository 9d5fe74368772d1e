/*
 * api/call.c - the life of one call: an exchange and the jobs that answer it.
 *
 * The call belongs to the exchange and goes with it; the job has its own arena, because it may
 * outlive the client for a moment. A client that leaves cancels the job at once. The first byte of
 * a stream is sent with the first output, so that whatever fails before it has its real status;
 * only a long wait in load or prefill opens an SSE stream early, with a comment as sign of life.
 *
 * Both the HTTP server and the hub may call back from inside a call of ours (a write that ends the
 * exchange, a start that is over at once). `depth` counts our callbacks on the stack, and the call
 * is freed only when the last of them returns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/inner.h"
#include "obs/metrics.h"
#include "util/clock.h"

enum { RETRY_LATER_S = 60 }; /* where nobody knows when it heals */

struct fg_call *fg_call_open(struct fg_api *api, struct fg_exchange *x, const struct fg_route *route)
{
    struct fg_call *call = calloc(1, sizeof(*call));
    if (!call)
        return NULL;
    call->api = api;
    call->exchange = x;
    call->http = fg_exchange_request(x);
    call->route = route;
    call->created_s = fg_clock_wall_ns() / FG_NS_PER_S;
    return call;
}

static void release(struct fg_call *call)
{
    if (call->job)
        fg_job_cancel(call->job);
    if (call->inspect)
        fg_hub_inspect_cancel(call->inspect);
    if (call->wait)
        call->wait->call = NULL;
    fg_fold_close(call);
    fg_buf_done(&call->out);
    if (call->catalog)
        fg_catalog_release(call->catalog);
    fg_arena_close(call->arena);
    free(call);
}

void fg_call_enter(struct fg_call *call)
{
    call->depth++;
}

void fg_call_leave(struct fg_call *call)
{
    if (--call->depth == 0 && call->is_over)
        release(call);
}

void fg_call_over(struct fg_call *call)
{
    call->is_over = true;
    if (call->depth == 0)
        release(call);
}

void fg_call_drained(struct fg_call *call)
{
    fg_call_enter(call);
    if (call->job)
        fg_job_unpause(call->job);
    fg_call_leave(call);
}

/* ---- answers -------------------------------------------------------------------------------- */

static void header_u64(struct fg_call *call, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    fg_exchange_set_header(call->exchange, name, fg_str_of(text));
}

static void common_headers(struct fg_call *call)
{
    if (call->route->dialect == FG_DIALECT_OPENAI)
        header_u64(call, "openai-processing-ms",
                   (fg_clock_ns() - call->http->started_ns) / FG_NS_PER_MS);
}

void fg_call_reply(struct fg_call *call, int status, const char *type, struct fg_str body)
{
    if (call->is_over || call->is_begun)
        return;
    call->is_begun = true;
    common_headers(call);
    fg_exchange_reply(call->exchange, status, type, body);
}

void fg_call_reply_json(struct fg_call *call, struct fg_buf *b)
{
    if (b->failed) {
        struct fg_fault f;
        fg_fault_set(&f, 503, "unavailable_error", "overloaded", NULL, "out of memory");
        f.retry_after_s = 1;
        fg_call_fail(call, &f);
    } else {
        fg_call_reply(call, 200, fg_json_type(call->route->dialect), fg_buf_str(b));
    }
    fg_buf_done(b);
}

/* Behind the first byte: the dialect's error event, and an end that no client takes for a whole
 * answer. Ollama's stream ends orderly after its error line; SSE is cut without [DONE]. */
static void fail_stream(struct fg_call *call, const struct fg_fault *f)
{
    FG_COUNT("fluxgate_broken_streams_total", "Streams that ended with an error event.");
    bool sse = call->shape && call->shape->is_sse;
    call->out.len = 0;
    if (sse)
        fg_buf_add(&call->out, FG_STR("data: "));
    fg_fault_write(call->route->dialect, f, &call->out);
    fg_buf_add(&call->out, sse ? FG_STR("\n\n") : FG_STR("\n"));
    fg_exchange_write(call->exchange, fg_buf_str(&call->out));
    if (call->is_over)
        return;
    if (sse)
        fg_exchange_abort(call->exchange);
    else
        fg_exchange_end(call->exchange);
}

void fg_call_fail(struct fg_call *call, const struct fg_fault *f)
{
    if (call->is_over)
        return;
    if (call->is_begun) {
        fail_stream(call, f);
        return;
    }
    const bool wants_time = f->status == 503 || f->status == 429; /* these always say when */
    if (f->retry_after_s || wants_time)
        header_u64(call, "Retry-After", f->retry_after_s ? f->retry_after_s : RETRY_LATER_S);
    if (f->no_retry && f->status >= 500)
        fg_exchange_set_header(call->exchange, "x-should-retry", FG_STR("false"));
    struct fg_buf b = {0};
    fg_fault_write(call->route->dialect, f, &b);
    fg_call_reply(call, f->status, fg_json_type(call->route->dialect), fg_buf_str(&b));
    fg_buf_done(&b);
}

static void fail_memory(struct fg_call *call)
{
    struct fg_fault f;
    fg_fault_set(&f, 503, "unavailable_error", "overloaded", NULL, "out of memory");
    f.retry_after_s = 1;
    fg_call_fail(call, &f);
}

static void on_looked(void *ctx)
{
    struct fg_wait *w = ctx;
    struct fg_call *call = w->call;
    free(w);
    if (!call)
        return; /* the client left */
    fg_call_enter(call);
    call->wait = NULL;
    if (call->catalog)
        fg_catalog_release(call->catalog);
    fg_arena_close(call->arena);
    call->catalog = NULL;
    call->entry = NULL;
    call->arena = NULL;
    call->ask = NULL;
    if (!call->is_over)
        call->route->run(call);
    fg_call_leave(call);
}

bool fg_call_look(struct fg_call *call)
{
    struct fg_wait *w = call->is_looked ? NULL : calloc(1, sizeof(*w));
    if (!w)
        return false;
    call->is_looked = true;
    w->call = call;
    call->wait = w;
    fg_hub_look(call->api->hub, fg_exchange_worker(call->exchange), on_looked, w);
    return true;
}

bool fg_call_is_bare(const struct fg_call *call)
{
    return call->entry && !call->entry->metadata && !call->entry->error.len;
}

bool fg_call_find(struct fg_call *call, struct fg_str model)
{
    bool invalid = false;
    if (model.len == 0 && call->api->default_model)
        model = fg_str_of(call->api->default_model);
    if (!call->catalog)
        call->catalog = fg_hub_catalog(call->api->hub);
    if (model.len == 0 || !call->catalog)
        return true; /* the hub decides what serves a nameless request */
    call->entry = fg_catalog_find(call->catalog, model, &invalid);
    if (call->entry)
        return true;
    if (!invalid && fg_call_look(call))
        return false;
    struct fg_fault f;
    fg_fault_unknown_model(call, invalid, &f);
    fg_call_fail(call, &f);
    return false;
}

/* ---- the job's callbacks -------------------------------------------------------------------- */

static void begin_stream(struct fg_call *call)
{
    if (call->is_begun)
        return;
    call->is_begun = true;
    common_headers(call);
    if (call->shape->is_sse) {
        fg_exchange_set_header(call->exchange, "Cache-Control", FG_STR("no-cache"));
        fg_exchange_set_header(call->exchange, "X-Accel-Buffering", FG_STR("no"));
    }
    fg_exchange_begin(call->exchange, 200, call->shape->stream_type);
}

/* Sends what was written; a slow client pauses the job. */
static void flush(struct fg_call *call)
{
    if (call->out.len == 0 || call->is_over)
        return;
    if (call->out.failed) { /* a line is missing: the stream cannot go on */
        struct fg_hub_job *job = call->job;
        call->job = NULL;
        if (job)
            fg_job_cancel(job);
        fg_exchange_abort(call->exchange);
        return;
    }
    int32_t flow = fg_exchange_write(call->exchange, fg_buf_str(&call->out));
    call->out.len = 0;
    if (flow == FG_FLOW_PAUSE && call->job && !call->is_over)
        fg_job_pause(call->job);
}

static void on_started(void *ctx, const struct fg_served *s)
{
    struct fg_call *call = ctx;
    call->load_ns += s->load_ns;
    call->queue_ns += s->queue_ns;
    if (call->is_over || call->is_begun || call->pick)
        return;
    const struct {
        const char *name;
        struct fg_str value;
    } headers[] = {{"x-fluxgate-backend", s->backend},      {"x-fluxgate-engine", s->engine},
                   {"x-fluxgate-device", s->device},        {"x-fluxgate-quant", s->quantization},
                   {"x-fluxgate-model-digest", s->digest},  {"x-fluxgate-skipped", s->skipped}};
    for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++)
        if (headers[i].value.len)
            fg_exchange_set_header(call->exchange, headers[i].name, headers[i].value);
    header_u64(call, "x-fluxgate-queue-ms", s->queue_ns / FG_NS_PER_MS);
}

static void take_usage(struct fg_call *call, const struct fg_usage *u)
{
    call->usage.prompt_tokens += u->prompt_tokens;
    call->usage.cached_tokens += u->cached_tokens;
    call->usage.output_tokens += u->output_tokens;
    call->usage.load_ns += u->load_ns;
    call->usage.prompt_ns += u->prompt_ns;
    call->usage.output_ns += u->output_ns;
}

static void finish_choice(struct fg_call *call, const struct fg_event *ev)
{
    struct fg_choice *c = fg_fold_choice(call, ev);
    if (!c || c->is_finished)
        return;
    c->is_finished = true;
    c->finish = ev->code;
    if (call->is_stream)
        call->shape->chunk(call, &(struct fg_event){.kind = FG_EV_FINISH, .choice = ev->choice,
                                                    .code = ev->code});
}

static void on_event(void *ctx, const struct fg_event *ev)
{
    struct fg_call *call = ctx;
    if (call->is_over || ev->kind == FG_EV_PROGRESS || ev->kind == FG_EV_FAILED)
        return;
    fg_call_enter(call);
    if (ev->kind == FG_EV_STARTED) {
        call->token_count = 0;
        call->has_prompt_ids = ev->token_count > 0;
    }
    if (ev->token_count && ev->choice == 0)
        fg_fold_add_tokens(call, ev->tokens, ev->token_count);
    if (ev->kind == FG_EV_DONE && ev->usage)
        take_usage(call, ev->usage);
    if (ev->kind != FG_EV_STARTED) {
        if (call->is_stream)
            begin_stream(call);
        if (ev->kind == FG_EV_DONE || ev->kind == FG_EV_FINISH) {
            for (uint32_t i = 0; ev->kind == FG_EV_DONE && i < fg_ask_choices(call->ask); i++)
                finish_choice(call, &(struct fg_event){.choice = i, .code = ev->code});
            if (ev->kind == FG_EV_FINISH)
                finish_choice(call, ev);
        } else if (call->is_stream) {
            call->shape->chunk(call, ev);
        } else {
            fg_fold_event(call, ev);
        }
    }
    flush(call);
    fg_call_leave(call);
}

static void succeed(struct fg_call *call)
{
    if (call->no_memory) {
        fail_memory(call);
    } else if (call->is_stream) {
        begin_stream(call);
        call->shape->end(call);
        flush(call);
        if (!call->is_over && !call->out.failed)
            fg_exchange_end(call->exchange);
    } else {
        call->shape->whole(call);
    }
}

static void on_over(void *ctx, const struct fg_job_end *e)
{
    struct fg_call *call = ctx;
    fg_call_enter(call);
    call->job = NULL;
    if (call->is_over) {
        fg_call_leave(call);
        return;
    }
    if (e->reason != FG_JOB_OK) {
        struct fg_fault f;
        fg_fault_of_end(call, e, &f);
        fg_call_fail(call, &f);
    } else if (call->pick + 1 < fg_ask_runs(call->ask) && call->ask->op != FG_ASK_LOAD) {
        call->pick++;
        fg_call_start(call);
    } else {
        succeed(call);
    }
    fg_call_leave(call);
}

static void on_waiting(void *ctx, uint32_t position, const char *phase, float fraction)
{
    struct fg_call *call = ctx;
    (void)phase;
    (void)fraction;
    if (call->is_over || !call->is_stream || !call->shape->is_sse || (position && !call->is_begun))
        return; /* in the queue a refusal keeps its status; NDJSON knows no comments */
    fg_call_enter(call);
    begin_stream(call);
    fg_buf_add(&call->out, FG_STR(": ping\n\n"));
    flush(call);
    fg_call_leave(call);
}

static const struct fg_job_sink sink = {
    .started = on_started, .event = on_event, .over = on_over, .waiting = on_waiting};

void fg_call_start(struct fg_call *call)
{
    struct fg_ask *a = call->ask;
    struct fg_fault f;
    struct fg_arena *arena = fg_arena_open(0, call->http->body.len * 8 + (8u << 20));
    if (!arena || (!call->choices && !fg_fold_open(call, fg_ask_choices(a) * fg_ask_runs(a),
                                                   a->op == FG_OP_EMBED ? a->input_count : 0))) {
        fg_arena_close(arena);
        fail_memory(call);
        return;
    }
    const struct fg_request *request = NULL;
    if (a->op != FG_ASK_LOAD && !(request = fg_ask_build(call, call->pick, arena, &f))) {
        fg_arena_close(arena);
        fg_call_fail(call, &f);
        return;
    }
    const struct fg_ask_int *context = a->given.context.is_set ? &a->given.context
                                                               : &a->layer.context;
    struct fg_str model = fg_arena_str(arena, a->model.ptr ? a->model : FG_STR(""));
    struct fg_job_ask ask = {
        .model = model, .request = request, .arena = arena, .sink = &sink, .ctx = call,
        .keep_alive_set = a->keep_alive_set, .keep_alive_ns = a->keep_alive_ns,
        .context = context->is_set && context->value > 0
                       ? (uint32_t)(context->value > INT32_MAX ? INT32_MAX : context->value)
                       : 0};
    fg_call_enter(call);
    struct fg_hub_job *job = fg_job_start(call->api->hub, fg_exchange_worker(call->exchange), &ask);
    if (job)
        call->job = job; /* NULL: over() ran already */
    fg_call_leave(call);
}
