/*
 * Expressions. Walks the tree; how deep is counted, since a template's source decides the shape.
 */
#include "engine/chat/native.h"
#include "engine/chat/node.h"
#include "engine/chat/parse.h"

#include <string.h>

static struct fg_value missing(struct fg_run *r, const struct fg_value *v)
{
    if (v->text)
        fg_run_fail(r, "'%.*s' is undefined", v->text->len < 80 ? (int)v->text->len : 80,
                    v->text->ptr);
    else
        fg_run_fail(r, "a value is undefined");
    return FG_UNDEFINED;
}

/* ---- attributes and items -------------------------------------------------------------------- */

static struct fg_value loop_attribute(struct fg_run *r, struct fg_loop *loop, struct fg_tagged name)
{
    const struct fg_str s = fg_tagged_str(name);
    const size_t at = loop->index, count = loop->each.count;
    if (fg_str_is(s, "index"))
        return fg_value_int((int64_t)at + 1);
    if (fg_str_is(s, "index0"))
        return fg_value_int((int64_t)at);
    if (fg_str_is(s, "revindex"))
        return fg_value_int((int64_t)(count - at));
    if (fg_str_is(s, "revindex0"))
        return fg_value_int((int64_t)(count - at) - 1);
    if (fg_str_is(s, "first"))
        return fg_value_bool(at == 0);
    if (fg_str_is(s, "last"))
        return fg_value_bool(at + 1 == count);
    if (fg_str_is(s, "length"))
        return fg_value_int((int64_t)count);
    if (fg_str_is(s, "depth"))
        return fg_value_int(1);
    if (fg_str_is(s, "depth0"))
        return fg_value_int(0);
    if (fg_str_is(s, "previtem"))
        return at ? loop->each.at[at - 1] : fg_value_undefined(r, name);
    if (fg_str_is(s, "nextitem"))
        return at + 1 < count ? loop->each.at[at + 1] : fg_value_undefined(r, name);
    return fg_value_undefined(r, name);
}

static struct fg_value method(struct fg_run *r, const struct fg_value *v, struct fg_tagged name)
{
    const struct fg_native *native = fg_method_find(v, fg_tagged_str(name));
    struct fg_bound *bound = native ? fg_run_alloc(r, 1, sizeof *bound) : NULL;
    if (!bound)
        return fg_value_undefined(r, name);
    *bound = (struct fg_bound){*v, native};
    return (struct fg_value){.kind = FG_KIND_NATIVE, .bound = bound};
}

struct fg_value fg_value_attribute(struct fg_run *r, const struct fg_value *v,
                                   struct fg_tagged name)
{
    if (v->kind == FG_KIND_UNDEFINED)
        return missing(r, v);
    if (v->kind == FG_KIND_DICT && fg_method_find(v, fg_tagged_str(name)))
        return method(r, v, name);
    if (v->kind == FG_KIND_DICT || v->kind == FG_KIND_SPACE) {
        const struct fg_value *found = fg_dict_find(r, v->dict, fg_tagged_str(name));
        return found ? *found : fg_value_undefined(r, name);
    }
    if (v->kind == FG_KIND_CYCLER && fg_str_is(fg_tagged_str(name), "current"))
        return v->cycle->items->at[v->cycle->next];
    if (fg_method_find(v, fg_tagged_str(name)))
        return method(r, v, name);
    if (v->kind == FG_KIND_LOOP)
        return loop_attribute(r, v->loop, name);
    return fg_value_undefined(r, name);
}

