/*
 * Tensors against the table of a family. A tensor that the family does not know makes the file
 * refused: to leave it out would be to run another model than the file's.
 */
#include "engine/model/shapes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "util/error.h"
#include "util/str.h"

static uint32_t length_of(const struct fg_params *p, enum fg_dim dim)
{
    switch (dim) {
    case FG_DIM_WIDTH:
        return p->width;
    case FG_DIM_Q:
        return p->q_width;
    case FG_DIM_KV:
        return p->kv_width;
    case FG_DIM_HEAD:
        return p->head_dim;
    case FG_DIM_FF:
        return p->ff;
    case FG_DIM_VOCAB:
        return p->vocab;
    default:
        return 1;
    }
}

static void name_of(const struct fg_slot *slot, uint32_t layer, char *out, size_t room)
{
    if (layer == UINT32_MAX)
        snprintf(out, room, "%s", slot->name);
    else
        snprintf(out, room, "blk.%u.%s", layer, slot->name);
}

const struct fg_gguf_tensor *fg_shapes_find(const struct fg_gguf *g, const struct fg_slot *slot,
                                            uint32_t layer)
{
    char name[96];
    name_of(slot, layer, name, sizeof name);
    return fg_gguf_tensor_find(g, name);
}

static int32_t check_slot(const struct fg_gguf *g, const struct fg_slot *slot, uint32_t layer,
                          const struct fg_params *p, uint64_t *found, struct fg_error *err)
{
    char name[96];
    name_of(slot, layer, name, sizeof name);
    const struct fg_gguf_tensor *t = fg_gguf_tensor_find(g, name);
    if (!t)
        return slot->optional ? FG_OK : fg_fail(err, FG_INVALID, "tensor %s is missing", name);
    ++*found;
    const struct fg_quant_info *type = fg_quant_info(t->type);
    const bool vector = slot->rows == FG_DIM_ONE;
    if (!type || !type->computes || (vector && type->block != 1))
        return fg_fail(err, FG_UNSUPPORTED, "tensor %s: type %s is not supported%s", name,
                       type ? type->name : "?", vector ? " for a vector" : "");
    const uint64_t row = length_of(p, slot->row), rows = length_of(p, slot->rows);
    if (t->shape[0] != row || t->shape[1] != rows || t->shape[2] != 1 || t->shape[3] != 1 ||
        t->dims != (vector ? 1u : 2u))
        return fg_fail(err, FG_INVALID,
                       "tensor %s is %llu x %llu, expected %llu x %llu from the hyperparameters",
                       name, (unsigned long long)t->shape[0],
                       (unsigned long long)(t->shape[1] * t->shape[2] * t->shape[3]),
                       (unsigned long long)row, (unsigned long long)rows);
    if (!t->data)
        return fg_fail(err, FG_INVALID, "tensor %s has no data: the file is a vocabulary only",
                       name);
    return FG_OK;
}

static int32_t check_slots(const struct fg_gguf *g, const struct fg_slot *slots, uint32_t layer,
                           const struct fg_params *p, uint64_t *found, struct fg_error *err)
{
    for (const struct fg_slot *slot = slots; slot->name; slot++) {
        const int32_t rc = check_slot(g, slot, layer, p, found, err);
        if (rc != FG_OK)
            return rc;
    }
    return FG_OK;
}

static bool is_ignored(const struct fg_family *family, struct fg_str name)
{
    for (const char *const *begin = family->ignored; begin && *begin; begin++)
        if (fg_str_starts(name, fg_str_of(*begin)))
            return true;
    return false;
}

static bool in_slots(const struct fg_slot *slots, struct fg_str name)
{
    for (; slots->name; slots++)
        if (fg_str_is(name, slots->name))
            return true;
    return false;
}

/* "blk.<layer>." off the name; false when it is no layer's. */
static bool layer_part(const struct fg_params *p, struct fg_str *name)
{
    uint64_t layer;
    if (!fg_str_starts(*name, FG_STR("blk.")))
        return false;
    const struct fg_str rest = fg_str_from(*name, 4);
    const char *dot = memchr(rest.ptr, '.', rest.len);
    if (!dot || !fg_str_u64((struct fg_str){rest.ptr, (size_t)(dot - rest.ptr)}, &layer) ||
        layer >= p->layers)
        return false;
    *name = fg_str_from(rest, (size_t)(dot - rest.ptr) + 1);
    return true;
}

/* Only when counts differ: names the first tensor that nobody asked for. */
static int32_t refuse_unknown(const struct fg_gguf *g, const struct fg_family *family,
                              const struct fg_params *p, struct fg_error *err)
{
    for (uint64_t i = 0; i < fg_gguf_tensor_count(g); i++) {
        const struct fg_str name = fg_gguf_tensor_at(g, i)->name;
        struct fg_str rest = name;
        if (is_ignored(family, name))
            continue;
        if (in_slots(layer_part(p, &rest) ? family->layer : family->outer, rest))
            continue;
        return fg_fail(err, FG_UNSUPPORTED, "tensor %.*s is not known to architecture %s",
                       (int)name.len, name.ptr, family->name);
    }
    return FG_OK;
}

static const struct fg_gguf_tensor *rope_tensor(const struct fg_gguf *g,
                                                const struct fg_family *family)
{
    const struct fg_gguf_tensor *t = fg_gguf_tensor_find(g, "rope_freqs.weight");
    return t ? t : family == &fg_family_llama ? fg_gguf_tensor_find(g, "blk.0.rope_freqs.weight")
                                              : NULL;
}

const float *fg_shapes_rope_factors(const struct fg_gguf *g, const struct fg_family *family,
                                    const struct fg_params *p)
{
    (void)p;
    const struct fg_gguf_tensor *t = family == &fg_family_llama ? rope_tensor(g, family) : NULL;
    return t ? t->data : NULL;
}

static int32_t check_rope(const struct fg_gguf *g, const struct fg_family *family,
                          const struct fg_params *p, struct fg_error *err)
{
    const struct fg_gguf_tensor *t = rope_tensor(g, family);
    if (!t || family != &fg_family_llama)
        return FG_OK;
    if (t->type != FG_F32 || t->dims != 1 || t->shape[0] != p->rope_dims / 2 || !t->data)
        return fg_fail(err, FG_INVALID, "tensor %.*s must be %u numbers of type F32",
                       (int)t->name.len, t->name.ptr, p->rope_dims / 2);
    for (uint32_t i = 0; i < p->rope_dims / 2; i++) {
        float factor;
        memcpy(&factor, (const char *)t->data + i * sizeof factor, sizeof factor);
        if (!isfinite(factor) || factor <= 0)
            return fg_fail(err, FG_INVALID, "tensor %.*s: factor %u is not a positive number",
                           (int)t->name.len, t->name.ptr, i);
    }
    return FG_OK;
}

int32_t fg_shapes_check(const struct fg_gguf *g, const struct fg_family *family,
                        const struct fg_params *p, struct fg_error *err)
{
    uint64_t found = 0;
    int32_t rc = check_slots(g, family->outer, UINT32_MAX, p, &found, err);
    for (uint32_t il = 0; il < p->layers && rc == FG_OK; il++)
        rc = check_slots(g, family->layer, il, p, &found, err);
    if (rc == FG_OK)
        rc = check_rope(g, family, p, err);
    if (rc == FG_OK && found != fg_gguf_tensor_count(g))
        rc = refuse_unknown(g, family, p, err);
    return rc;
}
