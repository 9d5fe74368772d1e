/*
 * chat/run.h - one rendering at work: its budget, its scopes, its first error.
 *
 * The error is sticky: the first failure is kept, every later operation answers with something
 * harmless, and loops end because nothing can be spent any more. So functions return values, and
 * only loops and side effects need to ask fg_run_ok(). One thread; all memory is the arena's.
 */
#ifndef FG_CHAT_RUN_H
#define FG_CHAT_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

#include "engine/chat/value.h"
#include "util/arena.h"

enum {
    FG_RUN_STEPS = 1 << 20, /* about a million calls; 0.2 to 0.7 s on a 2.5 GHz core */
    FG_RUN_STEP = 16,       /* units of fuel in a step, which is what a call costs */
    FG_RUN_ROUND = 8,       /* of a loop */
    FG_RUN_STATEMENT = 4,   /* a node of an expression costs 1 */
    FG_RUN_BYTES = 64,      /* bytes copied or searched for one unit */
    FG_RUN_CHARS = 8,       /* bytes whose characters are looked at one by one */
    FG_RUN_CALLS = 64,      /* macros within macros */
    FG_RUN_DEPTH = 1500,    /* evaluations within evaluations: bounds the C stack */
    FG_RUN_TEXT = 16 << 20, /* bytes of the output, and of any one text built */
    FG_RUN_RANGE = 100000,  /* as jinja2's sandbox */
    FG_RUN_MEMORY = 192 << 20,
};

struct fg_var {
    uint32_t name;
    struct fg_value value;
};
struct fg_scope {
    struct fg_scope *parent;
    struct fg_var *vars;
    uint32_t count, capacity;
};

struct fg_program; /* parse.h */
struct fg_node;

struct fg_macro {
    const struct fg_node *node;
    struct fg_scope *scope; /* where it was defined: what its body sees beside its parameters */
};
struct fg_loop {
    struct fg_items each;
    size_t index;
    struct fg_value seen; /* by loop.changed(); ABSENT at first */
};

struct fg_run {
    const struct fg_program *program;
    struct fg_arena *arena;
    struct fg_scope *scope;
    struct fg_weave *out;     /* where text goes now */
    struct fg_value captured; /* what a filter block works on */
    uint64_t now_s;
    int64_t fuel;
    size_t memory;
    uint32_t depth, calls;
    uint32_t name_loop, name_caller, name_varargs, name_kwargs; /* FG_PARSE_NAMES: not used */
    uint32_t line;                                              /* being worked on */
    int32_t status;
    struct fg_error error;
};

static inline bool fg_run_ok(const struct fg_run *r)
{
    return r->status == FG_OK;
}
/* Both end the rendering; the first one is kept. The line is put in front. */
void fg_run_fail(struct fg_run *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void fg_run_no_memory(struct fg_run *);
/* false: out of fuel, or failed before. */
bool fg_run_spend(struct fg_run *, size_t units);
bool fg_run_spend_bytes(struct fg_run *, size_t bytes);
bool fg_run_spend_chars(struct fg_run *, size_t bytes);
void *fg_run_alloc(struct fg_run *, size_t count, size_t size); /* cleared; NULL: failed */
void *fg_run_grow(struct fg_run *, const void *old, size_t count, size_t capacity, size_t size);
bool fg_run_enter(struct fg_run *); /* false: too deep; leave only what was entered */
static inline void fg_run_leave(struct fg_run *r)
{
    r->depth--;
}

struct fg_scope *fg_scope_open(struct fg_run *, struct fg_scope *parent);
void fg_scope_set(struct fg_run *, struct fg_scope *, uint32_t name, struct fg_value);
const struct fg_value *fg_scope_find(struct fg_run *, const struct fg_scope *, uint32_t name);

#endif
