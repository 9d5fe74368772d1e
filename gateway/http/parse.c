/*
 * http/parse.c - the head of a request: request line and header fields, strict as RFC 9112 allows
 * and stricter where servers have been split from their proxies: lines end in CRLF only, nothing is
 * folded, framing is Content-Length or one "chunked" and never both. A state machine over single
 * bytes whose inner loops run over whole tokens, so that any split of the bytes ends alike. It does
 * not decode the target (target.c) and keeps no bytes, only offsets.
 */
#include "http/parse.h"

#include <string.h>

enum state {
    S_START, S_START_LF, S_METHOD, S_TARGET, S_VERSION, S_LINE_LF,
    S_FIELD, S_NAME, S_BLANK, S_VALUE, S_VALUE_LF, S_END_LF, S_DONE, S_BAD,
};
enum { METHOD_MAX = 32, VERSION_LEN = 8, EMPTY_LINES_MAX = 2 };

void fg_head_init(struct fg_head *h, const struct fg_head_limits *limits,
                  struct fg_head_field *fields)
{
    *h = (struct fg_head){.limits = *limits, .fields = fields};
}

static int bad(struct fg_head *h, int status, const char *message)
{
    h->state = S_BAD;
    h->status = status;
    h->message = message;
    return FG_PARSE_BAD;
}

/* ---- what single fields mean ---------------------------------------------------------------- */

static bool same(const char *a, const char *lower, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = a[i];
        if ((c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c) != lower[i])
            return false;
    }
    return true;
}

static int take_length(struct fg_head *h, struct fg_str v)
{
    if (h->has_length)
        return bad(h, 400, "Content-Length is repeated");
    h->has_length = true;
    if (v.len == 0)
        return bad(h, 400, "Content-Length is empty");
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] < '0' || v.ptr[i] > '9')
            return bad(h, 400, "Content-Length is not a decimal number");
    if (v.len > 19 || !fg_str_u64(v, &h->length))
        h->length = UINT64_MAX;
    return FG_PARSE_MORE;
}

static int take_encoding(struct fg_head *h, struct fg_str v)
{
    if (h->has_encoding)
        return bad(h, 400, "Transfer-Encoding is repeated");
    h->has_encoding = true;
    h->is_chunked = fg_str_ieq(v, FG_STR("chunked"));
    if (!h->is_chunked)
        return bad(h, 501, "Transfer-Encoding may only be chunked");
    return FG_PARSE_MORE;
}

static int take_host(struct fg_head *h, const struct fg_head_field *f, struct fg_str v)
{
    if (h->has_host)
        return bad(h, 400, "Host is repeated");
    h->has_host = true;
    h->host = f->value;
    h->host_len = f->value_len;
    if (!fg_host_is_valid(v))
        return bad(h, 400, "Host is not a host and a port");
    return FG_PARSE_MORE;
}

/* Connection is a list; other options in it are of no interest here. */
static void take_connection(struct fg_head *h, struct fg_str v)
{
    while (v.len) {
        const char *comma = memchr(v.ptr, ',', v.len);
        size_t n = comma ? (size_t)(comma - v.ptr) : v.len;
        struct fg_str option = fg_str_trim((struct fg_str){v.ptr, n});
        h->wants_close |= fg_str_ieq(option, FG_STR("close"));
        h->wants_keep |= fg_str_ieq(option, FG_STR("keep-alive"));
        v = fg_str_from(v, n + 1);
    }
}

/* A whole line was read. */
static int take_field(struct fg_head *h, const char *data)
{
    const struct fg_head_field *f = &h->fields[h->count - 1];
    const char *name = data + f->name;
    struct fg_str v = {data + f->value, f->value_len};
    switch (f->name_len) {
    case 4:
        return same(name, "host", 4) ? take_host(h, f, v) : FG_PARSE_MORE;
    case 6:
        if (same(name, "expect", 6)) {
            bool is_continue = fg_str_ieq(v, FG_STR("100-continue"));
            h->expects_continue |= is_continue;
            h->expects_other |= !is_continue;
        }
        return FG_PARSE_MORE;
    case 10:
        if (same(name, "connection", 10))
            take_connection(h, v);
        return FG_PARSE_MORE;
    case 14:
        return same(name, "content-length", 14) ? take_length(h, v) : FG_PARSE_MORE;
    case 17:
        return same(name, "transfer-encoding", 17) ? take_encoding(h, v) : FG_PARSE_MORE;
    default:
        return FG_PARSE_MORE;
    }
}

