/*
 * cpu/cpu.h - what the files of the cpu device share. Private to plugins/cpu.
 *
 * Nothing is queued: every operation has happened when it returns, so sync has nothing to do.
 */
#ifndef FG_CPU_H
#define FG_CPU_H

#include <jansson.h>

#include "cpu/kernels/matrix.h"
#include "cpu/memory.h"
#include "cpu/simd.h"
#include "cpu/threads.h"
#include "engine/device.h"

enum { FG_CPU_KINDS = 4 }; /* forms of activations a group of products may want */

struct fg_weight {
    struct fg_matrix matrix; /* n == 0: a vector */
    float *vector;
    uint32_t length;
    uint64_t bytes;
};
struct fg_buffer {
    uint32_t rows, width;
    float *data; /* [rows][width] */
};
struct fg_rope {
    struct fg_rope *next; /* of the device */
    uint32_t dims, rows;
    bool halves;
    float magnitude;
    float *frequency;     /* [dims / 2] */
    float *cosine, *sine; /* [rows][dims / 2] of this step */
};
struct fg_kv {
    struct fg_kv_shape shape;
    struct fg_kv_view view; /* of layer 0, head 0 */
    size_t head_bytes;      /* K and V of one page, layer and KV head */
    struct fg_area area;
};

/* Memory that grows to what a step needs and stays. Contents do not. */
struct fg_scratch {
    void *ptr;
    size_t bytes;
};

/* Up to so many rows are attended to in one go. */
struct fg_run {
    uint32_t row, count; /* rows of one sequence at consecutive positions */
};

struct fg_dev {
    struct fg_pool *pool;
    enum fg_isa isa;
    bool exact; /* float activations, float KV: what the references are compared with */
    const struct fg_simd *simd;
    struct fg_heap *weights, *buffers;
    struct fg_rope *ropes;
    char text[96];

    /* Of the step. */
    const struct fg_rows *rows;
    uint32_t count;               /* rows the operations work on */
    bool failed;                  /* scratch was not to be had: results are garbage */
    struct fg_scratch normed;     /* float [rows][width] */
    struct fg_scratch product;    /* float [rows][width] before a post-norm */
    struct fg_scratch acts[FG_CPU_KINDS];
    struct fg_scratch partial;    /* attention: results of segments */
    struct fg_scratch runs;       /* struct fg_run[] */
    struct fg_scratch *own;       /* [threads] */
};

/* At least bytes, 64-byte aligned; NULL (and dev->failed) when there are none. */
void *fg_scratch_need(struct fg_dev *, struct fg_scratch *, size_t bytes);

/* weight.c */
int32_t fg_cpu_weight_load(struct fg_dev *, const struct fg_gguf_tensor *, struct fg_weight **,
                           struct fg_error *);
void fg_cpu_weight_free(struct fg_dev *, struct fg_weight *);
uint64_t fg_cpu_weight_bytes(const struct fg_weight *);
void fg_cpu_embed(struct fg_dev *, const struct fg_weight *, float scale, struct fg_buffer *);

/* project.c */
void fg_cpu_project(struct fg_dev *, const struct fg_project *);
void fg_cpu_project_gated(struct fg_dev *, const struct fg_project_gated *);
void fg_cpu_project_add(struct fg_dev *, const struct fg_project_add *);
void fg_cpu_norm(struct fg_dev *, const struct fg_buffer *, const struct fg_weight *, float eps,
                 struct fg_buffer *);
void fg_cpu_logits(struct fg_dev *, const struct fg_buffer *, const struct fg_weight *,
                   float softcap, float *out);

/* kv.c */
int32_t fg_cpu_kv_open(struct fg_dev *, const struct fg_kv_shape *, struct fg_kv **,
                       struct fg_error *);
void fg_cpu_kv_free(struct fg_dev *, struct fg_kv *);
uint64_t fg_cpu_kv_token_bytes(struct fg_dev *, const struct fg_kv_shape *);
void fg_cpu_kv_copy(struct fg_dev *, struct fg_kv *, uint32_t from, uint32_t to, uint32_t tokens);
/* K (rotated) and V of one position and head to their page. */
void fg_cpu_kv_write(const struct fg_dev *, const struct fg_kv *, uint32_t layer, uint32_t head,
                     uint32_t page, uint32_t inside, const float *k, const float *v);

/* attention.c */
void fg_cpu_attend(struct fg_dev *, const struct fg_attend *);

/* device.c */
int32_t fg_cpu_open(json_t *config, struct fg_dev **, struct fg_error *);
void fg_cpu_close(struct fg_dev *);
void fg_cpu_describe(struct fg_dev *, struct fg_device *);
const char *fg_cpu_text(struct fg_dev *);

#endif
