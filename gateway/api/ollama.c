/*
 * api/ollama.c - the requests of Ollama's dialect that run a model: generate, chat, embed,
 * embeddings, and the load and unload calls among them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/messages.h"

static bool refuse(struct fg_call *call, int status, const char *text)
{
    struct fg_fault f;
    fg_fault_set(&f, status, "invalid_request_error", NULL, NULL, "%s", text);
    fg_call_fail(call, &f);
    return false;
}

/* ---- fields ---------------------------------------------------------------------------------- */

static bool take_format(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    if (v->kind == FG_JSON_STRING && v->text.len == 0)
        return true;
    if ((v->kind == FG_JSON_STRING && fg_str_is(v->text, "json")) || v->kind == FG_JSON_OBJECT)
        return fg_parse_fault(p, f->name, "'format' is not supported: this server cannot constrain "
                                          "the output");
    return fg_parse_fault(p, f->name, "invalid format: expected \"json\" or a valid JSON Schema "
                                      "object");
}

static bool take_think(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    static const char *const levels[] = {"low", "medium", "high", "max"};
    bool good = v->kind == FG_JSON_BOOL;
    if (good && !v->boolean)
        return true;
    if (v->kind == FG_JSON_STRING && v->text.len == 0)
        return true;
    for (size_t i = 0; i < sizeof(levels) / sizeof(*levels) && v->kind == FG_JSON_STRING; i++)
        good |= fg_str_is(v->text, levels[i]);
    if (good) {
        p->ask->has_thinking = true;
        return true;
    }
    return fg_parse_fault(p, f->name, "invalid think value: must be true, false, \"low\", "
                                      "\"medium\", \"high\" or \"max\"");
}

/* A list that must be empty until its feature is there. */
static bool take_empty_list(struct fg_parse *p, const struct fg_json_value *v,
                            const struct fg_field *f)
{
    if (v->kind != FG_JSON_ARRAY)
        return fg_parse_type(p, f->name, v, "[]interface {}");
    if (!fg_json_next(&p->json, NULL))
        return p->json.status == FG_OK;
    if (fg_str_is(fg_str_of(f->name), "tools")) { /* refused once the model is known */
        struct fg_json_value item;
        p->ask->has_tools = true;
        do {
            fg_json_read(&p->json, &item);
            fg_json_skip(&p->json, &item);
        } while (fg_json_next(&p->json, NULL));
        return p->json.status == FG_OK;
    }
    return fg_parse_fault(p, f->name, "images: this model does not support multimodal input");
}

static bool take_context(struct fg_parse *p, const struct fg_json_value *v,
                         const struct fg_field *f)
{
    if (v->kind != FG_JSON_ARRAY)
        return fg_parse_type(p, f->name, v, "[]int");
    return fg_parse_ids(p, f->name, &p->ask->context_ids);
}

static bool take_top_logprobs(struct fg_parse *p, const struct fg_json_value *v,
                              const struct fg_field *f)
{
    if (v->kind != FG_JSON_INT)
        return fg_parse_type(p, f->name, v, "int");
    if (v->is_big || v->integer < 0 || v->integer > 20)
        return fg_parse_fault(p, f->name, "top_logprobs must be between 0 and 20");
    p->ask->top_logprobs = (struct fg_ask_int){true, v->integer};
    return true;
}

#define RUN_FIELDS                                                                              \
    FG_TAKE("model", fg_take_model), FG_FLAG("stream", stream), FG_TAKE("format", take_format), \
        FG_TAKE("keep_alive", fg_take_keep_alive), FG_TAKE("options", fg_take_options),         \
        FG_TAKE("think", take_think), FG_FLAG("logprobs", logprobs),                            \
        FG_TAKE("top_logprobs", take_top_logprobs), FG_FLAG("truncate", truncate),              \
        FG_FLAG("shift", shift), FG_FLAG("_debug_render_only", render_only)

static const struct fg_field generate_fields[] = {
    RUN_FIELDS,
    FG_TEXT("prompt", prompt),
    FG_TEXT("suffix", suffix),
    FG_TEXT("system", system),
    FG_TEXT("template", template_text),
    FG_TAKE("context", take_context),
    FG_FLAG("raw", raw),
    FG_TAKE("images", take_empty_list),
};
static const struct fg_field chat_fields[] = {
    RUN_FIELDS,
    FG_TAKE("messages", fg_take_messages_ollama),
    FG_TAKE("tools", take_empty_list),
};

