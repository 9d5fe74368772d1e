/*
 * engine/gguf/cursor.h - the one road on which bytes of a model file are read: every read asks
 * for room first, and the first failure is told with its offset. For gguf.c only.
 */
#ifndef FG_ENGINE_GGUF_CURSOR_H
#define FG_ENGINE_GGUF_CURSOR_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "util/error.h"
#include "util/str.h"

struct cursor {
    const char *name; /* of the file, for messages */
    const uint8_t *base;
    size_t size, at;
    int32_t status; /* sticky */
    struct fg_error *err;
};

/* Names come from the file and messages go to logs: nothing but printable UTF-8 stays. */
static inline void cursor_clean(char *text)
{
    struct fg_str rest = fg_str_of(text);
    while (rest.len) {
        bool broken = false;
        size_t good = fg_utf8_valid(rest, &broken);
        for (size_t i = 0; i < good; i++)
            if ((unsigned char)rest.ptr[i] < 32 || rest.ptr[i] == 127)
                text[i] = '?';
        if (good < rest.len)
            text[good++] = '?';
        text += good;
        rest = fg_str_from(rest, good);
    }
}

/* Marks the file as bad at the current offset; the first message stays. */
#define CURSOR_FAIL(c, code, ...) cursor_fail((c), (code), (c)->at, __VA_ARGS__)

static inline __attribute__((format(printf, 4, 5))) bool
cursor_fail(struct cursor *c, int32_t status, size_t at, const char *format, ...)
{
    char text[160];
    va_list args;
    if (c->status != FG_OK)
        return false;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cursor_clean(text);
    c->status = fg_fail(c->err, status, "%.60s: at byte %zu: %s", c->name, at, text);
    return false;
}

static inline size_t cursor_left(const struct cursor *c)
{
    return c->size - c->at;
}

/* The next n bytes, or NULL. */
static inline const uint8_t *cursor_take(struct cursor *c, uint64_t n, const char *what)
{
    if (c->status != FG_OK)
        return NULL;
    if (n > cursor_left(c)) {
        CURSOR_FAIL(c, FG_INVALID, "the file ends within %s (%" PRIu64 " bytes needed, %zu left)",
                    what, n, cursor_left(c));
        return NULL;
    }
    const uint8_t *p = c->base + c->at;
    c->at += n;
    return p;
}

static inline uint32_t cursor_u32(struct cursor *c, const char *what)
{
    uint32_t v = 0;
    const uint8_t *p = cursor_take(c, sizeof v, what);
    if (p)
        memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t cursor_u64(struct cursor *c, const char *what)
{
    uint64_t v = 0;
    const uint8_t *p = cursor_take(c, sizeof v, what);
    if (p)
        memcpy(&v, p, sizeof v);
    return v;
}

/* A counted string of at most `most` bytes; empty after a failure. */
static inline struct fg_str cursor_str(struct cursor *c, uint64_t most, const char *what)
{
    const uint64_t n = cursor_u64(c, what);
    if (c->status == FG_OK && n > most)
        CURSOR_FAIL(c, FG_INVALID, "%s of %" PRIu64 " bytes (at most %" PRIu64 ")", what, n, most);
    const uint8_t *p = cursor_take(c, n, what);
    return p ? (struct fg_str){(const char *)p, n} : (struct fg_str){"", 0};
}

#endif
