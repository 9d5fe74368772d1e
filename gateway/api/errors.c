/*
 * api/errors.c - one mapping from how a job ended to status, words and headers, and the shape that
 * each dialect gives an error. Texts keep the words that clients search for ("not found", "does
 * not support", "context").
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/inner.h"

void fg_fault_set(struct fg_fault *f, int status, const char *type, const char *code,
                  const char *param, const char *format, ...)
{
    *f = (struct fg_fault){.status = status, .type = type, .code = code};
    snprintf(f->param, sizeof(f->param), "%s", param ? param : "");
    va_list args;
    va_start(args, format);
    vsnprintf(f->text, sizeof(f->text), format, args);
    va_end(args);
}

struct fg_str fg_cut64(struct fg_str s)
{
    if (s.len <= 64)
        return s;
    s.len = 64;
    s.len = fg_utf8_valid(s, NULL);
    return s;
}

const char *fg_json_type(int32_t dialect)
{
    return dialect == FG_DIALECT_OLLAMA ? "application/json; charset=utf-8" : "application/json";
}

static bool is_embed_route(const struct fg_call *call)
{
    return call->ask && (call->ask->op == FG_OP_EMBED ||
                         call->shape == &fg_ollama_embed_shape ||
                         call->shape == &fg_ollama_embeddings_shape);
}

void fg_fault_unknown_model(const struct fg_call *call, bool invalid, struct fg_fault *f)
{
    struct fg_str name = fg_cut64(call->ask ? call->ask->model : FG_STR(""));
    bool ollama = call->route->dialect == FG_DIALECT_OLLAMA;
    if (invalid && ollama)
        fg_fault_set(f, 400, NULL, NULL, NULL, "invalid model name");
    else if (ollama && is_embed_route(call))
        fg_fault_set(f, 404, NULL, NULL, NULL, "model \"%.*s\" not found, try pulling it first",
                     FG_STR_ARG(name));
    else
        fg_fault_set(f, 404, "not_found_error", "model_not_found", "model", "model '%.*s' not found",
                     FG_STR_ARG(name));
}

void fg_fault_cannot(const struct fg_call *call, struct fg_fault *f)
{
    struct fg_str name = fg_cut64(call->ask->model);
    int32_t op = call->ask->op;
    if (op == FG_OP_EMBED)
        fg_fault_set(f, call->route->dialect == FG_DIALECT_OLLAMA ? 501 : 400,
                     "invalid_request_error", "unsupported_model", "model",
                     "\"%.*s\" does not support embeddings", FG_STR_ARG(name));
    else
        fg_fault_set(f, 400, "invalid_request_error", "unsupported_model", "model",
                     "\"%.*s\" does not support %s", FG_STR_ARG(name),
                     op == FG_OP_CHAT && call->shape != &fg_ollama_generate_shape ? "chat"
                     : op == FG_OP_CHAT || op == FG_OP_COMPLETE                   ? "generate"
                                                                 : "this operation");
}

static void too_long(const struct fg_call *call, const struct fg_job_end *e, struct fg_fault *f)
{
    uint32_t tokens = e->prompt_tokens, context = e->context;
    if (call->route->dialect == FG_DIALECT_OLLAMA && is_embed_route(call))
        fg_fault_set(f, 400, NULL, NULL, NULL, "the input length exceeds the context length");
    else if (call->route->dialect == FG_DIALECT_OLLAMA)
        fg_fault_set(f, 400, NULL, NULL, NULL,
                     "the request exceeds the available context size: n_prompt_tokens %u, n_ctx %u",
                     tokens, context);
    else
        fg_fault_set(f, 400, "invalid_request_error", "context_length_exceeded",
                     is_embed_route(call)                ? "input"
                     : call->ask->op == FG_OP_COMPLETE ? "prompt"
                                                        : "messages",
                     "This model's maximum context length is %u tokens. However, your messages "
                     "resulted in %u tokens: the request exceeds the available context size "
                     "(context length %u)",
                     context, tokens, context);
    f->prompt_tokens = tokens;
    f->context = context;
}

/* The plugin refused or broke: its status decides, its text is for people. */
static void of_status(const struct fg_call *call, const struct fg_job_end *e, struct fg_fault *f)
{
    static const struct {
        int32_t status;
        int http;
        const char *type, *code;
        uint32_t retry;
    } table[] = {
        {FG_INVALID, 400, "invalid_request_error", NULL, 0},
        {FG_UNSUPPORTED, 400, "invalid_request_error", "unsupported_parameter", 0},
        {FG_NOT_FOUND, 404, "not_found_error", NULL, 0},
        {FG_BUSY, 503, "unavailable_error", "overloaded", 1},
        {FG_NO_MEMORY, 503, "unavailable_error", "overloaded", 5},
        {FG_TIMEOUT, 504, "timeout_error", NULL, 0},
        {FG_DEVICE_LOST, 502, "server_error", "upstream_error", 0},
        {FG_CANCELLED, 503, "unavailable_error", NULL, 1},
    };
    struct fg_str text = e->text.len ? e->text : FG_STR("the engine failed");
    if (text.len > 240)
        text.len = 240;
    if (e->status == FG_TOO_LONG) {
        too_long(call, e, f);
        return;
    }
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (table[i].status == e->status) {
            fg_fault_set(f, table[i].http, table[i].type, table[i].code, NULL, "%.*s",
                         FG_STR_ARG(text));
            f->retry_after_s = e->retry_after_s ? e->retry_after_s : table[i].retry;
            return;
        }
    fg_fault_set(f, 500, "server_error", NULL, NULL, "%.*s", FG_STR_ARG(text));
}

