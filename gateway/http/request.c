/*
 * http/request.c - a parsed head becomes an exchange: one allocation holds the exchange, its header
 * table, a copy of the head and, when it is short, the body. Everything a handler sees points into
 * it and stays until the exchange is over.
 */
#include <stdlib.h>
#include <string.h>

#include "http/inner.h"

enum { INLINE_BODY_MAX = 16 * 1024, FIRST_RESERVE = 256 * 1024, CHUNKED_RESERVE = 8 * 1024 };

static int32_t method_of(struct fg_str m)
{
    static const struct {
        struct fg_str name;
        int32_t method;
    } table[] = {
        {{"GET", 3}, FG_GET},     {{"POST", 4}, FG_POST},     {{"HEAD", 4}, FG_HEAD},
        {{"PUT", 3}, FG_PUT},     {{"PATCH", 5}, FG_PATCH},   {{"DELETE", 6}, FG_DELETE},
        {{"OPTIONS", 7}, FG_OPTIONS},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (fg_str_eq(m, table[i].name))
            return table[i].method;
    return FG_METHOD_OTHER;
}

void fg_request_id(struct fg_loop *l, char out[29])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t a = l->random[0], b = l->random[1]; /* xorshift128+: unique, not secret */
    l->random[0] = b;
    a ^= a << 23;
    l->random[1] = a ^ b ^ a >> 17 ^ b >> 26;
    uint64_t bits[2] = {l->random[1] + b, l->random[1]};
    memcpy(out, "req_", 4);
    for (int i = 0; i < 24; i++)
        out[4 + i] = digits[bits[i / 16] >> (i % 16) * 4 & 15];
    out[28] = '\0';
}

/* s points into from; the same bytes in to. What does not is constant. */
static struct fg_str rebase(struct fg_str s, const char *from, size_t len, char *to)
{
    if (s.ptr && s.ptr >= from && s.ptr < from + len)
        s.ptr = to + (s.ptr - from);
    return s;
}

static void fill(struct fg_exchange *x, const struct fg_head *h, const char *data, char *copy,
                 const struct fg_target *t)
{
    struct fg_conn *c = x->conn;
    struct fg_http_request *r = &x->request;
    r->method = method_of((struct fg_str){data + h->method, h->method_len});
    r->raw_path = rebase(t->raw_path, data, h->at, copy);
    r->path = rebase(t->path, data, h->at, copy);
    r->query = rebase(t->query, data, h->at, copy);
    r->header_count = h->count;
    r->content_length = h->has_length ? h->length : 0;
    r->has_body = h->is_chunked || r->content_length > 0;
    r->loopback = c->is_loopback;
    r->peer = fg_str_of(c->peer);
    r->started_ns = c->loop->now_ns;
    fg_request_id(c->loop, x->id);
    r->id = (struct fg_str){x->id, sizeof(x->id) - 1};
    x->minor = h->minor;
    x->wants_keep = h->minor == 1 ? !h->wants_close : h->wants_keep && !h->wants_close;
    x->expects_continue = h->expects_continue && h->minor == 1 && r->has_body;
}

struct fg_exchange *fg_exchange_open(struct fg_conn *c, const struct fg_head *h, const char *data,
                                     const struct fg_target *t)
{
    bool is_decoded = t->path.ptr < data || t->path.ptr >= data + h->at;
    size_t table = h->count * sizeof(struct fg_http_header);
    size_t body = h->has_length && h->length <= INLINE_BODY_MAX ? (size_t)h->length + 1 : 0;
    size_t bytes = sizeof(struct fg_exchange) + table + h->at + (is_decoded ? t->path.len : 0) + body;
    char *block = fg_block_take(c->loop, bytes);
    if (!block)
        return NULL;
    struct fg_exchange *x = (struct fg_exchange *)(void *)block;
    struct fg_http_header *headers = (struct fg_http_header *)(void *)(block + sizeof(*x));
    char *copy = block + sizeof(*x) + table, *rest = copy + h->at;
    memset(x, 0, sizeof(*x));
    x->conn = c;
    x->block_bytes = bytes;
    memcpy(copy, data, h->at);
    for (uint32_t i = 0; i < h->count; i++) {
        const struct fg_head_field *f = &h->fields[i];
        headers[i] = (struct fg_http_header){.name = {copy + f->name, f->name_len},
                                             .value = {copy + f->value, f->value_len}};
    }
    x->request.headers = headers;
    fill(x, h, data, copy, t);
    if (is_decoded) {
        memcpy(rest, t->path.ptr, t->path.len);
        x->request.path.ptr = rest;
        rest += t->path.len;
    }
    if (body) {
        x->body = rest;
        x->body_room = body;
    }
    return x;
}

void fg_exchange_close(struct fg_exchange *x)
{
    struct fg_loop *l = x->conn->loop;
    if (x->has_own_body)
        free(x->body);
    fg_block_give(l, x->headers, x->headers_room);
    fg_block_give(l, (char *)x, x->block_bytes);
}

/* What was announced is not what comes: memory follows the bytes, doubling up to the limit. */
bool fg_exchange_body_reserve(struct fg_exchange *x, size_t need)
{
    const struct fg_http_request *r = &x->request;
    if (need + 1 <= x->body_room)
        return true;
    size_t most = r->content_length ? (size_t)r->content_length
                                    : (size_t)x->conn->loop->server->limits.body_bytes;
    size_t room = x->body_room * 2;
    if (room < (r->content_length ? FIRST_RESERVE : CHUNKED_RESERVE))
        room = r->content_length ? FIRST_RESERVE : CHUNKED_RESERVE;
    if (room < need)
        room = need;
    if (room > most)
        room = most;
    if (room < need)
        return false;
    char *fresh = realloc(x->has_own_body ? x->body : NULL, room + 1);
    if (!fresh)
        return false;
    x->has_own_body = true;
    x->body = fresh;
    x->body_room = room + 1;
    return true;
}
