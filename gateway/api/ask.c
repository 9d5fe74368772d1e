/*
 * api/ask.c - an ask becomes an fg_request in the job's arena. Options are laid over one another:
 * the dialect's defaults, the model's own, the request's.
 */
#include "api/ask.h"

#include <string.h>

#include "api/inner.h"

uint32_t fg_ask_runs(const struct fg_ask *a)
{
    if (a->op != FG_OP_COMPLETE)
        return 1;
    if (a->token_input_count)
        return a->token_input_count;
    return a->is_list && a->input_count ? a->input_count : 1;
}

uint32_t fg_ask_choices(const struct fg_ask *a)
{
    return a->choices.is_set ? (uint32_t)a->choices.value : 1;
}

static const struct fg_sampling openai_defaults = {
    .temperature = 1, .top_p = 1, .min_p = 0, .typical_p = 1, .repeat_penalty = 1, .repeat_last_n = 64};
static const struct fg_sampling ollama_defaults = {.temperature = 0.8f,
                                                   .top_p = 0.9f,
                                                   .min_p = 0,
                                                   .typical_p = 1,
                                                   .repeat_penalty = 1.1f,
                                                   .top_k = 40,
                                                   .repeat_last_n = 64};

static void lay_over(struct fg_sampling *s, const struct fg_sampling *over)
{
    if (over->set & FG_SET_TEMPERATURE)
        s->temperature = over->temperature;
    if (over->set & FG_SET_TOP_P)
        s->top_p = over->top_p;
    if (over->set & FG_SET_MIN_P)
        s->min_p = over->min_p;
    if (over->set & FG_SET_TYPICAL_P)
        s->typical_p = over->typical_p;
    if (over->set & FG_SET_REPEAT_PENALTY)
        s->repeat_penalty = over->repeat_penalty;
    if (over->set & FG_SET_FREQUENCY_PENALTY)
        s->frequency_penalty = over->frequency_penalty;
    if (over->set & FG_SET_PRESENCE_PENALTY)
        s->presence_penalty = over->presence_penalty;
    if (over->set & FG_SET_TOP_K)
        s->top_k = over->top_k;
    if (over->set & FG_SET_REPEAT_LAST_N)
        s->repeat_last_n = over->repeat_last_n;
    if (over->set & FG_SET_SEED)
        s->seed = over->seed;
    s->set |= over->set & FG_SET_SEED;
}

/* Into the bounds that plugin.h names. A top_p of 0 leaves the best token, as it does elsewhere. */
static void into_bounds(struct fg_sampling *s)
{
    if (s->top_p <= 0)
        s->top_p = 1e-7f;
    if (s->top_p > 1)
        s->top_p = 1;
    if (s->typical_p <= 0 || s->typical_p > 1)
        s->typical_p = 1;
    if (s->min_p < 0)
        s->min_p = 0;
    if (s->min_p >= 1)
        s->min_p = 0.9999f;
    if (s->repeat_penalty <= 0)
        s->repeat_penalty = 1;
}

static void *copy_bytes(struct fg_arena *arena, const void *from, size_t count, size_t size)
{
    void *to = fg_arena_zalloc(arena, count ? count : 1, size);
    if (to && count)
        memcpy(to, from, count * size);
    return to;
}

static struct fg_str *copy_strings(struct fg_arena *arena, const struct fg_str *from, uint32_t count)
{
    struct fg_str *to = fg_arena_zalloc(arena, count ? count : 1, sizeof(*to));
    for (uint32_t i = 0; to && i < count; i++) {
        to[i] = fg_arena_str(arena, from[i].ptr ? from[i] : FG_STR(""));
        if (!to[i].ptr)
            return NULL;
    }
    return to;
}

static struct fg_message *copy_messages(struct fg_arena *arena, const struct fg_ask *a)
{
    uint32_t count = a->message_count;
    struct fg_message *to = fg_arena_zalloc(arena, count ? count : 1, sizeof(*to));
    for (uint32_t i = 0; to && i < count; i++) {
        const struct fg_message *from = &a->messages[i];
        struct fg_part *parts = copy_bytes(arena, from->parts, from->part_count, sizeof(*parts));
        if (!parts)
            return NULL;
        for (uint32_t k = 0; k < from->part_count; k++) {
            parts[k].data = fg_arena_str(arena, parts[k].data.ptr ? parts[k].data : FG_STR(""));
            if (!parts[k].data.ptr)
                return NULL;
        }
        to[i] = (struct fg_message){from->role, from->part_count, parts};
    }
    return to;
}