void fg_fault_of_end(const struct fg_call *call, const struct fg_job_end *e, struct fg_fault *f)
{
    static const struct {
        int32_t reason;
        int status;
        const char *type, *code, *text; /* text NULL: the end's own */
        uint32_t retry;                 /* 0: no promise that it heals */
    } table[] = {
        {FG_JOB_QUEUE_FULL, 503, "unavailable_error", "overloaded",
         "server busy, please try again.  maximum pending requests exceeded", 1},
        {FG_JOB_QUEUE_DEADLINE, 503, "unavailable_error", "overloaded", NULL, 5},
        {FG_JOB_LOAD_FAILED, 500, "server_error", "model_load_failed", NULL, 0},
        {FG_JOB_NO_BACKEND, 503, "unavailable_error", "overloaded", NULL, 0},
        {FG_JOB_BACKEND_LOST, 502, "server_error", "upstream_error", NULL, 0},
        {FG_JOB_TIMEOUT, 504, "timeout_error", NULL, NULL, 0},
        {FG_JOB_DRAINING, 503, "unavailable_error", "overloaded", "the server is shutting down", 5},
        {FG_JOB_NO_MEMORY, 503, "unavailable_error", "overloaded", "out of memory", 1},
    };
    bool nameless = call->ask && call->ask->model.len == 0;
    if (e->reason == FG_JOB_MODEL_UNKNOWN || e->reason == FG_JOB_NAME_INVALID) {
        if (nameless)
            fg_fault_set(f, 400, "invalid_request_error", NULL, "model", "model is required");
        else
            fg_fault_unknown_model(call, e->reason == FG_JOB_NAME_INVALID, f);
        return;
    }
    if (e->reason == FG_JOB_CANNOT) {
        fg_fault_cannot(call, f);
        return;
    }
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        if (table[i].reason != e->reason)
            continue;
        struct fg_str text = table[i].text ? fg_str_of(table[i].text) : e->text;
        if (text.len == 0)
            text = FG_STR("the model cannot be served now");
        if (text.len > 240)
            text.len = 240;
        fg_fault_set(f, table[i].status, table[i].type, table[i].code, NULL, "%.*s",
                     FG_STR_ARG(text));
        f->retry_after_s = e->retry_after_s ? e->retry_after_s : table[i].retry;
        /* What another try cannot heal: no device, or a file that will not load. */
        f->no_retry = f->retry_after_s == 0 && e->reason != FG_JOB_BACKEND_LOST &&
                      e->reason != FG_JOB_TIMEOUT;
        return;
    }
    of_status(call, e, f);
}

static void write_openai(const struct fg_fault *f, struct fg_buf *b)
{
    fg_json_put_open(b, '{');
    fg_json_put_name(b, "error");
    fg_json_put_open(b, '{');
    fg_json_put_name(b, "message");
    fg_json_put_str(b, fg_str_of(f->text));
    fg_json_put_name(b, "type");
    fg_json_put_str(b, fg_str_of(f->type ? f->type : "server_error"));
    fg_json_put_name(b, "param");
    if (f->param[0])
        fg_json_put_str(b, fg_str_of(f->param));
    else
        fg_json_put_null(b);
    fg_json_put_name(b, "code");
    if (f->code)
        fg_json_put_str(b, fg_str_of(f->code));
    else
        fg_json_put_null(b);
    if (f->context) {
        fg_json_put_name(b, "n_prompt_tokens");
        fg_json_put_u64(b, f->prompt_tokens);
        fg_json_put_name(b, "n_ctx");
        fg_json_put_u64(b, f->context);
    }
    fg_buf_add(b, FG_STR("}}"));
}

static const char *anthropic_type(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_error";
    case 503:
    case 529:
        return "overloaded_error";
    default:
        return status >= 500 ? "api_error" : "invalid_request_error";
    }
}

void fg_fault_write(int32_t dialect, const struct fg_fault *f, struct fg_buf *b)
{
    struct fg_str text = fg_str_of(f->text);
    if (dialect == FG_DIALECT_OPENAI) {
        write_openai(f, b);
    } else if (dialect == FG_DIALECT_ANTHROPIC) {
        fg_buf_printf(b, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":",
                      anthropic_type(f->status));
        fg_json_put_str(b, text);
        fg_buf_add(b, FG_STR("}}"));
    } else if (dialect == FG_DIALECT_NATIVE) {
        fg_buf_printf(b, "{\"error\":{\"code\":%d,\"message\":", f->status);
        fg_json_put_str(b, text);
        fg_json_put_name(b, "type");
        fg_json_put_str(b, fg_str_of(f->type ? f->type : "server_error"));
        fg_buf_add(b, FG_STR("}}"));
    } else {
        fg_buf_add(b, FG_STR("{\"error\":"));
        fg_json_put_str(b, text);
        fg_buf_addc(b, '}');
    }
}
