/*
 * Products with weights and what goes with them: the norm before, bias, gate, residual and norm
 * behind. Two jobs of the pool at most: activations are prepared in groups of rows (on the caller
 * alone when there are few), then every chunk of outputs is multiplied and finished while it is in
 * cache.
 */
#include <string.h>

#include "cpu/cpu.h"

enum {
    ROWS_TOGETHER = 8,       /* rows one chunk prepares; a multiple of every act group */
    CHUNK_BYTES = 32 << 10,  /* weights of a chunk in decode: some microseconds */
    CHUNK_FLOATS = 32 << 10, /* results of a chunk in prefill: stays in L2 */
};

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* ---- activations ----------------------------------------------------------------------------- */

struct inputs { /* one form for each kind that the group's matrices want */
    uint32_t kinds;
    int32_t kind[FG_CPU_KINDS];
    void *act[FG_CPU_KINDS];
};
struct prepare {
    const struct fg_dev *dev;
    const struct fg_buffer *in;
    const struct fg_weight *norm;
    float eps;
    float *normed;
    const struct inputs *inputs;
};

static void prepare_rows(void *arg, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    const struct prepare *p = arg;
    const uint32_t width = p->in->width, count = p->dev->count;
    const uint32_t first = chunk * ROWS_TOGETHER, last = least(first + ROWS_TOGETHER, count);
    const float *x = p->in->data;
    if (p->norm) {
        for (uint32_t i = first; i < last; i++)
            p->dev->simd->rms_norm(x + (size_t)i * width, p->norm->vector, p->eps, width,
                                   p->normed + (size_t)i * width);
        x = p->normed;
    }
    for (uint32_t k = 0; k < p->inputs->kinds; k++)
        fg_act_quantize(p->inputs->kind[k], x, width, count, width, first, last,
                        p->inputs->act[k]);
}

/* false: no memory, the step has failed. */
static bool prepare_inputs(struct fg_dev *dev, const struct fg_buffer *in,
                           const struct fg_weight *norm, float eps,
                           const struct fg_weight *const *weights, uint32_t count,
                           struct inputs *out)
{
    struct prepare p = {.dev = dev, .in = in, .norm = norm, .eps = eps, .inputs = out};
    out->kinds = 0;
    for (uint32_t i = 0; i < count; i++) {
        const int32_t kind = fg_matrix_act_kind(&weights[i]->matrix);
        uint32_t k = 0;
        while (k < out->kinds && out->kind[k] != kind)
            k++;
        if (k < out->kinds)
            continue;
        out->kind[k] = kind;
        out->act[k] =
            fg_scratch_need(dev, &dev->acts[k], fg_act_bytes(kind, dev->count, in->width));
        out->kinds++;
    }
    if (norm)
        p.normed =
            fg_scratch_need(dev, &dev->normed, (size_t)dev->count * in->width * sizeof(float));
    if (dev->failed)
        return false;
    fg_pool_run(dev->pool, prepare_rows, &p, (dev->count + ROWS_TOGETHER - 1) / ROWS_TOGETHER);
    return true;
}

static const void *act_of(const struct inputs *in, const struct fg_matrix *m)
{
    const int32_t kind = fg_matrix_act_kind(m);
    uint32_t k = 0;
    while (in->kind[k] != kind)
        k++;
    return in->act[k];
}

/* ---- chunks of outputs ----------------------------------------------------------------------- */

/* Output rows of a chunk: a multiple of the tile, small enough for threads to finish together. */
static uint32_t chunk_rows(const struct fg_dev *dev, const struct fg_matrix *m)
{
    const uint32_t row_bytes = (uint32_t)(m->packed_bytes / m->n) + 1;
    uint32_t rows = least(CHUNK_BYTES / row_bytes, CHUNK_FLOATS / dev->count);
    const uint32_t share = m->n / (fg_pool_threads(dev->pool) * 4);
    rows = least(rows, share);
    rows = rows / m->tile * m->tile;
    return rows ? rows : m->tile;
}

/* y[i * stride] for rows [first, last) of the matrix, row `first` going to y[0]. */
static void multiply(const struct fg_dev *dev, const struct inputs *in,
                     const struct fg_matrix *m, float *y, size_t stride, uint32_t first,
                     uint32_t last)
{
    float *origin = (float *)((uintptr_t)y - first * sizeof *y); /* never read below y */
    fg_matrix_multiply(m, act_of(in, m), dev->count, origin, stride, first, last);
}

static void add_bias(const struct fg_dev *dev, const struct fg_weight *bias, float *y,
                     size_t stride, uint32_t first, uint32_t last)
{
    for (uint32_t i = 0; bias && i < dev->count; i++)
        dev->simd->add(y + i * stride, bias->vector + first, last - first);
}

