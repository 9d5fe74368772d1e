/* What stands behind `is`. */
#include "engine/chat/native.h"
#include "engine/chat/shape.h"

#define TEST(name)                                                                                 \
    static struct fg_value name(struct fg_run *r, const struct fg_value *self,                     \
                                const struct fg_value *arg, const struct fg_given *given)
#define IS(name, condition)                                                                        \
    TEST(name)                                                                                     \
    {                                                                                              \
        (void)r, (void)self, (void)arg, (void)given;                                               \
        return fg_value_bool(condition);                                                           \
    }

IS(test_defined, self->kind != FG_KIND_UNDEFINED)
IS(test_undefined, self->kind == FG_KIND_UNDEFINED)
IS(test_none, self->kind == FG_KIND_NONE)
IS(test_boolean, self->kind == FG_KIND_BOOL)
IS(test_true, self->kind == FG_KIND_BOOL && self->yes)
IS(test_false, self->kind == FG_KIND_BOOL && !self->yes)
IS(test_integer, self->kind == FG_KIND_INT)
IS(test_float, self->kind == FG_KIND_FLOAT)
IS(test_number, self->kind >= FG_KIND_BOOL && self->kind <= FG_KIND_FLOAT)
IS(test_string, self->kind == FG_KIND_TEXT)
IS(test_mapping, self->kind == FG_KIND_DICT)
IS(test_iterable, fg_value_iterable(self))
IS(test_callable,
   self->kind == FG_KIND_NATIVE || self->kind == FG_KIND_MACRO || self->kind == FG_KIND_JOINER)
/* What has a length and items by number: as jinja2, an Undefined too. */
IS(test_sequence, self->kind == FG_KIND_UNDEFINED || self->kind == FG_KIND_TEXT ||
                      self->kind == FG_KIND_DICT ||
                      (self->kind == FG_KIND_ITEMS && self->items->form <= FG_FORM_TUPLE))
IS(test_escaped, false)
IS(test_filter, self->kind == FG_KIND_TEXT && fg_filter_find(fg_tagged_str(*self->text)))
IS(test_test, self->kind == FG_KIND_TEXT && fg_test_find(fg_tagged_str(*self->text)))
IS(test_eq, fg_value_equal(r, self, &arg[0]))
IS(test_ne, !fg_value_equal(r, self, &arg[0]))
IS(test_lt, fg_value_order(r, self, &arg[0]) < 0)
IS(test_le, fg_value_order(r, self, &arg[0]) <= 0)
IS(test_gt, fg_value_order(r, self, &arg[0]) > 0)
IS(test_ge, fg_value_order(r, self, &arg[0]) >= 0)
IS(test_in, fg_value_contains(r, &arg[0], self))

/* The same object: for small values that is equality within one type. */
TEST(test_sameas)
{
    (void)given;
    if (self->kind == FG_KIND_ITEMS || self->kind == FG_KIND_DICT)
        return fg_value_bool(self->kind == arg[0].kind && self->items == arg[0].items);
    return fg_value_bool(self->kind == arg[0].kind && fg_value_equal(r, self, &arg[0]));
}

static struct fg_value remainder_is(struct fg_run *r, const struct fg_value *v, int64_t by,
                                    int64_t wanted)
{
    const struct fg_value divisor = fg_value_int(by);
    double real = 0;
    if (v->kind == FG_KIND_TEXT)
        fg_run_fail(r, "a number is wanted, not a str");
    const struct fg_value rest = fg_value_math(r, '%', v, &divisor);
    return fg_value_bool(fg_value_number(&rest, &real) && real == (double)wanted);
}

TEST(test_odd)
{
    (void)arg, (void)given;
    return remainder_is(r, self, 2, 1);
}

TEST(test_even)
{
    (void)arg, (void)given;
    return remainder_is(r, self, 2, 0);
}

TEST(test_divisibleby)
{
    (void)given;
    return remainder_is(r, self, fg_arg_integer(r, &arg[0], 0), 0);
}

/* Letters with a case are there, and all of them have this one. */
static bool all_case(struct fg_run *r, const struct fg_value *v, bool upper)
{
    const struct fg_tagged t = fg_value_str(r, v);
    bool any = false;
    size_t bytes;
    fg_run_spend_chars(r, t.len);
    for (size_t at = 0; at < t.len && fg_run_ok(r); at += bytes) {
        const uint32_t c = fg_char_get(t.ptr + at, t.ptr + t.len, &bytes);
        if (upper ? fg_char_is_lower(c) : fg_char_is_upper(c))
            return false;
        any |= upper ? fg_char_is_upper(c) : fg_char_is_lower(c);
    }
    return any;
}

IS(test_upper, all_case(r, self, true))
IS(test_lower, all_case(r, self, false))

const struct fg_native *fg_test_find(struct fg_str name)
{
    static const struct fg_native table[] = {
        {"defined", test_defined, ""},
        {"undefined", test_undefined, ""},
        {"none", test_none, ""},
        {"boolean", test_boolean, ""},
        {"true", test_true, ""},
        {"false", test_false, ""},
        {"integer", test_integer, ""},
        {"float", test_float, ""},
        {"number", test_number, ""},
        {"string", test_string, ""},
        {"mapping", test_mapping, ""},
        {"iterable", test_iterable, ""},
        {"sequence", test_sequence, ""},
        {"callable", test_callable, ""},
        {"escaped", test_escaped, ""},
        {"filter", test_filter, ""},
        {"test", test_test, ""},
        {"eq", test_eq, "other"},
        {"equalto", test_eq, "other"},
        {"==", test_eq, "other"},
        {"ne", test_ne, "other"},
        {"!=", test_ne, "other"},
        {"lt", test_lt, "other"},
        {"lessthan", test_lt, "other"},
        {"<", test_lt, "other"},
        {"le", test_le, "other"},
        {"<=", test_le, "other"},
        {"gt", test_gt, "other"},
        {"greaterthan", test_gt, "other"},
        {">", test_gt, "other"},
        {"ge", test_ge, "other"},
        {">=", test_ge, "other"},
        {"in", test_in, "seq"},
        {"sameas", test_sameas, "other"},
        {"odd", test_odd, ""},
        {"even", test_even, ""},
        {"divisibleby", test_divisibleby, "num"},
        {"upper", test_upper, ""},
        {"lower", test_lower, ""},
    };
    return fg_native_find(table, sizeof table / sizeof *table, name);
}
