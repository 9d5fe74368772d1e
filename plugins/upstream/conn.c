/*
 * One connection's life: name, address after address, TLS, request, reply, the next request. All of
 * it runs on the client's thread. See conn.h.
 *
 * Everything that ends an exchange takes it off the connection first and tells it last, so that
 * its end() may send again at once, and finds this connection in the pool.
 */
#include "upstream/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"

enum { READS = 4 /* a turn */, DRAIN_BYTES = 256 << 10, STASH_BYTES = 1 << 20 };

/* ---- watching -------------------------------------------------------------------------------- */

/* Nothing at all is not the same as no events: a dead socket tells of its death in any case, and
 * would wake us for ever while it is paused. */
static bool watch(struct fg_conn *conn, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = conn};
    if (events == conn->watched)
        return true;
    const int op = !events ? EPOLL_CTL_DEL : conn->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(conn->client->epoll, op, conn->fd, &ev) != 0)
        return false;
    conn->watched = events;
    return true;
}

/* Off the connection. */
static struct fg_exchange *take_exchange(struct fg_conn *conn)
{
    struct fg_client *c = conn->client;
    pthread_mutex_lock(&c->lock);
    struct fg_exchange *ex = conn->ex;
    conn->ex = NULL;
    if (ex)
        ex->conn = NULL;
    pthread_mutex_unlock(&c->lock);
    return ex;
}

/* ---- the end --------------------------------------------------------------------------------- */

void fg_conn_free(struct fg_conn *conn)
{
    struct fg_client *c = conn->client;
    fg_tls_conn_close(conn->tls);
    if (conn->fd >= 0) {
        close(conn->fd);
        __atomic_fetch_sub(&c->open, 1, __ATOMIC_RELAXED);
    }
    fg_reply_done(&conn->reply);
    fg_buf_done(&conn->stash);
    free(conn->addresses);
    free(conn);
}

/* The socket goes at the end of the turn: events of it may still lie in the loop's hands. */
void fg_conn_end(struct fg_conn *conn)
{
    if (conn->state == FG_CONN_DEAD)
        return;
    fg_clock_clear(conn);
    if (conn->fd >= 0) {
        (void)watch(conn, 0);
        (void)shutdown(conn->fd, conn->tls ? SHUT_RD : SHUT_RDWR);
    }
    conn->state = FG_CONN_DEAD;
    fg_list_remove(&conn->all);
    fg_list_push(&conn->client->dead, &conn->all);
}

void fg_conn_kill(struct fg_conn *conn, int32_t status, int32_t trouble, const char *text)
{
    char line[256]; /* text may lie in the reply, which goes with the connection */
    if (conn->state == FG_CONN_DEAD)
        return;
    struct fg_exchange *ex = take_exchange(conn);
    snprintf(line, sizeof line, "%s", text);
    fg_conn_end(conn);
    if (ex)
        ex->handler->end(ex, status, trouble, line);
}

static void lost(struct fg_conn *conn, int32_t trouble, const char *text)
{
    fg_conn_kill(conn, FG_DEVICE_LOST, trouble, text);
}

enum sent { SENT_PART, SENT_ALL, SENT_BY_WORKER };

static enum sent how_sent(struct fg_conn *conn)
{
    struct fg_client *c = conn->client;
    pthread_mutex_lock(&c->lock);
    const enum sent how = conn->is_lent                ? SENT_BY_WORKER
                          : conn->sent >= conn->length ? SENT_ALL
                                                       : SENT_PART;
    pthread_mutex_unlock(&c->lock);
    return how;
}

/* The reply is whole. A connection on which something else was said, or not all of the request
 * was taken, is not used again. */
