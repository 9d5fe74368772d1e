/* Tiny random networks. See tiny.h. */
#include "tiny.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/gguf/quant.h"
#include "util/str.h"

/* ---- writing --------------------------------------------------------------------------------- */

struct writer {
    struct tiny *t;
    const struct tiny_fault *fault;
    struct fg_buf keys, infos, data;
    uint64_t key_count, tensor_count, random;
};

static double uniform(struct writer *w)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (double)(w->random >> 11) / 9007199254740992.0 * 2 - 1;
}

static void put(struct fg_buf *b, const void *bytes, size_t count)
{
    assert_true(fg_buf_add(b, (struct fg_str){bytes, count}));
}
static void put_u32(struct fg_buf *b, uint32_t v)
{
    put(b, &v, sizeof v);
}
static void put_u64(struct fg_buf *b, uint64_t v)
{
    put(b, &v, sizeof v);
}
static void put_text(struct fg_buf *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

static bool is(const char *a, const char *b)
{
    return a && strcmp(a, b) == 0;
}

static bool key(struct writer *w, const char *name, uint32_t type)
{
    if (is(w->fault->drop, name))
        return false;
    put_text(&w->keys, name);
    put_u32(&w->keys, type);
    w->key_count++;
    return true;
}
static void key_text(struct writer *w, const char *name, const char *value)
{
    if (key(w, name, 8))
        put_text(&w->keys, value);
}
static void key_f32(struct writer *w, const char *name, float value)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", w->t->shape.gemma ? "gemma3" : "llama", name);
    const bool faulty = is(w->fault->key, name) && w->fault->real;
    const float v = faulty ? w->fault->number : value;
    if (!is(w->fault->drop, name) && key(w, full, 6))
        put(&w->keys, &v, sizeof v);
}
static void key_u32(struct writer *w, const char *name, uint32_t value)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", w->t->shape.gemma ? "gemma3" : "llama", name);
    const bool faulty = is(w->fault->key, name) && !w->fault->real;
    if (!is(w->fault->drop, name) && key(w, full, 4))
        put_u32(&w->keys, faulty ? w->fault->value : value);
}

/* Values as Q8_0 holds them: both into the file and back into `values`. */
static void put_q8(struct fg_buf *b, float *values, size_t count)
{
    for (size_t at = 0; at < count; at += 32) {
        float top = 0;
        for (int i = 0; i < 32; i++)
            top = fmaxf(top, fabsf(values[at + i]));
        const uint16_t d = fg_f32_to_f16(top / 127);
        const float step = fg_f16_to_f32(d);
        put(b, &d, sizeof d);
        for (int i = 0; i < 32; i++) {
            const float q = step > 0 ? roundf(values[at + i] / step) : 0;
            const int8_t one = (int8_t)(q > 127 ? 127 : q < -127 ? -127 : q);
            put(b, &one, 1);
            values[at + i] = step * one;
        }
    }
}

/* rows 0: a vector. Values around `center`, spread by `spread`. */
static void tensor(struct writer *w, const char *name, uint32_t row, uint32_t rows, float center,
                   float spread)
{
    const bool matrix = rows > 0;
    int32_t type = matrix && row % 32 == 0 ? w->t->shape.type : FG_F32;
    if (is(w->fault->drop, name))
        return;
    if (is(w->fault->reshape, name))
        *(matrix ? &rows : &row) += 1;
    w->t->tensors = realloc(w->t->tensors, (w->t->count + 1) * sizeof *w->t->tensors);
    assert_non_null(w->t->tensors);
    struct tiny_tensor *t = &w->t->tensors[w->t->count++];
    const size_t count = (size_t)row * (matrix ? rows : 1);
    *t = (struct tiny_tensor){.row = row, .rows = matrix ? rows : 1};
    snprintf(t->name, sizeof t->name, "%s", name);
    t->values = malloc(count * sizeof *t->values);
    assert_non_null(t->values);
    for (size_t i = 0; i < count; i++)
        t->values[i] = center + spread * (float)uniform(w);
    if (w->fault->poison && is(name, "token_embd.weight"))
        for (size_t i = 0; i < row; i++)
            t->values[(size_t)w->fault->poison * row + i] = NAN;
    if (is(w->fault->retype, name))
        type = FG_I8;
    put_text(&w->infos, name);
    put_u32(&w->infos, matrix ? 2 : 1);
    put_u64(&w->infos, row);
    if (matrix)
        put_u64(&w->infos, rows);
    put_u32(&w->infos, (uint32_t)type);
    put_u64(&w->infos, w->data.len);
    if (type == FG_Q8_0)
        put_q8(&w->data, t->values, count);
    else
        put(&w->data, t->values, count * (type == FG_I8 ? 1 : sizeof *t->values));
    while (w->data.len % 32)
        assert_true(fg_buf_addc(&w->data, 0));
    w->tensor_count++;
}

