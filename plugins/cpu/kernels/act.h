/*
 * cpu/kernels/act.h - activations rounded to 8 bits, the layout that all integer kernels read.
 *
 * Rows go in tiles of FG_ACT8_ROWS (the last tile holds the rest, t rows). A tile is one record
 * for each 32 values of k. A value is d * q with |q| <= 127; sums are over the first 16, the last
 * 16 and all 32 values, as floats (times d) for types with mins, and as integers times -128 for
 * weights that are stored with 128 added: a dot product starts there instead of at 0.
 *   int8 q[t][32]; float d[t], low[t], high[t], all[t]; int32 minus_low[t], minus_high[t],
 *   minus_all[t], 0[t]
 */
#ifndef FG_CPU_ACT_H
#define FG_CPU_ACT_H

#include <stddef.h>
#include <stdint.h>

#define FG_ACT8_ROWS   8u
#define FG_ACT8_RECORD 64u /* bytes of one row in a record */
enum { /* fields after q, each [t] */
    FG_ACT8_D = 0, FG_ACT8_LOW = 1, FG_ACT8_HIGH = 2, FG_ACT8_ALL = 3,
    FG_ACT8_MINUS_LOW = 4, FG_ACT8_MINUS_HIGH = 5, FG_ACT8_MINUS_ALL = 6,
};

size_t fg_act8_bytes(uint32_t m, uint32_t k);
void fg_act8_quantize(const float *x, size_t stride, uint32_t m, uint32_t k, uint32_t first,
                      uint32_t last, void *act);

#endif
