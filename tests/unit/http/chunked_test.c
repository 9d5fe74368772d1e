/* Chunked bodies as a table, whole and cut at every byte; and that small chunks stay cheap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "http/parse.h"

enum { LIMIT = 4096 };

struct outcome {
    int rc, status;
    size_t used, len;
    char body[LIMIT];
};

static void feed_part(struct fg_chunked *c, struct fg_str part, struct outcome *o)
{
    while (o->rc != FG_PARSE_DONE && o->rc != FG_PARSE_BAD) {
        size_t used = 0;
        struct fg_str piece = {0};
        o->rc = fg_chunked_feed(c, part, &used, &piece);
        assert_true(used <= part.len);
        o->used += used;
        part = fg_str_from(part, used);
        if (o->rc == FG_PARSE_DATA) {
            assert_true(piece.len > 0 && o->len + piece.len <= LIMIT);
            memcpy(o->body + o->len, piece.ptr, piece.len);
            o->len += piece.len;
        } else if (o->rc == FG_PARSE_MORE) {
            assert_int_equal(part.len, 0);
            break;
        }
    }
    o->status = o->rc == FG_PARSE_BAD ? c->status : 0;
}

static void feed(struct fg_str text, size_t first, size_t step, struct outcome *o)
{
    struct fg_chunked c;
    memset(o, 0, sizeof(*o));
    fg_chunked_init(&c, LIMIT);
    for (size_t at = 0, n = first; at < text.len; at += n, n = step) {
        if (n > text.len - at)
            n = text.len - at;
        char *copy = malloc(n ? n : 1);
        memcpy(copy, text.ptr + at, n);
        feed_part(&c, (struct fg_str){copy, n}, o);
        free(copy);
    }
}

static void feed_all_ways(struct fg_str text, struct outcome *whole)
{
    struct outcome other;
    feed(text, text.len, text.len, whole);
    for (size_t cut = 1; cut <= text.len; cut++) {
        feed(text, cut < text.len ? cut : 1, cut < text.len ? text.len : 1, &other);
        if (other.rc != whole->rc || other.status != whole->status || other.used != whole->used ||
            other.len != whole->len || memcmp(other.body, whole->body, whole->len) != 0)
            fail_msg("cut at %zu: rc %d/%d status %d/%d used %zu/%zu len %zu/%zu of %.60s", cut,
                     whole->rc, other.rc, whole->status, other.status, whole->used, other.used,
                     whole->len, other.len, text.ptr);
    }
}

#define ROW(text, status, body) {{"" text, sizeof(text) - 1}, status, body, __LINE__}
static void bodies_end_as_the_table_says(void **state)
{
    (void)state;
    static const struct {
        struct fg_str text;
        int status; /* 0: whole; -1: more is to come */
        const char *body;
        int line;
    } rows[] = {
        ROW("0\r\n\r\n", 0, ""),
        ROW("5\r\nhello\r\n0\r\n\r\n", 0, "hello"),
        ROW("5\r\nhello\r\n0\r\n\r\nGET /", 0, "hello"),
        ROW("a\r\n0123456789\r\n0A\r\n0123456789\r\n000\r\n\r\n", 0, "01234567890123456789"),
        ROW("000000000000005\r\nhello\r\n0\r\n\r\n", 0, "hello"),
        ROW("5;a=b;c=\"d\"\r\nhello\r\n0;z\r\n\r\n", 0, "hello"),
        ROW("5\r\nhello\r\n0\r\nX-Trailer: a\r\nb:\r\n\r\n", 0, "hello"),
        ROW("5\r\nhel", -1, "hel"),
        ROW("5\r\nhello\r\n0\r\n", -1, "hello"),
        ROW("0000000000000005\r\nhello\r\n0\r\n\r\n", 400, ""),
        ROW("fffffffffffffff\r\n", 413, ""),
        ROW("ffffffffffffffff\r\n", 400, ""),
        ROW("10000000000000000\r\n", 400, ""),
        ROW("1001\r\n", 413, ""),
        ROW("0x5\r\nhello\r\n0\r\n\r\n", 400, ""),
        ROW("+5\r\nhello\r\n0\r\n\r\n", 400, ""),
        ROW("-5\r\nhello\r\n0\r\n\r\n", 400, ""),
        ROW(" 5\r\nhello\r\n0\r\n\r\n", 400, ""),
        ROW("5 \r\nhello\r\n0\r\n\r\n", 400, ""),
        ROW("5 ;a\r\nhello\r\n0\r\n\r\n", 400, ""),
        ROW("\r\nhello\r\n0\r\n\r\n", 400, ""),
        ROW(";a\r\nhello\r\n0\r\n\r\n", 400, ""),
        ROW("g\r\n", 400, ""),
        ROW("5\nhello\r\n0\r\n\r\n", 400, ""),
        ROW("5\rhello\r\n0\r\n\r\n", 400, ""),
        ROW("5\r\nhello\n0\r\n\r\n", 400, "hello"),
        ROW("5\r\nhello0\r\n\r\n", 400, "hello"),
        ROW("5\r\nhello!\r\n0\r\n\r\n", 400, "hello"),
        ROW("5\r\nhello\r0\r\n\r\n", 400, "hello"),
        ROW("5;a\nb\r\nhello\r\n0\r\n\r\n", 400, ""),
        ROW("5;a\rb\r\nhello\r\n0\r\n\r\n", 400, ""),
        ROW("5;a\0b\r\nhello\r\n0\r\n\r\n", 400, ""),
        ROW("0\r\n\n", 400, ""),
        ROW("0\r\nX\r\n\r\n", 400, ""),
        ROW("0\r\n: x\r\n\r\n", 400, ""),
        ROW("0\r\n folded\r\n\r\n", 400, ""),
        ROW("0\r\nX: a\nY: b\r\n\r\n", 400, ""),
        ROW("0\r\nX : a\r\n\r\n", 400, ""),
        ROW("0\r\nX: \0\r\n\r\n", 400, ""),
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct outcome o;
        feed_all_ways(rows[i].text, &o);
        int status = rows[i].status > 0 ? rows[i].status : 0;
        bool is_whole = rows[i].status == 0;
        if (o.status != status || (o.rc == FG_PARSE_DONE) != is_whole ||
            !fg_str_is((struct fg_str){o.body, o.len}, rows[i].body))
            fail_msg("line %d: outcome %d, status %d, body %.*s", rows[i].line, o.rc, o.status,
                     (int)o.len, o.body);
    }
}

