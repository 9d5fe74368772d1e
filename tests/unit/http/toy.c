/* See toy.h. */
#include "toy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/clock.h"
#include "util/error.h"

struct toy toy;

struct visit { /* a toy's work on one exchange */
    struct fg_exchange *x;
    struct event *timer;
    uint64_t left;
    bool is_paused;
};

static void add(uint32_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
}

uint32_t toy_seen(const uint32_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static void pour(struct visit *v)
{
    static const char block[1000] = {0};
    while (v->left && !v->is_paused) {
        size_t n = v->left < sizeof(block) ? (size_t)v->left : sizeof(block);
        int32_t flow = fg_exchange_write(v->x, (struct fg_str){block, n});
        v->left -= n;
        if (flow == FG_FLOW_PAUSE) {
            v->is_paused = true;
            add(&toy.paused);
        } else if (flow == FG_FLOW_STOP) {
            add(&toy.stopped);
            return;
        }
    }
    if (v->left == 0)
        fg_exchange_end(v->x);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct visit *v = arg;
    if (!fg_exchange_begun(v->x)) {
        fg_exchange_reply(v->x, 200, "text/plain", FG_STR("later"));
    } else if (v->left) {
        static char block[64 * 1024];
        if (fg_exchange_write(v->x, (struct fg_str){block, sizeof(block)}) == FG_FLOW_STOP)
            add(&toy.stopped);
    } else {
        fg_exchange_write(v->x, FG_STR("line\n"));
    }
}

static void start_timer(struct visit *v, int ms, bool again)
{
    struct timeval tv = {0, ms * 1000};
    struct event_base *base = fg_worker_base(fg_exchange_worker(v->x));
    v->timer = event_new(base, -1, again ? EV_PERSIST : 0, on_timer, v);
    event_add(v->timer, &tv);
}

static void on_head(void *ctx, struct fg_exchange *x)
{
    (void)ctx;
    const struct fg_http_request *r = fg_exchange_request(x);
    struct visit *v = calloc(1, sizeof(*v));
    v->x = x;
    fg_exchange_set_user(x, v);
    add(&toy.heads);
    if (fg_str_is(r->path, "/refuse"))
        fg_exchange_reply(x, 401, "text/plain", FG_STR("no"));
}

static void reply_headers(struct fg_exchange *x)
{
    fg_exchange_set_header(x, "X-Good", FG_STR("yes"));
    fg_exchange_set_header(x, "X-Bad", FG_STR("a\r\nSet-Cookie: b"));
    fg_exchange_set_header(x, "X-Nul", FG_STR("a\0b"));
    fg_exchange_reply(x, 200, "text/plain", fg_exchange_header(x, "x-asked"));
}

static void on_request(void *ctx, struct fg_exchange *x)
{
    (void)ctx;
    const struct fg_http_request *r = fg_exchange_request(x);
    struct visit *v = fg_exchange_user(x);
    uint64_t number = 0;
    add(&toy.requests);
    __atomic_store_n(&toy.body_bytes, r->body.len, __ATOMIC_SEQ_CST);
    fg_str_u64(r->query, &number);
    if (fg_str_is(r->path, "/echo")) {
        fg_exchange_reply(x, 200, "text/plain", r->body);
    } else if (fg_str_is(r->path, "/wait")) {
        /* nothing, ever */
    } else if (fg_str_is(r->path, "/later")) {
        start_timer(v, 30, false);
    } else if (fg_str_is(r->path, "/slow-stream") || fg_str_is(r->path, "/rude")) {
        v->left = fg_str_is(r->path, "/rude");
        fg_exchange_begin(x, 200, "text/event-stream");
        start_timer(v, 10, true);
    } else if (fg_str_is(r->path, "/flood")) {
        v->left = number;
        fg_exchange_begin(x, 200, "application/octet-stream");
        pour(v);
    } else if (fg_str_is(r->path, "/big")) {
        char *block = calloc(1, number ? number : 1);
        fg_exchange_reply(x, 200, "application/octet-stream", (struct fg_str){block, number});
        free(block);
    } else if (fg_str_is(r->path, "/abort")) {
        fg_exchange_begin(x, 200, "text/event-stream");
        fg_exchange_write(x, FG_STR("half"));
        fg_exchange_abort(x);
    } else if (fg_str_is(r->path, "/stream")) {
        fg_exchange_begin(x, 200, "text/event-stream");
        fg_exchange_write(x, FG_STR("one"));
        fg_exchange_write(x, FG_STR(""));
        fg_exchange_write(x, FG_STR("two two two two!"));
        fg_exchange_end(x);
    } else if (fg_str_is(r->path, "/headers")) {
        reply_headers(x);
    } else {
        fg_exchange_reply(x, 200, "text/plain", FG_STR("ok"));
    }
}

static void on_over(void *ctx, struct fg_exchange *x, bool closed)
{
    (void)ctx;
    struct visit *v = fg_exchange_user(x);
    if (v->timer)
        event_free(v->timer);
    free(v);
    if (closed) {
        __atomic_store_n(&toy.last_closed_ns, fg_clock_ns(), __ATOMIC_SEQ_CST);
        add(&toy.closed);
    }
    add(&toy.overs);
}

static void on_drained(void *ctx, struct fg_exchange *x)
{
    (void)ctx;
    struct visit *v = fg_exchange_user(x);
    add(&toy.drained);
    if (v->is_paused) {
        v->is_paused = false;
        pour(v);
    }
}

static void on_refusal(void *ctx, int status, struct fg_str path, const char *message,
                       struct fg_buf *body)
{
    (void)ctx;
    fg_buf_printf(body, "{\"status\":%d,\"path\":\"%.*s\",\"message\":\"%s\"}", status,
                  FG_STR_ARG(path), message);
}

static const struct fg_http_handler handler = {.head = on_head,
                                               .request = on_request,
                                               .over = on_over,
                                               .drained = on_drained,
                                               .refusal = on_refusal};

void toy_open(const struct fg_conf_limits *limits, uint32_t workers)
{
    static char address[] = "127.0.0.1";
    struct fg_conf_listen listen = {.address = address};
    struct fg_conf conf = {.listen = &listen, .listen_count = 1};
    struct fg_error err = {0};
    memset(&toy, 0, sizeof(toy));
    if (limits)
        conf.limits = *limits;
    toy.worker_count = workers;
    for (uint32_t i = 0; i < workers; i++)
        assert_int_equal(fg_worker_open(i, &toy.workers[i], &err), FG_OK);
    if (fg_http_open(&conf, &handler, toy.workers, workers, &toy.server, &err) != FG_OK)
        fail_msg("%s", err.text);
    for (uint32_t i = 0; i < workers; i++)
        assert_int_equal(fg_worker_start(toy.workers[i], &err), FG_OK);
    toy.port = fg_http_port(toy.server, 0);
    assert_true(toy.port != 0);
}

/* Whatever a test left open must be told over. */
void toy_close(void)
{
    for (uint32_t i = 0; i < toy.worker_count; i++)
        fg_worker_join(toy.workers[i]);
    fg_http_close(toy.server);
    for (uint32_t i = 0; i < toy.worker_count; i++)
        fg_worker_close(toy.workers[i]);
    assert_int_equal(toy.overs, toy.heads);
}

void toy_await(const uint32_t *counter, uint32_t value)
{
    for (int i = 0; i < 2000 && toy_seen(counter) < value; i++)
        usleep(500);
    assert_int_equal(toy_seen(counter), value);
}

uint64_t toy_now_ms(void)
{
    return fg_clock_ns() / FG_NS_PER_MS;
}

/* ---- the client's side ----------------------------------------------------------------------- */

static int connect_with(int receive_bytes)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(toy.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (receive_bytes)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

int toy_connect(void)
{
    return connect_with(0);
}

int toy_connect_small(void)
{
    return connect_with(4096);
}

void toy_send_bytes(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the server cut it: the test looks at the reply */
        p += n;
        len -= (size_t)n;
    }
}

void toy_send(int fd, const char *text)
{
    toy_send_bytes(fd, text, strlen(text));
}

/* Some more bytes; false at the end or after ms. */
static bool read_some(int fd, int ms, struct toy_reply *r)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char spare[16384];
    if (poll(&p, 1, ms) <= 0)
        return false;
    size_t room = sizeof(r->text) - 1 - r->len;
    ssize_t n = recv(fd, room ? r->text + r->len : spare, room ? room : sizeof(spare), 0);
    if (n > 0 && room) {
        r->len += (size_t)n;
        r->text[r->len] = '\0';
    }
    r->closed |= n <= 0;
    r->reset |= n < 0;
    return n > 0;
}