static void layer(struct writer *w, uint32_t il, const char *name, uint32_t row, uint32_t rows,
                  float center, float spread)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%u.%s", il, name);
    tensor(w, full, row, rows, center, spread);
}

static void write_keys(struct writer *w)
{
    const struct tiny_shape *s = &w->t->shape;
    const char *arch = s->gemma ? "gemma3" : "llama";
    key_text(w, "general.architecture", w->fault->text ? w->fault->text : arch);
    key_u32(w, "block_count", s->layers);
    key_u32(w, "embedding_length", s->width);
    key_u32(w, "feed_forward_length", s->ff);
    key_u32(w, "context_length", 4096);
    key_u32(w, "attention.head_count", s->heads);
    key_u32(w, "attention.head_count_kv", s->kv_heads);
    key_u32(w, "attention.key_length", s->head_dim);
    key_u32(w, "attention.value_length", s->head_dim);
    key_f32(w, "attention.layer_norm_rms_epsilon", 1e-5f);
    key_f32(w, "rope.freq_base", s->rope_base);
    key_u32(w, "rope.dimension_count", s->rope_dims ? s->rope_dims : s->head_dim);
    if (s->rope_base_window > 0)
        key_f32(w, "rope.freq_base_swa", s->rope_base_window);
    if (s->window)
        key_u32(w, "attention.sliding_window", s->window);
    if (s->period)
        key_u32(w, "attention.sliding_window_pattern", s->period);
    if (s->attention_scale)
        key_f32(w, "attention.scale", 0.4f);
    if (s->attention_softcap > 0)
        key_f32(w, "attn_logit_softcapping", s->attention_softcap);
    if (s->final_softcap > 0)
        key_f32(w, "final_logit_softcapping", s->final_softcap);
    if (s->rope_factor > 0) {
        char full[64];
        snprintf(full, sizeof full, "%s.rope.scaling.type", arch);
        key_text(w, full, s->yarn ? "yarn" : "linear");
        key_f32(w, "rope.scaling.factor", s->rope_factor);
        key_u32(w, "rope.scaling.original_context_length", 64);
    }
    if (w->fault->key && is(w->fault->key, "expert_count"))
        key_u32(w, "expert_count", 8);
}

static void write_layer(struct writer *w, uint32_t il)
{
    const struct tiny_shape *s = &w->t->shape;
    const uint32_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const float in = 1.5f / sqrtf((float)s->width);
    layer(w, il, "attn_norm.weight", s->width, 0, 1, 0.3f);
    layer(w, il, "attn_q.weight", s->width, q, 0, 2 * in);
    layer(w, il, "attn_k.weight", s->width, kv, 0, 2 * in);
    layer(w, il, "attn_v.weight", s->width, kv, 0, in);
    layer(w, il, "attn_output.weight", q, s->width, 0, 1.5f / sqrtf((float)q));
    layer(w, il, "ffn_norm.weight", s->width, 0, 1, 0.3f);
    layer(w, il, "ffn_gate.weight", s->width, s->ff, 0, in);
    layer(w, il, "ffn_up.weight", s->width, s->ff, 0, in);
    layer(w, il, "ffn_down.weight", s->ff, s->width, 0, 1.5f / sqrtf((float)s->ff));
    if (s->gemma) {
        layer(w, il, "attn_q_norm.weight", s->head_dim, 0, 1, 0.3f);
        layer(w, il, "attn_k_norm.weight", s->head_dim, 0, 1, 0.3f);
        layer(w, il, "post_attention_norm.weight", s->width, 0, 0.5f, 0.3f);
        layer(w, il, "post_ffw_norm.weight", s->width, 0, 0.5f, 0.3f);
    }
    if (!s->biases)
        return;
    layer(w, il, "attn_q.bias", q, 0, 0, 0.3f);
    layer(w, il, "attn_k.bias", kv, 0, 0, 0.3f);
    layer(w, il, "attn_v.bias", kv, 0, 0, 0.3f);
    layer(w, il, "attn_output.bias", s->width, 0, 0, 0.3f);
    layer(w, il, "ffn_gate.bias", s->ff, 0, 0, 0.3f);
    layer(w, il, "ffn_up.bias", s->ff, 0, 0, 0.3f);
    layer(w, il, "ffn_down.bias", s->width, 0, 0, 0.3f);
}

