/*
 * api/ask.h - what a request asks for, whatever its dialect: filled by parse.h, turned into an
 * fg_request by fg_ask_build(). Strings are borrowed from the body, the catalog or the call's
 * arena; the built request owns copies in the job's arena.
 */
#ifndef FG_API_ASK_H
#define FG_API_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "flow/hub.h"

enum { FG_ASK_LOAD = -1 }; /* op: only load the model */
enum { FG_FLAG_UNSET = 0, FG_FLAG_FALSE = 1, FG_FLAG_TRUE = 2 };

struct fg_ask_int {
    bool is_set;
    int64_t value;
};
struct fg_ids {
    int32_t *ids;
    uint32_t count;
};

struct fg_options { /* one layer: the model's or the request's */
    struct fg_sampling sampling; /* .set tells what is given */
    struct fg_ask_int predict, context, last_n;
    bool has_stops;
    struct fg_str *stops;
    uint32_t stop_count;
};

struct fg_ask {
    struct fg_str model; /* as the client said */
    bool has_model;
    int32_t op;
    uint32_t flags;      /* FG_REQ_* */
    struct fg_message *messages;
    uint32_t message_count;
    struct fg_str *inputs;
    uint32_t input_count;
    bool is_list;        /* the input was a list */
    struct fg_ids *token_inputs; /* prompts given as ids, instead of inputs */
    uint32_t token_input_count;
    struct fg_ids context_ids;   /* Ollama's old `context` */
    struct fg_options given, layer; /* layer: the model's own */
    struct fg_bias *bias;
    uint32_t bias_count;
    struct fg_ask_int max_tokens, max_completion_tokens, choices, best_of, top_logprobs,
        logprob_count, dimensions;
    int8_t stream, include_usage, logprobs, echo, raw, truncate, shift, ignore_eos, cache_prompt,
        verbose, render_only, add_special, parse_special, with_pieces, parallel_tools;
    struct fg_str system, suffix, prompt, template_text, encoding;
    bool has_thinking, has_tools, has_tool_choice_force;
    bool keep_alive_set;
    int64_t keep_alive_ns;
};

struct fg_fault;
struct fg_call;
/* The pick-th request of the ask in the job's arena; NULL with the fault filled. */
const struct fg_request *fg_ask_build(const struct fg_call *, uint32_t pick, struct fg_arena *,
                                      struct fg_fault *);
/* Prompts that are run one after the other. */
uint32_t fg_ask_runs(const struct fg_ask *);
uint32_t fg_ask_choices(const struct fg_ask *);

#endif
