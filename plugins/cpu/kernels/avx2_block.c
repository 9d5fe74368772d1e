/*
 * cpu/kernels/avx2_block.c - AVX2 products of the types with blocks of 32. See x2_core.h.
 */
#if defined(__x86_64__)
#define X2_VNNI 0
#include "cpu/kernels/x2_core.h"
#include "engine/gguf/quant.h"

X2_KERNEL(q4_0, FG_TRAITS_Q4_0)
X2_KERNEL(q4_1, FG_TRAITS_Q4_1)
X2_KERNEL(q5_0, FG_TRAITS_Q5_0)
X2_KERNEL(q5_1, FG_TRAITS_Q5_1)
X2_KERNEL(q8_0, FG_TRAITS_Q8_0)
X2_KERNEL(iq4_nl, FG_TRAITS_IQ4_NL)
X2_KERNEL(mxfp4, FG_TRAITS_MXFP4)
X2_PANEL(panel_4, FG_TRAITS_Q4_1)
X2_PANEL(panel_5, FG_TRAITS_Q5_1)
X2_PANEL(panel_8, FG_TRAITS_Q8_0)

const struct fg_group_kernel fg_avx2_block[FG_GROUP_TYPES] = {
    [FG_Q4_0] = X2_ENTRY(q4_0, panel_4),
    [FG_Q4_1] = X2_ENTRY(q4_1, panel_4),
    [FG_Q5_0] = X2_ENTRY(q5_0, panel_5),
    [FG_Q5_1] = X2_ENTRY(q5_1, panel_5),
    [FG_Q8_0] = X2_ENTRY(q8_0, panel_8),
    [FG_IQ4_NL] = X2_ENTRY(iq4_nl, panel_8),
    [FG_MXFP4] = X2_ENTRY(mxfp4, panel_8),
};
#else
typedef int fg_avx2_block_is_empty;
#endif
