/*
 * http/server.c - the server's life: one loop a worker with its listeners, accepting within the
 * limits, draining, counting. Connections belong to conn.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/inner.h"
#include "obs/log.h"
#include "obs/metrics.h"
#include "util/clock.h"
#include "util/error.h"

enum {
    ACCEPTS_A_TURN = 64,
    RESERVED_FDS = 64,
    ACCEPT_PAUSE_MS = 100,
    LINGER_MS = 1000,
};

/* ---- accepting ------------------------------------------------------------------------------ */

/* A short answer to a connection that is one too many; best effort, no waiting. */
static void turn_away(struct fg_loop *l, int fd, const char *message)
{
    const struct fg_http_handler *h = l->server->handler;
    struct fg_buf body = {.limit = 2048}, text = {.limit = 4096};
    char sink[4096], id[29];
    fg_request_id(l, id);
    h->refusal(h->ctx, 503, FG_STR(""), message, &body);
    fg_buf_printf(&text,
                  "HTTP/1.1 503 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                  "Retry-After: 1\r\nx-request-id: %s\r\nConnection: close\r\n\r\n%.*s",
                  fg_status_text(503), body.len, id, FG_STR_ARG(fg_buf_str(&body)));
    ssize_t n = send(fd, text.ptr, text.len, MSG_NOSIGNAL);
    (void)n;
    shutdown(fd, SHUT_WR);
    n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT); /* unread bytes would make a reset of the close */
    close(fd);
    fg_buf_done(&body);
    fg_buf_done(&text);
}

static void admit(struct fg_loop *l, int fd, const struct fg_address *address, const char *peer)
{
    struct fg_http_server *s = l->server;
    uint32_t open = __atomic_add_fetch(&s->connections, 1, __ATOMIC_RELAXED);
    if (open > s->connection_limit) {
        FG_COUNT("fluxgate_http_connection_limit_total",
                 "Connections turned away because too many are open.");
        turn_away(l, fd, "too many connections");
    } else if (!fg_addresses_enter(s->addresses, address)) {
        FG_COUNT("fluxgate_http_address_limit_total",
                 "Connections turned away because too many of their address are open.");
        turn_away(l, fd, "too many connections from this address");
    } else if (!fg_conn_open(l, fd, address, peer)) {
        fg_addresses_leave(s->addresses, address);
        close(fd);
    } else {
        fg_metric_add(s->open_connections, 1);
        return;
    }
    __atomic_fetch_sub(&s->connections, 1, __ATOMIC_RELAXED);
}

static void pause_accept(struct fg_loop *l, int error)
{
    static const struct timeval wait = {0, ACCEPT_PAUSE_MS * 1000};
    FG_COUNT("fluxgate_http_accept_pauses_total",
             "Times accepting paused because descriptors or memory were gone.");
    fg_log(FG_LOG_WARN, "accept_paused", "worker=%u errno=%d ms=%d", fg_worker_index(l->worker),
           error, ACCEPT_PAUSE_MS);
    for (uint32_t i = 0; i < l->server->listen_count; i++)
        event_del(&l->listeners[i].event);
    evtimer_add(&l->wait_accept, &wait);
}

static void accept_some(struct fg_listener *listener, int most)
{
    for (int i = 0; i < most; i++) {
        struct fg_address address;
        char peer[FG_PEER_BYTES];
        int fd = fg_accept(listener->fd, &address, peer, sizeof(peer));
        if (fd >= 0) {
            admit(listener->loop, fd, &address, peer);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accept(listener->loop, errno);
        else if (errno == EINTR || errno == ECONNABORTED)
            continue;
        return;
    }
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_listener *listener = arg;
    fg_loop_enter(listener->loop);
    accept_some(listener, ACCEPTS_A_TURN);
    fg_loop_leave(listener->loop);
}

static void on_accept_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_loop *l = arg;
    for (uint32_t i = 0; !l->is_draining && i < l->server->listen_count; i++)
        event_add(&l->listeners[i].event, NULL);
}

/* ---- turns ---------------------------------------------------------------------------------- */

/* The end of a turn: what handlers wrote from outside a callback of the connection. */
static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_loop *l = arg;
    struct fg_list now;
    fg_loop_enter(l);
    fg_list_init(&now);
    fg_list_take(&now, &l->dirty);
    l->has_flush = false;
    for (struct fg_list *node; (node = fg_list_pop(&now));)
        fg_conn_advance(FG_CONTAINER(node, struct fg_conn, dirty));
    fg_loop_leave(l);
}

static void on_repeat(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_loop *l = arg;
    struct fg_list now;
    fg_loop_enter(l);
    fg_list_init(&now);
    fg_list_take(&now, &l->again);
    l->has_repeat = false;
    for (struct fg_list *node; (node = fg_list_pop(&now));)
        fg_conn_advance(FG_CONTAINER(node, struct fg_conn, again));
    fg_loop_leave(l);
}

/* ---- drain ---------------------------------------------------------------------------------- */

