/*
 * upstream/conn.h - what client.c and conn.c share: the client's struct, its connections, and who
 * may touch what. client.c has the loop, the pool and the clocks; conn.c has one connection's life.
 *
 * A connection is the client's thread's, but for one moment: a worker that sends on a kept
 * connection takes it out of the pool under the lock, makes it busy, and writes the request itself
 * (no wake-up, no switch). From then on it only leaves a task if not all could be written.
 */
#ifndef FG_UPSTREAM_CONN_H
#define FG_UPSTREAM_CONN_H

#include "upstream/client.h"
#include "upstream/resolve.h"
#include "upstream/tls.h"

enum fg_conn_state {
    FG_CONN_RESOLVING = 0,
    FG_CONN_CONNECTING = 1,
    FG_CONN_HANDSHAKE = 2,
    FG_CONN_BUSY = 3,     /* an exchange is on it */
    FG_CONN_DRAINING = 4, /* the rest of a reply nobody waits for */
    FG_CONN_IDLE = 5,     /* [lock] in the pool */
    FG_CONN_SETTLING = 6, /* goes there, when the worker that lent it is back from its send() */
    FG_CONN_DEAD = 7,     /* freed at the end of the turn */
};
enum fg_clock_list { /* each list has one duration, so that it is in order by itself */
                     FG_CLOCK_TRY = 0,   /* one address */
                     FG_CLOCK_FIRST = 1, /* [lock] the first byte */
                     FG_CLOCK_IDLE = 2,  /* the next record */
                     FG_CLOCK_DRAIN = 3,
                     FG_CLOCK_KEEP = 4, /* [lock] the pool itself: the youngest at its end */
                     FG_CLOCKS = 5,
};

struct fg_conn {
    struct fg_list all, clock;
    struct fg_client *client;
    struct fg_exchange *ex;
    struct fg_tls_conn *tls;
    uint64_t due_ns, began_ns;
    uint64_t drained; /* bytes */
    size_t sent;      /* [lock] of the request, */
    size_t length;    /* [lock] which has so many bytes */
    bool settles;     /* [lock] its worker shall put it into the pool */
    bool is_lent;     /* [lock] a worker writes on the socket: it is not closed meanwhile */
    int fd;
    uint32_t watched; /* epoll's events; 0: not in it */
    int32_t state;
    bool is_paused, is_reused, tls_wants_write, has_stash;
    uint32_t address;
    struct fg_addresses *addresses; /* until it is connected */
    struct fg_reply reply;
    struct fg_buf stash; /* came, and was not looked at before a pause */
    char why[96];        /* the last address failed so */
};

struct fg_client {
    struct fg_client_config config;
    struct fg_tls *tls;
    struct fg_resolver *resolver;
    struct fg_mailbox mailbox;
    pthread_t thread;
    bool runs;
    int epoll;
    uint32_t closing, resolved; /* atomic */
    uint64_t now_ns, tick_ns;
    struct fg_list conns;
    struct fg_list clocks[FG_CLOCKS]; /* FIRST and KEEP under the lock */
    uint64_t spans_ns[FG_CLOCKS];
    struct fg_list dead, settling;
    pthread_mutex_t lock;
    uint32_t idle; /* [lock] */
    uint32_t open; /* atomic, as what follows */
    uint64_t bytes_in, bytes_out, opened, reused;
    char scratch[64 << 10];
};

/* client.c */
void fg_clock_set(struct fg_conn *, int32_t clock); /* [io] out of its list, into this one */
void fg_clock_clear(struct fg_conn *);
bool fg_pool_put(struct fg_conn *);    /* false: full */
void fg_pool_settle(struct fg_conn *); /* later, see FG_CONN_SETTLING */

/* conn.c, [io] */
void fg_conn_start(struct fg_client *, struct fg_exchange *); /* on a new connection */
void fg_conn_resolved(struct fg_conn *);
void fg_conn_ready(struct fg_conn *, uint32_t events);
void fg_conn_write(struct fg_conn *);
void fg_conn_late(struct fg_conn *); /* its time is over */
void fg_conn_end(struct fg_conn *);  /* nobody's any more */
void fg_conn_kill(struct fg_conn *, int32_t status, int32_t trouble, const char *text);
void fg_conn_free(struct fg_conn *);

#endif
