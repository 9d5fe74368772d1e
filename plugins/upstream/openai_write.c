/*
 * fg_request -> the body of /chat/completions, /completions or /embeddings. Only what the client
 * set is written, so that the server's own defaults hold for the rest; what this dialect has no
 * field for is refused, never left out silently.
 */
#include <stdio.h>
#include <string.h>

#include "upstream/openai.h"
#include "util/error.h"
#include "util/json.h"

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put_name_str(struct fg_buf *b, const char *name, struct fg_str value)
{
    fg_json_put_name(b, name);
    fg_json_put_str(b, value);
}

/* ---- messages -------------------------------------------------------------------------------- */

/* "data:image/png;base64,..." as one JSON string. */
static void put_image(struct fg_buf *b, const struct fg_part *p)
{
    const unsigned char *d = (const unsigned char *)p->data.ptr;
    const size_t len = p->data.len;
    fg_json_put_open(b, '{');
    put_name_str(b, "type", FG_STR("image_url"));
    fg_json_put_name(b, "image_url");
    fg_json_put_open(b, '{');
    fg_json_put_name(b, "url");
    fg_buf_add(b, FG_STR("\"data:"));
    for (size_t i = 0; i < p->name.len; i++) /* a media type: nothing that would need an escape */
        if ((unsigned char)p->name.ptr[i] > 0x20 && p->name.ptr[i] != '"' && p->name.ptr[i] != '\\')
            fg_buf_addc(b, p->name.ptr[i]);
    fg_buf_add(b, p->name.len ? FG_STR(";base64,") : FG_STR("image/png;base64,"));
    if (!fg_buf_reserve(b, len / 3 * 4 + 8))
        return;
    char *to = b->ptr + b->len;
    for (size_t i = 0; i < len; i += 3) {
        const uint32_t left = (uint32_t)(len - i < 3 ? len - i : 3);
        const uint32_t v = (uint32_t)d[i] << 16 | (left > 1 ? (uint32_t)d[i + 1] << 8 : 0) |
                           (left > 2 ? d[i + 2] : 0);
        *to++ = base64[v >> 18];
        *to++ = base64[v >> 12 & 63];
        *to++ = left > 1 ? base64[v >> 6 & 63] : '=';
        *to++ = left > 2 ? base64[v & 63] : '=';
    }
    b->len = (size_t)(to - b->ptr);
    fg_buf_addc(b, '"');
    fg_json_put_close(b, '}');
    fg_json_put_close(b, '}');
}

static uint32_t count_kind(const struct fg_message *m, int32_t kind, const struct fg_part **first)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->part_count; i++)
        if (m->parts[i].kind == kind) {
            if (n++ == 0)
                *first = &m->parts[i];
        }
    return n;
}

static void put_content(struct fg_buf *b, const struct fg_message *m, bool may_be_null)
{
    const struct fg_part *text = NULL, *image = NULL;
    const uint32_t texts = count_kind(m, FG_PART_TEXT, &text);
    const uint32_t images = count_kind(m, FG_PART_IMAGE, &image);
    fg_json_put_name(b, "content");
    if (!images && texts <= 1) {
        if (text)
            fg_json_put_str(b, text->data);
        else if (may_be_null)
            fg_json_put_null(b);
        else
            fg_json_put_str(b, FG_STR(""));
        return;
    }
    fg_json_put_open(b, '[');
    for (uint32_t i = 0; i < m->part_count; i++) {
        if (m->parts[i].kind == FG_PART_IMAGE)
            put_image(b, &m->parts[i]);
        if (m->parts[i].kind != FG_PART_TEXT)
            continue;
        fg_json_put_open(b, '{');
        put_name_str(b, "type", FG_STR("text"));
        put_name_str(b, "text", m->parts[i].data);
        fg_json_put_close(b, '}');
    }
    fg_json_put_close(b, ']');
}

