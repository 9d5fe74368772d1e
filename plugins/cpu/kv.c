/*
 * Paged K and V: one area, page by page, in a page [layer][KV head][K, then V]; so a page costs
 * memory once it is written and nothing before. f16, or float on the exact path.
 */
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "util/error.h"

static size_t value_bytes(const struct fg_dev *dev)
{
    return dev->exact ? 4 : 2;
}

static uint32_t v_stride(const struct fg_kv_shape *s)
{
    return (s->head_dim + 15) / 16 * 16;
}

/* K and V of a page, one layer, one head. */
static size_t head_bytes(const struct fg_dev *dev, const struct fg_kv_shape *s)
{
    return (size_t)(s->head_dim + v_stride(s)) * s->page_tokens * value_bytes(dev);
}

uint64_t fg_cpu_kv_token_bytes(struct fg_dev *dev, const struct fg_kv_shape *s)
{
    return (uint64_t)head_bytes(dev, s) / s->page_tokens * s->layers * s->kv_heads;
}

int32_t fg_cpu_kv_open(struct fg_dev *dev, const struct fg_kv_shape *s, struct fg_kv **out,
                       struct fg_error *err)
{
    size_t page, total;
    if (s->page_tokens != 32 && s->page_tokens != 64 && s->page_tokens != 128)
        return fg_fail(err, FG_INVALID, "KV pages of %u tokens are not possible", s->page_tokens);
    const size_t head = head_bytes(dev, s);
    if (__builtin_mul_overflow(head, (size_t)s->layers * s->kv_heads, &page) ||
        __builtin_mul_overflow(page, (size_t)s->pages, &total))
        return fg_fail(err, FG_NO_MEMORY, "%u KV pages are too many", s->pages);
    struct fg_kv *kv = calloc(1, sizeof *kv);
    if (!kv)
        return fg_fail(err, FG_NO_MEMORY, "no memory for KV");
    const int32_t rc = fg_area_open(total, &kv->area, err);
    if (rc != FG_OK) {
        free(kv);
        return rc;
    }
    kv->shape = *s;
    kv->head_bytes = head;
    kv->view = (struct fg_kv_view){.base = kv->area.ptr,
                                   .page_bytes = page,
                                   .v_offset = (size_t)s->head_dim * s->page_tokens *
                                               value_bytes(dev),
                                   .page_tokens = s->page_tokens,
                                   .head_dim = s->head_dim,
                                   .v_stride = v_stride(s),
                                   .wide = dev->exact};
    *out = kv;
    return FG_OK;
}

void fg_cpu_kv_free(struct fg_dev *dev, struct fg_kv *kv)
{
    (void)dev;
    if (!kv)
        return;
    fg_area_close(&kv->area);
    free(kv);
}

/* The whole page: what lies behind `tokens` is written before it is read. */
void fg_cpu_kv_copy(struct fg_dev *dev, struct fg_kv *kv, uint32_t from, uint32_t to,
                    uint32_t tokens)
{
    (void)dev;
    char *base = kv->area.ptr;
    if (tokens && from != to)
        memcpy(base + to * kv->view.page_bytes, base + from * kv->view.page_bytes,
               kv->view.page_bytes);
}

void fg_cpu_kv_write(const struct fg_dev *dev, const struct fg_kv *kv, uint32_t layer,
                     uint32_t head, uint32_t page, uint32_t inside, const float *k, const float *v)
{
    const struct fg_kv_view *view = &kv->view;
    const uint32_t dim = view->head_dim, tokens = view->page_tokens;
    uint8_t *at = (uint8_t *)kv->area.ptr + page * view->page_bytes +
                  ((size_t)layer * kv->shape.kv_heads + head) * kv->head_bytes;
    uint8_t *values = at + view->v_offset + (size_t)inside * view->v_stride * value_bytes(dev);
    if (view->wide) {
        float *keys = (float *)(void *)at + inside;
        for (uint32_t d = 0; d < dim; d++)
            keys[(size_t)d * tokens] = k[d];
        memcpy(values, v, dim * sizeof *v);
        return;
    }
    uint16_t *keys = (uint16_t *)(void *)at + inside, half[64];
    for (uint32_t d = 0; d < dim; d += 64) {
        const uint32_t n = dim - d < 64 ? dim - d : 64;
        dev->simd->to_f16(k + d, n, half);
        for (uint32_t i = 0; i < n; i++)
            keys[(size_t)(d + i) * tokens] = half[i];
    }
    dev->simd->to_f16(v, dim, (uint16_t *)(void *)values);
}
