/*
 * cpu/kernels/wide_bf16.c - BF16 weights by activations rounded to BF16, with AVX512_BF16: twice
 * the speed of float activations where a batch is large. Rounding costs 2^-9 of each activation at
 * most, less than the 8-bit kernels' half step (max / 254); never on the exact path.
 */
#include "cpu/kernels/wide.h"

static uint32_t padded(uint32_t k)
{
    return fg_wide_pairs(k) * 2;
}

size_t fg_act_bf16_bytes(uint32_t m, uint32_t k)
{
    return (size_t)m * padded(k) * 2;
}

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define DOT    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,avx2")))
#define INLINE static inline __attribute__((always_inline))

DOT void fg_act_bf16_round(const float *x, size_t stride, uint32_t k, uint32_t first,
                           uint32_t last, void *act)
{
    for (uint32_t r = first; r < last; r++) {
        const float *from = x + (size_t)r * stride;
        uint8_t *to = (uint8_t *)act + (size_t)r * padded(k) * 2;
        for (uint32_t i = 0; i < padded(k); i += 16, to += 32) {
            uint32_t left = k - i, room = padded(k) - i;
            __mmask16 some = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
            __mmask16 all = room >= 16 ? 0xffff : (__mmask16)((1u << room) - 1);
            __m256bh v = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some, from + i));
            _mm256_mask_storeu_epi16(to, all, (__m256i)v);
        }
    }
}

struct job {
    const uint8_t *w[2], *x; /* groups; rows of `step` bytes */
    size_t step;
    uint32_t pairs;
    uint32_t ahead; /* bytes to prefetch ahead; 0 once the groups are in the cache */
    __mmask16 keep[2];
    bool add;
    float *y;
    size_t stride;
};

DOT INLINE void dots(int groups, int rows, size_t at, const uint8_t *x, const struct job *job,
                     __m512 sum[2][8])
{
    __m512i w[2];
    for (int g = 0; g < groups; g++) {
        _mm_prefetch((const char *)job->w[g] + at + job->ahead, _MM_HINT_T0);
        w[g] = _mm512_loadu_si512(job->w[g] + at);
    }
    for (int i = 0; i < rows; i++) {
        int32_t two;
        memcpy(&two, x + (size_t)i * job->step, 4);
        __m512i a = _mm512_set1_epi32(two);
        for (int g = 0; g < groups; g++)
            sum[g][i] = _mm512_dpbf16_ps(sum[g][i], (__m512bh)w[g], (__m512bh)a);
    }
}

DOT INLINE void tile(int groups, int rows, const struct job *job)
{
    __m512 sum[2][8], other[2][8];
    const uint8_t *x = job->x;
    size_t at = 0;
    uint32_t left = job->pairs;
    for (int g = 0; g < groups; g++)
        for (int i = 0; i < rows; i++) {
            sum[g][i] = job->add ? _mm512_maskz_loadu_ps(job->keep[g], job->y + g * 16 +
                                                                           (size_t)i * job->stride)
                                 : _mm512_setzero_ps();
            other[g][i] = _mm512_setzero_ps();
        }
    for (; left >= 2; left -= 2, x += 8, at += 128) {
        dots(groups, rows, at, x, job, sum);
        dots(groups, rows, at + 64, x + 4, job, rows < 4 ? other : sum);
    }
    if (left)
        dots(groups, rows, at, x, job, sum);
    for (int g = 0; g < groups; g++)
        for (int i = 0; i < rows; i++) {
            if (rows < 4)
                sum[g][i] = _mm512_add_ps(sum[g][i], other[g][i]);
            _mm512_mask_storeu_ps(job->y + g * 16 + (size_t)i * job->stride, job->keep[g],
                                  sum[g][i]);
        }
}

DOT INLINE void tile_rows(int groups, uint32_t rows, const struct job *job)
{
    switch (rows) {
    case 1:
        tile(groups, 1, job);
        break;
    case 2:
        tile(groups, 2, job);
        break;
    case 3:
        tile(groups, 3, job);
        break;
    case 4:
        tile(groups, 4, job);
        break;
    case 5:
        tile(groups, 5, job);
        break;
    case 6:
        tile(groups, 6, job);
        break;
    case 7:
        tile(groups, 7, job);
        break;
    default:
        tile(groups, 8, job);
    }
}

static __mmask16 keep_of(uint32_t left)
{
    return left >= FG_WIDE_ROWS ? 0xffff : (__mmask16)((1u << left) - 1);
}

DOT void fg_wide_dot_bf16(const struct fg_matrix *w, const void *act, const struct fg_product *p)
{
    const size_t bytes = fg_wide_group(false, w->k), step = (size_t)padded(w->k) * 2;
    /* A few rows wait for memory, and one stream is read faster than two. */
    const uint32_t together = p->m < 4 ? FG_WIDE_ROWS : 2 * FG_WIDE_ROWS;
    for (uint32_t r = p->first; r < p->last; r += together) {
        const uint32_t left = p->last - r;
        const bool two = left > FG_WIDE_ROWS && together > FG_WIDE_ROWS;
        struct job job = {.step = step, .pairs = fg_wide_pairs(w->k), .ahead = FG_WIDE_AHEAD,
                          .add = p->add, .stride = p->stride};
        job.w[0] = (const uint8_t *)w->packed + r / FG_WIDE_ROWS * bytes;
        job.w[1] = job.w[0] + bytes;
        job.keep[0] = keep_of(left);
        job.keep[1] = two ? keep_of(left - FG_WIDE_ROWS) : 0;
        for (uint32_t i = 0; i < p->m; i += 8, job.ahead = 0) {
            uint32_t rows = p->m - i < 8 ? p->m - i : 8;
            job.x = (const uint8_t *)act + (size_t)i * step;
            job.y = p->y + (size_t)i * p->stride + r;
            if (two)
                tile_rows(2, rows, &job);
            else
                tile_rows(1, rows, &job);
        }
    }
}
#else
void fg_act_bf16_round(const float *x, size_t stride, uint32_t k, uint32_t first, uint32_t last,
                       void *act)
{
    (void)x, (void)stride, (void)k, (void)first, (void)last, (void)act;
}
#endif
