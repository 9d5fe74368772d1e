/*
 * util/json_write.c - the streaming writer. It never writes invalid UTF-8 and never a number that
 * JSON does not know; balance of brackets is the caller's.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/json.h"
#include "util/json_plain.h"

static void comma(struct fg_buf *b)
{
    switch (b->len ? b->ptr[b->len - 1] : '{') {
    case '{':
    case '[':
    case ':':
    case ',':
    case ' ':
    case '\n':
        return;
    default:
        fg_buf_addc(b, ',');
    }
}

void fg_json_put_open(struct fg_buf *b, char bracket)
{
    comma(b);
    fg_buf_addc(b, bracket);
}

void fg_json_put_close(struct fg_buf *b, char bracket)
{
    fg_buf_addc(b, bracket);
}

static void escape_byte(struct fg_buf *b, unsigned char c)
{
    const char letter = fg_json_escape(c);
    if (letter) {
        const char pair[2] = {'\\', letter};
        fg_buf_add(b, (struct fg_str){pair, 2});
    } else {
        fg_buf_printf(b, "\\u%04x", c);
    }
}

/* Bytes from s that need no change: valid UTF-8 without quotes, backslashes and controls. */
static size_t clean_run(struct fg_str s)
{
    const unsigned char *begin = (const unsigned char *)s.ptr, *end = begin + s.len, *p = begin;
    while ((p = fg_json_skip_plain(p, end)) < end && *p >= 0x80) {
        uint32_t code;
        const size_t step = fg_utf8_get((struct fg_str){(const char *)p, (size_t)(end - p)}, &code);
        if (!step)
            break;
        p += step;
    }
    return (size_t)(p - begin);
}

static void put_quoted(struct fg_buf *b, struct fg_str s)
{
    fg_buf_addc(b, '"');
    while (s.len) {
        size_t run = clean_run(s);
        if (run)
            fg_buf_add(b, (struct fg_str){s.ptr, run});
        s = fg_str_from(s, run);
        if (!s.len)
            break;
        if ((unsigned char)*s.ptr >= 0x80)
            fg_buf_add(b, FG_STR("\xef\xbf\xbd"));
        else
            escape_byte(b, (unsigned char)*s.ptr);
        s = fg_str_from(s, 1);
    }
    fg_buf_addc(b, '"');
}

void fg_json_put_str(struct fg_buf *b, struct fg_str s)
{
    comma(b);
    put_quoted(b, s);
}

void fg_json_put_key(struct fg_buf *b, struct fg_str key)
{
    fg_json_put_str(b, key);
    fg_buf_addc(b, ':');
}

void fg_json_put_name(struct fg_buf *b, const char *key)
{
    comma(b);
    fg_buf_addc(b, '"');
    fg_buf_add(b, fg_str_of(key));
    fg_buf_add(b, FG_STR("\":"));
}

void fg_json_put_i64(struct fg_buf *b, int64_t value)
{
    comma(b);
    fg_buf_printf(b, "%lld", (long long)value);
}

void fg_json_put_u64(struct fg_buf *b, uint64_t value)
{
    comma(b);
    fg_buf_printf(b, "%llu", (unsigned long long)value);
}

void fg_json_put_f32(struct fg_buf *b, float value)
{
    if (!isfinite(value)) {
        fg_json_put_null(b);
        return;
    }
    comma(b);
    fg_buf_printf(b, "%.9g", (double)value); /* 9 digits name every float */
}

void fg_json_put_f64(struct fg_buf *b, double value)
{
    if (!isfinite(value)) {
        fg_json_put_null(b);
        return;
    }
    comma(b);
    char text[40];
    snprintf(text, sizeof(text), "%.15g", value);
    if (strtod(text, NULL) != value)
        snprintf(text, sizeof(text), "%.17g", value);
    fg_buf_add(b, fg_str_of(text));
}

void fg_json_put_bool(struct fg_buf *b, bool value)
{
    comma(b);
    fg_buf_add(b, value ? FG_STR("true") : FG_STR("false"));
}

void fg_json_put_null(struct fg_buf *b)
{
    comma(b);
    fg_buf_add(b, FG_STR("null"));
}

void fg_json_put_raw(struct fg_buf *b, struct fg_str json)
{
    comma(b);
    fg_buf_add(b, json);
}
