/*
 * "%s" % value and "{}".format(value): the parts of Python's formatting that templates use. A
 * width is bounded by what a text may have; no attribute of an argument can be reached.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/chat/native.h"
#include "engine/chat/shape.h"

struct spec {
    uint32_t fill;
    char side; /* '<' '>' '^', 0: the kind's own */
    bool plus, zero;
    int64_t width;
    int precision; /* -1: not given */
    char type;     /* 0: none */
};

static bool digits(struct fg_tagged t, size_t *at, int64_t *out)
{
    const size_t from = *at;
    for (*out = 0; *at < t.len && t.ptr[*at] >= '0' && t.ptr[*at] <= '9'; (*at)++)
        if (*out <= FG_RUN_TEXT)
            *out = *out * 10 + (t.ptr[*at] - '0');
    return *at > from;
}

static char *number_text(struct fg_run *r, const struct fg_value *v, const struct spec *s,
                         char out[400])
{
    int64_t integer;
    double real;
    const int precision = s->precision < 0 ? 6 : s->precision > 60 ? 60 : s->precision;
    if (strchr("dixXob", s->type) && fg_value_integer(v, &integer)) {
        const char *form = s->type == 'x' ? "%" PRIx64 : s->type == 'X' ? "%" PRIX64 : "%" PRIo64;
        const uint64_t size = integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
        if (s->type == 'd' || s->type == 'i')
            form = "%" PRIu64;
        size_t len = integer < 0 ? 1 : 0;
        out[0] = '-';
        if (s->type == 'b') {
            int bit = 63;
            while (bit > 0 && !(size >> bit & 1))
                bit--;
            for (; bit >= 0; bit--)
                out[len++] = (char)('0' + (size >> bit & 1));
            out[len] = '\0';
            return out;
        }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* one of four constants */
        snprintf(out + len, 390, form, size);
#pragma GCC diagnostic pop
        return out;
    }
    if (!fg_value_number(v, &real)) {
        fg_run_fail(r, "format: a number is wanted, not a %s", fg_value_type(v));
        return NULL;
    }
    switch (s->type) {
    case 'd':
    case 'i':
        snprintf(out, 400, "%.0f", real < 0 ? -((double)(int64_t)-real) : (double)(int64_t)real);
        break;
    case 'e':
        snprintf(out, 400, "%.*e", precision, real);
        break;
    case 'g':
        snprintf(out, 400, "%.*g", precision, real);
        break;
    case '%':
        snprintf(out, 400, "%.*f%%", precision, real * 100);
        break;
    default:
        snprintf(out, 400, "%.*f", precision, real);
        break;
    }
    return out;
}

/* One value, laid out. */
static void put(struct fg_weave *w, const struct fg_value *v, const struct spec *s)
{
    struct fg_run *r = w->run;
    char buf[400];
    double real;
    const bool numeric = s->type && strchr("dixXobfFeg%", s->type);
    struct fg_tagged t;
    if (numeric) {
        if (fg_value_number(v, &real) && !(real > -9.2e18 && real < 9.2e18)) {
            fg_run_fail(r, "format: a number that is too large");
            return;
        }
        if (!number_text(r, v, s, buf))
            return;
        t = fg_tagged_of(fg_str_of(buf), FG_TAG_TEMPLATE);
    } else if (s->type == 'r') {
        struct fg_weave own;
        fg_weave_open(&own, r);
        fg_value_repr(&own, v);
        t = fg_weave_text(&own);
    } else {
        t = fg_value_str(r, v);
        if (s->precision >= 0)
            t = fg_tagged_part(t, 0, fg_tagged_offset(t, (size_t)s->precision));
    }
    const bool number = numeric || (!s->type && fg_value_number(v, &real));
    const bool sign = number && t.len && t.ptr[0] == '-';
    const bool zeros = s->zero && number && !s->side;
    if (sign && zeros)
        fg_weave_put(w, FG_STR("-"), FG_TAG_TEMPLATE);
    if (s->plus && number && !sign)
        fg_weave_put(w, FG_STR("+"), FG_TAG_TEMPLATE);
    const int64_t taken = (sign && zeros) || (s->plus && number && !sign) ? 1 : 0;
    const struct fg_value padded =
        fg_shape_pad(r, fg_tagged_from(t, sign && zeros), s->width - taken, zeros ? '0' : s->fill,
                     s->side  ? s->side
                     : number ? '>'
                              : '<');
    if (fg_run_ok(r))
        fg_weave_add(w, *padded.text);
}

