/*
 * cpu/kernels/vnni_super.c - AVX-512 VNNI products of the types with blocks of 256.
 */
#if defined(__x86_64__)
#include "cpu/kernels/vnni_core.h"
#include "engine/gguf/quant.h"

VNNI_KERNEL(q2_k, FG_TRAITS_Q2_K)
VNNI_KERNEL(q3_k, FG_TRAITS_Q3_K)
VNNI_KERNEL(q4_k, FG_TRAITS_Q4_K)
VNNI_KERNEL(q5_k, FG_TRAITS_Q5_K)
VNNI_KERNEL(q6_k, FG_TRAITS_Q6_K)
VNNI_KERNEL(iq4_xs, FG_TRAITS_IQ4_XS)

const struct fg_group_kernel fg_vnni_super[FG_GROUP_TYPES] = {
    [FG_Q2_K] = VNNI_ENTRY(q2_k, 2, true, fg_vnni_panel_2_mins),
    [FG_Q3_K] = VNNI_ENTRY(q3_k, 2, false, fg_vnni_panel_2),
    [FG_Q4_K] = VNNI_ENTRY(q4_k, 1, true, fg_vnni_panel_1_mins),
    [FG_Q5_K] = VNNI_ENTRY(q5_k, 1, true, fg_vnni_panel_1_mins),
    [FG_Q6_K] = VNNI_ENTRY(q6_k, 2, false, fg_vnni_panel_2),
    [FG_IQ4_XS] = VNNI_ENTRY(iq4_xs, 1, false, fg_vnni_panel_1),
};
#else
typedef int fg_vnni_super_is_empty;
#endif
