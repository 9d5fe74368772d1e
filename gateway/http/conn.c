/*
 * http/conn.c - one connection: bytes in, exchanges through, bytes out.
 *
 * The socket is registered once, edge-triggered, for reading, writing and the peer's FIN, and stays
 * so while a request is served. An edge is reported once, so we read until a read comes back short
 * (and, after a FIN, until its zero); what we leave in the kernel on purpose is remembered in
 * is_held. While a request is served up to FG_PENDING_MAX bytes are read ahead; a FIN or a reset
 * behind more than that is still reported by the kernel.
 *
 * A FIN says that the peer will send no more, not that it left: a client may half-close after its
 * request. So we ask (probe()): one legal byte sequence is sent, and a peer that is gone answers it
 * with a reset within a round trip.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "http/inner.h"
#include "obs/metrics.h"
#include "util/clock.h"

enum {
    READS_A_TURN = 16, /* then others come first */
    REQUESTS_A_TURN = 32,
    BYTES_PER_S = 500, /* the least: of a body on average, and of reading a reply */
};

/* ---- turns ---------------------------------------------------------------------------------- */

void fg_loop_enter(struct fg_loop *l)
{
    l->now_ns = fg_clock_ns();
}

/* Connections that ended in this callback are freed only now: nobody above looks at them. */
void fg_loop_leave(struct fg_loop *l)
{
    for (struct fg_list *node; (node = fg_list_pop(&l->dead));)
        free(FG_CONTAINER(node, struct fg_conn, all));
}

void fg_conn_mark_dirty(struct fg_conn *c)
{
    struct fg_loop *l = c->loop;
    if (c->is_busy || !fg_list_empty(&c->dirty))
        return; /* it is settled when the handler returns, or at the end of the turn */
    fg_list_push(&l->dirty, &c->dirty);
    if (!l->has_flush) {
        l->has_flush = true;
        event_active(&l->flush, EV_TIMEOUT, 1); /* behind all that is ready now */
    }
}

void fg_conn_mark_again(struct fg_conn *c)
{
    static const struct timeval now = {0, 0};
    struct fg_loop *l = c->loop;
    if (fg_list_empty(&c->again))
        fg_list_push(&l->again, &c->again);
    if (!l->has_repeat) {
        l->has_repeat = true;
        evtimer_add(&l->repeat, &now);
    }
}

/* ---- input kept between callbacks ------------------------------------------------------------ */

static void drop_pending(struct fg_conn *c)
{
    free(c->pending);
    c->pending = NULL;
    c->pending_at = c->pending_len = c->pending_room = 0;
}

static bool add_pending(struct fg_conn *c, const char *data, size_t len)
{
    if (c->pending_at && c->pending_len + len > c->pending_room) {
        memmove(c->pending, c->pending + c->pending_at, c->pending_len - c->pending_at);
        c->pending_len -= c->pending_at;
        c->pending_at = 0;
    }
    if (c->pending_len + len > c->pending_room) {
        size_t room = c->pending_len + len < 512 ? 512 : (c->pending_len + len) * 3 / 2;
        char *fresh = realloc(c->pending, room);
        if (!fresh)
            return false;
        c->pending = fresh;
        c->pending_room = (uint32_t)room;
    }
    memcpy(c->pending + c->pending_len, data, len);
    c->pending_len += (uint32_t)len;
    return true;
}

static size_t pending_size(const struct fg_conn *c)
{
    return c->pending_len - c->pending_at;
}

/* Goes on with what is pending. */
static void view_pending(struct fg_conn *c)
{
    c->view = c->pending + c->pending_at;
    c->view_len = pending_size(c);
    c->is_view_pending = true;
}

/* What a callback did not use is kept for the next. */
static void keep_view(struct fg_conn *c)
{
    if (c->is_dead)
        return;
    if (c->is_view_pending) {
        c->pending_at = c->pending_len - (uint32_t)c->view_len;
        if (c->view_len == 0)
            drop_pending(c);
    } else if (c->view_len && !add_pending(c, c->view, c->view_len)) {
        c->is_broken = true;
    }
    c->view = NULL;
    c->view_len = 0;
    c->is_view_pending = false;
}

static void skip_view(struct fg_conn *c, size_t n)
{
    c->view += n;
    c->view_len -= n;
}

static void drop_partial(struct fg_conn *c)
{
    free(c->partial);
    c->partial = NULL;
}

