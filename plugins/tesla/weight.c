/*
 * tesla/weight.c - from a mapped file to planes on the card: the bytes go through a ring of two
 * pinned buffers, and a kernel puts them where layout.h says. Copying from the file, the bus and
 * the repacking overlap.
 */
#include <stdlib.h>
#include <string.h>

#include "tesla/tesla.h"
#include "util/error.h"

static size_t up256(size_t n)
{
    return (n + 255) / 256 * 256;
}

bool fg_tesla_planes(const struct fg_tesla_family *f, int32_t type, uint32_t n, uint32_t k,
                     struct fg_tesla_sizes *out)
{
    static const struct {
        int32_t type;
        uint32_t lo, hi;
        int table, scale;
    } rows[] = {
#define X(number, lo, hi, table, offset, scale) {number, lo, hi, table, scale},
        FG_TESLA_QUANTS(X)
#undef X
    };
    static const uint32_t sub_bytes[] = {2, 4, 1, 1, 2, 2, 4};
    const struct fg_quant_info *info = fg_quant_info(type);
    const size_t blocks = (size_t)n * (k / 32);
    if (!info || k % 32 || k % info->block)
        return false;
    *out = (struct fg_tesla_sizes){.block = info->block, .block_bytes = info->block_bytes};
    if (type == FG_F32 || type == FG_F16 || type == FG_BF16) {
        out->lo = (size_t)n * k * info->block_bytes;
        return true;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].type != type)
            continue;
        const uint32_t lo = f->is_float && rows[i].table != FG_TABLE_NONE ? 8 : rows[i].lo;
        out->lo = blocks * 4 * lo;
        out->hi = blocks * 4 * rows[i].hi;
        out->sub = blocks * sub_bytes[rows[i].scale];
        out->super = rows[i].scale >= FG_SCALE_K32 ? blocks / 8 * 4 : 0;
        return true;
    }
    return false;
}

static int32_t open_stage(struct fg_dev *dev, struct fg_error *err)
{
    for (int i = 0; i < 2; i++) {
        if (dev->stage_host[i])
            continue;
        cudaError_t rc = cudaHostAlloc(&dev->stage_host[i], FG_TESLA_STAGE, cudaHostAllocDefault);
        if (rc == cudaSuccess)
            rc = cudaMalloc(&dev->stage_card[i], FG_TESLA_STAGE);
        if (rc == cudaSuccess)
            rc = cudaEventCreateWithFlags(&dev->staged[i], cudaEventDisableTiming);
        if (rc != cudaSuccess)
            return fg_tesla_error(rc, "opening the loader's ring", err);
    }
    return FG_OK;
}

/* Rows of the file's blocks into the planes (or as they are, for float types). */
static int32_t upload(struct fg_dev *dev, const struct fg_gguf_tensor *t, struct fg_weight *w,
                      size_t row_bytes, bool is_float, struct fg_error *err)
{
    const uint8_t *from = t->data;
    const size_t rows_at_once = FG_TESLA_STAGE / row_bytes;
    cudaError_t rc = cudaSuccess;
    for (size_t row = 0, turn = 0; row < w->m.n && rc == cudaSuccess; turn++) {
        const size_t rows = w->m.n - row < rows_at_once ? w->m.n - row : rows_at_once;
        const size_t bytes = rows * row_bytes;
        const size_t i = turn % 2;
        if (turn >= 2)
            rc = cudaEventSynchronize(dev->staged[i]);
        if (rc != cudaSuccess)
            break;
        memcpy(dev->stage_host[i], from + row * row_bytes, bytes);
        void *to = is_float ? (char *)w->memory + row * row_bytes : dev->stage_card[i];
        rc = cudaMemcpyAsync(to, dev->stage_host[i], bytes, cudaMemcpyHostToDevice, dev->stream);
        if (rc == cudaSuccess && !is_float)
            dev->family->repack(dev->stream, w->m, dev->stage_card[i], (uint32_t)row,
                                (uint32_t)rows);
        if (rc == cudaSuccess)
            rc = cudaEventRecord(dev->staged[i], dev->stream);
        row += rows;
    }
    if (rc == cudaSuccess)
        rc = cudaStreamSynchronize(dev->stream);
    return rc == cudaSuccess ? FG_OK : fg_tesla_error(rc, "loading a tensor", err);
}

