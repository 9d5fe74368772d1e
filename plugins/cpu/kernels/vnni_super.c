/*
 * cpu/kernels/vnni_super.c - AVX-512 VNNI products of the types with blocks of 256.
 */
#if defined(__x86_64__)
#include "cpu/kernels/vnni_core.h"

VNNI_KERNEL(fg_vnni_q2_k, FG_TRAITS_Q2_K)
VNNI_KERNEL(fg_vnni_q3_k, FG_TRAITS_Q3_K)
VNNI_KERNEL(fg_vnni_q4_k, FG_TRAITS_Q4_K)
VNNI_KERNEL(fg_vnni_q5_k, FG_TRAITS_Q5_K)
VNNI_KERNEL(fg_vnni_q6_k, FG_TRAITS_Q6_K)
VNNI_KERNEL(fg_vnni_iq4_xs, FG_TRAITS_IQ4_XS)
#else
typedef int fg_vnni_super_is_empty;
#endif
