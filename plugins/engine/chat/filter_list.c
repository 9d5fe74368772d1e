/* Filters on lists and dicts. What jinja2 gives as a generator is a STREAM here: read once. */
#include <string.h>

#include "engine/chat/native.h"
#include "engine/chat/shape.h"

#define FILTER(name)                                                                               \
    static struct fg_value name(struct fg_run *r, const struct fg_value *self,                     \
                                const struct fg_value *arg, const struct fg_given *given)

FILTER(filter_length)
{
    (void)arg, (void)given;
    switch (self->kind) {
    case FG_KIND_UNDEFINED:
        return fg_value_int(0);
    case FG_KIND_TEXT:
        fg_run_spend_bytes(r, self->text->len);
        return fg_value_int((int64_t)fg_tagged_chars(*self->text));
    case FG_KIND_DICT:
        return fg_value_int((int64_t)self->dict->count);
    case FG_KIND_LOOP:
        return fg_value_int((int64_t)self->loop->each.count);
    case FG_KIND_ITEMS:
        if (self->items->form != FG_FORM_STREAM)
            return fg_value_int((int64_t)self->items->count);
        break;
    default:
        break;
    }
    fg_run_fail(r, "a %s has no length", fg_value_type(self));
    return FG_UNDEFINED;
}

FILTER(filter_list)
{
    (void)arg, (void)given;
    const struct fg_items each = fg_value_each(r, self);
    return fg_run_ok(r) ? fg_items_slice(r, &each, 0, each.count) : FG_UNDEFINED;
}

FILTER(filter_first)
{
    (void)arg, (void)given;
    if (self->kind == FG_KIND_ITEMS && self->items->form == FG_FORM_STREAM && self->items->count) {
        self->items->count--;
        return *self->items->at++;
    }
    const struct fg_items each = fg_value_each(r, self);
    return each.count ? each.at[0] : FG_UNDEFINED;
}

FILTER(filter_last)
{
    (void)arg, (void)given;
    const struct fg_items each = fg_value_each(r, self);
    return each.count ? each.at[each.count - 1] : FG_UNDEFINED;
}

FILTER(filter_reverse)
{
    (void)arg, (void)given;
    const bool text = self->kind == FG_KIND_TEXT;
    const struct fg_items each = fg_value_each(r, self);
    struct fg_value list = fg_value_items(r, text ? FG_FORM_LIST : FG_FORM_STREAM, each.count);
    for (size_t i = each.count; i-- > 0 && fg_run_ok(r);)
        fg_items_add(r, list.items, each.at[i]);
    if (!text || !fg_run_ok(r))
        return list;
    return fg_shape_join(r, FG_TAGGED(""), list.items);
}

FILTER(filter_join)
{
    (void)given;
    const struct fg_tagged between =
        arg[0].kind == FG_KIND_ABSENT ? FG_TAGGED("") : fg_value_str(r, &arg[0]);
    struct fg_items each = fg_value_each(r, self);
    if (arg[1].kind == FG_KIND_ABSENT || arg[1].kind == FG_KIND_NONE || !fg_run_ok(r))
        return fg_shape_join(r, between, &each);
    struct fg_value parts = fg_value_items(r, FG_FORM_LIST, each.count);
    for (size_t i = 0; i < each.count && fg_run_ok(r); i++)
        fg_items_add(r, parts.items, fg_value_path(r, &each.at[i], &arg[1]));
    return fg_run_ok(r) ? fg_shape_join(r, between, parts.items) : FG_UNDEFINED;
}

/* ---- order ----------------------------------------------------------------------------------- */

/* What to sort by: an attribute, and texts without their case unless asked otherwise. */
struct order {
    const struct fg_value *path;
    bool exact, reverse;
};