static void drain_loop(struct fg_task *task)
{
    struct fg_drain *d = FG_CONTAINER(task, struct fg_drain, task);
    struct fg_loop *l = d->loop;
    free(d);
    if (!l)
        return;
    l->drain = NULL;
    fg_loop_enter(l);
    for (uint32_t i = 0; i < l->server->listen_count; i++) {
        struct fg_listener *listener = &l->listeners[i];
        accept_some(listener, ACCEPTS_A_TURN); /* they were told they are connected */
        event_del(&listener->event);
        close(listener->fd);
        listener->fd = -1;
    }
    l->is_draining = true;
    event_del(&l->wait_accept);
    FG_LIST_EACH(node, safe, &l->conns)
        fg_conn_drain(FG_CONTAINER(node, struct fg_conn, all));
    fg_loop_leave(l);
}

void fg_http_drain(struct fg_http_server *s)
{
    if (__atomic_exchange_n(&s->draining, 1, __ATOMIC_SEQ_CST))
        return;
    for (uint32_t i = 0; i < s->loop_count; i++)
        if (!fg_worker_post(s->loops[i]->worker, &s->loops[i]->drain->task))
            s->loops[i]->is_gone = true;
}

uint32_t fg_http_active(const struct fg_http_server *s)
{
    return __atomic_load_n(&s->active, __ATOMIC_RELAXED);
}

uint32_t fg_http_connections(const struct fg_http_server *s)
{
    return __atomic_load_n(&s->connections, __ATOMIC_RELAXED);
}

uint16_t fg_http_port(const struct fg_http_server *s, uint32_t listen_index)
{
    return listen_index < s->listen_count ? s->ports[listen_index] : 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

/* Zero in the configuration of a test is the default. */
static uint32_t or_default(uint32_t value, uint32_t standard)
{
    return value ? value : standard;
}

static void take_limits(struct fg_http_server *s, const struct fg_conf *conf)
{
    struct fg_conf_limits *l = &s->limits;
    struct rlimit files;
    *l = conf->limits;
    l->connections = or_default(l->connections, 4096);
    l->connections_per_address = or_default(l->connections_per_address, 1024);
    l->body_bytes = l->body_bytes ? l->body_bytes : 32u << 20;
    l->unsent_bytes = or_default(l->unsent_bytes, 1u << 20);
    s->head_limits = (struct fg_head_limits){
        .head_bytes = or_default(l->head_bytes, 32 * 1024),
        .request_line_bytes = or_default(l->request_line_bytes, 8 * 1024),
        .header_count = or_default(l->header_count, 100)};
    s->pending_max = FG_PENDING_MAX > 2 * s->head_limits.head_bytes
                         ? FG_PENDING_MAX
                         : 2 * s->head_limits.head_bytes;
    const uint32_t ms[FG_TIMER_COUNT] = {
        [FG_TIMER_IDLE] = or_default(l->idle_timeout_ms, 60000),
        [FG_TIMER_HEAD] = or_default(l->head_timeout_ms, 10000),
        [FG_TIMER_BODY] = or_default(l->body_idle_timeout_ms, 20000),
        [FG_TIMER_WRITE] = or_default(l->write_timeout_ms, 20000),
        [FG_TIMER_LINGER] = LINGER_MS};
    for (int i = 0; i < FG_TIMER_COUNT; i++)
        s->span_ns[i] = ms[i] * FG_NS_PER_MS;
    s->connection_limit = l->connections;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY &&
        s->connection_limit + RESERVED_FDS > files.rlim_cur) {
        s->connection_limit = files.rlim_cur > 2 * RESERVED_FDS
                                  ? (uint32_t)files.rlim_cur - RESERVED_FDS
                                  : (uint32_t)files.rlim_cur / 2;
        fg_log(FG_LOG_WARN, "connections_lowered", "limit=%u descriptors=%llu",
               s->connection_limit, (unsigned long long)files.rlim_cur);
    }
}

static void make_metrics(struct fg_http_server *s)
{
    static const char *const labels[] = {NULL,           "code=\"1xx\"", "code=\"2xx\"",
                                         "code=\"3xx\"", "code=\"4xx\"", "code=\"5xx\""};
    for (size_t i = 1; i < sizeof(labels) / sizeof(*labels); i++)
        s->replies[i] = fg_metric(FG_METRIC_COUNTER, "fluxgate_http_replies_total",
                                  "Replies by class of status.", labels[i], NULL, 0);
    s->replies[0] = s->replies[5];
    s->open_connections = fg_metric(FG_METRIC_GAUGE, "fluxgate_http_connections",
                                    "Client connections open now.", NULL, NULL, 0);
    s->active_requests = fg_metric(FG_METRIC_GAUGE, "fluxgate_http_active_requests",
                                   "Requests between their head and the end of their reply.", NULL,
                                   NULL, 0);
}

