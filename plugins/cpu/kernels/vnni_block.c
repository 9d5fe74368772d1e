/*
 * cpu/kernels/vnni_block.c - AVX-512 VNNI products of the types with blocks of 32.
 */
#if defined(__x86_64__)
#include "cpu/kernels/vnni_core.h"

VNNI_KERNEL(fg_vnni_q4_0, FG_TRAITS_Q4_0)
VNNI_KERNEL(fg_vnni_q4_1, FG_TRAITS_Q4_1)
VNNI_KERNEL(fg_vnni_q5_0, FG_TRAITS_Q5_0)
VNNI_KERNEL(fg_vnni_q5_1, FG_TRAITS_Q5_1)
VNNI_KERNEL(fg_vnni_q8_0, FG_TRAITS_Q8_0)
VNNI_KERNEL(fg_vnni_iq4_nl, FG_TRAITS_IQ4_NL)
#else
typedef int fg_vnni_block_is_empty;
#endif
