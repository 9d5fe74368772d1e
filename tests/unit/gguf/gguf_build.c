/* See gguf_build.h. */
#include "gguf_build.h"

#include <string.h>

void build_init(struct build *b)
{
    *b = (struct build){0};
    build_raw(b, "GGUF", 4);
    build_u32_raw(b, 3);
    build_u64_raw(b, 0);
    build_u64_raw(b, 0);
}

void build_done(struct build *b)
{
    fg_buf_done(&b->bytes);
}

void build_raw(struct build *b, const void *data, size_t n)
{
    fg_buf_add(&b->bytes, (struct fg_str){data, n});
}

void build_u32_raw(struct build *b, uint32_t v)
{
    build_raw(b, &v, sizeof v);
}

void build_u64_raw(struct build *b, uint64_t v)
{
    build_raw(b, &v, sizeof v);
}

void build_str_raw(struct build *b, struct fg_str s)
{
    build_u64_raw(b, s.len);
    build_raw(b, s.ptr, s.len);
}

void build_key(struct build *b, const char *key, int32_t type)
{
    b->pairs++;
    build_str_raw(b, fg_str_of(key));
    build_u32_raw(b, (uint32_t)type);
}

void build_u32(struct build *b, const char *key, uint32_t v)
{
    build_key(b, key, FG_GGUF_U32);
    build_u32_raw(b, v);
}

void build_f32(struct build *b, const char *key, float v)
{
    build_key(b, key, FG_GGUF_F32);
    build_raw(b, &v, sizeof v);
}

void build_bool(struct build *b, const char *key, uint8_t v)
{
    build_key(b, key, FG_GGUF_BOOL);
    build_raw(b, &v, 1);
}

void build_str(struct build *b, const char *key, const char *v)
{
    build_key(b, key, FG_GGUF_STRING);
    build_str_raw(b, fg_str_of(v));
}

void build_array(struct build *b, const char *key, int32_t of, uint64_t count)
{
    build_key(b, key, FG_GGUF_ARRAY);
    build_u32_raw(b, (uint32_t)of);
    build_u64_raw(b, count);
}

void build_strings(struct build *b, const char *key, const char *const *list, uint64_t count)
{
    build_array(b, key, FG_GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++)
        build_str_raw(b, fg_str_of(list[i]));
}

void build_i32s(struct build *b, const char *key, const int32_t *list, uint64_t count)
{
    build_array(b, key, FG_GGUF_I32, count);
    build_raw(b, list, count * sizeof *list);
}

void build_f32s(struct build *b, const char *key, const float *list, uint64_t count)
{
    build_array(b, key, FG_GGUF_F32, count);
    build_raw(b, list, count * sizeof *list);
}

void build_tensor(struct build *b, const char *name, int32_t type, uint32_t dims,
                  const uint64_t *shape, uint64_t offset)
{
    b->tensors++;
    build_str_raw(b, fg_str_of(name));
    build_u32_raw(b, dims);
    for (uint32_t d = 0; d < dims; d++)
        build_u64_raw(b, shape[d]);
    build_u32_raw(b, (uint32_t)type);
    build_u64_raw(b, offset);
}

struct fg_str build_counts(struct build *b, uint64_t tensors, uint64_t pairs)
{
    memcpy(b->bytes.ptr + 8, &tensors, sizeof tensors);
    memcpy(b->bytes.ptr + 16, &pairs, sizeof pairs);
    return fg_buf_str(&b->bytes);
}

struct fg_str build_finish(struct build *b, size_t data_bytes)
{
    build_counts(b, b->tensors, b->pairs);
    if (data_bytes)
        while (b->bytes.len % (b->alignment ? b->alignment : 32))
            fg_buf_addc(&b->bytes, 0);
    for (size_t i = 0; i < data_bytes; i++)
        fg_buf_addc(&b->bytes, (char)(i * 7));
    return fg_buf_str(&b->bytes);
}
