/*
 * cpu/kernels/avx2_super.c - AVX2 products of the types with blocks of 256. See x2_core.h.
 */
#if defined(__x86_64__)
#define X2_VNNI 0
#include "cpu/kernels/x2_core.h"
#include "engine/gguf/quant.h"

X2_KERNEL(q2_k, FG_TRAITS_Q2_K)
X2_KERNEL(q3_k, FG_TRAITS_Q3_K)
X2_KERNEL(q4_k, FG_TRAITS_Q4_K)
X2_KERNEL(q5_k, FG_TRAITS_Q5_K)
X2_KERNEL(q6_k, FG_TRAITS_Q6_K)
X2_KERNEL(iq4_xs, FG_TRAITS_IQ4_XS)
X2_PANEL(panel_2_bits, FG_TRAITS_Q2_K)
X2_PANEL(panel_4, FG_TRAITS_Q4_K)
X2_PANEL(panel_5, FG_TRAITS_Q5_K)
X2_PANEL(panel_6, FG_TRAITS_Q6_K)
X2_PANEL(panel_8, FG_TRAITS_IQ4_XS)

const struct fg_group_kernel fg_avx2_super[FG_GROUP_TYPES] = {
    [FG_Q2_K] = X2_ENTRY(q2_k, panel_2_bits),
    [FG_Q3_K] = X2_ENTRY(q3_k, panel_2_bits),
    [FG_Q4_K] = X2_ENTRY(q4_k, panel_4),
    [FG_Q5_K] = X2_ENTRY(q5_k, panel_5),
    [FG_Q6_K] = X2_ENTRY(q6_k, panel_6),
    [FG_IQ4_XS] = X2_ENTRY(iq4_xs, panel_8),
};
#else
typedef int fg_avx2_super_is_empty;
#endif
