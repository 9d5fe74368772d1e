/*
 * engine/gguf/values.c - typed reading of a file's pairs. The reader states the type it wants; a
 * value that does not fit it without loss is refused with key and types. Values lie unaligned in
 * the map, so they are copied out.
 */
#include <math.h>
#include <string.h>

#include "engine/gguf/inner.h"
#include "util/error.h"
#include "util/str.h"

static const char *type_name(int32_t type)
{
    static const char *const names[] = {
        [FG_GGUF_U8] = "u8",       [FG_GGUF_I8] = "i8",     [FG_GGUF_U16] = "u16",
        [FG_GGUF_I16] = "i16",     [FG_GGUF_U32] = "u32",   [FG_GGUF_I32] = "i32",
        [FG_GGUF_F32] = "f32",     [FG_GGUF_BOOL] = "bool", [FG_GGUF_STRING] = "string",
        [FG_GGUF_ARRAY] = "array", [FG_GGUF_U64] = "u64",   [FG_GGUF_I64] = "i64",
        [FG_GGUF_F64] = "f64"};
    return type >= 0 && type < (int32_t)(sizeof names / sizeof *names) ? names[type] : "?";
}

static const struct pair *find(const struct fg_gguf *g, const char *key)
{
    const uint32_t at = fg_index_find(&g->pair_index, g->pairs, sizeof *g->pairs, fg_str_of(key));
    return at == FG_INDEX_NONE ? NULL : &g->pairs[at];
}

static int32_t absent(const char *key, struct fg_error *err)
{
    return fg_fail(err, FG_NOT_FOUND, "key %.128s is missing", key);
}

static int32_t mismatch(const struct pair *p, const char *key, const char *want,
                        struct fg_error *err)
{
    return fg_fail(err, FG_INVALID, "key %.128s: a value of type %s does not fit %s", key,
                   type_name(p->type), want);
}

/* An integer of any width: its bits, and whether it is below zero. */
static bool integer(const struct pair *p, uint64_t *bits, bool *negative)
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
    } v = {0};
    memcpy(&v, p->data, p->bytes <= sizeof v ? p->bytes : 0);
    int64_t value = 0;
    *negative = false;
    switch (p->type) {
    case FG_GGUF_U8:
        *bits = v.u8;
        return true;
    case FG_GGUF_U16:
        *bits = v.u16;
        return true;
    case FG_GGUF_U32:
        *bits = v.u32;
        return true;
    case FG_GGUF_U64:
        *bits = v.u64;
        return true;
    case FG_GGUF_I8:
        value = v.i8;
        break;
    case FG_GGUF_I16:
        value = v.i16;
        break;
    case FG_GGUF_I32:
        value = v.i32;
        break;
    case FG_GGUF_I64:
        value = v.i64;
        break;
    default:
        return false;
    }
    *bits = (uint64_t)value;
    *negative = value < 0;
    return true;
}

bool fg_gguf_has(const struct fg_gguf *g, const char *key)
{
    return find(g, key) != NULL;
}

int32_t fg_gguf_u32(const struct fg_gguf *g, const char *key, uint32_t *out, struct fg_error *err)
{
    const struct pair *p = find(g, key);
    uint64_t bits = 0;
    bool negative = false;
    if (!p)
        return absent(key, err);
    if (!integer(p, &bits, &negative))
        return mismatch(p, key, "an integer", err);
    if (negative || bits > UINT32_MAX)
        return fg_fail(err, FG_INVALID, "key %.128s: %s%llu does not fit u32", key,
                       negative ? "-" : "", (unsigned long long)(negative ? 0 - bits : bits));
    *out = (uint32_t)bits;
    return FG_OK;
}

int32_t fg_gguf_f32(const struct fg_gguf *g, const char *key, float *out, struct fg_error *err)
{
    const struct pair *p = find(g, key);
    uint64_t bits = 0;
    bool negative = false;
    double value = 0;
    if (!p)
        return absent(key, err);
    if (p->type == FG_GGUF_F32) {
        memcpy(out, p->data, sizeof *out);
        return FG_OK;
    }
    if (p->type == FG_GGUF_F64) {
        memcpy(&value, p->data, sizeof value);
        if (isfinite(value) && fabs(value) > 3.4028234663852886e38)
            return mismatch(p, key, "f32 (it is too large)", err);
    } else if (integer(p, &bits, &negative)) {
        const uint64_t size = negative ? 0 - bits : bits;
        if (size > 1u << 24) /* above, floats have gaps */
            return mismatch(p, key, "f32 without loss", err);
        value = negative ? -(double)size : (double)size;
    } else {
        return mismatch(p, key, "a number", err);
    }
    *out = (float)value;
    return FG_OK;
}

int32_t fg_gguf_bool(const struct fg_gguf *g, const char *key, bool *out, struct fg_error *err)
{
    const struct pair *p = find(g, key);
    if (!p)
        return absent(key, err);
    if (p->type != FG_GGUF_BOOL)
        return mismatch(p, key, "bool", err);
    *out = *p->data != 0;
    return FG_OK;
}

int32_t fg_gguf_str(const struct fg_gguf *g, const char *key, struct fg_str *out,
                    struct fg_error *err)
{
    const struct pair *p = find(g, key);
    if (!p)
        return absent(key, err);
    if (p->type != FG_GGUF_STRING)
        return mismatch(p, key, "string", err);
    *out = (struct fg_str){(const char *)p->data, p->bytes};
    return FG_OK;
}

int32_t fg_gguf_array(const struct fg_gguf *g, const char *key, struct fg_gguf_array *out,
                      struct fg_error *err)
{
    const struct pair *p = find(g, key);
    if (!p)
        return absent(key, err);
    if (p->type != FG_GGUF_ARRAY)
        return mismatch(p, key, "array", err);
    *out = (struct fg_gguf_array){.type = p->of, .count = p->count, .data = p->data};
    return FG_OK;
}

struct fg_str fg_gguf_next_string(const void **cursor)
{
    const char *p = *cursor;
    uint64_t len;
    memcpy(&len, p, sizeof len); /* checked when the file was opened */
    *cursor = p + sizeof len + len;
    return (struct fg_str){p + sizeof len, len};
}
