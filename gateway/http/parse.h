/*
 * http/parse.h - bytes of a request into meaning: head, path, chunked body. Pure: no sockets, no
 * memory of its own, any thread. Every parser may be fed any split of the same bytes and gives the
 * same outcome; none looks at a byte twice.
 */
#ifndef FG_HTTP_PARSE_H
#define FG_HTTP_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/str.h"

enum fg_parse {
    FG_PARSE_MORE = 0, /* all bytes taken, it goes on */
    FG_PARSE_DONE = 1,
    FG_PARSE_BAD = 2,  /* status and message say why */
    FG_PARSE_DATA = 3, /* chunked only: a piece of the body */
};

struct fg_head_limits {
    uint32_t head_bytes, request_line_bytes, header_count;
};
struct fg_head_field { /* offsets from the first byte of the head: the buffer may move */
    uint32_t name, name_len, value, value_len;
};
struct fg_head {
    struct fg_head_limits limits;
    struct fg_head_field *fields; /* the caller's, limits.header_count of them */
    uint32_t count;
    uint32_t at;           /* bytes taken; after DONE: length of the head */
    uint32_t mark, line;   /* where the token and the line being read begin */
    uint8_t state, empty_lines;
    bool has_request_line;
    /* what it says */
    uint32_t method, method_len, target, target_len;
    uint32_t host, host_len;
    uint8_t minor;         /* HTTP/1.minor */
    bool has_host, has_length, has_encoding, is_chunked;
    bool wants_close, wants_keep, expects_continue, expects_other;
    uint64_t length;       /* Content-Length; UINT64_MAX when it has more than 19 digits */
    int status;            /* after BAD */
    const char *message;
};

void fg_head_init(struct fg_head *, const struct fg_head_limits *, struct fg_head_field *fields);
/* data: everything since the head's first byte, len bytes by now. MORE, DONE or BAD. */
int fg_head_feed(struct fg_head *, const char *data, size_t len);

/* The parts of a request target. path and query point into target, except path when it had to be
 * decoded or tidied: then into room (target.len bytes). Gives 0 or the status of a refusal. */
struct fg_target {
    struct fg_str raw_path, path, query, authority; /* authority: of an absolute form */
};
int fg_target_read(struct fg_str target, char *room, struct fg_target *, const char **message);
/* "host[:port]" without user, path or blanks, at most 255 bytes. */
bool fg_host_is_valid(struct fg_str host);

struct fg_chunked {
    uint64_t left;     /* of this chunk */
    uint64_t room;     /* body bytes that may still come */
    uint32_t digits, extension, extensions, trailer;
    uint8_t state;
    int status;        /* after BAD */
    const char *message;
};
void fg_chunked_init(struct fg_chunked *, uint64_t body_limit);
/* Takes *used bytes of in. DATA: *piece is a part of the body, call again with the rest. */
int fg_chunked_feed(struct fg_chunked *, struct fg_str in, size_t *used, struct fg_str *piece);

/* Character classes of RFC 9110 5.6.2 and 5.5. */
enum { FG_CH_TOKEN = 1, FG_CH_VALUE = 2, FG_CH_TARGET = 4, FG_CH_HEX = 8, FG_CH_HOST = 16 };
extern const unsigned char fg_http_class[256];
static inline bool fg_http_is(char c, int classes)
{
    return (fg_http_class[(unsigned char)c] & classes) != 0;
}

#endif