/* ---- load, unload ---------------------------------------------------------------------------- */

struct unload {
    struct fg_wait wait;
};

static void on_unloaded(void *ctx, bool found)
{
    struct unload *u = ctx;
    struct fg_call *call = u->wait.call;
    free(u);
    if (!call)
        return; /* the client left */
    fg_call_enter(call);
    call->wait = NULL;
    if (found) {
        fg_ollama_put_load(call, "unload");
    } else {
        struct fg_fault f;
        fg_fault_unknown_model(call, false, &f);
        fg_call_fail(call, &f);
    }
    fg_call_leave(call);
}

static void unload(struct fg_call *call)
{
    struct unload *u = calloc(1, sizeof(*u));
    if (!u) {
        refuse(call, 503, "out of memory");
        return;
    }
    u->wait.call = call;
    call->wait = &u->wait;
    fg_hub_unload(call->api->hub, fg_exchange_worker(call->exchange), call->entry->name, on_unloaded,
                  u);
}

static void load(struct fg_call *call)
{
    call->is_stream = false; /* one plain object, whatever `stream` says */
    if (call->ask->keep_alive_set && call->ask->keep_alive_ns == 0) {
        unload(call);
        return;
    }
    call->ask->op = FG_ASK_LOAD;
    fg_call_start(call);
}

/* ---- generate, chat -------------------------------------------------------------------------- */

static bool prepare(struct fg_call *call, bool model_required)
{
    struct fg_ask *a = call->ask;
    if (a->model.len == 0)
        return model_required ? refuse(call, 400, "model is required")
                              : refuse(call, 404, "model '' not found");
    if (!fg_call_find(call, a->model))
        return false;
    if (a->has_tools) {
        char text[160];
        struct fg_str name = fg_cut64(call->entry->full_name);
        snprintf(text, sizeof(text), "%.*s does not support tools", FG_STR_ARG(name));
        return refuse(call, 400, text);
    }
    if (a->has_thinking) {
        char text[160];
        struct fg_str name = fg_cut64(a->model);
        snprintf(text, sizeof(text), "\"%.*s\" does not support thinking", FG_STR_ARG(name));
        return refuse(call, 400, text);
    }
    call->is_stream = a->stream != FG_FLAG_FALSE;
    if (a->truncate != FG_FLAG_FALSE)
        a->flags |= FG_REQ_TRUNCATE;
    if (a->shift != FG_FLAG_FALSE)
        a->flags |= FG_REQ_SHIFT;
    if (call->entry)
        fg_parse_layer(call, call->entry->params_json, &a->layer);
    return true;
}

static bool check_can(struct fg_call *call, uint32_t need)
{
    struct fg_fault f;
    if (!call->entry || !call->entry->can || (call->entry->can & need))
        return true;
    fg_fault_cannot(call, &f);
    fg_call_fail(call, &f);
    return false;
}

static void start(struct fg_call *call)
{
    if (call->ask->render_only == FG_FLAG_TRUE && call->ask->op == FG_OP_CHAT) {
        call->ask->op = FG_OP_RENDER;
        call->is_stream = false;
    }
    fg_call_start(call);
}

void fg_ollama_chat(struct fg_call *call)
{
    call->shape = &fg_ollama_chat_shape;
    if (!fg_parse_body(call, chat_fields, sizeof(chat_fields) / sizeof(*chat_fields),
                       "ChatRequest") ||
        !prepare(call, true))
        return;
    struct fg_ask *a = call->ask;
    a->op = FG_OP_CHAT;
    if (!check_can(call, FG_CAN_CHAT))
        return;
    if (a->message_count == 0)
        load(call);
    else if (!fg_messages_prepend_model(call, call->entry->system))
        refuse(call, 400, "too many messages");
    else
        start(call);
}

static bool check_generate(struct fg_call *call)
{
    struct fg_ask *a = call->ask;
    char text[160];
    struct fg_str name = fg_cut64(call->entry->full_name.len ? call->entry->full_name : a->model);
    if (a->raw == FG_FLAG_TRUE && (a->template_text.len || a->system.len || a->context_ids.count))
        return refuse(call, 400, "raw mode does not support template, system, or context");
    if (a->suffix.len && (!(call->entry->can & FG_CAN_INFILL) || a->raw == FG_FLAG_TRUE)) {
        snprintf(text, sizeof(text), "%.*s does not support insert", FG_STR_ARG(name));
        return refuse(call, 400, text);
    }
    if (a->template_text.len)
        return refuse(call, 400, "'template' is not supported: the model's own template is used");
    return true;
}

