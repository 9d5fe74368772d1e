/*
 * http/receive.c - requests out of the bytes at hand: head, then the handler's word on it, then the
 * body, then the request is served. Uses the view as far as it goes and says when more is needed;
 * where the bytes come from is input.c's matter.
 */
#include <stdlib.h>
#include <string.h>

#include "http/inner.h"
#include "obs/metrics.h"
#include "util/clock.h"

enum { REQUESTS_A_TURN = 32 }; /* then others come first */

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

struct fg_str fg_head_path(struct fg_loop *l, const struct fg_head *h, const char *data)
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
        fg_conn_refuse(c, status, fg_head_path(c->loop, h, data), status == 405 ? "no proxy here" : why);
        return;
    }
    if (fg_str_is(target.path, "*"))
        target.path = FG_STR("/");
    struct fg_exchange *x = fg_exchange_open(c, h, data, &target);
    bool is_chunked = h->is_chunked;
    if (!x || (is_chunked && !begin_chunked(c))) {
        if (x)
            fg_exchange_close(x);
        fg_conn_refuse(c, 503, target.path, "out of memory");
        return;
    }
    fg_input_skip(c, h->at);
    fg_input_drop_partial(c); /* may be h */
    fg_timer_set(c, FG_TIMER_NONE);
    __atomic_fetch_add(&s->active, 1, __ATOMIC_RELAXED);
    fg_metric_add(s->active_requests, 1);
    c->x = x;
    c->discards = c->is_probed = false;
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
        fg_conn_refuse(c, h->status, fg_head_path(l, h, c->view), h->message);
        return true;
    }
    if (rc == FG_PARSE_DONE) {
        begin_request(c, h);
        return true;
    }
    if (!c->partial && !keep_partial(c, h)) {
        fg_conn_refuse(c, 503, FG_STR(""), "out of memory");
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
        fg_conn_refuse(c, 503, x->request.path, "out of memory");
        return false;
    }
    memcpy(x->body + x->request.body.len, data, len);
    x->request.body.len += len;
    return true;
}

bool fg_body_wait(struct fg_conn *c, size_t progress)
{
    struct fg_loop *l = c->loop;
    uint64_t age = l->now_ns - c->body_began_ns;
    c->body_got += progress;
    if (age > l->server->span_ns[FG_TIMER_BODY] / 2 &&
        c->body_got < age / FG_NS_PER_MS * FG_BYTES_PER_S / 1000) {
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
        fg_input_skip(c, used);
        if (rc == FG_PARSE_DATA) {
            if (!add_body(c, piece.ptr, piece.len))
                return true;
        } else if (rc == FG_PARSE_DONE) {
            body_done(c);
            return true;
        } else if (rc == FG_PARSE_BAD) {
            fg_conn_refuse(c, c->chunked->status, c->x->request.path, c->chunked->message);
            return true;
        } else {
            return fg_body_wait(c, before - c->view_len);
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
    fg_input_skip(c, n);
    c->body_left -= n;
    if (c->body_left)
        return fg_body_wait(c, n);
    body_done(c);
    return true;
}

void fg_conn_receive(struct fg_conn *c)
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

