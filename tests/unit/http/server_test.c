/* The server on real sockets: exchanges, streams, ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "toy.h"
#include "util/clock.h"

#define HOST "Host: localhost\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

static int open_two(void **state)
{
    (void)state;
    toy_open(NULL, 2);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    toy_close();
    return 0;
}

static int count(const char *text, const char *needle)
{
    int n = 0;
    for (; (text = strstr(text, needle)); text += strlen(needle))
        n++;
    return n;
}

/* ---- replies --------------------------------------------------------------------------------- */

static void a_request_is_answered(void **state)
{
    (void)state;
    struct toy_reply r;
    toy_ask(GET("/"), &r);
    toy_assert_status(&r, 200);
    assert_string_equal(toy_body(&r), "ok");
    toy_assert_has(&r, "Content-Length: 2\r\n");
    toy_assert_has(&r, "Content-Type: text/plain\r\n");
    toy_assert_has(&r, "\r\nDate: ");
    toy_assert_has(&r, " GMT\r\n");
    toy_assert_has(&r, "x-request-id: req_");
    assert_null(strstr(r.text, "Connection:"));
}

static void head_sends_the_headers_only(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, "HEAD / HTTP/1.1\r\n" HOST "\r\nHEAD /stream HTTP/1.1\r\n" HOST "\r\n" GET("/"));
    toy_read(fd, 100, &r);
    close(fd);
    assert_int_equal(count(r.text, "HTTP/1.1 200 OK"), 3);
    assert_int_equal(count(r.text, "Content-Length: 2"), 2);
    assert_int_equal(count(r.text, "\r\n\r\nHTTP/1.1"), 2); /* no body between */
    assert_string_equal(r.text + r.len - 6, "\r\n\r\nok");
}

static void bodies_arrive_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 100, 4095, 16384, 16385, 65536, 300000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct toy_reply r;
        char head[200], *body = malloc(sizes[i]);
        for (size_t j = 0; j < sizes[i]; j++)
            body[j] = (char)('a' + j % 23);
        int fd = toy_connect();
        snprintf(head, sizeof(head), "POST /echo HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n",
                 sizes[i]);
        toy_send(fd, head);
        toy_send_bytes(fd, body, sizes[i]);
        toy_send(fd, GET("/")); /* pipelined behind it */
        toy_read(fd, 100, &r);
        close(fd);
        toy_assert_status(&r, 200);
        assert_int_equal(__atomic_load_n(&toy.body_bytes, __ATOMIC_SEQ_CST), 0); /* the GET's */
        size_t head_len = (size_t)(toy_body(&r) - r.text);
        size_t seen = r.len - head_len < sizes[i] ? r.len - head_len : sizes[i];
        assert_memory_equal(toy_body(&r), body, seen);
        free(body);
    }
}

static void requests_may_come_byte_by_byte(void **state)
{
    (void)state;
    static const char text[] = "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"
                               "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                               "3;x=y\r\nwor\r\n2\r\nld\r\n0\r\nT: u\r\n\r\n" GET("/");
    struct toy_reply r;
    int fd = toy_connect();
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        toy_send_bytes(fd, text + i, 1);
        if (i % 16 == 0)
            usleep(300);
    }
    toy_read(fd, 100, &r);
    close(fd);
    assert_int_equal(count(r.text, "HTTP/1.1 200 OK"), 3);
    toy_assert_has(&r, "\r\n\r\nhelloHTTP/1.1");
    toy_assert_has(&r, "\r\n\r\nworldHTTP/1.1");
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    enum { REQUESTS = 200 };
    char *all = calloc(1, REQUESTS * 128), expect[32];
    struct toy_reply r;
    size_t n = 0;
    for (int i = 0; i < REQUESTS; i++)
        n += (size_t)sprintf(all + n, "POST /%s HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\n%04d",
                             i % 50 == 7 ? "later" : "echo", i);
    int fd = toy_connect();
    toy_send(fd, all);
    shutdown(fd, SHUT_WR); /* and all of them are answered although the client half-closed */
    size_t got = 0;
    char *replies = calloc(1, 1 << 20);
    for (ssize_t k; (k = recv(fd, replies + got, (1 << 20) - 1 - got, 0)) > 0;)
        got += (size_t)k;
    close(fd);
    assert_int_equal(count(replies, "HTTP/1.1 200 OK"), REQUESTS);
    const char *at = replies;
    for (int i = 0; i < REQUESTS; i++) {
        snprintf(expect, sizeof(expect), i % 50 == 7 ? "\r\n\r\nlater" : "\r\n\r\n%04d", i);
        at = strstr(at, expect);
        if (!at)
            fail_msg("reply %d is missing or out of order", i);
    }
    (void)r;
    free(all);
    free(replies);
}

