/*
 * See reply.h. A state machine whose unit in the head is a line and in the body a byte of framing,
 * so that any split of the bytes ends alike. Extensions and trailers are bounded and dropped.
 */
#include "upstream/reply.h"

#include <string.h>

enum state {
    S_STATUS,
    S_FIELD,
    S_BODY,
    S_SIZE,
    S_EXTENSION,
    S_SIZE_LF,
    S_DATA,
    S_DATA_CR,
    S_DATA_LF,
    S_TRAILER,
    S_DONE,
    S_BAD,
};
enum framing { F_NONE, F_LENGTH, F_CHUNKED, F_CLOSE };
enum { DIGITS_MAX = 15, EXTENSION_MAX = 256, TRAILER_MAX = 8 << 10 };

void fg_reply_init(struct fg_reply *r)
{
    struct fg_buf line = r->line;
    line.len = 0;
    line.failed = false;
    line.limit = FG_REPLY_LINE_BYTES + 2;
    *r = (struct fg_reply){.line = line};
}

void fg_reply_done(struct fg_reply *r)
{
    fg_buf_done(&r->line);
}

static int32_t bad(struct fg_reply *r, const char *why)
{
    r->state = S_BAD;
    r->error = why;
    return FG_REPLY_BAD;
}

/* ---- single fields --------------------------------------------------------------------------- */

static int32_t take_length(struct fg_reply *r, struct fg_str v)
{
    if (r->has_length)
        return bad(r, "Content-Length is repeated");
    r->has_length = true;
    if (v.len == 0 || v.len > 18)
        return bad(r, "Content-Length is not a number of bytes");
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] < '0' || v.ptr[i] > '9')
            return bad(r, "Content-Length is not a number of bytes");
    (void)fg_str_u64(v, &r->left);
    return FG_REPLY_MORE;
}

static int32_t take_encoding(struct fg_reply *r, struct fg_str v)
{
    if (r->has_encoding || !fg_str_ieq(v, FG_STR("chunked")))
        return bad(r, "Transfer-Encoding is not one \"chunked\"");
    r->has_encoding = true;
    return FG_REPLY_MORE;
}

static void take_connection(struct fg_reply *r, struct fg_str v)
{
    while (v.len) {
        const char *comma = memchr(v.ptr, ',', v.len);
        const size_t n = comma ? (size_t)(comma - v.ptr) : v.len;
        const struct fg_str option = fg_str_trim((struct fg_str){v.ptr, n});
        r->wants_close |= fg_str_ieq(option, FG_STR("close"));
        r->wants_keep |= fg_str_ieq(option, FG_STR("keep-alive"));
        v = fg_str_from(v, n + 1);
    }
}

static void take_type(struct fg_reply *r, struct fg_str v)
{
    static const struct {
        const char *name;
        int32_t type;
    } types[] = {{"application/json", FG_TYPE_JSON},        {"text/event-stream", FG_TYPE_EVENTS},
                 {"application/x-ndjson", FG_TYPE_LINES},   {"application/ndjson", FG_TYPE_LINES},
                 {"application/jsonl", FG_TYPE_LINES},      {"text/html", FG_TYPE_HTML},
                 {"application/problem+json", FG_TYPE_JSON}};
    const char *semicolon = v.len ? memchr(v.ptr, ';', v.len) : NULL;
    if (semicolon)
        v = fg_str_trim((struct fg_str){v.ptr, (size_t)(semicolon - v.ptr)});
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (fg_str_ieq(v, fg_str_of(types[i].name)))
            r->type = types[i].type;
}

/* Seconds; a date is not worth a calendar: it is taken as "later". */
static void take_retry(struct fg_reply *r, struct fg_str v, uint64_t unit_ms)
{
    uint64_t n;
    const char *dot = v.len ? memchr(v.ptr, '.', v.len) : NULL;
    if (dot)
        v.len = (size_t)(dot - v.ptr);
    if (r->has_retry_after && unit_ms != 1)
        return; /* milliseconds were given, and are the better word */
    r->has_retry_after = true;
    r->retry_after_ms = 1000;
    if (fg_str_u64(v, &n))
        r->retry_after_ms = n > 86400000 / unit_ms ? 86400000 : n * unit_ms;
}

static int32_t take_field(struct fg_reply *r, struct fg_str name, struct fg_str v)
{
    if (fg_str_ieq(name, FG_STR("content-length")))
        return take_length(r, v);
    if (fg_str_ieq(name, FG_STR("transfer-encoding")))
        return take_encoding(r, v);
    if (fg_str_ieq(name, FG_STR("connection")))
        take_connection(r, v);
    else if (fg_str_ieq(name, FG_STR("content-type")))
        take_type(r, v);
    else if (fg_str_ieq(name, FG_STR("content-encoding")))
        r->is_encoded |= v.len && !fg_str_ieq(v, FG_STR("identity"));
    else if (fg_str_ieq(name, FG_STR("retry-after")))
        take_retry(r, v, 1000);
    else if (fg_str_ieq(name, FG_STR("retry-after-ms")))
        take_retry(r, v, 1);
    return FG_REPLY_MORE;
}