static void drop_input(struct fg_conn *c)
{
    if (!c->is_view_pending)
        drop_pending(c);
    c->view_len = 0; /* a pending view goes in keep_view() */
    drop_partial(c);
    free(c->chunked);
    c->chunked = NULL;
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void end_exchange(struct fg_conn *c, bool closed)
{
    struct fg_exchange *x = c->x;
    const struct fg_http_handler *h = c->loop->server->handler;
    c->x = NULL;
    h->over(h->ctx, x, closed);
    fg_exchange_close(x);
    __atomic_fetch_sub(&c->loop->server->active, 1, __ATOMIC_RELAXED);
    fg_metric_add(c->loop->server->active_requests, -1);
}

static void release(struct fg_conn *c)
{
    struct fg_http_server *s = c->loop->server;
    close(c->fd);
    c->fd = -1;
    fg_list_remove(&c->timer);
    fg_list_remove(&c->dirty);
    fg_list_remove(&c->again);
    fg_list_remove(&c->all);
    c->is_view_pending = false;
    drop_input(c);
    fg_out_drop(c);
    fg_addresses_leave(s->addresses, &c->address);
    __atomic_fetch_sub(&s->connections, 1, __ATOMIC_RELAXED);
    fg_metric_add(s->open_connections, -1);
}

void fg_conn_close(struct fg_conn *c)
{
    if (c->is_dead)
        return;
    c->is_dead = true;
    event_del(&c->event);
    release(c);
    fg_list_push(&c->loop->dead, &c->all);
}

void fg_conn_destroy(struct fg_conn *c)
{
    if (c->x)
        end_exchange(c, true);
    event_del(&c->event);
    release(c);
    free(c);
}

void fg_conn_lost(struct fg_conn *c)
{
    if (c->is_dead)
        return;
    if (c->x) {
        FG_COUNT("fluxgate_http_client_left_total",
                 "Exchanges whose client left, or was cut, before the reply was whole.");
        end_exchange(c, true);
    }
    fg_conn_close(c);
}

static void reset(struct fg_conn *c) /* frees what the kernel still holds for a dead peer */
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    fg_conn_lost(c);
}

/* The output is out; what the client still sends is read and dropped for a while, because a close
 * on unread bytes is a reset that may overtake the answer. */
static void linger(struct fg_conn *c)
{
    c->phase = FG_PHASE_LINGER;
    drop_input(c);
    if (c->is_eof) {
        fg_conn_close(c);
        return;
    }
    shutdown(c->fd, SHUT_WR);
    fg_timer_set(c, FG_TIMER_LINGER);
    if (c->is_held)
        fg_conn_mark_again(c);
}

void fg_conn_refuse(struct fg_conn *c, int status, struct fg_str path, const char *message)
{
    fg_reply_refusal(c, status, path, message); /* path may lie in the exchange */
    if (c->x)
        end_exchange(c, true);
    c->phase = FG_PHASE_LINGER;
    fg_timer_set(c, FG_TIMER_NONE);
    drop_input(c);
}

static void finish(struct fg_conn *c)
{
    end_exchange(c, false);
    if (c->close_after) {
        if (c->linger_after || c->view_len || pending_size(c) || c->is_held)
            linger(c);
        else
            fg_conn_close(c);
        return;
    }
    if (c->phase != FG_PHASE_BODY) /* else the rest of a refused body comes first */
        c->phase = FG_PHASE_HEAD;
    fg_timer_set(c, c->phase == FG_PHASE_BODY ? FG_TIMER_BODY : FG_TIMER_IDLE);
}

