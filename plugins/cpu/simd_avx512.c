/*
 * The vector loops for AVX-512: sixteen lanes, thirty-two registers. Compiled with the flags that
 * CMakeLists.txt gives it; called only where the machine has them.
 */
#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu/simd.h"

#define LANES   16
#define QUERIES 12
#define VALUES  6
#define SLICE   4

static inline __m512 load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline void store_f16(uint16_t *p, __m512 v)
{
    _mm256_storeu_si256((__m256i *)(void *)p,
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#include "cpu/simd_core.inc"

const struct fg_simd fg_simd_avx512 = SIMD_TABLE;
#else
typedef int fg_simd_avx512_is_empty;
#endif
