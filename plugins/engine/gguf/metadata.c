/*
 * engine/gguf/metadata.c - a file's pairs as JSON, for people and for Ollama's /api/show.
 *
 * What JSON cannot say is made to fit: invalid UTF-8 becomes U+FFFD, a number that is not finite
 * null. Long arrays (a vocabulary) are only given when asked for, and only up to a sum that keeps
 * the memory of the answer in hand.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/gguf/inner.h"
#include "util/str.h"

#define SHORT_ARRAY 16
#define MAX_SUM     (2u << 20) /* elements of all arrays: a vocabulary of 500 000 with its merges */

/* A terminated copy that is valid UTF-8; NULL: no memory. */
static char *clean(struct fg_str s, size_t *len)
{
    struct fg_buf b = {.limit = SIZE_MAX / 2};
    while (s.len) {
        bool broken = false;
        const size_t good = fg_utf8_valid(s, &broken);
        fg_buf_add(&b, (struct fg_str){s.ptr, good});
        s = fg_str_from(s, good);
        if (s.len) { /* invalid, or cut at the end */
            fg_buf_add(&b, FG_STR("\xef\xbf\xbd"));
            s = fg_str_from(s, 1);
        }
    }
    if (!fg_buf_addc(&b, '\0') || b.failed) {
        fg_buf_done(&b);
        return NULL;
    }
    *len = b.len - 1;
    return b.ptr; /* the caller frees it */
}

static json_t *text_of(struct fg_str s)
{
    json_t *value = json_stringn(s.ptr, s.len); /* refuses invalid UTF-8 */
    if (value)
        return value;
    size_t len;
    char *copy = clean(s, &len);
    value = copy ? json_stringn(copy, len) : NULL;
    free(copy);
    return value ? value : json_null();
}

static json_t *real_of(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *scalar_of(int32_t type, const uint8_t *data)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } v = {0};
    memcpy(&v, data, value_bytes(type));
    switch (type) {
    case FG_GGUF_U8:
        return json_integer(v.u8);
    case FG_GGUF_I8:
        return json_integer(v.i8);
    case FG_GGUF_U16:
        return json_integer(v.u16);
    case FG_GGUF_I16:
        return json_integer(v.i16);
    case FG_GGUF_U32:
        return json_integer(v.u32);
    case FG_GGUF_I32:
        return json_integer(v.i32);
    case FG_GGUF_BOOL:
        return json_boolean(v.u8);
    case FG_GGUF_U64:
        return v.u64 <= INT64_MAX ? json_integer((json_int_t)v.u64) : json_real((double)v.u64);
    case FG_GGUF_I64:
        return json_integer(v.i64);
    case FG_GGUF_F32:
        return real_of(v.f32);
    case FG_GGUF_F64:
        return real_of(v.f64);
    default:
        return json_null();
    }
}

static json_t *array_of(const struct pair *p)
{
    json_t *list = json_array();
    const void *cursor = p->data;
    for (uint64_t i = 0; list && i < p->count; i++) {
        json_t *value = p->of == FG_GGUF_STRING
                            ? text_of(fg_gguf_next_string(&cursor))
                            : scalar_of(p->of, p->data + i * value_bytes(p->of));
        if (json_array_append_new(list, value) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list ? list : json_null();
}

static json_t *value_of(const struct pair *p, bool arrays, uint64_t *sum)
{
    if (p->type == FG_GGUF_STRING)
        return text_of((struct fg_str){(const char *)p->data, p->bytes});
    if (p->type != FG_GGUF_ARRAY)
        return scalar_of(p->type, p->data);
    if ((p->count > SHORT_ARRAY && !arrays) || *sum + p->count > MAX_SUM)
        return json_null();
    *sum += p->count;
    return array_of(p);
}

json_t *fg_gguf_metadata(const struct fg_gguf *g, bool arrays)
{
    json_t *all = json_object();
    uint64_t sum = 0;
    for (uint32_t i = 0; all && i < g->pair_count; i++) {
        const struct pair *p = &g->pairs[i];
        size_t len = 0;
        char *key = clean(p->key, &len);
        if (key)
            json_object_set_new(all, key, value_of(p, arrays, &sum));
        free(key);
    }
    return all;
}