void fg_conn_settle(struct fg_conn *c)
{
    if (c->is_dead)
        return;
    fg_list_remove(&c->dirty);
    if (!c->is_blocked)
        fg_out_flush(c);
    if (c->is_broken) {
        fg_conn_lost(c);
        return;
    }
    if (c->x)
        fg_exchange_flushed(c->x);
    if (c->x && fg_exchange_is_over(c->x))
        finish(c);
    else if (c->phase == FG_PHASE_LINGER && fg_out_unsent(c) == 0 &&
             c->timer_kind != FG_TIMER_LINGER)
        linger(c);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void serve(struct fg_conn *c)
{
    const struct fg_http_handler *h = c->loop->server->handler;
    c->phase = FG_PHASE_SERVE;
    fg_timer_set(c, FG_TIMER_NONE);
    if (c->x->is_begun)
        return; /* answered on its head */
    c->is_busy = true;
    h->request(h->ctx, c->x);
    c->is_busy = false;
}

/* The path for the dialect of a refusal, as far as it is known. */
static struct fg_str path_so_far(struct fg_loop *l, const struct fg_head *h, const char *data)
{
    struct fg_target t;
    const char *why;
    struct fg_str target = {data + h->target, h->target_len};
    if (!h->target_len || fg_target_read(target, l->path_room, &t, &why) != 0)
        return h->target_len ? target : FG_STR("");
    return t.path;
}

/* What a well-formed head asks for that we do not do: status, or 0. */
static int check(struct fg_conn *c, const struct fg_head *h, const char *data,
                 const struct fg_target *t, const char **why)
{
    struct fg_str method = {data + h->method, h->method_len};
    struct fg_str host = {data + h->host, h->host_len};
    *why = "";
    if (fg_str_is(t->raw_path, "*") && !fg_str_is(method, "OPTIONS")) {
        *why = "only OPTIONS may ask for *";
        return 400;
    }
    if (t->authority.len && (!h->has_host || !fg_str_ieq(t->authority, host))) {
        *why = "the request target names another host than Host";
        return 421;
    }
    if (h->expects_other) {
        *why = "only 100-continue can be expected";
        return 417;
    }
    if (h->has_length && h->length > c->loop->server->limits.body_bytes) {
        *why = "the body is too large";
        return 413;
    }
    return 0;
}

static void count_refusal(int status)
{
    if (status == 413)
        FG_COUNT("fluxgate_http_body_limit_total", "Bodies over the limit.");
    else if (status == 414 || status == 431)
        FG_COUNT("fluxgate_http_head_limit_total", "Request lines and heads over their limits.");
    else if (status == 408)
        FG_COUNT("fluxgate_http_request_timeout_total", "Heads and bodies that came too slowly.");
    else
        FG_COUNT("fluxgate_http_bad_requests_total", "Requests refused by the HTTP parser.");
}

static void refuse(struct fg_conn *c, int status, struct fg_str path, const char *why)
{
    count_refusal(status);
    fg_conn_refuse(c, status, path, why);
}

static bool begin_chunked(struct fg_conn *c)
{
    c->chunked = malloc(sizeof(*c->chunked));
    if (c->chunked)
        fg_chunked_init(c->chunked, c->loop->server->limits.body_bytes);
    return c->chunked != NULL;
}

/* The head is whole: the handler looks at it, then comes the body. */
static void begin_request(struct fg_conn *c, const struct fg_head *h)
{
    struct fg_http_server *s = c->loop->server;
    struct fg_target target;
    const char *why = "", *data = c->view;
    struct fg_str raw = {data + h->target, h->target_len};
    int status = fg_str_is((struct fg_str){data + h->method, h->method_len}, "CONNECT")
                     ? 405
                     : fg_target_read(raw, c->loop->path_room, &target, &why);
    if (status == 0)
        status = check(c, h, data, &target, &why);
    if (status) {
        refuse(c, status, path_so_far(c->loop, h, data), status == 405 ? "no proxy here" : why);
        return;
    }
    if (fg_str_is(target.path, "*"))
        target.path = FG_STR("/");
    struct fg_exchange *x = fg_exchange_open(c, h, data, &target);
    bool is_chunked = h->is_chunked;
    if (!x || (is_chunked && !begin_chunked(c))) {
        if (x)
            fg_exchange_close(x);
        refuse(c, 503, target.path, "out of memory");
        return;
    }
    skip_view(c, h->at);
    drop_partial(c); /* may be h */
    fg_timer_set(c, FG_TIMER_NONE);
    __atomic_fetch_add(&s->active, 1, __ATOMIC_RELAXED);
    fg_metric_add(s->active_requests, 1);
    c->x = x;
    c->discards = false;
    c->body_left = x->request.content_length;
    c->body_began_ns = c->loop->now_ns;
    c->body_got = 0;
    c->phase = x->request.has_body ? FG_PHASE_BODY : FG_PHASE_SERVE;
    c->is_busy = true;
    s->handler->head(s->handler->ctx, x);
    c->is_busy = false;
    if (c->phase == FG_PHASE_SERVE) {
        serve(c);
    } else if (x->is_begun && !c->discards) {
        c->phase = FG_PHASE_SERVE; /* it closes: the body is of no interest */
    } else {
        fg_timer_set(c, FG_TIMER_BODY);
        if (x->expects_continue && !x->is_begun && c->view_len == 0) {
            fg_out_add(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
            x->expects_continue = false; /* it is answered */
        }
    }
}

/* Keeps a parser that needs more bytes. False: no memory. */
static bool keep_partial(struct fg_conn *c, const struct fg_head *h)
{
    size_t fields = sizeof(struct fg_head_field) * h->limits.header_count;
    struct fg_head *copy = malloc(sizeof(*copy) + fields);
    if (!copy)
        return false;
    *copy = *h;
    copy->fields = (struct fg_head_field *)(void *)(copy + 1);
    memcpy(copy->fields, h->fields, sizeof(struct fg_head_field) * h->count);
    c->partial = copy;
    fg_timer_set(c, FG_TIMER_HEAD);
    return true;
}

/* False: more bytes are needed. */
static bool take_head(struct fg_conn *c)
{
    struct fg_loop *l = c->loop;
    struct fg_head *h = c->partial;
    if (!h) {
        h = &l->head;
        fg_head_init(h, &l->server->head_limits, l->fields);
    }
    int rc = fg_head_feed(h, c->view, c->view_len);
    if (rc == FG_PARSE_BAD) {
        refuse(c, h->status, path_so_far(l, h, c->view), h->message);
        return true;
    }
    if (rc == FG_PARSE_DONE) {
        begin_request(c, h);
        return true;
    }
    if (!c->partial && !keep_partial(c, h)) {
        refuse(c, 503, FG_STR(""), "out of memory");
        return true;
    }
    return false;
}

static void body_done(struct fg_conn *c)
{
    free(c->chunked);
    c->chunked = NULL;
    if (c->x && !c->x->is_begun) {
        struct fg_exchange *x = c->x;
        if (x->body)
            x->body[x->request.body.len] = '\0'; /* a courtesy, not counted */
        x->request.body.ptr = x->body;
        serve(c);
        return;
    }
    c->phase = c->x ? FG_PHASE_SERVE : FG_PHASE_HEAD;
    if (!c->is_blocked)
        fg_timer_set(c, c->x ? FG_TIMER_NONE : FG_TIMER_IDLE);
}

static bool add_body(struct fg_conn *c, const char *data, size_t len)
{
    struct fg_exchange *x = c->x;
    if (c->discards)
        return true;
    if (!fg_exchange_body_reserve(x, x->request.body.len + len)) {
        refuse(c, 503, x->request.path, "out of memory");
        return false;
    }
    memcpy(x->body + x->request.body.len, data, len);
    x->request.body.len += len;
    return true;
}

/* The body is not whole yet. True: it was given up. */
static bool wait_body(struct fg_conn *c, size_t progress)
{
    struct fg_loop *l = c->loop;
    uint64_t age = l->now_ns - c->body_began_ns;
    c->body_got += progress;
    if (age > l->server->span_ns[FG_TIMER_BODY] / 2 &&
        c->body_got < age / FG_NS_PER_MS * BYTES_PER_S / 1000) {
        fg_conn_expire(c, FG_TIMER_BODY);
        return true;
    }
    if (progress && !c->is_blocked)
        fg_timer_set(c, FG_TIMER_BODY);
    return false;
}

static bool take_chunked(struct fg_conn *c)
{
    size_t before = c->view_len;
    for (;;) {
        size_t used = 0;
        struct fg_str piece = {0};
        int rc = fg_chunked_feed(c->chunked, (struct fg_str){c->view, c->view_len}, &used, &piece);
        skip_view(c, used);
        if (rc == FG_PARSE_DATA) {
            if (!add_body(c, piece.ptr, piece.len))
                return true;
        } else if (rc == FG_PARSE_DONE) {
            body_done(c);
            return true;
        } else if (rc == FG_PARSE_BAD) {
            refuse(c, c->chunked->status, c->x->request.path, c->chunked->message);
            return true;
        } else {
            return wait_body(c, before - c->view_len);
        }
    }
}

/* False: more bytes are needed. */
static bool take_body(struct fg_conn *c)
{
    if (c->chunked)
        return take_chunked(c);
    size_t n = c->view_len < c->body_left ? c->view_len : (size_t)c->body_left;
    if (n && !add_body(c, c->view, n))
        return true;
    skip_view(c, n);
    c->body_left -= n;
    if (c->body_left)
        return wait_body(c, n);
    body_done(c);
    return true;
}

/* Uses the view as far as it goes. */
static void advance(struct fg_conn *c)
{
    for (int requests = 0; !c->is_dead && !c->is_broken;) {
        if (c->phase == FG_PHASE_LINGER) {
            c->view_len = 0;
            break;
        }
        if (c->phase == FG_PHASE_SERVE || (c->phase == FG_PHASE_HEAD && c->view_len == 0))
            break;
        if (c->phase == FG_PHASE_HEAD && ++requests > REQUESTS_A_TURN) {
            fg_conn_mark_again(c);
            break;
        }
        if (!(c->phase == FG_PHASE_HEAD ? take_head(c) : take_body(c)))
            break;
        fg_conn_settle(c);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Bytes of a long body go where they belong; what is behind them lands in scratch. */
static size_t body_part(struct fg_conn *c, struct iovec *part)
{
    struct fg_exchange *x = c->x;
    if (c->phase != FG_PHASE_BODY || c->chunked || c->discards || pending_size(c) || !x)
        return 0;
    size_t have = x->request.body.len;
    if (x->body_room < have + 2 && !fg_exchange_body_reserve(x, have + 1))
        return 0;
    size_t room = x->body_room - 1 - have;
    *part = (struct iovec){x->body + have, room < c->body_left ? room : (size_t)c->body_left};
    return part->iov_len;
}

/* n bytes came, the first of them perhaps straight into the body. */
static void took(struct fg_conn *c, size_t n, size_t body_room)
{
    size_t direct = n < body_room ? n : body_room;
    if (direct) {
        c->x->request.body.len += direct;
        c->body_left -= direct;
        if (c->body_left && wait_body(c, direct))
            return;
    }
    n -= direct;
    if (c->phase == FG_PHASE_SERVE || pending_size(c)) {
        if (!add_pending(c, c->loop->scratch, n)) {
            c->is_broken = true;
            return;
        }
        if (c->phase == FG_PHASE_SERVE)
            return;
        view_pending(c);
    } else {
        c->view = c->loop->scratch;
        c->view_len = n;
    }
    advance(c);
    keep_view(c);
}

static size_t scratch_room(const struct fg_conn *c)
{
    size_t most = c->loop->server->pending_max, have = pending_size(c);
    size_t left = most > have ? most - have : 0;
    return left < FG_SCRATCH_BYTES ? left : FG_SCRATCH_BYTES;
}

static void read_more(struct fg_conn *c)
{
    for (int i = 0; i < READS_A_TURN && !c->is_dead && !c->is_broken && !c->is_eof; i++) {
        struct iovec parts[2];
        size_t body = body_part(c, &parts[0]), room = scratch_room(c);
        ssize_t n;
        if (room == 0) {
            c->is_held = true;
            return;
        }
        if (body) {
            parts[1] = (struct iovec){c->loop->scratch, room};
            n = readv(c->fd, parts, 2);
        } else {
            n = recv(c->fd, c->loop->scratch, room, 0);
        }
        if (n < 0) {
            c->is_broken = errno != EAGAIN && errno != EINTR;
            c->is_held = errno == EINTR;
            if (c->is_held)
                fg_conn_mark_again(c);
            return;
        }
        c->is_held = (size_t)n == body + room;
        if (n == 0) {
            c->is_eof = true;
            return;
        }
        took(c, (size_t)n, body);
        if (!c->is_held && !c->is_closed_far)
            return;
    }
    if (!c->is_dead && !c->is_eof)
        fg_conn_mark_again(c);
}

static void keepalive(struct fg_conn *c)
{
    static const int on = 1, idle_s = 1, every_s = 1, tries = 2;
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
    setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

/* The peer sent a FIN while it waits for us: gone, or half-closed? Before a reply an interim "100
 * Continue" may be sent to any HTTP/1.1 client; within a chunked stream a zero may be, because the
 * size of the next chunk may have leading zeros. To HTTP/1.0 nothing may: there keep-alive probes
 * of TCP tell within three seconds. */
static void probe(struct fg_conn *c)
{
    struct fg_exchange *x = c->x;
    if (c->is_probed || !x || x->is_ended)
        return;
    c->is_probed = true;
    keepalive(c);
    if (fg_out_unsent(c))
        return; /* that asks as well */
    if (!x->is_begun && x->minor == 1)
        fg_out_add(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    else if (x->is_begun && x->is_chunked && !x->is_headless)
        fg_out_add(c, "0", 1);
    fg_conn_settle(c);
}

/* After every callback on a connection: what is left to do when input has run dry. */
static void rest(struct fg_conn *c)
{
    if (c->is_dead || !fg_list_empty(&c->again))
        return;
    bool waits = c->phase == FG_PHASE_HEAD;
    if (c->is_broken || (c->is_eof && c->phase == FG_PHASE_BODY))
        fg_conn_lost(c);
    else if (c->is_eof && (waits || (c->phase == FG_PHASE_LINGER && !fg_out_unsent(c))))
        fg_conn_close(c);
    else if (waits && c->loop->is_draining && !c->partial && !pending_size(c))
        fg_conn_close(c);
    else if (c->phase == FG_PHASE_SERVE && (c->is_eof || (c->is_held && c->is_closed_far)))
        probe(c);
}

void fg_conn_advance(struct fg_conn *c)
{
    fg_conn_settle(c);
    if (!c->is_dead && c->phase != FG_PHASE_SERVE && pending_size(c)) {
        view_pending(c);
        advance(c);
        keep_view(c);
    }
    if (!c->is_dead && c->phase != FG_PHASE_SERVE && c->is_held)
        read_more(c);
    if (!c->is_dead && c->is_broken)
        fg_conn_lost(c);
    rest(c);
}

static bool has_error(const struct fg_conn *c)
{
    int error = 0;
    socklen_t len = sizeof(error);
    return getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error != 0;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct fg_conn *c = arg;
    struct fg_loop *l = c->loop;
    fg_loop_enter(l);
    if (what & EV_CLOSED)
        c->is_closed_far = true;
    /* A reset shows as readable and writable; where we do not read, ask. */
    if ((c->is_eof || c->is_held) && has_error(c))
        c->is_broken = true;
    if ((what & EV_WRITE) && c->is_blocked) {
        c->is_blocked = false;
        fg_conn_settle(c);
    }
    if (!c->is_dead && (what & (EV_READ | EV_CLOSED)))
        read_more(c);
    fg_conn_advance(c);
    fg_loop_leave(l);
}

/* ---- life ------------------------------------------------------------------------------------ */

bool fg_conn_open(struct fg_loop *l, int fd, const struct fg_address *address, const char *peer)
{
    struct fg_conn *c = calloc(1, sizeof(*c));
    if (!c)
        return false;
    c->loop = l;
    c->fd = fd;
    c->address = *address;
    c->timer_kind = FG_TIMER_NONE;
    memcpy(c->peer, peer, strnlen(peer, sizeof(c->peer) - 1));
    c->is_loopback = fg_address_is_loopback(address);
    fg_list_init(&c->all);
    fg_list_init(&c->dirty);
    fg_list_init(&c->again);
    fg_list_init(&c->timer);
    if (event_assign(&c->event, l->base, fd,
                     EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, c) != 0 ||
        event_add(&c->event, NULL) != 0) {
        free(c);
        return false;
    }
    fg_list_push(&l->conns, &c->all);
    fg_timer_set(c, FG_TIMER_IDLE);
    return true;
}

/* The kernel tells us of room only when a good part of its buffer is free; a slow client that reads
 * on may need longer than the timeout for that. So the queue in the kernel decides. */
static bool reads_on(const struct fg_conn *c)
{
    uint64_t least = c->loop->server->span_ns[FG_TIMER_WRITE] / FG_NS_PER_MS * BYTES_PER_S / 1000;
    return fg_out_in_kernel(c) + least < c->kernel_bytes;
}

void fg_conn_expire(struct fg_conn *c, int kind)
{
    switch (kind) {
    case FG_TIMER_HEAD: {
        struct fg_str path = path_so_far(c->loop, c->partial, c->pending + c->pending_at);
        refuse(c, 408, path, "the head of the request took too long");
        break;
    }
    case FG_TIMER_BODY:
        if (c->discards) {
            fg_conn_lost(c);
            return;
        }
        refuse(c, 408, c->x->request.path, "the body of the request took too long");
        break;
    case FG_TIMER_WRITE:
        if (reads_on(c)) {
            fg_out_wait(c);
            return;
        }
        FG_COUNT("fluxgate_http_write_timeout_total",
                 "Connections cut because the client did not read.");
        reset(c);
        return;
    case FG_TIMER_IDLE:
        FG_COUNT("fluxgate_http_idle_timeout_total", "Idle connections closed.");
        fg_conn_close(c);
        return;
    default: /* lingered long enough */
        fg_conn_close(c);
        return;
    }
    fg_conn_settle(c);
}

/* Idle ones close; a request that is already on its way is still taken. */
void fg_conn_drain(struct fg_conn *c)
{
    if (c->phase != FG_PHASE_HEAD || c->partial || pending_size(c))
        return;
    read_more(c);
    fg_conn_advance(c);
}
