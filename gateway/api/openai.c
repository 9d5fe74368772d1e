/*
 * api/openai.c - the requests of OpenAI's dialect: what a body may hold and what it means. Fields
 * whose feature is not there yet are refused by name; unknown ones are ignored, as the contract
 * says.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "api/messages.h"
#include "util/clock.h"

enum { MAX_PROMPTS = 128 };

/* ---- what is refused by name unless it asks for nothing -------------------------------------- */

/* The model may be named behind the field, or not at all. */
static bool refuse_for_model(struct fg_parse *p, const char *name, const char *what)
{
    struct fg_str model = fg_cut64(p->ask->model);
    if (model.len == 0)
        return fg_parse_fault(p, name, "'%s': this model does not support %s", name, what);
    return fg_parse_fault(p, name, "'%s': \"%.*s\" does not support %s", name, FG_STR_ARG(model),
                          what);
}

static bool take_tools(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    if (v->kind != FG_JSON_ARRAY)
        return fg_parse_type(p, f->name, v, "an array");
    if (!fg_json_next(&p->json, NULL))
        return p->json.status == FG_OK;
    return refuse_for_model(p, f->name, "tools");
}

static bool take_tool_choice(struct fg_parse *p, const struct fg_json_value *v,
                             const struct fg_field *f)
{
    if (v->kind == FG_JSON_STRING &&
        (fg_str_is(v->text, "none") || fg_str_is(v->text, "auto")))
        return true;
    if (v->kind != FG_JSON_STRING && v->kind != FG_JSON_OBJECT)
        return fg_parse_type(p, f->name, v, "a string or an object");
    return fg_parse_fault(p, f->name, "'%s' asks for a tool, but no tools are supported", f->name);
}

static bool take_response_format(struct fg_parse *p, const struct fg_json_value *v,
                                 const struct fg_field *f)
{
    struct fg_json_value item;
    struct fg_str key, type = {0};
    if (v->kind != FG_JSON_OBJECT)
        return fg_parse_type(p, f->name, v, "an object");
    while (fg_json_next(&p->json, &key)) {
        fg_json_read(&p->json, &item);
        if (fg_str_is(key, "type") && item.kind == FG_JSON_STRING)
            type = item.text;
        fg_json_skip(&p->json, &item);
    }
    if (p->json.status || fg_str_is(type, "text"))
        return p->json.status == FG_OK;
    struct fg_str word = fg_cut64(type);
    return fg_parse_fault(p, f->name,
                          "'response_format': type '%.*s' is not supported; only 'text' is",
                          FG_STR_ARG(word));
}

static bool effort(struct fg_parse *p, struct fg_str word, const char *name)
{
    static const char *const words[] = {"low", "medium", "high", "xhigh", "max"};
    if (fg_str_is(word, "none") || fg_str_is(word, "minimal"))
        return true;
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (fg_str_is(word, words[i]))
            return refuse_for_model(p, name, "thinking");
    return fg_parse_fault(p, name, "Invalid value for '%s': expected none, minimal, low, medium, "
                                   "high, xhigh or max", name);
}

static bool take_effort(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    if (v->kind == FG_JSON_BOOL)
        return v->boolean ? effort(p, FG_STR("medium"), f->name) : true;
    if (v->kind == FG_JSON_STRING)
        return effort(p, v->text, f->name);
    return fg_parse_type(p, f->name, v, "a string");
}

static bool take_reasoning(struct fg_parse *p, const struct fg_json_value *v,
                           const struct fg_field *f)
{
    if (v->kind != FG_JSON_OBJECT)
        return take_effort(p, v, f);
    struct fg_json_value item;
    struct fg_str key, word = FG_STR("none");
    while (fg_json_next(&p->json, &key)) {
        fg_json_read(&p->json, &item);
        if (fg_str_is(key, "effort") && item.kind == FG_JSON_STRING)
            word = item.text;
        fg_json_skip(&p->json, &item);
    }
    return p->json.status == FG_OK && effort(p, word, f->name);
}

