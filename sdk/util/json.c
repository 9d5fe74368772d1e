/*
 * util/json.c - the strict pull reader. See json.h for what it refuses.
 *
 * A string is looked at once: 16 bytes a step while it is plain ASCII, character by character in
 * other text. Escapes are checked in that pass and decoded in a second one, which only strings
 * with escapes pay. State between calls is a fixed stack of frames, so nothing recurses.
 */
#include "util/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "util/json_keys.h"
#include "util/json_plain.h"

void fg_json_init(struct fg_json *r, struct fg_str text, struct fg_arena *arena, uint32_t flags)
{
    memset(r, 0, offsetof(struct fg_json, frames));
    r->keys = (struct fg_json_keys){0};
    r->text = text.ptr ? text : FG_STR("");
    r->arena = arena;
    r->flags = flags;
    r->is_pending = true;
}

void fg_json_done(struct fg_json *r)
{
    fg_json_keys_done(&r->keys);
}

void fg_json_fail(struct fg_json *r, int32_t status, const char *what)
{
    if (r->status)
        return;
    r->status = status;
    if (r->at >= r->text.len && status == FG_INVALID)
        what = "unexpected EOF";
    snprintf(r->error, sizeof(r->error), "%s (byte %zu)", what, r->at);
}

static bool broken(struct fg_json *r, const char *what)
{
    fg_json_fail(r, FG_INVALID, what);
    return false;
}

static bool no_memory(struct fg_json *r)
{
    fg_json_fail(r, FG_NO_MEMORY, "the request is too large");
    return false;
}

const char *fg_json_kind_name(int32_t kind)
{
    static const char *const names[] = {"nothing",  "null",     "a boolean", "an integer",
                                        "a number", "a string", "an array",  "an object"};
    return kind >= 0 && kind <= FG_JSON_OBJECT ? names[kind] : "nothing";
}

/* Next byte that is not a blank; -1 at the end. */
static int peek(struct fg_json *r)
{
    const char *p = r->text.ptr;
    size_t at = r->at, len = r->text.len;
    while (at < len && (p[at] == ' ' || p[at] == '\n' || p[at] == '\r' || p[at] == '\t'))
        at++;
    r->at = at;
    return at < len ? (unsigned char)p[at] : -1;
}

/* ---- strings ------------------------------------------------------------------------------ */

/* Bytes of the character at p that is not ASCII (RFC 3629); 0: broken or cut. */
static size_t wide_length(const unsigned char *p, const unsigned char *end)
{
    size_t left = (size_t)(end - p);
    unsigned char a = p[0];
    if (a >= 0xc2 && a <= 0xdf)
        return left >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
    if (a >= 0xe0 && a <= 0xef) {
        if (left < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80)
            return 0;
        if ((a == 0xe0 && p[1] < 0xa0) || (a == 0xed && p[1] > 0x9f))
            return 0; /* overlong, surrogate */
        return 3;
    }
    if (a >= 0xf0 && a <= 0xf4) {
        if (left < 4 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[3] & 0xc0) != 0x80)
            return 0;
        if ((a == 0xf0 && p[1] < 0x90) || (a == 0xf4 && p[1] > 0x8f))
            return 0; /* overlong, above U+10FFFF */
        return 4;
    }
    return 0;
}