/* ---- % --------------------------------------------------------------------------------------- */

struct source {
    const struct fg_value *from; /* a tuple, a dict or one value */
    size_t next;
};

static struct fg_value take(struct fg_run *r, struct source *s)
{
    const bool row = s->from->kind == FG_KIND_ITEMS && s->from->items->form == FG_FORM_TUPLE;
    const size_t count = row ? s->from->items->count : 1;
    if (s->next >= count) {
        fg_run_fail(r, "format: too few values");
        return FG_UNDEFINED;
    }
    return row ? s->from->items->at[s->next++] : (s->next++, *s->from);
}

/* Behind the %: flags, width, precision, kind. */
static size_t percent_spec(struct fg_tagged t, size_t at, struct spec *s)
{
    *s = (struct spec){.fill = ' ', .precision = -1, .side = 0};
    bool left = false;
    for (; at < t.len && t.ptr[at] && strchr("-+ 0#", t.ptr[at]); at++) {
        left |= t.ptr[at] == '-';
        s->plus |= t.ptr[at] == '+';
        s->zero |= t.ptr[at] == '0';
    }
    int64_t number;
    if (digits(t, &at, &number))
        s->width = number;
    if (at < t.len && t.ptr[at] == '.') {
        at++;
        (void)digits(t, &at, &number);
        s->precision = number > 1000 ? 1000 : (int)number;
    }
    if (left)
        s->side = '<';
    else if (!s->zero)
        s->side = '>';
    s->type = at < t.len ? t.ptr[at++] : '\0';
    return at;
}

static size_t one_percent(struct fg_weave *w, struct fg_tagged t, size_t at, struct source *from)
{
    struct fg_run *r = w->run;
    struct fg_value v = {0};
    struct spec s;
    if (at < t.len && t.ptr[at] == '(') {
        const size_t end = fg_tagged_find(t, FG_STR(")"), at);
        if (end == SIZE_MAX || from->from->kind != FG_KIND_DICT) {
            fg_run_fail(r, "format: a dict is wanted");
            return t.len;
        }
        const struct fg_value key = fg_value_text(r, fg_tagged_part(t, at + 1, end - at - 1));
        const struct fg_value *found = fg_run_ok(r) ? fg_dict_get(r, from->from->dict, &key) : NULL;
        if (!found) {
            fg_run_fail(r, "format: there is no such key");
            return t.len;
        }
        v = *found;
        at = end + 1;
    }
    at = percent_spec(t, at, &s);
    if (s.type == '%') {
        fg_weave_put(w, FG_STR("%"), FG_TAG_TEMPLATE);
        return at;
    }
    if (!s.type || !strchr("sdifFegxXor", s.type)) {
        fg_run_fail(r, "format: a kind that is not known");
        return t.len;
    }
    if (v.kind == FG_KIND_ABSENT)
        v = take(r, from);
    if (fg_run_ok(r))
        put(w, &v, &s);
    return at;
}

struct fg_value fg_value_percent(struct fg_run *r, struct fg_tagged t, const struct fg_value *v)
{
    struct fg_weave w;
    struct source from = {.from = v};
    fg_weave_open(&w, r);
    for (size_t at = 0; at < t.len && fg_run_spend(r, 1);) {
        const size_t mark = fg_tagged_find(t, FG_STR("%"), at);
        if (mark == SIZE_MAX) {
            fg_weave_add(&w, fg_tagged_from(t, at));
            break;
        }
        fg_weave_add(&w, fg_tagged_part(t, at, mark - at));
        at = one_percent(&w, t, mark + 1, &from);
    }
    const bool row = v->kind == FG_KIND_ITEMS && v->items->form == FG_FORM_TUPLE;
    if (fg_run_ok(r) && v->kind != FG_KIND_DICT && from.next < (row ? v->items->count : 1))
        fg_run_fail(r, "format: too many values");
    return fg_value_text(r, fg_weave_text(&w));
}

/* ---- {} -------------------------------------------------------------------------------------- */

