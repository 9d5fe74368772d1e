/* Values, lists and dicts. See value.h. */
#include "engine/chat/value.h"

#include <string.h>

#include "engine/chat/run.h"

struct fg_value fg_value_text(struct fg_run *r, struct fg_tagged text)
{
    struct fg_tagged *own = fg_run_alloc(r, 1, sizeof *own);
    if (!own)
        return FG_UNDEFINED;
    *own = text;
    return (struct fg_value){.kind = FG_KIND_TEXT, .text = own};
}

struct fg_value fg_value_chars(struct fg_run *r, const char *constant)
{
    return fg_value_text(r, fg_tagged_of(fg_str_of(constant), FG_TAG_TEMPLATE));
}

struct fg_value fg_value_undefined(struct fg_run *r, struct fg_tagged name)
{
    struct fg_value v = fg_value_text(r, name);
    if (v.kind == FG_KIND_TEXT)
        v.kind = FG_KIND_UNDEFINED;
    return v;
}

struct fg_value fg_value_items(struct fg_run *r, enum fg_form form, size_t room)
{
    struct fg_items *items = fg_run_alloc(r, 1, sizeof *items);
    if (!items)
        return FG_UNDEFINED;
    items->form = (uint8_t)form;
    if (room)
        items->at = fg_run_alloc(r, room, sizeof *items->at);
    items->capacity = items->at ? room : 0;
    return (struct fg_value){.kind = FG_KIND_ITEMS, .items = items};
}

struct fg_value fg_value_dict(struct fg_run *r)
{
    struct fg_dict *dict = fg_run_alloc(r, 1, sizeof *dict);
    if (!dict)
        return FG_UNDEFINED;
    return (struct fg_value){.kind = FG_KIND_DICT, .dict = dict};
}

void fg_items_add(struct fg_run *r, struct fg_items *items, struct fg_value value)
{
    if (!items || !fg_run_spend(r, 1))
        return;
    if (items->count == items->capacity) {
        const size_t capacity = items->capacity ? items->capacity * 2 : 4;
        struct fg_value *at = fg_run_grow(r, items->at, items->count, capacity, sizeof *at);
        if (!at)
            return;
        items->at = at;
        items->capacity = capacity;
    }
    items->at[items->count++] = value;
}

/* ---- dicts: small, so looked through; what long ones cost is fuel -----------------------------
 */

static bool hashable(const struct fg_value *key)
{
    if (key->kind == FG_KIND_ITEMS)
        return key->items->form == FG_FORM_TUPLE;
    return key->kind != FG_KIND_DICT && key->kind != FG_KIND_SPACE;
}

static size_t find(struct fg_run *r, const struct fg_dict *d, const struct fg_value *key)
{
    const bool text = key->kind == FG_KIND_TEXT;
    fg_run_spend_bytes(r, text ? key->text->len : 0);
    if (!fg_run_spend(r, d->count / 4))
        return d->count;
    for (size_t i = 0; i < d->count; i++) {
        const struct fg_value *k = &d->keys[i];
        if (text && k->kind == FG_KIND_TEXT && k->text->len != key->text->len)
            continue;
        if (fg_value_equal(r, k, key))
            return i;
    }
    return d->count;
}

void fg_dict_set(struct fg_run *r, struct fg_dict *d, struct fg_value key, struct fg_value value)
{
    if (!d)
        return;
    if (!hashable(&key)) {
        fg_run_fail(r, "a %s cannot be the key of a dict", fg_value_type(&key));
        return;
    }
    const size_t at = find(r, d, &key);
    if (at < d->count) {
        d->values[at] = value;
        return;
    }
    if (!fg_run_spend(r, 1))
        return;
    if (d->count == d->capacity) {
        const size_t capacity = d->capacity ? d->capacity * 2 : 4;
        struct fg_value *keys = fg_run_grow(r, d->keys, d->count, capacity, sizeof *keys);
        struct fg_value *values = fg_run_grow(r, d->values, d->count, capacity, sizeof *values);
        if (!keys || !values)
            return;
        d->keys = keys;
        d->values = values;
        d->capacity = capacity;
    }
    d->keys[d->count] = key;
    d->values[d->count++] = value;
}

