/*
 * upstream/reply.h - the reply of an HTTP/1.1 server: status line, the few fields that matter here,
 * and the body's framing. Strict: a server that mixes framings, folds lines or ends them with a
 * bare LF is refused, because what follows cannot be trusted to be the answer to our next request.
 *
 * It pulls: fg_reply_next() consumes from *in what it understands and hands out body bytes where
 * they lie; fg_reply_take() says how many of them were used. So a reader may stop at any byte. It
 * keeps no header but the ones below, so a head of any length costs one line of memory. One owner.
 */
#ifndef FG_UPSTREAM_REPLY_H
#define FG_UPSTREAM_REPLY_H

#include "util/str.h"

enum {
    FG_REPLY_HEAD_BYTES = 32 << 10, /* all heads of one reply, 1xx ones included */
    FG_REPLY_LINE_BYTES = 8 << 10,
    FG_REPLY_FIELDS = 100,
};
enum fg_reply_step {
    FG_REPLY_MORE = 0, /* *in is used up */
    FG_REPLY_HEAD = 1, /* once: status and fields are known */
    FG_REPLY_BODY = 2, /* piece: the front of *in, not yet taken */
    FG_REPLY_END = 3,  /* the reply is whole; what is left in *in is not part of it */
    FG_REPLY_BAD = 4,  /* error says why */
};
enum fg_reply_type {
    FG_TYPE_OTHER = 0,
    FG_TYPE_JSON = 1,
    FG_TYPE_EVENTS = 2, /* text/event-stream */
    FG_TYPE_LINES = 3,  /* application/x-ndjson and its like */
    FG_TYPE_HTML = 4,
};
struct fg_reply {
    int32_t status;
    int32_t type;  /* enum fg_reply_type */
    bool has_head; /* it is known, all of it */
    bool keeps;    /* the connection may be used again */
    bool has_retry_after;
    uint64_t retry_after_ms;
    const char *error;

    uint8_t state, framing, minor;
    bool has_length, has_encoding, is_encoded, wants_close, wants_keep;
    uint32_t fields, head_bytes, digits, extension;
    uint64_t left;      /* of the body, of the chunk */
    struct fg_buf line; /* the beginning of a line that is not whole yet */
};

void fg_reply_init(struct fg_reply *); /* also for the next reply; keeps the line's memory */
void fg_reply_done(struct fg_reply *);
int32_t fg_reply_next(struct fg_reply *, struct fg_str *in, struct fg_str *piece);
void fg_reply_take(struct fg_reply *, struct fg_str *in, size_t bytes);
/* The connection ended: END when that is how this body ends, else BAD. */
int32_t fg_reply_eof(struct fg_reply *);

#endif
