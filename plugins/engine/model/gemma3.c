/*
 * Gemma 3 (text): embeddings scaled by sqrt(width), a norm before and behind each half of a layer,
 * norms of each head of Q and K, five windowed layers for each full one with rotary bases of their
 * own, GELU-gated feed-forward.
 */
#include "engine/model/inner.h"

#include <math.h>

#include "util/error.h"

#define LAYER(field) offsetof(struct fg_layer, field)
#define OUTER(field) offsetof(struct fg_outer, field)

static const struct fg_slot layer_slots[] = {
    {"attn_norm.weight", LAYER(attn_norm), FG_DIM_WIDTH, FG_DIM_ONE, false},
    {"attn_q.weight", LAYER(q), FG_DIM_WIDTH, FG_DIM_Q, false},
    {"attn_k.weight", LAYER(k), FG_DIM_WIDTH, FG_DIM_KV, false},
    {"attn_v.weight", LAYER(v), FG_DIM_WIDTH, FG_DIM_KV, false},
    {"attn_q_norm.weight", LAYER(q_norm), FG_DIM_HEAD, FG_DIM_ONE, false},
    {"attn_k_norm.weight", LAYER(k_norm), FG_DIM_HEAD, FG_DIM_ONE, false},
    {"attn_output.weight", LAYER(o), FG_DIM_Q, FG_DIM_WIDTH, false},
    {"post_attention_norm.weight", LAYER(attn_post_norm), FG_DIM_WIDTH, FG_DIM_ONE, false},
    {"ffn_norm.weight", LAYER(ffn_norm), FG_DIM_WIDTH, FG_DIM_ONE, false},
    {"ffn_gate.weight", LAYER(gate), FG_DIM_WIDTH, FG_DIM_FF, false},
    {"ffn_up.weight", LAYER(up), FG_DIM_WIDTH, FG_DIM_FF, false},
    {"ffn_down.weight", LAYER(down), FG_DIM_FF, FG_DIM_WIDTH, false},
    {"post_ffw_norm.weight", LAYER(ffn_post_norm), FG_DIM_WIDTH, FG_DIM_ONE, false},
    {0},
};
static const struct fg_slot outer_slots[] = {
    {"token_embd.weight", OUTER(embed), FG_DIM_WIDTH, FG_DIM_VOCAB, false},
    {"output_norm.weight", OUTER(output_norm), FG_DIM_WIDTH, FG_DIM_ONE, false},
    {"output.weight", OUTER(output), FG_DIM_WIDTH, FG_DIM_VOCAB, true},
    {0},
};
/* Files of an Ollama store carry the picture half along; text needs none of it. */
static const char *const ignored[] = {"v.", "mm.", "rope_freqs.weight", NULL};

/* What the files leave out. The 27B model alone scales by width / heads. */
static int32_t adjust(struct fg_params *p, struct fg_error *err)
{
    (void)err;
    if (p->window && !p->window_period)
        p->window_period = 6;
    if (p->layers == 62)
        p->attention_scale = 1.0f / sqrtf((float)p->width / (float)p->heads);
    return FG_OK;
}

static int32_t gemma3_forward(struct fg_net *n, const struct fg_step *s)
{
    const struct fg_device_ops *ops = &fg_device_ops;
    const struct fg_params *p = &n->p;
    struct fg_dev *dev = n->dev;
    bool narrowed = false;

    ops->embed(dev, n->outer.embed, sqrtf((float)p->width), n->x);
    for (uint32_t il = 0; il < p->layers; il++) {
        const struct fg_layer *l = &n->layers[il];
        const bool last = il + 1 == p->layers && !s->hidden, near = fg_net_windowed(p, il);
        if (s->stop && s->stop(s->stop_ctx))
            return FG_CANCELLED;
        ops->project(dev, &(struct fg_project){
                              .in = n->x,
                              .norm = l->attn_norm,
                              .eps = p->eps,
                              .count = 3,
                              .part = {{l->k, NULL, n->k}, {l->v, NULL, n->v}, {l->q, NULL, n->q}},
                          });
        ops->attend(dev, &(struct fg_attend){
                             .q = n->q,
                             .k = n->k,
                             .v = n->v,
                             .q_norm = l->q_norm,
                             .k_norm = l->k_norm,
                             .eps = p->eps,
                             .rope = near ? n->rope_window : n->rope,
                             .kv = n->kv,
                             .layer = il,
                             .heads = p->heads,
                             .scale = p->attention_scale,
                             .window = near ? p->window : 0,
                             .softcap = p->attention_softcap,
                             .out = last && !s->wanted_count ? NULL : n->a,
                         });
        if (last) { /* from here on only rows that somebody wants */
            if (!s->wanted_count)
                return FG_OK;
            ops->gather(dev, n->x, s->wanted, s->wanted_count);
            ops->gather(dev, n->a, s->wanted, s->wanted_count);
            ops->narrow(dev, s->wanted_count);
            narrowed = true;
        }
        ops->project_add(dev, &(struct fg_project_add){.in = n->a,
                                                       .part = {.weight = l->o},
                                                       .post_norm = l->attn_post_norm,
                                                       .eps = p->eps,
                                                       .onto = n->x});
        ops->project_gated(dev, &(struct fg_project_gated){
                                    .in = n->x,
                                    .norm = l->ffn_norm,
                                    .eps = p->eps,
                                    .gate = {.weight = l->gate},
                                    .up = {.weight = l->up},
                                    .act = FG_GATE_GELU,
                                    .out = n->h,
                                });
        ops->project_add(dev, &(struct fg_project_add){.in = n->h,
                                                       .part = {.weight = l->down},
                                                       .post_norm = l->ffn_post_norm,
                                                       .eps = p->eps,
                                                       .onto = n->x});
    }
    fg_net_finish(n, s, narrowed);
    return FG_OK;
}

const struct fg_family fg_family_gemma3 = {
    .name = "gemma3",
    .layer = layer_slots,
    .outer = outer_slots,
    .ignored = ignored,
    .adjust = adjust,
    .forward = gemma3_forward,
};
