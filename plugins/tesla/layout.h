/*
 * tesla/layout.h - how a quantised matrix lies in the memory of a card.
 *
 * A row is cut into blocks of 32 weights; everything about a block stands in planes, each one
 * contiguous over (row, block), so that a lane reads a block's weights with 16-byte loads and
 * neighbouring lanes read neighbouring addresses. Nothing is rounded: the planes hold exactly the
 * numbers of the file (K types keep their integer scales).
 *
 *   lo     4 * lo bits bytes a block: the low bits of the weights
 *   hi     4 * hi bits bytes a block: the bits above them
 *   sub    what differs from block to block: scales, mins
 *   super  half2 (d, dmin) for 256 weights, K types only
 *
 * Order of the weights within a block, by the family's arithmetic (FG_TESLA_FLOAT or not):
 *   dp4a   4 bits: byte b of word w has weight 4w+b below and 16+4w+b above. 2 bits: word h, bits
 *          8b+2w: weight 16h+4w+b. 1 bit: bits 8b+w and 8b+4+w: weights 4w+b and 16+4w+b.
 *          8 bits: as they are. Tables: nibble i of word j is weight 8j+i (byte permutes want it).
 *   float  4 bits: nibble i of word j is weight 8j+i. 2 bits: word j/2, bits 4i+2(j%2). 1 bit:
 *          bits 4i+j. 8 bits (128 added): a plane of low nibbles, then one of high nibbles.
 *          Tables are looked up at load and stored as 8 bits.
 * Either way one shift and one mask bring a field to where the arithmetic wants it.
 */
#ifndef FG_TESLA_LAYOUT_H
#define FG_TESLA_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

enum fg_tesla_table { FG_TABLE_NONE = 0, FG_TABLE_IQ4 = 1, FG_TABLE_FP4 = 2 };
enum fg_tesla_scale {
    FG_SCALE_D = 0,    /* half d */
    FG_SCALE_DM = 1,   /* half d, half m */
    FG_SCALE_E8 = 2,   /* a byte: 2^(e-127) / 2 */
    FG_SCALE_K32 = 3,  /* int8 scale; super */
    FG_SCALE_K32M = 4, /* uint8 scale, uint8 min; super */
    FG_SCALE_K16 = 5,  /* int8 scales of both halves; super */
    FG_SCALE_K16M = 6, /* uint8 scales of both halves, mins of both halves; super */
};

/* type number, lo bits, hi bits, table, offset (weight = stored - offset), scale */
#define FG_TESLA_QUANTS(X)                                                                         \
    X(2, 4, 0, FG_TABLE_NONE, 8, FG_SCALE_D)     /* Q4_0 */                                        \
    X(3, 4, 0, FG_TABLE_NONE, 0, FG_SCALE_DM)    /* Q4_1 */                                        \
    X(6, 4, 1, FG_TABLE_NONE, 16, FG_SCALE_D)    /* Q5_0 */                                        \
    X(7, 4, 1, FG_TABLE_NONE, 0, FG_SCALE_DM)    /* Q5_1 */                                        \
    X(8, 8, 0, FG_TABLE_NONE, 0, FG_SCALE_D)     /* Q8_0 */                                        \
    X(10, 2, 0, FG_TABLE_NONE, 0, FG_SCALE_K16M) /* Q2_K */                                        \
    X(11, 2, 1, FG_TABLE_NONE, 4, FG_SCALE_K16)  /* Q3_K */                                        \
    X(12, 4, 0, FG_TABLE_NONE, 0, FG_SCALE_K32M) /* Q4_K */                                        \
    X(13, 4, 1, FG_TABLE_NONE, 0, FG_SCALE_K32M) /* Q5_K */                                        \
    X(14, 4, 2, FG_TABLE_NONE, 32, FG_SCALE_K16) /* Q6_K */                                        \
    X(20, 4, 0, FG_TABLE_IQ4, 0, FG_SCALE_D)     /* IQ4_NL */                                      \
    X(23, 4, 0, FG_TABLE_IQ4, 0, FG_SCALE_K32)   /* IQ4_XS */                                      \
    X(39, 4, 0, FG_TABLE_FP4, 0, FG_SCALE_E8)    /* MXFP4 */

struct fg_tesla_matrix { /* passed to kernels by value */
    int32_t type;        /* enum fg_quant_type */
    uint32_t n, k;       /* rows (outputs), weights of a row */
    const void *lo, *hi, *sub, *super; /* in the card's memory; float types: lo alone, as in the
                                          file */
};

struct fg_tesla_sizes {
    size_t lo, hi, sub, super; /* bytes of each plane of the whole matrix */
    uint32_t block, block_bytes; /* of the file */
};

#endif
