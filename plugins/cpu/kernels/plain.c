/*
 * cpu/kernels/plain.c - the path of every type on every machine, with float activations.
 *
 * Weights keep the file's layout. A run of up to RUN weights becomes float once and serves all
 * rows of the batch, so a batch costs little more than its multiplications.
 */
#include <string.h>

#include "cpu/kernels/ops.h"
#include "engine/gguf/quant.h"

#define RUN   256u /* a multiple of every block */
#define LANES 16u  /* independent sums, so that the compiler can use vectors */

static size_t plain_bytes(const struct fg_matrix *w)
{
    return (size_t)w->n * fg_matrix_row_bytes(w);
}

static void plain_pack(const struct fg_matrix *w, const void *rows, uint32_t first, uint32_t last)
{
    size_t row = fg_matrix_row_bytes(w);
    memcpy((uint8_t *)w->packed + first * row, rows, (last - first) * row);
}

static void plain_row(const struct fg_matrix *w, uint32_t row, float *out)
{
    const uint8_t *p = (const uint8_t *)w->packed + row * fg_matrix_row_bytes(w);
    fg_dequantize(w->type, p, out, w->k);
}

static inline __attribute__((always_inline)) float dot_body(const float *a, const float *b,
                                                            uint32_t count)
{
    float sums[LANES] = {0};
    uint32_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (uint32_t l = 0; l < LANES; l++)
            sums[l] += a[i + l] * b[i + l];
    for (uint32_t l = 0; i + l < count; l++)
        sums[l] += a[i + l] * b[i + l];
    for (uint32_t s = LANES / 2; s > 0; s /= 2)
        for (uint32_t l = 0; l < s; l++)
            sums[l] += sums[l + s];
    return sums[0];
}

static float dot_any(const float *a, const float *b, uint32_t count)
{
    return dot_body(a, b, count);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static float dot_avx2(const float *a, const float *b,
                                                          uint32_t count)
{
    return dot_body(a, b, count);
}
#endif

typedef float (*dot_fn)(const float *, const float *, uint32_t);
static dot_fn dot_of(enum fg_isa isa)
{
#if defined(__x86_64__)
    if (isa >= FG_ISA_AVX2)
        return dot_avx2;
#endif
    (void)isa;
    return dot_any;
}

static void plain_multiply(const struct fg_matrix *w, const void *act, const struct fg_product *p)
{
    const struct fg_quant_info *info = fg_quant_info(w->type);
    size_t row_bytes = fg_matrix_row_bytes(w);
    const float *x = act;
    float run[RUN];
    dot_fn dot = dot_of(w->isa);

    for (uint32_t r = p->first; r < p->last; r++) {
        const uint8_t *row = (const uint8_t *)w->packed + r * row_bytes;
        for (uint32_t at = 0; at < w->k; at += RUN) {
            uint32_t count = w->k - at < RUN ? w->k - at : RUN;
            fg_dequantize(w->type, row + (size_t)at / info->block * info->block_bytes, run, count);
            for (uint32_t i = 0; i < p->m; i++) {
                float *out = p->y + i * p->stride + r;
                float sum = dot(run, x + (size_t)i * w->k + at, count);
                *out = at == 0 && !p->add ? sum : *out + sum;
            }
        }
    }
}

const struct fg_kernel_ops fg_ops_plain = {
    .act_kind = FG_ACT_FLOAT,
    .tile = 1,
    .packed_bytes = plain_bytes,
    .pack = plain_pack,
    .row = plain_row,
    .multiply = plain_multiply,
};