struct store {
    struct fg_dev *dev;
    const struct inputs *in;
    uint32_t count;
    const struct fg_linear *part;
    uint32_t rows[FG_LINEARS_MOST], chunks[FG_LINEARS_MOST];
};

static void store_chunk(void *arg, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    const struct store *s = arg;
    uint32_t k = 0;
    while (chunk >= s->chunks[k])
        chunk -= s->chunks[k++];
    const struct fg_linear *part = &s->part[k];
    const struct fg_matrix *m = &part->weight->matrix;
    const uint32_t first = chunk * s->rows[k], last = least(first + s->rows[k], m->n);
    float *y = part->out->data + first;
    multiply(s->dev, s->in, m, y, part->out->width, first, last);
    add_bias(s->dev, part->bias, y, part->out->width, first, last);
}

static void store_parts(struct fg_dev *dev, const struct inputs *in, const struct fg_linear *part,
                        uint32_t count)
{
    struct store s = {.dev = dev, .in = in, .count = count, .part = part};
    uint32_t chunks = 0;
    for (uint32_t k = 0; k < count; k++) {
        const struct fg_matrix *m = &part[k].weight->matrix;
        s.rows[k] = chunk_rows(dev, m);
        s.chunks[k] = (m->n + s.rows[k] - 1) / s.rows[k];
        chunks += s.chunks[k];
    }
    fg_pool_run(dev->pool, store_chunk, &s, chunks);
}

void fg_cpu_project(struct fg_dev *dev, const struct fg_project *p)
{
    const struct fg_weight *weights[FG_LINEARS_MOST];
    struct inputs in;
    for (uint32_t k = 0; k < p->count; k++)
        weights[k] = p->part[k].weight;
    if (prepare_inputs(dev, p->in, p->norm, p->eps, weights, p->count, &in))
        store_parts(dev, &in, p->part, p->count);
}

/* ---- gated ----------------------------------------------------------------------------------- */

struct gated {
    struct fg_dev *dev;
    const struct inputs *in;
    const struct fg_project_gated *p;
    uint32_t rows;
};

static void gated_chunk(void *arg, uint32_t chunk, uint32_t worker)
{
    const struct gated *g = arg;
    const struct fg_project_gated *p = g->p;
    const struct fg_matrix *m = &p->gate.weight->matrix;
    const uint32_t count = g->dev->count, first = chunk * g->rows, n = least(g->rows, m->n - first);
    float *gate = g->dev->own[worker].ptr, *up = gate + (size_t)count * n;
    multiply(g->dev, g->in, m, gate, n, first, first + n);
    add_bias(g->dev, p->gate.bias, gate, n, first, first + n);
    multiply(g->dev, g->in, &p->up.weight->matrix, up, n, first, first + n);
    add_bias(g->dev, p->up.bias, up, n, first, first + n);
    for (uint32_t i = 0; i < count; i++) {
        float *out = p->out->data + (size_t)i * p->out->width + first;
        if (p->act == FG_GATE_SILU)
            g->dev->simd->gate_silu(gate + (size_t)i * n, up + (size_t)i * n, n, out);
        else
            g->dev->simd->gate_gelu(gate + (size_t)i * n, up + (size_t)i * n, n, out);
    }
}

static bool own_scratch(struct fg_dev *dev, size_t floats)
{
    for (uint32_t i = 0; i < fg_pool_threads(dev->pool); i++)
        fg_scratch_need(dev, &dev->own[i], floats * sizeof(float));
    return !dev->failed;
}

void fg_cpu_project_gated(struct fg_dev *dev, const struct fg_project_gated *p)
{
    const struct fg_weight *weights[] = {p->gate.weight, p->up.weight};
    const struct fg_matrix *gate = &p->gate.weight->matrix, *up = &p->up.weight->matrix;
    struct inputs in;
    struct gated g = {.dev = dev, .in = &in, .p = p};
    /* A common multiple of both tiles: they are powers of two. */
    g.rows = chunk_rows(dev, gate->tile > up->tile ? gate : up);
    if (own_scratch(dev, (size_t)2 * dev->count * g.rows) &&
        prepare_inputs(dev, p->in, p->norm, p->eps, weights, 2, &in))
        fg_pool_run(dev->pool, gated_chunk, &g, (gate->n + g.rows - 1) / g.rows);
}

/* ---- residual -------------------------------------------------------------------------------- */

struct adding {
    struct fg_dev *dev;
    const struct inputs *in;
    const struct fg_project_add *p;
    uint32_t rows;
    float *product; /* [rows][width] of the whole product, with a post-norm */
};