void toy_read(int fd, int ms, struct toy_reply *r)
{
    memset(r, 0, sizeof(*r));
    while (read_some(fd, ms, r))
        ;
}

static bool is_whole(const struct toy_reply *r)
{
    const char *end = strstr(r->text, "\r\n\r\n");
    if (!end)
        return false;
    const char *length = strstr(r->text, "Content-Length: ");
    if (length && length < end)
        return r->len >= (size_t)(end + 4 - r->text) + strtoul(length + 16, NULL, 10);
    const char *chunked = strstr(r->text, "chunked\r\n");
    return !chunked || chunked > end || strstr(end, "\r\n0\r\n\r\n") != NULL;
}

void toy_read_one(int fd, struct toy_reply *r)
{
    memset(r, 0, sizeof(*r));
    while (!is_whole(r) && read_some(fd, 2000, r))
        ;
}

int toy_status(const struct toy_reply *r)
{
    return strncmp(r->text, "HTTP/1.1 ", 9) == 0 ? (int)strtol(r->text + 9, NULL, 10) : 0;
}

const char *toy_body(const struct toy_reply *r)
{
    const char *end = strstr(r->text, "\r\n\r\n");
    return end ? end + 4 : "";
}

void toy_ask(const char *request, struct toy_reply *r)
{
    int fd = toy_connect();
    toy_send(fd, request);
    toy_read_one(fd, r);
    close(fd);
}
