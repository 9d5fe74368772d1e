/*
 * Weights: matrices are packed by all threads at once from the mapped file into huge pages;
 * vectors become floats. The rows of an embedding are read back from the packed form.
 */
#include <stdlib.h>

#include "cpu/cpu.h"
#include "engine/gguf/quant.h"
#include "util/error.h"

enum { PACK_BYTES = 128 << 10 }; /* a chunk: large enough to be worth taking */

struct pack {
    const struct fg_matrix *matrix;
    const uint8_t *rows;
    size_t row_bytes;
    uint32_t step;
};

static void pack_chunk(void *arg, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    const struct pack *p = arg;
    const uint32_t first = chunk * p->step, left = p->matrix->n - first;
    const uint32_t last = first + (left < p->step ? left : p->step);
    fg_matrix_pack(p->matrix, p->rows + first * p->row_bytes, first, last);
}

static int32_t load_matrix(struct fg_dev *dev, const struct fg_gguf_tensor *t, struct fg_weight *w,
                           struct fg_error *err)
{
    struct fg_matrix *m = &w->matrix;
    if (t->shape[0] > UINT32_MAX || t->shape[1] > UINT32_MAX)
        return fg_fail(err, FG_INVALID, "tensor %.*s is too large", (int)t->name.len, t->name.ptr);
    int32_t rc = fg_matrix_plan(t->type, (uint32_t)t->shape[1], (uint32_t)t->shape[0], dev->isa,
                                dev->exact, m, err);
    if (rc == FG_OK)
        rc = fg_heap_take(dev->weights, m->packed_bytes, &m->packed, err);
    if (rc != FG_OK)
        return rc;
    struct pack p = {.matrix = m, .rows = t->data, .row_bytes = t->bytes / m->n};
    const uint32_t tiles = (uint32_t)(PACK_BYTES / (p.row_bytes * m->tile)) + 1;
    p.step = tiles * m->tile;
    fg_pool_run(dev->pool, pack_chunk, &p, (m->n + p.step - 1) / p.step);
    w->bytes = m->packed_bytes;
    return FG_OK;
}

static int32_t load_vector(const struct fg_gguf_tensor *t, struct fg_weight *w,
                           struct fg_error *err)
{
    if (t->shape[0] > UINT32_MAX)
        return fg_fail(err, FG_INVALID, "tensor %.*s is too large", (int)t->name.len, t->name.ptr);
    w->length = (uint32_t)t->shape[0];
    w->bytes = (uint64_t)w->length * sizeof *w->vector;
    w->vector = malloc(w->bytes);
    if (!w->vector)
        return fg_fail(err, FG_NO_MEMORY, "no memory for tensor %.*s", (int)t->name.len,
                       t->name.ptr);
    fg_dequantize(t->type, t->data, w->vector, w->length);
    return FG_OK;
}

int32_t fg_cpu_weight_load(struct fg_dev *dev, const struct fg_gguf_tensor *t,
                           struct fg_weight **out, struct fg_error *err)
{
    struct fg_weight *w = calloc(1, sizeof *w);
    if (!w)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a tensor");
    const int32_t rc = t->dims == 1 ? load_vector(t, w, err) : load_matrix(dev, t, w, err);
    if (rc != FG_OK) {
        fg_cpu_weight_free(dev, w);
        return rc;
    }
    *out = w;
    return FG_OK;
}

void fg_cpu_weight_free(struct fg_dev *dev, struct fg_weight *w)
{
    if (!w)
        return;
    if (w->matrix.packed)
        fg_heap_give(dev->weights, w->matrix.packed);
    free(w->vector);
    free(w);
}

uint64_t fg_cpu_weight_bytes(const struct fg_weight *w)
{
    return w->bytes;
}

struct lookup {
    const struct fg_dev *dev;
    const struct fg_weight *weight;
    float scale;
    struct fg_buffer *out;
};

static void embed_row(void *arg, uint32_t row, uint32_t worker)
{
    (void)worker;
    const struct lookup *l = arg;
    float *out = l->out->data + (size_t)row * l->out->width;
    fg_matrix_row(&l->weight->matrix, (uint32_t)l->dev->rows->tokens[row], out);
    if (l->scale != 1.0f)
        l->dev->simd->scale(out, l->scale, l->out->width, out);
}

void fg_cpu_embed(struct fg_dev *dev, const struct fg_weight *w, float scale, struct fg_buffer *out)
{
    struct lookup l = {.dev = dev, .weight = w, .scale = scale, .out = out};
    fg_pool_run(dev->pool, embed_row, &l, dev->count);
}
