/* Strings and buffers; see str.h. */
#include "util/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_LIMIT ((size_t)64 << 20)

struct fg_str fg_str_of(const char *terminated)
{
    return (struct fg_str){terminated, terminated ? strlen(terminated) : 0};
}

bool fg_str_eq(struct fg_str a, struct fg_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool fg_str_is(struct fg_str a, const char *terminated)
{
    return fg_str_eq(a, fg_str_of(terminated));
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool fg_str_ieq(struct fg_str a, struct fg_str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    return true;
}

bool fg_str_starts(struct fg_str s, struct fg_str prefix)
{
    return s.len >= prefix.len && fg_str_eq((struct fg_str){s.ptr, prefix.len}, prefix);
}

bool fg_str_ends(struct fg_str s, struct fg_str suffix)
{
    return s.len >= suffix.len && fg_str_eq(fg_str_from(s, s.len - suffix.len), suffix);
}

struct fg_str fg_str_from(struct fg_str s, size_t at)
{
    return at < s.len ? (struct fg_str){s.ptr + at, s.len - at} : (struct fg_str){0};
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct fg_str fg_str_trim(struct fg_str s)
{
    while (s.len && blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len && blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

bool fg_str_u64(struct fg_str s, uint64_t *out)
{
    uint64_t value = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.ptr[i] - '0'), &value))
            return false;
    }
    *out = value;
    return true;
}

bool fg_str_i64(struct fg_str s, int64_t *out)
{
    bool negative = s.len && s.ptr[0] == '-';
    uint64_t value;
    if (!fg_str_u64(fg_str_from(s, negative ? 1 : 0), &value))
        return false;
    if (value > (uint64_t)INT64_MAX + (negative ? 1u : 0u))
        return false;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

uint64_t fg_str_hash(struct fg_str s)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.ptr[i]) * 1099511628211u;
    return h;
}

/* Bytes of the character at s, 0 when cut, SIZE_MAX when invalid. RFC 3629, section 4. */
static size_t character(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t want = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return SIZE_MAX;
    if (n > 1) {
        unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
        unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
        if (p[1] < low || p[1] > high)
            return SIZE_MAX;
    }
    for (size_t i = 2; i < want && i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return SIZE_MAX;
    return n < want ? 0 : want;
}

size_t fg_utf8_valid(struct fg_str s, bool *broken)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t at = 0;
    bool bad = false;
    while (at < s.len) {
        size_t n = character(p + at, s.len - at);
        if (n == 0 || n == SIZE_MAX) {
            bad = n == SIZE_MAX;
            break;
        }
        at += n;
    }
    if (broken)
        *broken = bad;
    return at;
}

size_t fg_utf8_put(char *out, uint32_t c)
{
    if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        c = 0xFFFD;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

size_t fg_utf8_get(struct fg_str s, uint32_t *codepoint)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t n = s.len ? character(p, s.len) : 0;
    if (n == 0 || n == SIZE_MAX)
        return 0;
    uint32_t c = n == 1 ? p[0] : p[0] & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3Fu);
    *codepoint = c;
    return n;
}

void fg_buf_done(struct fg_buf *b)
{
    free(b->ptr);
    *b = (struct fg_buf){.limit = b->limit};
}

bool fg_buf_reserve(struct fg_buf *b, size_t more)
{
    size_t limit = b->limit ? b->limit : DEFAULT_LIMIT;
    if (b->len > limit || more > limit - b->len) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + more;
    if (need <= b->capacity)
        return true;
    size_t grown = b->capacity ? b->capacity * 2 : 256;
    if (grown < need)
        grown = need;
    if (grown > limit)
        grown = limit;
    char *p = realloc(b->ptr, grown);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->ptr = p;
    b->capacity = grown;
    return true;
}

bool fg_buf_add(struct fg_buf *b, struct fg_str s)
{
    if (!fg_buf_reserve(b, s.len))
        return false;
    if (s.len)
        memcpy(b->ptr + b->len, s.ptr, s.len);
    b->len += s.len;
    return true;
}

bool fg_buf_addc(struct fg_buf *b, char c)
{
    return fg_buf_add(b, (struct fg_str){&c, 1});
}

bool fg_buf_printf(struct fg_buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    bool ok = n >= 0 && fg_buf_reserve(b, (size_t)n + 1);
    if (ok) {
        vsnprintf(b->ptr + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return ok;
}