static struct fg_value sort_key(struct fg_run *r, const struct order *by, const struct fg_value *v)
{
    const bool whole =
        !by->path || by->path->kind == FG_KIND_ABSENT || by->path->kind == FG_KIND_NONE;
    const struct fg_value key = whole ? *v : fg_value_path(r, v, by->path);
    return key.kind == FG_KIND_TEXT && !by->exact ? fg_shape_case(r, *key.text, FG_CASE_LOWER)
                                                  : key;
}

/* Merges two sorted runs of positions; the left one wins when equal, so the sort is stable. */
static void merge(struct fg_run *r, const struct fg_value *keys, bool reverse, size_t *at,
                  size_t *scratch, size_t left, size_t all)
{
    size_t i = 0, j = left, n = 0;
    while (i < left && j < all && fg_run_ok(r)) {
        const int order = fg_value_order(r, &keys[at[i]], &keys[at[j]]);
        scratch[n++] = (reverse ? order >= 0 : order <= 0) ? at[i++] : at[j++];
    }
    while (i < left)
        scratch[n++] = at[i++];
    while (j < all)
        scratch[n++] = at[j++];
    memcpy(at, scratch, all * sizeof *at);
}

/* Positions in order; NULL when it failed. */
static size_t *sorted(struct fg_run *r, const struct fg_items *list, const struct order *by)
{
    struct fg_value *keys = fg_run_alloc(r, list->count, sizeof *keys);
    size_t *at = fg_run_alloc(r, list->count, sizeof *at);
    size_t *scratch = fg_run_alloc(r, list->count, sizeof *scratch);
    for (size_t i = 0; i < list->count && fg_run_ok(r); i++) {
        keys[i] = sort_key(r, by, &list->at[i]);
        at[i] = i;
    }
    for (size_t width = 1; width < list->count && fg_run_ok(r); width *= 2)
        for (size_t from = 0; from + width < list->count && fg_run_ok(r); from += width * 2) {
            const size_t left = list->count - from;
            merge(r, keys, by->reverse, at + from, scratch, width,
                  left < width * 2 ? left : width * 2);
        }
    return fg_run_ok(r) ? at : NULL;
}

static struct fg_value picked(struct fg_run *r, const struct fg_items *list, const size_t *order)
{
    struct fg_value out = fg_value_items(r, FG_FORM_LIST, list->count);
    for (size_t i = 0; order && i < list->count && fg_run_ok(r); i++)
        fg_items_add(r, out.items, list->at[order[i]]);
    return out;
}

FILTER(filter_sort)
{
    (void)given;
    const struct fg_items each = fg_value_each(r, self);
    const struct order by = {&arg[2], fg_arg_bool(&arg[1], false), fg_arg_bool(&arg[0], false)};
    return picked(r, &each, sorted(r, &each, &by));
}

static struct fg_value pairs(struct fg_run *r, const struct fg_dict *d, enum fg_form form)
{
    struct fg_value list = fg_value_items(r, form, d->count);
    for (size_t i = 0; i < d->count && fg_run_ok(r); i++) {
        struct fg_value pair = fg_value_items(r, FG_FORM_TUPLE, 2);
        fg_items_add(r, pair.items, d->keys[i]);
        fg_items_add(r, pair.items, d->values[i]);
        fg_items_add(r, list.items, pair);
    }
    return list;
}

FILTER(filter_items)
{
    (void)arg, (void)given;
    if (self->kind == FG_KIND_DICT)
        return pairs(r, self->dict, FG_FORM_STREAM);
    if (self->kind != FG_KIND_UNDEFINED)
        fg_run_fail(r, "items: a dict is wanted, not a %s", fg_value_type(self));
    return fg_value_items(r, FG_FORM_STREAM, 0);
}