static void a_framing_error_ends_a_pipeline(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, GET("/") "POST /echo HTTP/1.1\r\n" HOST
                          "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET("/"));
    toy_read(fd, 2000, &r);
    close(fd);
    assert_int_equal(count(r.text, "HTTP/1.1 200 OK"), 1);
    assert_int_equal(count(r.text, "HTTP/1.1 400 Bad Request"), 1);
    assert_int_equal(count(r.text, "HTTP/1.1"), 2);
    toy_assert_has(&r, "Connection: close");
    toy_assert_has(&r, "\"path\":\"/echo\"");
    assert_true(r.closed && !r.reset);
    assert_int_equal(toy_seen(&toy.requests), 1);
}

static void http_1_0_closes_unless_asked(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, "GET / HTTP/1.0\r\n\r\n");
    toy_read(fd, 1000, &r);
    close(fd);
    assert_true(r.closed);
    toy_assert_has(&r, "Connection: close");
    fd = toy_connect();
    toy_send(fd, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /stream HTTP/1.0\r\n"
                 "Connection: keep-alive\r\n\r\n");
    toy_read(fd, 1000, &r);
    close(fd);
    assert_true(r.closed);
    assert_int_equal(count(r.text, "HTTP/1.1 200 OK"), 2);
    toy_assert_has(&r, "Connection: keep-alive");
    assert_null(strstr(r.text, "chunked"));
    assert_string_equal(r.text + r.len - 23, "\r\n\r\nonetwo two two two!");
}

static void connection_close_is_obeyed(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n" GET("/"));
    toy_read(fd, 1500, &r);
    close(fd);
    assert_true(r.closed && !r.reset);
    assert_int_equal(count(r.text, "HTTP/1.1"), 1);
    toy_assert_has(&r, "Connection: close");
}

static void a_stream_is_chunked(void **state)
{
    (void)state;
    struct toy_reply r;
    toy_ask(GET("/stream"), &r);
    toy_assert_has(&r, "Transfer-Encoding: chunked\r\n");
    assert_string_equal(toy_body(&r), "3\r\none\r\n10\r\ntwo two two two!\r\n0\r\n\r\n");
}

static void an_aborted_stream_has_no_last_chunk(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, GET("/abort"));
    toy_read(fd, 1000, &r);
    close(fd);
    assert_true(r.closed);
    assert_string_equal(toy_body(&r), "4\r\nhalf\r\n");
    toy_await(&toy.overs, 1);
    assert_int_equal(toy_seen(&toy.closed), 0);
}

static void reply_headers_cannot_be_split(void **state)
{
    (void)state;
    struct toy_reply r;
    toy_ask("GET /headers HTTP/1.1\r\n" HOST "X-ASKED:  b c \r\n\r\n", &r);
    toy_assert_has(&r, "X-Good: yes\r\n");
    assert_null(strstr(r.text, "Set-Cookie"));
    assert_null(strstr(r.text, "X-Nul"));
    assert_string_equal(toy_body(&r), "b c");
}

/* ---- bodies that are not wanted -------------------------------------------------------------- */

static void continue_is_sent_when_the_head_is_good(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    toy_read(fd, 100, &r);
    assert_string_equal(r.text, "HTTP/1.1 100 Continue\r\n\r\n");
    toy_send(fd, "hello");
    toy_read_one(fd, &r);
    assert_string_equal(toy_body(&r), "hello");
    close(fd);
}

static void a_refused_head_gets_its_status_at_once(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    toy_read(fd, 1500, &r);
    close(fd);
    toy_assert_status(&r, 401);
    toy_assert_has(&r, "Connection: close");
    assert_int_equal(toy_seen(&toy.requests), 0);
    toy_ask("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: a-pony\r\n\r\n", &r);
    toy_assert_status(&r, 417);
}

static void a_short_refused_body_is_dropped(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nGET /");
    toy_read_one(fd, &r);
    toy_assert_status(&r, 401);
    toy_send(fd, " HTTP" GET("/")); /* five more bytes of that body, then a request */
    toy_read_one(fd, &r);
    toy_assert_status(&r, 200);
    close(fd);
    assert_int_equal(toy_seen(&toy.requests), 1);
    assert_int_equal(toy_seen(&toy.heads), 2);
}

