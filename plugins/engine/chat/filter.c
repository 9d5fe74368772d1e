/* Filters on single values: texts and numbers. Those on lists are in filter_list.c. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/chat/native.h"
#include "engine/chat/shape.h"

#define FILTER(name)                                                                               \
    static struct fg_value name(struct fg_run *r, const struct fg_value *self,                     \
                                const struct fg_value *arg, const struct fg_given *given)

FILTER(filter_default)
{
    (void)r, (void)given;
    const bool use =
        self->kind == FG_KIND_UNDEFINED || (fg_arg_bool(&arg[1], false) && !fg_value_true(self));
    if (!use)
        return *self;
    return arg[0].kind == FG_KIND_ABSENT ? fg_value_chars(r, "") : arg[0];
}

FILTER(filter_string)
{
    (void)arg, (void)given;
    return self->kind == FG_KIND_TEXT ? *self : fg_value_text(r, fg_value_str(r, self));
}

FILTER(filter_trim)
{
    (void)given;
    return fg_shape_strip(r, fg_value_str(r, self), &arg[0], FG_STRIP_BOTH);
}

FILTER(filter_upper)
{
    (void)arg, (void)given;
    return fg_shape_case(r, fg_value_str(r, self), FG_CASE_UPPER);
}

FILTER(filter_lower)
{
    (void)arg, (void)given;
    return fg_shape_case(r, fg_value_str(r, self), FG_CASE_LOWER);
}

FILTER(filter_capitalize)
{
    (void)arg, (void)given;
    return fg_shape_case(r, fg_value_str(r, self), FG_CASE_CAPITALIZE);
}

FILTER(filter_title)
{
    (void)arg, (void)given;
    return fg_shape_case(r, fg_value_str(r, self), FG_CASE_WORDS);
}

FILTER(filter_replace)
{
    (void)given;
    const int64_t count = arg[2].kind == FG_KIND_NONE ? -1 : fg_arg_integer(r, &arg[2], -1);
    return fg_shape_replace(r, fg_value_str(r, self), fg_value_str(r, &arg[0]),
                            fg_value_str(r, &arg[1]), count);
}

/* Every line but the first (and empty ones) moved in. */
FILTER(filter_indent)
{
    (void)given;
    const struct fg_tagged t = fg_value_str(r, self);
    const int64_t width = arg[0].kind == FG_KIND_TEXT ? 0 : fg_arg_integer(r, &arg[0], 4);
    const bool first = fg_arg_bool(&arg[1], false), blank = fg_arg_bool(&arg[2], false);
    const struct fg_value unit = fg_value_chars(r, " "), times = fg_value_int(width);
    const struct fg_value by =
        arg[0].kind == FG_KIND_TEXT ? arg[0] : fg_value_math(r, '*', &unit, &times);
    if (!fg_run_ok(r))
        return FG_UNDEFINED;
    struct fg_weave w;
    fg_weave_open(&w, r);
    fg_run_spend_chars(r, t.len);
    if (first)
        fg_weave_add(&w, *by.text);
    for (size_t at = 0, n = 0; at <= t.len && fg_run_ok(r); n++) {
        size_t next;
        const struct fg_tagged line = fg_shape_line(t, at, &next);
        if (n)
            fg_weave_put(&w, FG_STR("\n"), FG_TAG_TEMPLATE);
        if (n && (line.len || blank))
            fg_weave_add(&w, *by.text);
        fg_weave_add(&w, line);
        at = next;
    }
    return fg_value_text(r, fg_weave_text(&w));
}