static void put_calls(struct fg_buf *b, const struct fg_message *m)
{
    fg_json_put_name(b, "tool_calls");
    fg_json_put_open(b, '[');
    for (uint32_t i = 0; i < m->part_count; i++) {
        const struct fg_part *p = &m->parts[i];
        if (p->kind != FG_PART_TOOL_CALL)
            continue;
        fg_json_put_open(b, '{');
        put_name_str(b, "id", p->id);
        put_name_str(b, "type", FG_STR("function"));
        fg_json_put_name(b, "function");
        fg_json_put_open(b, '{');
        put_name_str(b, "name", p->name);
        put_name_str(b, "arguments", p->data.len ? p->data : FG_STR("{}"));
        fg_json_put_close(b, '}');
        fg_json_put_close(b, '}');
    }
    fg_json_put_close(b, ']');
}

static void put_thinking(struct fg_buf *b, const struct fg_message *m)
{
    struct fg_buf all = {0};
    for (uint32_t i = 0; i < m->part_count; i++)
        if (m->parts[i].kind == FG_PART_THINKING && m->parts[i].data.len)
            fg_buf_add(&all, m->parts[i].data);
    if (all.len)
        put_name_str(b, "reasoning_content", fg_buf_str(&all));
    b->failed |= all.failed;
    fg_buf_done(&all);
}

/* Each result of a tool is a message of its own in this dialect. */
static void put_results(struct fg_buf *b, const struct fg_message *m)
{
    for (uint32_t i = 0; i < m->part_count; i++) {
        const struct fg_part *p = &m->parts[i];
        if (p->kind != FG_PART_TOOL_RESULT && p->kind != FG_PART_TEXT)
            continue;
        fg_json_put_open(b, '{');
        put_name_str(b, "role", FG_STR("tool"));
        if (p->id.len)
            put_name_str(b, "tool_call_id", p->id);
        if (p->name.len)
            put_name_str(b, "name", p->name);
        put_name_str(b, "content", p->data);
        fg_json_put_close(b, '}');
    }
}

/* Nearly every message is one text: without a look at each kind of part. */
static void put_plain(struct fg_buf *b, const struct fg_message *m)
{
    static const struct fg_str heads[] = {
        [FG_ROLE_SYSTEM] = {"{\"role\":\"system\",\"content\":", 27},
        [FG_ROLE_USER] = {"{\"role\":\"user\",\"content\":", 25},
        [FG_ROLE_ASSISTANT] = {"{\"role\":\"assistant\",\"content\":", 30},
    };
    fg_json_put_raw(b, heads[m->role]);
    fg_json_put_str(b, m->parts[0].data);
    fg_json_put_close(b, '}');
}

static bool is_plain(const struct fg_message *m)
{
    return m->part_count == 1 && m->parts[0].kind == FG_PART_TEXT && m->role >= FG_ROLE_SYSTEM &&
           m->role <= FG_ROLE_ASSISTANT;
}

static void put_message(struct fg_buf *b, const struct fg_message *m,
                        const struct fg_openai_options *o)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    const struct fg_part *first = NULL;
    if (m->role == FG_ROLE_TOOL || count_kind(m, FG_PART_TOOL_RESULT, &first)) {
        put_results(b, m);
        if (m->role == FG_ROLE_TOOL)
            return;
    }
    const bool has_calls =
        m->role == FG_ROLE_ASSISTANT && count_kind(m, FG_PART_TOOL_CALL, &first) > 0;
    fg_json_put_open(b, '{');
    put_name_str(b, "role",
                 fg_str_of(m->role >= 0 && m->role <= FG_ROLE_TOOL ? roles[m->role] : "user"));
    put_content(b, m, has_calls);
    if (m->role == FG_ROLE_ASSISTANT && o->send_thinking)
        put_thinking(b, m);
    if (has_calls)
        put_calls(b, m);
    fg_json_put_close(b, '}');
}