/* ---- lines of the head ----------------------------------------------------------------------- */

static int32_t status_line(struct fg_reply *r, struct fg_str line)
{
    const char *p = line.ptr;
    if (line.len < 12 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1') ||
        p[8] != ' ')
        return bad(r, "it does not speak HTTP/1.1");
    for (int i = 9; i < 12; i++)
        if (p[i] < '0' || p[i] > '9')
            return bad(r, "its status line has no status");
    if (line.len > 12 && p[12] != ' ')
        return bad(r, "its status line has no status");
    r->minor = (uint8_t)(p[7] - '0');
    r->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
    if (r->status < 100)
        return bad(r, "its status line has no status");
    r->state = S_FIELD;
    return FG_REPLY_MORE;
}

static bool is_token(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static int32_t field_line(struct fg_reply *r, struct fg_str line)
{
    size_t n = 0;
    if (++r->fields > FG_REPLY_FIELDS)
        return bad(r, "its head has too many fields");
    while (n < line.len && is_token(line.ptr[n]))
        n++;
    if (n == 0 || n == line.len || line.ptr[n] != ':')
        return bad(r, "a field of its head has no proper name");
    const struct fg_str value = fg_str_trim(fg_str_from(line, n + 1));
    for (size_t i = 0; i < value.len; i++)
        if (((unsigned char)value.ptr[i] < 0x20 && value.ptr[i] != '\t') || value.ptr[i] == 0x7f)
            return bad(r, "a field of its head has a control character");
    return take_field(r, (struct fg_str){line.ptr, n}, value);
}

static void next_head(struct fg_reply *r) /* a 1xx is followed by the real one */
{
    const uint32_t bytes = r->head_bytes, fields = r->fields;
    fg_reply_init(r);
    r->head_bytes = bytes;
    r->fields = fields;
}

static int32_t head_end(struct fg_reply *r)
{
    if (r->has_encoding && r->has_length)
        return bad(r, "it sends Content-Length and Transfer-Encoding at once");
    if (r->has_encoding && r->minor == 0)
        return bad(r, "HTTP/1.0 has no Transfer-Encoding");
    if (r->status == 101)
        return bad(r, "it switches protocols");
    if (r->status < 200) {
        next_head(r);
        return FG_REPLY_MORE;
    }
    if (r->is_encoded)
        return bad(r, "it compresses although it was asked not to");
    r->framing = r->status == 204 || r->status == 304 ? F_NONE
                 : r->has_encoding                    ? F_CHUNKED
                 : r->has_length                      ? F_LENGTH
                                                      : F_CLOSE;
    r->keeps = r->framing != F_CLOSE && !r->wants_close && (r->minor == 1 || r->wants_keep);
    r->state = r->framing == F_CHUNKED ? S_SIZE : S_BODY;
    r->has_head = true;
    return FG_REPLY_HEAD;
}

/* One line without its end, from *in or from what was kept of it; false: more, or bad. */
static bool line_next(struct fg_reply *r, struct fg_str *in, struct fg_str *line, uint32_t most)
{
    const char *end = in->len ? memchr(in->ptr, '\n', in->len) : NULL;
    const size_t n = end ? (size_t)(end - in->ptr) + 1 : in->len;
    if (r->head_bytes + n > most || r->line.len + n > FG_REPLY_LINE_BYTES) {
        (void)bad(r, r->head_bytes + n > most ? "its head is too long"
                                              : "a line of its head is too long");
        return false;
    }
    r->head_bytes += (uint32_t)n;
    *line = (struct fg_str){in->ptr, n};
    if (!end || r->line.len) {
        if (n && !fg_buf_add(&r->line, *line)) {
            (void)bad(r, "no memory for its head");
            return false;
        }
        *line = fg_buf_str(&r->line);
    }
    *in = fg_str_from(*in, n);
    if (!end)
        return false;
    if (line->len < 2 || line->ptr[line->len - 2] != '\r') {
        (void)bad(r, "a line of its head does not end in CRLF");
        return false;
    }
    line->len -= 2;
    if (memchr(line->ptr, '\r', line->len)) {
        (void)bad(r, "a line of its head has a bare CR");
        return false;
    }
    r->line.len = 0; /* the bytes stay where they are until the next line */
    return true;
}

static int32_t head_step(struct fg_reply *r, struct fg_str *in)
{
    struct fg_str line;
    if (!line_next(r, in, &line, FG_REPLY_HEAD_BYTES))
        return r->state == S_BAD ? FG_REPLY_BAD : FG_REPLY_MORE;
    if (r->state == S_STATUS)
        return status_line(r, line);
    if (line.len == 0)
        return head_end(r);
    if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
        return bad(r, "it folds lines of its head");
    return field_line(r, line);
}

/* ---- chunks, RFC 9112 7.1 -------------------------------------------------------------------- */

static int32_t size_byte(struct fg_reply *r, char c)
{
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit >= 0) {
        if (++r->digits > DIGITS_MAX)
            return bad(r, "a chunk is too large");
        r->left = (r->digits == 1 ? 0 : r->left * 16) + (uint64_t)digit;
        return FG_REPLY_MORE;
    }
    if (r->digits == 0 || (c != '\r' && c != ';'))
        return bad(r, "a chunk has no proper size");
    r->extension = 0;
    r->state = c == '\r' ? S_SIZE_LF : S_EXTENSION;
    return FG_REPLY_MORE;
}

