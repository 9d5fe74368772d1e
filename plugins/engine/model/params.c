/*
 * Hyperparameters: one read and one bound each. Keys are GGUF's "<architecture>.<name>"; bounds
 * keep every product in here far below overflow, and refuse what no real file has.
 */
#include "engine/model/params.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "util/error.h"
#include "util/str.h"

enum {
    LAYERS_MOST = 512,
    HEADS_MOST = 1024,
    HEAD_DIM_MOST = 1024,
    WIDTH_MOST = 1 << 17,
    FF_MOST = 1 << 20,
    VOCAB_MOST = 1 << 22,
    CONTEXT_MOST = 1 << 24,
};

/* Reader that keeps the first failure; later reads do nothing then. */
struct reader {
    const struct fg_gguf *g;
    const char *arch;
    struct fg_error *err;
    int32_t rc;
};

static const char *key_of(const struct reader *r, const char *name, char *room, size_t bytes)
{
    snprintf(room, bytes, "%s.%s", r->arch, name);
    return room;
}

/* required: absence is a failure, else *out keeps its value. */
static void read_u32(struct reader *r, const char *name, bool required, uint32_t least,
                     uint32_t most, uint32_t *out)
{
    char key[96];
    uint32_t value;
    if (r->rc != FG_OK)
        return;
    const int32_t rc = fg_gguf_u32(r->g, key_of(r, name, key, sizeof key), &value, r->err);
    if (rc == FG_NOT_FOUND && !required)
        return;
    if (rc == FG_NOT_FOUND)
        r->rc = fg_fail(r->err, FG_INVALID, "the file has no %s", key);
    else if (rc != FG_OK)
        r->rc = rc;
    else if (value < least || value > most)
        r->rc = fg_fail(r->err, FG_INVALID, "%s is %u, expected %u to %u", key, value, least, most);
    else
        *out = value;
}

static void read_f32(struct reader *r, const char *name, bool required, float least, float most,
                     float *out)
{
    char key[96];
    float value;
    if (r->rc != FG_OK)
        return;
    const int32_t rc = fg_gguf_f32(r->g, key_of(r, name, key, sizeof key), &value, r->err);
    if (rc == FG_NOT_FOUND && !required)
        return;
    if (rc == FG_NOT_FOUND)
        r->rc = fg_fail(r->err, FG_INVALID, "the file has no %s", key);
    else if (rc != FG_OK)
        r->rc = rc;
    else if (!(value >= least && value <= most)) /* a NaN too */
        r->rc = fg_fail(r->err, FG_INVALID, "%s is %g, expected %g to %g", key, (double)value,
                        (double)least, (double)most);
    else
        *out = value;
}

static void fail(struct reader *r, const char *text, uint32_t a, uint32_t b)
{
    if (r->rc == FG_OK)
        r->rc = fg_fail(r->err, FG_INVALID, "%s: %s (%u and %u)", r->arch, text, a, b);
}

static void read_heads(struct reader *r, struct fg_params *p)
{
    uint32_t value_dim;
    read_u32(r, "attention.head_count", true, 1, HEADS_MOST, &p->heads);
    p->kv_heads = p->heads;
    read_u32(r, "attention.head_count_kv", false, 1, HEADS_MOST, &p->kv_heads);
    if (r->rc != FG_OK)
        return;
    if (p->heads % p->kv_heads)
        fail(r, "KV heads do not divide heads", p->kv_heads, p->heads);
    p->head_dim = p->width / p->heads;
    if (p->width % p->heads)
        p->head_dim = 0; /* then the file must say it */
    read_u32(r, "attention.key_length", p->head_dim == 0, 2, HEAD_DIM_MOST, &p->head_dim);
    value_dim = p->head_dim;
    read_u32(r, "attention.value_length", false, 2, HEAD_DIM_MOST, &value_dim);
    if (r->rc != FG_OK)
        return;
    if (value_dim != p->head_dim)
        fail(r, "keys and values of different length are not supported", p->head_dim, value_dim);
    if (p->head_dim < 2 || p->head_dim % 2 || p->head_dim > HEAD_DIM_MOST)
        fail(r, "heads of this length are not supported", p->head_dim, 2);
    p->q_width = p->heads * p->head_dim;
    p->kv_width = p->kv_heads * p->head_dim;
    p->attention_scale = 1.0f / sqrtf((float)p->head_dim);
    read_f32(r, "attention.scale", false, 0, 1e6f, &p->attention_scale);
    if (p->attention_scale == 0) /* written by some converters for "the usual" */
        p->attention_scale = 1.0f / sqrtf((float)p->head_dim);
}

