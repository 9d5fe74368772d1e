/*
 * tesla/table.h - what a family of kernels offers to device.c: launches on a stream.
 *
 * One object a family, all made from the same sources (family.cu) for the architectures of that
 * family; the table of the best one whose code the driver took is used. Every call queues work and
 * returns; errors show when the stream is waited for. One thread.
 */
#ifndef FG_TESLA_TABLE_H
#define FG_TESLA_TABLE_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#include "tesla/layout.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { /* forms in which the input of a product can be asked for (bits) */
    FG_IN_FLOAT = 1, /* float[rows][k] */
    FG_IN_STEPS = 2, /* what products with few rows read: 8 bits, or scaled floats, with sums */
    FG_IN_HALF = 4,  /* half[rows][k] divided by the row's greatest magnitude: tensor cores */
};
enum {
    FG_TESLA_FEW = 8,            /* rows of a step that the streaming product takes at once */
    FG_TESLA_WIDTH_MOST = 32768, /* inputs of a product */
};

struct fg_tesla_in { /* one input in every form; rows padded to a multiple of FG_TESLA_FEW */
    float *f;
    void *q;           /* int8[rows][k], or float[rows][k] scaled by place */
    float *steps;      /* float4[rows][k / 32]: scale, sum of 16, sum of 16, sum of 32 */
    uint16_t *half;
    float *half_scale; /* [rows] */
    uint32_t k;
};
struct fg_tesla_part {
    struct fg_tesla_matrix w;
    const float *bias; /* NULL: none */
    float *out;        /* [rows][stride] */
    uint32_t stride;
};
enum fg_tesla_mode { FG_MODE_STORE = 0, FG_MODE_ADD = 1, FG_MODE_SILU = 2, FG_MODE_GELU = 3 };
struct fg_tesla_product { /* parts of one type; the gated modes have two: gate, up, to part[0].out */
    struct fg_tesla_in in;
    uint32_t rows, count;
    int32_t mode;
    struct fg_tesla_part part[3];
    float *work; /* room for results that are not final yet */
    size_t work_bytes;
    uint32_t processors; /* of the card */
};
struct fg_tesla_step { /* the rows of a step, in the card's memory */
    const int32_t *token;
    const uint32_t *position, *sequence;
    const uint32_t *pages; /* [sequence][page_stride] */
    uint32_t page_stride, rows;
};
struct fg_tesla_kv { /* half[layer][page][2][kv_head][token][head_dim] */
    uint16_t *data;
    uint32_t layers, pages, page_tokens, kv_heads, head_dim;
};
struct fg_tesla_attend {
    float *q;                   /* [rows][heads * head_dim]; rotated in place */
    const float *k, *v;         /* [rows][kv_heads * head_dim] */
    const float *q_norm, *k_norm;
    float eps;
    const float *rope;          /* float2[rows][dims / 2] cosine, sine; NULL: none */
    uint32_t rope_dims;
    bool rope_halves;
    struct fg_tesla_kv kv;
    uint32_t layer, heads;
    float scale, softcap;
    uint32_t window;
    uint32_t splits;            /* parts of a row's past that run beside each other */
    float *partial;             /* [rows][heads][splits][head_dim + 2] */
    float *out;                 /* [rows][heads * head_dim]; NULL: write K and V only */
};

struct fg_tesla_family {
    const char *name;      /* "DP4" */
    bool is_float;         /* few-row products work with floats (layout.h) */
    bool has_tensor_cores; /* FG_IN_HALF products */
    uint32_t few;          /* rows up to which the streaming product wins */
    /* cudaSuccess when the driver can run this family here; code: the PTX or binary version of
     * what it took, as 61 */
    cudaError_t (*probe)(int *code, bool *is_ptx);

    void (*repack)(cudaStream_t, struct fg_tesla_matrix to, const void *blocks, uint32_t first_row,
                   uint32_t rows);
    /* Writes what the file held back as floats: rows [first, first + rows). For tests. */
    void (*dequantize)(cudaStream_t, struct fg_tesla_matrix, uint32_t first, uint32_t rows, float *out);
    void (*embed)(cudaStream_t, const struct fg_tesla_step *, struct fg_tesla_matrix, float scale,
                  float *out);
    /* in (with norm: RMS-normed by it) in the asked forms */
    void (*prepare)(cudaStream_t, const float *in, const float *norm, float eps, uint32_t rows,
                    uint32_t forms, const struct fg_tesla_in *to);
    void (*product)(cudaStream_t, const struct fg_tesla_product *);
    void (*rope_table)(cudaStream_t, const struct fg_tesla_step *, const float *frequency,
                       uint32_t pairs, float magnitude, float *out);
    void (*attend)(cudaStream_t, const struct fg_tesla_step *, const struct fg_tesla_attend *);
    void (*kv_copy)(cudaStream_t, struct fg_tesla_kv, uint32_t from, uint32_t to, uint32_t tokens);
    void (*norm)(cudaStream_t, const float *in, const float *weight, float eps, uint32_t rows,
                 uint32_t width, float *out);
    void (*add_norm)(cudaStream_t, const float *in, const float *weight, float eps, uint32_t rows,
                     uint32_t width, float *onto);
    void (*gate)(cudaStream_t, int32_t mode, uint32_t rows, uint32_t width, const float *up,
                 float *gate); /* gate = act(gate) * up */
    void (*gather)(cudaStream_t, const float *from, const uint32_t *index, uint32_t count,
                   uint32_t width, float *to);
    void (*softcap)(cudaStream_t, float *, size_t count, float cap);
};

extern const struct fg_tesla_family fg_tesla_kep, fg_tesla_max, fg_tesla_p60, fg_tesla_dp4,
    fg_tesla_v70, fg_tesla_tur, fg_tesla_amp;

#ifdef __cplusplus
}
#endif
#endif
