/*
 * cpu/kernels/wide.c - the family of F32, F16 and BF16 weights: packing, one row back, and which
 * instruction set multiplies. See wide.h. With float activations this is the exact path as well.
 */
#include "cpu/kernels/wide.h"

#include <string.h>

#include "engine/gguf/quant.h"

static bool four_bytes(const struct fg_matrix *w)
{
    return w->type == FG_F32;
}

static size_t wide_bytes(const struct fg_matrix *w)
{
    size_t groups = (w->n + FG_WIDE_ROWS - 1) / FG_WIDE_ROWS;
    return groups * fg_wide_group(four_bytes(w), w->k);
}

/* Where value i of row `lane` stands in its group. */
static size_t place(int32_t type, uint32_t lane, uint32_t i)
{
    if (type == FG_BF16)
        return (size_t)(i / 2) * 64 + lane * 4 + i % 2 * 2;
    return (size_t)i * FG_WIDE_ROWS * (type == FG_F32 ? 4 : 2) + lane * (type == FG_F32 ? 4 : 2);
}

static void pack_f32(uint8_t *group, const uint8_t *rows, size_t row_bytes, uint32_t count,
                     uint32_t k)
{
    for (uint32_t i = 0; i < k; i++)
        for (uint32_t lane = 0; lane < count; lane++)
            memcpy(group + place(FG_F32, lane, i), rows + lane * row_bytes + (size_t)i * 4, 4);
}

static void pack_f16(uint8_t *group, const uint8_t *rows, size_t row_bytes, uint32_t count,
                     uint32_t k)
{
    for (uint32_t i = 0; i < k; i++)
        for (uint32_t lane = 0; lane < count; lane++)
            memcpy(group + place(FG_F16, lane, i), rows + lane * row_bytes + (size_t)i * 2, 2);
}

static void pack_bf16(uint8_t *group, const uint8_t *rows, size_t row_bytes, uint32_t count,
                      uint32_t k)
{
    for (uint32_t i = 0; i + 2 <= k; i += 2)
        for (uint32_t lane = 0; lane < count; lane++)
            memcpy(group + place(FG_BF16, lane, i), rows + lane * row_bytes + (size_t)i * 2, 4);
    for (uint32_t lane = 0; k % 2 && lane < count; lane++)
        memcpy(group + place(FG_BF16, lane, k - 1), rows + lane * row_bytes + (size_t)(k - 1) * 2, 2);
}

static void wide_pack(const struct fg_matrix *w, const void *rows, uint32_t first, uint32_t last)
{
    const size_t bytes = fg_wide_group(four_bytes(w), w->k), row_bytes = fg_matrix_row_bytes(w);
    for (uint32_t r = first; r < last; r += FG_WIDE_ROWS) {
        uint32_t count = last - r < FG_WIDE_ROWS ? last - r : FG_WIDE_ROWS;
        uint8_t *group = (uint8_t *)w->packed + r / FG_WIDE_ROWS * bytes;
        const uint8_t *from = (const uint8_t *)rows + (r - first) * row_bytes;
        if (count < FG_WIDE_ROWS)
            memset(group, 0, bytes);
        else if (w->k % 2)
            memset(group + bytes - fg_wide_pair(four_bytes(w)), 0, fg_wide_pair(four_bytes(w)));
        if (w->type == FG_F32)
            pack_f32(group, from, row_bytes, count, w->k);
        else if (w->type == FG_F16)
            pack_f16(group, from, row_bytes, count, w->k);
        else
            pack_bf16(group, from, row_bytes, count, w->k);
    }
}

static void wide_row(const struct fg_matrix *w, uint32_t row, float *out)
{
    const uint8_t *group = (const uint8_t *)w->packed +
                           row / FG_WIDE_ROWS * fg_wide_group(four_bytes(w), w->k);
    for (uint32_t i = 0; i < w->k; i++)
        fg_dequantize(w->type, group + place(w->type, row % FG_WIDE_ROWS, i), out + i, 1);
}

#if defined(__x86_64__)
#define OPS(kind, fn)                                                                              \
    {.act_kind = kind,                                                                             \
     .tile = 2 * FG_WIDE_ROWS,                                                                     \
     .packed_bytes = wide_bytes,                                                                   \
     .pack = wide_pack,                                                                            \
     .row = wide_row,                                                                              \
     .multiply = fn}
static const struct fg_kernel_ops f32_avx512 = OPS(FG_ACT_FLOAT, fg_wide_avx512_f32);
static const struct fg_kernel_ops f16_avx512 = OPS(FG_ACT_FLOAT, fg_wide_avx512_f16);
static const struct fg_kernel_ops bf16_avx512 = OPS(FG_ACT_FLOAT, fg_wide_avx512_bf16);
static const struct fg_kernel_ops bf16_dot = OPS(FG_ACT_BF16, fg_wide_dot_bf16);
static const struct fg_kernel_ops f32_avx2 = OPS(FG_ACT_FLOAT, fg_wide_avx2_f32);
static const struct fg_kernel_ops f16_avx2 = OPS(FG_ACT_FLOAT, fg_wide_avx2_f16);
static const struct fg_kernel_ops bf16_avx2 = OPS(FG_ACT_FLOAT, fg_wide_avx2_bf16);

const struct fg_kernel_ops *fg_ops_wide(int32_t type, enum fg_isa isa, bool exact)
{
    const bool avx512 = isa >= FG_ISA_AVX512_VNNI;
    if (isa < FG_ISA_AVX2)
        return NULL;
    switch (type) {
    case FG_F32:
        return avx512 ? &f32_avx512 : &f32_avx2;
    case FG_F16:
        return avx512 ? &f16_avx512 : &f16_avx2;
    case FG_BF16:
        if (isa >= FG_ISA_AVX512_BF16 && !exact)
            return &bf16_dot;
        return avx512 ? &bf16_avx512 : &bf16_avx2;
    default:
        return NULL;
    }
}
#else
const struct fg_kernel_ops *fg_ops_wide(int32_t type, enum fg_isa isa, bool exact)
{
    (void)type, (void)isa, (void)exact;
    (void)wide_bytes, (void)wide_pack, (void)wide_row;
    return NULL;
}
#endif
