/*
 * Methods of lists, dicts, loops and cyclers. append, pop and the like work although jinja2's
 * immutable sandbox refuses them: some published templates use them, and what they change lives
 * for one rendering only.
 */
#include <string.h>

#include "engine/chat/native.h"

#define METHOD(name)                                                                               \
    static struct fg_value name(struct fg_run *r, const struct fg_value *self,                     \
                                const struct fg_value *arg, const struct fg_given *given)

/* ---- lists ----------------------------------------------------------------------------------- */

METHOD(list_append)
{
    (void)given;
    fg_items_add(r, self->items, arg[0]);
    return FG_NONE;
}

METHOD(list_extend)
{
    (void)given;
    const struct fg_items each = fg_value_each(r, &arg[0]);
    for (size_t i = 0; i < each.count && fg_run_ok(r); i++)
        fg_items_add(r, self->items, each.at[i]);
    return FG_NONE;
}

METHOD(list_insert)
{
    (void)given;
    struct fg_items *list = self->items;
    int64_t at = fg_arg_integer(r, &arg[0], 0);
    const int64_t count = (int64_t)list->count;
    at = at < 0 ? (at + count < 0 ? 0 : at + count) : at > count ? count : at;
    fg_items_add(r, list, arg[1]);
    if (!fg_run_ok(r) || !fg_run_spend(r, list->count / FG_RUN_STEP))
        return FG_NONE;
    memmove(list->at + at + 1, list->at + at, (size_t)(count - at) * sizeof *list->at);
    list->at[at] = arg[1];
    return FG_NONE;
}

METHOD(list_pop)
{
    (void)given;
    struct fg_items *list = self->items;
    int64_t at = fg_arg_integer(r, &arg[0], -1);
    if (at < 0)
        at += (int64_t)list->count;
    if (at < 0 || at >= (int64_t)list->count)
        fg_run_fail(r, "pop: there is no such item");
    if (!fg_run_spend(r, list->count / FG_RUN_STEP))
        return FG_UNDEFINED;
    const struct fg_value v = list->at[at];
    list->count--;
    memmove(list->at + at, list->at + at + 1, (list->count - (size_t)at) * sizeof *list->at);
    return v;
}

METHOD(list_index)
{
    (void)given;
    for (size_t i = 0; i < self->items->count && fg_run_ok(r); i++)
        if (fg_value_equal(r, &self->items->at[i], &arg[0]))
            return fg_value_int((int64_t)i);
    fg_run_fail(r, "index: not in the list");
    return FG_UNDEFINED;
}

METHOD(list_count)
{
    (void)given;
    int64_t count = 0;
    for (size_t i = 0; i < self->items->count && fg_run_ok(r); i++)
        count += fg_value_equal(r, &self->items->at[i], &arg[0]);
    return fg_value_int(count);
}

METHOD(list_copy)
{
    (void)arg, (void)given;
    return fg_items_slice(r, self->items, 0, self->items->count);
}

/* ---- dicts ----------------------------------------------------------------------------------- */

static struct fg_value column(struct fg_run *r, const struct fg_value *at, size_t count)
{
    struct fg_value list = fg_value_items(r, FG_FORM_VIEW, count);
    for (size_t i = 0; i < count && fg_run_ok(r); i++)
        fg_items_add(r, list.items, at[i]);
    return list;
}

METHOD(dict_keys)
{
    (void)arg, (void)given;
    return column(r, self->dict->keys, self->dict->count);
}

METHOD(dict_values)
{
    (void)arg, (void)given;
    return column(r, self->dict->values, self->dict->count);
}

METHOD(dict_items)
{
    struct fg_value list =
        fg_native_call(r, fg_filter_find(FG_STR("items")), self, &(struct fg_given){0});
    (void)arg, (void)given;
    if (fg_run_ok(r))
        list.items->form = FG_FORM_VIEW;
    return list;
}

METHOD(dict_get)
{
    (void)given;
    const struct fg_value *found = fg_dict_get(r, self->dict, &arg[0]);
    if (found)
        return *found;
    return arg[1].kind == FG_KIND_ABSENT ? FG_NONE : arg[1];
}

