/* Any bytes as a request, head and chunked body: fed whole, byte by byte and cut at every byte the
 * outcome is the same, and nothing outside the bytes given is looked at. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS = 10, EVERY_CUT = 400, BODY_LIMIT = 1000 };
static const struct fg_head_limits limits = {
    .head_bytes = 1500, .request_line_bytes = 300, .header_count = FIELDS};

struct outcome {
    int head_rc, head_status, body_rc, body_status, target_status;
    uint32_t head_len, fields;
    uint64_t length, hash;
    size_t used, body_len;
};

struct run {
    struct fg_head head;
    struct fg_head_field fields[FIELDS];
    struct fg_chunked chunked;
    struct outcome o;
};

static void check(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static void mix(struct outcome *o, struct fg_str s)
{
    o->hash = (o->hash ^ fg_str_hash(s)) * 1099511628211u;
}

static void head_is_whole(struct run *r, const char *data)
{
    const struct fg_head *h = &r->head;
    struct fg_target t;
    const char *why;
    char *room = malloc(h->target_len ? h->target_len : 1);
    struct fg_str target = {data + h->target, h->target_len};
    r->o.target_status = fg_target_read(target, room, &t, &why);
    if (r->o.target_status == 0) {
        mix(&r->o, t.path);
        mix(&r->o, t.query);
        check(t.path.len > 0 && (t.path.ptr[0] == '/' || t.path.ptr[0] == '*'), "path has no root");
        check(!memmem(t.path.ptr, t.path.len, "//", 2), "path has doubled slashes");
        check(!memmem(t.path.ptr, t.path.len, "/../", 4), "path has dot segments");
        check(!memchr(t.path.ptr, 0, t.path.len), "path has a NUL");
        check(fg_utf8_valid(t.path, NULL) == t.path.len, "path is not UTF-8");
    }
    free(room);
    for (uint32_t i = 0; i < h->count; i++) {
        const struct fg_head_field *f = &h->fields[i];
        check(f->name_len > 0 && f->name + f->name_len < h->at && f->value + f->value_len < h->at,
              "a field lies outside the head");
        mix(&r->o, (struct fg_str){data + f->name, f->name_len});
        mix(&r->o, (struct fg_str){data + f->value, f->value_len});
    }
    check(!(h->has_length && h->is_chunked), "two framings");
    check(h->minor == 0 || h->has_host, "no Host");
}

static void feed_body(struct run *r, struct fg_str part)
{
    struct outcome *o = &r->o;
    while (o->body_rc != FG_PARSE_DONE && o->body_rc != FG_PARSE_BAD) {
        size_t used = 0;
        struct fg_str piece = {0};
        o->body_rc = fg_chunked_feed(&r->chunked, part, &used, &piece);
        check(used <= part.len, "used more than given");
        o->used += used;
        part = fg_str_from(part, used);
        if (o->body_rc == FG_PARSE_DATA) {
            for (size_t i = 0; i < piece.len; i++) /* pieces may be cut anywhere */
                o->hash = (o->hash ^ (unsigned char)piece.ptr[i]) * 1099511628211u;
            o->body_len += piece.len;
            check(o->body_len <= BODY_LIMIT, "the body is over its limit");
        } else if (o->body_rc == FG_PARSE_MORE) {
            check(part.len == 0, "more wanted with bytes left");
            return;
        }
    }
    o->body_status = o->body_rc == FG_PARSE_BAD ? r->chunked.status : 0;
}

/* Everything up to `len` is there; `had` of it was seen before. */
static void feed(struct run *r, const char *data, size_t had, size_t len)
{
    if (r->o.head_rc == FG_PARSE_MORE) {
        char *copy = malloc(len ? len : 1);
        memcpy(copy, data, len);
        r->o.head_rc = fg_head_feed(&r->head, copy, len);
        check(r->head.at <= len, "the head is longer than its bytes");
        if (r->o.head_rc == FG_PARSE_DONE) {
            head_is_whole(r, copy);
            had = r->head.at;
        }
        free(copy);
        r->o.head_status = r->o.head_rc == FG_PARSE_BAD ? r->head.status : 0;
        r->o.head_len = r->head.at;
        r->o.fields = r->head.count;
        r->o.length = r->head.length;
    }
    if (r->o.head_rc == FG_PARSE_DONE && len > had) {
        char *copy = malloc(len - had);
        memcpy(copy, data + had, len - had);
        feed_body(r, (struct fg_str){copy, len - had});
        free(copy);
    }
}

static void run_init(struct run *r)
{
    memset(r, 0, sizeof(*r));
    fg_head_init(&r->head, &limits, r->fields);
    fg_chunked_init(&r->chunked, BODY_LIMIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct run whole, other;
    run_init(&whole);
    feed(&whole, text, 0, size);
    run_init(&other);
    for (size_t n = 0; n < size && size <= EVERY_CUT * 4; n++)
        feed(&other, text, n, n + 1);
    if (size && size <= EVERY_CUT * 4)
        check(memcmp(&whole.o, &other.o, sizeof(whole.o)) == 0, "byte by byte it ends otherwise");
    size_t step = size > EVERY_CUT ? size / 16 : 1;
    for (size_t cut = 1; cut < size; cut += step) {
        run_init(&other);
        feed(&other, text, 0, cut);
        feed(&other, text, cut, size);
        check(memcmp(&whole.o, &other.o, sizeof(whole.o)) == 0, "cut in two it ends otherwise");
    }
    return 0;
}
