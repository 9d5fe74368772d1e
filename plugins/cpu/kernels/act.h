/*
 * cpu/kernels/act.h - activations rounded to 8 bits, the layout that all integer kernels read.
 *
 * Rows go in tiles of FG_ACT8_ROWS (the last tile holds the rest, t rows). A tile is one record
 * for each 32 values of k: int8 q[t][32]; float d[t]; float ds_low[t], ds_high[t]: d times the sum
 * of the first and of the last 16 values; float ds[t]: their sum. A value is d * q, |q| <= 127.
 */
#ifndef FG_CPU_ACT_H
#define FG_CPU_ACT_H

#include <stddef.h>
#include <stdint.h>

#define FG_ACT8_ROWS   8u
#define FG_ACT8_RECORD 48u /* bytes of one row in a record */

size_t fg_act8_bytes(uint32_t m, uint32_t k);
void fg_act8_quantize(const float *x, size_t stride, uint32_t m, uint32_t k, uint32_t first,
                      uint32_t last, void *act);

#endif