/* null, "", [] and {} ask for nothing; anything else asks for what is not there. */
static bool take_refused(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    bool empty = (v->kind == FG_JSON_STRING && v->text.len == 0) ||
                 (v->kind == FG_JSON_STRING && fg_str_is(v->text, "none")) ||
                 (v->kind >= FG_JSON_ARRAY && !fg_json_next(&p->json, NULL));
    if (p->json.status)
        return false;
    return empty ? true : fg_parse_fault(p, f->name, "'%s' is not supported", f->name);
}

/* ---- shared fields --------------------------------------------------------------------------- */

static bool take_stream_options(struct fg_parse *p, const struct fg_json_value *v,
                                const struct fg_field *f)
{
    static const struct fg_field fields[] = {FG_FLAG("include_usage", include_usage)};
    if (v->kind != FG_JSON_OBJECT)
        return fg_parse_type(p, f->name, v, "an object");
    return fg_parse_object(p, fields, 1);
}

static bool take_limit(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    struct fg_ask_int *out = (struct fg_ask_int *)(void *)((char *)p->ask + f->offset);
    if (v->kind != FG_JSON_INT)
        return fg_parse_type(p, f->name, v, "an integer");
    int64_t value = v->is_big ? INT64_MAX : v->integer;
    if (value < 1 && value != -1) /* -1: until the context is full, whatever the model's own limit */
        return fg_parse_fault(p, f->name, "Invalid value for '%s': expected at least 1.", f->name);
    *out = (struct fg_ask_int){true, value};
    return true;
}

#define COMMON_FIELDS                                                                             \
    FG_TAKE("model", fg_take_model), FG_FLAG("stream", stream),                                   \
        FG_TAKE("stream_options", take_stream_options),                                           \
        FG_TAKE("temperature", fg_take_sampling), FG_TAKE("top_p", fg_take_sampling),             \
        FG_TAKE("top_k", fg_take_sampling), FG_TAKE("min_p", fg_take_sampling),                   \
        FG_TAKE("typical_p", fg_take_sampling), FG_TAKE("repeat_penalty", fg_take_sampling),      \
        FG_TAKE("repeat_last_n", fg_take_sampling),                                               \
        FG_TAKE("presence_penalty", fg_take_sampling),                                            \
        FG_TAKE("frequency_penalty", fg_take_sampling), FG_TAKE("seed", fg_take_seed),            \
        FG_TAKE("stop", fg_take_stop), FG_TAKE("logit_bias", fg_take_bias),                       \
        {"max_tokens", FG_FIELD_INT, offsetof(struct fg_ask, max_tokens), take_limit, 0, 0},      \
        FG_COUNT_FIELD("n", choices, 1, 128), FG_FLAG("ignore_eos", ignore_eos),                  \
        FG_FLAG("cache_prompt", cache_prompt), FG_TAKE("keep_alive", fg_take_keep_alive),         \
        FG_TAKE("num_ctx", fg_take_num_ctx), FG_TAKE("options", fg_take_options),                 \
        FG_TAKE("grammar", take_refused), FG_TAKE("json_schema", take_refused)

static const struct fg_field chat_fields[] = {
    COMMON_FIELDS,
    FG_TAKE("messages", fg_take_messages_openai),
    {"max_completion_tokens", FG_FIELD_INT, offsetof(struct fg_ask, max_completion_tokens),
     take_limit, 0, 0},
    FG_FLAG("logprobs", logprobs),
    FG_COUNT_FIELD("top_logprobs", top_logprobs, 0, 20),
    FG_TAKE("tools", take_tools),
    FG_TAKE("tool_choice", take_tool_choice),
    FG_FLAG("parallel_tool_calls", parallel_tools),
    FG_TAKE("functions", take_tools),
    FG_TAKE("function_call", take_tool_choice),
    FG_TAKE("response_format", take_response_format),
    FG_TAKE("format", take_refused),
    FG_TAKE("reasoning_effort", take_effort),
    FG_TAKE("reasoning", take_reasoning),
    FG_TAKE("think", take_effort),
    FG_TAKE("audio", take_refused),
};

static void set_flags(struct fg_ask *a)
{
    if (a->ignore_eos == FG_FLAG_TRUE)
        a->flags |= FG_REQ_IGNORE_EOS;
    if (a->cache_prompt == FG_FLAG_FALSE)
        a->flags |= FG_REQ_NO_CACHE;
}

