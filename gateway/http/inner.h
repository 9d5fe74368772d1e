/*
 * http/inner.h - what the files of this folder share: the server, its part on each worker (loop),
 * connections and exchanges. Everything but the server's counters and its table of addresses
 * belongs to one worker's thread.
 *
 * A connection goes HEAD -> BODY -> SERVE -> HEAD ..., or ends over LINGER. Handlers are called from
 * the top of a callback only and what they call never calls back: it leaves bytes and flags, and
 * fg_conn_settle() acts on them when the handler has returned.
 */
#ifndef FG_HTTP_INNER_H
#define FG_HTTP_INNER_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>

#include "http/http.h"
#include "http/parse.h"
#include "util/list.h"

enum {
    FG_SCRATCH_BYTES = 32 * 1024, /* one read; a request that fits costs one recv */
    FG_BLOCK_BYTES = 4096,        /* pooled memory of exchanges and unsent output */
    FG_BLOCKS_KEPT = 64,
    FG_PENDING_MAX = 64 * 1024,   /* read ahead while a request is served */
    FG_SKIP_MAX = 64 * 1024,      /* a refused body this short is dropped, else we close */
    FG_DIRECT_BYTES = 16 * 1024,  /* a reply body from here on is sent from where it lies */
    FG_PEER_BYTES = 48,
    FG_BYTES_PER_S = 500, /* the least: of a body on average, and of reading a reply */
};

enum fg_phase { FG_PHASE_HEAD, FG_PHASE_BODY, FG_PHASE_SERVE, FG_PHASE_LINGER };
enum fg_timer { /* each of a fixed span, so its list is ordered by deadline */
    FG_TIMER_IDLE, FG_TIMER_HEAD, FG_TIMER_BODY, FG_TIMER_WRITE, FG_TIMER_LINGER,
    FG_TIMER_COUNT, FG_TIMER_NONE = FG_TIMER_COUNT,
};

struct fg_address { /* of a peer, v4 mapped into v6 */
    unsigned char bytes[16];
};
struct fg_addresses; /* connections an address */

struct fg_conn {
    struct event event; /* read, write, closed; edge-triggered, registered once */
    struct fg_loop *loop;
    struct fg_exchange *x;
    struct fg_list all, dirty, again, timer; /* nodes; alone when in no list */
    uint64_t deadline_ns;
    int fd;
    uint8_t phase, timer_kind;
    bool is_eof;        /* the peer has sent all it will */
    bool is_held;       /* bytes may wait in the kernel: we stopped reading */
    bool is_closed_far; /* a FIN is known, perhaps behind held bytes */
    bool is_probed;     /* that peer was asked whether it still listens */
    bool is_blocked;    /* the kernel takes no more output for now */
    bool is_broken;     /* lost; fg_conn_settle() ends it */
    bool close_after, linger_after; /* once the output is out */
    bool is_dead, is_loopback;
    bool is_busy;       /* in a handler's call; settled right after it */
    bool is_view_pending;
    bool discards;      /* the rest of the body is dropped: its request was answered */
    uint64_t body_left;
    uint64_t body_began_ns, body_got; /* for the average rate */
    const char *view;   /* input at hand in this callback */
    size_t view_len;
    char *pending;      /* input kept between callbacks, or NULL */
    uint32_t pending_at, pending_len, pending_room;
    struct fg_head *partial; /* a head that is not whole yet */
    struct fg_chunked *chunked; /* in a chunked body */
    char *out;          /* unsent output, or NULL */
    uint32_t out_at, out_len, out_room;
    size_t kernel_bytes; /* not yet acknowledged when the wait for room began */
    struct fg_address address;
    char peer[FG_PEER_BYTES];
};

struct fg_exchange {
    struct fg_http_request request;
    struct fg_conn *conn;
    void *user;
    size_t block_bytes;      /* of this very allocation */
    char *body;              /* own allocation, or inside of the block */
    size_t body_room;
    char *headers;           /* reply headers, a pooled block or larger */
    uint32_t headers_len, headers_room;
    uint8_t minor;
    bool expects_continue, wants_keep;
    bool has_own_body;       /* free body */
    bool is_begun, is_ended, is_stream, is_chunked, is_paused;
    bool is_headless;        /* the reply has no body: HEAD, 204, 304 */
    char id[29];
};

struct fg_listener {
    struct event event;
    struct fg_loop *loop;
    int fd;
};

struct fg_drain { /* a task that may outlive its loop, in the mailbox of a stopped worker */
    struct fg_task task;
    struct fg_loop *loop; /* NULL: it is gone */
};

struct fg_loop { /* a server's part on one worker */
    struct fg_http_server *server;
    struct fg_worker *worker;
    struct event_base *base;
    struct fg_listener *listeners;
    struct fg_list conns, dirty, again, dead, timers[FG_TIMER_COUNT];
    struct event flush, repeat, tick, wait_accept;
    uint64_t now_ns, tick_ns; /* of this callback; when tick is due, 0: not armed */
    uint64_t random[2];
    struct fg_drain *drain;   /* posted and not yet run */
    bool is_draining, has_flush, has_repeat, is_gone;
    char *blocks[FG_BLOCKS_KEPT];
    uint32_t block_count;
    int64_t date_s;
    char date[40];            /* "Date: ...\r\n" */
    uint32_t date_len;
    struct fg_head head;      /* for a head that comes in one piece */
    struct fg_head_field *fields;
    char *path_room;          /* for a path that must be decoded */
    char scratch[FG_SCRATCH_BYTES];
};

