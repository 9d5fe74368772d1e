/*
 * cpu/kernels/wide.h - F32, F16 and BF16 weights: their packed form. Private to this folder.
 *
 * 16 rows (outputs) go together, one lane each, and values of k in pairs (a zero is added to an odd
 * k): F32 and F16 as [k / 2][2][16], BF16 as [k / 2][16][2], which is what vdpbf16ps wants and what
 * a shift and a mask turn to float. So a product is a broadcast activation times a vector, and no
 * sum goes across lanes. As many bytes as the file, but for rows beyond a multiple of 16.
 */
#ifndef FG_CPU_WIDE_H
#define FG_CPU_WIDE_H

#include "cpu/kernels/ops.h"

#define FG_WIDE_ROWS  16u
#define FG_WIDE_AHEAD 4096 /* bytes to prefetch ahead; taken from panel.h, not swept */

static inline size_t fg_wide_pair(bool four_bytes) /* bytes of two values of k of a group */
{
    return four_bytes ? 128 : 64;
}
static inline uint32_t fg_wide_pairs(uint32_t k)
{
    return k / 2 + k % 2;
}
static inline size_t fg_wide_group(bool four_bytes, uint32_t k)
{
    return fg_wide_pairs(k) * fg_wide_pair(four_bytes);
}

typedef void (*fg_wide_fn)(const struct fg_matrix *, const void *act, const struct fg_product *);
/* Activations FG_ACT_FLOAT. */
void fg_wide_avx512_f32(const struct fg_matrix *, const void *, const struct fg_product *);
void fg_wide_avx512_f16(const struct fg_matrix *, const void *, const struct fg_product *);
void fg_wide_avx512_bf16(const struct fg_matrix *, const void *, const struct fg_product *);
void fg_wide_avx2_f32(const struct fg_matrix *, const void *, const struct fg_product *);
void fg_wide_avx2_f16(const struct fg_matrix *, const void *, const struct fg_product *);
void fg_wide_avx2_bf16(const struct fg_matrix *, const void *, const struct fg_product *);

/* Activations FG_ACT_BF16: rows of pairs, rounded to nearest even. */
void fg_wide_dot_bf16(const struct fg_matrix *, const void *, const struct fg_product *);
size_t fg_act_bf16_bytes(uint32_t m, uint32_t k);
void fg_act_bf16_round(const float *x, size_t stride, uint32_t k, uint32_t first, uint32_t last,
                       void *act);

#endif
