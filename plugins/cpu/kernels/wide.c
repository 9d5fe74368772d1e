/*
 * cpu/kernels/wide.c - F32, F16 and BF16 weights by float activations with AVX-512.
 *
 * The file's layout; 4 rows of weights by up to 4 rows of activations at once, so that each
 * converted vector of weights serves 4 rows. Sums are float: this is the exact path as well.
 */
#include <string.h>

#include "cpu/kernels/ops.h"
#include "engine/gguf/quant.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define WIDE   __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,f16c,fma,avx2")))
#define INLINE static inline __attribute__((always_inline))

WIDE INLINE __m512 load16(int32_t type, const uint8_t *p, uint32_t at, __mmask16 mask)
{
    if (type == FG_F32)
        return _mm512_maskz_loadu_ps(mask, p + (size_t)at * 4);
    __m256i half = _mm256_maskz_loadu_epi16(mask, p + (size_t)at * 2);
    if (type == FG_F16)
        return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

WIDE INLINE void step(int32_t type, int rows, int batch, const uint8_t *p, size_t row_bytes,
                      const float *x, uint32_t k, uint32_t at, __mmask16 mask, __m512 sum[4][4])
{
    __m512 a[4];
    for (int i = 0; i < batch; i++)
        a[i] = _mm512_maskz_loadu_ps(mask, x + (size_t)i * k + at);
    for (int r = 0; r < rows; r++) {
        __m512 v = load16(type, p + (size_t)r * row_bytes, at, mask);
        for (int i = 0; i < batch; i++)
            sum[r][i] = _mm512_fmadd_ps(v, a[i], sum[r][i]);
    }
}

WIDE INLINE void tile(int32_t type, int rows, int batch, const uint8_t *p, size_t row_bytes,
                      const float *x, uint32_t k, float *y, size_t stride, bool add)
{
    __m512 sum[4][4];
    uint32_t at = 0;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < batch; i++)
            sum[r][i] = _mm512_setzero_ps();
    for (; at + 16 <= k; at += 16)
        step(type, rows, batch, p, row_bytes, x, k, at, 0xffff, sum);
    if (at < k)
        step(type, rows, batch, p, row_bytes, x, k, at, (__mmask16)((1u << (k - at)) - 1), sum);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < batch; i++)
{
            float *out = y + (size_t)i * stride + (size_t)r, v = _mm512_reduce_add_ps(sum[r][i]);
            *out = add ? *out + v : v;
        }
}

WIDE INLINE void batches(int32_t type, int rows, const uint8_t *p, size_t row_bytes, const float *x,
                         uint32_t m, uint32_t k, float *y, size_t stride, bool add)
{
    for (; m >= 4; m -= 4, x += (size_t)4 * k, y += 4 * stride)
        tile(type, rows, 4, p, row_bytes, x, k, y, stride, add);
    if (m == 3)
        tile(type, rows, 3, p, row_bytes, x, k, y, stride, add);
    else if (m == 2)
        tile(type, rows, 2, p, row_bytes, x, k, y, stride, add);
    else if (m == 1)
        tile(type, rows, 1, p, row_bytes, x, k, y, stride, add);
}

WIDE INLINE void multiply(int32_t type, const struct fg_matrix *w, const void *act,
                          const struct fg_product *p)
{
    size_t row_bytes = fg_matrix_row_bytes(w);
    const uint8_t *rows = (const uint8_t *)w->packed;
    uint32_t r = p->first;
    for (; r + 4 <= p->last; r += 4)
        batches(type, 4, rows + r * row_bytes, row_bytes, act, p->m, w->k, p->y + r, p->stride, p->add);
    for (; r < p->last; r++)
        batches(type, 1, rows + r * row_bytes, row_bytes, act, p->m, w->k, p->y + r, p->stride, p->add);
}

#define KERNEL(name, type)                                                                         \
    WIDE static void name(const struct fg_matrix *w, const void *act, const struct fg_product *p)  \
    {                                                                                              \
        multiply(type, w, act, p);                                                                 \
    }
KERNEL(wide_f32, FG_F32)
KERNEL(wide_f16, FG_F16)
KERNEL(wide_bf16, FG_BF16)

static size_t wide_bytes(const struct fg_matrix *w)
{
    return fg_ops_plain.packed_bytes(w);
}
static void wide_pack(const struct fg_matrix *w, const void *rows, uint32_t first, uint32_t last)
{
    fg_ops_plain.pack(w, rows, first, last);
}
static void wide_row(const struct fg_matrix *w, uint32_t row, float *out)
{
    fg_ops_plain.row(w, row, out);
}

static const struct fg_kernel_ops f32_ops = {.act_kind = FG_ACT_FLOAT, .tile = 4,
                                             .packed_bytes = wide_bytes, .pack = wide_pack,
                                             .row = wide_row, .multiply = wide_f32};
static const struct fg_kernel_ops f16_ops = {.act_kind = FG_ACT_FLOAT, .tile = 4,
                                             .packed_bytes = wide_bytes, .pack = wide_pack,
                                             .row = wide_row, .multiply = wide_f16};
static const struct fg_kernel_ops bf16_ops = {.act_kind = FG_ACT_FLOAT, .tile = 4,
                                              .packed_bytes = wide_bytes, .pack = wide_pack,
                                              .row = wide_row, .multiply = wide_bf16};
#endif

const struct fg_kernel_ops *fg_ops_wide(int32_t type, enum fg_isa isa)
{
#if defined(__x86_64__)
    if (isa >= FG_ISA_AVX512_VNNI)
        return type == FG_F32    ? &f32_ops
               : type == FG_F16  ? &f16_ops
               : type == FG_BF16 ? &bf16_ops
                                 : NULL;
#endif
    (void)type;
    (void)isa;
    return NULL;
}