static void write_tensors(struct writer *w)
{
    const struct tiny_shape *s = &w->t->shape;
    tensor(w, "token_embd.weight", s->width, s->vocab, 0, 1);
    tensor(w, "output_norm.weight", s->width, 0, 1, 0.3f);
    if (s->output)
        tensor(w, "output.weight", s->width, s->vocab, 0, 1);
    if (s->factors)
        tensor(w, "rope_freqs.weight", (s->rope_dims ? s->rope_dims : s->head_dim) / 2, 0, 3, 2);
    for (uint32_t il = 0; il < s->layers; il++)
        write_layer(w, il);
    if (w->fault->extra)
        tensor(w, w->fault->extra, 32, 0, 0, 1);
}

void tiny_make(struct tiny *t, const struct tiny_shape *shape, const struct tiny_fault *fault)
{
    static const struct tiny_fault none;
    struct fg_buf file = {0};
    *t = (struct tiny){.shape = *shape};
    struct writer w = {.t = t, .fault = fault ? fault : &none, .random = shape->seed + 1};
    write_keys(&w);
    write_tensors(&w);
    put(&file, "GGUF", 4);
    put_u32(&file, 3);
    put_u64(&file, w.tensor_count);
    put_u64(&file, w.key_count);
    put(&file, w.keys.ptr, w.keys.len);
    put(&file, w.infos.ptr, w.infos.len);
    while (file.len % 32)
        assert_true(fg_buf_addc(&file, 0));
    put(&file, w.data.ptr, w.data.len);
    t->bytes = file.len;
    t->file = aligned_alloc(64, (file.len + 63) / 64 * 64);
    assert_non_null(t->file);
    memcpy(t->file, file.ptr, file.len);
    fg_buf_done(&file);
    fg_buf_done(&w.keys);
    fg_buf_done(&w.infos);
    fg_buf_done(&w.data);
}

void tiny_free(struct tiny *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->tensors[i].values);
    free(t->tensors);
    free(t->file);
}

/* ---- the reference --------------------------------------------------------------------------- */

static const struct tiny_tensor *find(const struct tiny *t, int32_t il, const char *name)
{
    char full[64];
    if (il >= 0)
        snprintf(full, sizeof full, "blk.%d.%s", (int)il, name);
    else
        snprintf(full, sizeof full, "%s", name);
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->tensors[i].name, full) == 0)
            return &t->tensors[i];
    return NULL;
}

/* out = W x + b */
static void linear(const struct tiny *t, int32_t il, const char *name, const double *x, double *out)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    const struct tiny_tensor *w = find(t, il, full);
    snprintf(full, sizeof full, "%s.bias", name);
    const struct tiny_tensor *b = find(t, il, full);
    for (uint64_t r = 0; r < w->rows; r++) {
        double sum = b ? (double)b->values[r] : 0;
        for (uint64_t i = 0; i < w->row; i++)
            sum += (double)w->values[r * w->row + i] * x[i];
        out[r] = sum;
    }
}

