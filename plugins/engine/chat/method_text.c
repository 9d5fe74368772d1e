/* Methods of texts. */
#include "engine/chat/native.h"
#include "engine/chat/shape.h"

#define METHOD(name)                                                                               \
    static struct fg_value name(struct fg_run *r, const struct fg_value *self,                     \
                                const struct fg_value *arg, const struct fg_given *given)

static bool absent(const struct fg_value *v)
{
    return v->kind == FG_KIND_ABSENT || v->kind == FG_KIND_NONE;
}

METHOD(text_strip)
{
    (void)given;
    return fg_shape_strip(r, *self->text, &arg[0], FG_STRIP_BOTH);
}

METHOD(text_lstrip)
{
    (void)given;
    return fg_shape_strip(r, *self->text, &arg[0], FG_STRIP_LEFT);
}

METHOD(text_rstrip)
{
    (void)given;
    return fg_shape_strip(r, *self->text, &arg[0], FG_STRIP_RIGHT);
}

METHOD(text_split)
{
    (void)given;
    const struct fg_tagged by =
        absent(&arg[0]) ? FG_TAGGED("") : fg_arg_text(r, &arg[0], FG_TAGGED(""));
    return fg_shape_split(r, *self->text, absent(&arg[0]) ? NULL : &by,
                          fg_arg_integer(r, &arg[1], -1));
}

METHOD(text_rsplit)
{
    (void)given;
    const struct fg_tagged by =
        absent(&arg[0]) ? FG_TAGGED("") : fg_arg_text(r, &arg[0], FG_TAGGED(""));
    return fg_shape_split_right(r, *self->text, absent(&arg[0]) ? NULL : &by,
                                fg_arg_integer(r, &arg[1], -1));
}

METHOD(text_splitlines)
{
    (void)given;
    const struct fg_tagged t = *self->text;
    const bool keep = fg_arg_bool(&arg[0], false);
    struct fg_value list = fg_value_items(r, FG_FORM_LIST, 0);
    for (size_t at = 0, next; at < t.len && fg_run_ok(r); at = next) {
        struct fg_tagged line = fg_shape_line(t, at, &next);
        fg_run_spend_chars(r, line.len);
        if (keep)
            line = fg_tagged_part(t, at, (next > t.len ? t.len : next) - at);
        fg_items_add(r, list.items, fg_value_text(r, line));
    }
    return list;
}

/* One text or a tuple of them. */
static struct fg_value begins_or_ends(struct fg_run *r, const struct fg_value *self,
                                      const struct fg_value *what, bool begins)
{
    const struct fg_items one = {.at = (struct fg_value *)(uintptr_t)what, .count = 1};
    const bool many = what->kind == FG_KIND_ITEMS && what->items->form == FG_FORM_TUPLE;
    const struct fg_items *all = many ? what->items : &one;
    for (size_t i = 0; i < all->count && fg_run_ok(r); i++) {
        const struct fg_str s = fg_tagged_str(*self->text);
        const struct fg_str part = fg_tagged_str(fg_arg_text(r, &all->at[i], FG_TAGGED("")));
        if (fg_run_spend_bytes(r, part.len) && all->at[i].kind == FG_KIND_TEXT &&
            (begins ? fg_str_starts(s, part) : fg_str_ends(s, part)))
            return fg_value_bool(true);
    }
    return fg_value_bool(false);
}

METHOD(text_startswith)
{
    (void)given;
    return begins_or_ends(r, self, &arg[0], true);
}

METHOD(text_endswith)
{
    (void)given;
    return begins_or_ends(r, self, &arg[0], false);
}

METHOD(text_replace)
{
    (void)given;
    return fg_shape_replace(r, *self->text, fg_arg_text(r, &arg[0], FG_TAGGED("")),
                            fg_arg_text(r, &arg[1], FG_TAGGED("")), fg_arg_integer(r, &arg[2], -1));
}

METHOD(text_removeprefix)
{
    (void)given;
    const struct fg_tagged part = fg_arg_text(r, &arg[0], FG_TAGGED(""));
    fg_run_spend_bytes(r, part.len);
    if (!fg_str_starts(fg_tagged_str(*self->text), fg_tagged_str(part)))
        return *self;
    return fg_value_text(r, fg_tagged_from(*self->text, part.len));
}

METHOD(text_removesuffix)
{
    (void)given;
    const struct fg_tagged part = fg_arg_text(r, &arg[0], FG_TAGGED(""));
    fg_run_spend_bytes(r, part.len);
    if (!fg_str_ends(fg_tagged_str(*self->text), fg_tagged_str(part)))
        return *self;
    return fg_value_text(r, fg_tagged_part(*self->text, 0, self->text->len - part.len));
}

