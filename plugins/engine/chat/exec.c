/*
 * Statements: printing, choosing, looping, setting, macros. Output goes to the innermost text
 * being made (r->out); whoever captures one puts the outer back.
 */
#include "engine/chat/native.h"
#include "engine/chat/node.h"
#include "engine/chat/parse.h"

enum flow { GO, BREAK, CONTINUE };

static enum flow exec(struct fg_run *r, const struct fg_node *n);

/* ---- setting --------------------------------------------------------------------------------- */

static void assign(struct fg_run *r, const struct fg_node *target, struct fg_value value);

static void unpack(struct fg_run *r, const struct fg_node *target, const struct fg_value *value)
{
    const struct fg_items each = fg_value_each(r, value);
    if (fg_run_ok(r) && each.count != target->count)
        fg_run_fail(r, "%zu values for %u names", each.count, target->count);
    for (uint32_t i = 0; i < target->count && fg_run_ok(r); i++)
        assign(r, target->list[i], each.at[i]);
}

static void assign(struct fg_run *r, const struct fg_node *target, struct fg_value value)
{
    if (!fg_run_ok(r))
        return;
    if (target->kind == FG_NODE_NAME) {
        fg_scope_set(r, r->scope, target->name, value);
    } else if (target->kind == FG_NODE_ITEMS) {
        unpack(r, target, &value);
    } else { /* namespace.name */
        const struct fg_value space = fg_eval(r, target->a);
        r->line = target->line;
        if (fg_run_ok(r) && space.kind != FG_KIND_SPACE)
            fg_run_fail(r, "'%.*s' is no namespace",
                        FG_STR_ARG(r->program->names[target->a->name]));
        if (fg_run_ok(r))
            fg_dict_set(r, space.dict,
                        fg_value_text(r, fg_tagged_of(target->text, FG_TAG_TEMPLATE)), value);
    }
}

/* What the block prints, as a text. */
static struct fg_value captured(struct fg_run *r, const struct fg_node *block,
                                struct fg_scope *scope, enum flow *flow)
{
    struct fg_weave own, *outer = r->out;
    struct fg_scope *around = r->scope;
    fg_weave_open(&own, r);
    r->out = &own;
    r->scope = scope;
    *flow = scope ? exec(r, block) : GO;
    r->scope = around;
    r->out = outer;
    return fg_value_text(r, fg_weave_text(&own));
}

/* {% set x %}..., {% filter x %}... */
static enum flow capture(struct fg_run *r, const struct fg_node *n)
{
    enum flow flow;
    struct fg_value v = captured(r, n->c, fg_scope_open(r, r->scope), &flow);
    if (n->b) {
        const struct fg_value outer = r->captured;
        r->captured = v;
        v = fg_eval(r, n->b);
        r->captured = outer;
    }
    if (n->a)
        assign(r, n->a, v);
    else
        fg_value_write(r->out, &v);
    return flow;
}

static enum flow with(struct fg_run *r, const struct fg_node *n)
{
    struct fg_scope *outer = r->scope, *inner = fg_scope_open(r, outer);
    for (uint32_t i = 0; i + 1 < n->count && fg_run_ok(r); i += 2) {
        const struct fg_value v = fg_eval(r, n->list[i + 1]);
        r->scope = inner;
        assign(r, n->list[i], v);
        r->scope = outer;
    }
    r->scope = inner;
    const enum flow flow = fg_run_ok(r) ? exec(r, n->c) : GO;
    r->scope = outer;
    return flow;
}

/* ---- choosing and looping -------------------------------------------------------------------- */

static enum flow choose(struct fg_run *r, const struct fg_node *n)
{
    for (uint32_t i = 0; i + 1 < n->count && fg_run_ok(r); i += 2) {
        const struct fg_value v = fg_eval(r, n->list[i]);
        if (fg_run_ok(r) && fg_value_true(&v))
            return exec(r, n->list[i + 1]);
    }
    return n->c && fg_run_ok(r) ? exec(r, n->c) : GO;
}

