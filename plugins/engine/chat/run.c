/* Budget, scopes and the sticky error. See run.h. */
#include "engine/chat/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/error.h"

void fg_run_fail(struct fg_run *r, const char *format, ...)
{
    if (!fg_run_ok(r))
        return;
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bool broken;
    text[fg_utf8_valid(fg_str_of(text), &broken)] = '\0'; /* names in it may have been cut */
    r->status = fg_fail(&r->error, FG_INVALID, "line %u: %s", r->line, text);
    r->fuel = 0;
}

void fg_run_no_memory(struct fg_run *r)
{
    if (!fg_run_ok(r))
        return;
    r->status = fg_fail(&r->error, FG_NO_MEMORY, "no memory to render the chat template");
    r->fuel = 0;
}

bool fg_run_spend(struct fg_run *r, size_t units)
{
    if (fg_run_ok(r) && (r->fuel < 0 || units > (size_t)r->fuel))
        fg_run_fail(r, "the template takes more than %d steps", FG_RUN_STEPS);
    if (!fg_run_ok(r))
        return false;
    r->fuel -= (int64_t)units;
    return true;
}

bool fg_run_spend_bytes(struct fg_run *r, size_t bytes)
{
    return fg_run_spend(r, 1 + bytes / FG_RUN_BYTES);
}

bool fg_run_spend_chars(struct fg_run *r, size_t bytes)
{
    return fg_run_spend(r, 1 + bytes / FG_RUN_CHARS);
}

void *fg_run_alloc(struct fg_run *r, size_t count, size_t size)
{
    size_t bytes;
    if (!fg_run_ok(r))
        return NULL;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > FG_RUN_MEMORY - r->memory) {
        fg_run_fail(r, "the template takes more than %d MiB", FG_RUN_MEMORY >> 20);
        return NULL;
    }
    void *p = fg_arena_zalloc(r->arena, count, size);
    if (!p)
        fg_run_no_memory(r);
    r->memory += bytes;
    return p;
}

void *fg_run_grow(struct fg_run *r, const void *old, size_t count, size_t capacity, size_t size)
{
    void *p = fg_run_alloc(r, capacity, size);
    if (p && count)
        memcpy(p, old, count * size);
    return p;
}

bool fg_run_enter(struct fg_run *r)
{
    if (r->depth >= FG_RUN_DEPTH) {
        fg_run_fail(r, "nested more than %d deep", FG_RUN_DEPTH);
        return false;
    }
    r->depth++;
    return true;
}

/* ---- scopes: few names each, so a list is enough; long ones cost fuel -------------------------
 */

struct fg_scope *fg_scope_open(struct fg_run *r, struct fg_scope *parent)
{
    struct fg_scope *s = fg_run_alloc(r, 1, sizeof *s);
    if (s)
        s->parent = parent;
    return s;
}

static struct fg_var *find(struct fg_run *r, const struct fg_scope *s, uint32_t name)
{
    fg_run_spend(r, s->count / FG_RUN_STEP);
    for (uint32_t i = 0; i < s->count; i++)
        if (s->vars[i].name == name)
            return &s->vars[i];
    return NULL;
}

void fg_scope_set(struct fg_run *r, struct fg_scope *s, uint32_t name, struct fg_value value)
{
    if (!s)
        return;
    struct fg_var *var = find(r, s, name);
    if (!var && s->count == s->capacity) {
        const uint32_t capacity = s->capacity ? s->capacity * 2 : 4;
        struct fg_var *vars = fg_run_grow(r, s->vars, s->count, capacity, sizeof *vars);
        if (!vars)
            return;
        s->vars = vars;
        s->capacity = capacity;
    }
    if (!var)
        var = &s->vars[s->count++];
    *var = (struct fg_var){name, value};
}

const struct fg_value *fg_scope_find(struct fg_run *r, const struct fg_scope *s, uint32_t name)
{
    for (; s; s = s->parent) {
        const struct fg_var *var = find(r, s, name);
        if (var)
            return &var->value;
    }
    return NULL;
}
