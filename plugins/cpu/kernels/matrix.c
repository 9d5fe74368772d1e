/*
 * cpu/kernels/matrix.c - chooses the kernels of a matrix and calls them. See matrix.h.
 */
#include "cpu/kernels/matrix.h"

#include <string.h>

#include "cpu/kernels/act.h"
#include "cpu/kernels/ops.h"
#include "cpu/kernels/wide.h"
#include "engine/gguf/quant.h"
#include "util/error.h"

#define MOST_WEIGHTS ((uint64_t)1 << 44) /* sizes below stay far from overflowing */

static const struct fg_kernel_ops *ops_of(const struct fg_matrix *w)
{
    return w->ops;
}

size_t fg_matrix_row_bytes(const struct fg_matrix *w)
{
    const struct fg_quant_info *info = fg_quant_info(w->type);
    return (size_t)w->k / info->block * info->block_bytes;
}

int32_t fg_matrix_plan(int32_t type, uint32_t n, uint32_t k, enum fg_isa isa, bool exact,
                       struct fg_matrix *out, struct fg_error *err)
{
    const struct fg_quant_info *info = fg_quant_info(type);
    if (!info)
        return fg_fail(err, FG_UNSUPPORTED, "tensor type %d is unknown", (int)type);
    if (!info->computes)
        return fg_fail(err, FG_UNSUPPORTED, "tensor type %s is not supported", info->name);
    if (n == 0 || k == 0 || k % info->block != 0 || (uint64_t)n * k > MOST_WEIGHTS)
        return fg_fail(err, FG_INVALID, "a matrix of %u rows of %u %s weights is not possible", n, k,
                       info->name);
    struct fg_matrix w = {.type = type, .isa = isa, .exact = exact, .n = n, .k = k};
    const struct fg_kernel_ops *ops = exact ? NULL : fg_ops_group(type, isa);
    if (!ops)
        ops = fg_ops_wide(type, isa, exact);
    if (!ops)
        ops = &fg_ops_plain;
    w.ops = ops;
    w.tile = ops->tile;
    w.packed_bytes = ops->packed_bytes(&w);
    *out = w;
    return FG_OK;
}

void fg_matrix_pack(const struct fg_matrix *w, const void *rows, uint32_t first, uint32_t last)
{
    ops_of(w)->pack(w, rows, first, last);
}

void fg_matrix_row(const struct fg_matrix *w, uint32_t row, float *out)
{
    ops_of(w)->row(w, row, out);
}

int32_t fg_matrix_act_kind(const struct fg_matrix *w)
{
    return ops_of(w)->act_kind;
}

size_t fg_act_bytes(int32_t kind, uint32_t m, uint32_t k)
{
    switch (kind) {
    case FG_ACT_INT8:
        return fg_act8_bytes(m, k);
    case FG_ACT_BF16:
        return fg_act_bf16_bytes(m, k);
    default:
        return (size_t)m * k * sizeof(float);
    }
}

uint32_t fg_act_group(int32_t kind)
{
    return kind == FG_ACT_INT8 ? FG_ACT8_ROWS : 1;
}

void fg_act_quantize(int32_t kind, const float *x, size_t stride, uint32_t m, uint32_t k,
                     uint32_t first, uint32_t last, void *act)
{
    switch (kind) {
    case FG_ACT_INT8:
        fg_act8_quantize(x, stride, m, k, first, last, act);
        return;
    case FG_ACT_BF16:
        fg_act_bf16_round(x, stride, k, first, last, act);
        return;
    default:
        for (uint32_t i = first; i < last; i++)
            memcpy((float *)act + (size_t)i * k, x + (size_t)i * stride, k * sizeof(float));
    }
}

void fg_matrix_multiply(const struct fg_matrix *w, const void *act, uint32_t m, float *y,
                        size_t y_stride, uint32_t first, uint32_t last)
{
    struct fg_product p = {.y = y, .stride = y_stride, .m = m, .first = first, .last = last};
    ops_of(w)->multiply(w, act, &p);
}

void fg_matrix_multiply_add(const struct fg_matrix *w, const void *act, uint32_t m, float *y,
                            size_t y_stride, uint32_t first, uint32_t last)
{
    struct fg_product p = {
        .y = y, .stride = y_stride, .m = m, .first = first, .last = last, .add = true};
    ops_of(w)->multiply(w, act, &p);
}
