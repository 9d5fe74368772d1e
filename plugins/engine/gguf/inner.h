/* engine/gguf/inner.h - what an open file holds; for the files of this folder only. */
#ifndef FG_ENGINE_GGUF_INNER_H
#define FG_ENGINE_GGUF_INNER_H

#include "engine/gguf/gguf.h"
#include "engine/gguf/index.h"

struct pair {
    struct fg_str key;   /* in the map; first: see index.h */
    int32_t type;        /* enum fg_gguf_type */
    int32_t of;          /* of an array: the type of its elements */
    uint64_t count;      /* of an array: its elements */
    const uint8_t *data; /* the value; of a string or an array, behind its counts */
    uint64_t bytes;      /* of data */
};
struct fg_gguf {
    const uint8_t *base;
    size_t size;
    size_t data_at; /* where tensor data begins */
    bool mapped;    /* base is ours */
    struct pair *pairs;
    uint32_t pair_count, pair_room;
    struct fg_gguf_tensor *tensors;
    uint32_t tensor_count, tensor_room;
    struct fg_index pair_index, tensor_index;
};

/* Bytes of one value of a fixed size; 0 for strings, arrays and what is no type. */
static inline uint32_t value_bytes(int32_t type)
{
    static const uint8_t bytes[] = {
        [FG_GGUF_U8] = 1,  [FG_GGUF_I8] = 1,  [FG_GGUF_U16] = 2, [FG_GGUF_I16] = 2,
        [FG_GGUF_U32] = 4, [FG_GGUF_I32] = 4, [FG_GGUF_F32] = 4, [FG_GGUF_BOOL] = 1,
        [FG_GGUF_U64] = 8, [FG_GGUF_I64] = 8, [FG_GGUF_F64] = 8};
    return type >= 0 && type < (int32_t)sizeof bytes ? bytes[type] : 0;
}

#endif
