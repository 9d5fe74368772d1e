/*
 * http/exchange.c - what a handler does with an exchange: look at the request, set headers, send a
 * whole reply or a stream. Bytes go to the connection's output; nothing here calls the handler
 * back, except fg_exchange_flushed(), which the connection calls when it is safe.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http/inner.h"
#include "obs/metrics.h"

enum {
    FLUSH_BYTES = 64 * 1024, /* a turn that writes more sends in between */
    HARD_FACTOR = 4,         /* unsent beyond this many marks: the handler did not stop */
    LINE_ROOM = 256,         /* status line, date, lengths, id */
};

const struct fg_http_request *fg_exchange_request(const struct fg_exchange *x)
{
    return &x->request;
}

struct fg_str fg_exchange_header(const struct fg_exchange *x, const char *name)
{
    struct fg_str wanted = fg_str_of(name);
    const struct fg_http_request *r = &x->request;
    for (uint32_t i = 0; i < r->header_count; i++)
        if (r->headers[i].name.len == wanted.len && fg_str_ieq(r->headers[i].name, wanted))
            return r->headers[i].value;
    return (struct fg_str){0};
}

struct fg_worker *fg_exchange_worker(const struct fg_exchange *x)
{
    return x->conn->loop->worker;
}

void fg_exchange_set_user(struct fg_exchange *x, void *user)
{
    x->user = user;
}

void *fg_exchange_user(const struct fg_exchange *x)
{
    return x->user;
}

bool fg_exchange_begun(const struct fg_exchange *x)
{
    return x->is_begun;
}

bool fg_exchange_is_over(const struct fg_exchange *x)
{
    return x->is_ended && fg_out_unsent(x->conn) == 0;
}

/* ---- heads of replies ----------------------------------------------------------------------- */

