/*
 * The vector loops for any machine: four lanes, which every compiler can do, and f16 by hand.
 */
#include "cpu/simd.h"
#include "engine/gguf/quant.h"

#define LANES   4
#define QUERIES 6
#define VALUES  6
#define SLICE   2
typedef float fg_v4 __attribute__((vector_size(16)));

static inline fg_v4 load_f16(const uint16_t *p)
{
    return (fg_v4){fg_f16_to_f32(p[0]), fg_f16_to_f32(p[1]), fg_f16_to_f32(p[2]),
                   fg_f16_to_f32(p[3])};
}
static inline void store_f16(uint16_t *p, fg_v4 v)
{
    for (int i = 0; i < 4; i++)
        p[i] = fg_f32_to_f16(v[i]);
}

#include "cpu/simd_core.inc"

const struct fg_simd fg_simd_generic = SIMD_TABLE;

const struct fg_simd *fg_simd_for(enum fg_isa isa)
{
#if defined(__x86_64__)
    if (isa >= FG_ISA_AVX512_VNNI)
        return &fg_simd_avx512;
    if (isa >= FG_ISA_AVX2)
        return &fg_simd_avx2;
#endif
    (void)isa;
    return &fg_simd_generic;
}
