/*
 * api/native.c - llama-server's own routes (tokenize, detokenize, apply-template, health) and
 * ours for operators (ready, metrics, the whole health report).
 */
#include <stdlib.h>

#include "api/messages.h"
#include "obs/metrics.h"

static bool refuse(struct fg_call *call, const char *text)
{
    struct fg_fault f;
    fg_fault_set(&f, 400, "invalid_request_error", NULL, NULL, "%s", text);
    fg_call_fail(call, &f);
    return false;
}

/* ---- tokenize -------------------------------------------------------------------------------- */

static const struct fg_field tokenize_fields[] = {
    FG_TAKE("model", fg_take_model),
    FG_TEXT("content", prompt),
    FG_FLAG("add_special", add_special),
    FG_FLAG("parse_special", parse_special),
    FG_FLAG("with_pieces", with_pieces),
};

static void tokenize_chunk(struct fg_call *call, const struct fg_event *ev)
{
    (void)call;
    (void)ev;
}

/* A piece as text, or as its bytes where it is a part of a character. */
static void put_piece(struct fg_buf *b, struct fg_str piece)
{
    if (fg_utf8_valid(piece, NULL) == piece.len) {
        fg_json_put_str(b, piece);
        return;
    }
    fg_json_put_open(b, '[');
    for (size_t i = 0; i < piece.len; i++)
        fg_json_put_u64(b, (unsigned char)piece.ptr[i]);
    fg_json_put_close(b, ']');
}

/* One event a token with its bytes: the objects are written as they come. */
static void piece_objects(struct fg_call *call, const struct fg_event *ev, struct fg_buf parts[4],
                          uint32_t *chars)
{
    (void)call;
    (void)chars;
    for (uint32_t i = 0; i < ev->token_count; i++) {
        fg_json_put_open(&parts[0], '{');
        fg_json_put_name(&parts[0], "id");
        fg_json_put_i64(&parts[0], ev->tokens[i]);
        fg_json_put_name(&parts[0], "piece");
        put_piece(&parts[0], i ? FG_STR("") : ev->text);
        fg_json_put_close(&parts[0], '}');
    }
}

static void tokenize_whole(struct fg_call *call)
{
    struct fg_buf b = {0};
    fg_buf_add(&b, FG_STR("{\"tokens\":["));
    if (call->ask->with_pieces == FG_FLAG_TRUE)
        fg_buf_add(&b, fg_buf_str(&call->choices[0].logs[0]));
    for (uint32_t i = 0; call->ask->with_pieces != FG_FLAG_TRUE && i < call->token_count; i++)
        fg_json_put_i64(&b, call->tokens[i]);
    fg_buf_add(&b, FG_STR("]}"));
    fg_call_reply_json(call, &b);
}

static const struct fg_shape tokenize_shape = {
    .chunk = tokenize_chunk, .whole = tokenize_whole, .logprobs = piece_objects};

void fg_native_tokenize(struct fg_call *call)
{
    call->shape = &tokenize_shape;
    if (!fg_parse_body(call, tokenize_fields, sizeof(tokenize_fields) / sizeof(*tokenize_fields),
                       NULL))
        return;
    struct fg_ask *a = call->ask;
    if (!a->prompt.ptr)
        a->prompt = FG_STR("");
    a->op = FG_OP_TOKENIZE;
    a->inputs = &a->prompt;
    a->input_count = 1;
    a->flags |= FG_REQ_TOKENS | (a->add_special == FG_FLAG_TRUE ? FG_REQ_BOS : 0) |
                (a->parse_special != FG_FLAG_FALSE ? FG_REQ_SPECIAL : 0) |
                (a->with_pieces == FG_FLAG_TRUE ? FG_REQ_PIECES : 0);
    if (fg_call_find(call, a->model))
        fg_call_start(call);
}

/* ---- detokenize, apply-template -------------------------------------------------------------- */

static bool take_tokens(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    struct fg_ask *a = p->ask;
    if (v->kind != FG_JSON_ARRAY)
        return fg_parse_type(p, f->name, v, "an array");
    a->token_inputs = fg_arena_zalloc(p->arena, 1, sizeof(*a->token_inputs));
    a->token_input_count = 1;
    return a->token_inputs ? fg_parse_ids(p, f->name, a->token_inputs) : fg_parse_memory(p);
}

static const struct fg_field detokenize_fields[] = {
    FG_TAKE("model", fg_take_model),
    FG_TAKE("tokens", take_tokens),
};
static const struct fg_field render_fields[] = {
    FG_TAKE("model", fg_take_model),
    FG_TAKE("messages", fg_take_messages_openai),
};

