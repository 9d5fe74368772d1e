/*
 * engine/model/net.h - a loaded network: hyperparameters, weights on a device, one forward pass.
 *
 * Used by sched/ only. One thread at a time. Architectures: llama, gemma3 (one straight forward
 * function each, chosen by general.architecture). All shapes are checked against the
 * hyperparameters before a weight is touched.
 */
#ifndef FG_ENGINE_NET_H
#define FG_ENGINE_NET_H

#include "engine/device.h"
#include "engine/gguf/gguf.h"

struct fg_net;

struct fg_net_info {
    const char *architecture;   /* borrowed until close */
    uint32_t layers, width, heads, kv_heads, head_dim, vocab, context_train;
    uint64_t parameters;
    uint64_t weight_bytes;      /* held by the device */
    uint64_t kv_bytes_per_token;
};

/* FG_OK or why the file cannot run (unknown architecture, wrong shape, type that does not
 * compute). Reads no weights. */
int32_t fg_net_check(const struct fg_gguf *, struct fg_net_info *, struct fg_error *);
/* Loads (and repacks) the weights; progress may be NULL. The net keeps no pointer into gguf. */
int32_t fg_net_open(const struct fg_gguf *, struct fg_dev *,
                    void (*progress)(void *, float), void *progress_ctx, struct fg_net **,
                    struct fg_error *);
void fg_net_close(struct fg_net *);
const struct fg_net_info *fg_net_info(const struct fg_net *);

/* KV of the net: pages of page_tokens tokens, all layers. Call once before forward. KV memory is
 * touched only as pages are used. */
int32_t fg_net_kv_open(struct fg_net *, uint32_t page_tokens, uint32_t pages, struct fg_error *);
/* Copies the first `tokens` positions of a page to another (prefix sharing inside a page). */
void fg_net_kv_copy(struct fg_net *, uint32_t from_page, uint32_t to_page, uint32_t tokens);

/*
 * One step over rows of any mix of sequences (prefill chunks and decodes); K and V of every row
 * are written before any row attends, and a row attends to positions <= its own.
 * want[i] selects rows whose logits are computed: logits[w * vocab] in the order of the rows;
 * want may be NULL (none). hidden, when not NULL, takes the final-norm hidden state of EVERY row
 * [count * width] (embeddings). At most fg_net_max_rows() rows a call.
 * stop: polled between layers; true ends the step early with FG_CANCELLED (its KV rows are
 * garbage and must be recomputed). May be NULL.
 */
int32_t fg_net_forward(struct fg_net *, const struct fg_rows *, const uint8_t *want, float *logits,
                       float *hidden, bool (*stop)(void *), void *stop_ctx, struct fg_error *);
uint32_t fg_net_max_rows(const struct fg_net *); /* 512 or so */

#endif
