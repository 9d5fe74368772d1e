/*
 * http/conn.c - one connection's life: opening, sending what is unsent, the end of an exchange, the
 * ends of the connection itself, deadlines. Bytes in are input.c's, requests receive.c's.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/inner.h"
#include "obs/metrics.h"
#include "util/clock.h"

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
    fg_input_drop(c);
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
    fg_input_drop(c);
    if (c->is_eof) {
        fg_conn_close(c);
        return;
    }
    shutdown(c->fd, SHUT_WR);
    fg_timer_set(c, FG_TIMER_LINGER);
    if (c->is_held)
        fg_conn_mark_again(c);
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

void fg_conn_refuse(struct fg_conn *c, int status, struct fg_str path, const char *why)
{
    count_refusal(status);
    if (c->x && c->x->is_begun) { /* no second reply */
        c->is_broken = true;
        return;
    }
    fg_reply_refusal(c, status, path, why); /* path may lie in the exchange */
    if (c->x)
        end_exchange(c, true);
    c->phase = FG_PHASE_LINGER;
    fg_timer_set(c, FG_TIMER_NONE);
    fg_input_drop(c);
}

static void finish(struct fg_conn *c)
{
    end_exchange(c, false);
    if (c->close_after) {
        if (c->linger_after || c->view_len || fg_input_pending(c) || c->is_held)
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
                     EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, fg_conn_on_event, c) != 0 ||
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
    uint64_t least = c->loop->server->span_ns[FG_TIMER_WRITE] / FG_NS_PER_MS * FG_BYTES_PER_S / 1000;
    return fg_out_in_kernel(c) + least < c->kernel_bytes;
}

void fg_conn_expire(struct fg_conn *c, int kind)
{
    switch (kind) {
    case FG_TIMER_HEAD: {
        struct fg_str path = fg_head_path(c->loop, c->partial, c->pending + c->pending_at);
        fg_conn_refuse(c, 408, path, "the head of the request took too long");
        break;
    }
    case FG_TIMER_BODY:
        if (c->discards) {
            fg_conn_lost(c);
            return;
        }
        fg_conn_refuse(c, 408, c->x->request.path, "the body of the request took too long");
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
    if (c->phase != FG_PHASE_HEAD || c->partial || fg_input_pending(c))
        return;
    fg_conn_read(c);
    fg_conn_advance(c);
}
