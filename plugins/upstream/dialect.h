/*
 * upstream/dialect.h - how a kind of server is spoken to: an fg_request becomes a body and a path,
 * records of the reply become events, an error answer becomes a status and a text. A dialect has no
 * state of its own and touches no socket; it may be called from any thread.
 */
#ifndef FG_UPSTREAM_DIALECT_H
#define FG_UPSTREAM_DIALECT_H

#include "upstream/reader.h"

struct fg_ask {
    const struct fg_request *request;
    struct fg_str model; /* as the server calls it */
    const void *options; /* the dialect's own, of the configuration */
};
struct fg_fault {
    int32_t status;         /* enum fg_status */
    bool is_server;         /* its own failure: counts for the breaker */
    bool wants_pause;       /* it is busy: nobody should ask for a while */
    uint32_t prompt_tokens; /* TOO_LONG, when it tells */
    char text[252];         /* without the server's name */
};
struct fg_dialect {
    const char *accept; /* media type of a stream */
    bool is_lines;      /* NDJSON, else server-sent events */
    /* Behind the configured path; NULL: such a server cannot be asked for that. */
    const char *(*path)(int32_t op);
    /* FG_UNSUPPORTED and FG_INVALID say what cannot be asked there. The body is appended. */
    int32_t (*write)(const struct fg_ask *, struct fg_buf *body, struct fg_error *);
    /* One record of a stream, or a whole reply that is no stream. False: reader->error. */
    bool (*read)(struct fg_reader *, struct fg_str name, struct fg_str record);
    /* An answer of another status than 200; body may be empty, cut or anything. */
    void (*fault)(int32_t http_status, struct fg_str body, struct fg_fault *);
};

#endif