const char *fg_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } table[] = {
        {200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"},
        {304, "Not Modified"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"},
        {404, "Not Found"}, {405, "Method Not Allowed"}, {408, "Request Timeout"},
        {409, "Conflict"}, {413, "Content Too Large"}, {414, "URI Too Long"},
        {415, "Unsupported Media Type"}, {417, "Expectation Failed"},
        {421, "Misdirected Request"}, {422, "Unprocessable Content"},
        {429, "Too Many Requests"}, {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"}, {501, "Not Implemented"}, {502, "Bad Gateway"},
        {503, "Service Unavailable"}, {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"}, {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (table[i].status == status)
            return table[i].text;
    return "Status";
}

static char *put(char *p, const char *text, size_t len)
{
    memcpy(p, text, len);
    return p + len;
}
#define PUT(p, literal) put((p), (literal), sizeof(literal) - 1)

static char *put_text(char *p, const char *text)
{
    return put(p, text, strlen(text));
}

static char *put_decimal(char *p, uint64_t n)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    return put(p, digits + at, sizeof(digits) - at);
}

static char *put_hex(char *p, size_t n)
{
    char digits[16];
    size_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[n & 15];
        n >>= 4;
    } while (n);
    return put(p, digits + at, sizeof(digits) - at);
}

/* The Date line, made anew once a second. */
static char *put_date(char *p, struct fg_loop *l)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != l->date_s) {
        struct tm tm;
        gmtime_r(&now.tv_sec, &tm);
        l->date_s = now.tv_sec;
        l->date_len = (uint32_t)strftime(l->date, sizeof(l->date),
                                         "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
    }
    return put(p, l->date, l->date_len);
}

static void count_reply(struct fg_loop *l, int status)
{
    fg_metric_add(l->server->replies[status >= 100 && status < 600 ? status / 100 : 0], 1);
}

struct reply {
    int status;
    const char *type; /* NULL: no Content-Type */
    struct fg_str id, headers;
    uint64_t length;
    bool has_length, is_chunked, is_closing, says_keep;
};

static void put_head(struct fg_conn *c, const struct reply *r)
{
    size_t type_len = r->type ? strlen(r->type) : 0;
    char *start = fg_out_room(c, LINE_ROOM + type_len + r->headers.len), *p = start;
    if (!start)
        return;
    if (r->status == 200) {
        p = PUT(p, "HTTP/1.1 200 OK\r\n");
    } else {
        p = put_decimal(PUT(p, "HTTP/1.1 "), (uint64_t)r->status);
        p = PUT(put_text(PUT(p, " "), fg_status_text(r->status)), "\r\n");
    }
    p = put_date(p, c->loop);
    if (r->type)
        p = PUT(put(PUT(p, "Content-Type: "), r->type, type_len), "\r\n");
    if (r->has_length)
        p = PUT(put_decimal(PUT(p, "Content-Length: "), r->length), "\r\n");
    if (r->is_chunked)
        p = PUT(p, "Transfer-Encoding: chunked\r\n");
    p = PUT(put(PUT(p, "x-request-id: "), r->id.ptr, r->id.len), "\r\n");
    if (r->headers.len)
        p = put(p, r->headers.ptr, r->headers.len);
    if (r->is_closing)
        p = PUT(p, "Connection: close\r\n");
    else if (r->says_keep)
        p = PUT(p, "Connection: keep-alive\r\n");
    p = PUT(p, "\r\n");
    fg_out_grew(c, (size_t)(p - start));
    count_reply(c->loop, r->status);
}

void fg_reply_refusal(struct fg_conn *c, int status, struct fg_str path, const char *message)
{
    char id[29];
    struct fg_buf body = {.limit = 4096};
    fg_request_id(c->loop, id);
    const struct fg_http_handler *h = c->loop->server->handler;
    h->refusal(h->ctx, status, path, message, &body);
    put_head(c, &(struct reply){.status = status,
                                .type = "application/json",
                                .id = {id, sizeof(id) - 1},
                                .headers = status == 503 ? FG_STR("Retry-After: 1\r\n") : FG_STR(""),
                                .length = body.len,
                                .has_length = true,
                                .is_closing = true});
    fg_out_add(c, body.ptr, body.len);
    fg_buf_done(&body);
}

/* ---- replies -------------------------------------------------------------------------------- */

void fg_exchange_set_header(struct fg_exchange *x, const char *name, struct fg_str value)
{
    size_t name_len = strlen(name), need = name_len + value.len + 4;
    for (size_t i = 0; i < value.len; i++)
        if (!fg_http_is(value.ptr[i], FG_CH_VALUE)) {
            FG_COUNT("fluxgate_http_refused_reply_headers_total",
                     "Reply headers left out because their value had a control character.");
            return;
        }
    if (x->headers_len + need > x->headers_room) {
        size_t room = x->headers_len + need > FG_BLOCK_BYTES ? (x->headers_len + need) * 2
                                                             : FG_BLOCK_BYTES;
        char *fresh = fg_block_take(x->conn->loop, room);
        if (!fresh)
            return;
        if (x->headers_len)
            memcpy(fresh, x->headers, x->headers_len);
        fg_block_give(x->conn->loop, x->headers, x->headers_room);
        x->headers = fresh;
        x->headers_room = (uint32_t)room;
    }
    char *p = put(x->headers + x->headers_len, name, name_len);
    p = PUT(p, ": ");
    if (value.len)
        p = put(p, value.ptr, value.len);
    PUT(p, "\r\n");
    x->headers_len += (uint32_t)need;
}

/* Whether the connection may go on after this reply; also settles what becomes of an unread body. */
static bool keeps_alive(struct fg_exchange *x)
{
    struct fg_conn *c = x->conn;
    bool keep = x->wants_keep && !c->close_after &&
                !__atomic_load_n(&c->loop->server->draining, __ATOMIC_RELAXED);
    if (c->phase == FG_PHASE_BODY) { /* answered before its body was read */
        /* After a final status a client that waits for "100 Continue" may or may not send the
         * body: only closing is unambiguous. */
        if (c->chunked || x->expects_continue || c->body_left > FG_SKIP_MAX) {
            keep = false;
            c->linger_after = true;
        } else {
            c->discards = true;
        }
    }
    c->close_after |= !keep;
    return keep;
}

static void begin(struct fg_exchange *x, int status, const char *type, bool is_stream,
                  uint64_t length)
{
    struct fg_conn *c = x->conn;
    bool is_bare = status == 204 || status == 304 || status < 200;
    x->is_begun = true;
    x->is_stream = is_stream;
    x->is_headless = is_bare || x->request.method == FG_HEAD;
    x->is_chunked = is_stream && x->minor == 1 && !is_bare;
    bool keep = keeps_alive(x);
    if (is_stream && x->minor == 0 && !x->is_headless) {
        keep = false; /* its end is the end of the connection */
        c->close_after = true;
    }
    put_head(c, &(struct reply){.status = status,
                                .type = type,
                                .id = x->request.id,
                                .headers = {x->headers, x->headers_len},
                                .length = length,
                                .has_length = !is_stream && !is_bare,
                                .is_chunked = x->is_chunked,
                                .is_closing = !keep,
                                .says_keep = keep && x->minor == 0});
    fg_block_give(c->loop, x->headers, x->headers_room);
    x->headers = NULL;
    x->headers_len = x->headers_room = 0;
}

void fg_exchange_reply(struct fg_exchange *x, int status, const char *type, struct fg_str body)
{
    if (x->is_begun)
        return;
    begin(x, status, type, false, body.len);
    if (!x->is_headless && body.len)
        fg_out_add_large(x->conn, body);
    x->is_ended = true;
    fg_conn_mark_dirty(x->conn);
}

void fg_exchange_begin(struct fg_exchange *x, int status, const char *type)
{
    if (x->is_begun)
        return;
    begin(x, status, type, true, 0);
    fg_conn_mark_dirty(x->conn);
}

static void put_chunk(struct fg_exchange *x, struct fg_str data)
{
    struct fg_conn *c = x->conn;
    char *start = fg_out_room(c, data.len + 20), *p = start;
    if (!start)
        return;
    if (x->is_chunked)
        p = PUT(put_hex(p, data.len), "\r\n");
    p = put(p, data.ptr, data.len);
    if (x->is_chunked)
        p = PUT(p, "\r\n");
    fg_out_grew(c, (size_t)(p - start));
}

int32_t fg_exchange_write(struct fg_exchange *x, struct fg_str data)
{
    struct fg_conn *c = x->conn;
    uint64_t mark = c->loop->server->limits.unsent_bytes;
    if (c->is_broken || !x->is_stream || x->is_ended)
        return FG_FLOW_STOP;
    if (x->is_headless || data.len == 0)
        return FG_FLOW_GO;
    if (fg_out_unsent(c) > mark * HARD_FACTOR) {
        FG_COUNT("fluxgate_http_unsent_limit_total",
                 "Streams cut because far too much of them was unsent.");
        c->is_broken = true;
        fg_conn_mark_dirty(c);
        return FG_FLOW_STOP;
    }
    put_chunk(x, data);
    fg_conn_mark_dirty(c);
    if (fg_out_unsent(c) >= FLUSH_BYTES && !c->is_blocked)
        fg_out_flush(c);
    if (fg_out_unsent(c) > mark) {
        x->is_paused = true;
        return FG_FLOW_PAUSE;
    }
    return FG_FLOW_GO;
}

void fg_exchange_end(struct fg_exchange *x)
{
    if (!x->is_stream || x->is_ended)
        return;
    if (x->is_chunked && !x->is_headless)
        fg_out_add(x->conn, "0\r\n\r\n", 5);
    x->is_ended = true;
    fg_conn_mark_dirty(x->conn);
}

void fg_exchange_abort(struct fg_exchange *x)
{
    if (x->is_ended)
        return;
    x->is_begun = x->is_ended = true;
    x->conn->close_after = true;
    fg_conn_mark_dirty(x->conn);
}

void fg_exchange_flushed(struct fg_exchange *x)
{
    struct fg_conn *c = x->conn;
    if (!x->is_paused || x->is_ended || fg_out_unsent(c) > c->loop->server->limits.unsent_bytes / 2)
        return;
    x->is_paused = false;
    const struct fg_http_handler *h = c->loop->server->handler;
    h->drained(h->ctx, x);
}