static bool refuse(struct fg_call *call, const char *param, const char *text)
{
    struct fg_fault f;
    fg_fault_set(&f, 400, "invalid_request_error", NULL, param, "%s", text);
    fg_call_fail(call, &f);
    return false;
}

/* What a model that is known cannot do is said before it is loaded. can 0: not yet inspected. */
static bool check_can(struct fg_call *call, uint32_t need)
{
    struct fg_fault f;
    if (!call->entry || !call->entry->can || (call->entry->can & need))
        return true;
    fg_fault_cannot(call, &f);
    fg_call_fail(call, &f);
    return false;
}

/* 128 random bits; clients keep ids of many servers side by side. */
static void new_id(struct fg_call *call, const char *prefix)
{
    unsigned char bits[16] = {0};
    size_t len = (size_t)snprintf(call->id, sizeof(call->id), "%s", prefix);
    if (getrandom(bits, sizeof(bits), GRND_NONBLOCK) != (ssize_t)sizeof(bits)) {
        struct fg_str id = call->http->id; /* "req_" and 24 random hex digits */
        snprintf(call->id + len, sizeof(call->id) - len, "%.*s", FG_STR_ARG(fg_str_from(id, 4)));
        return;
    }
    for (size_t i = 0; i < sizeof(bits); i++)
        len += (size_t)snprintf(call->id + len, sizeof(call->id) - len, "%02x", bits[i]);
}

static bool prepare(struct fg_call *call, uint32_t need)
{
    struct fg_ask *a = call->ask;
    set_flags(a);
    call->is_stream = a->stream == FG_FLAG_TRUE;
    if (!fg_call_find(call, a->model) || !check_can(call, need))
        return false;
    if (call->entry)
        fg_parse_layer(call, call->entry->params_json, &a->layer);
    return true;
}

void fg_openai_chat(struct fg_call *call)
{
    call->shape = &fg_openai_chat_shape;
    new_id(call, "chatcmpl-");
    if (!fg_parse_body(call, chat_fields, sizeof(chat_fields) / sizeof(*chat_fields), NULL))
        return;
    struct fg_ask *a = call->ask;
    a->op = FG_OP_CHAT;
    if (a->message_count == 0) {
        refuse(call, "messages", "[] is too short - 'messages'");
        return;
    }
    if (a->top_logprobs.is_set && a->top_logprobs.value && a->logprobs != FG_FLAG_TRUE) {
        refuse(call, "top_logprobs", "'top_logprobs' needs 'logprobs' to be true");
        return;
    }
    if (!prepare(call, FG_CAN_CHAT))
        return;
    if (!fg_messages_prepend_model(call, call->entry ? call->entry->system : FG_STR(""))) {
        refuse(call, "messages", "too many messages");
        return;
    }
    fg_call_start(call);
}

/* ---- /v1/completions ------------------------------------------------------------------------- */

static bool add_input(struct fg_parse *p, struct fg_str text)
{
    struct fg_ask *a = p->ask;
    struct fg_str *items = fg_parse_grow(p, a->inputs, a->input_count, sizeof(*items));
    if (!items)
        return false;
    a->inputs = items;
    a->inputs[a->input_count++] = text;
    return true;
}

static bool add_ids(struct fg_parse *p, const char *name)
{
    struct fg_ask *a = p->ask;
    struct fg_ids *items = fg_parse_grow(p, a->token_inputs, a->token_input_count, sizeof(*items));
    if (!items)
        return false;
    a->token_inputs = items;
    return fg_parse_ids(p, name, &a->token_inputs[a->token_input_count++]);
}

