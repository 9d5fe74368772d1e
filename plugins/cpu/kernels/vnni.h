/*
 * cpu/kernels/vnni.h - products over the group layout with AVX-512 VNNI. Private to this folder.
 * Each has the contract of fg_matrix_multiply, with activations as act.h lays them out.
 */
#ifndef FG_CPU_VNNI_H
#define FG_CPU_VNNI_H

#include "cpu/kernels/matrix.h"

#define FG_VNNI_MULTIPLY(name)                                                                     \
    void name(const struct fg_matrix *, const void *act, uint32_t m, float *y, size_t y_stride,    \
              uint32_t first, uint32_t last)
FG_VNNI_MULTIPLY(fg_vnni_q4_0);
FG_VNNI_MULTIPLY(fg_vnni_q4_1);
FG_VNNI_MULTIPLY(fg_vnni_q5_0);
FG_VNNI_MULTIPLY(fg_vnni_q5_1);
FG_VNNI_MULTIPLY(fg_vnni_q8_0);
FG_VNNI_MULTIPLY(fg_vnni_iq4_nl);
FG_VNNI_MULTIPLY(fg_vnni_q2_k);
FG_VNNI_MULTIPLY(fg_vnni_q3_k);
FG_VNNI_MULTIPLY(fg_vnni_q4_k);
FG_VNNI_MULTIPLY(fg_vnni_q5_k);
FG_VNNI_MULTIPLY(fg_vnni_q6_k);
FG_VNNI_MULTIPLY(fg_vnni_iq4_xs);

#endif
