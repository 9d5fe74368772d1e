/*
 * api/openai_write.c - answers in OpenAI's dialect: chunks of a stream, whole replies, log
 * probabilities in both shapes, vectors as numbers or base64.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/inner.h"
#include "api/openai_write.h"

static struct fg_str finish_word(int32_t code)
{
    switch (code) {
    case FG_END_LENGTH:
        return FG_STR("length");
    case FG_END_TOOL:
        return FG_STR("tool_calls");
    default:
        return FG_STR("stop");
    }
}

static struct fg_str asked_model(const struct fg_call *call)
{
    if (call->ask->model.len)
        return call->ask->model;
    return call->entry ? call->entry->name : FG_STR("default");
}

/* {"id":…,"object":…,"created":…,"model":…,"system_fingerprint":… */
static void put_head(struct fg_call *call, struct fg_buf *b, const char *object)
{
    fg_json_put_open(b, '{');
    fg_json_put_name(b, "id");
    fg_json_put_str(b, fg_str_of(call->id));
    fg_json_put_name(b, "object");
    fg_json_put_str(b, fg_str_of(object));
    fg_json_put_name(b, "created");
    fg_json_put_u64(b, call->created_s);
    fg_json_put_name(b, "model");
    fg_json_put_str(b, asked_model(call));
    fg_json_put_name(b, "system_fingerprint");
    fg_json_put_str(b, FG_STR("fp_" FLUXGATE_VERSION));
}

static void put_usage(struct fg_call *call, struct fg_buf *b)
{
    const struct fg_usage *u = &call->usage;
    fg_json_put_name(b, "usage");
    fg_buf_printf(b,
                  "{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%llu,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":%u},"
                  "\"completion_tokens_details\":{\"reasoning_tokens\":0}}",
                  u->prompt_tokens, u->output_tokens,
                  (unsigned long long)u->prompt_tokens + u->output_tokens, u->cached_tokens);
}

/* ---- log probabilities ----------------------------------------------------------------------- */

/* Strict clients want a number: what is impossible is as OpenAI writes it. */
static void put_log(struct fg_buf *b, float logprob)
{
    fg_json_put_f32(b, isfinite(logprob) ? logprob : -9999.0f);
}

void fg_openai_put_logprob(struct fg_buf *b, const struct fg_logprob *l)
{
    fg_json_put_name(b, "token");
    fg_json_put_str(b, l->bytes);
    fg_json_put_name(b, "logprob");
    put_log(b, l->logprob);
    fg_json_put_name(b, "bytes");
    fg_json_put_open(b, '[');
    for (size_t i = 0; i < l->bytes.len; i++)
        fg_json_put_u64(b, (unsigned char)l->bytes.ptr[i]);
    fg_json_put_close(b, ']');
}

void fg_openai_put_logprobs(struct fg_buf *b, const struct fg_event *ev, bool top)
{
    for (uint32_t i = 0; i < ev->logprob_count; i++) {
        const struct fg_logprob *l = &ev->logprobs[i];
        fg_json_put_open(b, '{');
        fg_openai_put_logprob(b, l);
        if (top) {
            fg_json_put_name(b, "top_logprobs");
            fg_json_put_open(b, '[');
            for (uint32_t k = 0; k < l->top_count; k++) {
                fg_json_put_open(b, '{');
                fg_openai_put_logprob(b, &l->top[k]);
                fg_json_put_close(b, '}');
            }
            fg_json_put_close(b, ']');
        }
        fg_json_put_close(b, '}');
    }
}

static void chat_logprobs(struct fg_call *call, const struct fg_event *ev, struct fg_buf parts[4],
                          uint32_t *chars)
{
    (void)call;
    (void)chars;
    fg_openai_put_logprobs(&parts[0], ev, true);
}

/* A token as the old shape names it: its text, or its bytes when it is a part of a character. */
static void put_token_name(struct fg_buf *b, struct fg_str bytes, bool is_key)
{
    struct fg_buf name = {0};
    if (fg_utf8_valid(bytes, NULL) != bytes.len) {
        fg_buf_add(&name, FG_STR("bytes:"));
        for (size_t i = 0; i < bytes.len; i++)
            fg_buf_printf(&name, "\\x%02x", (unsigned char)bytes.ptr[i]);
        bytes = fg_buf_str(&name);
    }
    if (is_key)
        fg_json_put_key(b, bytes);
    else
        fg_json_put_str(b, bytes);
    b->failed |= name.failed;
    fg_buf_done(&name);
}

