/*
 * engine/model/shapes.h - does a file hold the tensors of its family, each with the computed shape?
 * Private to model/.
 */
#ifndef FG_MODEL_SHAPES_H
#define FG_MODEL_SHAPES_H

#include "engine/model/inner.h"

/* All tensors of the file against the family's table. No weight is read. */
int32_t fg_shapes_check(const struct fg_gguf *, const struct fg_family *, const struct fg_params *,
                        struct fg_error *);
/* Tensor of a slot; NULL when the file has none. layer: UINT32_MAX for an outer one. */
const struct fg_gguf_tensor *fg_shapes_find(const struct fg_gguf *, const struct fg_slot *,
                                            uint32_t layer);
/* The factors of rope_freqs.weight, or NULL when there are none. Checked by fg_shapes_check. */
const float *fg_shapes_rope_factors(const struct fg_gguf *, const struct fg_family *,
                                    const struct fg_params *);

#endif