/* The rest of a flat list of ids whose first one was read. */
static bool flat_ids(struct fg_parse *p, const char *name, const struct fg_json_value *first)
{
    struct fg_ask *a = p->ask;
    struct fg_ids rest, *one;
    if (first->is_big || first->integer < 0 || first->integer > INT32_MAX)
        return fg_parse_fault(p, name, "'%s' holds a number that is no token id", name);
    if (!fg_parse_ids(p, name, &rest))
        return false;
    one = fg_arena_zalloc(p->arena, 1, sizeof(*one));
    int32_t *ids = fg_arena_zalloc(p->arena, (size_t)rest.count + 1, sizeof(*ids));
    if (!one || !ids)
        return fg_parse_memory(p);
    ids[0] = (int32_t)first->integer;
    if (rest.count)
        memcpy(ids + 1, rest.ids, rest.count * sizeof(*ids));
    *one = (struct fg_ids){ids, rest.count + 1};
    a->token_inputs = one;
    a->token_input_count = 1;
    return true;
}

/* A string, a list of strings, a list of ids, a list of lists of ids; not mixed. */
static bool take_input(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    struct fg_ask *a = p->ask;
    struct fg_json_value item;
    if (v->kind == FG_JSON_STRING)
        return add_input(p, v->text);
    if (v->kind != FG_JSON_ARRAY)
        return fg_parse_type(p, f->name, v, "a string or an array");
    a->is_list = true;
    while (fg_json_next(&p->json, NULL)) {
        bool good;
        fg_json_read(&p->json, &item);
        if (item.kind == FG_JSON_STRING && !a->token_input_count)
            good = add_input(p, item.text);
        else if (item.kind == FG_JSON_ARRAY && !a->input_count)
            good = add_ids(p, f->name);
        else if (item.kind == FG_JSON_INT && !a->input_count && !a->token_input_count)
            return flat_ids(p, f->name, &item);
        else
            good = fg_parse_type(p, f->name, &item, "strings or token ids, all of one kind");
        if (!good)
            return false;
    }
    return p->json.status == FG_OK;
}

static const struct fg_field complete_fields[] = {
    COMMON_FIELDS,
    FG_TAKE("prompt", take_input),
    FG_TEXT("suffix", suffix),
    FG_FLAG("echo", echo),
    FG_COUNT_FIELD("best_of", best_of, 1, 128),
    FG_COUNT_FIELD("logprobs", logprob_count, 0, 5),
};

static bool check_complete(struct fg_call *call)
{
    struct fg_ask *a = call->ask;
    uint32_t runs = fg_ask_runs(a);
    if (a->input_count == 0 && a->token_input_count == 0)
        return refuse(call, "prompt", "'prompt' is required");
    if (runs > MAX_PROMPTS || runs * fg_ask_choices(a) > MAX_PROMPTS)
        return refuse(call, "prompt", "at most 128 answers in one request");
    for (uint32_t i = 0; i < a->token_input_count; i++)
        if (a->token_inputs[i].count == 0)
            return refuse(call, "prompt", "'prompt' holds an empty list of token ids");
    if (a->best_of.is_set && a->best_of.value != fg_ask_choices(a))
        return refuse(call, "best_of", "'best_of' is only supported when it equals 'n'");
    if (a->echo == FG_FLAG_TRUE && a->token_input_count)
        return refuse(call, "echo", "'echo' is not supported for a prompt of token ids");
    if (a->echo == FG_FLAG_TRUE && a->logprob_count.is_set)
        return refuse(call, "echo", "'echo' together with 'logprobs' is not supported");
    if (a->suffix.len && (a->token_input_count || !call->entry ||
                          !(call->entry->can & FG_CAN_INFILL)))
        return refuse(call, "suffix", "'suffix': this model does not support insert");
    return true;
}

void fg_openai_complete(struct fg_call *call)
{
    call->shape = &fg_openai_complete_shape;
    new_id(call, "cmpl-");
    if (!fg_parse_body(call, complete_fields, sizeof(complete_fields) / sizeof(*complete_fields),
                       NULL))
        return;
    call->ask->op = FG_OP_COMPLETE;
    call->ask->flags |= FG_REQ_SPECIAL | FG_REQ_BOS;
    if (prepare(call, FG_CAN_COMPLETE) && check_complete(call))
        fg_call_start(call);
}

/* ---- /v1/embeddings -------------------------------------------------------------------------- */