METHOD(dict_pop)
{
    (void)given;
    const struct fg_value *found = fg_dict_get(r, self->dict, &arg[0]);
    const struct fg_value v = found ? *found : arg[1];
    if (!found && arg[1].kind == FG_KIND_ABSENT)
        fg_run_fail(r, "pop: there is no such key");
    if (found)
        fg_dict_drop(r, self->dict, &arg[0]);
    return fg_run_ok(r) ? v : FG_UNDEFINED;
}

METHOD(dict_setdefault)
{
    (void)given;
    const struct fg_value *found = fg_dict_get(r, self->dict, &arg[0]);
    const struct fg_value v = found ? *found : arg[1].kind == FG_KIND_ABSENT ? FG_NONE : arg[1];
    if (!found && fg_run_ok(r))
        fg_dict_set(r, self->dict, arg[0], v);
    return v;
}

METHOD(dict_update)
{
    (void)arg;
    const struct fg_value from = fg_native_call(r, fg_function_find(FG_STR("dict")), NULL, given);
    for (size_t i = 0; fg_run_ok(r) && i < from.dict->count; i++)
        fg_dict_set(r, self->dict, from.dict->keys[i], from.dict->values[i]);
    return FG_NONE;
}

METHOD(dict_copy)
{
    (void)arg, (void)given;
    struct fg_value copy = fg_value_dict(r);
    for (size_t i = 0; fg_run_ok(r) && i < self->dict->count; i++)
        fg_dict_set(r, copy.dict, self->dict->keys[i], self->dict->values[i]);
    return copy;
}

/* ---- loops and cyclers ----------------------------------------------------------------------- */

METHOD(loop_cycle)
{
    (void)arg;
    if (!given->count) {
        fg_run_fail(r, "cycle wants something to go through");
        return FG_UNDEFINED;
    }
    return given->at[self->loop->index % given->count];
}

METHOD(loop_changed)
{
    (void)arg;
    struct fg_value now = fg_value_items(r, FG_FORM_TUPLE, given->count);
    for (uint32_t i = 0; i < given->count && fg_run_ok(r); i++)
        fg_items_add(r, now.items, given->at[i]);
    const struct fg_value *seen = &self->loop->seen;
    if (!fg_run_ok(r) || (seen->kind != FG_KIND_ABSENT && fg_value_equal(r, seen, &now)))
        return fg_value_bool(false);
    self->loop->seen = now;
    return fg_value_bool(true);
}

METHOD(cycler_next)
{
    (void)r, (void)arg, (void)given;
    struct fg_cycle *cycle = self->cycle;
    const struct fg_value v = cycle->items->at[cycle->next];
    cycle->next = (cycle->next + 1) % cycle->items->count;
    return v;
}

METHOD(cycler_reset)
{
    (void)r, (void)arg, (void)given;
    self->cycle->next = 0;
    return FG_NONE;
}

const struct fg_native *fg_method_find(const struct fg_value *self, struct fg_str name)
{
    static const struct fg_native list[] = {
        {"append", list_append, "object"},
        {"extend", list_extend, "iterable"},
        {"insert", list_insert, "index object"},
        {"pop", list_pop, "index"},
        {"index", list_index, "value"},
        {"count", list_count, "value"},
        {"copy", list_copy, ""},
    };
    static const struct fg_native dict[] = {
        {"keys", dict_keys, ""},          {"values", dict_values, ""},
        {"items", dict_items, ""},        {"get", dict_get, "key default"},
        {"pop", dict_pop, "key default"}, {"setdefault", dict_setdefault, "key default"},
        {"update", dict_update, "*"},     {"copy", dict_copy, ""},
    };
    static const struct fg_native loop[] = {
        {"cycle", loop_cycle, "*"},
        {"changed", loop_changed, "*"},
    };
    static const struct fg_native cycler[] = {
        {"next", cycler_next, ""},
        {"reset", cycler_reset, ""},
    };
    switch (self->kind) {
    case FG_KIND_TEXT:
        return fg_method_of_text(name);
    case FG_KIND_ITEMS:
        return self->items->form == FG_FORM_LIST ? fg_native_find(list, 7, name) : NULL;
    case FG_KIND_DICT:
        return fg_native_find(dict, 8, name);
    case FG_KIND_LOOP:
        return fg_native_find(loop, 2, name);
    case FG_KIND_CYCLER:
        return fg_native_find(cycler, 2, name);
    default:
        return NULL;
    }
}
