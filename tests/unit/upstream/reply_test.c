/* Replies of HTTP/1.1 servers: whole, cut at every byte, and broken in every way. */
#include "cmocka_all.h"

#include "upstream/reply.h"

struct outcome {
    int32_t end; /* END, BAD, or MORE */
    struct fg_buf body;
    size_t left; /* bytes behind the reply */
};

/* Feeds text in pieces: the first of `first` bytes, then of `step`; takes body bytes `bite` a time.
 */
static struct outcome run(struct fg_reply *r, struct fg_str text, size_t first, size_t step,
                          size_t bite)
{
    struct outcome o = {.end = FG_REPLY_MORE};
    struct fg_str piece;
    for (size_t at = 0; at < text.len && o.end == FG_REPLY_MORE;) {
        size_t n = at == 0 && first ? first : step;
        n = n < text.len - at ? n : text.len - at;
        struct fg_str in = {text.ptr + at, n};
        at += n;
        for (;;) {
            const int32_t rc = fg_reply_next(r, &in, &piece);
            if (rc == FG_REPLY_MORE)
                break;
            if (rc == FG_REPLY_BODY) {
                const size_t take = piece.len < bite ? piece.len : bite;
                fg_buf_add(&o.body, (struct fg_str){piece.ptr, take});
                fg_reply_take(r, &in, take);
            } else if (rc != FG_REPLY_HEAD) {
                o.end = rc;
                o.left = in.len + (text.len - at);
                break;
            }
        }
    }
    return o;
}

static const char chunked[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                              "Transfer-Encoding: chunked\r\nX-Any: \xE4\t1\r\n\r\n"
                              "5\r\nhello\r\nB;ext=1\r\n, wide worl\r\n1\r\nd\r\n0\r\nT: 1\r\n\r\n";
static const char sized[] = "HTTP/1.1 200\r\ncontent-length: 12\r\nContent-Type: application/json;"
                            " charset=utf-8\r\n\r\nhello, world";

static void a_reply_reads_alike_however_it_is_cut(void **state)
{
    const struct fg_str texts[] = {fg_str_of(chunked), fg_str_of(sized)};
    const char *const bodies[] = {"hello, wide world", "hello, world"};
    (void)state;
    for (size_t t = 0; t < 2; t++)
        for (size_t cut = 0; cut <= texts[t].len; cut++)
            for (size_t bite = 1; bite < 20; bite += 7) {
                struct fg_reply r = {0};
                fg_reply_init(&r);
                struct outcome o = run(&r, texts[t], cut, cut ? texts[t].len : 1, bite);
                assert_int_equal(o.end, FG_REPLY_END);
                assert_int_equal(o.body.len, strlen(bodies[t]));
                assert_memory_equal(o.body.ptr, bodies[t], o.body.len);
                assert_int_equal(o.left, 0);
                assert_int_equal(r.status, 200);
                assert_true(r.keeps);
                assert_int_equal(r.type, t ? FG_TYPE_JSON : FG_TYPE_EVENTS);
                fg_buf_done(&o.body);
                fg_reply_done(&r);
            }
}

static void what_follows_a_reply_is_left_alone(void **state)
{
    struct fg_reply r = {0};
    (void)state;
    fg_reply_init(&r);
    struct outcome o = run(&r, FG_STR("HTTP/1.1 204 No\r\n\r\nHTTP/1.1"), 0, 100, 100);
    assert_int_equal(o.end, FG_REPLY_END);
    assert_int_equal(o.left, 8);
    fg_reply_done(&r);
}

static void an_interim_reply_is_stepped_over(void **state)
{
    struct fg_reply r = {0};
    (void)state;
    fg_reply_init(&r);
    struct outcome o = run(&r,
                           FG_STR("HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 C\r\n\r\n"
                                  "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0"
                                  "\r\n\r\n"),
                           0, 1, 1);
    assert_int_equal(o.end, FG_REPLY_END);
    assert_int_equal(r.status, 429);
    assert_true(r.has_retry_after);
    assert_int_equal(r.retry_after_ms, 7000);
    fg_reply_done(&r);
}

static void what_is_no_proper_reply_is_refused(void **state)
{
#define OK_     "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK_ "Transfer-Encoding: chunked\r\n\r\n"
    static const char *const all[] = {
        "<html>\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000\r\n\r\n",
        "HTTP/1.1 099 X\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 101 Up\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        OK_ "A: b\n\r\n",
        OK_ "A: b\r\n folded\r\n\r\n",
        OK_ "A b\r\n\r\n",
        OK_ ": b\r\n\r\n",
        OK_ "A : b\r\n\r\n",
        OK_ "A: b\x01\r\n\r\n",
        OK_ "A: b\rc\r\n\r\n",
        OK_ "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        OK_ "Content-Length: -1\r\n\r\n",
        OK_ "Content-Length: 0x1\r\n\r\n",
        OK_ "Content-Length: \r\n\r\n",
        OK_ "Content-Length: 1,1\r\n\r\n",
        OK_ "Content-Length: 9999999999999999999\r\n\r\n",
        OK_ "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK_ "Transfer-Encoding: gzip\r\n\r\n",
        OK_ "Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK_ "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK_ "Content-Encoding: gzip\r\n\r\n",
        CHUNKED "x\r\n",
        CHUNKED "\r\n",
        CHUNKED "-1\r\n",
        CHUNKED "0x1\r\n",
        CHUNKED "1 \r\n",
        CHUNKED "1\n",
        CHUNKED "1\r\nab\r\n",
        CHUNKED "1\r\na\n",
        CHUNKED "1234567890abcdef\r\n",
        CHUNKED "1;\x01\r\n",
        CHUNKED "0\r\nT: 1\n"};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t step = 1; step < 200; step += 198) {
            struct fg_reply r = {0};
            fg_reply_init(&r);
            struct outcome o = run(&r, fg_str_of(all[i]), 0, step, 100);
            if (o.end != FG_REPLY_BAD)
                fail_msg("taken, or waits: %s", all[i]);
            assert_non_null(r.error);
            fg_buf_done(&o.body);
            fg_reply_done(&r);
        }
}