static int32_t open_listeners(struct fg_http_server *s, const struct fg_conf *conf, uint32_t index,
                              struct fg_error *err)
{
    struct fg_loop *l = s->loops[index];
    for (uint32_t i = 0; i < s->listen_count; i++) {
        struct fg_listener *listener = &l->listeners[i];
        int fd = -1;
        int32_t rc = fg_listen(conf->listen[i].address, &s->ports[i], index == 0, s->loop_count > 1,
                               &fd, err);
        if (rc != FG_OK)
            return rc;
        listener->fd = fd;
        if (event_assign(&listener->event, l->base, fd, EV_READ | EV_PERSIST, on_accept,
                         listener) != 0 ||
            event_add(&listener->event, NULL) != 0)
            return fg_fail(err, FG_NO_MEMORY, "the event loop takes no listener");
    }
    return FG_OK;
}

static struct fg_loop *open_loop(struct fg_http_server *s, struct fg_worker *worker)
{
    struct fg_loop *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->server = s;
    l->worker = worker;
    l->base = fg_worker_base(worker);
    l->now_ns = fg_clock_ns();
    l->listeners = calloc(s->listen_count ? s->listen_count : 1, sizeof(*l->listeners));
    l->fields = calloc(s->head_limits.header_count, sizeof(*l->fields));
    l->path_room = malloc(s->head_limits.request_line_bytes);
    l->drain = calloc(1, sizeof(*l->drain));
    if (l->drain)
        *l->drain = (struct fg_drain){.task.run = drain_loop, .loop = l};
    for (uint32_t i = 0; l->listeners && i < s->listen_count; i++)
        l->listeners[i] = (struct fg_listener){.loop = l, .fd = -1};
    if (getrandom(l->random, sizeof(l->random), 0) != (ssize_t)sizeof(l->random))
        l->random[0] = l->now_ns;
    l->random[1] |= 1; /* the generator must not be all zero */
    fg_list_init(&l->conns);
    fg_list_init(&l->dirty);
    fg_list_init(&l->again);
    fg_list_init(&l->dead);
    fg_timer_init(l);
    event_assign(&l->flush, l->base, -1, 0, on_flush, l);
    evtimer_assign(&l->repeat, l->base, on_repeat, l);
    evtimer_assign(&l->wait_accept, l->base, on_accept_again, l);
    return l;
}

static void close_loop(struct fg_loop *l, bool drain_is_posted)
{
    FG_LIST_EACH(node, safe, &l->conns)
        fg_conn_destroy(FG_CONTAINER(node, struct fg_conn, all));
    for (uint32_t i = 0; l->listeners && i < l->server->listen_count; i++)
        if (l->listeners[i].fd >= 0) {
            event_del(&l->listeners[i].event);
            close(l->listeners[i].fd);
        }
    event_del(&l->tick);
    event_del(&l->flush);
    event_del(&l->repeat);
    event_del(&l->wait_accept);
    while (l->block_count)
        free(l->blocks[--l->block_count]);
    if (l->drain && drain_is_posted)
        l->drain->loop = NULL; /* the worker's mailbox has it */
    else
        free(l->drain);
    free(l->listeners);
    free(l->fields);
    free(l->path_room);
    free(l);
}

int32_t fg_http_open(const struct fg_conf *conf, const struct fg_http_handler *handler,
                     struct fg_worker *const *workers, uint32_t worker_count,
                     struct fg_http_server **out, struct fg_error *err)
{
    struct fg_http_server *s = calloc(1, sizeof(*s));
    if (!s)
        return fg_fail(err, FG_NO_MEMORY, "http: out of memory");
    s->handler = handler;
    s->loop_count = worker_count;
    s->listen_count = conf->listen_count;
    take_limits(s, conf);
    make_metrics(s);
    int32_t rc = FG_OK;
    s->addresses = fg_addresses_open(s->limits.connections_per_address);
    s->loops = calloc(worker_count ? worker_count : 1, sizeof(struct fg_loop *));
    s->ports = calloc(s->listen_count ? s->listen_count : 1, sizeof(*s->ports));
    if (!s->addresses || !s->loops || !s->ports)
        rc = fg_fail(err, FG_NO_MEMORY, "http: out of memory");
    for (uint32_t i = 0; rc == FG_OK && i < s->listen_count; i++)
        s->ports[i] = conf->listen[i].port;
    for (uint32_t i = 0; rc == FG_OK && i < worker_count; i++) {
        s->loops[i] = open_loop(s, workers[i]);
        if (!s->loops[i] || !s->loops[i]->listeners || !s->loops[i]->fields ||
            !s->loops[i]->path_room || !s->loops[i]->drain)
            rc = fg_fail(err, FG_NO_MEMORY, "http: out of memory");
        else
            rc = open_listeners(s, conf, i, err);
    }
    if (rc != FG_OK) {
        fg_http_close(s);
        return rc;
    }
    *out = s;
    return FG_OK;
}

void fg_http_close(struct fg_http_server *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; s->loops && i < s->loop_count && s->loops[i]; i++)
        close_loop(s->loops[i], s->draining && !s->loops[i]->is_gone);
    fg_addresses_close(s->addresses);
    free(s->loops);
    free(s->ports);
    free(s);
}