static void read_rope(struct reader *r, struct fg_params *p)
{
    char key[96];
    struct fg_str kind = FG_STR("linear"); /* a factor without a type is an old file's linear one */
    p->rope_dims = p->head_dim;
    p->rope_base = p->rope_base_window = 10000;
    p->rope_factor = p->rope_magnitude = 1;
    p->yarn_beta_fast = 32;
    p->yarn_beta_slow = 1;
    p->rope_context = p->context;
    read_u32(r, "rope.dimension_count", false, 2, HEAD_DIM_MOST, &p->rope_dims);
    if (r->rc == FG_OK && (p->rope_dims % 2 || p->rope_dims > p->head_dim))
        fail(r, "rotated values must be even and within a head", p->rope_dims, p->head_dim);
    read_f32(r, "rope.freq_base", false, 1e-3f, 1e12f, &p->rope_base);
    read_f32(r, "rope.freq_base_swa", false, 1e-3f, 1e12f, &p->rope_base_window);
    read_f32(r, "rope.scale_linear", false, 1e-6f, 1e6f, &p->rope_factor);
    read_f32(r, "rope.scaling.factor", false, 1e-6f, 1e6f, &p->rope_factor);
    read_f32(r, "rope.scaling.attn_factor", false, 1e-6f, 1e6f, &p->rope_magnitude);
    read_u32(r, "rope.scaling.original_context_length", false, 1, CONTEXT_MOST, &p->rope_context);
    read_f32(r, "rope.scaling.yarn_beta_fast", false, 1e-3f, 1e6f, &p->yarn_beta_fast);
    read_f32(r, "rope.scaling.yarn_beta_slow", false, 1e-3f, 1e6f, &p->yarn_beta_slow);
    if (r->rc != FG_OK)
        return;
    const int32_t rc = fg_gguf_str(r->g, key_of(r, "rope.scaling.type", key, sizeof key), &kind,
                                   r->err);
    if (rc != FG_OK && rc != FG_NOT_FOUND)
        r->rc = rc;
    else if (fg_str_is(kind, "linear"))
        p->rope_kind = p->rope_factor == 1 ? FG_ROPE_PLAIN : FG_ROPE_LINEAR;
    else if (fg_str_is(kind, "none"))
        p->rope_kind = FG_ROPE_PLAIN;
    else if (fg_str_is(kind, "yarn"))
        p->rope_kind = FG_ROPE_YARN;
    else
        r->rc = fg_fail(r->err, FG_UNSUPPORTED, "%s \"%.*s\" is not supported", key,
                        kind.len > 32 ? 32 : (int)kind.len, kind.ptr);
}

/* Tokens of the vocabulary are rows of the embedding, which may be padded upwards. */
static void read_vocab(struct reader *r, struct fg_params *p)
{
    struct fg_gguf_array tokens;
    const struct fg_gguf_tensor *t = fg_gguf_tensor_find(r->g, "token_embd.weight");
    if (r->rc != FG_OK)
        return;
    if (!t || t->dims != 2) {
        r->rc = fg_fail(r->err, FG_INVALID, "tensor token_embd.weight %s",
                        t ? "is no matrix" : "is missing");
        return;
    }
    if (t->shape[1] > VOCAB_MOST) {
        r->rc = fg_fail(r->err, FG_INVALID, "token_embd.weight has %llu rows, expected at most %u",
                        (unsigned long long)t->shape[1], VOCAB_MOST);
        return;
    }
    p->vocab = (uint32_t)t->shape[1];
    if (fg_gguf_array(r->g, "tokenizer.ggml.tokens", &tokens, NULL) == FG_OK &&
        tokens.count > p->vocab)
        r->rc = fg_fail(r->err, FG_INVALID, "%llu tokens, but token_embd.weight has %u rows",
                        (unsigned long long)tokens.count, p->vocab);
}

