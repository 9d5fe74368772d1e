/*
 * util/json.h - JSON on the hot path: a strict pull reader of one pass, and a streaming writer.
 *
 * The reader hands out values where they stand, builds no tree and does not recurse. It refuses
 * what threats.md section 5 lists: depth over 64, over 10 000 keys in one object, over 1 000 000
 * nodes, a key twice in one object (also when spelled with escapes), invalid UTF-8, lone
 * surrogates, \u0000, numbers that do not fit. A string without escapes is a slice of the text;
 * one with escapes is decoded into the arena. One owner thread.
 *
 *   struct fg_json_value v;
 *   struct fg_str key;
 *   fg_json_read(&r, &v);
 *   if (v.kind == FG_JSON_OBJECT)
 *       while (fg_json_next(&r, &key)) {       an unread value is skipped by the next call
 *           fg_json_read(&r, &v);              a container must be walked or skipped
 *           fg_json_skip(&r, &v);
 *       }
 *   status = fg_json_end(&r);
 */
#ifndef FG_UTIL_JSON_H
#define FG_UTIL_JSON_H

#include "util/arena.h"
#include "util/str.h"

enum {
    FG_JSON_MAX_DEPTH = 64,
    FG_JSON_MAX_KEYS = 10000,
    FG_JSON_MAX_NODES = 1000000,
    FG_JSON_MAX_NUMBER = 512, /* characters of one number */
};

enum fg_json_kind {
    FG_JSON_NONE = 0, /* after an error */
    FG_JSON_NULL = 1,
    FG_JSON_BOOL = 2,
    FG_JSON_INT = 3, /* no fraction, no exponent; -2^63 .. 2^64-1 */
    FG_JSON_REAL = 4,
    FG_JSON_STRING = 5,
    FG_JSON_ARRAY = 6,
    FG_JSON_OBJECT = 7,
};
struct fg_json_value {
    int32_t kind;
    bool boolean;
    bool is_big;      /* INT above INT64_MAX: the value is (uint64_t)integer */
    int64_t integer;  /* INT */
    double real;      /* INT and REAL */
    struct fg_str text; /* STRING; borrowed from the text or the arena */
    size_t at;        /* offset of the value's first byte */
};

enum { FG_JSON_TRAILING = 1 /* bytes after the first value are not looked at */ };

struct fg_json_frame {
    uint32_t key_base, key_count;
    bool is_object, is_first, is_hashed;
};
struct fg_json_keys { /* keys of the open objects, see json_keys.c */
    struct fg_str *items;
    uint32_t count, capacity;
    uint32_t *table; /* index + 1; 0: free */
    uint32_t used, size;
    uint64_t seed[2];
};
struct fg_json {
    struct fg_str text;
    size_t at;
    struct fg_arena *arena;
    uint32_t flags, depth, nodes;
    bool is_pending;  /* a value comes next and was not read */
    bool is_skipping; /* values are checked, not decoded */
    int32_t status;   /* FG_OK, FG_INVALID or FG_NO_MEMORY; sticky */
    char error[128];  /* why, with the offset; nothing of the text is echoed */
    struct fg_json_frame frames[FG_JSON_MAX_DEPTH];
    struct fg_json_keys keys;
};

/* text and arena are borrowed for the reader's life; done() frees what the reader itself took. */
void fg_json_init(struct fg_json *, struct fg_str text, struct fg_arena *, uint32_t flags);
void fg_json_done(struct fg_json *);
/* The value that comes next; a container is opened. Its kind is also returned; NONE: see status. */
int32_t fg_json_read(struct fg_json *, struct fg_json_value *);
/* Is there another element (key may be NULL) or member in the innermost container? false closes
 * it, or an error was met. */
bool fg_json_next(struct fg_json *, struct fg_str *key);
/* Steps over the rest of a container that was just opened; nothing for a scalar. */
void fg_json_skip(struct fg_json *, const struct fg_json_value *);
/* Skips v and gives its text as it stands. */
struct fg_str fg_json_raw(struct fg_json *, const struct fg_json_value *);
/* The document must be over. Returns status. */
int32_t fg_json_end(struct fg_json *);
/* Marks the document as bad: every later call answers the end. */
void fg_json_fail(struct fg_json *, int32_t status, const char *what);
const char *fg_json_kind_name(int32_t kind); /* "a string", "null", ... */

/* ---- writer: appends to a buffer; commas are put by looking at the byte before, so a value is
 * written behind '{', '[', ':', ',', a blank, a line end or nothing without one. What does not fit
 * sets buf->failed. ------------------------------------------------------------------------ */

void fg_json_put_open(struct fg_buf *, char bracket); /* '{' or '[' */
void fg_json_put_close(struct fg_buf *, char bracket); /* '}' or ']' */
void fg_json_put_key(struct fg_buf *, struct fg_str key);
void fg_json_put_name(struct fg_buf *, const char *key); /* a constant without escapes */
/* Quotes and escapes; what is not UTF-8 becomes U+FFFD. */
void fg_json_put_str(struct fg_buf *, struct fg_str);
void fg_json_put_i64(struct fg_buf *, int64_t);
void fg_json_put_u64(struct fg_buf *, uint64_t);
void fg_json_put_f32(struct fg_buf *, float);   /* reads back to the same bits; null if not finite */
void fg_json_put_f64(struct fg_buf *, double);
void fg_json_put_bool(struct fg_buf *, bool);
void fg_json_put_null(struct fg_buf *);
void fg_json_put_raw(struct fg_buf *, struct fg_str json); /* a value that is JSON already */

#endif
