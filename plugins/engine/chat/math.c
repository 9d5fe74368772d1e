/* Arithmetic, joining and slicing. Integers are 64 bits wide; what does not fit is an error. */
#include <math.h>
#include <string.h>

#include "engine/chat/lex.h"
#include "engine/chat/native.h"

static struct fg_value no_fit(struct fg_run *r)
{
    fg_run_fail(r, "an integer that does not fit 64 bits");
    return FG_UNDEFINED;
}

static struct fg_value zero(struct fg_run *r)
{
    fg_run_fail(r, "division by zero");
    return FG_UNDEFINED;
}

/* Python's: towards minus infinity, the remainder has the divisor's sign. */
static int64_t floor_div(int64_t a, int64_t b)
{
    const int64_t q = a / b;
    return a % b && (a < 0) != (b < 0) ? q - 1 : q;
}

static struct fg_value power(struct fg_run *r, int64_t base, int64_t exponent)
{
    int64_t result = 1;
    if (exponent < 0)
        return base ? fg_value_real(pow((double)base, (double)exponent)) : zero(r);
    if (base == 1 || base == 0 || base == -1)
        return fg_value_int(exponent == 0 ? 1 : base == -1 && exponent % 2 == 0 ? 1 : base);
    for (; exponent; exponent--) /* ends after 63 rounds: the base is at least 2 */
        if (__builtin_mul_overflow(result, base, &result))
            return no_fit(r);
    return fg_value_int(result);
}

static struct fg_value integers(struct fg_run *r, int sign, int64_t a, int64_t b)
{
    int64_t result;
    switch (sign) {
    case '+':
        return __builtin_add_overflow(a, b, &result) ? no_fit(r) : fg_value_int(result);
    case '-':
        return __builtin_sub_overflow(a, b, &result) ? no_fit(r) : fg_value_int(result);
    case '*':
        return __builtin_mul_overflow(a, b, &result) ? no_fit(r) : fg_value_int(result);
    case '/':
        return b ? fg_value_real((double)a / (double)b) : zero(r);
    case FG_SIGN_FLOOR:
        if (b == -1)
            return a == INT64_MIN ? no_fit(r) : fg_value_int(-a);
        return b ? fg_value_int(floor_div(a, b)) : zero(r);
    case '%':
        if (b == -1)
            return fg_value_int(0);
        return b ? fg_value_int(a - floor_div(a, b) * b) : zero(r);
    default:
        return power(r, a, b);
    }
}