/* The answer must not be lost in a reset while the client still sends. */
static void a_large_refused_body_lingers(void **state)
{
    (void)state;
    struct toy_reply r;
    char block[8192] = {0};
    int fd = toy_connect();
    toy_send(fd, "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 10000000\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        toy_send_bytes(fd, block, sizeof(block));
        usleep(1000);
    }
    toy_read(fd, 1500, &r);
    close(fd);
    toy_assert_status(&r, 401);
    assert_true(r.closed && !r.reset);
    toy_await(&toy.overs, 1);
}

/* ---- clients that leave ---------------------------------------------------------------------- */

static void await_closed(uint64_t since_ms, uint64_t within_ms)
{
    toy_await(&toy.closed, 1);
    uint64_t at = __atomic_load_n(&toy.last_closed_ns, __ATOMIC_SEQ_CST) / FG_NS_PER_MS;
    if (at - since_ms > within_ms)
        fail_msg("noticed after %d ms", (int)(at - since_ms));
}

static void a_client_that_leaves_is_noticed(void **state)
{
    (void)state;
    int fd = toy_connect();
    toy_send(fd, GET("/wait"));
    toy_await(&toy.requests, 1);
    uint64_t now = toy_now_ms();
    close(fd);
    await_closed(now, 50);
    assert_int_equal(fg_http_active(toy.server), 0);
}

static void a_client_that_leaves_with_requests_behind_is_noticed(void **state)
{
    (void)state;
    int fd = toy_connect();
    toy_send(fd, GET("/wait") GET("/") GET("/"));
    toy_await(&toy.requests, 1);
    usleep(20000);
    uint64_t now = toy_now_ms();
    close(fd);
    await_closed(now, 50);
    assert_int_equal(toy_seen(&toy.requests), 1);
}

/* More behind than we read ahead: the FIN lies behind bytes that stay in the kernel. */
static void a_client_that_leaves_behind_unread_bytes_is_noticed(void **state)
{
    (void)state;
    char block[16384];
    memset(block, 'x', sizeof(block));
    int fd = toy_connect();
    toy_send(fd, GET("/wait") "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\n");
    for (int i = 0; i < 6; i++)
        toy_send_bytes(fd, block, sizeof(block));
    toy_await(&toy.requests, 1);
    usleep(20000);
    uint64_t now = toy_now_ms();
    close(fd);
    await_closed(now, 50);
}

static void a_client_that_leaves_a_stream_is_noticed(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, GET("/slow-stream"));
    toy_read(fd, 5, &r);
    uint64_t now = toy_now_ms();
    close(fd);
    await_closed(now, 50);
}

static void a_reset_is_noticed(void **state)
{
    (void)state;
    struct linger hard = {1, 0};
    int fd = toy_connect();
    toy_send(fd, GET("/wait") GET("/"));
    toy_await(&toy.requests, 1);
    uint64_t now = toy_now_ms();
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
    await_closed(now, 50);
}

static void a_client_that_leaves_in_its_body_is_noticed(void **state)
{
    (void)state;
    int fd = toy_connect();
    toy_send(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 50\r\n\r\nhalf");
    toy_await(&toy.heads, 1);
    uint64_t now = toy_now_ms();
    close(fd);
    await_closed(now, 50);
    assert_int_equal(toy_seen(&toy.requests), 0);
}

static void half_close_is_still_answered(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, GET("/later"));
    shutdown(fd, SHUT_WR);
    toy_read(fd, 2000, &r);
    close(fd);
    toy_assert_has(&r, "\r\n\r\nlater");
    assert_true(r.closed && !r.reset);
    assert_int_equal(toy_seen(&toy.closed), 0);
    fd = toy_connect();
    toy_send(fd, "GET /later HTTP/1.0\r\n\r\n");
    shutdown(fd, SHUT_WR);
    toy_read(fd, 2000, &r);
    close(fd);
    toy_assert_status(&r, 200);
    toy_assert_has(&r, "\r\n\r\nlater");
}

/* The question "are you there?" inside a stream must leave its framing legal. */
static void half_close_within_a_stream_keeps_its_framing(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, GET("/slow-stream"));
    toy_read(fd, 5, &r);
    shutdown(fd, SHUT_WR);
    usleep(100000);
    toy_read(fd, 5, &r);
    close(fd);
    assert_true(count(r.text, "\r\nline\n\r\n") > 3);
    for (const char *p = r.text; (p = strstr(p, "\r\nline\n\r\n")); p += 9)
        assert_true(p[-1] == '5' && (p - 1 == r.text || p[-2] == '\n' || p[-2] == '0'));
    toy_await(&toy.closed, 1);
}