FILTER(filter_dictsort)
{
    (void)given;
    const struct fg_tagged what = fg_arg_text(r, &arg[1], FG_TAGGED("key"));
    const bool by_value = fg_str_is(fg_tagged_str(what), "value");
    if (self->kind != FG_KIND_DICT)
        fg_run_fail(r, "dictsort: a dict is wanted, not a %s", fg_value_type(self));
    if (!fg_run_ok(r))
        return FG_UNDEFINED;
    const struct fg_value list = pairs(r, self->dict, FG_FORM_LIST), at = fg_value_int(by_value);
    const struct order by = {&at, fg_arg_bool(&arg[0], false), fg_arg_bool(&arg[2], false)};
    return fg_run_ok(r) ? picked(r, list.items, sorted(r, list.items, &by)) : FG_UNDEFINED;
}

FILTER(filter_unique)
{
    (void)given;
    const struct fg_items each = fg_value_each(r, self);
    const struct order by = {&arg[1], fg_arg_bool(&arg[0], false), false};
    struct fg_value seen = fg_value_dict(r), out = fg_value_items(r, FG_FORM_STREAM, 0);
    for (size_t i = 0; i < each.count && fg_run_ok(r); i++) {
        const struct fg_value key = sort_key(r, &by, &each.at[i]);
        if (!fg_run_ok(r) || fg_dict_get(r, seen.dict, &key))
            continue;
        fg_dict_set(r, seen.dict, key, FG_NONE);
        fg_items_add(r, out.items, each.at[i]);
    }
    return out;
}

static struct fg_value extreme(struct fg_run *r, const struct fg_value *self,
                               const struct fg_value *arg, int side)
{
    const struct fg_items each = fg_value_each(r, self);
    const struct order by = {&arg[1], fg_arg_bool(&arg[0], false), false};
    size_t best = 0;
    struct fg_value key = each.count ? sort_key(r, &by, &each.at[0]) : FG_UNDEFINED;
    for (size_t i = 1; i < each.count && fg_run_ok(r); i++) {
        const struct fg_value other = sort_key(r, &by, &each.at[i]);
        if (fg_run_ok(r) && fg_value_order(r, &other, &key) * side > 0) {
            key = other;
            best = i;
        }
    }
    return each.count && fg_run_ok(r) ? each.at[best] : FG_UNDEFINED;
}

FILTER(filter_min)
{
    (void)given;
    return extreme(r, self, arg, -1);
}

FILTER(filter_max)
{
    (void)given;
    return extreme(r, self, arg, 1);
}

FILTER(filter_sum)
{
    (void)given;
    const struct fg_items each = fg_value_each(r, self);
    struct fg_value sum = arg[1].kind == FG_KIND_ABSENT ? fg_value_int(0) : arg[1];
    for (size_t i = 0; i < each.count && fg_run_ok(r); i++) {
        const bool whole = arg[0].kind == FG_KIND_ABSENT || arg[0].kind == FG_KIND_NONE;
        const struct fg_value v = whole ? each.at[i] : fg_value_path(r, &each.at[i], &arg[0]);
        sum = fg_value_math(r, '+', &sum, &v);
    }
    return sum;
}

/* ---- mapping and choosing -------------------------------------------------------------------- */

static const struct fg_value *named(const struct fg_given *given, const char *name)
{
    for (uint32_t i = 0; i < given->named_count; i++)
        if (fg_str_is(given->named[i].name, name))
            return &given->named[i].value;
    return NULL;
}

/* What is nothing has nothing to go through: map and its kin look before they iterate. */
static struct fg_items each_if_any(struct fg_run *r, const struct fg_value *v)
{
    return fg_value_true(v) ? fg_value_each(r, v) : (struct fg_items){0};
}