static void norm(const struct tiny *t, int32_t il, const char *name, const double *x, double *out)
{
    const struct tiny_tensor *w = find(t, il, name);
    double sum = 0;
    for (uint64_t i = 0; i < w->row; i++)
        sum += x[i] * x[i];
    const double by = 1 / sqrt(sum / (double)w->row + 1e-5);
    for (uint64_t i = 0; i < w->row; i++)
        out[i] = x[i] * by * (double)w->values[i];
}

static bool windowed(const struct tiny_shape *s, uint32_t il)
{
    const uint32_t period = s->period ? s->period : s->gemma ? 6 : 0;
    return s->window && (!period || (il + 1) % period != 0);
}

static double angle_of(const struct tiny *t, uint32_t il, uint32_t pair, uint32_t position)
{
    const struct tiny_shape *s = &t->shape;
    const double dims = s->rope_dims ? s->rope_dims : s->head_dim;
    const bool near = windowed(s, il);
    const double base = near ? (double)(s->rope_base_window > 0 ? s->rope_base_window : 10000)
                             : (double)s->rope_base;
    const struct tiny_tensor *factors = find(t, -1, "rope_freqs.weight");
    double theta = position * pow(base, -2.0 * pair / dims);
    if (factors && !near)
        theta /= (double)factors->values[pair];
    if (near || !(s->rope_factor > 0))
        return theta;
    if (!s->yarn)
        return theta / (double)s->rope_factor;
    /* YaRN: by how often the wave turns within the trained context of 64 */
    const double low = fmax(0, floor(dims * log(64 / (32 * 2 * M_PI)) / (2 * log(base))));
    const double high = fmin(dims - 1, ceil(dims * log(64 / (2 * M_PI)) / (2 * log(base))));
    const double ramp = fmin(1, fmax(0, (pair - low) / fmax(0.001, high - low)));
    return theta / (double)s->rope_factor * ramp + theta * (1 - ramp);
}

static void rotate(const struct tiny *t, uint32_t il, uint32_t position, double *head)
{
    const struct tiny_shape *s = &t->shape;
    const uint32_t dims = s->rope_dims ? s->rope_dims : s->head_dim;
    const double by = s->yarn && !windowed(s, il) ? 1 + 0.1 * log((double)s->rope_factor) : 1;
    for (uint32_t i = 0; i < dims / 2; i++) {
        const double angle = angle_of(t, il, i, position);
        double *a = &head[s->gemma ? i : 2 * i], *b = &head[s->gemma ? i + dims / 2 : 2 * i + 1];
        const double x = *a, y = *b;
        *a = by * (x * cos(angle) - y * sin(angle));
        *b = by * (x * sin(angle) + y * cos(angle));
    }
}

static double capped(double x, double cap)
{
    return cap > 0 ? cap * tanh(x / cap) : x;
}

/* One query head over positions 0 .. at. k, v: [position][kv_heads * head_dim]. */
static void attend(const struct tiny *t, uint32_t il, uint32_t head, uint32_t at, const double *q,
                   const double *k, const double *v, double *out)
{
    const struct tiny_shape *s = &t->shape;
    const size_t stride = (size_t)s->kv_heads * s->head_dim;
    const size_t of = (size_t)(head / (s->heads / s->kv_heads)) * s->head_dim;
    const double scale = s->attention_scale ? (double)0.4f : 1 / sqrt(s->head_dim);
    const uint32_t first = windowed(s, il) && at + 1 > s->window ? at + 1 - s->window : 0;
    double *weight = calloc(at + 1, sizeof *weight), most = -1e300, sum = 0;
    assert_non_null(weight);
    for (uint32_t p = first; p <= at; p++) {
        for (uint32_t i = 0; i < s->head_dim; i++)
            weight[p] += q[i] * k[p * stride + of + i];
        weight[p] = capped(weight[p] * scale, (double)s->attention_softcap);
        most = fmax(most, weight[p]);
    }
    for (uint32_t p = first; p <= at; p++)
        sum += weight[p] = exp(weight[p] - most);
    memset(out, 0, s->head_dim * sizeof *out);
    for (uint32_t p = first; p <= at; p++)
        for (uint32_t i = 0; i < s->head_dim; i++)
            out[i] += weight[p] / sum * v[p * stride + of + i];
    free(weight);
}

