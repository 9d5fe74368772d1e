/*
 * cpu/kernels/matrix.h - weights packed for this CPU, and products with them.
 *
 * Y[m][n] = X[m][k] * W[n][k]^T for m = 1 (decode, bandwidth-bound) to some hundreds (prefill,
 * compute-bound). Weights are repacked once at load into the layout that the chosen instruction
 * set reads in a straight line; activations are quantised to 8 bits a row (per 32 or 256 values,
 * as the weight type wants) by fg_act_quantize, in parallel slices, once for all products that
 * share them. No threads in here: a caller hands out row ranges.
 */
#ifndef FG_CPU_MATRIX_H
#define FG_CPU_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

enum fg_isa { /* each includes those before it, but AVX-VNNI, which is not part of AVX-512 */
    FG_ISA_GENERIC = 0,
    FG_ISA_AVX2 = 1, /* with FMA and F16C */
    FG_ISA_AVX_VNNI = 2,
    FG_ISA_AVX512_VNNI = 3, /* with F, BW, DQ, VL */
    FG_ISA_AVX512_BF16 = 4,
};
/* The best this machine has; FLUXGATE_CPU_ISA=generic|avx2|avxvnni|avx512vnni|avx512bf16 lowers
 * it (tests, bench). */
enum fg_isa fg_isa_detect(void);
bool fg_isa_runs(enum fg_isa); /* on this machine */
const char *fg_isa_name(enum fg_isa);

struct fg_matrix { /* set by fg_matrix_plan; rows of W = outputs */
    int32_t type;        /* enum fg_quant_type of the source */
    enum fg_isa isa;
    bool exact;          /* float activations (tests, FLUXGATE_CPU_EXACT=1): no 8-bit rounding */
    uint32_t n, k;
    uint32_t tile;       /* rows are packed in groups of this many; ranges must be multiples */
    size_t packed_bytes; /* memory that the packed form needs; may differ from the file's */
    void *packed;        /* the caller's memory, 64-byte aligned, set before fg_matrix_pack */
    const void *ops;     /* the kernels chosen: private */
};
/* Fills everything but `packed`. FG_UNSUPPORTED for a type that does not compute. */
int32_t fg_matrix_plan(int32_t type, uint32_t n, uint32_t k, enum fg_isa, bool exact,
                       struct fg_matrix *, struct fg_error *);
/* Packs source rows [first, last) (file layout, `rows` points at row `first`); ranges that are
 * multiples of tile may be packed by different threads. The last range may end at n. */
void fg_matrix_pack(const struct fg_matrix *, const void *rows, uint32_t first, uint32_t last);
/* One row back to float (embedding lookup of a tied output matrix). */
void fg_matrix_row(const struct fg_matrix *, uint32_t row, float *out);

/* How activations must be prepared for a matrix; matrices with an equal kind share them. */
int32_t fg_matrix_act_kind(const struct fg_matrix *);
size_t fg_act_bytes(int32_t kind, uint32_t m, uint32_t k); /* 64-byte aligned buffer */
/* Rows [first, last) of X (stride in floats); m is the whole batch (layout may interleave rows in
 * groups: fg_act_group() rows must be prepared by one caller). */
uint32_t fg_act_group(int32_t kind);
void fg_act_quantize(int32_t kind, const float *x, size_t stride, uint32_t m, uint32_t k,
                     uint32_t first, uint32_t last, void *act);

/* y[i * y_stride + r] for i in [0, m), output rows r in [first, last) of W. first is a multiple of
 * tile; last too, or n. Different ranges may run on different threads. */
void fg_matrix_multiply(const struct fg_matrix *, const void *act, uint32_t m, float *y,
                        size_t y_stride, uint32_t first, uint32_t last);

/* The same, added to what y holds: a residual, or a bias written there before. Costs no more. */
void fg_matrix_multiply_add(const struct fg_matrix *, const void *act, uint32_t m, float *y,
                            size_t y_stride, uint32_t first, uint32_t last);

#endif