static size_t fill(char *to, const char *head, char c, size_t count, const char *tail)
{
    size_t n = strlen(head);
    memcpy(to, head, n);
    memset(to + n, c, count);
    memcpy(to + n + count, tail, strlen(tail));
    return n + count + strlen(tail);
}

static void framing_is_bounded(void **state)
{
    (void)state;
    struct outcome o;
    char *text = malloc(1 << 20);
    size_t n = fill(text, "1;", 'x', 256, "\r\na\r\n0\r\n\r\n");
    feed_all_ways((struct fg_str){text, n}, &o);
    assert_int_equal(o.rc, FG_PARSE_DONE);
    n = fill(text, "1;", 'x', 257, "\r\na\r\n0\r\n\r\n");
    feed_all_ways((struct fg_str){text, n}, &o);
    assert_int_equal(o.status, 413);
    n = 0;
    for (int i = 0; i < 100; i++) /* 100 x 200 bytes of extensions */
        n += fill(text + n, "1;", 'x', 200, "\r\na\r\n");
    feed((struct fg_str){text, n}, n, 1, &o);
    assert_int_equal(o.status, 413);
    n = fill(text, "0\r\nX: ", 'y', 8000, "\r\n\r\n");
    feed((struct fg_str){text, n}, n, 1, &o);
    assert_int_equal(o.rc, FG_PARSE_DONE);
    n = fill(text, "0\r\nX: ", 'y', 9000, "\r\n\r\n");
    feed((struct fg_str){text, n}, n, 1, &o);
    assert_int_equal(o.status, 431);
    free(text);
}

/* A known server died of its stack here. */
static void two_hundred_thousand_chunks_cost_little(void **state)
{
    (void)state;
    enum { CHUNKS = 200000 };
    struct fg_chunked c;
    struct timespec a, b;
    size_t pieces = 0;
    clock_gettime(CLOCK_MONOTONIC, &a);
    fg_chunked_init(&c, CHUNKS);
    for (int i = 0; i < CHUNKS; i++) {
        struct fg_str part = FG_STR("1\r\nx\r\n");
        while (part.len) {
            size_t used;
            struct fg_str piece;
            int rc = fg_chunked_feed(&c, part, &used, &piece);
            assert_true(rc == FG_PARSE_MORE || rc == FG_PARSE_DATA);
            pieces += rc == FG_PARSE_DATA;
            part = fg_str_from(part, used);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_int_equal(pieces, CHUNKS);
    assert_true(b.tv_sec - a.tv_sec < 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_end_as_the_table_says),
        cmocka_unit_test(framing_is_bounded),
        cmocka_unit_test(two_hundred_thousand_chunks_cost_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