/* The items for which the loop's condition holds. */
static struct fg_items filtered(struct fg_run *r, const struct fg_node *n, struct fg_items each)
{
    struct fg_value kept = fg_value_items(r, FG_FORM_LIST, 0);
    for (size_t i = 0; i < each.count && fg_run_spend(r, FG_RUN_ROUND); i++) {
        r->scope->count = 0;
        assign(r, n->a, each.at[i]);
        const struct fg_value v = fg_eval(r, n->c);
        if (fg_run_ok(r) && fg_value_true(&v))
            fg_items_add(r, kept.items, each.at[i]);
    }
    return fg_run_ok(r) ? *kept.items : (struct fg_items){0};
}

/* One scope for all rounds, emptied for each: what a round sets is gone in the next. */
static void rounds(struct fg_run *r, const struct fg_node *n, struct fg_loop *loop)
{
    struct fg_scope *scope = r->scope;
    for (; loop->index < loop->each.count && fg_run_spend(r, FG_RUN_ROUND); loop->index++) {
        scope->count = 0;
        fg_scope_set(r, scope, r->name_loop, (struct fg_value){.kind = FG_KIND_LOOP, .loop = loop});
        assign(r, n->a, loop->each.at[loop->index]);
        if (fg_run_ok(r) && exec(r, n->list[0]) == BREAK)
            break;
    }
}

static enum flow repeat(struct fg_run *r, const struct fg_node *n)
{
    const struct fg_value over = fg_eval(r, n->b);
    r->line = fg_run_ok(r) ? n->line : r->line;
    struct fg_scope *outer = r->scope;
    struct fg_loop *loop = fg_run_alloc(r, 1, sizeof *loop);
    struct fg_scope *inner = fg_scope_open(r, outer);
    if (!loop || !inner)
        return GO;
    loop->each = fg_value_each(r, &over);
    r->scope = inner;
    if (n->c)
        loop->each = filtered(r, n, loop->each);
    rounds(r, n, loop);
    r->scope = outer;
    if (loop->each.count == 0 && n->count > 1 && fg_run_ok(r))
        return exec(r, n->list[1]);
    return GO;
}

/* ---- macros ---------------------------------------------------------------------------------- */

static struct fg_value macro_value(struct fg_run *r, const struct fg_node *n)
{
    struct fg_macro *macro = fg_run_alloc(r, 1, sizeof *macro);
    if (!macro)
        return FG_UNDEFINED;
    *macro = (struct fg_macro){n, r->scope};
    return (struct fg_value){.kind = FG_KIND_MACRO, .macro = macro};
}

static const struct fg_value *named(const struct fg_given *given, struct fg_str name)
{
    for (uint32_t i = 0; i < given->named_count; i++)
        if (fg_str_eq(given->named[i].name, name))
            return &given->named[i].value;
    return NULL;
}

static bool is_parameter(struct fg_run *r, const struct fg_node *n, struct fg_str name)
{
    for (uint32_t i = 0; i < n->required; i++)
        if (fg_str_eq(r->program->names[n->list[i]->name], name))
            return true;
    return false;
}

/* What is over goes to varargs and kwargs where the template knows them, else it is an error. */
static void bind_rest(struct fg_run *r, const struct fg_node *n, const struct fg_given *given)
{
    const struct fg_str name = r->program->names[n->name];
    struct fg_value rest = fg_value_items(r, FG_FORM_TUPLE, 0), words = fg_value_dict(r);
    for (uint32_t i = n->required; i < given->count && fg_run_ok(r); i++)
        fg_items_add(r, rest.items, given->at[i]);
    for (uint32_t i = 0; i < given->named_count && fg_run_ok(r); i++) {
        const struct fg_named *arg = &given->named[i];
        if (fg_str_is(arg->name, "caller"))
            fg_scope_set(r, r->scope, r->name_caller, arg->value);
        else if (!is_parameter(r, n, arg->name))
            fg_dict_set(r, words.dict, fg_value_text(r, fg_tagged_of(arg->name, FG_TAG_TEMPLATE)),
                        arg->value);
    }
    if (!fg_run_ok(r))
        return;
    if (rest.items->count && r->name_varargs == FG_PARSE_NAMES)
        fg_run_fail(r, "macro '%.*s' takes %u arguments, not %u", FG_STR_ARG(name), n->required,
                    given->count);
    if (words.dict->count && r->name_kwargs == FG_PARSE_NAMES)
        fg_run_fail(r, "macro '%.*s' has no such parameter", FG_STR_ARG(name));
    if (r->name_varargs < FG_PARSE_NAMES)
        fg_scope_set(r, r->scope, r->name_varargs, rest);
    if (r->name_kwargs < FG_PARSE_NAMES)
        fg_scope_set(r, r->scope, r->name_kwargs, words);
}

