/*
 * Equality, order, membership and iteration, as Python has them. Everything that walks into lists
 * counts its depth, since a template can put a list into itself.
 */
#include <string.h>

#include "engine/chat/run.h"
#include "engine/chat/value.h"

static bool equal_items(struct fg_run *r, const struct fg_items *a, const struct fg_items *b)
{
    if (a->count != b->count || a->form != b->form)
        return false;
    for (size_t i = 0; i < a->count && fg_run_ok(r); i++)
        if (!fg_value_equal(r, &a->at[i], &b->at[i]))
            return false;
    return true;
}

static bool equal_dicts(struct fg_run *r, const struct fg_dict *a, const struct fg_dict *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count && fg_run_ok(r); i++) {
        const struct fg_value *other = fg_dict_get(r, b, &a->keys[i]);
        if (!other || !fg_value_equal(r, &a->values[i], other))
            return false;
    }
    return true;
}

bool fg_value_equal(struct fg_run *r, const struct fg_value *a, const struct fg_value *b)
{
    int64_t i, j;
    double x, y;
    if (fg_value_integer(a, &i) && fg_value_integer(b, &j))
        return i == j;
    if (fg_value_number(a, &x) && fg_value_number(b, &y))
        return x == y;
    if (a->kind != b->kind || !fg_run_spend(r, 1))
        return false;
    bool same;
    switch (a->kind) {
    case FG_KIND_UNDEFINED:
    case FG_KIND_NONE:
        return true;
    case FG_KIND_TEXT:
        fg_run_spend_bytes(r, a->text->len);
        return fg_str_eq(fg_tagged_str(*a->text), fg_tagged_str(*b->text));
    case FG_KIND_ITEMS:
    case FG_KIND_DICT:
        if (!fg_run_enter(r))
            return false;
        same = a->kind == FG_KIND_DICT ? equal_dicts(r, a->dict, b->dict)
                                       : equal_items(r, a->items, b->items);
        fg_run_leave(r);
        return same;
    default:
        return a->items == b->items; /* the same object */
    }
}

static int order_items(struct fg_run *r, const struct fg_items *a, const struct fg_items *b)
{
    int order = 0;
    if (!fg_run_enter(r))
        return 0;
    for (size_t i = 0; !order && i < a->count && i < b->count && fg_run_ok(r); i++)
        if (!fg_value_equal(r, &a->at[i], &b->at[i]))
            order = fg_value_order(r, &a->at[i], &b->at[i]);
    fg_run_leave(r);
    return order ? order : (a->count > b->count) - (a->count < b->count);
}

int fg_value_order(struct fg_run *r, const struct fg_value *a, const struct fg_value *b)
{
    int64_t i, j;
    double x, y;
    fg_run_spend(r, 1);
    if (fg_value_integer(a, &i) && fg_value_integer(b, &j))
        return (i > j) - (i < j);
    if (fg_value_number(a, &x) && fg_value_number(b, &y))
        return (x > y) - (x < y);
    if (a->kind == FG_KIND_TEXT && b->kind == FG_KIND_TEXT) {
        fg_run_spend_bytes(r, a->text->len < b->text->len ? a->text->len : b->text->len);
        return fg_tagged_compare(*a->text, *b->text);
    }
    if (a->kind == FG_KIND_ITEMS && b->kind == FG_KIND_ITEMS && a->items->form == b->items->form)
        return order_items(r, a->items, b->items);
    fg_run_fail(r, "a %s and a %s have no order", fg_value_type(a), fg_value_type(b));
    return 0;
}

bool fg_value_contains(struct fg_run *r, const struct fg_value *in, const struct fg_value *what)
{
    if (in->kind == FG_KIND_TEXT) {
        if (what->kind != FG_KIND_TEXT) {
            fg_run_fail(r, "'in' of a str wants a str, not a %s", fg_value_type(what));
            return false;
        }
        fg_run_spend_bytes(r, in->text->len);
        return fg_tagged_find(*in->text, fg_tagged_str(*what->text), 0) != SIZE_MAX;
    }
    if (in->kind == FG_KIND_DICT)
        return fg_dict_get(r, in->dict, what) != NULL;
    const struct fg_items each = fg_value_each(r, in);
    for (size_t i = 0; i < each.count && fg_run_ok(r); i++)
        if (fg_value_equal(r, &each.at[i], what))
            return true;
    return false;
}

static struct fg_items characters(struct fg_run *r, struct fg_tagged text)
{
    struct fg_value list = fg_value_items(r, FG_FORM_LIST, 0);
    size_t bytes;
    for (size_t at = 0; at < text.len && fg_run_spend(r, 1); at += bytes) {
        (void)fg_char_get(text.ptr + at, text.ptr + text.len, &bytes);
        fg_items_add(r, list.items, fg_value_text(r, fg_tagged_part(text, at, bytes)));
    }
    return list.kind == FG_KIND_ITEMS ? *list.items : (struct fg_items){0};
}

bool fg_value_iterable(const struct fg_value *v)
{
    return v->kind == FG_KIND_UNDEFINED || v->kind == FG_KIND_TEXT || v->kind == FG_KIND_ITEMS ||
           v->kind == FG_KIND_DICT || v->kind == FG_KIND_LOOP;
}

struct fg_items fg_value_each(struct fg_run *r, const struct fg_value *v)
{
    struct fg_items each = {0};
    switch (v->kind) {
    case FG_KIND_UNDEFINED:
        return each;
    case FG_KIND_TEXT:
        return characters(r, *v->text);
    case FG_KIND_DICT:
        return (struct fg_items){.at = v->dict->keys, .count = v->dict->count};
    case FG_KIND_ITEMS:
        each = *v->items;
        if (each.form == FG_FORM_STREAM)
            v->items->count = 0;
        return each;
    default:
        fg_run_fail(r, "a %s cannot be iterated", fg_value_type(v));
        return each;
    }
}
