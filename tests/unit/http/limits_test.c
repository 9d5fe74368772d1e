/* Limits and timeouts, with short ones. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "toy.h"
#include "util/clock.h"

#define HOST "Host: localhost\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

static const struct fg_conf_limits standard = {.connections = 40,
                                               .connections_per_address = 30,
                                               .head_bytes = 4096,
                                               .request_line_bytes = 1024,
                                               .header_count = 20,
                                               .body_bytes = 100000,
                                               .head_timeout_ms = 200,
                                               .idle_timeout_ms = 300,
                                               .body_idle_timeout_ms = 200,
                                               .write_timeout_ms = 200,
                                               .unsent_bytes = 65536};

static int open_one(void **state)
{
    (void)state;
    toy_open(&standard, 1);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    toy_close();
    return 0;
}

/* Reads to the end; how long that took from now. */
static uint64_t read_to_end(int fd, struct toy_reply *r)
{
    uint64_t from = toy_now_ms();
    toy_read(fd, 2000, r);
    close(fd);
    assert_true(r->closed);
    return toy_now_ms() - from;
}

static void an_idle_connection_is_closed(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    uint64_t ms = read_to_end(fd, &r);
    assert_int_equal(r.len, 0);
    assert_in_range(ms, 280, 600);
    fd = toy_connect(); /* the same after a request */
    toy_send(fd, GET("/"));
    toy_read_one(fd, &r);
    ms = read_to_end(fd, &r);
    assert_int_equal(r.len, 0);
    assert_in_range(ms, 280, 600);
}

static void the_head_has_one_deadline_not_one_a_byte(void **state)
{
    (void)state;
    struct toy_reply r;
    uint64_t from = toy_now_ms();
    int fd = toy_connect();
    toy_send(fd, "GET /x/y HTTP/1.1\r\n");
    for (int i = 0; i < 7; i++) {
        usleep(40000);
        toy_send(fd, "a");
    }
    (void)read_to_end(fd, &r);
    toy_assert_status(&r, 408);
    toy_assert_has(&r, "\"path\":\"/x/y\"");
    assert_in_range(toy_now_ms() - from, 180, 1600);
    assert_int_equal(toy_seen(&toy.heads), 0);
}

static void a_body_must_make_progress(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhe");
    (void)read_to_end(fd, &r);
    toy_assert_status(&r, 408);
    toy_assert_has(&r, "\"path\":\"/echo\"");
    toy_await(&toy.closed, 1);
    assert_int_equal(toy_seen(&toy.requests), 0);
}

/* Bytes that come, but fewer than 500 a second. */
static void a_body_must_keep_a_rate(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5000\r\n\r\n");
    for (int i = 0; i < 10 && !toy_seen(&toy.closed); i++) {
        usleep(50000);
        toy_send(fd, "a");
    }
    (void)read_to_end(fd, &r);
    toy_assert_status(&r, 408);
    toy_await(&toy.closed, 1);
}