static void put_tools(struct fg_buf *b, const struct fg_request *q)
{
    static const char *const words[] = {"auto", "none", "required"};
    fg_json_put_name(b, "tools");
    fg_json_put_open(b, '[');
    for (uint32_t i = 0; i < q->tool_count; i++) {
        const struct fg_tool *t = &q->tools[i];
        fg_json_put_open(b, '{');
        put_name_str(b, "type", FG_STR("function"));
        fg_json_put_name(b, "function");
        fg_json_put_open(b, '{');
        put_name_str(b, "name", t->name);
        if (t->description.len)
            put_name_str(b, "description", t->description);
        if (t->schema_json.len) {
            fg_json_put_name(b, "parameters");
            fg_json_put_raw(b, t->schema_json);
        }
        fg_json_put_close(b, '}');
        fg_json_put_close(b, '}');
    }
    fg_json_put_close(b, ']');
    if (!q->tool_choice.len)
        return;
    fg_json_put_name(b, "tool_choice");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (fg_str_is(q->tool_choice, words[i])) {
            fg_json_put_str(b, q->tool_choice);
            return;
        }
    fg_json_put_open(b, '{');
    put_name_str(b, "type", FG_STR("function"));
    fg_json_put_name(b, "function");
    fg_json_put_open(b, '{');
    put_name_str(b, "name", q->tool_choice);
    fg_json_put_close(b, '}');
    fg_json_put_close(b, '}');
}

/* ---- how to answer --------------------------------------------------------------------------- */

static void put_bias(struct fg_buf *b, const struct fg_sampling *s)
{
    char id[16];
    fg_json_put_name(b, "logit_bias");
    fg_json_put_open(b, '{');
    for (uint32_t i = 0; i < s->bias_count; i++) {
        snprintf(id, sizeof id, "%d", s->bias[i].token);
        fg_json_put_name(b, id);
        fg_json_put_f32(b, s->bias[i].bias);
    }
    fg_json_put_close(b, '}');
}

static void put_sampling(struct fg_buf *b, const struct fg_sampling *s,
                         const struct fg_openai_options *o)
{
    const struct {
        uint32_t bit;
        const char *name;
        float value;
    } reals[] = {
        {FG_SET_TEMPERATURE, "temperature", s->temperature},
        {FG_SET_TOP_P, "top_p", s->top_p},
        {FG_SET_MIN_P, "min_p", s->min_p},
        {FG_SET_TYPICAL_P, "typical_p", s->typical_p},
        {FG_SET_REPEAT_PENALTY, o->repeat_penalty_field, s->repeat_penalty},
        {FG_SET_FREQUENCY_PENALTY, "frequency_penalty", s->frequency_penalty},
        {FG_SET_PRESENCE_PENALTY, "presence_penalty", s->presence_penalty},
    };
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (s->set & reals[i].bit) {
            fg_json_put_name(b, reals[i].name);
            fg_json_put_f32(b, reals[i].value);
        }
    if (s->set & FG_SET_TOP_K) {
        fg_json_put_name(b, "top_k");
        fg_json_put_i64(b, s->top_k);
    }
    if (s->set & FG_SET_REPEAT_LAST_N) {
        fg_json_put_name(b, "repeat_last_n");
        fg_json_put_i64(b, s->repeat_last_n);
    }
    if (s->set & FG_SET_SEED) { /* servers take it as a signed number */
        fg_json_put_name(b, "seed");
        fg_json_put_u64(b, s->seed & (uint64_t)INT64_MAX);
    }
    if (s->bias_count)
        put_bias(b, s);
}

static void put_schema(struct fg_buf *b, struct fg_str schema)
{
    fg_json_put_name(b, "response_format");
    fg_json_put_open(b, '{');
    if (fg_str_is(fg_str_trim(schema), "{}")) {
        put_name_str(b, "type", FG_STR("json_object"));
    } else {
        put_name_str(b, "type", FG_STR("json_schema"));
        fg_json_put_name(b, "json_schema");
        fg_json_put_open(b, '{');
        put_name_str(b, "name", FG_STR("answer"));
        fg_json_put_name(b, "strict");
        fg_json_put_bool(b, true);
        fg_json_put_name(b, "schema");
        fg_json_put_raw(b, schema);
        fg_json_put_close(b, '}');
    }
    fg_json_put_close(b, '}');
}

