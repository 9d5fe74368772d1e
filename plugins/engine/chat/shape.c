/* Texts cut, joined and reshaped; origins go along. See shape.h. */
#include "engine/chat/shape.h"

#include "engine/chat/native.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each character taken away was looked for among `chars`. */
struct fg_value fg_shape_strip(struct fg_run *r, struct fg_tagged t, const struct fg_value *chars,
                               int sides)
{
    const bool blanks = chars->kind == FG_KIND_ABSENT || chars->kind == FG_KIND_NONE;
    const struct fg_tagged set = blanks ? FG_TAGGED("") : fg_arg_text(r, chars, FG_TAGGED(""));
    if (set.len > 256)
        fg_run_fail(r, "strip: a set of more than 256 bytes");
    if (!fg_run_ok(r))
        return FG_UNDEFINED;
    const struct fg_tagged rest = fg_tagged_strip(t, blanks ? NULL : &set, sides);
    fg_run_spend_chars(r, (t.len - rest.len) * (1 + set.len / FG_RUN_CHARS));
    return fg_value_text(r, rest);
}

static bool breaks_word(uint32_t c)
{
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || fg_char_is_space(c);
}

static uint32_t changed(enum fg_case how, uint32_t c, bool first, bool inside)
{
    switch (how) {
    case FG_CASE_UPPER:
        return fg_char_upper(c);
    case FG_CASE_LOWER:
        return fg_char_lower(c);
    case FG_CASE_CAPITALIZE:
        return first ? fg_char_title(c) : fg_char_lower(c);
    case FG_CASE_TITLE:
        return inside ? fg_char_lower(c) : fg_char_title(c);
    case FG_CASE_WORDS:
        return inside ? fg_char_lower(c) : fg_char_upper(c);
    default:
        return fg_char_is_upper(c) ? fg_char_lower(c) : fg_char_upper(c);
    }
}

struct fg_value fg_shape_case(struct fg_run *r, struct fg_tagged t, enum fg_case how)
{
    struct fg_weave w;
    size_t bytes;
    bool inside = false;
    fg_weave_open(&w, r);
    for (size_t at = 0; at < t.len && fg_run_ok(r); at += bytes) {
        const uint32_t c = fg_char_get(t.ptr + at, t.ptr + t.len, &bytes);
        const uint8_t tag = fg_tagged_at(&t, at);
        if (c == 0xdf && how == FG_CASE_UPPER) /* the sharp s, the one common letter that grows */
            fg_weave_put(&w, FG_STR("SS"), tag);
        else
            fg_weave_char(&w, changed(how, c, at == 0, inside), tag);
        inside = how == FG_CASE_WORDS ? !breaks_word(c) : fg_char_is_alpha(c);
    }
    return fg_value_text(r, fg_weave_text(&w));
}

/* Goes from hit to hit, so hits cost. */
size_t fg_shape_rfind(struct fg_run *r, struct fg_tagged t, struct fg_str needle)
{
    size_t last = SIZE_MAX;
    if (needle.len == 0)
        return t.len;
    fg_run_spend_bytes(r, t.len);
    for (size_t at = 0; (at = fg_tagged_find(t, needle, at)) != SIZE_MAX; at++) {
        last = at;
        if (!fg_run_spend_chars(r, needle.len))
            break;
    }
    return last;
}

size_t fg_shape_count(struct fg_run *r, struct fg_tagged t, struct fg_str needle)
{
    size_t count = 0;
    fg_run_spend_bytes(r, t.len);
    if (needle.len == 0)
        return fg_tagged_chars(t) + 1;
    for (size_t at = 0; (at = fg_tagged_find(t, needle, at)) != SIZE_MAX; at += needle.len) {
        count++;
        if (!fg_run_spend_chars(r, needle.len))
            break;
    }
    return count;
}

struct fg_value fg_shape_replace(struct fg_run *r, struct fg_tagged t, struct fg_tagged old,
                                 struct fg_tagged with, int64_t count)
{
    struct fg_weave w;
    size_t from = 0, bytes;
    fg_weave_open(&w, r);
    fg_run_spend_bytes(r, t.len);
    if (old.len == 0) { /* between all characters */
        for (; count && from < t.len && fg_run_ok(r); count--, from += bytes) {
            (void)fg_char_get(t.ptr + from, t.ptr + t.len, &bytes);
            fg_weave_add(&w, with);
            fg_weave_add(&w, fg_tagged_part(t, from, bytes));
        }
        if (count)
            fg_weave_add(&w, with);
    }
    for (size_t at; old.len && count && fg_run_spend_bytes(r, old.len); count--) {
        at = fg_tagged_find(t, fg_tagged_str(old), from);
        if (at == SIZE_MAX)
            break;
        fg_weave_add(&w, fg_tagged_part(t, from, at - from));
        fg_weave_add(&w, with);
        from = at + old.len;
    }
    fg_weave_add(&w, fg_tagged_from(t, from));
    return fg_value_text(r, fg_weave_text(&w));
}

/* ---- splitting ------------------------------------------------------------------------------- */

static void add(struct fg_run *r, struct fg_value *list, struct fg_tagged part)
{
    fg_items_add(r, list->items, fg_value_text(r, part));
}

static size_t word_end(struct fg_tagged t, size_t at)
{
    size_t bytes;
    while (at < t.len && !fg_char_is_space(fg_char_get(t.ptr + at, t.ptr + t.len, &bytes)))
        at += bytes;
    return at;
}

static size_t word_start(struct fg_tagged t, size_t at)
{
    return t.len - fg_tagged_strip(fg_tagged_from(t, at), NULL, FG_STRIP_LEFT).len;
}

