/*
 * A whole connection: the input is what a client sends, in pieces; a piece ends at the byte 0xFE,
 * and 0xFF half-closes. The server's loop turns in between on this thread. However it goes, each
 * exchange that began is told over once, and no connection is left.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/inner.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fg_worker *worker;
static struct fg_http_server *server;
static struct fg_exchange *waiting;
static uint32_t heads, overs;

static void check(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static void on_head(void *ctx, struct fg_exchange *x)
{
    (void)ctx;
    heads++;
    if (fg_str_is(fg_exchange_request(x)->path, "/r"))
        fg_exchange_reply(x, 401, NULL, FG_STR(""));
}

static void on_request(void *ctx, struct fg_exchange *x)
{
    (void)ctx;
    const struct fg_http_request *r = fg_exchange_request(x);
    struct fg_str path = r->path;
    check(r->content_length == 0 || r->body.len == r->content_length, "the body is not whole");
    if (fg_str_is(path, "/s")) {
        fg_exchange_begin(x, 200, "a/b");
        fg_exchange_write(x, FG_STR("data"));
        fg_exchange_end(x);
    } else if (fg_str_is(path, "/a")) {
        fg_exchange_begin(x, 200, "a/b");
        fg_exchange_abort(x);
    } else if (fg_str_is(path, "/w")) {
        waiting = x;
    } else if (fg_str_is(path, "/l")) {
        static char block[40000];
        fg_exchange_reply(x, 200, "a/b", (struct fg_str){block, sizeof(block)});
    } else {
        fg_exchange_set_header(x, "x", path);
        fg_exchange_reply(x, 200, "a/b", r->body);
    }
}

static void on_over(void *ctx, struct fg_exchange *x, bool closed)
{
    (void)ctx, (void)closed;
    overs++;
    if (waiting == x)
        waiting = NULL;
}

static void on_drained(void *ctx, struct fg_exchange *x)
{
    (void)ctx, (void)x;
}

static void on_refusal(void *ctx, int status, struct fg_str path, const char *message,
                       struct fg_buf *body)
{
    (void)ctx;
    fg_buf_printf(body, "%d %.*s %s", status, FG_STR_ARG(path), message);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    static const struct fg_http_handler handler = {.head = on_head, .request = on_request,
                                                   .over = on_over, .drained = on_drained,
                                                   .refusal = on_refusal};
    static const struct fg_conf conf = {.limits = {.head_bytes = 1000, .request_line_bytes = 300,
                                                   .header_count = 10, .body_bytes = 100000}};
    signal(SIGPIPE, SIG_IGN);
    check(fg_worker_open(0, &worker, NULL) == FG_OK, "no worker");
    check(fg_http_open(&conf, &handler, &worker, 1, &server, NULL) == FG_OK, "no server");
    return 0;
}

static void turn(int client)
{
    char sink[65536];
    for (int i = 0; i < 4; i++)
        event_base_loop(fg_worker_base(worker), EVLOOP_NONBLOCK);
    while (recv(client, sink, sizeof(sink), MSG_DONTWAIT) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fg_address address;
    struct fg_loop *l = server->loops[0];
    int ends[2];
    heads = overs = 0;
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0, "no sockets");
    __atomic_fetch_add(&server->connections, 1, __ATOMIC_RELAXED);
    check(fg_addresses_enter(server->addresses, &address), "no address");
    fg_loop_enter(l);
    check(fg_conn_open(l, ends[0], &address, "peer"), "no connection");
    for (size_t at = 0; at < size;) {
        size_t n = 0;
        while (at + n < size && data[at + n] < 0xFE)
            n++;
        ssize_t sent = send(ends[1], data + at, n, MSG_NOSIGNAL);
        (void)sent;
        at += n;
        if (at < size && data[at++] == 0xFF)
            shutdown(ends[1], SHUT_WR);
        turn(ends[1]);
        if (waiting && at % 3 == 0)
            fg_exchange_reply(waiting, 200, NULL, FG_STR(""));
    }
    turn(ends[1]);
    close(ends[1]);
    for (int i = 0; i < 20 && server->connections; i++)
        event_base_loop(fg_worker_base(worker), EVLOOP_NONBLOCK);
    if (waiting) { /* a Unix socket has no reset to notice */
        fg_exchange_abort(waiting);
        for (int i = 0; i < 20 && server->connections; i++)
            event_base_loop(fg_worker_base(worker), EVLOOP_NONBLOCK);
    }
    check(server->connections == 0, "a connection is left");
    check(server->active == 0 && heads == overs, "an exchange was not told over");
    return 0;
}