/* ---- slow readers ---------------------------------------------------------------------------- */

static void a_slow_reader_pauses_the_stream(void **state)
{
    (void)state;
    enum { BYTES = 40 << 20 };
    char request[100], block[65536];
    int fd = toy_connect_small();
    snprintf(request, sizeof(request), GET("/flood?%d"), BYTES);
    toy_send(fd, request);
    toy_await(&toy.paused, 1);
    usleep(50000);
    assert_int_equal(toy_seen(&toy.drained), 0);
    size_t got = 0;
    char tail[8] = {0};
    for (ssize_t n; (n = recv(fd, block, sizeof(block), 0)) > 0;) {
        got += (size_t)n;
        for (ssize_t i = n < 7 ? 0 : n - 7; i < n; i++) {
            memmove(tail, tail + 1, 6);
            tail[6] = block[i];
        }
        if (memcmp(tail, "\r\n0\r\n\r\n", 7) == 0)
            break;
    }
    close(fd);
    assert_true(got > BYTES);
    assert_true(toy_seen(&toy.drained) >= 1);
    assert_int_equal(toy_seen(&toy.paused), toy_seen(&toy.drained));
    toy_await(&toy.overs, 1);
    assert_int_equal(toy_seen(&toy.closed), 0);
}

static void a_large_reply_goes_out_whole(void **state)
{
    (void)state;
    enum { BYTES = 20 << 20 };
    char request[100], block[65536];
    int fd = toy_connect_small();
    snprintf(request, sizeof(request), "GET /big?%d HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
             BYTES);
    toy_send(fd, request);
    usleep(20000);
    size_t got = 0;
    for (ssize_t n; (n = recv(fd, block, sizeof(block), 0)) > 0;)
        got += (size_t)n;
    close(fd);
    assert_true(got > BYTES && got < BYTES + 1000);
}

/* ---- drain ----------------------------------------------------------------------------------- */

static void drain_lets_the_busy_finish(void **state)
{
    (void)state;
    struct toy_reply r;
    int idle = toy_connect(), busy = toy_connect(), partial = toy_connect();
    toy_send(busy, GET("/later"));
    toy_send(partial, "GET / HTTP/1.1\r\n");
    toy_await(&toy.requests, 1);
    usleep(5000);
    fg_http_drain(toy.server);
    fg_http_drain(toy.server);
    toy_read(idle, 500, &r);
    assert_true(r.closed && r.len == 0);
    toy_read(busy, 500, &r);
    toy_assert_has(&r, "\r\n\r\nlater");
    toy_assert_has(&r, "Connection: close");
    assert_true(r.closed);
    toy_send(partial, HOST "\r\n");
    toy_read(partial, 500, &r);
    toy_assert_status(&r, 200);
    assert_true(r.closed);
    close(idle);
    close(busy);
    close(partial);
    for (int i = 0; i < 100 && fg_http_connections(toy.server); i++)
        usleep(1000);
    assert_int_equal(fg_http_connections(toy.server), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_two, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered),
        TEST(head_sends_the_headers_only),
        TEST(bodies_arrive_whole),
        TEST(requests_may_come_byte_by_byte),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(a_framing_error_ends_a_pipeline),
        TEST(http_1_0_closes_unless_asked),
        TEST(connection_close_is_obeyed),
        TEST(a_stream_is_chunked),
        TEST(an_aborted_stream_has_no_last_chunk),
        TEST(reply_headers_cannot_be_split),
        TEST(continue_is_sent_when_the_head_is_good),
        TEST(a_refused_head_gets_its_status_at_once),
        TEST(a_short_refused_body_is_dropped),
        TEST(a_large_refused_body_lingers),
        TEST(a_client_that_leaves_is_noticed),
        TEST(a_client_that_leaves_with_requests_behind_is_noticed),
        TEST(a_client_that_leaves_behind_unread_bytes_is_noticed),
        TEST(a_client_that_leaves_a_stream_is_noticed),
        TEST(a_reset_is_noticed),
        TEST(a_client_that_leaves_in_its_body_is_noticed),
        TEST(half_close_is_still_answered),
        TEST(half_close_within_a_stream_keeps_its_framing),
        TEST(a_slow_reader_pauses_the_stream),
        TEST(a_large_reply_goes_out_whole),
        TEST(drain_lets_the_busy_finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
