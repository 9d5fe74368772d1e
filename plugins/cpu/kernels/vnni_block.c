/*
 * cpu/kernels/vnni_block.c - AVX-512 VNNI products of the types with blocks of 32.
 */
#if defined(__x86_64__)
#include "cpu/kernels/vnni_core.h"
#include "engine/gguf/quant.h"

VNNI_KERNEL(q4_0, FG_TRAITS_Q4_0)
VNNI_KERNEL(q4_1, FG_TRAITS_Q4_1)
VNNI_KERNEL(q5_0, FG_TRAITS_Q5_0)
VNNI_KERNEL(q5_1, FG_TRAITS_Q5_1)
VNNI_KERNEL(q8_0, FG_TRAITS_Q8_0)
VNNI_KERNEL(iq4_nl, FG_TRAITS_IQ4_NL)
VNNI_KERNEL(mxfp4, FG_TRAITS_MXFP4)

const struct fg_group_kernel fg_vnni_block[FG_GROUP_TYPES] = {
    [FG_Q4_0] = VNNI_ENTRY(q4_0, 1, false, fg_vnni_panel_1),
    [FG_Q4_1] = VNNI_ENTRY(q4_1, 1, true, fg_vnni_panel_1_mins),
    [FG_Q5_0] = VNNI_ENTRY(q5_0, 1, false, fg_vnni_panel_1),
    [FG_Q5_1] = VNNI_ENTRY(q5_1, 1, true, fg_vnni_panel_1_mins),
    [FG_Q8_0] = VNNI_ENTRY(q8_0, 1, false, fg_vnni_panel_1),
    [FG_IQ4_NL] = VNNI_ENTRY(iq4_nl, 1, false, fg_vnni_panel_1),
    [FG_MXFP4] = VNNI_ENTRY(mxfp4, 1, false, fg_vnni_panel_1),
};
#else
typedef int fg_vnni_block_is_empty;
#endif