/* The empty line was read: what only the whole head can tell. */
static int finish(struct fg_head *h)
{
    if (h->has_encoding && h->has_length)
        return bad(h, 400, "Content-Length and Transfer-Encoding exclude each other");
    if (h->has_encoding && h->minor == 0)
        return bad(h, 400, "HTTP/1.0 has no Transfer-Encoding");
    if (h->minor == 1 && !h->has_host)
        return bad(h, 400, "Host is missing");
    h->state = S_DONE;
    return FG_PARSE_DONE;
}

static int take_version(struct fg_head *h, const char *data)
{
    const char *v = data + h->mark;
    if (h->at - h->mark != VERSION_LEN || memcmp(v, "HTTP/", 5) != 0 || v[6] != '.' ||
        v[5] < '0' || v[5] > '9' || v[7] < '0' || v[7] > '9')
        return bad(h, 400, "the request line has no HTTP version");
    if (v[5] != '1' || v[7] > '1')
        return bad(h, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    h->minor = (uint8_t)(v[7] - '0');
    return FG_PARSE_MORE;
}

/* ---- the machine ---------------------------------------------------------------------------- */

/* The first byte from at that is not of the class, or end. */
static uint32_t run(const char *data, uint32_t at, uint32_t end, int class)
{
    while (at < end && fg_http_is(data[at], class))
        at++;
    return at;
}

static int start(struct fg_head *h, char c)
{
    if (c == '\r') { /* RFC 9112 2.2: an empty line before a request is forgiven */
        if (++h->empty_lines > EMPTY_LINES_MAX)
            return bad(h, 400, "empty lines instead of a request");
        h->at++;
        h->state = S_START_LF;
        return FG_PARSE_MORE;
    }
    h->mark = h->line = h->method = h->at;
    h->state = S_METHOD;
    return FG_PARSE_MORE;
}

static int method(struct fg_head *h, const char *data, uint32_t end)
{
    uint32_t stop = h->mark + METHOD_MAX + 1;
    h->at = run(data, h->at, end < stop ? end : stop, FG_CH_TOKEN);
    if (h->at == stop)
        return bad(h, 501, "the method is too long");
    if (h->at == end)
        return FG_PARSE_MORE;
    if (data[h->at] != ' ' || h->at == h->mark)
        return bad(h, 400, "the request line does not begin with a method");
    h->method_len = h->at - h->mark;
    h->mark = h->target = ++h->at;
    h->state = S_TARGET;
    return FG_PARSE_MORE;
}

static int target(struct fg_head *h, const char *data, uint32_t end)
{
    h->at = run(data, h->at, end, FG_CH_TARGET);
    if (h->at == end)
        return FG_PARSE_MORE;
    if (data[h->at] == '\r')
        return bad(h, 400, "the request line has no HTTP version");
    if (data[h->at] != ' ' || h->at == h->mark)
        return bad(h, 400, "the request target has characters that must be encoded");
    h->target_len = h->at - h->mark;
    h->mark = ++h->at;
    h->state = S_VERSION;
    return FG_PARSE_MORE;
}

static int version(struct fg_head *h, const char *data, uint32_t end)
{
    uint32_t stop = h->mark + VERSION_LEN;
    h->at = run(data, h->at, end < stop ? end : stop, FG_CH_TARGET);
    if (h->at == end)
        return FG_PARSE_MORE;
    int rc = take_version(h, data);
    if (rc != FG_PARSE_MORE)
        return rc;
    if (data[h->at] != '\r')
        return bad(h, 400, "the request line does not end in CRLF");
    h->at++;
    h->state = S_LINE_LF;
    return FG_PARSE_MORE;
}

static int line_feed(struct fg_head *h, char c, int next)
{
    if (c != '\n')
        return bad(h, 400, "a line does not end in CRLF");
    h->at++;
    h->state = (uint8_t)next;
    return FG_PARSE_MORE;
}

static int field(struct fg_head *h, char c)
{
    if (c == '\r') {
        h->at++;
        h->state = S_END_LF;
        return FG_PARSE_MORE;
    }
    if (c == ' ' || c == '\t')
        return bad(h, 400, "folded header lines are not accepted");
    if (h->count >= h->limits.header_count)
        return bad(h, 431, "too many header fields");
    h->fields[h->count++] = (struct fg_head_field){.name = h->at};
    h->state = S_NAME;
    return FG_PARSE_MORE;
}

static int name(struct fg_head *h, const char *data, uint32_t end)
{
    struct fg_head_field *f = &h->fields[h->count - 1];
    h->at = run(data, h->at, end, FG_CH_TOKEN);
    if (h->at == end)
        return FG_PARSE_MORE;
    if (data[h->at] != ':' || h->at == f->name)
        return bad(h, 400, "a header field has no proper name");
    f->name_len = h->at - f->name;
    h->at++;
    h->state = S_BLANK;
    return FG_PARSE_MORE;
}

static int blank(struct fg_head *h, const char *data, uint32_t end)
{
    while (h->at < end && (data[h->at] == ' ' || data[h->at] == '\t'))
        h->at++;
    if (h->at == end)
        return FG_PARSE_MORE;
    h->fields[h->count - 1].value = h->at;
    h->state = S_VALUE;
    return FG_PARSE_MORE;
}

static int value(struct fg_head *h, const char *data, uint32_t end)
{
    struct fg_head_field *f = &h->fields[h->count - 1];
    h->at = run(data, h->at, end, FG_CH_VALUE);
    if (h->at == end)
        return FG_PARSE_MORE;
    if (data[h->at] != '\r')
        return bad(h, 400, "a header field has a control character");
    uint32_t stop = h->at;
    while (stop > f->value && (data[stop - 1] == ' ' || data[stop - 1] == '\t'))
        stop--;
    f->value_len = stop - f->value;
    h->at++;
    h->state = S_VALUE_LF;
    return FG_PARSE_MORE;
}

/* One step: as far as one state reaches. end > h->at. */
static int step(struct fg_head *h, const char *data, uint32_t end)
{
    char c = data[h->at];
    int rc;
    switch (h->state) {
    case S_START:
        return start(h, c);
    case S_START_LF:
        return line_feed(h, c, S_START);
    case S_METHOD:
        return method(h, data, end);
    case S_TARGET:
        return target(h, data, end);
    case S_VERSION:
        return version(h, data, end);
    case S_LINE_LF:
        h->has_request_line = c == '\n';
        return line_feed(h, c, S_FIELD);
    case S_FIELD:
        return field(h, c);
    case S_NAME:
        return name(h, data, end);
    case S_BLANK:
        return blank(h, data, end);
    case S_VALUE:
        return value(h, data, end);
    case S_VALUE_LF:
        rc = line_feed(h, c, S_FIELD);
        return rc == FG_PARSE_MORE ? take_field(h, data) : rc;
    case S_END_LF:
        rc = line_feed(h, c, S_DONE);
        return rc == FG_PARSE_MORE ? finish(h) : rc;
    default:
        return FG_PARSE_BAD;
    }
}

int fg_head_feed(struct fg_head *h, const char *data, size_t len)
{
    while (h->state < S_DONE) {
        /* A limit is an end of what is looked at, so that it strikes at the same byte always. */
        uint64_t limit = h->limits.head_bytes, line = UINT64_MAX;
        if (h->state <= S_VERSION)
            line = (uint64_t)h->line + h->limits.request_line_bytes;
        if (line <= limit && h->at >= line)
            return bad(h, 414, "the request line is too long");
        if (h->at >= limit)
            return bad(h, 431, "the head of the request is too long");
        if (h->at >= len)
            return FG_PARSE_MORE;
        if (line < limit)
            limit = line;
        int rc = step(h, data, len < limit ? (uint32_t)len : (uint32_t)limit);
        if (rc != FG_PARSE_MORE)
            return rc;
    }
    return h->state == S_DONE ? FG_PARSE_DONE : FG_PARSE_BAD;
}