struct fg_http_server {
    struct fg_conf_limits limits;
    struct fg_head_limits head_limits;
    const struct fg_http_handler *handler;
    uint64_t span_ns[FG_TIMER_COUNT];
    uint32_t loop_count, listen_count;
    struct fg_loop **loops;
    uint16_t *ports;
    uint32_t connection_limit, pending_max;
    uint32_t connections, active; /* atomic */
    int draining;                 /* atomic */
    struct fg_addresses *addresses;
    struct fg_metric *replies[6], *open_connections, *active_requests;
};

/* addresses.c [any] */
struct fg_addresses *fg_addresses_open(uint32_t limit);
void fg_addresses_close(struct fg_addresses *);
bool fg_addresses_enter(struct fg_addresses *, const struct fg_address *); /* false: at the limit */
void fg_addresses_leave(struct fg_addresses *, const struct fg_address *);
bool fg_address_is_loopback(const struct fg_address *);

/* listen.c */
int32_t fg_listen(const char *address, uint16_t *port, bool is_first, bool is_shared, int *out,
                  struct fg_error *err);
int fg_accept(int listener, struct fg_address *, char *text, size_t room);

/* timer.c */
void fg_timer_set(struct fg_conn *, int kind); /* FG_TIMER_NONE: off */
void fg_timer_init(struct fg_loop *);

/* conn.c: life and ends */
void fg_loop_enter(struct fg_loop *); /* around every callback */
void fg_loop_leave(struct fg_loop *);
bool fg_conn_open(struct fg_loop *, int fd, const struct fg_address *, const char *peer);
void fg_conn_destroy(struct fg_conn *); /* at server close, outside of any callback */
void fg_conn_expire(struct fg_conn *, int kind);
void fg_conn_drain(struct fg_conn *);
void fg_conn_settle(struct fg_conn *); /* sends what is unsent, ends what is over */
/* Answers what is no proper request; the connection closes behind it. */
void fg_conn_refuse(struct fg_conn *, int status, struct fg_str path, const char *why);
void fg_conn_lost(struct fg_conn *);
void fg_conn_close(struct fg_conn *);
void fg_conn_mark_dirty(struct fg_conn *); /* settle at the end of this turn */
void fg_conn_mark_again(struct fg_conn *); /* read on in the next turn */

/* input.c: bytes in */
void fg_conn_on_event(evutil_socket_t, short what, void *conn);
void fg_conn_advance(struct fg_conn *); /* settles, then goes on with pending and held input */
void fg_conn_read(struct fg_conn *);
void fg_input_drop(struct fg_conn *);
void fg_input_drop_partial(struct fg_conn *);
static inline size_t fg_input_pending(const struct fg_conn *c)
{
    return c->pending_len - c->pending_at;
}
static inline void fg_input_skip(struct fg_conn *c, size_t n) /* n bytes of the view are used */
{
    c->view += n;
    c->view_len -= n;
}

/* receive.c: requests out of bytes */
void fg_conn_receive(struct fg_conn *); /* uses the view as far as it goes */
/* The body is not whole yet. True: it was given up. */
bool fg_body_wait(struct fg_conn *, size_t progress);
/* The path for the dialect of a refusal, as far as it is known. */
struct fg_str fg_head_path(struct fg_loop *, const struct fg_head *, const char *data);

/* request.c: a parsed head into an exchange */
struct fg_exchange *fg_exchange_open(struct fg_conn *, const struct fg_head *, const char *data,
                                     const struct fg_target *);
void fg_exchange_close(struct fg_exchange *);
bool fg_exchange_body_reserve(struct fg_exchange *, size_t need);
void fg_request_id(struct fg_loop *, char out[29]);

/* out.c: unsent output of a connection, and the pool of blocks */
char *fg_block_take(struct fg_loop *, size_t bytes); /* at least; NULL: no memory */
void fg_block_give(struct fg_loop *, char *block, size_t bytes);
bool fg_out_add(struct fg_conn *, const char *data, size_t len); /* false: broken, no memory */
char *fg_out_room(struct fg_conn *, size_t len); /* to write into; then fg_out_grew() */
void fg_out_grew(struct fg_conn *, size_t len);
void fg_out_flush(struct fg_conn *);
/* Unsent output and then body, without copying it when nothing was unsent before. */
void fg_out_add_large(struct fg_conn *, struct fg_str body);
void fg_out_drop(struct fg_conn *);
void fg_out_wait(struct fg_conn *); /* the kernel is full: the write timeout begins */
size_t fg_out_in_kernel(const struct fg_conn *);
static inline size_t fg_out_unsent(const struct fg_conn *c)
{
    return c->out_len - c->out_at;
}

/* exchange.c */
void fg_reply_refusal(struct fg_conn *, int status, struct fg_str path, const char *message);
void fg_exchange_flushed(struct fg_exchange *); /* tells drained() below the low mark */
bool fg_exchange_is_over(const struct fg_exchange *);
const char *fg_status_text(int status);

#endif