FILTER(filter_escape)
{
    (void)arg, (void)given;
    static const char special[] = "&<>\"'";
    static const char *const written[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    const struct fg_tagged t = fg_value_str(r, self);
    struct fg_weave w;
    fg_weave_open(&w, r);
    size_t from = 0;
    fg_run_spend_chars(r, t.len);
    for (size_t at = 0; at < t.len && fg_run_ok(r); at++) {
        const char *found = memchr(special, t.ptr[at], sizeof special - 1);
        if (!found)
            continue;
        fg_weave_add(&w, fg_tagged_part(t, from, at - from));
        fg_weave_put(&w, fg_str_of(written[found - special]), fg_tagged_at(&t, at));
        from = at + 1;
    }
    fg_weave_add(&w, fg_tagged_from(t, from));
    return fg_value_text(r, fg_weave_text(&w));
}

FILTER(filter_format)
{
    (void)arg;
    const struct fg_tagged format = fg_value_str(r, self);
    if (given->named_count) {
        struct fg_value words = fg_value_dict(r);
        for (uint32_t i = 0; i < given->named_count && fg_run_ok(r); i++)
            fg_dict_set(r, words.dict,
                        fg_value_text(r, fg_tagged_of(given->named[i].name, FG_TAG_TEMPLATE)),
                        given->named[i].value);
        return fg_value_percent(r, format, &words);
    }
    struct fg_value row = fg_value_items(r, FG_FORM_TUPLE, given->count);
    for (uint32_t i = 0; i < given->count && fg_run_ok(r); i++)
        fg_items_add(r, row.items, given->at[i]);
    return fg_run_ok(r) ? fg_value_percent(r, format, &row) : FG_UNDEFINED;
}

FILTER(filter_wordcount)
{
    (void)arg, (void)given;
    const struct fg_value words = fg_shape_split(r, fg_value_str(r, self), NULL, -1);
    return fg_run_ok(r) ? fg_value_int((int64_t)words.items->count) : FG_UNDEFINED;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static bool to_real(struct fg_run *r, struct fg_tagged t, double *out)
{
    char text[64], *end;
    const struct fg_tagged s = fg_tagged_strip(t, NULL, FG_STRIP_BOTH);
    fg_run_spend_chars(r, t.len);
    if (s.len == 0 || s.len >= sizeof text || memchr(s.ptr, 'x', s.len) ||
        memchr(s.ptr, 'X', s.len))
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    *out = strtod(text, &end);
    return *end == '\0';
}

static bool to_integer(struct fg_run *r, struct fg_tagged t, int base, int64_t *out)
{
    char text[80], *end;
    const struct fg_tagged s = fg_tagged_strip(t, NULL, FG_STRIP_BOTH);
    fg_run_spend_chars(r, t.len);
    if (s.len == 0 || s.len >= sizeof text)
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    errno = 0;
    *out = strtoll(text, &end, base);
    return *end == '\0' && errno == 0;
}

static bool whole(double real, int64_t *out)
{
    if (!(real > -9.2e18 && real < 9.2e18))
        return false;
    *out = (int64_t)real;
    return true;
}

FILTER(filter_int)
{
    (void)given;
    const int64_t base = fg_arg_integer(r, &arg[1], 10);
    int64_t integer;
    double real;
    if (base < 2 || base > 36)
        fg_run_fail(r, "int: a base of 2 to 36 is wanted");
    else if (fg_value_integer(self, &integer))
        return fg_value_int(integer);
    else if (self->kind == FG_KIND_FLOAT && whole(self->real, &integer))
        return fg_value_int(integer);
    else if (self->kind == FG_KIND_TEXT && to_integer(r, *self->text, (int)base, &integer))
        return fg_value_int(integer);
    else if (self->kind == FG_KIND_TEXT && to_real(r, *self->text, &real) && whole(real, &integer))
        return fg_value_int(integer);
    return arg[0].kind == FG_KIND_ABSENT ? fg_value_int(0) : arg[0];
}

FILTER(filter_float)
{
    (void)given;
    double real;
    if (fg_value_number(self, &real))
        return fg_value_real(real);
    if (self->kind == FG_KIND_TEXT && to_real(r, *self->text, &real))
        return fg_value_real(real);
    return arg[0].kind == FG_KIND_ABSENT ? fg_value_real(0) : arg[0];
}

FILTER(filter_abs)
{
    (void)arg, (void)given;
    int64_t integer;
    if (self->kind == FG_KIND_FLOAT)
        return fg_value_real(fabs(self->real));
    const struct fg_value zero = fg_value_int(0);
    if (fg_value_integer(self, &integer))
        return integer < 0 ? fg_value_math(r, '-', &zero, self) : fg_value_int(integer);
    fg_run_fail(r, "abs: a number is wanted, not a %s", fg_value_type(self));
    return FG_UNDEFINED;
}

/* Half to even, as Python's round(); with a method, as jinja2 defines it. */
FILTER(filter_round)
{
    (void)given;
    const int64_t precision = fg_arg_integer(r, &arg[0], 0);
    const struct fg_tagged how = fg_arg_text(r, &arg[1], FG_TAGGED("common"));
    double real;
    if (!fg_value_number(self, &real) || precision < -300 || precision > 300) {
        fg_run_fail(r, "round: a number is wanted");
        return FG_UNDEFINED;
    }
    const double scale = pow(10, (double)precision);
    if (fg_str_is(fg_tagged_str(how), "ceil"))
        return fg_value_real(ceil(real * scale) / scale);
    if (fg_str_is(fg_tagged_str(how), "floor"))
        return fg_value_real(floor(real * scale) / scale);
    if (!fg_str_is(fg_tagged_str(how), "common"))
        fg_run_fail(r, "round: common, ceil or floor is wanted");
    int64_t integer;
    if (fg_value_integer(self, &integer) && precision >= 0)
        return fg_value_int(integer);
    return fg_shape_round(real, (int)precision);
}

/* ---- the table ------------------------------------------------------------------------------- */

const struct fg_native *fg_filter_find(struct fg_str name)
{
    static const struct fg_native table[] = {
        {"default", filter_default, "default_value boolean"},
        {"d", filter_default, "default_value boolean"},
        {"string", filter_string, ""},
        {"safe", filter_string, ""},
        {"trim", filter_trim, "chars"},
        {"upper", filter_upper, ""},
        {"lower", filter_lower, ""},
        {"capitalize", filter_capitalize, ""},
        {"title", filter_title, ""},
        {"replace", filter_replace, "old new count"},
        {"indent", filter_indent, "width first blank"},
        {"escape", filter_escape, ""},
        {"e", filter_escape, ""},
        {"forceescape", filter_escape, ""},
        {"format", filter_format, "*"},
        {"wordcount", filter_wordcount, ""},
        {"int", filter_int, "default base"},
        {"float", filter_float, "default"},
        {"abs", filter_abs, ""},
        {"round", filter_round, "precision method"},
    };
    const struct fg_native *found = fg_native_find(table, sizeof table / sizeof *table, name);
    if (!found)
        found = fg_filter_of_lists(name);
    return found ? found : fg_filter_of_json(name);
}