static void add_chunk(void *arg, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    const struct adding *a = arg;
    const struct fg_matrix *m = &a->p->part.weight->matrix;
    const uint32_t first = chunk * a->rows, last = least(first + a->rows, m->n);
    struct fg_buffer *onto = a->p->onto;
    add_bias(a->dev, a->p->part.bias, onto->data + first, onto->width, first, last);
    fg_matrix_multiply_add(m, act_of(a->in, m), a->dev->count, onto->data, onto->width, first,
                           last);
}

static void post_norm_rows(void *arg, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    const struct adding *a = arg;
    const uint32_t width = a->p->onto->width, first = chunk * ROWS_TOGETHER;
    const uint32_t last = least(first + ROWS_TOGETHER, a->dev->count);
    for (uint32_t i = first; i < last; i++) {
        float *y = a->product + (size_t)i * width;
        a->dev->simd->rms_norm(y, a->p->post_norm->vector, a->p->eps, width, y);
        a->dev->simd->add(a->p->onto->data + (size_t)i * width, y, width);
    }
}

void fg_cpu_project_add(struct fg_dev *dev, const struct fg_project_add *p)
{
    const struct fg_weight *weight = p->part.weight;
    const struct fg_matrix *m = &weight->matrix;
    struct inputs in;
    struct adding a = {.dev = dev, .in = &in, .p = p, .rows = chunk_rows(dev, m)};
    if (!p->post_norm) {
        if (prepare_inputs(dev, p->in, NULL, 0, &weight, 1, &in))
            fg_pool_run(dev->pool, add_chunk, &a, (m->n + a.rows - 1) / a.rows);
        return;
    }
    a.product = fg_scratch_need(dev, &dev->product, (size_t)dev->count * m->n * sizeof(float));
    if (!a.product || !prepare_inputs(dev, p->in, NULL, 0, &weight, 1, &in))
        return;
    struct fg_buffer whole = {.rows = dev->count, .width = m->n, .data = a.product};
    store_parts(dev, &in, &(struct fg_linear){weight, p->part.bias, &whole}, 1);
    fg_pool_run(dev->pool, post_norm_rows, &a, (dev->count + ROWS_TOGETHER - 1) / ROWS_TOGETHER);
}

/* ---- the end of a step ----------------------------------------------------------------------- */

struct norming {
    const struct fg_dev *dev;
    const struct fg_buffer *in, *out;
    const struct fg_weight *weight;
    float eps;
};

static void norm_rows(void *arg, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    const struct norming *n = arg;
    const uint32_t first = chunk * ROWS_TOGETHER, width = n->in->width;
    const uint32_t last = least(first + ROWS_TOGETHER, n->dev->count);
    for (uint32_t i = first; i < last; i++)
        n->dev->simd->rms_norm(n->in->data + (size_t)i * width, n->weight->vector, n->eps, width,
                               n->out->data + (size_t)i * width);
}

void fg_cpu_norm(struct fg_dev *dev, const struct fg_buffer *in, const struct fg_weight *weight,
                 float eps, struct fg_buffer *out)
{
    struct norming n = {.dev = dev, .in = in, .out = out, .weight = weight, .eps = eps};
    fg_pool_run(dev->pool, norm_rows, &n, (dev->count + ROWS_TOGETHER - 1) / ROWS_TOGETHER);
}

struct output {
    struct fg_dev *dev;
    const struct inputs *in;
    const struct fg_matrix *matrix;
    uint32_t rows;
    float softcap, *out;
};

static void logits_chunk(void *arg, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    const struct output *o = arg;
    const uint32_t first = chunk * o->rows, n = least(o->rows, o->matrix->n - first);
    float *y = o->out + first;
    multiply(o->dev, o->in, o->matrix, y, o->matrix->n, first, first + n);
    for (uint32_t i = 0; o->softcap > 0 && i < o->dev->count; i++)
        o->dev->simd->softcap(y + (size_t)i * o->matrix->n, o->softcap, n);
}

void fg_cpu_logits(struct fg_dev *dev, const struct fg_buffer *in, const struct fg_weight *weight,
                   float softcap, float *out)
{
    struct inputs inputs;
    struct output o = {.dev = dev,
                       .in = &inputs,
                       .matrix = &weight->matrix,
                       .rows = chunk_rows(dev, &weight->matrix),
                       .softcap = softcap,
                       .out = out};
    if (prepare_inputs(dev, in, NULL, 0, &weight, 1, &inputs))
        fg_pool_run(dev->pool, logits_chunk, &o, (o.matrix->n + o.rows - 1) / o.rows);
}
