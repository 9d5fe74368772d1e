/*
 * engine/device.h - the seam between the engine's model code and a device (cpu, later tesla).
 *
 * A device owns weights, activations and KV, and executes operations in the order in which they
 * are called. It may queue them: only logits(), read() and kv_copy()'s effects are seen by the
 * host, and only after sync(). No operation asks the host for anything in the middle of a step,
 * and none fails by itself: what went wrong in a step is said by sync(). All calls on one device
 * come from one thread at a time (the engine thread, or control while loading). The cpu device is
 * the oracle of the others.
 *
 * Operations are coarse: one is what a GPU would do in one launch. A step of one layer is
 * project (norm, Q K V), attend, project_add, project_gated, project_add.
 */
#ifndef FG_ENGINE_DEVICE_H
#define FG_ENGINE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

#include "engine/gguf/gguf.h"

struct fg_dev;    /* the device's: one instance (thread pool, stream, ...) */
struct fg_weight; /* the device's: one tensor, in whatever layout its kernels like */
struct fg_buffer; /* the device's: activations, float[rows][width] as far as the model can tell */
struct fg_rope;   /* the device's: one set of rotary frequencies */
struct fg_kv;     /* the device's: the paged K and V of all layers of one model */

struct fg_kv_shape {
    uint32_t layers, kv_heads, head_dim; /* per layer alike */
    uint32_t page_tokens;                /* tokens a page: 32, 64 or 128 */
    uint32_t pages;
};

/* One forward step. Row i of every activation is token i of the batch. */
struct fg_rows {
    uint32_t count;
    const int32_t *tokens;    /* [count] */
    const uint32_t *position; /* [count] position in its own sequence */
    const uint32_t *sequence; /* [count] index into page_table */
    const uint32_t *const *page_table; /* [sequence] -> page numbers, page i holds positions
                                          i*page_tokens .. +page_tokens-1 */
};

/* Angle of pair i at position p: p * frequency[i]. Scaling of every kind (linear, yarn, llama3's
 * factors) is in the numbers already. */
struct fg_rope_spec {
    uint32_t dims;          /* rotated values of a head, even; the rest passes through */
    bool halves;            /* pairs are (i, i + dims/2), "neox"; else (2i, 2i + 1) */
    float magnitude;        /* sine and cosine are multiplied by it */
    const float *frequency; /* [dims / 2] */
};

struct fg_linear { /* one product of a group that shares its input */
    const struct fg_weight *weight;
    const struct fg_weight *bias; /* a vector; may be NULL */
    struct fg_buffer *out;
};
enum { FG_LINEARS_MOST = 3 };

/* out = norm(in) * W^T + bias, for each part. */
struct fg_project {
    const struct fg_buffer *in;
    const struct fg_weight *norm; /* RMS norm's weights; NULL: in as it is */
    float eps;
    uint32_t count;
    struct fg_linear part[FG_LINEARS_MOST];
};
/* out = act(norm(in) * gate^T + bias) * (norm(in) * up^T + bias); part outs are unused. */
enum fg_gate { FG_GATE_SILU = 0, FG_GATE_GELU = 1 }; /* gelu: the tanh form */
struct fg_project_gated {
    const struct fg_buffer *in;
    const struct fg_weight *norm;
    float eps;
    struct fg_linear gate, up;
    int32_t act; /* enum fg_gate */
    struct fg_buffer *out;
};
/* onto += post_norm(in * W^T + bias); part out is unused. */
struct fg_project_add {
    const struct fg_buffer *in;
    struct fg_linear part;
    const struct fg_weight *post_norm; /* NULL: none */
    float eps;
    struct fg_buffer *onto;
};
/*
 * Norms each head of q and k (where given), rotates them, writes K and V of every row, then lets
 * each row attend to the positions <= its own of its sequence: softmax(scale * q k) v, query head
 * h reading KV head h / (heads / kv_heads).
 */