#define CASE(name, how)                                                                            \
    METHOD(name)                                                                                   \
    {                                                                                              \
        (void)arg, (void)given;                                                                    \
        return fg_shape_case(r, *self->text, how);                                                 \
    }
CASE(text_upper, FG_CASE_UPPER)
CASE(text_lower, FG_CASE_LOWER)
CASE(text_title, FG_CASE_TITLE)
CASE(text_capitalize, FG_CASE_CAPITALIZE)
CASE(text_swapcase, FG_CASE_SWAP)

METHOD(text_join)
{
    (void)given;
    const struct fg_items each = fg_value_each(r, &arg[0]);
    for (size_t i = 0; i < each.count && fg_run_ok(r); i++)
        (void)fg_arg_text(r, &each.at[i], FG_TAGGED(""));
    return fg_run_ok(r) ? fg_shape_join(r, *self->text, &each) : FG_UNDEFINED;
}

METHOD(text_format)
{
    (void)arg;
    return fg_value_fill(r, *self->text, given);
}

/* ---- looking --------------------------------------------------------------------------------- */

static struct fg_value position(struct fg_run *r, const struct fg_value *self, size_t at)
{
    if (at == SIZE_MAX)
        return fg_value_int(-1);
    fg_run_spend_bytes(r, self->text->len);
    return fg_value_int((int64_t)fg_tagged_chars(fg_tagged_part(*self->text, 0, at)));
}

METHOD(text_find)
{
    (void)given;
    const struct fg_str what = fg_tagged_str(fg_arg_text(r, &arg[0], FG_TAGGED("")));
    fg_run_spend_bytes(r, self->text->len);
    return position(r, self, fg_tagged_find(*self->text, what, 0));
}

METHOD(text_rfind)
{
    (void)given;
    const struct fg_str what = fg_tagged_str(fg_arg_text(r, &arg[0], FG_TAGGED("")));
    return position(r, self, fg_shape_rfind(r, *self->text, what));
}

METHOD(text_index)
{
    const struct fg_value at = text_find(r, self, arg, given);
    if (at.kind == FG_KIND_INT && at.integer < 0)
        fg_run_fail(r, "index: the text is not in it");
    return at;
}

METHOD(text_count)
{
    (void)given;
    const struct fg_str what = fg_tagged_str(fg_arg_text(r, &arg[0], FG_TAGGED("")));
    return fg_value_int((int64_t)fg_shape_count(r, *self->text, what));
}

static struct fg_value parted(struct fg_run *r, const struct fg_value *self,
                              const struct fg_value *by, bool from_right)
{
    const struct fg_tagged t = *self->text, mark = fg_arg_text(r, by, FG_TAGGED(""));
    if (mark.len == 0)
        fg_run_fail(r, "partition: an empty separator");
    fg_run_spend_bytes(r, t.len);
    struct fg_value row = fg_value_items(r, FG_FORM_TUPLE, 3);
    if (!fg_run_ok(r))
        return FG_UNDEFINED;
    const size_t at = from_right ? fg_shape_rfind(r, t, fg_tagged_str(mark))
                                 : fg_tagged_find(t, fg_tagged_str(mark), 0);
    struct fg_tagged part[3] = {t, FG_TAGGED(""), FG_TAGGED("")};
    if (at != SIZE_MAX) {
        part[0] = fg_tagged_part(t, 0, at);
        part[1] = mark;
        part[2] = fg_tagged_from(t, at + mark.len);
    } else if (from_right) {
        part[2] = part[0];
        part[0] = FG_TAGGED("");
    }
    for (size_t i = 0; i < 3; i++)
        fg_items_add(r, row.items, fg_value_text(r, part[i]));
    return row;
}

METHOD(text_partition)
{
    (void)given;
    return parted(r, self, &arg[0], false);
}

METHOD(text_rpartition)
{
    (void)given;
    return parted(r, self, &arg[0], true);
}

/* ---- questions about all characters ---------------------------------------------------------- */

static struct fg_value all(struct fg_run *r, const struct fg_value *self, bool (*holds)(uint32_t))
{
    const struct fg_tagged t = *self->text;
    size_t bytes;
    if (!fg_run_spend_chars(r, t.len))
        return FG_UNDEFINED;
    for (size_t at = 0; at < t.len; at += bytes)
        if (!holds(fg_char_get(t.ptr + at, t.ptr + t.len, &bytes)))
            return fg_value_bool(false);
    return fg_value_bool(t.len != 0);
}

