/*
 * Calling things by name: finding them, binding arguments to parameters, and the functions every
 * template has (range, namespace, dict, cycler, joiner, raise_exception, strftime_now).
 */
#include "engine/chat/native.h"

#include <string.h>
#include <time.h>

const struct fg_native *fg_native_find(const struct fg_native *table, size_t count,
                                       struct fg_str name)
{
    for (size_t i = 0; i < count; i++)
        if (fg_str_is(name, table[i].name))
            return &table[i];
    return NULL;
}

/* ---- arguments ------------------------------------------------------------------------------- */

/* The next word of a list of parameters; empty at its end. */
static struct fg_str next_word(const char **at)
{
    while (**at == ' ')
        (*at)++;
    const size_t len = strcspn(*at, " ");
    const struct fg_str word = {*at, len};
    *at += len;
    return word;
}

static void bind(struct fg_run *r, const struct fg_native *n, const struct fg_given *given,
                 struct fg_value *arg)
{
    const char *params = n->params;
    uint32_t count = 0, used = 0;
    for (struct fg_str word; (word = next_word(&params)).len; count++) {
        if (count < given->count)
            arg[count] = given->at[count];
        for (uint32_t i = 0; i < given->named_count; i++) {
            if (!fg_str_eq(given->named[i].name, word))
                continue;
            if (count < given->count)
                fg_run_fail(r, "%s: two values for '%.*s'", n->name, FG_STR_ARG(word));
            arg[count] = given->named[i].value;
            used++;
        }
    }
    if (given->count > count)
        fg_run_fail(r, "%s takes %u arguments, not %u", n->name, count, given->count);
    else if (used < given->named_count)
        fg_run_fail(r, "%s has no such argument", n->name);
}

struct fg_value fg_native_call(struct fg_run *r, const struct fg_native *n,
                               const struct fg_value *self, const struct fg_given *given)
{
    struct fg_value arg[FG_NATIVE_ARGS] = {{0}, {0}, {0}, {0}, {0}, {0}};
    if (strcmp(n->params, "*") != 0)
        bind(r, n, given, arg);
    if (!fg_run_ok(r))
        return FG_UNDEFINED;
    return n->fn(r, self, arg, given);
}

int64_t fg_arg_integer(struct fg_run *r, const struct fg_value *v, int64_t absent)
{
    int64_t integer = absent;
    if (v->kind != FG_KIND_ABSENT && !fg_value_integer(v, &integer))
        fg_run_fail(r, "an integer is wanted, not a %s", fg_value_type(v));
    return integer;
}

bool fg_arg_bool(const struct fg_value *v, bool absent)
{
    return v->kind == FG_KIND_ABSENT ? absent : fg_value_true(v);
}

struct fg_tagged fg_arg_text(struct fg_run *r, const struct fg_value *v, struct fg_tagged absent)
{
    if (v->kind == FG_KIND_TEXT)
        return *v->text;
    if (v->kind != FG_KIND_ABSENT)
        fg_run_fail(r, "a str is wanted, not a %s", fg_value_type(v));
    return absent;
}

/* ---- functions ------------------------------------------------------------------------------- */

static struct fg_value function_range(struct fg_run *r, const struct fg_value *self,
                                      const struct fg_value *arg, const struct fg_given *given)
{
    (void)self, (void)given;
    const bool one = arg[1].kind == FG_KIND_ABSENT;
    if (arg[0].kind == FG_KIND_ABSENT)
        fg_run_fail(r, "range wants an argument");
    const int64_t start = one ? 0 : fg_arg_integer(r, &arg[0], 0);
    const int64_t stop = fg_arg_integer(r, one ? &arg[0] : &arg[1], 0);
    const int64_t step = fg_arg_integer(r, &arg[2], 1);
    if (step == 0)
        fg_run_fail(r, "range: a step of 0");
    struct fg_value list = fg_value_items(r, FG_FORM_LIST, 0);
    for (int64_t i = start; fg_run_ok(r) && (step > 0 ? i < stop : i > stop);) {
        if (list.items->count == FG_RUN_RANGE)
            fg_run_fail(r, "range: more than %d numbers", FG_RUN_RANGE);
        fg_items_add(r, list.items, fg_value_int(i));
        if (__builtin_add_overflow(i, step, &i))
            break;
    }
    return list;
}

