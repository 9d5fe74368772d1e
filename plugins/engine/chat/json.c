/*
 * JSON out of values, laid out as Python's json.dumps() does it (that is what templates' tojson
 * is), and values out of JSON.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/chat/native.h"
#include "util/json.h"

struct writer {
    struct fg_weave *w;
    const struct fg_json_style *style;
    uint32_t level;
};

static void put(struct writer *x, const char *constant)
{
    fg_weave_put(x->w, fg_str_of(constant), FG_TAG_TEMPLATE);
}

static void put_escaped(struct writer *x, uint32_t c, uint8_t tag)
{
    char text[16];
    if (c > 0xffff)
        snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                 0xdc00 + ((c - 0x10000) & 0x3ff));
    else
        snprintf(text, sizeof text, "\\u%04x", c);
    fg_weave_put(x->w, fg_str_of(text), tag);
}

static const char *short_escape(uint32_t c)
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    case '\b':
        return "\\b";
    case '\f':
        return "\\f";
    default:
        return NULL;
    }
}

static void put_text(struct writer *x, struct fg_tagged t)
{
    size_t bytes, from = 0; /* from: what is not written yet */
    put(x, "\"");
    fg_run_spend_chars(x->w->run, t.len);
    for (size_t at = 0; at < t.len && fg_run_ok(x->w->run); at += bytes) {
        const uint32_t c = fg_char_get(t.ptr + at, t.ptr + t.len, &bytes);
        const char *brief = short_escape(c);
        if (!brief && c >= 0x20 && !(x->style->ascii && c > 0x7e))
            continue;
        fg_weave_add(x->w, fg_tagged_part(t, from, at - from));
        from = at + bytes;
        if (brief)
            fg_weave_put(x->w, fg_str_of(brief), fg_tagged_at(&t, at));
        else
            put_escaped(x, c, fg_tagged_at(&t, at));
    }
    fg_weave_add(x->w, fg_tagged_from(t, from));
    put(x, "\"");
}

static void put_real(struct writer *x, double real)
{
    char text[40];
    fg_real_print(text, real);
    put(x, isnan(real) ? "NaN" : isinf(real) ? (real < 0 ? "-Infinity" : "Infinity") : text);
}

static void line(struct writer *x)
{
    if (!x->style->indent.ptr)
        return;
    put(x, "\n");
    for (uint32_t i = 0; i < x->level && fg_run_ok(x->w->run); i++)
        fg_weave_put(x->w, x->style->indent, FG_TAG_TEMPLATE);
}

static void put_value(struct writer *x, const struct fg_value *v);

static void between(struct writer *x, bool first)
{
    if (!first)
        fg_weave_put(x->w, x->style->comma, FG_TAG_TEMPLATE);
    line(x);
}

static void put_items(struct writer *x, const struct fg_items *list)
{
    put(x, "[");
    x->level++;
    for (size_t i = 0; i < list->count && fg_run_ok(x->w->run); i++) {
        between(x, i == 0);
        put_value(x, &list->at[i]);
    }
    x->level--;
    if (list->count)
        line(x);
    put(x, "]");
}

static void put_key(struct writer *x, const struct fg_value *key)
{
    char number[40];
    switch (key->kind) {
    case FG_KIND_TEXT:
        put_text(x, *key->text);
        return;
    case FG_KIND_NONE:
        put(x, "\"null\"");
        return;
    case FG_KIND_BOOL:
        put(x, key->yes ? "\"true\"" : "\"false\"");
        return;
    case FG_KIND_INT:
        snprintf(number, sizeof number, "\"%" PRId64 "\"", key->integer);
        put(x, number);
        return;
    case FG_KIND_FLOAT:
        put(x, "\"");
        put_real(x, key->real);
        put(x, "\"");
        return;
    default:
        fg_run_fail(x->w->run, "a %s cannot be a key in JSON", fg_value_type(key));
    }
}

/* Positions of the entries in order of their keys. */
static size_t *sorted(struct fg_run *r, const struct fg_dict *d)
{
    size_t *at = fg_run_alloc(r, d->count, sizeof *at);
    for (size_t i = 0; at && i < d->count && fg_run_ok(r); i++) {
        size_t j = i;
        for (; j > 0 && fg_value_order(r, &d->keys[i], &d->keys[at[j - 1]]) < 0; j--)
            at[j] = at[j - 1];
        at[j] = i;
    }
    return at;
}

static void put_dict(struct writer *x, const struct fg_dict *d)
{
    const size_t *order = x->style->sort_keys ? sorted(x->w->run, d) : NULL;
    put(x, "{");
    x->level++;
    for (size_t i = 0; i < d->count && fg_run_ok(x->w->run); i++) {
        const size_t at = order ? order[i] : i;
        between(x, i == 0);
        put_key(x, &d->keys[at]);
        fg_weave_put(x->w, x->style->colon, FG_TAG_TEMPLATE);
        put_value(x, &d->values[at]);
    }
    x->level--;
    if (d->count)
        line(x);
    put(x, "}");
}

static void put_value(struct writer *x, const struct fg_value *v)
{
    struct fg_run *r = x->w->run;
    char number[40];
    if (!fg_run_spend(r, 1))
        return;
    switch (v->kind) {
    case FG_KIND_NONE:
        put(x, "null");
        return;
    case FG_KIND_BOOL:
        put(x, v->yes ? "true" : "false");
        return;
    case FG_KIND_INT:
        snprintf(number, sizeof number, "%" PRId64, v->integer);
        put(x, number);
        return;
    case FG_KIND_FLOAT:
        put_real(x, v->real);
        return;
    case FG_KIND_TEXT:
        put_text(x, *v->text);
        return;
    case FG_KIND_ITEMS:
    case FG_KIND_DICT:
        if (v->kind == FG_KIND_ITEMS && v->items->form > FG_FORM_TUPLE)
            break;
        if (!fg_run_enter(r))
            return;
        if (v->kind == FG_KIND_ITEMS)
            put_items(x, v->items);
        else
            put_dict(x, v->dict);
        fg_run_leave(r);
        return;
    default:
        break;
    }
    fg_run_fail(r, "a value of type %s cannot be written as JSON", fg_value_type(v));
}