static double gate(const struct tiny_shape *s, double x)
{
    if (!s->gemma)
        return x / (1 + exp(-x));
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static void add(double *x, const double *y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        x[i] += y[i];
}

struct memory { /* of a sequence at one layer */
    double *k, *v;
};

static void run_attention(const struct tiny *t, uint32_t il, uint32_t at, double *x,
                          struct memory *m)
{
    const struct tiny_shape *s = &t->shape;
    const int32_t l = (int32_t)il;
    const uint32_t kv = s->kv_heads * s->head_dim;
    double h[512], q[1024], a[1024], y[512];
    double *k = m->k + (size_t)at * kv, *v = m->v + (size_t)at * kv;
    norm(t, l, "attn_norm.weight", x, h);
    linear(t, l, "attn_q", h, q);
    linear(t, l, "attn_k", h, k);
    linear(t, l, "attn_v", h, v);
    for (uint32_t i = 0; i < s->kv_heads; i++) {
        if (s->gemma)
            norm(t, l, "attn_k_norm.weight", k + i * s->head_dim, k + i * s->head_dim);
        rotate(t, il, at, k + i * s->head_dim);
    }
    for (uint32_t i = 0; i < s->heads; i++) {
        double *one = q + i * s->head_dim;
        if (s->gemma)
            norm(t, l, "attn_q_norm.weight", one, one);
        rotate(t, il, at, one);
        attend(t, il, i, at, one, m->k, m->v, a + i * s->head_dim);
    }
    linear(t, l, "attn_output", a, y);
    if (s->gemma)
        norm(t, l, "post_attention_norm.weight", y, y);
    add(x, y, s->width);
}

static void run_feed_forward(const struct tiny *t, uint32_t il, double *x)
{
    const struct tiny_shape *s = &t->shape;
    const int32_t l = (int32_t)il;
    double h[512], g[1024], u[1024], y[512];
    norm(t, l, "ffn_norm.weight", x, h);
    linear(t, l, "ffn_gate", h, g);
    linear(t, l, "ffn_up", h, u);
    for (uint32_t i = 0; i < s->ff; i++)
        g[i] = gate(s, g[i]) * u[i];
    linear(t, l, "ffn_down", g, y);
    if (s->gemma)
        norm(t, l, "post_ffw_norm.weight", y, y);
    add(x, y, s->width);
}

void tiny_reference(const struct tiny *t, const int32_t *tokens, uint32_t count, double *logits,
                    double *hidden)
{
    const struct tiny_shape *s = &t->shape;
    const struct tiny_tensor *embed = find(t, -1, "token_embd.weight");
    const size_t kv = (size_t)s->kv_heads * s->head_dim;
    struct memory *m = calloc(s->layers, sizeof *m);
    assert_non_null(m);
    assert_true(s->width <= 512 && s->ff <= 1024 && s->heads * s->head_dim <= 1024);
    for (uint32_t il = 0; il < s->layers; il++) {
        m[il].k = calloc(count * kv, sizeof(double));
        m[il].v = calloc(count * kv, sizeof(double));
        assert_true(m[il].k && m[il].v);
    }
    for (uint32_t at = 0; at < count; at++) {
        double x[512], y[512];
        for (uint32_t i = 0; i < s->width; i++)
            x[i] = (double)embed->values[(size_t)tokens[at] * s->width + i] *
                   (s->gemma ? sqrt(s->width) : 1);
        for (uint32_t il = 0; il < s->layers; il++) {
            run_attention(t, il, at, x, &m[il]);
            run_feed_forward(t, il, x);
        }
        norm(t, -1, "output_norm.weight", x, y);
        if (hidden)
            memcpy(hidden + (size_t)at * s->width, y, s->width * sizeof *y);
        double *out = logits + (size_t)at * s->vocab;
        linear(t, -1, s->output ? "output" : "token_embd", y, out);
        for (uint32_t i = 0; i < s->vocab; i++)
            out[i] = capped(out[i], (double)s->final_softcap);
    }
    for (uint32_t il = 0; il < s->layers; il++) {
        free(m[il].k);
        free(m[il].v);
    }
    free(m);
}