static int32_t load_vector(struct fg_dev *dev, const struct fg_gguf_tensor *t, struct fg_weight *w,
                           struct fg_error *err)
{
    const size_t count = t->shape[0];
    float *values = malloc(count * sizeof *values);
    w->is_vector = true;
    w->m = (struct fg_tesla_matrix){.type = FG_F32, .n = 1, .k = (uint32_t)count};
    w->bytes = count * sizeof *values;
    int32_t rc = values ? fg_tesla_alloc(dev, w->bytes, &w->memory, "a vector", err)
                        : fg_fail(err, FG_NO_MEMORY, "no memory for a vector");
    if (rc == FG_OK) {
        fg_dequantize(t->type, t->data, values, count);
        w->m.lo = w->memory;
        const cudaError_t copied =
            cudaMemcpy(w->memory, values, w->bytes, cudaMemcpyHostToDevice);
        if (copied != cudaSuccess)
            rc = fg_tesla_error(copied, "loading a vector", err);
    }
    free(values);
    return rc;
}

static int32_t load_matrix(struct fg_dev *dev, const struct fg_gguf_tensor *t, struct fg_weight *w,
                           struct fg_error *err)
{
    struct fg_tesla_sizes s;
    const uint32_t k = (uint32_t)t->shape[0], n = (uint32_t)t->shape[1];
    const struct fg_quant_info *info = fg_quant_info(t->type);
    if (t->shape[0] > FG_TESLA_WIDTH_MOST || t->shape[1] > 1u << 24 ||
        !fg_tesla_planes(dev->family, t->type, n, k, &s))
        return fg_fail(err, FG_UNSUPPORTED,
                       "tensor %.*s: %s of %llu by %llu has no layout on this device",
                       (int)(t->name.len < 64 ? t->name.len : 64), t->name.ptr,
                       info ? info->name : "?", (unsigned long long)t->shape[1],
                       (unsigned long long)t->shape[0]);
    w->bytes = up256(s.lo) + up256(s.hi) + up256(s.sub) + up256(s.super);
    int32_t rc = fg_tesla_alloc(dev, w->bytes, &w->memory, "weights", err);
    if (rc == FG_OK)
        rc = open_stage(dev, err);
    if (rc != FG_OK)
        return rc;
    char *at = w->memory;
    w->m = (struct fg_tesla_matrix){.type = t->type, .n = n, .k = k, .lo = at};
    w->m.hi = at += up256(s.lo);
    w->m.sub = at += up256(s.hi);
    w->m.super = at + up256(s.sub);
    dev->most_width = k > dev->most_width ? k : dev->most_width;
    return upload(dev, t, w, (size_t)k / s.block * s.block_bytes, s.sub == 0, err);
}

int32_t fg_tesla_weight_load(struct fg_dev *dev, const struct fg_gguf_tensor *t,
                             struct fg_weight **out, struct fg_error *err)
{
    struct fg_weight *w = calloc(1, sizeof *w);
    if (!w)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a weight");
    const int32_t rc = t->dims == 1 ? load_vector(dev, t, w, err) : load_matrix(dev, t, w, err);
    if (rc != FG_OK) {
        fg_tesla_weight_free(dev, w);
        return rc;
    }
    *out = w;
    return FG_OK;
}

void fg_tesla_weight_free(struct fg_dev *dev, struct fg_weight *w)
{
    if (!w)
        return;
    fg_tesla_forget_graphs(dev);
    (void)cudaFree(w->memory);
    free(w);
}