static void too_large_a_body_is_told_at_once(void **state)
{
    (void)state;
    struct toy_reply r;
    int fd = toy_connect();
    toy_send(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100001\r\n\r\n");
    toy_read(fd, 100, &r);
    toy_assert_status(&r, 413);
    assert_int_equal(toy_seen(&toy.heads), 0);
    close(fd);
    toy_ask("POST /echo HTTP/1.1\r\n" HOST
            "Content-Length: 1111111111111111111111111111111111111111\r\n\r\n", &r);
    toy_assert_status(&r, 413);
    toy_ask("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100001\r\nExpect: 100-continue\r\n\r\n",
            &r);
    toy_assert_status(&r, 413);
}

/* The whole body is on its way: the answer comes through, and then the end, not a reset. */
static void a_413_survives_what_is_still_sent(void **state)
{
    (void)state;
    struct toy_reply r;
    char block[8192] = {0};
    for (int chunked = 0; chunked < 2; chunked++) {
        int fd = toy_connect();
        toy_send(fd, chunked ? "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                             : "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 200000\r\n\r\n");
        for (int i = 0; i < 24; i++) {
            toy_send(fd, chunked ? "2000\r\n" : "");
            toy_send_bytes(fd, block, sizeof(block));
            toy_send(fd, chunked ? "\r\n" : "");
            usleep(2000);
        }
        (void)read_to_end(fd, &r);
        toy_assert_status(&r, 413);
        assert_false(r.reset);
    }
    toy_await(&toy.closed, 1); /* only the chunked one had begun */
}

static void lingering_ends(void **state)
{
    (void)state;
    uint64_t from = toy_now_ms();
    int fd = toy_connect();
    toy_send(fd, "nonsense\r\n\r\n");
    usleep(20000);
    while (toy_now_ms() - from < 3000 && fg_http_connections(toy.server) > 0) {
        toy_send(fd, "x");
        usleep(20000);
    }
    close(fd);
    assert_in_range(toy_now_ms() - from, 900, 1800);
}

static void heads_are_bounded(void **state)
{
    (void)state;
    struct toy_reply r;
    char text[8192];
    snprintf(text, sizeof(text), "GET /%02000d HTTP/1.1\r\n" HOST "\r\n", 0);
    toy_ask(text, &r);
    toy_assert_status(&r, 414);
    snprintf(text, sizeof(text), "GET /p HTTP/1.1\r\n" HOST "A: %05000d\r\n\r\n", 0);
    toy_ask(text, &r);
    toy_assert_status(&r, 431);
    toy_assert_has(&r, "\"path\":\"/p\"");
    size_t n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 20; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "A%d: b\r\n", i);
    snprintf(text + n, sizeof(text) - n, "\r\n");
    toy_ask(text, &r);
    toy_assert_status(&r, 431);
}

static void a_client_that_never_reads_is_cut(void **state)
{
    (void)state;
    int fd = toy_connect_small();
    toy_send(fd, GET("/flood?100000000"));
    toy_await(&toy.paused, 1);
    uint64_t from = toy_now_ms();
    toy_await(&toy.closed, 1);
    assert_in_range(toy_now_ms() - from, 100, 900);
    assert_int_equal(toy_seen(&toy.drained), 0);
    close(fd);
}

static void a_handler_that_does_not_pause_is_cut(void **state)
{
    (void)state;
    int fd = toy_connect_small();
    toy_send(fd, GET("/rude"));
    toy_await(&toy.closed, 1);
    close(fd);
}

static void a_slow_but_steady_reader_is_not_cut(void **state)
{
    (void)state;
    char block[65536];
    int fd = toy_connect_small();
    toy_send(fd, GET("/flood?3000000"));
    size_t got = 0;
    uint64_t from = toy_now_ms();
    while (got < 3000000) {
        ssize_t n = recv(fd, block, sizeof(block), 0);
        if (n <= 0)
            fail_msg("cut after %zu bytes", got);
        got += (size_t)n;
        if (toy_now_ms() - from < 700)
            usleep(10000);
    }
    assert_true(toy_now_ms() - from >= 700);
    close(fd);
}

static void one_address_has_a_limit(void **state)
{
    (void)state;
    struct toy_reply r;
    int fds[30];
    for (int i = 0; i < 30; i++)
        fds[i] = toy_connect();
    int extra = toy_connect();
    toy_send(extra, GET("/"));
    toy_read(extra, 200, &r);
    toy_assert_status(&r, 503);
    toy_assert_has(&r, "Retry-After: 1");
    assert_true(r.closed);
    close(extra);
    for (int i = 0; i < 500 && fg_http_connections(toy.server) > 30; i++)
        usleep(10000); /* the server sees it leave a moment later */
    assert_int_equal(fg_http_connections(toy.server), 30);
    close(fds[0]);
    for (int i = 0; i < 500 && fg_http_connections(toy.server) > 29; i++)
        usleep(10000);
    toy_ask(GET("/"), &r);
    toy_assert_status(&r, 200);
    for (int i = 1; i < 30; i++)
        close(fds[i]);
}

/* Accepting pauses and goes on by itself when descriptors are there again. */
static void no_descriptors_is_not_the_end(void **state)
{
    (void)state;
    struct rlimit old, low;
    struct toy_reply r;
    struct timespec before, after;
    int fd = toy_connect(); /* ours is open before the limit falls */
    toy_send(fd, GET("/"));
    toy_read_one(fd, &r);
    int waiting = socket(AF_INET, SOCK_STREAM, 0);
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(toy.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(waiting, (struct sockaddr *)&to, sizeof(to)), 0);
    toy_send(waiting, GET("/"));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    toy_read(waiting, 250, &r);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    setrlimit(RLIMIT_NOFILE, &old);
    assert_int_equal(r.len, 0);
    int64_t cpu_ms = (after.tv_sec - before.tv_sec) * 1000 +
                     (after.tv_nsec - before.tv_nsec) / 1000000;
    assert_true(cpu_ms < 100); /* it did not spin */
    toy_read_one(waiting, &r);
    toy_assert_status(&r, 200);
    close(waiting);
    close(fd);
}

static void a_taken_port_is_one_clear_error(void **state)
{
    (void)state;
    static char address[] = "127.0.0.1";
    struct fg_conf_listen listen = {.address = address, .port = toy.port};
    struct fg_conf conf = {.listen = &listen, .listen_count = 1};
    for (uint32_t workers = 1; workers <= 2; workers++) {
        struct fg_worker *w[2];
        struct fg_http_server *server = NULL;
        struct fg_error err = {0};
        char text[32];
        for (uint32_t i = 0; i < workers; i++)
            assert_int_equal(fg_worker_open(i, &w[i], NULL), FG_OK);
        static const struct fg_http_handler none;
        assert_int_not_equal(fg_http_open(&conf, &none, w, workers, &server, &err), FG_OK);
        snprintf(text, sizeof(text), "127.0.0.1:%u is taken", toy.port);
        assert_non_null(strstr(err.text, text));
        assert_non_null(strstr(err.text, "Ollama"));
        assert_non_null(strstr(err.text, "FLUXGATE_PORT"));
        assert_null(server);
        for (uint32_t i = 0; i < workers; i++)
            fg_worker_close(w[i]);
    }
}

static void many_small_chunks_are_taken_quickly(void **state)
{
    (void)state;
    enum { CHUNKS = 90000 };
    struct toy_reply r;
    char *text = malloc(CHUNKS * 6);
    for (int i = 0; i < CHUNKS; i++)
        memcpy(text + i * 6, "1\r\nx\r\n", 6);
    uint64_t from = toy_now_ms();
    int fd = toy_connect();
    toy_send(fd, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    toy_send_bytes(fd, text, CHUNKS * 6);
    toy_send(fd, "0\r\n\r\n");
    toy_read_one(fd, &r);
    close(fd);
    free(text);
    toy_assert_status(&r, 200);
    assert_int_equal(__atomic_load_n(&toy.body_bytes, __ATOMIC_SEQ_CST), CHUNKS);
    assert_true(toy_now_ms() - from < 3000);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_one, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_idle_connection_is_closed),
        TEST(the_head_has_one_deadline_not_one_a_byte),
        TEST(a_body_must_make_progress),
        TEST(a_body_must_keep_a_rate),
        TEST(too_large_a_body_is_told_at_once),
        TEST(a_413_survives_what_is_still_sent),
        TEST(lingering_ends),
        TEST(heads_are_bounded),
        TEST(a_client_that_never_reads_is_cut),
        TEST(a_handler_that_does_not_pause_is_cut),
        TEST(a_slow_but_steady_reader_is_not_cut),
        TEST(one_address_has_a_limit),
        TEST(no_descriptors_is_not_the_end),
        TEST(a_taken_port_is_one_clear_error),
        TEST(many_small_chunks_are_taken_quickly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
