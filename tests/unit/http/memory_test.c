/* The n-th allocation fails, for every n: a request or a connection is lost, never the server. The
 * loop turns on this thread, over one end of a socket pair. */
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

#include "http/inner.h"

#define HOST "Host: localhost\r\n"

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);

static int countdown = -1; /* allocations until one fails; negative: none does */

static bool fails(void)
{
    return countdown >= 0 && countdown-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

static struct fg_worker *worker;
static struct fg_http_server *server;
static uint32_t heads, overs;

static void on_head(void *ctx, struct fg_exchange *x)
{
    (void)ctx, (void)x;
    heads++;
}

static void on_request(void *ctx, struct fg_exchange *x)
{
    (void)ctx;
    static const char block[6000] = {0};
    struct fg_str big = {block, sizeof(block)};
    fg_exchange_set_header(x, "x-one", FG_STR("1"));
    fg_exchange_set_header(x, "x-big", (struct fg_str){"", 0});
    if (fg_str_is(fg_exchange_request(x)->path, "/stream")) {
        fg_exchange_begin(x, 200, "a/b");
        for (int i = 0; i < 5; i++)
            fg_exchange_write(x, big);
        fg_exchange_end(x);
    } else {
        fg_exchange_reply(x, 200, "a/b", fg_exchange_request(x)->body);
    }
}

static void on_over(void *ctx, struct fg_exchange *x, bool closed)
{
    (void)ctx, (void)x, (void)closed;
    overs++;
}

static void on_drained(void *ctx, struct fg_exchange *x)
{
    (void)ctx, (void)x;
}

static void on_refusal(void *ctx, int status, struct fg_str path, const char *message,
                       struct fg_buf *body)
{
    (void)ctx, (void)path;
    fg_buf_printf(body, "%d %s", status, message);
}

static size_t turn(int client)
{
    static char sink[65536];
    size_t got = 0;
    for (int i = 0; i < 3; i++) {
        event_base_loop(fg_worker_base(worker), EVLOOP_NONBLOCK);
        for (ssize_t n; (n = recv(client, sink, sizeof(sink), MSG_DONTWAIT)) > 0;)
            got += (size_t)n;
    }
    return got;
}

/* What a client sends, in pieces that make every kind of buffer grow; bytes that came back. */
static size_t session(void)
{
    static const char *const pieces[] = {
        "GET /a%2Fb//c HTTP/1.1\r\nHo",
        "st: localhost\r\n\r\nPOST / HTTP/1.1\r\n" HOST "Content-Length: 20000\r\n\r\n",
        NULL, /* 20000 bytes */
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n4e20\r\n",
        NULL,
        "\r\n0\r\n\r\nGET /stream HTTP/1.1\r\n" HOST "\r\nGET / HTTP/1.1\r\n" HOST "\r\nGET /",
        " HTTP/1.1\r\nbad\r\n\r\n",
    };
    static const struct fg_address address;
    static char block[20000];
    struct fg_loop *l = server->loops[0];
    int ends[2];
    size_t got = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    if (!fg_addresses_enter(server->addresses, &address)) {
        close(ends[0]);
        close(ends[1]);
        return 0;
    }
    __atomic_fetch_add(&server->connections, 1, __ATOMIC_RELAXED);
    fg_loop_enter(l);
    if (!fg_conn_open(l, ends[0], &address, "peer")) {
        fg_addresses_leave(server->addresses, &address);
        __atomic_fetch_sub(&server->connections, 1, __ATOMIC_RELAXED);
        close(ends[0]);
        close(ends[1]);
        return 0;
    }
    for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
        const char *data = pieces[i] ? pieces[i] : block;
        ssize_t n = send(ends[1], data, pieces[i] ? strlen(data) : sizeof(block), MSG_NOSIGNAL);
        (void)n;
        got += turn(ends[1]);
    }
    close(ends[1]);
    turn(-1);
    return got;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const struct fg_http_handler handler = {.head = on_head, .request = on_request,
                                                   .over = on_over, .drained = on_drained,
                                                   .refusal = on_refusal};
    static const struct fg_conf conf = {0};
    assert_int_equal(fg_worker_open(0, &worker, NULL), FG_OK);
    assert_int_equal(fg_http_open(&conf, &handler, &worker, 1, &server, NULL), FG_OK);
    size_t whole = session();
    assert_int_equal(heads, 5);
    int reached = 0;
    for (bool struck = true; struck; reached++) {
        /* The pool of blocks would hide allocations. */
        struct fg_loop *l = server->loops[0];
        while (l->block_count)
            free(l->blocks[--l->block_count]);
        countdown = reached;
        (void)session();
        struck = countdown < 0;
        countdown = -1;
        assert_int_equal(server->connections, 0);
        assert_int_equal(server->active, 0);
        assert_int_equal(heads, overs);
        size_t again = session(); /* and the next client is served as ever */
        if (again != whole)
            fail_msg("after failure %d: %zu bytes came, not %zu", reached, again, whole);
    }
    assert_true(reached > 15);
    fg_http_close(server);
    fg_worker_close(worker);
}

/* Opening fails with a message, whichever allocation it is. */
static void opening_may_fail(void **state)
{
    (void)state;
    static const struct fg_http_handler handler = {.head = on_head};
    static char address[] = "127.0.0.1";
    struct fg_conf_listen listen = {.address = address};
    struct fg_conf conf = {.listen = &listen, .listen_count = 1};
    int32_t rc = FG_NO_MEMORY;
    for (int n = 0; rc != FG_OK; n++) {
        struct fg_error err = {0};
        assert_int_equal(fg_worker_open(0, &worker, NULL), FG_OK);
        countdown = n;
        rc = fg_http_open(&conf, &handler, &worker, 1, &server, &err);
        countdown = -1;
        if (rc == FG_OK)
            fg_http_close(server);
        else
            assert_true(err.text[0] != '\0');
        fg_worker_close(worker);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(opening_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