static int32_t chunk_byte(struct fg_reply *r, char c)
{
    switch (r->state) {
    case S_SIZE:
        return size_byte(r, c);
    case S_EXTENSION:
        if (c == '\r')
            r->state = S_SIZE_LF;
        else if (((unsigned char)c < 0x20 && c != '\t') || ++r->extension > EXTENSION_MAX)
            return bad(r, "a chunk extension is too long or broken");
        return FG_REPLY_MORE;
    case S_SIZE_LF:
        if (c != '\n')
            return bad(r, "a chunk size does not end in CRLF");
        r->digits = 0;
        r->head_bytes = 0; /* counts the trailer from here */
        r->state = r->left ? S_DATA : S_TRAILER;
        return FG_REPLY_MORE;
    case S_DATA_CR:
        if (c != '\r')
            return bad(r, "a chunk is longer than its size");
        r->state = S_DATA_LF;
        return FG_REPLY_MORE;
    default: /* S_DATA_LF */
        if (c != '\n')
            return bad(r, "a chunk is longer than its size");
        r->state = S_SIZE;
        return FG_REPLY_MORE;
    }
}

static int32_t trailer_step(struct fg_reply *r, struct fg_str *in)
{
    struct fg_str line;
    if (!line_next(r, in, &line, TRAILER_MAX))
        return r->state == S_BAD ? FG_REPLY_BAD : FG_REPLY_MORE;
    if (line.len == 0)
        r->state = S_DONE;
    return FG_REPLY_MORE;
}

static int32_t body_step(struct fg_reply *r, struct fg_str *in, struct fg_str *piece)
{
    if (r->framing == F_NONE || (r->framing == F_LENGTH && r->left == 0)) {
        r->state = S_DONE;
        return FG_REPLY_END;
    }
    if (!in->len)
        return FG_REPLY_MORE;
    *piece = *in;
    if (r->framing != F_CLOSE && piece->len > r->left)
        piece->len = (size_t)r->left;
    return FG_REPLY_BODY;
}

void fg_reply_take(struct fg_reply *r, struct fg_str *in, size_t bytes)
{
    *in = fg_str_from(*in, bytes);
    if (r->framing == F_CLOSE)
        return;
    r->left -= bytes;
    if (r->state == S_DATA && r->left == 0)
        r->state = S_DATA_CR;
}

int32_t fg_reply_next(struct fg_reply *r, struct fg_str *in, struct fg_str *piece)
{
    for (;;) {
        int32_t rc;
        if (r->state == S_BAD)
            return FG_REPLY_BAD;
        if (r->state == S_DONE)
            return FG_REPLY_END;
        if (r->state == S_BODY || r->state == S_DATA)
            return body_step(r, in, piece);
        if (!in->len)
            return FG_REPLY_MORE;
        if (r->state == S_STATUS || r->state == S_FIELD) {
            rc = head_step(r, in);
        } else if (r->state == S_TRAILER) {
            rc = trailer_step(r, in);
        } else {
            rc = chunk_byte(r, in->ptr[0]);
            *in = fg_str_from(*in, 1);
        }
        if (rc != FG_REPLY_MORE)
            return rc;
    }
}

int32_t fg_reply_eof(struct fg_reply *r)
{
    if (r->state == S_BAD)
        return FG_REPLY_BAD;
    if (r->state == S_DONE || (r->state == S_BODY && (r->framing == F_CLOSE || r->left == 0)))
        return FG_REPLY_END;
    if (r->state == S_STATUS && r->head_bytes == 0)
        return bad(r, "it closed the connection without an answer");
    return bad(r, r->state <= S_FIELD ? "it closed the connection within the head of its answer"
                                      : "it closed the connection in the middle of its answer");
}
