/*
 * The vector loops for AVX2, FMA and F16C: eight lanes, sixteen registers. Compiled with the flags
 * that CMakeLists.txt gives it; called only where the machine has them.
 */
#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu/simd.h"

#define LANES   8
#define QUERIES 6
#define VALUES  6
#define SLICE   2

static inline __m256 load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
static inline void store_f16(uint16_t *p, __m256 v)
{
    _mm_storeu_si128((__m128i *)(void *)p,
                     _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#include "cpu/simd_core.inc"

const struct fg_simd fg_simd_avx2 = SIMD_TABLE;
#else
typedef int fg_simd_avx2_is_empty;
#endif