static bool is_alnum(uint32_t c)
{
    return fg_char_is_alpha(c) || fg_char_is_digit(c);
}

#define ALL(name, holds)                                                                           \
    METHOD(name)                                                                                   \
    {                                                                                              \
        (void)arg, (void)given;                                                                    \
        return all(r, self, holds);                                                                \
    }
ALL(text_isdigit, fg_char_is_digit)
ALL(text_isalpha, fg_char_is_alpha)
ALL(text_isalnum, is_alnum)
ALL(text_isspace, fg_char_is_space)

METHOD(text_isupper)
{
    (void)arg;
    return fg_native_call(r, fg_test_find(FG_STR("upper")), self, given);
}

METHOD(text_islower)
{
    (void)arg;
    return fg_native_call(r, fg_test_find(FG_STR("lower")), self, given);
}

/* ---- padding --------------------------------------------------------------------------------- */

static struct fg_value padded(struct fg_run *r, const struct fg_value *self,
                              const struct fg_value *arg, char side)
{
    const struct fg_tagged fill = fg_arg_text(r, &arg[1], FG_TAGGED(" "));
    size_t bytes = 0;
    const uint32_t c = fill.len ? fg_char_get(fill.ptr, fill.ptr + fill.len, &bytes) : 0;
    if (fill.len == 0 || bytes != fill.len)
        fg_run_fail(r, "one character is wanted to fill with");
    return fg_shape_pad(r, *self->text, fg_arg_integer(r, &arg[0], 0), c, side);
}

METHOD(text_ljust)
{
    (void)given;
    return padded(r, self, arg, '<');
}

METHOD(text_rjust)
{
    (void)given;
    return padded(r, self, arg, '>');
}

METHOD(text_center)
{
    (void)given;
    return padded(r, self, arg, '^');
}

METHOD(text_zfill)
{
    (void)given;
    const struct fg_tagged t = *self->text;
    const bool sign = t.len && (t.ptr[0] == '-' || t.ptr[0] == '+');
    const int64_t width = fg_arg_integer(r, &arg[0], 0) - (sign ? 1 : 0);
    struct fg_weave w;
    const struct fg_value body = fg_shape_pad(r, fg_tagged_from(t, sign), width, '0', '>');
    fg_weave_open(&w, r);
    fg_weave_add(&w, fg_tagged_part(t, 0, sign));
    if (fg_run_ok(r))
        fg_weave_add(&w, *body.text);
    return fg_value_text(r, fg_weave_text(&w));
}

const struct fg_native *fg_method_of_text(struct fg_str name)
{
    static const struct fg_native table[] = {
        {"strip", text_strip, "chars"},
        {"lstrip", text_lstrip, "chars"},
        {"rstrip", text_rstrip, "chars"},
        {"split", text_split, "sep maxsplit"},
        {"rsplit", text_rsplit, "sep maxsplit"},
        {"splitlines", text_splitlines, "keepends"},
        {"startswith", text_startswith, "prefix"},
        {"endswith", text_endswith, "suffix"},
        {"replace", text_replace, "old new count"},
        {"removeprefix", text_removeprefix, "prefix"},
        {"removesuffix", text_removesuffix, "suffix"},
        {"upper", text_upper, ""},
        {"lower", text_lower, ""},
        {"casefold", text_lower, ""},
        {"title", text_title, ""},
        {"capitalize", text_capitalize, ""},
        {"swapcase", text_swapcase, ""},
        {"join", text_join, "iterable"},
        {"format", text_format, "*"},
        {"find", text_find, "sub"},
        {"rfind", text_rfind, "sub"},
        {"index", text_index, "sub"},
        {"count", text_count, "sub"},
        {"partition", text_partition, "sep"},
        {"rpartition", text_rpartition, "sep"},
        {"isdigit", text_isdigit, ""},
        {"isnumeric", text_isdigit, ""},
        {"isdecimal", text_isdigit, ""},
        {"isalpha", text_isalpha, ""},
        {"isalnum", text_isalnum, ""},
        {"isspace", text_isspace, ""},
        {"isupper", text_isupper, ""},
        {"islower", text_islower, ""},
        {"ljust", text_ljust, "width fillchar"},
        {"rjust", text_rjust, "width fillchar"},
        {"center", text_center, "width fillchar"},
        {"zfill", text_zfill, "width"},
    };
    return fg_native_find(table, sizeof table / sizeof *table, name);
}