void fg_dict_name(struct fg_run *r, struct fg_dict *d, const char *key, struct fg_value value)
{
    fg_dict_set(r, d, fg_value_chars(r, key), value);
}

const struct fg_value *fg_dict_get(struct fg_run *r, const struct fg_dict *d,
                                   const struct fg_value *key)
{
    if (!hashable(key)) {
        fg_run_fail(r, "a %s cannot be the key of a dict", fg_value_type(key));
        return NULL;
    }
    const size_t at = find(r, d, key);
    return at < d->count ? &d->values[at] : NULL;
}

const struct fg_value *fg_dict_find(struct fg_run *r, const struct fg_dict *d, struct fg_str key)
{
    const struct fg_tagged text = fg_tagged_of(key, FG_TAG_TEMPLATE);
    const struct fg_value name = {.kind = FG_KIND_TEXT, .text = &text};
    return fg_dict_get(r, d, &name);
}

bool fg_dict_drop(struct fg_run *r, struct fg_dict *d, const struct fg_value *key)
{
    const size_t at = find(r, d, key);
    if (at == d->count)
        return false;
    memmove(d->keys + at, d->keys + at + 1, (d->count - at - 1) * sizeof *d->keys);
    memmove(d->values + at, d->values + at + 1, (d->count - at - 1) * sizeof *d->values);
    d->count--;
    return true;
}

/* ---- questions ------------------------------------------------------------------------------- */

bool fg_value_true(const struct fg_value *v)
{
    switch (v->kind) {
    case FG_KIND_ABSENT:
    case FG_KIND_UNDEFINED:
    case FG_KIND_NONE:
        return false;
    case FG_KIND_BOOL:
        return v->yes;
    case FG_KIND_INT:
        return v->integer != 0;
    case FG_KIND_FLOAT:
        return v->real != 0;
    case FG_KIND_TEXT:
        return v->text->len != 0;
    case FG_KIND_ITEMS:
        return v->items->count != 0 || v->items->form == FG_FORM_STREAM;
    case FG_KIND_DICT:
        return v->dict->count != 0;
    default:
        return true;
    }
}

const char *fg_value_type(const struct fg_value *v)
{
    static const char *const forms[] = {"list", "tuple", "dict view", "generator"};
    static const char *const kinds[] = {
        [FG_KIND_ABSENT] = "nothing",  [FG_KIND_UNDEFINED] = "Undefined",
        [FG_KIND_NONE] = "NoneType",   [FG_KIND_BOOL] = "bool",
        [FG_KIND_INT] = "int",         [FG_KIND_FLOAT] = "float",
        [FG_KIND_TEXT] = "str",        [FG_KIND_DICT] = "dict",
        [FG_KIND_SPACE] = "namespace", [FG_KIND_NATIVE] = "function",
        [FG_KIND_MACRO] = "macro",     [FG_KIND_LOOP] = "loop",
        [FG_KIND_CYCLER] = "cycler",   [FG_KIND_JOINER] = "joiner",
    };
    return v->kind == FG_KIND_ITEMS ? forms[v->items->form] : kinds[v->kind];
}

bool fg_value_integer(const struct fg_value *v, int64_t *out)
{
    if (v->kind != FG_KIND_INT && v->kind != FG_KIND_BOOL)
        return false;
    *out = v->kind == FG_KIND_INT ? v->integer : v->yes;
    return true;
}

bool fg_value_number(const struct fg_value *v, double *out)
{
    int64_t integer;
    if (v->kind == FG_KIND_FLOAT) {
        *out = v->real;
        return true;
    }
    if (!fg_value_integer(v, &integer))
        return false;
    *out = (double)integer;
    return true;
}