struct fg_value fg_value_item(struct fg_run *r, const struct fg_value *v,
                              const struct fg_value *key)
{
    int64_t at;
    if (v->kind == FG_KIND_UNDEFINED)
        return missing(r, v);
    if (v->kind == FG_KIND_DICT) {
        const struct fg_value *found = fg_dict_get(r, v->dict, key);
        if (found)
            return *found;
        if (key->kind == FG_KIND_TEXT && fg_method_find(v, fg_tagged_str(*key->text)))
            return method(r, v, *key->text);
    } else if (fg_value_integer(key, &at)) {
        const bool row = v->kind == FG_KIND_ITEMS && v->items->form <= FG_FORM_TUPLE;
        if (v->kind == FG_KIND_TEXT)
            fg_run_spend_bytes(r, v->text->len * 2);
        const int64_t count = row                       ? (int64_t)v->items->count
                              : v->kind == FG_KIND_TEXT ? (int64_t)fg_tagged_chars(*v->text)
                                                        : 0;
        if (at < 0)
            at += count;
        if (at >= 0 && at < count && row)
            return v->items->at[at];
        if (at >= 0 && at < count) {
            const size_t from = fg_tagged_offset(*v->text, (size_t)at);
            const struct fg_tagged rest = fg_tagged_from(*v->text, from);
            return fg_value_text(r, fg_tagged_part(rest, 0, fg_tagged_offset(rest, 1)));
        }
    } else if (key->kind == FG_KIND_TEXT) {
        return fg_value_attribute(r, v, *key->text);
    }
    return fg_value_undefined(r, fg_value_str(r, key));
}

