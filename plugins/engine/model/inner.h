/*
 * engine/model/inner.h - what net.c and the families share. Private to model/.
 *
 * A family is a table of tensors (what the file must and may hold, with every shape) and one
 * forward function. net.c does the rest from the table: checking, loading, freeing.
 */
#ifndef FG_MODEL_INNER_H
#define FG_MODEL_INNER_H

#include "engine/model/net.h"
#include "engine/model/params.h"

struct fg_layer { /* NULL: the file has none */
    struct fg_weight *attn_norm, *q, *k, *v, *q_bias, *k_bias, *v_bias, *q_norm, *k_norm;
    struct fg_weight *o, *o_bias, *attn_post_norm;
    struct fg_weight *ffn_norm, *gate, *up, *down, *gate_bias, *up_bias, *down_bias;
    struct fg_weight *ffn_post_norm;
};
struct fg_outer {
    struct fg_weight *embed, *output_norm, *output; /* output NULL: embed serves */
};

enum fg_dim { /* lengths a shape is made of */
    FG_DIM_ONE = 0, FG_DIM_WIDTH, FG_DIM_Q, FG_DIM_KV, FG_DIM_HEAD, FG_DIM_FF, FG_DIM_VOCAB,
};
struct fg_slot {
    const char *name;   /* in a layer: what follows "blk.<n>." */
    size_t offset;      /* of the pointer in fg_layer or fg_outer */
    enum fg_dim row;    /* shape[0] */
    enum fg_dim rows;   /* shape[1]; FG_DIM_ONE: a vector */
    bool optional;
};

struct fg_step { /* arguments of a forward pass, see fg_net_forward */
    const struct fg_rows *rows;
    const uint32_t *wanted; /* rows whose logits are asked for */
    uint32_t wanted_count;
    float *logits, *hidden;
    bool (*stop)(void *);
    void *stop_ctx;
};

struct fg_family {
    const char *name;
    const struct fg_slot *layer, *outer; /* end with a NULL name */
    const char *const *ignored;          /* beginnings of tensor names that belong to others */
    int32_t (*adjust)(struct fg_params *, struct fg_error *); /* after reading; may be NULL */
    int32_t (*forward)(struct fg_net *, const struct fg_step *);
};
extern const struct fg_family fg_family_llama, fg_family_gemma3;

struct fg_net {
    struct fg_dev *dev;
    const struct fg_family *family;
    struct fg_params p;
    struct fg_net_info info;
    struct fg_outer outer;
    struct fg_layer *layers;              /* [p.layers] */
    struct fg_rope *rope, *rope_window;   /* rope_window: of layers with a window, if different */
    struct fg_buffer *x, *q, *k, *v, *a, *h; /* [max rows][width, q, kv, kv, q, ff] */
    struct fg_kv *kv;
    uint32_t kv_pages, page_tokens;
    uint32_t *wanted; /* [max rows] */
};

/* Does layer il see only the window? */
static inline bool fg_net_windowed(const struct fg_params *p, uint32_t il)
{
    return p->window && (p->window_period == 0 || il % p->window_period != p->window_period - 1);
}

/* The end of every forward pass: norm, then logits of the wanted rows and hidden states of all.
 * narrowed: the rows are the wanted ones already. */
void fg_net_finish(struct fg_net *, const struct fg_step *, bool narrowed);

#endif
