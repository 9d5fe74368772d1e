/*
 * http/chunked.c - a chunked body, RFC 9112 7.1: hands out the pieces where they lie, copies
 * nothing, and costs a constant for each byte of framing, however small the chunks. Extensions and
 * trailers are checked for their form, bounded, and dropped: nothing in them ever becomes a header.
 */
#include "http/parse.h"

enum state {
    S_SIZE, S_EXTENSION, S_SIZE_LF, S_DATA, S_DATA_CR, S_DATA_LF,
    S_TRAILER, S_NAME, S_VALUE, S_VALUE_LF, S_END_LF, S_DONE, S_BAD,
};
enum {
    DIGITS_MAX = 15,
    EXTENSION_MAX = 256,        /* a chunk */
    EXTENSIONS_MAX = 16 * 1024, /* in all */
    TRAILER_MAX = 8 * 1024,
};

void fg_chunked_init(struct fg_chunked *c, uint64_t body_limit)
{
    *c = (struct fg_chunked){.room = body_limit};
}

static int bad(struct fg_chunked *c, int status, const char *message)
{
    c->state = S_BAD;
    c->status = status;
    c->message = message;
    return FG_PARSE_BAD;
}

static int size_byte(struct fg_chunked *c, char ch)
{
    if (fg_http_is(ch, FG_CH_HEX)) {
        if (++c->digits > DIGITS_MAX)
            return bad(c, 400, "a chunk size has too many digits");
        c->left = c->left * 16 + (uint64_t)(ch <= '9' ? ch - '0' : (ch | 0x20) - 'a' + 10);
        return FG_PARSE_MORE;
    }
    if (c->digits == 0 || (ch != '\r' && ch != ';'))
        return bad(c, 400, "a chunk size is not a hexadecimal number");
    c->extension = 0;
    c->state = ch == ';' ? S_EXTENSION : S_SIZE_LF;
    return FG_PARSE_MORE;
}

static int extension_byte(struct fg_chunked *c, char ch)
{
    if (ch == '\r') {
        c->state = S_SIZE_LF;
        return FG_PARSE_MORE;
    }
    if (!fg_http_is(ch, FG_CH_VALUE))
        return bad(c, 400, "a chunk extension has a control character");
    if (++c->extension > EXTENSION_MAX || ++c->extensions > EXTENSIONS_MAX)
        return bad(c, 413, "chunk extensions are too long");
    return FG_PARSE_MORE;
}

static int size_end(struct fg_chunked *c, char ch)
{
    if (ch != '\n')
        return bad(c, 400, "a chunk size line does not end in CRLF");
    if (c->left > c->room)
        return bad(c, 413, "the body is too large");
    c->room -= c->left;
    c->state = c->left ? S_DATA : S_TRAILER;
    c->digits = 0;
    return FG_PARSE_MORE;
}

static int trailer_byte(struct fg_chunked *c, char ch)
{
    if (c->state == S_TRAILER && ch == '\r') {
        c->state = S_END_LF;
        return FG_PARSE_MORE;
    }
    if (++c->trailer > TRAILER_MAX)
        return bad(c, 431, "trailers are too long");
    switch (c->state) {
    case S_TRAILER:
        c->state = S_NAME;
        return fg_http_is(ch, FG_CH_TOKEN) ? FG_PARSE_MORE
                                           : bad(c, 400, "a trailer has no proper name");
    case S_NAME:
        if (ch == ':')
            c->state = S_VALUE;
        else if (!fg_http_is(ch, FG_CH_TOKEN))
            return bad(c, 400, "a trailer has no proper name");
        return FG_PARSE_MORE;
    default:
        if (ch == '\r')
            c->state = S_VALUE_LF;
        else if (!fg_http_is(ch, FG_CH_VALUE))
            return bad(c, 400, "a trailer has a control character");
        return FG_PARSE_MORE;
    }
}

/* CR or LF where only that may stand. */
static int expect(struct fg_chunked *c, char ch, char wanted, int next)
{
    if (ch != wanted)
        return bad(c, 400, "a chunk does not end where its size says, or not in CRLF");
    c->state = (uint8_t)next;
    return next == S_DONE ? FG_PARSE_DONE : FG_PARSE_MORE;
}

static int framing_byte(struct fg_chunked *c, char ch)
{
    switch (c->state) {
    case S_SIZE:
        return size_byte(c, ch);
    case S_EXTENSION:
        return extension_byte(c, ch);
    case S_SIZE_LF:
        return size_end(c, ch);
    case S_DATA_CR:
        return expect(c, ch, '\r', S_DATA_LF);
    case S_DATA_LF:
        return expect(c, ch, '\n', S_SIZE);
    case S_VALUE_LF:
        return expect(c, ch, '\n', S_TRAILER);
    case S_END_LF:
        return expect(c, ch, '\n', S_DONE);
    default:
        return trailer_byte(c, ch);
    }
}

int fg_chunked_feed(struct fg_chunked *c, struct fg_str in, size_t *used, struct fg_str *piece)
{
    int rc = c->state == S_DONE ? FG_PARSE_DONE : c->state == S_BAD ? FG_PARSE_BAD : FG_PARSE_MORE;
    size_t at = 0;
    while (rc == FG_PARSE_MORE && at < in.len) {
        if (c->state != S_DATA) {
            rc = framing_byte(c, in.ptr[at++]);
            continue;
        }
        size_t n = in.len - at < c->left ? in.len - at : (size_t)c->left;
        *piece = (struct fg_str){in.ptr + at, n};
        at += n;
        c->left -= n;
        if (c->left == 0)
            c->state = S_DATA_CR;
        rc = FG_PARSE_DATA;
    }
    *used = at;
    return rc;
}
