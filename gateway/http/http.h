/*
 * http/http.h - the HTTP/1.1 server: strict parsing, bodies in one contiguous buffer, replies and
 * streams with backpressure. The only folder that touches sockets.
 *
 * One server a process, one listener a worker (SO_REUSEPORT). An exchange is one request and its
 * reply; it lives on its connection's worker and all calls here are [that worker's thread].
 * Reading stays armed while a request is served, so a client that leaves is noticed at once.
 */
#ifndef FG_HTTP_HTTP_H
#define FG_HTTP_HTTP_H

#include "conf/conf.h"
#include "loop/worker.h"
#include "util/str.h"

struct fg_http_server;
struct fg_exchange;

enum fg_method {
    FG_GET = 0, FG_HEAD = 1, FG_POST = 2, FG_PUT = 3, FG_PATCH = 4, FG_DELETE = 5, FG_OPTIONS = 6,
    FG_METHOD_OTHER = 7, /* a valid token we do not know */
};
struct fg_http_header {
    struct fg_str name, value; /* value without outer blanks */
};
struct fg_http_request { /* borrowed until the exchange is over */
    int32_t method;           /* enum fg_method */
    struct fg_str path;       /* decoded and normalised: one leading slash, no doubled ones, no
                                 trailing one (but "/"), no dot segments; valid UTF-8, no NUL */
    struct fg_str raw_path;   /* as sent, still encoded, without the query */
    struct fg_str query;      /* raw, without '?' */
    const struct fg_http_header *headers;
    uint32_t header_count;
    struct fg_str body;       /* whole, only in request(); empty in head() */
    uint64_t content_length;  /* declared; 0 when chunked or none */
    bool has_body, loopback;  /* loopback: the peer's address is */
    struct fg_str peer;       /* its address as text */
    struct fg_str id;         /* the request's id, "req_" + 24 hex; sent back as x-request-id */
    uint64_t started_ns;      /* monotonic, head complete */
};
struct fg_http_handler {
    void *ctx;
    /* After the head, before the body (and before "100 Continue"). Reply with an error to refuse:
     * the body is then dropped. May set the exchange's user pointer. */
    void (*head)(void *ctx, struct fg_exchange *);
    /* The whole request. The handler replies now or later, or begins a stream. */
    void (*request)(void *ctx, struct fg_exchange *);
    /* The exchange ends: reply sent or connection lost. Called once for each exchange that head()
     * saw; after it the exchange is gone. closed: the client left before the reply was whole. */
    void (*over)(void *ctx, struct fg_exchange *, bool closed);
    /* The unsent part of a stream fell below the low mark after fg_exchange_write said PAUSE. */
    void (*drained)(void *ctx, struct fg_exchange *);
    /* A parse-level refusal (no exchange yet): writes a small JSON body for status in the dialect
     * of the path as far as it is known ("" when not). */
    void (*refusal)(void *ctx, int status, struct fg_str path, const char *message,
                    struct fg_buf *body);
};

int32_t fg_http_open(const struct fg_conf *, const struct fg_http_handler *,
                     struct fg_worker *const *workers, uint32_t worker_count,
                     struct fg_http_server **, struct fg_error *); /* binds and listens */
/* [any] Stops accepting at once; idle connections close, busy ones after their reply. */
void fg_http_drain(struct fg_http_server *);
/* [any] Exchanges now open. */
uint32_t fg_http_active(const struct fg_http_server *);
uint32_t fg_http_connections(const struct fg_http_server *);
void fg_http_close(struct fg_http_server *); /* after fg_worker_join, before fg_worker_close */
uint16_t fg_http_port(const struct fg_http_server *, uint32_t listen_index);

const struct fg_http_request *fg_exchange_request(const struct fg_exchange *);
struct fg_str fg_exchange_header(const struct fg_exchange *, const char *name); /* {NULL,0}: none */
struct fg_worker *fg_exchange_worker(const struct fg_exchange *);
void fg_exchange_set_user(struct fg_exchange *, void *);
void *fg_exchange_user(const struct fg_exchange *);

/* Reply headers: copied; CR, LF and NUL in a value refuse the header (a counter tells). */
void fg_exchange_set_header(struct fg_exchange *, const char *name, struct fg_str value);
/* A whole reply. type NULL: no Content-Type (empty body). HEAD sends no body. */
void fg_exchange_reply(struct fg_exchange *, int status, const char *type, struct fg_str body);
/* A stream: chunked on 1.1, until close on 1.0. */
void fg_exchange_begin(struct fg_exchange *, int status, const char *type);
/* Chunks of one loop turn leave in one writev. FG_FLOW_PAUSE: taken, but the client is slow: stop
 * until drained(). After the write timeout or limit the exchange ends with over(closed). */
int32_t fg_exchange_write(struct fg_exchange *, struct fg_str data);
void fg_exchange_end(struct fg_exchange *);   /* orderly: last chunk */
void fg_exchange_abort(struct fg_exchange *); /* broken stream: what was written is sent, then the
                                                 connection closes without the last chunk */
bool fg_exchange_begun(const struct fg_exchange *); /* a reply or stream has begun */

#endif