static uint32_t code_points(struct fg_str s)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.ptr[i] & 0xc0) != 0x80;
    return n;
}

/* Is this alternative's name taken by an earlier one? (Two ids may have one text.) */
static bool name_taken(const struct fg_logprob *l, uint32_t k)
{
    for (uint32_t i = 0; i < k; i++)
        if (fg_str_eq(l->top[i].bytes, l->top[k].bytes))
            return true;
    return false;
}

/* parts: tokens, token_logprobs, top_logprobs, text_offset */
static void complete_logprobs(struct fg_call *call, const struct fg_event *ev,
                              struct fg_buf parts[4], uint32_t *chars)
{
    for (uint32_t i = 0; i < ev->logprob_count; i++) {
        const struct fg_logprob *l = &ev->logprobs[i];
        put_token_name(&parts[0], l->bytes, false);
        put_log(&parts[1], l->logprob);
        if (call->ask->logprob_count.value) {
            fg_json_put_open(&parts[2], '{');
            for (uint32_t k = 0; k < l->top_count; k++) {
                if (name_taken(l, k))
                    continue;
                put_token_name(&parts[2], l->top[k].bytes, true);
                put_log(&parts[2], l->top[k].logprob);
            }
            fg_json_put_close(&parts[2], '}');
        }
        fg_json_put_u64(&parts[3], *chars);
        *chars += code_points(l->bytes);
    }
}

static void put_logs(struct fg_call *call, struct fg_buf *b, const struct fg_buf parts[4])
{
    bool old = call->shape == &fg_openai_complete_shape;
    fg_json_put_name(b, "logprobs");
    if (old ? !call->ask->logprob_count.is_set : call->ask->logprobs != FG_FLAG_TRUE) {
        fg_json_put_null(b);
        return;
    }
    if (!old) {
        fg_buf_add(b, FG_STR("{\"content\":["));
        fg_buf_add(b, fg_buf_str(&parts[0]));
        fg_buf_add(b, FG_STR("],\"refusal\":null}"));
        return;
    }
    static const char *const names[] = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};
    fg_json_put_open(b, '{');
    for (int k = 0; k < 4; k++) {
        fg_json_put_name(b, names[k]);
        if (k == 2 && call->ask->logprob_count.value == 0) {
            fg_json_put_null(b);
            continue;
        }
        fg_json_put_open(b, '[');
        fg_buf_add(b, fg_buf_str(&parts[k]));
        fg_json_put_close(b, ']');
    }
    fg_json_put_close(b, '}');
}

/* ---- streams --------------------------------------------------------------------------------- */

static bool is_chat(const struct fg_call *call)
{
    return call->shape == &fg_openai_chat_shape;
}

static void open_chunk(struct fg_call *call, uint32_t index)
{
    struct fg_buf *b = &call->out;
    fg_buf_add(b, FG_STR("data: "));
    put_head(call, b, is_chat(call) ? "chat.completion.chunk" : "text_completion");
    fg_json_put_name(b, "choices");
    fg_json_put_open(b, '[');
    fg_json_put_open(b, '{');
    fg_json_put_name(b, "index");
    fg_json_put_u64(b, index);
}

/* `logs` NULL: the chunk has no tokens. finish -1: it goes on. */
static void close_chunk(struct fg_call *call, const struct fg_buf *logs, int32_t finish)
{
    struct fg_buf *b = &call->out;
    if (logs) {
        put_logs(call, b, logs);
    } else {
        fg_json_put_name(b, "logprobs");
        fg_json_put_null(b);
    }
    fg_json_put_name(b, "finish_reason");
    if (finish < 0)
        fg_json_put_null(b);
    else
        fg_json_put_str(b, finish_word(finish));
    fg_buf_add(b, FG_STR("}]"));
    if (call->ask->include_usage == FG_FLAG_TRUE)
        fg_buf_add(b, FG_STR(",\"usage\":null"));
    fg_buf_add(b, FG_STR("}\n\n"));
}