static int32_t hex4(const unsigned char *p, const unsigned char *end)
{
    if (end - p < 4)
        return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = p[i], low = (unsigned char)(c | 0x20);
        int digit = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* Length of the escape at p ('\\' stands there); 0: bad, *what says how. */
static size_t escape_length(const unsigned char *p, const unsigned char *end, const char **what)
{
    *what = "invalid escape in string";
    if (end - p < 2)
        return 0;
    if (p[1] != 'u')
        return fg_json_unescape(p[1]) ? 2 : 0;
    int32_t high = hex4(p + 2, end);
    if (high < 0)
        return 0;
    if (high == 0) {
        *what = "\\u0000 is not allowed";
        return 0;
    }
    if (high < 0xd800 || high > 0xdfff)
        return 6;
    *what = "lone surrogate in string";
    if (high > 0xdbff || end - p < 12 || p[6] != '\\' || p[7] != 'u')
        return 0;
    int32_t low = hex4(p + 8, end);
    return low >= 0xdc00 && low <= 0xdfff ? 12 : 0;
}

static size_t decode_escape(const unsigned char *p, char *out, size_t *used)
{
    *used = 2;
    if (p[1] != 'u') {
        *out = fg_json_unescape(p[1]);
        return 1;
    }
    uint32_t code = (uint32_t)hex4(p + 2, p + 6);
    *used = 6;
    if (code >= 0xd800 && code <= 0xdbff) {
        uint32_t low = (uint32_t)hex4(p + 8, p + 12);
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        *used = 12;
    }
    return fg_utf8_put(out, code);
}

/* raw was checked and is longer than what it decodes to. */
static bool decode_string(struct fg_json *r, struct fg_str raw, struct fg_str *out)
{
    char *to = fg_arena_alloc(r->arena, raw.len ? raw.len : 1);
    if (!to)
        return no_memory(r);
    const unsigned char *p = (const unsigned char *)raw.ptr, *end = p + raw.len;
    size_t len = 0;
    while (p < end) {
        const unsigned char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t run = (size_t)((slash ? slash : end) - p);
        memcpy(to + len, p, run);
        len += run;
        p += run;
        if (slash) {
            size_t used;
            len += decode_escape(p, to + len, &used);
            p += used;
        }
    }
    *out = (struct fg_str){to, len};
    return true;
}

/* r->at is behind the opening quote. decode false: only checked. */
static bool read_string(struct fg_json *r, bool decode, struct fg_str *out)
{
    const unsigned char *base = (const unsigned char *)r->text.ptr;
    const unsigned char *start = base + r->at, *end = base + r->text.len, *p = start;
    bool escaped = false;
    for (;;) {
        p = fg_json_skip_plain(p, end);
        r->at = (size_t)(p - base);
        if (p == end)
            return broken(r, "unexpected EOF");
        if (*p == '"')
            break;
        size_t step;
        const char *what = "invalid UTF-8 in string";
        if (*p == '\\') {
            escaped = true;
            step = escape_length(p, end, &what);
        } else if (*p < 0x20) {
            return broken(r, "control character in string");
        } else {
            step = wide_length(p, end);
            while (step && p + step < end && p[step] >= 0x80) {
                p += step;
                step = wide_length(p, end);
            }
        }
        if (!step) {
            r->at = (size_t)(p - base);
            return broken(r, what);
        }
        p += step;
    }
    struct fg_str raw = {(const char *)start, (size_t)(p - start)};
    r->at = (size_t)(p - base) + 1;
    if (escaped && decode)
        return decode_string(r, raw, out);
    *out = raw;
    return true;
}

/* ---- numbers ------------------------------------------------------------------------------ */

static size_t digits(const char *p, size_t at, size_t len)
{
    while (at < len && p[at] >= '0' && p[at] <= '9')
        at++;
    return at;
}

/* strtod of a checked literal; the process keeps the "C" locale. */
static bool to_real(struct fg_json *r, const char *p, size_t len, double *out)
{
    char copy[FG_JSON_MAX_NUMBER + 1];
    memcpy(copy, p, len);
    copy[len] = '\0';
    *out = strtod(copy, NULL);
    return isfinite(*out) ? true : broken(r, "number out of range");
}

static bool read_integer(struct fg_json *r, const char *p, size_t len, struct fg_json_value *v)
{
    bool negative = *p == '-';
    uint64_t value = 0;
    for (size_t i = negative; i < len; i++)
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(p[i] - '0'), &value))
            return broken(r, "integer out of range");
    if (negative && value > (uint64_t)INT64_MAX + 1)
        return broken(r, "integer out of range");
    v->kind = FG_JSON_INT;
    v->is_big = !negative && value > INT64_MAX;
    v->integer = (int64_t)(negative ? 0 - value : value);
    v->real = negative ? -(double)value : (double)value;
    return true;
}

static bool read_number(struct fg_json *r, struct fg_json_value *v)
{
    const char *p = r->text.ptr;
    size_t len = r->text.len, start = r->at, at = start + (p[start] == '-');
    size_t stop = at < len && p[at] == '0' ? at + 1 : digits(p, at, len);
    bool whole = true, good = stop > at;
    if (good && stop < len && p[stop] == '.') {
        whole = false;
        at = stop + 1;
        stop = digits(p, at, len);
        good = stop > at;
    }
    if (good && stop < len && (p[stop] == 'e' || p[stop] == 'E')) {
        whole = false;
        at = stop + 1;
        at += at < len && (p[at] == '+' || p[at] == '-');
        stop = digits(p, at, len);
        good = stop > at;
    }
    r->at = stop;
    if (!good || (stop < len && (p[stop] == '.' || (p[stop] >= '0' && p[stop] <= '9'))))
        return broken(r, "invalid number");
    if (stop - start > FG_JSON_MAX_NUMBER)
        return broken(r, "number too long");
    if (whole)
        return read_integer(r, p + start, stop - start, v);
    v->kind = FG_JSON_REAL;
    return to_real(r, p + start, stop - start, &v->real);
}

/* ---- values and containers ---------------------------------------------------------------- */

static bool read_word(struct fg_json *r, const char *word, struct fg_json_value *v, int32_t kind)
{
    size_t len = strlen(word), left = r->text.len - r->at;
    size_t same = 0;
    while (same < len && same < left && r->text.ptr[r->at + same] == word[same])
        same++;
    r->at += same;
    if (same < len)
        return broken(r, "invalid character");
    v->kind = kind;
    v->boolean = *word == 't';
    return true;
}