struct fg_attend {
    const struct fg_buffer *q, *k, *v;
    const struct fg_weight *q_norm, *k_norm; /* vectors of head_dim; NULL: none */
    float eps;
    const struct fg_rope *rope; /* NULL: none */
    struct fg_kv *kv;
    uint32_t layer, heads;
    float scale;
    uint32_t window;       /* 0: all; else the last `window` positions, its own one included */
    float softcap;         /* 0: none; else scores become cap * tanh(score / cap) */
    struct fg_buffer *out; /* [rows][heads * head_dim]; NULL: write K and V only, q is unused */
};

struct fg_device_ops {
    /* ---- what a model owns; all but kv are freed before the device closes ------------------- */
    /* A matrix of shape[1] rows (outputs) of shape[0] weights, or with dims 1 a vector of floats.
     * Copies; the tensor may go afterwards. */
    int32_t (*weight_load)(struct fg_dev *, const struct fg_gguf_tensor *, struct fg_weight **,
                           struct fg_error *);
    void (*weight_free)(struct fg_dev *, struct fg_weight *); /* NULL is fine, as below */
    uint64_t (*weight_bytes)(const struct fg_weight *);
    int32_t (*buffer_open)(struct fg_dev *, uint32_t rows, uint32_t width, struct fg_buffer **,
                           struct fg_error *);
    void (*buffer_free)(struct fg_dev *, struct fg_buffer *);
    int32_t (*rope_open)(struct fg_dev *, const struct fg_rope_spec *, uint32_t rows,
                         struct fg_rope **, struct fg_error *); /* rows: most of a step */
    void (*rope_free)(struct fg_dev *, struct fg_rope *);
    /* Memory is touched as pages are written. */
    int32_t (*kv_open)(struct fg_dev *, const struct fg_kv_shape *, struct fg_kv **,
                       struct fg_error *);
    void (*kv_free)(struct fg_dev *, struct fg_kv *);
    uint64_t (*kv_token_bytes)(struct fg_dev *, const struct fg_kv_shape *); /* all layers */
    void (*kv_copy)(struct fg_dev *, struct fg_kv *, uint32_t from_page, uint32_t to_page,
                    uint32_t tokens);

    /* ---- a step, in this order: begin, any operations, sync --------------------------------- */
    /* The rows stay valid and unchanged until sync. */
    void (*begin)(struct fg_dev *, const struct fg_rows *);
    /* Rows the operations after it work on: the first `rows` of every buffer (begin: all). */
    void (*narrow)(struct fg_dev *, uint32_t rows);
    void (*embed)(struct fg_dev *, const struct fg_weight *, float scale, struct fg_buffer *out);
    void (*project)(struct fg_dev *, const struct fg_project *);
    void (*project_gated)(struct fg_dev *, const struct fg_project_gated *);
    void (*project_add)(struct fg_dev *, const struct fg_project_add *);
    void (*attend)(struct fg_dev *, const struct fg_attend *); /* not after narrow or gather */
    void (*norm)(struct fg_dev *, const struct fg_buffer *in, const struct fg_weight *, float eps,
                 struct fg_buffer *out);
    /* Row i becomes row index[i] for i < count; index ascends, so it works in place. */
    void (*gather)(struct fg_dev *, struct fg_buffer *, const uint32_t *index, uint32_t count);
    /* out[i] = softcap(in[i] * W^T); 0: no cap. Host memory [rows][rows of W]. */
    void (*logits)(struct fg_dev *, const struct fg_buffer *in, const struct fg_weight *,
                   float softcap, float *out);
    void (*read)(struct fg_dev *, const struct fg_buffer *, float *out); /* all rows to the host */
    /* Waits for what was called since begin. Also ends a step that was given up in the middle. */
    int32_t (*sync)(struct fg_dev *, struct fg_error *);
};
/* Defined by the module (cpu: plugins/cpu/device.c). */
extern const struct fg_device_ops fg_device_ops;

#endif
