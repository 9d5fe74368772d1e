/*
 * A network from file to logits: checks, loads by the family's table, and runs its forward pass.
 * All arithmetic is the device's (engine/device.h).
 */
#include "engine/model/net.h"

#include <stdlib.h>
#include <string.h>

#include "engine/model/inner.h"
#include "engine/model/shapes.h"
#include "util/error.h"
#include "util/str.h"

enum {
    MAX_ROWS = 512,        /* activations of so many rows are kept; a larger batch gains nothing */
    DROP_BYTES = 32 << 20, /* of the file, between two drops of its pages while loading */
};

static const struct fg_family *const families[] = {&fg_family_llama, &fg_family_gemma3};

/* ---- checking -------------------------------------------------------------------------------- */

static int32_t find_family(const struct fg_gguf *g, const struct fg_family **out,
                           struct fg_error *err)
{
    struct fg_str arch;
    const int32_t rc = fg_gguf_str(g, "general.architecture", &arch, err);
    if (rc == FG_NOT_FOUND)
        return fg_fail(err, FG_INVALID, "the file has no general.architecture");
    if (rc != FG_OK)
        return rc;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (fg_str_is(arch, families[i]->name)) {
            *out = families[i];
            return FG_OK;
        }
    return fg_fail(err, FG_UNSUPPORTED, "architecture \"%.*s\" is not supported",
                   arch.len > 64 ? 64 : (int)arch.len, arch.ptr);
}

static struct fg_kv_shape kv_shape(const struct fg_params *p, uint32_t page_tokens, uint32_t pages)
{
    return (struct fg_kv_shape){.layers = p->layers,
                                .kv_heads = p->kv_heads,
                                .head_dim = p->head_dim,
                                .page_tokens = page_tokens,
                                .pages = pages};
}

static uint64_t parameters_of(const struct fg_gguf *g)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < fg_gguf_tensor_count(g); i++) {
        const struct fg_gguf_tensor *t = fg_gguf_tensor_at(g, i);
        sum += t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
    }
    return sum;
}

static struct fg_net_info info_of(const struct fg_gguf *g, const struct fg_params *p)
{
    return (struct fg_net_info){
        .architecture = p->arch,
        .layers = p->layers,
        .width = p->width,
        .heads = p->heads,
        .kv_heads = p->kv_heads,
        .head_dim = p->head_dim,
        .vocab = p->vocab,
        .context_train = p->context,
        .parameters = parameters_of(g),
        .kv_bytes_per_token = (uint64_t)p->layers * p->kv_width * 2 * 2, /* K and V in 16 bits */
    };
}

static int32_t check(const struct fg_gguf *g, const struct fg_family **family, struct fg_params *p,
                     struct fg_error *err)
{
    int32_t rc = find_family(g, family, err);
    if (rc == FG_OK)
        rc = fg_params_read(g, (*family)->name, p, err);
    if (rc == FG_OK && (*family)->adjust)
        rc = (*family)->adjust(p, err);
    return rc == FG_OK ? fg_shapes_check(g, *family, p, err) : rc;
}

int32_t fg_net_check(const struct fg_gguf *g, struct fg_net_info *out, struct fg_error *err)
{
    const struct fg_family *family;
    struct fg_params p;
    const int32_t rc = check(g, &family, &p, err);
    if (rc == FG_OK)
        *out = info_of(g, &p);
    return rc;
}

/* ---- loading --------------------------------------------------------------------------------- */

struct loading {
    const struct fg_gguf *g;
    struct fg_net *net;
    void (*progress)(void *, float);
    void *ctx;
    uint64_t done, total, dropped;
    struct fg_error *err;
};

static struct fg_weight **slot_at(void *base, const struct fg_slot *slot)
{
    return (struct fg_weight **)(void *)((char *)base + slot->offset);
}

static int32_t load_slots(struct loading *l, const struct fg_slot *slots, uint32_t layer,
                          void *base)
{
    for (const struct fg_slot *slot = slots; slot->name; slot++) {
        const struct fg_gguf_tensor *t = fg_shapes_find(l->g, slot, layer);
        if (!t)
            continue;
        struct fg_weight **at = slot_at(base, slot);
        const int32_t rc = fg_device_ops.weight_load(l->net->dev, t, at, l->err);
        if (rc != FG_OK)
            return rc;
        l->net->info.weight_bytes += fg_device_ops.weight_bytes(*at);
        l->done += t->bytes;
        if (l->done - l->dropped > DROP_BYTES) { /* so that file and copy are never both whole */
            fg_gguf_drop_pages(l->g);
            l->dropped = l->done;
        }
        if (l->progress)
            l->progress(l->ctx, l->total ? (float)((double)l->done / (double)l->total) : 1.0f);
    }
    return FG_OK;
}