/* r->scope is the macro's own: defaults may use the parameters before them. */
static void bind(struct fg_run *r, const struct fg_node *n, const struct fg_given *given)
{
    const uint32_t defaults = n->count - n->required;
    for (uint32_t i = 0; i < n->required && fg_run_ok(r); i++) {
        const uint32_t id = n->list[i]->name;
        const struct fg_str name = r->program->names[id];
        const struct fg_value *word = named(given, name);
        struct fg_value v;
        if (i < given->count)
            v = given->at[i];
        else if (word)
            v = *word;
        else if (i + defaults >= n->required)
            v = fg_eval(r, n->list[i + defaults]);
        else
            v = fg_value_undefined(r, fg_tagged_of(name, FG_TAG_TEMPLATE));
        if (i < given->count && word)
            fg_run_fail(r, "two values for the parameter '%.*s'", FG_STR_ARG(name));
        fg_scope_set(r, r->scope, id, v);
    }
    bind_rest(r, n, given);
}

struct fg_value fg_macro_call(struct fg_run *r, const struct fg_macro *macro,
                              const struct fg_given *given)
{
    struct fg_scope *outer = r->scope, *own = fg_scope_open(r, macro->scope);
    enum flow flow;
    if (r->calls == FG_RUN_CALLS)
        fg_run_fail(r, "macros call each other more than %d deep", FG_RUN_CALLS);
    if (!own || !fg_run_ok(r))
        return FG_UNDEFINED;
    r->calls++;
    r->scope = own;
    bind(r, macro->node, given);
    r->scope = outer;
    const struct fg_value v = fg_run_ok(r) ? captured(r, macro->node->c, own, &flow) : FG_UNDEFINED;
    r->calls--;
    return v;
}

static void call_block(struct fg_run *r, const struct fg_node *n)
{
    const struct fg_value caller = macro_value(r, n->b);
    const struct fg_value v = fg_eval_call(r, n->a, &caller);
    fg_value_write(r->out, &v);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static enum flow run_block(struct fg_run *r, const struct fg_node *n)
{
    enum flow flow = GO;
    for (uint32_t i = 0; i < n->count && flow == GO && fg_run_ok(r); i++)
        flow = exec(r, n->list[i]);
    return flow;
}

static enum flow execute(struct fg_run *r, const struct fg_node *n)
{
    struct fg_value v;
    switch (n->kind) {
    case FG_NODE_DATA:
        fg_weave_add(r->out, *n->value.text);
        return GO;
    case FG_NODE_PRINT:
        v = fg_eval(r, n->a);
        fg_value_write(r->out, &v);
        return GO;
    case FG_NODE_BLOCK:
        return run_block(r, n);
    case FG_NODE_IF:
        return choose(r, n);
    case FG_NODE_FOR:
        return repeat(r, n);
    case FG_NODE_SET:
        v = fg_eval(r, n->b);
        assign(r, n->a, v);
        return GO;
    case FG_NODE_CAPTURE:
        return capture(r, n);
    case FG_NODE_MACRO:
        fg_scope_set(r, r->scope, n->name, macro_value(r, n));
        return GO;
    case FG_NODE_CALL_BLOCK:
        call_block(r, n);
        return GO;
    case FG_NODE_WITH:
        return with(r, n);
    case FG_NODE_BREAK:
        return BREAK;
    default:
        return CONTINUE;
    }
}

static enum flow exec(struct fg_run *r, const struct fg_node *n)
{
    if (!fg_run_spend(r, FG_RUN_STATEMENT) || !fg_run_enter(r))
        return GO;
    r->line = n->line;
    const enum flow flow = execute(r, n);
    fg_run_leave(r);
    return flow;
}

void fg_exec(struct fg_run *r, const struct fg_node *n)
{
    (void)exec(r, n);
}