static const struct fg_sampling *build_sampling(const struct fg_call *call, struct fg_arena *arena)
{
    const struct fg_ask *a = call->ask;
    bool ollama = call->route->dialect == FG_DIALECT_OLLAMA;
    struct fg_sampling *s = fg_arena_alloc(arena, sizeof(*s));
    if (!s)
        return NULL;
    *s = ollama ? ollama_defaults : openai_defaults;
    lay_over(s, &a->layer.sampling);
    lay_over(s, &a->given.sampling);
    into_bounds(s);
    s->size = sizeof(*s);
    s->set |= FG_SET_TEMPERATURE | FG_SET_TOP_P | FG_SET_TOP_K | FG_SET_MIN_P |
              FG_SET_REPEAT_PENALTY | FG_SET_FREQUENCY_PENALTY | FG_SET_PRESENCE_PENALTY |
              FG_SET_TYPICAL_P | FG_SET_REPEAT_LAST_N;
    s->bias = copy_bytes(arena, a->bias, a->bias_count, sizeof(*a->bias));
    s->bias_count = a->bias_count;
    return s->bias ? s : NULL;
}

static uint32_t most_tokens(const struct fg_ask *a)
{
    int64_t most = a->max_completion_tokens.is_set ? a->max_completion_tokens.value
                   : a->max_tokens.is_set          ? a->max_tokens.value
                   : a->given.predict.is_set       ? a->given.predict.value
                   : a->layer.predict.is_set       ? a->layer.predict.value
                                                   : 0;
    return most <= 0 ? 0 : most > INT32_MAX ? INT32_MAX : (uint32_t)most;
}

static bool build_inputs(const struct fg_ask *a, uint32_t pick, struct fg_arena *arena,
                         struct fg_request *r)
{
    if (a->token_input_count) {
        const struct fg_ids *ids = &a->token_inputs[pick];
        r->input_tokens = copy_bytes(arena, ids->ids, ids->count, sizeof(int32_t));
        r->input_token_count = ids->count;
        return r->input_tokens != NULL;
    }
    if (a->context_ids.count) {
        r->input_tokens = copy_bytes(arena, a->context_ids.ids, a->context_ids.count,
                                     sizeof(int32_t));
        r->input_token_count = a->context_ids.count;
        if (!r->input_tokens)
            return false;
    }
    bool picks = a->op == FG_OP_COMPLETE;
    if (picks && a->input_count == 0)
        return true;
    const struct fg_str pair[2] = {picks ? a->inputs[pick] : FG_STR(""), a->suffix};
    r->input_count = picks ? (a->suffix.len ? 2 : 1) : a->input_count;
    r->inputs = copy_strings(arena, picks ? pair : a->inputs, r->input_count);
    return r->inputs != NULL;
}

const struct fg_request *fg_ask_build(const struct fg_call *call, uint32_t pick,
                                      struct fg_arena *arena, struct fg_fault *fault)
{
    const struct fg_ask *a = call->ask;
    const struct fg_options *stops = a->given.has_stops ? &a->given : &a->layer;
    struct fg_request *r = fg_arena_zalloc(arena, 1, sizeof(*r));
    bool good = r != NULL;
    if (good) {
        r->size = sizeof(*r);
        r->op = a->op;
        r->flags = a->flags | (call->is_stream ? 0u : FG_REQ_WHOLE);
        r->id = fg_arena_str(arena, call->http->id);
        r->sampling = build_sampling(call, arena);
        r->messages = copy_messages(arena, a);
        r->message_count = a->message_count;
        r->stops = copy_strings(arena, stops->stops, stops->stop_count);
        r->stop_count = stops->stop_count;
        r->max_tokens = most_tokens(a);
        r->choices = fg_ask_choices(a);
        r->logprobs = a->logprobs == FG_FLAG_TRUE || a->logprob_count.is_set;
        r->top_logprobs = !r->logprobs              ? 0
                          : a->logprob_count.is_set ? (uint32_t)a->logprob_count.value
                                                    : (uint32_t)a->top_logprobs.value;
        r->tool_choice = r->schema_json = r->thinking = r->options_json = r->cache_scope = FG_STR("");
        good = r->id.ptr && r->sampling && r->messages && r->stops &&
               build_inputs(a, pick, arena, r);
    }
    if (!good) {
        fg_fault_set(fault, 503, "unavailable_error", "overloaded", NULL, "out of memory");
        fault->retry_after_s = 1;
        return NULL;
    }
    return r;
}