static int32_t load_weights(struct loading *l)
{
    struct fg_net *n = l->net;
    for (uint64_t i = 0; i < fg_gguf_tensor_count(l->g); i++)
        l->total += fg_gguf_tensor_at(l->g, i)->bytes;
    int32_t rc = load_slots(l, n->family->outer, UINT32_MAX, &n->outer);
    for (uint32_t il = 0; il < n->p.layers && rc == FG_OK; il++)
        rc = load_slots(l, n->family->layer, il, &n->layers[il]);
    return rc;
}

static int32_t open_rope(struct fg_net *n, const float *factors, struct fg_error *err)
{
    float *frequency = malloc(n->p.rope_dims / 2 * sizeof *frequency);
    if (!frequency)
        return fg_fail(err, FG_NO_MEMORY, "no memory for rotary frequencies");
    struct fg_rope_spec spec = {.dims = n->p.rope_dims,
                                .halves = n->family != &fg_family_llama,
                                .frequency = frequency};
    fg_params_rope(&n->p, n->p.rope_base, true, factors, frequency, &spec.magnitude);
    int32_t rc = fg_device_ops.rope_open(n->dev, &spec, MAX_ROWS, &n->rope, err);
    if (rc == FG_OK && n->p.window) {
        fg_params_rope(&n->p, n->p.rope_base_window, false, NULL, frequency, &spec.magnitude);
        rc = fg_device_ops.rope_open(n->dev, &spec, MAX_ROWS, &n->rope_window, err);
    }
    free(frequency);
    return rc;
}

static int32_t open_buffers(struct fg_net *n, struct fg_error *err)
{
    const struct {
        struct fg_buffer **at;
        uint32_t width;
    } all[] = {{&n->x, n->p.width},    {&n->q, n->p.q_width}, {&n->k, n->p.kv_width},
               {&n->v, n->p.kv_width}, {&n->a, n->p.q_width}, {&n->h, n->p.ff}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const int32_t rc =
            fg_device_ops.buffer_open(n->dev, MAX_ROWS, all[i].width, all[i].at, err);
        if (rc != FG_OK)
            return rc;
    }
    return FG_OK;
}

int32_t fg_net_open(const struct fg_gguf *g, struct fg_dev *dev, void (*progress)(void *, float),
                    void *progress_ctx, struct fg_net **out, struct fg_error *err)
{
    struct fg_net *n = calloc(1, sizeof *n);
    if (!n)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a network");
    n->dev = dev;
    struct loading l = {
        .g = g, .net = n, .progress = progress, .ctx = progress_ctx, .err = err};
    int32_t rc = check(g, &n->family, &n->p, err);
    if (rc == FG_OK) {
        n->info = info_of(g, &n->p);
        const struct fg_kv_shape shape = kv_shape(&n->p, 32, 1);
        n->info.kv_bytes_per_token = fg_device_ops.kv_token_bytes(dev, &shape);
        n->layers = calloc(n->p.layers, sizeof *n->layers);
        n->wanted = calloc(MAX_ROWS, sizeof *n->wanted);
        if (!n->layers || !n->wanted)
            rc = fg_fail(err, FG_NO_MEMORY, "no memory for %u layers", n->p.layers);
    }
    if (rc == FG_OK)
        rc = open_rope(n, fg_shapes_rope_factors(g, n->family, &n->p), err);
    if (rc == FG_OK)
        rc = open_buffers(n, err);
    if (rc == FG_OK)
        rc = load_weights(&l);
    if (rc != FG_OK) {
        fg_net_close(n);
        return rc;
    }
    fg_gguf_drop_pages(g);
    *out = n;
    return FG_OK;
}

static void free_slots(struct fg_dev *dev, const struct fg_slot *slots, void *base)
{
    for (; slots->name; slots++)
        fg_device_ops.weight_free(dev, *slot_at(base, slots));
}