/* map('filter', arguments...) or map(attribute='a.b', default=x). */
FILTER(filter_map)
{
    (void)arg;
    const struct fg_items each = each_if_any(r, self);
    const struct fg_value *path = given->count ? NULL : named(given, "attribute");
    const struct fg_value *standin = named(given, "default");
    const struct fg_native *filter = NULL;
    struct fg_given rest = {0};
    if (given->count) {
        const struct fg_str name = fg_tagged_str(fg_arg_text(r, &given->at[0], FG_TAGGED("")));
        filter = fg_filter_find(name);
        rest = (struct fg_given){given->at + 1, given->count - 1, given->named, given->named_count};
        if (!filter)
            fg_run_fail(r, "map: there is no filter '%.*s'", name.len < 60 ? (int)name.len : 60,
                        name.ptr);
    } else if (!path) {
        fg_run_fail(r, "map wants a filter or an attribute");
    }
    struct fg_value out = fg_value_items(r, FG_FORM_STREAM, each.count);
    for (size_t i = 0; i < each.count && fg_run_spend(r, FG_RUN_STEP); i++) {
        struct fg_value v = filter ? fg_native_call(r, filter, &each.at[i], &rest)
                                   : fg_value_path(r, &each.at[i], path);
        if (!filter && standin && v.kind == FG_KIND_UNDEFINED)
            v = *standin;
        fg_items_add(r, out.items, v);
    }
    return out;
}

/* select and reject, with or without an attribute in front of the test. */
static struct fg_value chosen(struct fg_run *r, const struct fg_value *self,
                              const struct fg_given *given, bool by_attribute, bool wanted)
{
    const struct fg_items each = each_if_any(r, self);
    const uint32_t skip = by_attribute ? 1 : 0;
    const struct fg_native *test = NULL;
    struct fg_given rest = {0};
    if (given->count < skip)
        fg_run_fail(r, "the name of an attribute is missing");
    else if (given->count > skip) {
        const struct fg_str name = fg_tagged_str(fg_arg_text(r, &given->at[skip], FG_TAGGED("")));
        test = fg_test_find(name);
        rest = (struct fg_given){given->at + skip + 1, given->count - skip - 1, NULL, 0};
        if (!test)
            fg_run_fail(r, "there is no test '%.*s'", name.len < 60 ? (int)name.len : 60, name.ptr);
    }
    struct fg_value out = fg_value_items(r, FG_FORM_STREAM, 0);
    for (size_t i = 0; i < each.count && fg_run_spend(r, FG_RUN_STEP); i++) {
        struct fg_value v =
            by_attribute ? fg_value_path(r, &each.at[i], &given->at[0]) : each.at[i];
        if (test)
            v = fg_native_call(r, test, &v, &rest);
        if (fg_run_ok(r) && fg_value_true(&v) == wanted)
            fg_items_add(r, out.items, each.at[i]);
    }
    return out;
}

FILTER(filter_select)
{
    (void)arg;
    return chosen(r, self, given, false, true);
}

FILTER(filter_reject)
{
    (void)arg;
    return chosen(r, self, given, false, false);
}

FILTER(filter_selectattr)
{
    (void)arg;
    return chosen(r, self, given, true, true);
}

FILTER(filter_rejectattr)
{
    (void)arg;
    return chosen(r, self, given, true, false);
}

FILTER(filter_attr)
{
    (void)given;
    const struct fg_tagged name = fg_arg_text(r, &arg[0], FG_TAGGED(""));
    if (self->kind == FG_KIND_DICT) /* its attributes are its methods only */
        return fg_value_undefined(r, name);
    return fg_run_ok(r) ? fg_value_attribute(r, self, name) : FG_UNDEFINED;
}

/* Rows of so many; the last one filled up when there is something to fill it with. */
FILTER(filter_batch)
{
    (void)given;
    const struct fg_items each = fg_value_each(r, self);
    const int64_t width = fg_arg_integer(r, &arg[0], 0);
    const bool fills = arg[1].kind != FG_KIND_ABSENT && arg[1].kind != FG_KIND_NONE;
    if (width < 1)
        fg_run_fail(r, "batch: rows of at least 1 are wanted");
    struct fg_value out = fg_value_items(r, FG_FORM_STREAM, 0);
    for (size_t at = 0; at < each.count && fg_run_ok(r); at += (size_t)width) {
        const size_t left = each.count - at;
        const size_t count = left < (size_t)width ? left : (size_t)width;
        struct fg_value row = fg_items_slice(r, &each, at, count);
        for (size_t i = count; fills && i < (size_t)width && fg_run_ok(r); i++)
            fg_items_add(r, row.items, arg[1]);
        fg_items_add(r, out.items, row);
        if (left <= (size_t)width)
            break;
    }
    return out;
}

