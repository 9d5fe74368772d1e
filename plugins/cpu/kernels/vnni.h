/*
 * cpu/kernels/vnni.h - products over the group layout with AVX-512 VNNI. Private to this folder.
 *
 * fg_vnni_<type> have the contract of fg_matrix_multiply, with activations as act.h lays them out.
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

/* A panel: records of one group made wide once for many rows. A record is 8 vectors of 8-bit
 * weights (with 128 added unless the type has mins), float d[runs][16], then float m[runs][16]
 * where there are mins. */
static inline size_t fg_vnni_wide(int runs, bool mins)
{
    return 512 + (size_t)runs * (mins ? 128 : 64);
}
/* One panel of `count` records by one tile of activation rows. Adds to y if `add`. `ahead`: packed
 * weights to prefetch meanwhile, `step` bytes a record, or step 0. */
struct fg_vnni_panel {
    const uint8_t *wide, *act, *ahead;
    uint32_t count, step, keep; /* keep: mask of the outputs that exist */
    bool add;
    float *y;
    size_t stride;
};
typedef void (*fg_vnni_panel_fn)(const struct fg_vnni_panel *);
/* [runs - 1][mins][rows - 1] */
extern const fg_vnni_panel_fn fg_vnni_panels[2][2][8];

#endif
