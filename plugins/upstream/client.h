/*
 * upstream/client.h - an HTTP/1.1 client for one server: one thread, however many exchanges, with
 * connections that are kept. It knows nothing of models.
 *
 * An exchange is one request and its reply. It is the caller's memory and belongs to the client
 * from fg_client_send() until its end() was called, or stop() or detach() came back. Requests are
 * never sent twice: another address is tried while nothing was sent yet, and that is all.
 *
 * Threads  [io] the client's own thread: the handlers, and what says so.
 *          [any] as in the contract.
 */
#ifndef FG_UPSTREAM_CLIENT_H
#define FG_UPSTREAM_CLIENT_H

#include "upstream/reply.h"
#include "upstream/url.h"
#include "util/mailbox.h"

enum fg_trouble { /* how an exchange failed, for metrics */
                  FG_TROUBLE_NONE = 0,
                  FG_TROUBLE_DNS = 1,
                  FG_TROUBLE_CONNECT = 2,
                  FG_TROUBLE_TLS = 3,
                  FG_TROUBLE_TIMEOUT = 4,
                  FG_TROUBLE_RESET = 5,    /* the connection ended where it should not */
                  FG_TROUBLE_PROTOCOL = 6, /* what it sent is no proper answer */
                  FG_TROUBLE_STATUS = 7,   /* an answer of 500 or above */
                  FG_TROUBLES = 8,
};
const char *fg_trouble_name(int32_t trouble);

struct fg_client;
struct fg_conn;
struct fg_exchange;
struct fg_handler { /* [io] */
    /* The head of the reply is there. */
    void (*head)(struct fg_exchange *, const struct fg_reply *);
    /* Bytes of the body; answers how many it took. Fewer than all only after it called
     * fg_exchange_pause(), stop() or detach(). */
    size_t (*body)(struct fg_exchange *, struct fg_str piece);
    /* All bytes that came so far were looked at, and the reply is not whole yet. */
    void (*more)(struct fg_exchange *);
    /* The last call: FG_OK when the reply came whole, else a status, what kind of trouble it was,
     * and a text for people in which the server is "it". */
    void (*end)(struct fg_exchange *, int32_t status, int32_t trouble, const char *text);
    /* The exchange must live on until let_go(): a task of it is on its way. [any], and NULL where
     * send() is only called [io]. */
    void (*hold)(struct fg_exchange *);
    void (*let_go)(struct fg_exchange *);
};
struct fg_exchange {
    const struct fg_handler *handler;
    struct fg_str request; /* head and body, unchanged until the end */
    struct fg_task task;   /* the client's, as what follows */
    struct fg_client *client;
    struct fg_conn *conn;
};

struct fg_client_times { /* milliseconds */
    uint32_t connect;    /* name, connection and TLS */
    uint32_t first_byte; /* from there to the whole head of the reply */
    uint32_t idle;       /* between two fg_exchange_moved() */
    uint32_t keep;       /* of a connection that is not used */
};
struct fg_client_config {
    struct fg_url url;
    const char *ca_file; /* may be NULL; not needed after open() */
    bool verify;
    struct fg_client_times times;
    uint32_t keep_max; /* connections that are not used */
    /* [io] After each turn of the loop; answers when it wants to be called at the latest. */
    uint64_t (*tick)(void *ctx, uint64_t now_ns);
    void *ctx;
};
struct fg_client_numbers {
    uint64_t bytes_in, bytes_out, opened, reused;
    uint32_t open, idle;
};

/* Starts the thread. */
int32_t fg_client_open(const struct fg_client_config *, struct fg_client **, struct fg_error *);
/* Ends what is still under way with FG_CANCELLED, then the thread. [control] */
void fg_client_close(struct fg_client *);
void fg_client_send(struct fg_client *, struct fg_exchange *);        /* [any] */
bool fg_client_post(struct fg_client *, struct fg_task *);            /* [any] runs it [io] */
void fg_client_wake(struct fg_client *);                              /* [any] tick() soon */
void fg_client_count(struct fg_client *, struct fg_client_numbers *); /* [any] */
uint64_t fg_client_now(const struct fg_client *);                     /* [io] of this turn */

/* [io] All harmless after the end. */
void fg_exchange_moved(struct fg_exchange *); /* something whole came: the idle time starts anew */
void fg_exchange_pause(struct fg_exchange *); /* reads nothing more, until */
void fg_exchange_resume(struct fg_exchange *);
void fg_exchange_stop(struct fg_exchange *);   /* no end(); the connection is cut */
void fg_exchange_detach(struct fg_exchange *); /* no end(); the rest is read off, it may be kept */

#endif