static void put_text(struct fg_call *call, const char *name)
{
    struct fg_buf b = {0};
    fg_json_put_open(&b, '{');
    fg_json_put_name(&b, name);
    fg_json_put_str(&b, fg_buf_str(&call->choices[0].text));
    fg_json_put_close(&b, '}');
    fg_call_reply_json(call, &b);
}

static void detokenize_whole(struct fg_call *call)
{
    put_text(call, "content");
}

static void render_whole(struct fg_call *call)
{
    put_text(call, "prompt");
}

static const struct fg_shape detokenize_shape = {.whole = detokenize_whole},
                             render_shape = {.whole = render_whole};

void fg_native_detokenize(struct fg_call *call)
{
    call->shape = &detokenize_shape;
    if (!fg_parse_body(call, detokenize_fields, 2, NULL))
        return;
    call->ask->op = FG_OP_DETOKENIZE;
    if (!call->ask->token_input_count)
        refuse(call, "'tokens' is required");
    else if (fg_call_find(call, call->ask->model))
        fg_call_start(call);
}

void fg_native_render(struct fg_call *call)
{
    call->shape = &render_shape;
    if (!fg_parse_body(call, render_fields, 2, NULL))
        return;
    call->ask->op = FG_OP_RENDER;
    if (!call->ask->message_count)
        refuse(call, "'messages' is required");
    else if (fg_call_find(call, call->ask->model))
        fg_call_start(call);
}

/* ---- state ----------------------------------------------------------------------------------- */

void fg_native_health(struct fg_call *call)
{
    json_t *health = fg_hub_health(call->api->hub);
    struct fg_str status = fg_str_of(json_string_value(json_object_get(health, "status")));
    bool down = !health || fg_str_is(status, "down");
    struct fg_buf b = {0};
    if (down) {
        struct fg_fault f;
        fg_fault_set(&f, 503, "unavailable_error", NULL, NULL, "no backend can serve now");
        f.retry_after_s = 5;
        fg_call_fail(call, &f);
    } else {
        fg_json_put_open(&b, '{');
        fg_json_put_name(&b, "status");
        fg_json_put_str(&b, status);
        fg_json_put_close(&b, '}');
        fg_call_reply_json(call, &b);
    }
    json_decref(health);
}

void fg_native_health_full(struct fg_call *call)
{
    json_t *health = fg_hub_health(call->api->hub);
    if (health && call->api->server) {
        json_object_set_new(health, "connections",
                            json_integer(fg_http_connections(call->api->server)));
        json_object_set_new(health, "requests", json_integer(fg_http_active(call->api->server)));
    }
    char *text = health ? json_dumps(health, JSON_COMPACT) : NULL;
    struct fg_buf b = {0};
    fg_buf_add(&b, text ? fg_str_of(text) : FG_STR("{\"status\":\"down\"}"));
    free(text);
    json_decref(health);
    fg_call_reply_json(call, &b);
}

static void on_ready(void *ctx, bool ready, struct fg_str why)
{
    struct fg_wait *w = ctx;
    struct fg_call *call = w->call;
    free(w);
    if (!call)
        return; /* the client left */
    fg_call_enter(call);
    call->wait = NULL;
    struct fg_buf b = {0};
    fg_json_put_open(&b, '{');
    fg_json_put_name(&b, "status");
    fg_json_put_str(&b, ready ? FG_STR("ready") : FG_STR("not ready"));
    if (!ready) {
        fg_json_put_name(&b, "why");
        fg_json_put_str(&b, why);
        if (!call->is_over)
            fg_exchange_set_header(call->exchange, "Retry-After", FG_STR("5"));
    }
    fg_json_put_close(&b, '}');
    fg_call_reply(call, ready ? 200 : 503, "application/json", fg_buf_str(&b));
    fg_buf_done(&b);
    fg_call_leave(call);
}

void fg_native_ready(struct fg_call *call)
{
    struct fg_wait *w = calloc(1, sizeof(*w));
    if (!w) {
        refuse(call, "out of memory");
        return;
    }
    w->call = call;
    call->wait = w;
    fg_hub_ready(call->api->hub, fg_exchange_worker(call->exchange), on_ready, w);
}

void fg_native_metrics(struct fg_call *call)
{
    struct fg_buf b = {0};
    if (fg_metrics_write(&b) && fg_hub_figures(call->api->hub, &b))
        fg_call_reply(call, 200, "text/plain; version=0.0.4", fg_buf_str(&b));
    else
        refuse(call, "out of memory");
    fg_buf_done(&b);
}