static void whole(struct fg_conn *conn, struct fg_str rest)
{
    struct fg_exchange *ex = take_exchange(conn);
    const enum sent how = how_sent(conn);
    const bool keeps = conn->reply.keeps && !rest.len && how != SENT_PART;
    fg_reply_init(&conn->reply);
    if (!keeps || !watch(conn, EPOLLIN))
        fg_conn_end(conn);
    else if (how == SENT_BY_WORKER)
        fg_pool_settle(conn);
    else if (!fg_pool_put(conn))
        fg_conn_end(conn);
    if (ex)
        ex->handler->end(ex, FG_OK, FG_TROUBLE_NONE, "");
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool is_open(const struct fg_conn *conn)
{
    return conn->state == FG_CONN_BUSY || conn->state == FG_CONN_DRAINING;
}

static void take_body(struct fg_conn *conn, struct fg_str *in, struct fg_str piece)
{
    size_t n = piece.len;
    if (conn->ex)
        n = conn->ex->handler->body(conn->ex, piece);
    else
        conn->drained += n;
    if (conn->state != FG_CONN_DEAD)
        fg_reply_take(&conn->reply, in, n);
    if (conn->state == FG_CONN_DRAINING && conn->drained > DRAIN_BYTES)
        fg_conn_end(conn);
}

/* As far as the bytes reach, or a pause. False: the connection is in the pool, and with that
 * perhaps a worker's, or dead: it must not be looked at any more. */
static bool process(struct fg_conn *conn, struct fg_str *in)
{
    struct fg_str piece;
    while (is_open(conn) && !conn->is_paused) {
        switch (fg_reply_next(&conn->reply, in, &piece)) {
        case FG_REPLY_HEAD:
            fg_clock_set(conn, FG_CLOCK_IDLE);
            if (conn->ex)
                conn->ex->handler->head(conn->ex, &conn->reply);
            break;
        case FG_REPLY_BODY:
            take_body(conn, in, piece);
            break;
        case FG_REPLY_END:
            whole(conn, *in);
            return false;
        case FG_REPLY_BAD:
            lost(conn, FG_TROUBLE_PROTOCOL, conn->reply.error);
            return false;
        default:
            return true;
        }
    }
    return is_open(conn);
}

static bool feed(struct fg_conn *conn, struct fg_str in)
{
    if (!process(conn, &in))
        return false;
    if (!in.len)
        return true;
    conn->stash.limit = STASH_BYTES; /* a pause: it is read no further until the rest was used */
    conn->has_stash = true;
    if (fg_buf_add(&conn->stash, in))
        return true;
    fg_conn_kill(conn, FG_NO_MEMORY, FG_TROUBLE_NONE, "no memory for its answer");
    return false;
}

static void at_end(struct fg_conn *conn, const char *why)
{
    if (fg_reply_eof(&conn->reply) == FG_REPLY_END && !why) {
        conn->reply.keeps = false;
        whole(conn, (struct fg_str){0});
        return;
    }
    lost(conn, FG_TROUBLE_RESET, why ? why : conn->reply.error);
}

/* Bytes, or what fg_tls_read() answers. */
static ptrdiff_t read_some(struct fg_conn *conn, void *to, size_t room)
{
    if (conn->tls)
        return fg_tls_read(conn->tls, to, room);
    const ssize_t n = recv(conn->fd, to, room, MSG_DONTWAIT);
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? FG_TLS_READ : FG_TLS_FAILED;
}

static void looked(struct fg_conn *conn)
{
    if (conn->ex && !conn->is_paused)
        conn->ex->handler->more(conn->ex);
}

/* TLS holds nothing back: a record fits into scratch, so what was not read wakes us again. */
static void read_all(struct fg_conn *conn)
{
    struct fg_client *c = conn->client;
    ptrdiff_t n = sizeof c->scratch;
    const bool is_full_only = !conn->tls; /* less than asked for was all there is */
    for (int i = 0; i < READS && is_open(conn) && !conn->is_paused; i++) {
        if (is_full_only && n < (ptrdiff_t)sizeof c->scratch)
            break;
        n = read_some(conn, c->scratch, sizeof c->scratch);
        if (n == 0 || n == FG_TLS_FAILED) {
            at_end(conn, n ? "it reset the connection" : NULL);
            return;
        }
        conn->tls_wants_write = n == FG_TLS_WRITE;
        if (n < 0)
            break;
        __atomic_fetch_add(&c->bytes_in, (uint64_t)n, __ATOMIC_RELAXED);
        if (!feed(conn, (struct fg_str){c->scratch, (size_t)n}))
            return;
    }
    looked(conn);
}

/* ---- writing --------------------------------------------------------------------------------- */

static ptrdiff_t write_some(struct fg_conn *conn, const char *from, size_t len)
{
    if (conn->tls)
        return fg_tls_write(conn->tls, from, len);
    const ssize_t n = send(conn->fd, from, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? FG_TLS_WRITE : FG_TLS_FAILED;
}

static void set_interest(struct fg_conn *conn, bool wants_write)
{
    if (conn->state == FG_CONN_DEAD)
        return;
    const uint32_t out = wants_write || conn->tls_wants_write ? EPOLLOUT : 0;
    if (!watch(conn, conn->is_paused ? out : EPOLLIN | out))
        lost(conn, FG_TROUBLE_CONNECT, "the connection cannot be watched");
}

void fg_conn_write(struct fg_conn *conn)
{
    struct fg_client *c = conn->client;
    while (conn->state == FG_CONN_BUSY && conn->ex && conn->sent < conn->ex->request.len) {
        const struct fg_str rest = fg_str_from(conn->ex->request, conn->sent);
        const ptrdiff_t n = write_some(conn, rest.ptr, rest.len);
        if (n == FG_TLS_FAILED) { /* it may have answered before it closed */
            set_interest(conn, false);
            return;
        }
        if (n < 0) {
            set_interest(conn, n == FG_TLS_WRITE);
            return;
        }
        pthread_mutex_lock(&c->lock);
        conn->sent += (size_t)n;
        pthread_mutex_unlock(&c->lock);
        __atomic_fetch_add(&c->bytes_out, (uint64_t)n, __ATOMIC_RELAXED);
    }
    set_interest(conn, false);
}

/* ---- getting there --------------------------------------------------------------------------- */

static void next_address(struct fg_conn *conn);

static void begin_exchange(struct fg_conn *conn)
{
    free(conn->addresses);
    conn->addresses = NULL;
    pthread_mutex_lock(&conn->client->lock);
    conn->state = FG_CONN_BUSY;
    conn->length = conn->ex->request.len;
    pthread_mutex_unlock(&conn->client->lock);
    fg_clock_set(conn, FG_CLOCK_FIRST);
    fg_conn_write(conn);
}

static void shake(struct fg_conn *conn)
{
    char why[160], text[200];
    const int32_t rc = fg_tls_handshake(conn->tls, why, sizeof why);
    if (rc == 1) {
        begin_exchange(conn);
        return;
    }
    if (rc == FG_TLS_FAILED) {
        snprintf(text, sizeof text, "TLS failed: %s", why);
        lost(conn, FG_TROUBLE_TLS, text);
        return;
    }
    if (!watch(conn, rc == FG_TLS_WRITE ? EPOLLOUT : EPOLLIN))
        lost(conn, FG_TROUBLE_CONNECT, "the connection cannot be watched");
}

static void connected(struct fg_conn *conn)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error) {
        snprintf(conn->why, sizeof conn->why, "%s", strerror(error));
        next_address(conn);
        return;
    }
    __atomic_fetch_add(&conn->client->opened, 1, __ATOMIC_RELAXED);
    if (!conn->client->tls) {
        begin_exchange(conn);
        return;
    }
    conn->tls = fg_tls_conn_open(conn->client->tls, conn->fd);
    conn->state = FG_CONN_HANDSHAKE;
    if (conn->tls)
        shake(conn);
    else
        fg_conn_kill(conn, FG_NO_MEMORY, FG_TROUBLE_TLS, "no memory for TLS");
}