void fg_net_close(struct fg_net *n)
{
    const struct fg_device_ops *ops = &fg_device_ops;
    if (!n)
        return;
    if (n->family && n->layers) {
        free_slots(n->dev, n->family->outer, &n->outer);
        for (uint32_t il = 0; il < n->p.layers; il++)
            free_slots(n->dev, n->family->layer, &n->layers[il]);
    }
    struct fg_buffer *buffers[] = {n->x, n->q, n->k, n->v, n->a, n->h};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        ops->buffer_free(n->dev, buffers[i]);
    ops->rope_free(n->dev, n->rope);
    ops->rope_free(n->dev, n->rope_window);
    ops->kv_free(n->dev, n->kv);
    free(n->layers);
    free(n->wanted);
    free(n);
}

const struct fg_net_info *fg_net_info(const struct fg_net *n)
{
    return &n->info;
}

uint32_t fg_net_max_rows(const struct fg_net *n)
{
    (void)n;
    return MAX_ROWS;
}

/* ---- running --------------------------------------------------------------------------------- */

int32_t fg_net_kv_open(struct fg_net *n, uint32_t page_tokens, uint32_t pages, struct fg_error *err)
{
    const struct fg_kv_shape shape = kv_shape(&n->p, page_tokens, pages);
    const int32_t rc = fg_device_ops.kv_open(n->dev, &shape, &n->kv, err);
    if (rc == FG_OK) {
        n->page_tokens = page_tokens;
        n->kv_pages = pages;
    }
    return rc;
}

void fg_net_kv_copy(struct fg_net *n, uint32_t from_page, uint32_t to_page, uint32_t tokens)
{
    if (n->kv && from_page < n->kv_pages && to_page < n->kv_pages && tokens <= n->page_tokens)
        fg_device_ops.kv_copy(n->dev, n->kv, from_page, to_page, tokens);
}

void fg_net_finish(struct fg_net *n, const struct fg_step *s, bool narrowed)
{
    const struct fg_device_ops *ops = &fg_device_ops;
    ops->norm(n->dev, n->x, n->outer.output_norm, n->p.eps, n->x);
    if (s->hidden)
        ops->read(n->dev, n->x, s->hidden);
    if (!s->wanted_count)
        return;
    if (!narrowed) {
        ops->gather(n->dev, n->x, s->wanted, s->wanted_count);
        ops->narrow(n->dev, s->wanted_count);
    }
    ops->logits(n->dev, n->x, n->outer.output ? n->outer.output : n->outer.embed,
                n->p.final_softcap, s->logits);
}

/* What a bug in a caller, or a token of a vocabulary larger than the network, would break. */
static int32_t check_rows(const struct fg_net *n, const struct fg_rows *rows, struct fg_error *err)
{
    if (!n->kv || rows->count == 0 || rows->count > MAX_ROWS)
        return fg_fail(err, FG_INVALID, "a step of %u rows is not possible", rows->count);
    for (uint32_t i = 0; i < rows->count; i++)
        if (rows->tokens[i] < 0 || (uint32_t)rows->tokens[i] >= n->p.vocab)
            return fg_fail(err, FG_INVALID, "token %d is not in the vocabulary of %u",
                           (int)rows->tokens[i], n->p.vocab);
    return FG_OK;
}

int32_t fg_net_forward(struct fg_net *n, const struct fg_rows *rows, const uint8_t *want,
                       float *logits, float *hidden, bool (*stop)(void *), void *stop_ctx,
                       struct fg_error *err)
{
    int32_t rc = check_rows(n, rows, err);
    if (rc != FG_OK)
        return rc;
    struct fg_step step = {.rows = rows,
                           .wanted = n->wanted,
                           .logits = logits,
                           .hidden = hidden,
                           .stop = stop,
                           .stop_ctx = stop_ctx};
    for (uint32_t i = 0; want && logits && i < rows->count; i++)
        if (want[i])
            n->wanted[step.wanted_count++] = i;
    fg_device_ops.begin(n->dev, rows);
    rc = n->family->forward(n, &step);
    const int32_t synced = fg_device_ops.sync(n->dev, err);
    if (rc == FG_CANCELLED && synced == FG_OK)
        return fg_fail(err, FG_CANCELLED, "the step was stopped");
    return rc != FG_OK ? rc : synced;
}
