/*
 * engine/gguf/quant.h - tensor types: block layouts, the type table, and the plain-C reference
 * that every kernel is compared with.
 *
 * Layouts are those of the GGUF files (ggml's block formats). Any thread.
 */
#ifndef FG_ENGINE_QUANT_H
#define FG_ENGINE_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fg_quant_type { /* numbers of the file format */
    FG_F32 = 0, FG_F16 = 1, FG_Q4_0 = 2, FG_Q4_1 = 3, FG_Q5_0 = 6, FG_Q5_1 = 7, FG_Q8_0 = 8,
    FG_Q8_1 = 9, FG_Q2_K = 10, FG_Q3_K = 11, FG_Q4_K = 12, FG_Q5_K = 13, FG_Q6_K = 14,
    FG_Q8_K = 15, FG_IQ4_NL = 20, FG_IQ4_XS = 23, FG_I8 = 24, FG_I16 = 25, FG_I32 = 26,
    FG_I64 = 27, FG_F64 = 28, FG_BF16 = 30, FG_MXFP4 = 39,
};
struct fg_quant_info {
    const char *name;      /* "Q4_K" */
    uint32_t block;        /* weights a block */
    uint32_t block_bytes;
    bool computes;         /* the engine can multiply with it */
};
/* NULL for a number that is in no table (refuse the file). Types known to the format but not to
 * the engine are in the table with computes = false, so that sizes can be checked. */
const struct fg_quant_info *fg_quant_info(int32_t type);
/* "Q4_K_M", "Q4_1", ... for general.file_type (llama_ftype numbers); NULL when unknown. */
const char *fg_quant_file_type_name(uint32_t file_type);

/* count: weights, a multiple of the block. Types with computes only. */
void fg_dequantize(int32_t type, const void *blocks, float *out, size_t count);

float fg_f16_to_f32(uint16_t);
uint16_t fg_f32_to_f16(float); /* round to nearest even */
static inline float fg_bf16_to_f32(uint16_t h)
{
    union { uint32_t u; float f; } v = {.u = (uint32_t)h << 16};
    return v.f;
}

#endif
