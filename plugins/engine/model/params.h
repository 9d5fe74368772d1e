/*
 * engine/model/params.h - hyperparameters of a model file, read and bounded. Private to model/.
 *
 * Everything here is checked: later code may multiply and index with it. Reads metadata and tensor
 * shapes only.
 */
#ifndef FG_MODEL_PARAMS_H
#define FG_MODEL_PARAMS_H

#include "engine/gguf/gguf.h"

enum fg_rope_kind { FG_ROPE_PLAIN = 0, FG_ROPE_LINEAR = 1, FG_ROPE_YARN = 2 };

struct fg_params {
    const char *arch; /* constant */
    uint32_t layers, width, heads, kv_heads, head_dim, ff, vocab, context;
    uint32_t q_width, kv_width; /* heads * head_dim, kv_heads * head_dim */
    float eps;
    float attention_scale;
    float attention_softcap, final_softcap; /* 0: none */
    uint32_t window;                        /* 0: none */
    uint32_t window_period; /* of this many layers the last one sees everything; 0: none does */

    uint32_t rope_dims;
    float rope_base, rope_base_window;
    int32_t rope_kind;
    float rope_factor, rope_magnitude; /* magnitude: the file's own factor, 1 by default */
    uint32_t rope_context;             /* what the frequencies were trained for (yarn) */
    float yarn_beta_fast, yarn_beta_slow;
};

/* arch: one that model/ knows (see inner.h). */
int32_t fg_params_read(const struct fg_gguf *, const char *arch, struct fg_params *,
                       struct fg_error *);

/* out[rope_dims / 2]: the angle of each pair a position further on, with the file's scaling when
 * `scaled`; factors (NULL: none) divide them. *magnitude as fg_rope_spec wants it. */
void fg_params_rope(const struct fg_params *, float base, bool scaled, const float *factors,
                    float *out, float *magnitude);

#endif
