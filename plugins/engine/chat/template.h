/*
 * engine/chat/template.h - the chat template of a model file: the Jinja that real files use.
 *
 * Compiled once a model, rendered once a request, on any thread (a template is read-only after
 * compile). Bounded: fuel of 1 M steps, recursion 64, parse nesting 128, output 16 MiB; no files,
 * no includes, no attributes but a whitelist.
 */
#ifndef FG_ENGINE_TEMPLATE_H
#define FG_ENGINE_TEMPLATE_H

#include <stdbool.h>

#include <fluxgate/plugin.h>

#include "engine/token/vocab.h"
#include "util/arena.h"

struct fg_template;

/* source is copied. FG_INVALID with line and cause. */
int32_t fg_template_compile(struct fg_str source, struct fg_template **, struct fg_error *);
void fg_template_close(struct fg_template *);
/* What most base models fall back to. */
extern const char fg_template_chatml[];

struct fg_template_input {
    const struct fg_message *messages;
    uint32_t message_count;
    const struct fg_tool *tools;
    uint32_t tool_count;
    bool add_generation_prompt; /* off when the last message is the assistant's (it is left open) */
    struct fg_str bos, eos;     /* texts of the model's tokens */
    uint64_t now_s;             /* wall time for strftime_now; 0: the clock */
    struct fg_str thinking;     /* as in fg_request */
};
struct fg_template_output {  /* in the arena */
    struct fg_piece *pieces; /* special = came from the template, not from a message */
    size_t count;
};
/* A final message of the assistant is left open: no end-of-turn text after it, no new turn.
 * FG_INVALID: the template raised an exception or met bad data (text says which). */
int32_t fg_template_render(const struct fg_template *, const struct fg_template_input *,
                           struct fg_arena *, struct fg_template_output *, struct fg_error *);

#endif