static void put_effort(struct fg_buf *b, struct fg_str thinking, const struct fg_openai_options *o)
{
    const bool is_off = fg_str_is(thinking, "off");
    if (o->thinking == FG_THINKING_TEMPLATE) {
        fg_json_put_name(b, "chat_template_kwargs");
        fg_json_put_open(b, '{');
        fg_json_put_name(b, "enable_thinking");
        fg_json_put_bool(b, !is_off);
        fg_json_put_close(b, '}');
        return;
    }
    put_name_str(b, "reasoning_effort",
                 is_off                      ? FG_STR("none")
                 : fg_str_is(thinking, "on") ? FG_STR("medium")
                                             : thinking);
}

static void put_logprobs(struct fg_buf *b, const struct fg_request *q)
{
    fg_json_put_name(b, "logprobs");
    if (q->op == FG_OP_COMPLETE) {
        fg_json_put_u64(b, q->top_logprobs);
        return;
    }
    fg_json_put_bool(b, true);
    if (q->top_logprobs) {
        fg_json_put_name(b, "top_logprobs");
        fg_json_put_u64(b, q->top_logprobs);
    }
}

/* What chat and completions have in common. */
static void put_common(struct fg_buf *b, const struct fg_request *q,
                       const struct fg_openai_options *o)
{
    const bool is_stream = !(q->flags & FG_REQ_WHOLE);
    if (is_stream) {
        fg_json_put_name(b, "stream");
        fg_json_put_bool(b, true);
    }
    if (is_stream && o->include_usage) {
        fg_json_put_name(b, "stream_options");
        fg_json_put_raw(b, FG_STR("{\"include_usage\":true}"));
    }
    if (q->max_tokens) {
        fg_json_put_name(b, q->op == FG_OP_CHAT ? o->max_tokens_field : "max_tokens");
        fg_json_put_u64(b, q->max_tokens);
    }
    if (q->choices > 1) {
        fg_json_put_name(b, "n");
        fg_json_put_u64(b, q->choices);
    }
    if (q->stop_count) {
        fg_json_put_name(b, "stop");
        fg_json_put_open(b, '[');
        for (uint32_t i = 0; i < q->stop_count; i++)
            fg_json_put_str(b, q->stops[i]);
        fg_json_put_close(b, ']');
    }
    if (q->sampling)
        put_sampling(b, q->sampling, o);
    if (q->flags & FG_REQ_IGNORE_EOS) {
        fg_json_put_name(b, "ignore_eos");
        fg_json_put_bool(b, true);
    }
    if (q->logprobs)
        put_logprobs(b, q);
    if (q->schema_json.len)
        put_schema(b, q->schema_json);
    if (q->thinking.len)
        put_effort(b, q->thinking, o);
}

/* ---- the three bodies ------------------------------------------------------------------------ */

static int32_t write_chat(const struct fg_request *q, const struct fg_openai_options *o,
                          struct fg_buf *b, struct fg_error *err)
{
    if (!q->message_count)
        return fg_fail(err, FG_INVALID, "a chat without messages");
    if (q->input_token_count)
        return fg_fail(err, FG_UNSUPPORTED,
                       "an earlier conversation as token ids cannot be sent to a remote server");
    fg_json_put_name(b, "messages");
    fg_json_put_open(b, '[');
    for (uint32_t i = 0; i < q->message_count; i++)
        if (is_plain(&q->messages[i]))
            put_plain(b, &q->messages[i]);
        else
            put_message(b, &q->messages[i], o);
    fg_json_put_close(b, ']');
    if (q->tool_count)
        put_tools(b, q);
    put_common(b, q, o);
    return FG_OK;
}