static const struct fg_field embed_fields[] = {
    FG_TAKE("model", fg_take_model),
    FG_TAKE("input", take_input),
    FG_TEXT("encoding_format", encoding),
    FG_COUNT_FIELD("dimensions", dimensions, 1, INT32_MAX),
    FG_TAKE("keep_alive", fg_take_keep_alive),
    FG_TAKE("options", fg_take_options),
};

static bool check_embed(struct fg_call *call)
{
    struct fg_ask *a = call->ask;
    char text[160];
    struct fg_str encoding = fg_cut64(a->encoding);
    if (encoding.ptr && !fg_str_is(encoding, "float") && !fg_str_is(encoding, "base64")) {
        snprintf(text, sizeof(text),
                 "Invalid value for 'encoding_format' = %.*s. Supported values: ['float', "
                 "'base64'].",
                 FG_STR_ARG(encoding));
        return refuse(call, "encoding_format", text);
    }
    if (a->token_input_count)
        return refuse(call, "input", "token input is not supported for this model; send text");
    bool empty = a->input_count == 0;
    for (uint32_t i = 0; i < a->input_count; i++)
        empty |= a->inputs[i].len == 0;
    if (empty)
        return refuse(call, "input", "invalid input: 'input' is empty");
    if (a->dimensions.is_set && call->entry && call->entry->embedding &&
        a->dimensions.value > call->entry->embedding)
        return refuse(call, "dimensions", "'dimensions' is larger than the model's");
    return true;
}

void fg_openai_embed(struct fg_call *call)
{
    call->shape = &fg_openai_embed_shape;
    if (!fg_parse_body(call, embed_fields, sizeof(embed_fields) / sizeof(*embed_fields), NULL))
        return;
    call->ask->op = FG_OP_EMBED;
    call->ask->flags |= FG_REQ_BOS;
    if (prepare(call, FG_CAN_EMBED) && check_embed(call))
        fg_call_start(call);
}

/* ---- /v1/models ------------------------------------------------------------------------------ */

static void put_model(struct fg_buf *b, const struct fg_model_entry *e)
{
    fg_json_put_open(b, '{');
    fg_json_put_name(b, "id");
    fg_json_put_str(b, e->name);
    fg_json_put_name(b, "object");
    fg_json_put_str(b, FG_STR("model"));
    fg_json_put_name(b, "created");
    fg_json_put_u64(b, e->modified_wall_ns / FG_NS_PER_S);
    fg_json_put_name(b, "owned_by");
    fg_json_put_str(b, FG_STR("library"));
    if (e->context) {
        fg_json_put_name(b, "context_length");
        fg_json_put_u64(b, e->context);
        fg_json_put_name(b, "max_model_len");
        fg_json_put_u64(b, e->context);
    }
    fg_json_put_name(b, "meta");
    fg_json_put_open(b, '{');
    fg_json_put_name(b, "n_ctx_train");
    fg_json_put_u64(b, e->context);
    fg_json_put_name(b, "n_embd");
    fg_json_put_u64(b, e->embedding);
    fg_json_put_name(b, "n_params");
    fg_json_put_u64(b, e->parameters);
    fg_json_put_name(b, "size");
    fg_json_put_u64(b, e->size_bytes);
    fg_buf_add(b, FG_STR("}}"));
}

void fg_openai_models(struct fg_call *call)
{
    struct fg_buf b = {0};
    if (fg_call_look(call))
        return;
    call->catalog = fg_hub_catalog(call->api->hub);
    fg_buf_add(&b, FG_STR("{\"object\":\"list\",\"data\":["));
    for (uint32_t i = 0; call->catalog && i < fg_catalog_count(call->catalog); i++)
        put_model(&b, fg_catalog_at(call->catalog, i));
    fg_buf_add(&b, FG_STR("]}"));
    fg_call_reply_json(call, &b);
}

void fg_openai_model(struct fg_call *call)
{
    struct fg_ask ask = {.model = call->rest};
    struct fg_buf b = {0};
    call->ask = &ask;
    if (fg_call_find(call, call->rest) && call->entry &&
        !(fg_call_is_bare(call) && fg_call_look(call))) {
        put_model(&b, call->entry);
        fg_call_reply_json(call, &b);
    }
    call->ask = NULL;
}