static bool is_side(char c)
{
    return c == '<' || c == '>' || c == '^';
}

static void brace_spec(struct fg_run *r, struct fg_tagged t, struct spec *s)
{
    *s = (struct spec){.fill = ' ', .precision = -1};
    size_t at = 0, bytes = 0;
    int64_t number;
    const uint32_t first = t.len ? fg_char_get(t.ptr, t.ptr + t.len, &bytes) : 0;
    if (bytes && bytes < t.len && is_side(t.ptr[bytes])) {
        s->fill = first;
        s->side = t.ptr[bytes];
        at = bytes + 1;
    } else if (t.len && is_side(t.ptr[0])) {
        s->side = t.ptr[at++];
    }
    if (at < t.len && (t.ptr[at] == '+' || t.ptr[at] == '-'))
        s->plus = t.ptr[at++] == '+';
    if (at < t.len && t.ptr[at] == '0')
        s->zero = true;
    if (digits(t, &at, &number))
        s->width = number;
    if (at < t.len && t.ptr[at] == '.') {
        at++;
        if (digits(t, &at, &number))
            s->precision = number > 1000 ? 1000 : (int)number;
    }
    if (at < t.len)
        s->type = t.ptr[at++];
    if (at < t.len || (s->type && !strchr("sdfFegxXob%", s->type)))
        fg_run_fail(r, "format: a layout that is not known");
}

static const struct fg_value *argument(struct fg_run *r, struct fg_str name,
                                       const struct fg_given *given, uint32_t *next)
{
    uint64_t at = *next;
    const bool numbered = fg_str_u64(name, &at);
    if (name.len == 0)
        (*next)++;
    if ((numbered || name.len == 0) && at < given->count)
        return &given->at[at];
    for (uint32_t i = 0; !numbered && i < given->named_count; i++)
        if (fg_str_eq(given->named[i].name, name))
            return &given->named[i].value;
    fg_run_fail(r, "format: there is no argument '%.*s'", name.len < 40 ? (int)name.len : 40,
                name.ptr);
    return NULL;
}

static void one_brace(struct fg_weave *w, struct fg_tagged field, const struct fg_given *given,
                      uint32_t *next)
{
    struct spec s;
    const size_t colon = fg_tagged_find(field, FG_STR(":"), 0);
    struct fg_tagged name = colon == SIZE_MAX ? field : fg_tagged_part(field, 0, colon);
    const struct fg_tagged layout =
        colon == SIZE_MAX ? FG_TAGGED("") : fg_tagged_from(field, colon + 1);
    const bool repr = fg_str_ends(fg_tagged_str(name), FG_STR("!r"));
    if (repr || fg_str_ends(fg_tagged_str(name), FG_STR("!s")))
        name = fg_tagged_part(name, 0, name.len - 2);
    const struct fg_value *v = argument(w->run, fg_tagged_str(name), given, next);
    brace_spec(w->run, layout, &s);
    if (repr)
        s.type = 'r';
    if (v && fg_run_ok(w->run))
        put(w, v, &s);
}

struct fg_value fg_value_fill(struct fg_run *r, struct fg_tagged t, const struct fg_given *given)
{
    struct fg_weave w;
    uint32_t next = 0;
    fg_weave_open(&w, r);
    for (size_t at = 0; at < t.len && fg_run_spend(r, 1);) {
        size_t mark = at;
        while (mark < t.len && t.ptr[mark] != '{' && t.ptr[mark] != '}')
            mark++;
        fg_weave_add(&w, fg_tagged_part(t, at, mark - at));
        if (mark == t.len)
            break;
        if (mark + 1 < t.len && t.ptr[mark + 1] == t.ptr[mark]) {
            fg_weave_add(&w, fg_tagged_part(t, mark, 1));
            at = mark + 2;
            continue;
        }
        const size_t end = fg_tagged_find(t, FG_STR("}"), mark);
        if (t.ptr[mark] == '}' || end == SIZE_MAX) {
            fg_run_fail(r, "format: a single brace");
            break;
        }
        one_brace(&w, fg_tagged_part(t, mark + 1, end - mark - 1), given, &next);
        at = end + 1;
    }
    return fg_value_text(r, fg_weave_text(&w));
}