static void refuse_experts(struct reader *r)
{
    uint32_t experts = 0;
    read_u32(r, "expert_count", false, 0, UINT32_MAX, &experts);
    if (r->rc == FG_OK && experts)
        r->rc = fg_fail(r->err, FG_UNSUPPORTED, "%s with %u experts is not supported", r->arch,
                        experts);
}

int32_t fg_params_read(const struct fg_gguf *g, const char *arch, struct fg_params *out,
                       struct fg_error *err)
{
    struct reader r = {.g = g, .arch = arch, .err = err, .rc = FG_OK};
    struct fg_params p = {.arch = arch};
    read_u32(&r, "block_count", true, 1, LAYERS_MOST, &p.layers);
    read_u32(&r, "embedding_length", true, 1, WIDTH_MOST, &p.width);
    read_u32(&r, "feed_forward_length", true, 1, FF_MOST, &p.ff);
    read_u32(&r, "context_length", true, 1, CONTEXT_MOST, &p.context);
    read_f32(&r, "attention.layer_norm_rms_epsilon", true, 0, 1, &p.eps);
    refuse_experts(&r);
    read_heads(&r, &p);
    read_rope(&r, &p);
    read_u32(&r, "attention.sliding_window", false, 0, CONTEXT_MOST, &p.window);
    read_u32(&r, "attention.sliding_window_pattern", false, 0, LAYERS_MOST, &p.window_period);
    read_f32(&r, "attn_logit_softcapping", false, 0, 1e6f, &p.attention_softcap);
    read_f32(&r, "final_logit_softcapping", false, 0, 1e6f, &p.final_softcap);
    read_vocab(&r, &p);
    if (r.rc == FG_OK)
        *out = p;
    return r.rc;
}

/* The pair whose wave turns `turns` times in the trained context (YaRN, arXiv 2309.00071, 3.2). */
static double yarn_pair(const struct fg_params *p, double base, double turns)
{
    const double dims = p->rope_dims;
    return dims * log(p->rope_context / (turns * 2 * M_PI)) / (2 * log(base));
}

void fg_params_rope(const struct fg_params *p, float base, bool scaled, const float *factors,
                    float *out, float *magnitude)
{
    const bool yarn = scaled && p->rope_kind == FG_ROPE_YARN;
    const double slow = scaled && p->rope_kind != FG_ROPE_PLAIN ? 1.0 / (double)p->rope_factor : 1;
    double low = 0, high = 0;
    if (yarn) {
        low = fmax(0, floor(yarn_pair(p, (double)base, (double)p->yarn_beta_fast)));
        high = fmin(p->rope_dims - 1, ceil(yarn_pair(p, (double)base, (double)p->yarn_beta_slow)));
    }
    for (uint32_t i = 0; i < p->rope_dims / 2; i++) {
        double own = pow((double)base, -2.0 * i / p->rope_dims);
        if (factors)
            own /= (double)factors[i];
        double angle = own * slow;
        if (yarn) { /* fast waves keep their angle, slow ones are stretched, a ramp between */
            const double ramp = (i - low) / fmax(0.001, high - low);
            const double keep = 1 - fmin(1, fmax(0, ramp));
            angle = angle * (1 - keep) + own * keep;
        }
        out[i] = (float)angle;
    }
    *magnitude = p->rope_magnitude;
    if (yarn && p->rope_factor > 1)
        *magnitude *= (float)(1 + 0.1 * log((double)p->rope_factor));
}
