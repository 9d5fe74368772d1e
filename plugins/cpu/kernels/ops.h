/*
 * cpu/kernels/ops.h - what a family of kernels gives to matrix.c. Private to this folder.
 *
 * A family packs, unpacks and multiplies one or more weight types. matrix.c picks one in
 * fg_matrix_plan and calls through this table afterwards. Any thread; no state.
 */
#ifndef FG_CPU_OPS_H
#define FG_CPU_OPS_H

#include "cpu/kernels/matrix.h"

enum { /* act_kind: how a batch of activations is laid out */
    FG_ACT_FLOAT = 0, /* m rows of k floats */
    FG_ACT_INT8 = 1,  /* see act.h */
    FG_ACT_BF16 = 2,  /* see wide.h */
};
struct fg_product { /* the arguments of fg_matrix_multiply */
    float *y;
    size_t stride;
    uint32_t m, first, last;
    bool add; /* to y instead of into it */
};
struct fg_kernel_ops {
    int32_t act_kind;
    uint32_t tile;
    size_t (*packed_bytes)(const struct fg_matrix *);
    void (*pack)(const struct fg_matrix *, const void *rows, uint32_t first, uint32_t last);
    void (*row)(const struct fg_matrix *, uint32_t row, float *out);
    void (*multiply)(const struct fg_matrix *, const void *act, const struct fg_product *);
};

/* Weights stay in the file's layout and become float a block at a time: every type, every machine;
 * the exact path. */
extern const struct fg_kernel_ops fg_ops_plain;
/* Groups of 16 rows (group.h). NULL when the type has no group layout or the machine no kernel. */
const struct fg_kernel_ops *fg_ops_group(int32_t type, enum fg_isa);

/* F32, F16 and BF16 (wide.h). With `exact` activations stay float. NULL as above. */
const struct fg_kernel_ops *fg_ops_wide(int32_t type, enum fg_isa, bool exact);

size_t fg_matrix_row_bytes(const struct fg_matrix *); /* of the file's layout */

#endif