void fg_value_json(struct fg_weave *w, const struct fg_value *v, const struct fg_json_style *style)
{
    struct writer x = {.w = w, .style = style};
    put_value(&x, v);
}

/* indent: a number of blanks or a text. */
static struct fg_str indent_of(struct fg_run *r, const struct fg_value *v)
{
    static const char blanks[] = "                                                                ";
    int64_t count;
    if (v->kind == FG_KIND_TEXT)
        return fg_tagged_str(*v->text);
    if (v->kind == FG_KIND_NONE || v->kind == FG_KIND_ABSENT)
        return (struct fg_str){0};
    if (!fg_value_integer(v, &count) || count > (int64_t)sizeof blanks - 1) {
        fg_run_fail(r, "tojson: an indent of up to %zu is wanted", sizeof blanks - 1);
        return (struct fg_str){0};
    }
    return (struct fg_str){blanks, count > 0 ? (size_t)count : 0};
}

/* As transformers defines it: nothing is escaped for HTML, non-ASCII stays. */
static struct fg_value filter_tojson(struct fg_run *r, const struct fg_value *self,
                                     const struct fg_value *arg, const struct fg_given *given)
{
    (void)given;
    struct fg_json_style style = {.indent = indent_of(r, &arg[1])};
    style.ascii = fg_arg_bool(&arg[0], false);
    style.sort_keys = fg_arg_bool(&arg[3], false);
    style.comma = style.indent.ptr ? FG_STR(",") : FG_STR(", ");
    style.colon = FG_STR(": ");
    if (arg[2].kind == FG_KIND_ITEMS && arg[2].items->count == 2) {
        style.comma = fg_tagged_str(fg_arg_text(r, &arg[2].items->at[0], FG_TAGGED("")));
        style.colon = fg_tagged_str(fg_arg_text(r, &arg[2].items->at[1], FG_TAGGED("")));
    }
    struct fg_weave w;
    fg_weave_open(&w, r);
    fg_value_json(&w, self, &style);
    return fg_value_text(r, fg_weave_text(&w));
}

const struct fg_native *fg_filter_of_json(struct fg_str name)
{
    static const struct fg_native tojson = {"tojson", filter_tojson,
                                            "ensure_ascii indent separators sort_keys"};
    return fg_native_find(&tojson, 1, name);
}

/* ---- reading --------------------------------------------------------------------------------- */

static struct fg_value read_value(struct fg_run *r, struct fg_json *j, enum fg_tag tag);

static struct fg_value read_array(struct fg_run *r, struct fg_json *j, enum fg_tag tag)
{
    struct fg_value list = fg_value_items(r, FG_FORM_LIST, 0);
    while (fg_run_ok(r) && fg_json_next(j, NULL))
        fg_items_add(r, list.items, read_value(r, j, tag));
    return list;
}

/* The reader refuses a key that comes twice, so entries are only appended. */
static struct fg_value read_object(struct fg_run *r, struct fg_json *j, enum fg_tag tag)
{
    struct fg_value keys = fg_value_items(r, FG_FORM_LIST, 0);
    struct fg_value values = fg_value_items(r, FG_FORM_LIST, 0);
    struct fg_value dict = fg_value_dict(r);
    struct fg_str key;
    while (fg_run_ok(r) && fg_json_next(j, &key)) {
        fg_items_add(r, keys.items, fg_value_text(r, fg_tagged_of(key, tag)));
        fg_items_add(r, values.items, read_value(r, j, tag));
    }
    if (!fg_run_ok(r))
        return FG_UNDEFINED;
    *dict.dict =
        (struct fg_dict){keys.items->at, values.items->at, keys.items->count,
                         keys.items->capacity < values.items->capacity ? keys.items->capacity
                                                                       : values.items->capacity};
    return dict;
}

static struct fg_value read_value(struct fg_run *r, struct fg_json *j, enum fg_tag tag)
{
    struct fg_json_value v;
    switch (fg_json_read(j, &v)) {
    case FG_JSON_NULL:
        return FG_NONE;
    case FG_JSON_BOOL:
        return fg_value_bool(v.boolean);
    case FG_JSON_INT:
        return v.is_big ? fg_value_real(v.real) : fg_value_int(v.integer);
    case FG_JSON_REAL:
        return fg_value_real(v.real);
    case FG_JSON_STRING:
        return fg_value_text(r, fg_tagged_of(v.text, tag));
    case FG_JSON_ARRAY:
        return read_array(r, j, tag);
    case FG_JSON_OBJECT:
        return read_object(r, j, tag);
    default:
        return FG_UNDEFINED;
    }
}

bool fg_value_parse_json(struct fg_run *r, struct fg_str json, enum fg_tag tag,
                         struct fg_value *out)
{
    struct fg_json j;
    if (!fg_run_spend_bytes(r, json.len))
        return false;
    fg_json_init(&j, json, r->arena, 0);
    const struct fg_value v = read_value(r, &j, tag);
    const int32_t rc = fg_json_end(&j);
    fg_json_done(&j);
    if (rc == FG_NO_MEMORY)
        fg_run_no_memory(r);
    if (rc != FG_OK || !fg_run_ok(r))
        return false;
    *out = v;
    return true;
}
