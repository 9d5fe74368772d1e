/* Text with origins. See tagged.h. */
#include "engine/chat/tagged.h"

#include <string.h>
#include <utf8proc.h>

#include "engine/chat/run.h"

struct fg_tagged fg_tagged_part(struct fg_tagged t, size_t at, size_t len)
{
    t.ptr += at;
    t.len = len;
    if (t.tags)
        t.tags += at;
    return t;
}

/* ---- characters ------------------------------------------------------------------------------ */

/* The text is known to be valid, so the first byte says enough; never past the end all the same. */
uint32_t fg_char_get(const char *at, const char *end, size_t *bytes)
{
    const unsigned char first = (unsigned char)*at;
    *bytes = 1;
    if (first < 0x80)
        return first;
    uint32_t c;
    const size_t n = fg_utf8_get((struct fg_str){at, (size_t)(end - at)}, &c);
    if (!n)
        return 0xfffd;
    *bytes = n;
    return c;
}

bool fg_char_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool fg_char_is_alpha(uint32_t c)
{
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool fg_char_is_digit(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND;
}

bool fg_char_is_upper(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LU;
}

bool fg_char_is_lower(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LL;
}

uint32_t fg_char_upper(uint32_t c)
{
    if (c < 0x80)
        return c >= 'a' && c <= 'z' ? c - 32 : c;
    return (uint32_t)utf8proc_toupper((utf8proc_int32_t)c);
}

uint32_t fg_char_lower(uint32_t c)
{
    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}

uint32_t fg_char_title(uint32_t c)
{
    return c < 0x80 ? fg_char_upper(c) : (uint32_t)utf8proc_totitle((utf8proc_int32_t)c);
}

size_t fg_tagged_chars(struct fg_tagged t)
{
    size_t count = 0;
    for (size_t i = 0; i < t.len; i++)
        count += ((unsigned char)t.ptr[i] & 0xc0) != 0x80;
    return count;
}

size_t fg_tagged_offset(struct fg_tagged t, size_t index)
{
    size_t at = 0;
    while (index-- && at < t.len) {
        at++;
        while (at < t.len && ((unsigned char)t.ptr[at] & 0xc0) == 0x80)
            at++;
    }
    return at;
}

/* ---- looking --------------------------------------------------------------------------------- */

size_t fg_tagged_find(struct fg_tagged t, struct fg_str needle, size_t from)
{
    if (from > t.len || needle.len > t.len - from)
        return SIZE_MAX;
    if (needle.len == 0)
        return from;
    const char *hit = memmem(t.ptr + from, t.len - from, needle.ptr, needle.len);
    return hit ? (size_t)(hit - t.ptr) : SIZE_MAX;
}

int fg_tagged_compare(struct fg_tagged a, struct fg_tagged b)
{
    const size_t both = a.len < b.len ? a.len : b.len;
    const int order = both ? memcmp(a.ptr, b.ptr, both) : 0;
    if (order)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

static bool goes(uint32_t c, const struct fg_tagged *chars)
{
    if (!chars)
        return fg_char_is_space(c);
    char code[4];
    const struct fg_str one = {code, fg_utf8_put(code, c)};
    return fg_tagged_find(*chars, one, 0) != SIZE_MAX;
}

struct fg_tagged fg_tagged_strip(struct fg_tagged t, const struct fg_tagged *chars, int sides)
{
    size_t from = 0, to = t.len, bytes;
    while ((sides & FG_STRIP_LEFT) && from < to &&
           goes(fg_char_get(t.ptr + from, t.ptr + to, &bytes), chars))
        from += bytes;
    while ((sides & FG_STRIP_RIGHT) && from < to) {
        size_t at = to - 1;
        while (at > from && ((unsigned char)t.ptr[at] & 0xc0) == 0x80)
            at--;
        if (!goes(fg_char_get(t.ptr + at, t.ptr + to, &bytes), chars))
            break;
        to = at;
    }
    return fg_tagged_part(t, from, to - from);
}

/* ---- weaving --------------------------------------------------------------------------------- */

void fg_weave_open(struct fg_weave *w, struct fg_run *run)
{
    *w = (struct fg_weave){.run = run};
}

static bool room(struct fg_weave *w, size_t more)
{
    if (!fg_run_spend_bytes(w->run, more))
        return false;
    if (more > FG_RUN_TEXT - w->len) {
        fg_run_fail(w->run, "a text of more than %d MiB", FG_RUN_TEXT >> 20);
        return false;
    }
    if (w->len + more <= w->capacity)
        return true;
    size_t capacity = w->capacity ? w->capacity * 2 : 64;
    while (capacity < w->len + more)
        capacity *= 2;
    char *ptr = fg_run_grow(w->run, w->ptr, w->len, capacity, 1);
    uint8_t *tags = w->tags ? fg_run_grow(w->run, w->tags, w->len, capacity, 1) : NULL;
    if (!ptr || (w->tags && !tags))
        return false;
    w->ptr = ptr;
    w->tags = tags;
    w->capacity = capacity;
    return true;
}

/* From one tag for all to one for each byte. */
static bool mix(struct fg_weave *w)
{
    if (w->tags)
        return true;
    w->tags = fg_run_alloc(w->run, w->capacity, 1);
    if (!w->tags)
        return false;
    memset(w->tags, w->tag, w->len);
    return true;
}

void fg_weave_add(struct fg_weave *w, struct fg_tagged t)
{
    if (!t.len || !room(w, t.len))
        return;
    if (w->len == 0 && !t.tags && !w->tags)
        w->tag = t.tag;
    if ((t.tags || t.tag != w->tag) && !mix(w))
        return;
    memcpy(w->ptr + w->len, t.ptr, t.len);
    if (w->tags && t.tags)
        memcpy(w->tags + w->len, t.tags, t.len);
    else if (w->tags)
        memset(w->tags + w->len, t.tag, t.len);
    w->len += t.len;
}

/* Once, then what is there already, doubled as long as it fits. */
void fg_weave_repeat(struct fg_weave *w, struct fg_tagged t, int64_t times)
{
    if (times <= 0 || !t.len)
        return;
    const size_t most = FG_RUN_TEXT / t.len + 1; /* beyond it room() refuses anyway */
    const size_t all = t.len * ((uint64_t)times < most ? (size_t)times : most);
    if (!room(w, all))
        return;
    const size_t from = w->len;
    fg_weave_add(w, t);
    for (size_t part; fg_run_ok(w->run) && (part = w->len - from) < all; w->len += part) {
        if (part > all - part)
            part = all - part;
        memcpy(w->ptr + w->len, w->ptr + from, part);
        if (w->tags)
            memcpy(w->tags + w->len, w->tags + from, part);
    }
}

void fg_weave_put(struct fg_weave *w, struct fg_str s, uint8_t tag)
{
    fg_weave_add(w, (struct fg_tagged){s.ptr, s.len, NULL, tag});
}

void fg_weave_char(struct fg_weave *w, uint32_t codepoint, uint8_t tag)
{
    char code[4];
    const struct fg_str s = {code, fg_utf8_put(code, codepoint)};
    fg_weave_put(w, s, tag);
}

struct fg_tagged fg_weave_text(const struct fg_weave *w)
{
    return (struct fg_tagged){w->ptr ? w->ptr : "", w->len, w->tags, w->tag};
}
