/*
 * http/input.c - bytes in.
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

#include "http/inner.h"

enum { READS_A_TURN = 16 }; /* then others come first */

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

/* Goes on with what is pending. */
static void view_pending(struct fg_conn *c)
{
    c->view = c->pending + c->pending_at;
    c->view_len = fg_input_pending(c);
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

void fg_input_drop_partial(struct fg_conn *c)
{
    free(c->partial);
    c->partial = NULL;
}

void fg_input_drop(struct fg_conn *c)
{
    if (!c->is_view_pending)
        drop_pending(c);
    c->view_len = 0; /* a pending view goes in keep_view() */
    fg_input_drop_partial(c);
    free(c->chunked);
    c->chunked = NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Bytes of a long body go where they belong; what is behind them lands in scratch. */
static size_t body_part(struct fg_conn *c, struct iovec *part)
{
    struct fg_exchange *x = c->x;
    if (c->phase != FG_PHASE_BODY || c->chunked || c->discards || fg_input_pending(c) || !x)
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
        if (c->body_left && fg_body_wait(c, direct))
            return;
    }
    n -= direct;
    if (c->phase == FG_PHASE_SERVE || fg_input_pending(c)) {
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
    fg_conn_receive(c);
    keep_view(c);
}

static size_t scratch_room(const struct fg_conn *c)
{
    size_t most = c->loop->server->pending_max, have = fg_input_pending(c);
    size_t left = most > have ? most - have : 0;
    return left < FG_SCRATCH_BYTES ? left : FG_SCRATCH_BYTES;
}

void fg_conn_read(struct fg_conn *c)
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
    else if (waits && c->loop->is_draining && !c->partial && !fg_input_pending(c))
        fg_conn_close(c);
    else if (c->phase == FG_PHASE_SERVE && (c->is_eof || (c->is_held && c->is_closed_far)))
        probe(c);
}

void fg_conn_advance(struct fg_conn *c)
{
    fg_conn_settle(c);
    if (!c->is_dead && c->phase != FG_PHASE_SERVE && fg_input_pending(c)) {
        view_pending(c);
        fg_conn_receive(c);
        keep_view(c);
    }
    if (!c->is_dead && c->phase != FG_PHASE_SERVE && c->is_held)
        fg_conn_read(c);
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

void fg_conn_on_event(evutil_socket_t fd, short what, void *arg)
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
        fg_conn_read(c);
    fg_conn_advance(c);
    fg_loop_leave(l);
}

