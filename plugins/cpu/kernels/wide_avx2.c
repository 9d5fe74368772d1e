/*
 * cpu/kernels/wide_avx2.c - float weights by float activations with AVX2, FMA and F16C: one group
 * of 16 outputs, as two halves, by up to 4 rows at once.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "cpu/kernels/wide.h"
#include "engine/gguf/quant.h"

#define WIDE   __attribute__((target("avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline))

struct job {
    const uint8_t *w;
    const float *x; /* rows of k */
    uint32_t k;
    uint32_t ahead; /* bytes to prefetch ahead; 0 once the group is in the cache */
    uint32_t outputs;
    bool add;
    float *y;
    size_t stride;
};

WIDE INLINE __m256 load_f16(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* Half h of value c of the pair of k at p, as float. */
WIDE INLINE __m256 load_half(int32_t type, const uint8_t *p, int c, int h)
{
    if (type == FG_F32)
        return _mm256_loadu_ps((const float *)(const void *)p + c * 16 + h * 8);
    if (type == FG_F16)
        return load_f16(p + c * 32 + h * 16);
    __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)(p + h * 32));
    return _mm256_castsi256_ps(c == 0 ? _mm256_slli_epi32(both, 16)
                                      : _mm256_and_si256(both, _mm256_set1_epi32((int)0xffff0000)));
}

WIDE INLINE void step(int32_t type, int rows, int count, size_t at, const float *x,
                      const struct job *job, __m256 sum[2][4])
{
    _mm_prefetch((const char *)job->w + at + job->ahead, _MM_HINT_T0);
    if (type == FG_F32)
        _mm_prefetch((const char *)job->w + at + 64 + job->ahead, _MM_HINT_T0);
    for (int c = 0; c < count; c++) {
        __m256 w[2] = {load_half(type, job->w + at, c, 0), load_half(type, job->w + at, c, 1)};
        for (int i = 0; i < rows; i++) {
            __m256 a = _mm256_set1_ps(x[(size_t)i * job->k + (size_t)c]);
            sum[0][i] = _mm256_fmadd_ps(w[0], a, sum[0][i]);
            sum[1][i] = _mm256_fmadd_ps(w[1], a, sum[1][i]);
        }
    }
}

WIDE INLINE void tile(int32_t type, int rows, const struct job *job)
{
    const size_t pair = fg_wide_pair(type == FG_F32);
    __m256 sum[2][4], other[2][4]; /* a few rows need two chains to hide the latency */
    const float *x = job->x;
    size_t at = 0;
    uint32_t left = job->k;
    for (int i = 0; i < rows; i++) {
        float old[16] = {0};
        if (job->add)
            memcpy(old, job->y + (size_t)i * job->stride, job->outputs * sizeof(float));
        for (int h = 0; h < 2; h++) {
            sum[h][i] = _mm256_loadu_ps(old + h * 8);
            other[h][i] = _mm256_setzero_ps();
        }
    }
    for (; left >= 4; left -= 4, x += 4, at += 2 * pair) {
        step(type, rows, 2, at, x, job, sum);
        step(type, rows, 2, at + pair, x + 2, job, rows < 3 ? other : sum);
    }
    for (; left >= 2; left -= 2, x += 2, at += pair)
        step(type, rows, 2, at, x, job, sum);
    if (left)
        step(type, rows, 1, at, x, job, sum);
    for (int i = 0; i < rows; i++) {
        float all[16];
        for (int h = 0; h < 2; h++)
            _mm256_storeu_ps(all + h * 8,
                             rows < 3 ? _mm256_add_ps(sum[h][i], other[h][i]) : sum[h][i]);
        memcpy(job->y + (size_t)i * job->stride, all, job->outputs * sizeof(float));
    }
}

WIDE INLINE void multiply(int32_t type, const struct fg_matrix *w, const void *act,
                          const struct fg_product *p)
{
    const size_t bytes = fg_wide_group(type == FG_F32, w->k);
    for (uint32_t r = p->first; r < p->last; r += FG_WIDE_ROWS) {
        const uint32_t left = p->last - r;
        struct job job = {.k = w->k, .ahead = FG_WIDE_AHEAD, .add = p->add, .stride = p->stride};
        job.w = (const uint8_t *)w->packed + r / FG_WIDE_ROWS * bytes;
        job.outputs = left < FG_WIDE_ROWS ? left : FG_WIDE_ROWS;
        for (uint32_t i = 0; i < p->m; i += 4, job.ahead = 0) {
            job.x = (const float *)act + (size_t)i * w->k;
            job.y = p->y + (size_t)i * p->stride + r;
            switch (p->m - i) {
            case 1:
                tile(type, 1, &job);
                break;
            case 2:
                tile(type, 2, &job);
                break;
            case 3:
                tile(type, 3, &job);
                break;
            default:
                tile(type, 4, &job);
            }
        }
    }
}

#define KERNEL(name, type)                                                                         \
    WIDE void name(const struct fg_matrix *w, const void *act, const struct fg_product *p)         \
    {                                                                                              \
        multiply(type, w, act, p);                                                                 \
    }
KERNEL(fg_wide_avx2_f32, FG_F32)
KERNEL(fg_wide_avx2_f16, FG_F16)
KERNEL(fg_wide_avx2_bf16, FG_BF16)
#else
typedef int fg_wide_avx2_is_empty;
#endif
