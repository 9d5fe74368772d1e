/*
 * cpu/kernels/wide_avx512.c - float weights by float activations with AVX-512: two groups of 16
 * outputs by up to 8 rows at once, each vector of weights made float once for all of them.
 */
#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu/kernels/wide.h"
#include "engine/gguf/quant.h"

#define WIDE   __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,f16c,fma,avx2")))
#define INLINE static inline __attribute__((always_inline))

struct job {
    const uint8_t *w[2]; /* groups */
    const float *x;      /* rows of k */
    uint32_t k;
    uint32_t ahead; /* bytes to prefetch ahead; 0 once the groups are in the cache */
    __mmask16 keep[2];
    bool add;
    float *y;
    size_t stride;
};

/* Two values of k of a group, as float. */
WIDE INLINE void load_pair(int32_t type, const uint8_t *p, __m512 v[2])
{
    if (type == FG_F32) {
        v[0] = _mm512_loadu_ps(p);
        v[1] = _mm512_loadu_ps(p + 64);
    } else if (type == FG_F16) {
        v[0] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
        v[1] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p + 32)));
    } else {
        __m512i both = _mm512_loadu_si512(p);
        v[0] = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
        v[1] = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000)));
    }
}

/* Adds `count` (1 or 2) values of k at x[i * k], into the sums of `chain`. */
WIDE INLINE void step(int32_t type, int groups, int rows, int count, size_t at, const float *x,
                      const struct job *job, __m512 sum[2][8])
{
    __m512 w[2][2];
    for (int g = 0; g < groups; g++) {
        _mm_prefetch((const char *)job->w[g] + at + job->ahead, _MM_HINT_T0);
        if (type == FG_F32)
            _mm_prefetch((const char *)job->w[g] + at + 64 + job->ahead, _MM_HINT_T0);
        load_pair(type, job->w[g] + at, w[g]);
    }
    for (int c = 0; c < count; c++)
        for (int i = 0; i < rows; i++) {
            __m512 a = _mm512_set1_ps(x[(size_t)i * job->k + (size_t)c]);
            for (int g = 0; g < groups; g++)
                sum[g][i] = _mm512_fmadd_ps(w[g][c], a, sum[g][i]);
        }
}

WIDE INLINE void tile(int32_t type, int groups, int rows, const struct job *job)
{
    const size_t pair = fg_wide_pair(type == FG_F32);
    __m512 sum[2][8], other[2][8]; /* a few rows need two chains to hide the latency */
    const float *x = job->x;
    size_t at = 0;
    uint32_t left = job->k;
    for (int g = 0; g < groups; g++)
        for (int i = 0; i < rows; i++) {
            sum[g][i] = job->add ? _mm512_maskz_loadu_ps(job->keep[g], job->y + g * 16 +
                                                                           (size_t)i * job->stride)
                                 : _mm512_setzero_ps();
            other[g][i] = _mm512_setzero_ps();
        }
    for (; left >= 4; left -= 4, x += 4, at += 2 * pair) {
        step(type, groups, rows, 2, at, x, job, sum);
        step(type, groups, rows, 2, at + pair, x + 2, job, rows < 4 ? other : sum);
    }
    for (; left >= 2; left -= 2, x += 2, at += pair)
        step(type, groups, rows, 2, at, x, job, sum);
    if (left)
        step(type, groups, rows, 1, at, x, job, sum);
    for (int g = 0; g < groups; g++)
        for (int i = 0; i < rows; i++) {
            if (rows < 4)
                sum[g][i] = _mm512_add_ps(sum[g][i], other[g][i]);
            _mm512_mask_storeu_ps(job->y + g * 16 + (size_t)i * job->stride, job->keep[g],
                                  sum[g][i]);
        }
}

WIDE INLINE void tile_rows(int32_t type, int groups, uint32_t rows, const struct job *job)
{
    switch (rows) {
    case 1:
        tile(type, groups, 1, job);
        break;
    case 2:
        tile(type, groups, 2, job);
        break;
    case 3:
        tile(type, groups, 3, job);
        break;
    case 4:
        tile(type, groups, 4, job);
        break;
    case 5:
        tile(type, groups, 5, job);
        break;
    case 6:
        tile(type, groups, 6, job);
        break;
    case 7:
        tile(type, groups, 7, job);
        break;
    default:
        tile(type, groups, 8, job);
    }
}

static __mmask16 keep_of(uint32_t left)
{
    return left >= FG_WIDE_ROWS ? 0xffff : (__mmask16)((1u << left) - 1);
}

WIDE INLINE void multiply(int32_t type, const struct fg_matrix *w, const void *act,
                          const struct fg_product *p)
{
    const size_t bytes = fg_wide_group(type == FG_F32, w->k);
    /* A few rows wait for memory, and one stream is read faster than two. */
    const uint32_t together = p->m < 4 ? FG_WIDE_ROWS : 2 * FG_WIDE_ROWS;
    for (uint32_t r = p->first; r < p->last; r += together) {
        const uint32_t left = p->last - r;
        const bool two = left > FG_WIDE_ROWS && together > FG_WIDE_ROWS;
        struct job job = {.k = w->k, .ahead = FG_WIDE_AHEAD, .add = p->add, .stride = p->stride};
        job.w[0] = (const uint8_t *)w->packed + r / FG_WIDE_ROWS * bytes;
        job.w[1] = job.w[0] + bytes;
        job.keep[0] = keep_of(left);
        job.keep[1] = two ? keep_of(left - FG_WIDE_ROWS) : 0;
        for (uint32_t i = 0; i < p->m; i += 8, job.ahead = 0) {
            uint32_t rows = p->m - i < 8 ? p->m - i : 8;
            job.x = (const float *)act + (size_t)i * w->k;
            job.y = p->y + (size_t)i * p->stride + r;
            if (two)
                tile_rows(type, 2, rows, &job);
            else
                tile_rows(type, 1, rows, &job);
        }
    }
}

#define KERNEL(name, type)                                                                         \
    WIDE void name(const struct fg_matrix *w, const void *act, const struct fg_product *p)         \
    {                                                                                              \
        multiply(type, w, act, p);                                                                 \
    }
KERNEL(fg_wide_avx512_f32, FG_F32)
KERNEL(fg_wide_avx512_f16, FG_F16)
KERNEL(fg_wide_avx512_bf16, FG_BF16)
#else
typedef int fg_wide_avx512_is_empty;
#endif