/* An endless head ends with its limit, in memory of one line. */
static void an_endless_head_ends(void **state)
{
    static const struct {
        const char *again;
    } all[] = {{"X: y\r\n"},
               {"x"},
               {"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"}};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct fg_reply r = {0};
        struct fg_str piece, in = FG_STR("HTTP/1.1 200 OK\r\n");
        fg_reply_init(&r);
        int32_t rc = fg_reply_next(&r, &in, &piece);
        size_t fed = 0;
        while (rc == FG_REPLY_MORE && fed < (size_t)1 << 20) {
            in = fg_str_of(all[i].again);
            fed += in.len;
            rc = fg_reply_next(&r, &in, &piece);
        }
        assert_int_equal(rc, FG_REPLY_BAD);
        assert_true(fed <= FG_REPLY_HEAD_BYTES + 200);
        assert_true(r.line.capacity <= 2 * FG_REPLY_LINE_BYTES);
        fg_reply_done(&r);
    }
}

static void the_end_of_the_connection_means_what_the_framing_says(void **state)
{
    static const struct {
        const char *text;
        int32_t rc;
    } all[] = {
        {"", FG_REPLY_BAD},
        {"HTTP/1.1 2", FG_REPLY_BAD},
        {"HTTP/1.1 200 OK\r\nA: b\r\n", FG_REPLY_BAD},
        {"HTTP/1.1 200 OK\r\n\r\n", FG_REPLY_END},
        {"HTTP/1.1 200 OK\r\n\r\nuntil the end", FG_REPLY_END},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", FG_REPLY_BAD},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", FG_REPLY_BAD},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", FG_REPLY_BAD},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct fg_reply r = {0};
        fg_reply_init(&r);
        struct outcome o = run(&r, fg_str_of(all[i].text), 0, 3, 100);
        assert_int_equal(o.end, FG_REPLY_MORE);
        assert_int_equal(fg_reply_eof(&r), all[i].rc);
        fg_buf_done(&o.body);
        fg_reply_done(&r);
    }
}

static void a_connection_is_kept_as_the_server_says(void **state)
{
    static const struct {
        const char *text;
        bool keeps;
    } all[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n", false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct fg_reply r = {0};
        fg_reply_init(&r);
        assert_int_equal(run(&r, fg_str_of(all[i].text), 0, 100, 100).end, FG_REPLY_END);
        assert_int_equal(r.keeps, all[i].keeps);
        fg_reply_done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_reads_alike_however_it_is_cut),
        cmocka_unit_test(what_follows_a_reply_is_left_alone),
        cmocka_unit_test(an_interim_reply_is_stepped_over),
        cmocka_unit_test(what_is_no_proper_reply_is_refused),
        cmocka_unit_test(an_endless_head_ends),
        cmocka_unit_test(the_end_of_the_connection_means_what_the_framing_says),
        cmocka_unit_test(a_connection_is_kept_as_the_server_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
