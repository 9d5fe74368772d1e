/*
 * cpu/kernels/act.c - floats to 8-bit records, with AVX2 (every integer kernel needs it). See act.h.
 *
 * A value that is not finite among 32 makes all products with them NaN through d, and nothing else.
 */
#include "cpu/kernels/act.h"

#include <math.h>
#include <stdbool.h>

size_t fg_act8_bytes(uint32_t m, uint32_t k)
{
    return (size_t)m * (k / 32) * FG_ACT8_RECORD;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2   __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline))
#define TINY   1e-35f /* below it 127 / top could overflow; such a block is all zeros */

/* The greatest magnitude as bits: those of infinity and NaN are above all others. */
AVX2 INLINE uint32_t top_bits(const __m256 v[4])
{
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    __m256i top = _mm256_and_si256(_mm256_castps_si256(v[0]), mask);
    for (int i = 1; i < 4; i++)
        top = _mm256_max_epi32(top, _mm256_and_si256(_mm256_castps_si256(v[i]), mask));
    __m128i t = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    t = _mm_max_epi32(t, _mm_shuffle_epi32(t, 0x4e));
    t = _mm_max_epi32(t, _mm_shuffle_epi32(t, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(t);
}

/* Row i of t rows of a record. */
AVX2 INLINE void round32(const float *x, uint8_t *record, uint32_t t, uint32_t i)
{
    float *out = (float *)(void *)(record + (size_t)t * 32) + i;
    int32_t *whole = (int32_t *)(void *)(record + (size_t)t * 32) + i;
    __m256 v[4];
    for (int p = 0; p < 4; p++)
        v[p] = _mm256_loadu_ps(x + p * 8);
    union { uint32_t u; float f; } top = {.u = top_bits(v)};
    bool finite = top.u < 0x7f800000u, some = finite && top.f > TINY;
    __m256 scale = _mm256_set1_ps(some ? 127.0f / top.f : 0);
    __m256i r[4];
    for (int p = 0; p < 4; p++) /* clearing by `some` keeps NaN out of the conversion */
        r[p] = some ? _mm256_cvtps_epi32(_mm256_mul_ps(v[p], scale)) : _mm256_setzero_si256();
    __m256i q = _mm256_packs_epi16(_mm256_packs_epi32(r[0], r[1]), _mm256_packs_epi32(r[2], r[3]));
    q = _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)(record + (size_t)i * 32), q);

    __m256i sums = _mm256_sad_epu8(_mm256_xor_si256(q, _mm256_set1_epi8((char)0x80)),
                                   _mm256_setzero_si256());
    __m128i halves = _mm_add_epi64(_mm256_castsi256_si128(_mm256_permute4x64_epi64(sums, 0xd8)),
                                   _mm256_extracti128_si256(_mm256_permute4x64_epi64(sums, 0xd8), 1));
    int low = _mm_cvtsi128_si32(halves) - 16 * 128;
    int high = _mm_extract_epi32(halves, 2) - 16 * 128;
    float d = !finite ? NAN : some ? top.f / 127.0f : 0;
    out[FG_ACT8_D * t] = d;
    out[FG_ACT8_LOW * t] = d * (float)low;
    out[FG_ACT8_HIGH * t] = d * (float)high;
    out[FG_ACT8_ALL * t] = d * (float)(low + high);
    whole[FG_ACT8_MINUS_LOW * t] = -128 * low;
    whole[FG_ACT8_MINUS_HIGH * t] = -128 * high;
    whole[FG_ACT8_MINUS_ALL * t] = -128 * (low + high);
    whole[7 * t] = 0;
}

AVX2 void fg_act8_quantize(const float *x, size_t stride, uint32_t m, uint32_t k, uint32_t first,
                           uint32_t last, void *act)
{
    uint32_t blocks = k / 32;
    for (uint32_t r = first; r < last; r++) {
        uint32_t base = r / FG_ACT8_ROWS * FG_ACT8_ROWS;
        uint32_t t = m - base < FG_ACT8_ROWS ? m - base : FG_ACT8_ROWS;
        uint8_t *record = (uint8_t *)act + (size_t)base * blocks * FG_ACT8_RECORD;
        for (uint32_t b = 0; b < blocks; b++, record += (size_t)t * FG_ACT8_RECORD)
            round32(x + (size_t)r * stride + (size_t)b * 32, record, t, r - base);
    }
}
#else
/* No integer kernels here, so nobody asks. */
void fg_act8_quantize(const float *x, size_t stride, uint32_t m, uint32_t k, uint32_t first,
                      uint32_t last, void *act)
{
    (void)x, (void)stride, (void)m, (void)k, (void)first, (void)last, (void)act;
}
#endif
