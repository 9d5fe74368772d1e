/*
 * engine/device.h - the seam between the engine's model code and a device (cpu, later tesla).
 *
 * A device owns weights, activations and KV, and executes tensor operations in the order in which
 * they are called; a device may queue them, fg_device_ops.sync() waits. All calls on one device
 * come from one thread at a time (the engine thread, or control while loading). The cpu device is
 * the oracle of the others.
 *
 * This header is the contract; extend it together with model/ and cpu/.
 */
#ifndef FG_ENGINE_DEVICE_H
#define FG_ENGINE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

#include "engine/gguf/gguf.h"

struct fg_dev;    /* the device's: one instance (thread pool, stream, ...) */
struct fg_weight; /* the device's: one tensor, in whatever layout its kernels like */
struct fg_kv;     /* the device's: the paged K and V of all layers of one model */

struct fg_kv_shape {
    uint32_t layers, kv_heads, head_dim; /* per layer alike */
    uint32_t page_tokens;                /* tokens a page */
    uint32_t pages;
};

/* One forward step. Row i of every activation is token i of the batch. */
struct fg_rows {
    uint32_t count;
    const int32_t *tokens;    /* [count] */
    const uint32_t *position; /* [count] position in its own sequence */
    const uint32_t *sequence; /* [count] index into page_table */
    const uint32_t *const *page_table; /* [sequence] -> page numbers, page i holds positions
                                          i*page_tokens .. +page_tokens-1 */
};
/* Operations are defined by the model and cpu folders' owner; see the end of this file. */

#endif