static bool open_container(struct fg_json *r, bool is_object, struct fg_json_value *v)
{
    if (r->depth == FG_JSON_MAX_DEPTH)
        return broken(r, "nested too deeply");
    r->at++;
    r->frames[r->depth++] = (struct fg_json_frame){
        .key_base = r->keys.count, .is_object = is_object, .is_first = true};
    v->kind = is_object ? FG_JSON_OBJECT : FG_JSON_ARRAY;
    return true;
}

static bool read_value(struct fg_json *r, int c, struct fg_json_value *v)
{
    switch (c) {
    case '{':
        return open_container(r, true, v);
    case '[':
        return open_container(r, false, v);
    case '"':
        r->at++;
        v->kind = FG_JSON_STRING;
        return read_string(r, !r->is_skipping, &v->text);
    case 't':
        return read_word(r, "true", v, FG_JSON_BOOL);
    case 'f':
        return read_word(r, "false", v, FG_JSON_BOOL);
    case 'n':
        return read_word(r, "null", v, FG_JSON_NULL);
    default:
        if (c == '-' || (c >= '0' && c <= '9'))
            return read_number(r, v);
        return broken(r, c < 0 ? "unexpected EOF" : "invalid character, expected a value");
    }
}

int32_t fg_json_read(struct fg_json *r, struct fg_json_value *v)
{
    *v = (struct fg_json_value){.text = {"", 0}};
    if (r->status)
        return FG_JSON_NONE;
    if (!r->is_pending) {
        broken(r, "no value is due here");
        return FG_JSON_NONE;
    }
    r->is_pending = false;
    int c = peek(r);
    v->at = r->at;
    if (++r->nodes > FG_JSON_MAX_NODES)
        broken(r, "too many values");
    else
        read_value(r, c, v);
    if (r->status)
        v->kind = FG_JSON_NONE;
    return v->kind;
}

static bool read_key(struct fg_json *r, struct fg_json_frame *f, struct fg_str *key)
{
    if (peek(r) != '"')
        return broken(r, "invalid character, expected a key");
    if (f->key_count == FG_JSON_MAX_KEYS)
        return broken(r, "too many keys in one object");
    size_t at = r->at++;
    if (!read_string(r, true, key))
        return false;
    int32_t rc = fg_json_keys_add(r, f, *key);
    if (rc == FG_JSON_KEY_MEMORY)
        return no_memory(r);
    if (rc == FG_JSON_KEY_TWICE) {
        r->at = at;
        return broken(r, "duplicate key");
    }
    if (peek(r) != ':')
        return broken(r, "invalid character, expected ':'");
    r->at++;
    return true;
}

bool fg_json_next(struct fg_json *r, struct fg_str *key)
{
    if (r->is_pending) { /* the caller did not want it */
        struct fg_json_value v;
        bool was = r->is_skipping;
        r->is_skipping = true;
        fg_json_read(r, &v);
        r->is_skipping = was;
        fg_json_skip(r, &v);
    }
    if (r->status || r->depth == 0)
        return false;
    struct fg_json_frame *f = &r->frames[r->depth - 1];
    int c = peek(r);
    if (c == (f->is_object ? '}' : ']')) {
        r->at++;
        fg_json_keys_drop(r, f);
        r->depth--;
        return false;
    }
    if (!f->is_first) {
        if (c != ',')
            return broken(r, "invalid character, expected ',' or the end");
        r->at++;
        peek(r);
    }
    f->is_first = false;
    struct fg_str none;
    if (f->is_object && !read_key(r, f, key ? key : &none))
        return false;
    r->is_pending = true;
    return true;
}

void fg_json_skip(struct fg_json *r, const struct fg_json_value *v)
{
    if (v->kind < FG_JSON_ARRAY || r->depth == 0)
        return;
    uint32_t floor = r->depth - 1;
    bool was = r->is_skipping;
    struct fg_json_value inner;
    r->is_skipping = true;
    while (r->depth > floor && !r->status)
        if (fg_json_next(r, NULL))
            fg_json_read(r, &inner);
    r->is_skipping = was;
}

struct fg_str fg_json_raw(struct fg_json *r, const struct fg_json_value *v)
{
    fg_json_skip(r, v);
    if (r->status)
        return FG_STR("");
    return (struct fg_str){r->text.ptr + v->at, r->at - v->at};
}

int32_t fg_json_end(struct fg_json *r)
{
    if (!r->status && (r->depth || r->is_pending))
        broken(r, "the document goes on");
    if (!r->status && !(r->flags & FG_JSON_TRAILING) && peek(r) >= 0)
        broken(r, "data after the document");
    return r->status;
}