static struct fg_value function_dict(struct fg_run *r, const struct fg_value *self,
                                     const struct fg_value *arg, const struct fg_given *given)
{
    (void)self, (void)arg;
    struct fg_value d = fg_value_dict(r);
    if (given->count > 1)
        fg_run_fail(r, "dict takes one argument and names");
    if (given->count == 1 && given->at[0].kind == FG_KIND_DICT) {
        const struct fg_dict *from = given->at[0].dict;
        for (size_t i = 0; i < from->count && fg_run_ok(r); i++)
            fg_dict_set(r, d.dict, from->keys[i], from->values[i]);
    } else if (given->count == 1) {
        const struct fg_items pairs = fg_value_each(r, &given->at[0]);
        for (size_t i = 0; i < pairs.count && fg_run_ok(r); i++) {
            const struct fg_items pair = fg_value_each(r, &pairs.at[i]);
            if (fg_run_ok(r) && pair.count != 2)
                fg_run_fail(r, "dict wants pairs");
            if (fg_run_ok(r))
                fg_dict_set(r, d.dict, pair.at[0], pair.at[1]);
        }
    }
    for (uint32_t i = 0; i < given->named_count && fg_run_ok(r); i++)
        fg_dict_set(r, d.dict,
                    fg_value_text(r, fg_tagged_of(given->named[i].name, FG_TAG_TEMPLATE)),
                    given->named[i].value);
    return d;
}

static struct fg_value function_namespace(struct fg_run *r, const struct fg_value *self,
                                          const struct fg_value *arg, const struct fg_given *given)
{
    struct fg_value space = function_dict(r, self, arg, given);
    if (fg_run_ok(r))
        space.kind = FG_KIND_SPACE;
    return space;
}

static struct fg_value rotating(struct fg_run *r, enum fg_kind kind, const struct fg_value *first,
                                const struct fg_given *given)
{
    struct fg_cycle *cycle = fg_run_alloc(r, 1, sizeof *cycle);
    struct fg_value list = fg_value_items(r, FG_FORM_LIST, 0);
    if (first)
        fg_items_add(r, list.items, *first);
    for (uint32_t i = 0; given && i < given->count; i++)
        fg_items_add(r, list.items, given->at[i]);
    if (!fg_run_ok(r))
        return FG_UNDEFINED;
    cycle->items = list.items;
    return (struct fg_value){.kind = (uint8_t)kind, .cycle = cycle};
}

static struct fg_value function_cycler(struct fg_run *r, const struct fg_value *self,
                                       const struct fg_value *arg, const struct fg_given *given)
{
    (void)self, (void)arg;
    if (given->count == 0)
        fg_run_fail(r, "cycler wants something to go through");
    return rotating(r, FG_KIND_CYCLER, NULL, given);
}

static struct fg_value function_joiner(struct fg_run *r, const struct fg_value *self,
                                       const struct fg_value *arg, const struct fg_given *given)
{
    (void)self, (void)given;
    const struct fg_value comma = arg[0].kind == FG_KIND_ABSENT ? fg_value_chars(r, ", ") : arg[0];
    return rotating(r, FG_KIND_JOINER, &comma, NULL);
}

static struct fg_value function_raise(struct fg_run *r, const struct fg_value *self,
                                      const struct fg_value *arg, const struct fg_given *given)
{
    (void)self, (void)given;
    const struct fg_tagged text = fg_value_str(r, &arg[0]);
    fg_run_fail(r, "%.*s", text.len < 190 ? (int)text.len : 190, text.ptr ? text.ptr : "");
    return FG_UNDEFINED;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored                                                                     \
    "-Wformat-nonliteral" /* the template's, and strftime writes no memory beyond */
static struct fg_value function_now(struct fg_run *r, const struct fg_value *self,
                                    const struct fg_value *arg, const struct fg_given *given)
{
    (void)self, (void)given;
    const struct fg_tagged format = fg_arg_text(r, &arg[0], FG_TAGGED(""));
    const time_t now = r->now_s ? (time_t)r->now_s : time(NULL);
    char pattern[128], text[512];
    struct tm parts;
    if (format.len >= sizeof pattern || !localtime_r(&now, &parts)) {
        fg_run_fail(r, "strftime_now: a format of up to %zu bytes is wanted", sizeof pattern - 1);
        return FG_UNDEFINED;
    }
    memcpy(pattern, format.ptr ? format.ptr : "", format.len);
    pattern[format.len] = '\0';
    const size_t len = strftime(text, sizeof text, pattern, &parts);
    struct fg_weave w;
    fg_weave_open(&w, r);
    fg_weave_put(&w, (struct fg_str){text, len}, FG_TAG_TEMPLATE);
    return fg_value_text(r, fg_weave_text(&w));
}
#pragma GCC diagnostic pop

const struct fg_native *fg_function_find(struct fg_str name)
{
    static const struct fg_native table[] = {
        {"range", function_range, "start stop step"},
        {"dict", function_dict, "*"},
        {"namespace", function_namespace, "*"},
        {"cycler", function_cycler, "*"},
        {"joiner", function_joiner, "sep"},
        {"raise_exception", function_raise, "message"},
        {"strftime_now", function_now, "format"},
    };
    return fg_native_find(table, sizeof table / sizeof *table, name);
}