struct fg_value fg_value_path(struct fg_run *r, const struct fg_value *v,
                              const struct fg_value *path)
{
    struct fg_value now = *v;
    if (path->kind != FG_KIND_TEXT)
        return fg_value_item(r, v, path);
    struct fg_tagged rest = *path->text;
    while (fg_run_ok(r)) {
        const size_t dot = fg_tagged_find(rest, FG_STR("."), 0);
        const struct fg_tagged part = dot == SIZE_MAX ? rest : fg_tagged_part(rest, 0, dot);
        int64_t at;
        const struct fg_value key =
            fg_str_i64(fg_tagged_str(part), &at) ? fg_value_int(at) : fg_value_text(r, part);
        now = fg_value_item(r, &now, &key);
        if (dot == SIZE_MAX)
            break;
        rest = fg_tagged_from(rest, dot + 1);
    }
    return now;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* more: a further argument with a name (caller), or NULL. */
static void arguments(struct fg_run *r, const struct fg_node *n, const struct fg_named *more,
                      struct fg_given *out)
{
    *out = (struct fg_given){0};
    if (!n->count && !more)
        return;
    struct fg_value *at = fg_run_alloc(r, n->count + 1, sizeof *at);
    struct fg_named *named = fg_run_alloc(r, n->count + 1, sizeof *named);
    if (!at || !named)
        return;
    out->at = at;
    out->named = named;
    for (uint32_t i = 0; i < n->count; i++) {
        const struct fg_node *arg = n->list[i];
        if (arg->kind == FG_NODE_KEYWORD)
            named[out->named_count++] =
                (struct fg_named){r->program->names[arg->name], fg_eval(r, arg->a)};
        else
            at[out->count++] = fg_eval(r, arg);
    }
    if (more)
        named[out->named_count++] = *more;
}

struct fg_value fg_value_call(struct fg_run *r, const struct fg_value *callee,
                              const struct fg_given *given)
{
    if (!fg_run_spend(r, FG_RUN_STEP))
        return FG_UNDEFINED;
    if (callee->kind == FG_KIND_NATIVE)
        return fg_native_call(r, callee->bound->native, &callee->bound->self, given);
    if (callee->kind == FG_KIND_MACRO)
        return fg_macro_call(r, callee->macro, given);
    if (callee->kind == FG_KIND_JOINER) {
        if (callee->cycle->next++)
            return callee->cycle->items->at[0];
        return fg_value_chars(r, "");
    }
    if (callee->kind == FG_KIND_UNDEFINED)
        return missing(r, callee);
    fg_run_fail(r, "a %s cannot be called", fg_value_type(callee));
    return FG_UNDEFINED;
}

static struct fg_value call(struct fg_run *r, const struct fg_node *n, const struct fg_named *more)
{
    struct fg_given given;
    const struct fg_value callee = fg_eval(r, n->a);
    arguments(r, n, more, &given);
    r->line = n->line;
    return fg_run_ok(r) ? fg_value_call(r, &callee, &given) : FG_UNDEFINED;
}

struct fg_value fg_eval_call(struct fg_run *r, const struct fg_node *n,
                             const struct fg_value *caller)
{
    const struct fg_named more = {FG_STR("caller"), *caller};
    if (!fg_run_enter(r))
        return FG_UNDEFINED;
    const struct fg_value v = call(r, n, &more);
    fg_run_leave(r);
    return v;
}

/* A filter or a test. */
static struct fg_value apply(struct fg_run *r, const struct fg_node *n)
{
    struct fg_given given;
    const struct fg_value self = fg_eval(r, n->a);
    if (!n->native) {
        r->line = n->line;
        fg_run_fail(r, "there is no %s '%.*s'", n->kind == FG_NODE_TEST ? "test" : "filter",
                    n->text.len < 60 ? (int)n->text.len : 60, n->text.ptr);
        return FG_UNDEFINED;
    }
    arguments(r, n, NULL, &given);
    r->line = n->line;
    if (!fg_run_spend(r, FG_RUN_STEP))
        return FG_UNDEFINED;
    return fg_native_call(r, n->native, &self, &given);
}

/* ---- operators ------------------------------------------------------------------------------- */

static struct fg_value signed_value(struct fg_run *r, const struct fg_node *n)
{
    const struct fg_value zero = fg_value_int(0);
    const struct fg_value v = fg_eval(r, n->a);
    r->line = n->line;
    if (v.kind == FG_KIND_FLOAT)
        return n->op == '-' ? fg_value_real(-v.real) : v;
    return fg_value_math(r, n->op, &zero, &v);
}

static struct fg_value concat(struct fg_run *r, const struct fg_node *n)
{
    struct fg_weave w;
    fg_weave_open(&w, r);
    for (uint32_t i = 0; i < n->count && fg_run_ok(r); i++) {
        const struct fg_value v = fg_eval(r, n->list[i]);
        fg_value_write(&w, &v);
    }
    return fg_value_text(r, fg_weave_text(&w));
}

static bool holds(struct fg_run *r, int op, const struct fg_value *a, const struct fg_value *b)
{
    switch (op) {
    case FG_COMPARE_EQUAL:
        return fg_value_equal(r, a, b);
    case FG_COMPARE_UNEQUAL:
        return !fg_value_equal(r, a, b);
    case FG_COMPARE_IN:
        return fg_value_contains(r, b, a);
    case FG_COMPARE_NOT_IN:
        return !fg_value_contains(r, b, a);
    case FG_COMPARE_LESS:
        return fg_value_order(r, a, b) < 0;
    case FG_COMPARE_LESS_EQUAL:
        return fg_value_order(r, a, b) <= 0;
    case FG_COMPARE_MORE:
        return fg_value_order(r, a, b) > 0;
    default:
        return fg_value_order(r, a, b) >= 0;
    }
}

static struct fg_value compare(struct fg_run *r, const struct fg_node *n)
{
    struct fg_value left = fg_eval(r, n->a);
    for (uint32_t i = 0; i < n->count && fg_run_ok(r); i++) {
        const struct fg_value right = fg_eval(r, n->list[i]->a);
        r->line = n->line;
        if (!holds(r, n->list[i]->op, &left, &right))
            return fg_value_bool(false);
        left = right;
    }
    return fg_value_bool(true);
}

static struct fg_value slice(struct fg_run *r, const struct fg_node *n)
{
    struct fg_value bound[3] = {{0}, {0}, {0}};
    const struct fg_value v = fg_eval(r, n->a);
    for (uint32_t i = 0; i < 3; i++)
        if (n->list[i])
            bound[i] = fg_eval(r, n->list[i]);
    r->line = n->line;
    if (!fg_run_ok(r))
        return FG_UNDEFINED;
    if (v.kind == FG_KIND_UNDEFINED)
        return missing(r, &v);
    return fg_value_slice(r, &v, &bound[0], &bound[1], &bound[2]);
}

static struct fg_value items(struct fg_run *r, const struct fg_node *n)
{
    struct fg_value list = fg_value_items(r, n->op, n->count);
    for (uint32_t i = 0; i < n->count && fg_run_ok(r); i++)
        fg_items_add(r, list.items, fg_eval(r, n->list[i]));
    return list;
}

static struct fg_value dict(struct fg_run *r, const struct fg_node *n)
{
    struct fg_value d = fg_value_dict(r);
    for (uint32_t i = 0; i + 1 < n->count && fg_run_ok(r); i += 2) {
        const struct fg_value key = fg_eval(r, n->list[i]);
        const struct fg_value value = fg_eval(r, n->list[i + 1]);
        if (fg_run_ok(r))
            fg_dict_set(r, d.dict, key, value);
    }
    return d;
}

static struct fg_value variable(struct fg_run *r, const struct fg_node *n)
{
    const struct fg_value *v = fg_scope_find(r, r->scope, n->name);
    const struct fg_str name = r->program->names[n->name];
    if (v)
        return *v;
    const struct fg_native *function = fg_function_find(name);
    struct fg_bound *bound = function ? fg_run_alloc(r, 1, sizeof *bound) : NULL;
    if (!bound)
        return fg_value_undefined(r, fg_tagged_of(name, FG_TAG_TEMPLATE));
    bound->native = function;
    return (struct fg_value){.kind = FG_KIND_NATIVE, .bound = bound};
}

static struct fg_value math(struct fg_run *r, const struct fg_node *n)
{
    const struct fg_value a = fg_eval(r, n->a), b = fg_eval(r, n->b);
    r->line = n->line;
    return fg_value_math(r, n->op, &a, &b);
}

static struct fg_value index_of(struct fg_run *r, const struct fg_node *n)
{
    const struct fg_value a = fg_eval(r, n->a), b = fg_eval(r, n->b);
    r->line = n->line;
    return fg_run_ok(r) ? fg_value_item(r, &a, &b) : FG_UNDEFINED;
}

static struct fg_value attribute(struct fg_run *r, const struct fg_node *n)
{
    const struct fg_value v = fg_eval(r, n->a);
    r->line = n->line;
    return fg_run_ok(r) ? fg_value_attribute(r, &v, fg_tagged_of(n->text, FG_TAG_TEMPLATE))
                        : FG_UNDEFINED;
}

static struct fg_value evaluate(struct fg_run *r, const struct fg_node *n)
{
    struct fg_value v;
    switch (n->kind) {
    case FG_NODE_CONST:
        return n->value;
    case FG_NODE_NAME:
        return variable(r, n);
    case FG_NODE_ITEMS:
        return items(r, n);
    case FG_NODE_DICT:
        return dict(r, n);
    case FG_NODE_ATTR:
        return attribute(r, n);
    case FG_NODE_INDEX:
        return index_of(r, n);
    case FG_NODE_SLICE:
        return slice(r, n);
    case FG_NODE_CALL:
        return call(r, n, NULL);
    case FG_NODE_FILTER:
    case FG_NODE_TEST:
        return apply(r, n);
    case FG_NODE_NOT:
        v = fg_eval(r, n->a);
        return fg_value_bool(!fg_value_true(&v));
    case FG_NODE_SIGNED:
        return signed_value(r, n);
    case FG_NODE_MATH:
        return math(r, n);
    case FG_NODE_CONCAT:
        return concat(r, n);
    case FG_NODE_COMPARE:
        return compare(r, n);
    case FG_NODE_AND:
        v = fg_eval(r, n->a);
        return fg_value_true(&v) ? fg_eval(r, n->b) : v;
    case FG_NODE_OR:
        v = fg_eval(r, n->a);
        return fg_value_true(&v) ? v : fg_eval(r, n->b);
    case FG_NODE_CHOICE:
        v = fg_eval(r, n->a);
        if (fg_value_true(&v))
            return fg_eval(r, n->b);
        return n->c ? fg_eval(r, n->c) : FG_UNDEFINED;
    case FG_NODE_INPUT:
        return r->captured;
    default:
        return FG_UNDEFINED;
    }
}

struct fg_value fg_eval(struct fg_run *r, const struct fg_node *n)
{
    r->line = fg_run_ok(r) ? n->line : r->line;
    if (!fg_run_spend(r, 1) || !fg_run_enter(r))
        return FG_UNDEFINED;
    const struct fg_value v = evaluate(r, n);
    fg_run_leave(r);
    return v;
}