static struct fg_value reals(struct fg_run *r, int sign, double a, double b)
{
    double rest;
    switch (sign) {
    case '+':
        return fg_value_real(a + b);
    case '-':
        return fg_value_real(a - b);
    case '*':
        return fg_value_real(a * b);
    case '/':
        return b != 0 ? fg_value_real(a / b) : zero(r);
    case FG_SIGN_FLOOR:
        return b != 0 ? fg_value_real(floor(a / b)) : zero(r);
    case '%':
        if (b == 0)
            return zero(r);
        rest = fmod(a, b);
        return fg_value_real(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
    default:
        return fg_value_real(pow(a, b));
    }
}

static struct fg_value joined(struct fg_run *r, const struct fg_value *a, const struct fg_value *b)
{
    if (a->kind == FG_KIND_TEXT) {
        struct fg_weave w;
        fg_weave_open(&w, r);
        fg_weave_add(&w, *a->text);
        fg_weave_add(&w, *b->text);
        return fg_value_text(r, fg_weave_text(&w));
    }
    const size_t count = a->items->count + b->items->count;
    struct fg_value all = fg_value_items(r, a->items->form, count);
    for (size_t i = 0; i < count && fg_run_ok(r); i++)
        fg_items_add(r, all.items,
                     i < a->items->count ? a->items->at[i] : b->items->at[i - a->items->count]);
    return all;
}

static struct fg_value repeated(struct fg_run *r, const struct fg_value *what, int64_t times)
{
    if (what->kind == FG_KIND_TEXT) {
        struct fg_weave w;
        fg_weave_open(&w, r);
        fg_weave_repeat(&w, *what->text, times);
        return fg_value_text(r, fg_weave_text(&w));
    }
    struct fg_value all = fg_value_items(r, what->items->form, 0);
    for (int64_t i = 0; i < times && what->items->count && fg_run_ok(r); i++)
        for (size_t k = 0; k < what->items->count && fg_run_ok(r); k++)
            fg_items_add(r, all.items, what->items->at[k]);
    return all;
}

static bool is_row(const struct fg_value *v) /* list or tuple */
{
    return v->kind == FG_KIND_ITEMS && v->items->form <= FG_FORM_TUPLE;
}

struct fg_value fg_value_math(struct fg_run *r, int sign, const struct fg_value *a,
                              const struct fg_value *b)
{
    int64_t i, j;
    double x, y;
    if (!fg_run_ok(r))
        return FG_UNDEFINED;
    if (fg_value_integer(a, &i) && fg_value_integer(b, &j))
        return integers(r, sign, i, j);
    if (fg_value_number(a, &x) && fg_value_number(b, &y))
        return reals(r, sign, x, y);
    if (sign == '%' && a->kind == FG_KIND_TEXT)
        return fg_value_percent(r, *a->text, b);
    if (sign == '+' && a->kind == FG_KIND_TEXT && b->kind == FG_KIND_TEXT)
        return joined(r, a, b);
    if (sign == '+' && is_row(a) && is_row(b) && a->items->form == b->items->form)
        return joined(r, a, b);
    if (sign == '*' && (is_row(a) || a->kind == FG_KIND_TEXT) && fg_value_integer(b, &j))
        return repeated(r, a, j);
    if (sign == '*' && (is_row(b) || b->kind == FG_KIND_TEXT) && fg_value_integer(a, &i))
        return repeated(r, b, i);
    const struct fg_value *missing = a->kind == FG_KIND_UNDEFINED ? a : b;
    if (missing->kind == FG_KIND_UNDEFINED && missing->text)
        fg_run_fail(r, "'%.*s' is undefined", FG_STR_ARG(*missing->text));
    else
        fg_run_fail(r, "%s and %s do not go together here", fg_value_type(a), fg_value_type(b));
    return FG_UNDEFINED;
}

/* ---- slices ---------------------------------------------------------------------------------- */

/* As CPython clips them: into -1 .. count for a step back, 0 .. count for one forward. */
static bool bound(const struct fg_value *v, int64_t count, int64_t absent, bool back, int64_t *out)
{
    if (v->kind == FG_KIND_ABSENT || v->kind == FG_KIND_NONE) {
        *out = absent;
        return true;
    }
    if (!fg_value_integer(v, out))
        return false;
    if (*out < 0)
        *out += count;
    if (*out < 0)
        *out = back ? -1 : 0;
    if (*out >= count)
        *out = back ? count - 1 : count;
    return true;
}

struct fg_value fg_items_slice(struct fg_run *r, const struct fg_items *list, size_t from,
                               size_t count)
{
    struct fg_value part = fg_value_items(r, FG_FORM_LIST, count);
    for (size_t i = 0; i < count && fg_run_ok(r); i++)
        fg_items_add(r, part.items, list->at[from + i]);
    return part;
}

/* What cannot be sliced gives an undefined value, as in jinja2's sandbox. */
struct fg_value fg_value_slice(struct fg_run *r, const struct fg_value *v,
                               const struct fg_value *from, const struct fg_value *to,
                               const struct fg_value *step)
{
    int64_t by = 1, first, last;
    const bool text = v->kind == FG_KIND_TEXT;
    if (!text && !is_row(v))
        return FG_UNDEFINED;
    if (step->kind != FG_KIND_ABSENT && step->kind != FG_KIND_NONE && !fg_value_integer(step, &by))
        return FG_UNDEFINED;
    if (by == 0) {
        fg_run_fail(r, "the step of a slice must not be 0");
        return FG_UNDEFINED;
    }
    if (text)
        fg_run_spend_bytes(r, v->text->len * 2);
    const int64_t count = text ? (int64_t)fg_tagged_chars(*v->text) : (int64_t)v->items->count;
    if (!bound(from, count, by < 0 ? count - 1 : 0, by < 0, &first) ||
        !bound(to, count, by < 0 ? -1 : count, by < 0, &last))
        return FG_UNDEFINED;
    if (text && by == 1) {
        const size_t at = fg_tagged_offset(*v->text, (size_t)first);
        const struct fg_tagged rest = fg_tagged_from(*v->text, at);
        const size_t len = first < last ? fg_tagged_offset(rest, (size_t)(last - first)) : 0;
        return fg_value_text(r, fg_tagged_part(rest, 0, len));
    }
    const struct fg_items all = text ? fg_value_each(r, v) : *v->items;
    struct fg_value part = fg_value_items(r, text ? FG_FORM_LIST : v->items->form, 0);
    for (int64_t i = first; fg_run_ok(r) && (by > 0 ? i < last : i > last);) {
        fg_items_add(r, part.items, all.at[i]);
        if (__builtin_add_overflow(i, by, &i))
            break;
    }
    if (!text || !fg_run_ok(r))
        return part;
    struct fg_weave w;
    fg_weave_open(&w, r);
    for (size_t i = 0; i < part.items->count; i++)
        fg_weave_add(&w, *part.items->at[i].text);
    return fg_value_text(r, fg_weave_text(&w));
}