static void open_choice(struct fg_call *call, struct fg_choice *c, uint32_t index)
{
    struct fg_buf *b = &call->out;
    if (c->is_open)
        return;
    c->is_open = true;
    if (is_chat(call)) {
        open_chunk(call, index);
        fg_buf_add(b, FG_STR(",\"delta\":{\"role\":\"assistant\",\"content\":\"\"}"));
        close_chunk(call, NULL, -1);
    } else if (call->ask->echo == FG_FLAG_TRUE) {
        open_chunk(call, index);
        fg_json_put_name(b, "text");
        fg_json_put_str(b, call->ask->inputs[call->pick]);
        close_chunk(call, NULL, -1);
    }
}

static void put_delta(struct fg_call *call, const struct fg_event *ev)
{
    struct fg_buf *b = &call->out;
    if (!is_chat(call)) {
        fg_json_put_name(b, "text");
        fg_json_put_str(b, ev->text);
        return;
    }
    fg_json_put_name(b, "delta");
    fg_json_put_open(b, '{');
    if (ev->kind == FG_EV_THINKING) {
        fg_json_put_name(b, "reasoning");
        fg_json_put_str(b, ev->text);
        fg_json_put_name(b, "reasoning_content");
    } else {
        fg_json_put_name(b, "content");
    }
    fg_json_put_str(b, ev->text);
    fg_json_put_close(b, '}');
}

static void stream_chunk(struct fg_call *call, const struct fg_event *ev)
{
    struct fg_choice *c = fg_fold_choice(call, ev);
    uint32_t index = fg_fold_index(call, ev);
    if (!c)
        return;
    open_choice(call, c, index);
    if (ev->kind == FG_EV_FINISH) {
        open_chunk(call, index);
        fg_buf_add(&call->out, is_chat(call) ? FG_STR(",\"delta\":{}") : FG_STR(",\"text\":\"\""));
        close_chunk(call, NULL, ev->code);
        return;
    }
    if ((ev->kind != FG_EV_TEXT && ev->kind != FG_EV_THINKING) ||
        (!ev->text.len && !ev->logprob_count))
        return;
    struct fg_buf logs[4] = {{0}};
    if (ev->logprob_count)
        call->shape->logprobs(call, ev, logs, &c->chars);
    open_chunk(call, index);
    put_delta(call, ev);
    close_chunk(call, ev->logprob_count ? logs : NULL, -1);
    for (int k = 0; k < 4; k++) {
        call->out.failed |= logs[k].failed;
        fg_buf_done(&logs[k]);
    }
}

static void stream_end(struct fg_call *call)
{
    struct fg_buf *b = &call->out;
    if (call->ask->include_usage == FG_FLAG_TRUE) {
        fg_buf_add(b, FG_STR("data: "));
        put_head(call, b, is_chat(call) ? "chat.completion.chunk" : "text_completion");
        fg_buf_add(b, FG_STR(",\"choices\":[]"));
        put_usage(call, b);
        fg_buf_add(b, FG_STR("}\n\n"));
    }
    fg_buf_add(b, FG_STR("data: [DONE]\n\n"));
}

/* ---- whole replies --------------------------------------------------------------------------- */

static void put_message(struct fg_choice *c, struct fg_buf *b)
{
    fg_json_put_name(b, "message");
    fg_buf_add(b, FG_STR("{\"role\":\"assistant\",\"content\":"));
    fg_json_put_str(b, fg_buf_str(&c->text));
    if (c->thinking.len) {
        fg_json_put_name(b, "reasoning");
        fg_json_put_str(b, fg_buf_str(&c->thinking));
        fg_json_put_name(b, "reasoning_content");
        fg_json_put_str(b, fg_buf_str(&c->thinking));
    }
    fg_json_put_close(b, '}');
}

static void put_text(struct fg_call *call, uint32_t index, struct fg_buf *b)
{
    struct fg_choice *c = &call->choices[index];
    struct fg_buf whole = {0};
    fg_json_put_name(b, "text");
    if (call->ask->echo == FG_FLAG_TRUE) {
        fg_buf_add(&whole, call->ask->inputs[index / fg_ask_choices(call->ask)]);
        fg_buf_add(&whole, fg_buf_str(&c->text));
        fg_json_put_str(b, fg_buf_str(&whole));
        b->failed |= whole.failed;
        fg_buf_done(&whole);
    } else {
        fg_json_put_str(b, fg_buf_str(&c->text));
    }
}