static struct fg_value words(struct fg_run *r, struct fg_tagged t, int64_t most)
{
    struct fg_value list = fg_value_items(r, FG_FORM_LIST, 0);
    fg_run_spend_chars(r, t.len);
    size_t at = word_start(t, 0);
    for (; at < t.len && most && fg_run_spend(r, 1); most--) {
        const size_t end = word_end(t, at);
        add(r, &list, fg_tagged_part(t, at, end - at));
        at = word_start(t, end);
    }
    if (at < t.len)
        add(r, &list, fg_tagged_from(t, at));
    return list;
}

struct fg_value fg_shape_split(struct fg_run *r, struct fg_tagged t, const struct fg_tagged *by,
                               int64_t most)
{
    if (!by)
        return words(r, t, most);
    fg_run_spend_bytes(r, t.len);
    struct fg_value list = fg_value_items(r, FG_FORM_LIST, 0);
    if (by->len == 0)
        fg_run_fail(r, "split: an empty separator");
    size_t from = 0, at;
    for (; most && fg_run_spend(r, 1); most--) {
        at = fg_tagged_find(t, fg_tagged_str(*by), from);
        if (at == SIZE_MAX)
            break;
        add(r, &list, fg_tagged_part(t, from, at - from));
        from = at + by->len;
    }
    add(r, &list, fg_tagged_from(t, from));
    return list;
}

static void turn(struct fg_items *list)
{
    for (size_t i = 0, j = list->count; i + 1 < j; i++) {
        const struct fg_value swap = list->at[i];
        list->at[i] = list->at[--j];
        list->at[j] = swap;
    }
}

/* From the right: only differs from split() by where a limit leaves the rest. */
struct fg_value fg_shape_split_right(struct fg_run *r, struct fg_tagged t,
                                     const struct fg_tagged *by, int64_t most)
{
    if (most < 0)
        return fg_shape_split(r, t, by, most);
    struct fg_value list = fg_value_items(r, FG_FORM_LIST, 0);
    if (by && by->len == 0)
        fg_run_fail(r, "rsplit: an empty separator");
    struct fg_tagged rest = by ? t : fg_tagged_strip(t, NULL, FG_STRIP_RIGHT);
    for (; most && rest.len && fg_run_spend_chars(r, rest.len); most--) {
        size_t at = SIZE_MAX, skip = by ? by->len : 0;
        if (by) {
            at = fg_shape_rfind(r, rest, fg_tagged_str(*by));
        } else {
            for (size_t i = rest.len; i-- > 0 && at == SIZE_MAX;) {
                size_t bytes;
                if (((unsigned char)rest.ptr[i] & 0xc0) == 0x80)
                    continue;
                if (fg_char_is_space(fg_char_get(rest.ptr + i, rest.ptr + rest.len, &bytes))) {
                    at = i;
                    skip = bytes;
                }
            }
        }
        if (at == SIZE_MAX)
            break;
        add(r, &list, fg_tagged_from(rest, at + skip));
        rest = fg_tagged_part(rest, 0, at);
        if (!by)
            rest = fg_tagged_strip(rest, NULL, FG_STRIP_RIGHT);
    }
    if (by || rest.len)
        add(r, &list, rest);
    if (fg_run_ok(r))
        turn(list.items);
    return list;
}

struct fg_tagged fg_shape_line(struct fg_tagged t, size_t at, size_t *next)
{
    size_t end = at, bytes;
    for (; end < t.len; end += bytes) {
        const uint32_t c = fg_char_get(t.ptr + end, t.ptr + t.len, &bytes);
        if ((c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
            c == 0x2029)
            break;
    }
    *next = t.len + 1;
    if (end < t.len) {
        const bool two = t.ptr[end] == '\r' && end + 1 < t.len && t.ptr[end + 1] == '\n';
        *next = end + (two ? 2 : bytes);
    }
    return fg_tagged_part(t, at, end - at);
}

struct fg_value fg_shape_join(struct fg_run *r, struct fg_tagged between,
                              const struct fg_items *list)
{
    struct fg_weave w;
    fg_weave_open(&w, r);
    for (size_t i = 0; i < list->count && fg_run_ok(r); i++) {
        if (i)
            fg_weave_add(&w, between);
        fg_value_write(&w, &list->at[i]);
    }
    return fg_value_text(r, fg_weave_text(&w));
}

struct fg_value fg_shape_pad(struct fg_run *r, struct fg_tagged t, int64_t width, uint32_t fill,
                             char side)
{
    const int64_t missing = width - (int64_t)fg_tagged_chars(t);
    struct fg_weave w;
    if (missing <= 0)
        return fg_value_text(r, t);
    /* str.center() and format's '^' differ in who gets the odd one; this is format's. */
    const int64_t left = side == '>' ? missing : side == '^' ? missing / 2 : 0;
    char code[4];
    const struct fg_tagged one =
        fg_tagged_of((struct fg_str){code, fg_utf8_put(code, fill)}, FG_TAG_TEMPLATE);
    fg_weave_open(&w, r);
    fg_weave_repeat(&w, one, left);
    fg_weave_add(&w, t);
    fg_weave_repeat(&w, one, missing - left);
    return fg_value_text(r, fg_weave_text(&w));
}

/* Through the decimal text, which rounds the exact value half to even. */
struct fg_value fg_shape_round(double real, int precision)
{
    char text[700];
    if (!isfinite(real))
        return fg_value_real(real);
    if (precision >= 0) {
        snprintf(text, sizeof text, "%.*f", precision < 300 ? precision : 300, real);
        return fg_value_real(strtod(text, NULL));
    }
    const double scale = pow(10, -precision);
    return fg_value_real(rint(real / scale) * scale);
}
