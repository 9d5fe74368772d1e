/*
 * The llama family (Llama 1 to 3, Mistral, SmolLM, and what shares their graph under this name):
 * pre-norm, rotary pairs side by side (the file's Q and K rows are permuted for it), grouped
 * attention, SiLU-gated feed-forward.
 */
#include "engine/model/inner.h"

#define LAYER(field) offsetof(struct fg_layer, field)
#define OUTER(field) offsetof(struct fg_outer, field)

static const struct fg_slot layer_slots[] = {
    {"attn_norm.weight", LAYER(attn_norm), FG_DIM_WIDTH, FG_DIM_ONE, false},
    {"attn_q.weight", LAYER(q), FG_DIM_WIDTH, FG_DIM_Q, false},
    {"attn_k.weight", LAYER(k), FG_DIM_WIDTH, FG_DIM_KV, false},
    {"attn_v.weight", LAYER(v), FG_DIM_WIDTH, FG_DIM_KV, false},
    {"attn_q.bias", LAYER(q_bias), FG_DIM_Q, FG_DIM_ONE, true},
    {"attn_k.bias", LAYER(k_bias), FG_DIM_KV, FG_DIM_ONE, true},
    {"attn_v.bias", LAYER(v_bias), FG_DIM_KV, FG_DIM_ONE, true},
    {"attn_output.weight", LAYER(o), FG_DIM_Q, FG_DIM_WIDTH, false},
    {"attn_output.bias", LAYER(o_bias), FG_DIM_WIDTH, FG_DIM_ONE, true},
    {"ffn_norm.weight", LAYER(ffn_norm), FG_DIM_WIDTH, FG_DIM_ONE, false},
    {"ffn_gate.weight", LAYER(gate), FG_DIM_WIDTH, FG_DIM_FF, false},
    {"ffn_up.weight", LAYER(up), FG_DIM_WIDTH, FG_DIM_FF, false},
    {"ffn_down.weight", LAYER(down), FG_DIM_FF, FG_DIM_WIDTH, false},
    {"ffn_gate.bias", LAYER(gate_bias), FG_DIM_FF, FG_DIM_ONE, true},
    {"ffn_up.bias", LAYER(up_bias), FG_DIM_FF, FG_DIM_ONE, true},
    {"ffn_down.bias", LAYER(down_bias), FG_DIM_WIDTH, FG_DIM_ONE, true},
    {0},
};
static const struct fg_slot outer_slots[] = {
    {"token_embd.weight", OUTER(embed), FG_DIM_WIDTH, FG_DIM_VOCAB, false},
    {"output_norm.weight", OUTER(output_norm), FG_DIM_WIDTH, FG_DIM_ONE, false},
    {"output.weight", OUTER(output), FG_DIM_WIDTH, FG_DIM_VOCAB, true},
    {0},
};
/* rope_freqs is read by net.c; the frequencies themselves are in very old files. */
static const char *const ignored[] = {"rope_freqs.weight", "blk.0.rope_freqs.weight", NULL};

static int32_t llama_forward(struct fg_net *n, const struct fg_step *s)
{
    const struct fg_device_ops *ops = &fg_device_ops;
    const struct fg_params *p = &n->p;
    struct fg_dev *dev = n->dev;
    bool narrowed = false;

    ops->embed(dev, n->outer.embed, 1.0f, n->x);
    for (uint32_t il = 0; il < p->layers; il++) {
        const struct fg_layer *l = &n->layers[il];
        const bool last = il + 1 == p->layers && !s->hidden;
        if (s->stop && s->stop(s->stop_ctx))
            return FG_CANCELLED;
        ops->project(dev, &(struct fg_project){
                              .in = n->x,
                              .norm = l->attn_norm,
                              .eps = p->eps,
                              .count = 3,
                              .part = {{l->k, l->k_bias, n->k},
                                       {l->v, l->v_bias, n->v},
                                       {l->q, l->q_bias, n->q}},
                          });
        ops->attend(dev, &(struct fg_attend){
                             .q = n->q,
                             .k = n->k,
                             .v = n->v,
                             .rope = n->rope,
                             .kv = n->kv,
                             .layer = il,
                             .heads = p->heads,
                             .scale = p->attention_scale,
                             .window = fg_net_windowed(p, il) ? p->window : 0,
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
        ops->project_add(
            dev, &(struct fg_project_add){
                     .in = n->a, .part = {.weight = l->o, .bias = l->o_bias}, .onto = n->x});
        ops->project_gated(dev, &(struct fg_project_gated){
                                    .in = n->x,
                                    .norm = l->ffn_norm,
                                    .eps = p->eps,
                                    .gate = {.weight = l->gate, .bias = l->gate_bias},
                                    .up = {.weight = l->up, .bias = l->up_bias},
                                    .act = FG_GATE_SILU,
                                    .out = n->h,
                                });
        ops->project_add(
            dev, &(struct fg_project_add){
                     .in = n->h, .part = {.weight = l->down, .bias = l->down_bias}, .onto = n->x});
    }
    fg_net_finish(n, s, narrowed);
    return FG_OK;
}

const struct fg_family fg_family_llama = {
    .name = "llama",
    .layer = layer_slots,
    .outer = outer_slots,
    .ignored = ignored,
    .forward = llama_forward,
};