/* So many columns of as equal length as can be. */
FILTER(filter_slice)
{
    (void)given;
    const struct fg_items each = fg_value_each(r, self);
    const int64_t columns = fg_arg_integer(r, &arg[0], 0);
    const bool fills = arg[1].kind != FG_KIND_ABSENT && arg[1].kind != FG_KIND_NONE;
    struct fg_value out = fg_value_items(r, FG_FORM_STREAM, 0);
    if (columns < 1) {
        fg_run_fail(r, "slice: at least 1 column is wanted");
        return out;
    }
    const size_t each_has = each.count / (size_t)columns, longer = each.count % (size_t)columns;
    size_t at = 0;
    for (size_t i = 0; i < (size_t)columns && fg_run_ok(r); i++) {
        const size_t count = each_has + (i < longer);
        struct fg_value column = fg_items_slice(r, &each, at, count);
        if (fills && i >= longer)
            fg_items_add(r, column.items, arg[1]);
        fg_items_add(r, out.items, column);
        at += count;
    }
    return out;
}

FILTER(filter_groupby)
{
    (void)given;
    const struct fg_items each = fg_value_each(r, self);
    const struct order by = {&arg[0], fg_arg_bool(&arg[2], false), false};
    const struct fg_value list = picked(r, &each, sorted(r, &each, &by));
    struct fg_value out = fg_value_items(r, FG_FORM_LIST, 0), group = {0}, last = {0};
    for (size_t i = 0; fg_run_ok(r) && i < list.items->count; i++) {
        const struct fg_value key = sort_key(r, &by, &list.items->at[i]);
        if (!i || !fg_value_equal(r, &key, &last)) {
            struct fg_value pair = fg_value_items(r, FG_FORM_TUPLE, 2);
            group = fg_value_items(r, FG_FORM_LIST, 0);
            fg_items_add(r, pair.items, fg_value_path(r, &list.items->at[i], &arg[0]));
            fg_items_add(r, pair.items, group);
            fg_items_add(r, out.items, pair);
        }
        last = key;
        if (fg_run_ok(r))
            fg_items_add(r, group.items, list.items->at[i]);
    }
    return out;
}

const struct fg_native *fg_filter_of_lists(struct fg_str name)
{
    static const struct fg_native table[] = {
        {"length", filter_length, ""},
        {"count", filter_length, ""},
        {"list", filter_list, ""},
        {"first", filter_first, ""},
        {"last", filter_last, ""},
        {"reverse", filter_reverse, ""},
        {"join", filter_join, "d attribute"},
        {"sort", filter_sort, "reverse case_sensitive attribute"},
        {"items", filter_items, ""},
        {"dictsort", filter_dictsort, "case_sensitive by reverse"},
        {"unique", filter_unique, "case_sensitive attribute"},
        {"min", filter_min, "case_sensitive attribute"},
        {"max", filter_max, "case_sensitive attribute"},
        {"sum", filter_sum, "attribute start"},
        {"map", filter_map, "*"},
        {"select", filter_select, "*"},
        {"reject", filter_reject, "*"},
        {"selectattr", filter_selectattr, "*"},
        {"rejectattr", filter_rejectattr, "*"},
        {"attr", filter_attr, "name"},
        {"batch", filter_batch, "linecount fill_with"},
        {"slice", filter_slice, "slices fill_with"},
        {"groupby", filter_groupby, "attribute default case_sensitive"},
    };
    return fg_native_find(table, sizeof table / sizeof *table, name);
}