static bool add_prompt(struct fg_call *call)
{
    struct fg_ask *a = call->ask;
    struct fg_parse p = {.call = call, .ask = a, .arena = call->arena};
    if (a->raw == FG_FLAG_TRUE || a->suffix.len) {
        a->op = FG_OP_COMPLETE;
        a->flags |= FG_REQ_SPECIAL | FG_REQ_BOS;
        a->inputs = &a->prompt;
        a->input_count = 1;
        return true;
    }
    a->flags |= FG_REQ_TOKENS | FG_REQ_PROMPT_IDS; /* for `context` */
    if (!fg_messages_add(&p, FG_ROLE_USER, a->prompt, UINT32_MAX))
        return false;
    if (a->context_ids.count) /* the earlier turns are in the ids */
        return a->system.len == 0 || fg_messages_add(&p, FG_ROLE_SYSTEM, a->system, 0);
    return fg_messages_prepend_model(call, a->system.ptr ? a->system : call->entry->system);
}

void fg_ollama_generate(struct fg_call *call)
{
    call->shape = &fg_ollama_generate_shape;
    if (!fg_parse_body(call, generate_fields, sizeof(generate_fields) / sizeof(*generate_fields),
                       "GenerateRequest") ||
        !prepare(call, false))
        return;
    struct fg_ask *a = call->ask;
    a->op = FG_OP_CHAT;
    if (!check_can(call, FG_CAN_CHAT | FG_CAN_COMPLETE) || !check_generate(call))
        return;
    if (a->prompt.len == 0)
        load(call);
    else if (!add_prompt(call))
        refuse(call, 503, "out of memory");
    else
        start(call);
}

/* ---- embeddings ------------------------------------------------------------------------------ */

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

static bool take_input(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    struct fg_json_value item;
    if (v->kind == FG_JSON_STRING)
        return v->text.len == 0 || add_input(p, v->text);
    if (v->kind != FG_JSON_ARRAY)
        return fg_parse_fault(p, f->name, "invalid input type");
    while (fg_json_next(&p->json, NULL)) {
        if (fg_json_read(&p->json, &item) != FG_JSON_STRING)
            return item.kind ? fg_parse_fault(p, f->name, "invalid input type") : false;
        if (!add_input(p, item.text))
            return false;
    }
    return p->json.status == FG_OK;
}

static const struct fg_field embed_fields[] = {
    FG_TAKE("model", fg_take_model),
    FG_TAKE("input", take_input),
    FG_FLAG("truncate", truncate),
    FG_COUNT_FIELD("dimensions", dimensions, 0, INT32_MAX),
    FG_TAKE("options", fg_take_options),
    FG_TAKE("keep_alive", fg_take_keep_alive),
};
static const struct fg_field embeddings_fields[] = {
    FG_TAKE("model", fg_take_model),
    FG_TEXT("prompt", prompt),
    FG_TAKE("options", fg_take_options),
    FG_TAKE("keep_alive", fg_take_keep_alive),
};

static void embed(struct fg_call *call)
{
    struct fg_ask *a = call->ask;
    a->op = FG_OP_EMBED;
    a->flags = (a->flags & ~(uint32_t)FG_REQ_SHIFT) | FG_REQ_BOS;
    call->is_stream = false;
    if (!check_can(call, FG_CAN_EMBED))
        return;
    if (a->input_count == 0)
        load(call);
    else
        fg_call_start(call);
}

void fg_ollama_embed(struct fg_call *call)
{
    call->shape = &fg_ollama_embed_shape;
    if (fg_parse_body(call, embed_fields, sizeof(embed_fields) / sizeof(*embed_fields),
                      "EmbedRequest") &&
        prepare(call, false))
        embed(call);
}

void fg_ollama_embeddings(struct fg_call *call)
{
    call->shape = &fg_ollama_embeddings_shape;
    if (!fg_parse_body(call, embeddings_fields,
                       sizeof(embeddings_fields) / sizeof(*embeddings_fields), "EmbeddingRequest") ||
        !prepare(call, true))
        return;
    call->ask->inputs = &call->ask->prompt;
    call->ask->input_count = call->ask->prompt.len ? 1 : 0;
    embed(call);
}
