/*
 * cpu/kernels/group.h - the group layout of packed weights. Private to this folder.
 *
 * 16 rows (outputs) go together, one 32-bit lane each. A record holds 32 values of k of all 16
 * rows, as 8 vectors w[j] of 64 bytes: 4 bytes (k = 4j .. 4j+3) of row 0, 4 of row 1, ... That is
 * what vpdpbusd wants beside a broadcast of 4 activation bytes. Narrow weights stay narrow:
 *   low 8 bits: w[0..7] as they are (512 bytes)
 *   low 4 bits: 4 vectors; vector i has w[i] in its low nibbles and w[i + 4] in the high ones
 *   low 2 bits: 2 vectors; vector h has w[4h + s] at bit 2s
 *   high 2 bits: as low 2 bits, above the low ones;  high 1 bit: 8 masks of 64 bits, one for w[j]
 * then the scales: f16 d[16] (and f16 m[16]); or bytes e[16], d being 2^(e - 128); or, for the K types, small scales [runs][16] (and
 * mins), while d and dmin stand in a header before each 8 records. A record has one run of 32 or
 * two runs of 16 values with a scale each. A weight is scale * (q - offset) or scale * q + min.
 */
#ifndef FG_CPU_GROUP_H
#define FG_CPU_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_GROUP_ROWS 16u

struct fg_group_traits {
    int low, high; /* bits */
    int runs;      /* 1 or 2 */
    bool super;    /* blocks of 256 with small scales */
    bool mins;
    bool joined;   /* small scale and min in one byte (4 bits each) */
    int table;     /* q is an index into fg_group_tables[table - 1] */
    bool exponent; /* d is a byte, the exponent of a power of two */
    int offset;
};
#define FG_TRAITS_Q4_0   {.low = 4, .runs = 1, .offset = 8}
#define FG_TRAITS_Q4_1   {.low = 4, .runs = 1, .mins = true}
#define FG_TRAITS_Q5_0   {.low = 4, .high = 1, .runs = 1, .offset = 16}
#define FG_TRAITS_Q5_1   {.low = 4, .high = 1, .runs = 1, .mins = true}
#define FG_TRAITS_Q8_0   {.low = 8, .runs = 1, .offset = 128}
#define FG_TRAITS_IQ4_NL {.low = 4, .runs = 1, .table = 1, .offset = 128}
#define FG_TRAITS_MXFP4  {.low = 4, .runs = 1, .table = 2, .exponent = true, .offset = 128}
#define FG_TRAITS_Q2_K   {.low = 2, .runs = 2, .super = true, .mins = true, .joined = true}
#define FG_TRAITS_Q3_K   {.low = 2, .high = 1, .runs = 2, .super = true, .offset = 4}
#define FG_TRAITS_Q4_K   {.low = 4, .runs = 1, .super = true, .mins = true}
#define FG_TRAITS_Q5_K   {.low = 4, .high = 1, .runs = 1, .super = true, .mins = true}
#define FG_TRAITS_Q6_K   {.low = 4, .high = 2, .runs = 2, .super = true, .offset = 32}
#define FG_TRAITS_IQ4_XS {.low = 4, .runs = 1, .super = true, .table = 1, .offset = 128}

static inline size_t fg_group_quants(struct fg_group_traits t)
{
    return (size_t)(t.low + t.high) * 64;
}
static inline size_t fg_group_record(struct fg_group_traits t)
{
    size_t small = t.super ? 16u * (size_t)t.runs * (t.mins && !t.joined ? 2 : 1) : 0;
    return fg_group_quants(t) + (t.super ? small : t.exponent ? 16 : t.mins ? 64 : 32);
}
static inline size_t fg_group_header(struct fg_group_traits t)
{
    return !t.super ? 0 : t.mins ? 64 : 32;
}
/* Bytes of 16 rows of k weights. */
static inline size_t fg_group_bytes(struct fg_group_traits t, uint32_t k)
{
    return (size_t)(k / 32) * fg_group_record(t) + (t.super ? k / 256 * fg_group_header(t) : 0);
}
/* Values of the non-linear types plus 128: IQ4, and e2m1 doubled. */
extern const uint8_t fg_group_tables[2][16];

#endif