static void whole_reply(struct fg_call *call)
{
    struct fg_buf b = {0};
    put_head(call, &b, is_chat(call) ? "chat.completion" : "text_completion");
    fg_json_put_name(&b, "choices");
    fg_json_put_open(&b, '[');
    for (uint32_t i = 0; i < call->choice_count; i++) {
        struct fg_choice *c = &call->choices[i];
        fg_json_put_open(&b, '{');
        fg_json_put_name(&b, "index");
        fg_json_put_u64(&b, i);
        if (is_chat(call))
            put_message(c, &b);
        else
            put_text(call, i, &b);
        put_logs(call, &b, c->logs);
        fg_json_put_name(&b, "finish_reason");
        fg_json_put_str(&b, finish_word(c->finish));
        fg_json_put_close(&b, '}');
    }
    fg_json_put_close(&b, ']');
    put_usage(call, &b);
    fg_json_put_close(&b, '}');
    fg_call_reply_json(call, &b);
}

/* ---- vectors --------------------------------------------------------------------------------- */

void fg_put_base64(struct fg_buf *b, const unsigned char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    fg_buf_addc(b, '"');
    if (fg_buf_reserve(b, n / 3 * 4 + 8)) {
        for (size_t i = 0; i < n; i += 3) {
            uint32_t left = n - i > 2 ? 3 : (uint32_t)(n - i);
            uint32_t x = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                         (left > 2 ? p[i + 2] : 0);
            char *out = b->ptr + b->len;
            out[0] = digits[x >> 18];
            out[1] = digits[x >> 12 & 63];
            out[2] = left > 1 ? digits[x >> 6 & 63] : '=';
            out[3] = left > 2 ? digits[x & 63] : '=';
            b->len += 4;
        }
    }
    fg_buf_addc(b, '"');
}

void fg_put_vector(struct fg_buf *b, const struct fg_vector *v)
{
    fg_json_put_open(b, '[');
    for (uint32_t i = 0; i < v->count; i++)
        fg_json_put_f32(b, v->values[i]);
    fg_json_put_close(b, ']');
}

static void whole_embed(struct fg_call *call)
{
    struct fg_ask *a = call->ask;
    struct fg_buf b = {.limit = (size_t)512 << 20};
    uint32_t cut = a->dimensions.is_set ? (uint32_t)a->dimensions.value : 0;
    fg_buf_add(&b, FG_STR("{\"object\":\"list\",\"data\":["));
    for (uint32_t i = 0; i < call->vector_count; i++) {
        struct fg_vector *v = &call->vectors[i];
        if (cut > v->count) {
            struct fg_fault f;
            fg_fault_set(&f, 400, "invalid_request_error", NULL, "dimensions",
                         "'dimensions' is larger than the model's %u", v->count);
            fg_buf_done(&b);
            fg_call_fail(call, &f);
            return;
        }
        fg_fold_normalise(v, cut);
        fg_json_put_open(&b, '{');
        fg_buf_printf(&b, "\"object\":\"embedding\",\"index\":%u,\"embedding\":", i);
        if (fg_str_is(a->encoding, "base64"))
            fg_put_base64(&b, (const unsigned char *)v->values, v->count * sizeof(float));
        else
            fg_put_vector(&b, v);
        fg_json_put_close(&b, '}');
    }
    fg_buf_add(&b, FG_STR("],\"model\":"));
    fg_json_put_str(&b, asked_model(call));
    fg_buf_printf(&b, ",\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u}}",
                  call->usage.prompt_tokens, call->usage.prompt_tokens);
    fg_call_reply_json(call, &b);
}

const struct fg_shape fg_openai_chat_shape = {.stream_type = "text/event-stream",
                                              .is_sse = true,
                                              .chunk = stream_chunk,
                                              .end = stream_end,
                                              .whole = whole_reply,
                                              .logprobs = chat_logprobs};
const struct fg_shape fg_openai_complete_shape = {.stream_type = "text/event-stream",
                                                  .is_sse = true,
                                                  .chunk = stream_chunk,
                                                  .end = stream_end,
                                                  .whole = whole_reply,
                                                  .logprobs = complete_logprobs};
const struct fg_shape fg_openai_embed_shape = {.whole = whole_embed};
