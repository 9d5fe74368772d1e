/*
 * cpu/simd.h - vector loops beside the matrix products, one table for each instruction set.
 *
 * Plain functions on plain memory: no threads, no allocation. The result for one row or one query
 * does not depend on what runs beside it, to the bit.
 */
#ifndef FG_CPU_SIMD_H
#define FG_CPU_SIMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/kernels/matrix.h"

enum {
    FG_TILE_QUERIES = 48, /* most queries of a tile */
    FG_TILE_BLOCK = 128,  /* positions between two looks at the maximum */
};

/* Where K and V of one layer and one KV head lie. A page's K is [head_dim][page_tokens], so that
 * scores of neighbouring positions are neighbours; its V is [page_tokens][v_stride]. */
struct fg_kv_view {
    const uint8_t *base;   /* page 0 */
    size_t page_bytes;     /* from a page to the next */
    size_t v_offset;       /* of V behind K, bytes */
    uint32_t page_tokens;  /* 32, 64 or 128 */
    uint32_t head_dim, v_stride; /* v_stride: head_dim rounded up to 16 */
    bool wide;             /* floats; else f16 */
};

/*
 * Queries against positions [from, to) of one sequence; from is a multiple of FG_TILE_BLOCK.
 * Query i sees positions first[i] <= p < end[i]. Results are not divided by the sum yet:
 * out[i] = sum of exp(s - max[i]) * v, sum[i] = sum of exp(s - max[i]).
 */
struct fg_tile {
    uint32_t count; /* queries, at most FG_TILE_QUERIES */
    uint32_t from, to;
    const uint32_t *page; /* the sequence's page table */
    const uint32_t *first, *end;
    float softcap;        /* 0: none */
    const float *queries; /* as pack_queries wrote them */
    float *scores;        /* scratch [FG_TILE_QUERIES][FG_TILE_BLOCK] */
    float *out;           /* [count][v_stride] */
    float *max, *sum;     /* [count] */
};

struct fg_simd {
    void (*rms_norm)(const float *x, const float *weight, float eps, uint32_t n, float *out);
    void (*add)(float *y, const float *x, uint32_t n);
    void (*scale)(const float *x, float by, uint32_t n, float *out); /* out may be x */
    void (*softcap)(float *x, float cap, uint32_t n);
    void (*gate_silu)(const float *gate, const float *up, uint32_t n, float *out);
    void (*gate_gelu)(const float *gate, const float *up, uint32_t n, float *out);
    /* Pairs as struct fg_rope_spec says; cosine and sine [dims / 2]. */
    void (*rotate)(float *head, uint32_t dims, bool halves, const float *cosine, const float *sine);
    void (*to_f16)(const float *x, uint32_t n, uint16_t *out);

    /* Floats that the packed form of `count` queries takes. */
    size_t (*packed_queries)(uint32_t count, uint32_t head_dim);
    /* Query `index` of a tile, times `scale`, into its packed place. */
    void (*pack_query)(const float *query, float scale, uint32_t index, uint32_t head_dim,
                       float *packed);
    void (*attend)(const struct fg_kv_view *, const struct fg_tile *);
    /* (out, max, sum) of a tile's query joined with that of earlier positions, in place. */
    void (*join)(uint32_t n, float *out, float *max, float *sum, const float *more, float more_max,
                 float more_sum);
};
/* The widest that isa allows. */
const struct fg_simd *fg_simd_for(enum fg_isa);
extern const struct fg_simd fg_simd_generic, fg_simd_avx2, fg_simd_avx512;

#endif
