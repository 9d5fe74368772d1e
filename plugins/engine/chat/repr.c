/* Values as text, the way Python's str() and repr() write them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/chat/run.h"
#include "engine/chat/value.h"

/* The fewest digits that read back, laid out like Python: 1e16 and up, and below 1e-4, with an
 * exponent. */
size_t fg_real_print(char out[40], double real)
{
    char digits[32];
    if (isnan(real))
        return (size_t)snprintf(out, 40, "nan");
    if (isinf(real))
        return (size_t)snprintf(out, 40, real < 0 ? "-inf" : "inf");
    for (int precision = 0; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision, real);
        if (strtod(digits, NULL) == real)
            break;
    }
    char *mark = strchr(digits, 'e');
    if (!mark)
        return (size_t)snprintf(out, 40, "%s", digits);
    const long exponent = strtol(mark + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        *mark = '\0';
        return (size_t)snprintf(out, 40, "%se%c%02ld", digits, exponent < 0 ? '-' : '+',
                                labs(exponent));
    }
    const long mantissa = strchr(digits, '.') ? mark - strchr(digits, '.') - 1 : 0;
    const long decimals = mantissa - exponent > 1 ? mantissa - exponent : 1;
    return (size_t)snprintf(out, 40, "%.*f", (int)decimals, real);
}

static void put(struct fg_weave *w, const char *constant)
{
    fg_weave_put(w, fg_str_of(constant), FG_TAG_TEMPLATE);
}

static void quoted(struct fg_weave *w, struct fg_tagged t)
{
    const bool one = fg_tagged_find(t, FG_STR("'"), 0) != SIZE_MAX;
    const char quote = one && fg_tagged_find(t, FG_STR("\""), 0) == SIZE_MAX ? '"' : '\'';
    size_t bytes;
    char escape[12];
    put(w, quote == '"' ? "\"" : "'");
    for (size_t at = 0; at < t.len && fg_run_ok(w->run); at += bytes) {
        const uint32_t c = fg_char_get(t.ptr + at, t.ptr + t.len, &bytes);
        const uint8_t tag = fg_tagged_at(&t, at);
        const char *plain = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
        if (c == (unsigned char)quote || c == '\\')
            snprintf(escape, sizeof escape, "\\%c", (char)c);
        else if (plain)
            snprintf(escape, sizeof escape, "%s", plain);
        else if (c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad)
            snprintf(escape, sizeof escape, "\\x%02x", c);
        else if (c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200f) ||
                 (c >= 0x2028 && c <= 0x202f) || c == 0x205f || c == 0x3000 || c == 0xfeff)
            snprintf(escape, sizeof escape, c < 0x100 ? "\\x%02x" : "\\u%04x", c);
        else
            escape[0] = '\0';
        if (escape[0])
            fg_weave_put(w, fg_str_of(escape), tag);
        else
            fg_weave_add(w, fg_tagged_part(t, at, bytes));
    }
    put(w, quote == '"' ? "\"" : "'");
}

static void items(struct fg_weave *w, const struct fg_items *list)
{
    const bool tuple = list->form == FG_FORM_TUPLE;
    if (list->form == FG_FORM_STREAM) {
        put(w, "<generator object>");
        return;
    }
    put(w, tuple ? "(" : "[");
    for (size_t i = 0; i < list->count && fg_run_ok(w->run); i++) {
        if (i)
            put(w, ", ");
        fg_value_repr(w, &list->at[i]);
    }
    put(w, tuple ? (list->count == 1 ? ",)" : ")") : "]");
}

static void dict(struct fg_weave *w, const struct fg_dict *d)
{
    put(w, "{");
    for (size_t i = 0; i < d->count && fg_run_ok(w->run); i++) {
        if (i)
            put(w, ", ");
        fg_value_repr(w, &d->keys[i]);
        put(w, ": ");
        fg_value_repr(w, &d->values[i]);
    }
    put(w, "}");
}

void fg_value_repr(struct fg_weave *w, const struct fg_value *v)
{
    if (v->kind == FG_KIND_TEXT) {
        quoted(w, *v->text);
        return;
    }
    if (v->kind == FG_KIND_UNDEFINED) {
        put(w, "Undefined");
        return;
    }
    fg_value_write(w, v);
}

void fg_value_write(struct fg_weave *w, const struct fg_value *v)
{
    char number[40];
    if (!fg_run_spend(w->run, 1))
        return;
    switch (v->kind) {
    case FG_KIND_ABSENT:
    case FG_KIND_UNDEFINED:
        return;
    case FG_KIND_NONE:
        put(w, "None");
        return;
    case FG_KIND_BOOL:
        put(w, v->yes ? "True" : "False");
        return;
    case FG_KIND_INT:
        snprintf(number, sizeof number, "%" PRId64, v->integer);
        put(w, number);
        return;
    case FG_KIND_FLOAT:
        fg_real_print(number, v->real);
        put(w, number);
        return;
    case FG_KIND_TEXT:
        fg_weave_add(w, *v->text);
        return;
    case FG_KIND_ITEMS:
    case FG_KIND_DICT:
    case FG_KIND_SPACE:
        if (!fg_run_enter(w->run))
            return;
        if (v->kind == FG_KIND_ITEMS)
            items(w, v->items);
        else
            dict(w, v->dict);
        fg_run_leave(w->run);
        return;
    default:
        put(w, "<");
        put(w, fg_value_type(v));
        put(w, ">");
        return;
    }
}

struct fg_tagged fg_value_str(struct fg_run *r, const struct fg_value *v)
{
    if (v->kind == FG_KIND_TEXT)
        return *v->text;
    struct fg_weave w;
    fg_weave_open(&w, r);
    fg_value_write(&w, v);
    return fg_weave_text(&w);
}