static int32_t write_complete(const struct fg_request *q, const struct fg_openai_options *o,
                              struct fg_buf *b, struct fg_error *err)
{
    const bool has_text = q->input_count && q->inputs[0].len;
    if (q->input_token_count && has_text)
        return fg_fail(err, FG_UNSUPPORTED,
                       "a prompt of token ids and text at once cannot be sent there");
    fg_json_put_name(b, "prompt");
    if (q->input_token_count) {
        fg_json_put_open(b, '[');
        for (uint32_t i = 0; i < q->input_token_count; i++)
            fg_json_put_i64(b, q->input_tokens[i]);
        fg_json_put_close(b, ']');
    } else {
        fg_json_put_str(b, has_text ? q->inputs[0] : FG_STR(""));
    }
    if (q->input_count > 1 && q->inputs[1].len)
        put_name_str(b, "suffix", q->inputs[1]);
    put_common(b, q, o);
    return FG_OK;
}

static int32_t write_embed(const struct fg_request *q, struct fg_buf *b, struct fg_error *err)
{
    if (!q->input_count)
        return fg_fail(err, FG_INVALID, "nothing to embed");
    fg_json_put_name(b, "input");
    fg_json_put_open(b, '[');
    for (uint32_t i = 0; i < q->input_count; i++)
        fg_json_put_str(b, q->inputs[i]);
    fg_json_put_close(b, ']');
    put_name_str(b, "encoding_format", FG_STR("base64")); /* floats are understood as well */
    return FG_OK;
}

static bool is_ours(struct fg_str key)
{
    static const char *const names[] = {"model",  "messages",       "prompt", "input",
                                        "stream", "stream_options", "n"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (fg_str_is(key, names[i]))
            return true;
    return false;
}

/* The members of options_json as they are: what only this server understands. What decides about
 * model, rights and the form of the answer is not theirs to say. */
static bool put_options(struct fg_buf *b, struct fg_str options)
{
    struct fg_json r;
    struct fg_json_value v;
    struct fg_str key;
    struct fg_arena *arena = fg_arena_open(0, (size_t)1 << 20);
    if (!arena)
        return false;
    fg_json_init(&r, options, arena, 0);
    bool good = fg_json_read(&r, &v) == FG_JSON_OBJECT;
    while (good && fg_json_next(&r, &key)) {
        if (is_ours(key))
            continue;
        good = fg_json_read(&r, &v) != FG_JSON_NONE;
        fg_json_put_key(b, key);
        fg_json_put_raw(b, fg_json_raw(&r, &v));
    }
    good = good && fg_json_end(&r) == FG_OK;
    fg_json_done(&r);
    fg_arena_close(arena);
    return good;
}

const char *fg_openai_path(int32_t op)
{
    static const char *const paths[] = {"/chat/completions", "/completions", "/embeddings"};
    return op >= FG_OP_CHAT && op <= FG_OP_EMBED ? paths[op] : NULL;
}

int32_t fg_openai_write(const struct fg_ask *ask, struct fg_buf *b, struct fg_error *err)
{
    const struct fg_request *q = ask->request;
    const struct fg_openai_options *o = ask->options;
    if (!fg_openai_path(q->op))
        return fg_fail(err, FG_UNSUPPORTED, "a server of this kind cannot be asked for that");
    if (q->resume_count)
        return fg_fail(err, FG_UNSUPPORTED, "a remote answer cannot be continued");
    fg_json_put_open(b, '{');
    put_name_str(b, "model", ask->model);
    const int32_t rc = q->op == FG_OP_CHAT       ? write_chat(q, o, b, err)
                       : q->op == FG_OP_COMPLETE ? write_complete(q, o, b, err)
                                                 : write_embed(q, b, err);
    if (rc != FG_OK)
        return rc;
    if (q->options_json.len && !put_options(b, q->options_json))
        return fg_fail(err, FG_INVALID, "the options of the request are no object");
    fg_json_put_close(b, '}');
    return b->failed ? fg_fail(err, FG_NO_MEMORY, "no memory for the request") : FG_OK;
}