static void drop_socket(struct fg_conn *conn)
{
    if (conn->fd < 0)
        return;
    (void)watch(conn, 0);
    close(conn->fd);
    conn->fd = -1;
    __atomic_fetch_sub(&conn->client->open, 1, __ATOMIC_RELAXED);
}

/* False: the next one may do better; why says why. */
static bool connect_to(struct fg_conn *conn, const struct fg_address *a)
{
    const int one = 1;
    conn->fd = socket(a->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd >= 0) {
        __atomic_fetch_add(&conn->client->open, 1, __ATOMIC_RELAXED);
        (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        (void)setsockopt(conn->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        const int rc = connect(conn->fd, (const struct sockaddr *)(const void *)&a->at, a->len);
        if ((rc == 0 || errno == EINPROGRESS) && watch(conn, EPOLLOUT))
            return true;
    }
    snprintf(conn->why, sizeof conn->why, "%s", strerror(errno));
    drop_socket(conn);
    return false;
}

static void next_address(struct fg_conn *conn)
{
    char text[160];
    drop_socket(conn);
    while (conn->address < conn->addresses->count) {
        if (!connect_to(conn, &conn->addresses->list[conn->address++]))
            continue;
        conn->state = FG_CONN_CONNECTING;
        fg_clock_set(conn, FG_CLOCK_TRY);
        return;
    }
    snprintf(text, sizeof text, "cannot connect: %s", conn->why);
    lost(conn, FG_TROUBLE_CONNECT, text);
}

void fg_conn_resolved(struct fg_conn *conn)
{
    char text[160];
    if (!conn->addresses)
        conn->addresses = calloc(1, sizeof *conn->addresses);
    if (!conn->addresses) {
        fg_conn_kill(conn, FG_NO_MEMORY, FG_TROUBLE_DNS, "no memory for its addresses");
        return;
    }
    struct fg_client *c = conn->client;
    const int32_t rc = fg_resolver_get(c->resolver, c->now_ns, conn->addresses);
    if (rc == FG_BUSY)
        return;
    if (rc == FG_OK) {
        next_address(conn);
        return;
    }
    snprintf(text, sizeof text, "the name cannot be resolved: %s", conn->addresses->error);
    lost(conn, FG_TROUBLE_DNS, text);
}

void fg_conn_start(struct fg_client *c, struct fg_exchange *ex)
{
    struct fg_conn *conn = calloc(1, sizeof *conn);
    if (!conn) {
        ex->handler->end(ex, FG_NO_MEMORY, FG_TROUBLE_NONE, "no memory for a connection");
        return;
    }
    conn->client = c;
    conn->fd = -1;
    conn->began_ns = c->now_ns;
    conn->state = FG_CONN_RESOLVING;
    conn->ex = ex;
    ex->conn = conn;
    fg_list_init(&conn->clock);
    fg_list_push(&c->conns, &conn->all);
    fg_reply_init(&conn->reply);
    fg_clock_set(conn, FG_CLOCK_TRY);
    fg_conn_resolved(conn);
}

/* ---- events ---------------------------------------------------------------------------------- */

/* An idle one is in nobody's hands any more after this look. */
static int32_t look(struct fg_conn *conn)
{
    struct fg_client *c = conn->client;
    pthread_mutex_lock(&c->lock);
    const int32_t state = conn->state;
    if (state == FG_CONN_IDLE) {
        fg_list_remove(&conn->clock);
        c->idle--;
        conn->state = FG_CONN_DRAINING;
    }
    conn->settles = false;
    pthread_mutex_unlock(&c->lock);
    return state;
}

void fg_conn_ready(struct fg_conn *conn, uint32_t events)
{
    const int32_t state = look(conn);
    if (state == FG_CONN_DEAD)
        return;
    if (state == FG_CONN_IDLE || state == FG_CONN_SETTLING) {
        fg_conn_end(conn); /* a server that speaks unasked, or closes */
        return;
    }
    if (conn->state == FG_CONN_CONNECTING) {
        connected(conn);
        return;
    }
    if (conn->state == FG_CONN_HANDSHAKE) {
        shake(conn);
        return;
    }
    if (events & EPOLLOUT) {
        conn->tls_wants_write = false;
        fg_conn_write(conn);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || conn->tls)
        read_all(conn);
}

static void late_try(struct fg_conn *conn)
{
    struct fg_client *c = conn->client;
    const uint64_t most = c->config.times.connect * FG_NS_PER_MS;
    const bool is_over = c->now_ns - conn->began_ns >= most;
    const bool has_more = conn->addresses && conn->state == FG_CONN_CONNECTING &&
                          conn->address < conn->addresses->count;
    if (!is_over && has_more) {
        snprintf(conn->why, sizeof conn->why, "no answer");
        next_address(conn);
    } else if (!is_over) {
        fg_clock_set(conn, FG_CLOCK_TRY); /* there is no other: it has the rest of the time */
    } else {
        lost(conn, conn->state == FG_CONN_RESOLVING ? FG_TROUBLE_DNS : FG_TROUBLE_CONNECT,
             conn->state == FG_CONN_RESOLVING   ? "the name is not resolved in time"
             : conn->state == FG_CONN_HANDSHAKE ? "no end of the TLS handshake in time"
                                                : "cannot connect: no answer in time");
    }
}

void fg_conn_late(struct fg_conn *conn)
{
    if (conn->state < FG_CONN_BUSY)
        late_try(conn);
    else if (conn->state != FG_CONN_BUSY)
        fg_conn_end(conn);
    else if (conn->reply.has_head)
        fg_conn_kill(conn, FG_TIMEOUT, FG_TROUBLE_TIMEOUT,
                     "nothing more came of its answer within the time allowed");
    else
        fg_conn_kill(conn, FG_TIMEOUT, FG_TROUBLE_TIMEOUT, "no answer within the time allowed");
}

/* ---- what exchanges ask for ------------------------------------------------------------------ */

void fg_exchange_moved(struct fg_exchange *ex)
{
    if (ex->conn && !ex->conn->is_paused)
        fg_clock_set(ex->conn, FG_CLOCK_IDLE);
}

void fg_exchange_pause(struct fg_exchange *ex)
{
    if (!ex->conn || ex->conn->is_paused)
        return;
    ex->conn->is_paused = true;
    fg_clock_clear(ex->conn); /* it is our side that waits */
    set_interest(ex->conn, false);
}

void fg_exchange_resume(struct fg_exchange *ex)
{
    struct fg_conn *conn = ex->conn;
    if (!conn || !conn->is_paused)
        return;
    conn->is_paused = false;
    fg_clock_set(conn, FG_CLOCK_IDLE);
    if (conn->has_stash) {
        struct fg_buf stash = conn->stash;
        conn->stash = (struct fg_buf){0};
        conn->has_stash = false;
        const bool is_ours = feed(conn, fg_buf_str(&stash));
        fg_buf_done(&stash);
        if (!is_ours)
            return;
    }
    if (!conn->is_paused)
        set_interest(conn, false);
    looked(conn);
}

void fg_exchange_stop(struct fg_exchange *ex)
{
    struct fg_conn *conn = ex->conn;
    if (!conn)
        return;
    (void)take_exchange(conn);
    fg_conn_end(conn);
}

void fg_exchange_detach(struct fg_exchange *ex)
{
    struct fg_conn *conn = ex->conn;
    if (!conn)
        return;
    (void)take_exchange(conn);
    if (how_sent(conn) == SENT_PART || conn->is_paused) {
        fg_conn_end(conn);
        return;
    }
    conn->state = FG_CONN_DRAINING;
    conn->drained = 0;
    fg_clock_set(conn, FG_CLOCK_DRAIN);
}
