/*
 * tesla/step.c - the operations of engine/device.h, written into the list of the step, and what a
 * model owns besides weights. Nothing runs here; run.c does.
 */
#include <stdlib.h>
#include <string.h>

#include "tesla/tesla.h"
#include "util/error.h"

/* ---- what a model owns ----------------------------------------------------------------------- */

static uint64_t weight_bytes(const struct fg_weight *w)
{
    return w->bytes;
}

static int32_t buffer_open(struct fg_dev *dev, uint32_t rows, uint32_t width,
                           struct fg_buffer **out, struct fg_error *err)
{
    struct fg_buffer *b = calloc(1, sizeof *b);
    if (!b)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a buffer");
    b->rows = rows;
    b->width = width;
    const int32_t rc = fg_tesla_alloc(dev, (size_t)rows * width * sizeof(float), (void **)&b->data,
                                      "activations", err);
    if (rc != FG_OK) {
        free(b);
        return rc;
    }
    dev->most_rows = rows > dev->most_rows ? rows : dev->most_rows;
    dev->most_outputs = width > dev->most_outputs ? width : dev->most_outputs;
    *out = b;
    return FG_OK;
}

static void buffer_free(struct fg_dev *dev, struct fg_buffer *b)
{
    if (!b)
        return;
    fg_tesla_forget_graphs(dev);
    (void)cudaFree(b->data);
    free(b);
}

static void rope_free(struct fg_dev *dev, struct fg_rope *r)
{
    if (!r)
        return;
    fg_tesla_forget_graphs(dev);
    (void)cudaFree(r->frequency);
    (void)cudaFree(r->table);
    free(r);
}

static int32_t rope_open(struct fg_dev *dev, const struct fg_rope_spec *spec, uint32_t rows,
                         struct fg_rope **out, struct fg_error *err)
{
    struct fg_rope *r = calloc(1, sizeof *r);
    if (!r)
        return fg_fail(err, FG_NO_MEMORY, "no memory for rotary frequencies");
    r->pairs = spec->dims / 2;
    r->halves = spec->halves;
    r->magnitude = spec->magnitude;
    const size_t bytes = r->pairs * sizeof(float);
    int32_t rc = fg_tesla_alloc(dev, bytes, (void **)&r->frequency, "rotary frequencies", err);
    if (rc == FG_OK)
        rc = fg_tesla_alloc(dev, bytes * 2 * rows, (void **)&r->table, "rotary frequencies", err);
    if (rc == FG_OK) {
        const cudaError_t copied =
            cudaMemcpy(r->frequency, spec->frequency, bytes, cudaMemcpyHostToDevice);
        if (copied != cudaSuccess)
            rc = fg_tesla_error(copied, "copying rotary frequencies", err);
    }
    if (rc != FG_OK) {
        rope_free(dev, r);
        return rc;
    }
    *out = r;
    return FG_OK;
}

static size_t kv_bytes(const struct fg_kv_shape *s, uint64_t tokens)
{
    return (size_t)s->layers * s->kv_heads * s->head_dim * 2 * sizeof(uint16_t) * tokens;
}

static uint64_t kv_token_bytes(struct fg_dev *dev, const struct fg_kv_shape *s)
{
    (void)dev;
    return kv_bytes(s, 1);
}

static int32_t kv_open(struct fg_dev *dev, const struct fg_kv_shape *s, struct fg_kv **out,
                       struct fg_error *err)
{
    if (s->head_dim != 64 && s->head_dim != 128 && s->head_dim != 256)
        return fg_fail(err, FG_UNSUPPORTED,
                       "heads of %u values: this device has attention for 64, 128 and 256",
                       s->head_dim);
    struct fg_kv *kv = calloc(1, sizeof *kv);
    if (!kv)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a cache");
    const size_t bytes = kv_bytes(s, (uint64_t)s->pages * s->page_tokens);
    const int32_t rc = fg_tesla_alloc(dev, bytes, (void **)&kv->kv.data, "the KV pages", err);
    if (rc != FG_OK) {
        free(kv);
        return rc;
    }
    dev->page_tokens = s->page_tokens;
    kv->kv.layers = s->layers;
    kv->kv.pages = s->pages;
    kv->kv.page_tokens = s->page_tokens;
    kv->kv.kv_heads = s->kv_heads;
    kv->kv.head_dim = s->head_dim;
    *out = kv;
    return FG_OK;
}

static void kv_free(struct fg_dev *dev, struct fg_kv *kv)
{
    if (!kv)
        return;
    fg_tesla_forget_graphs(dev);
    (void)cudaFree(kv->kv.data);
    free(kv);
}

static void kv_copy(struct fg_dev *dev, struct fg_kv *kv, uint32_t from, uint32_t to,
                    uint32_t tokens)
{
    dev->family->kv_copy(dev->stream, kv->kv, from, to, tokens); /* in order with the steps */
}

/* ---- the list -------------------------------------------------------------------------------- */

static struct fg_tesla_op *add(struct fg_dev *dev, int32_t kind)
{
    static struct fg_tesla_op nowhere; /* written, never read: the step has failed */
    if (dev->op_count == dev->op_room) {
        const uint32_t room = dev->op_room ? dev->op_room * 2 : 256;
        struct fg_tesla_op *more = realloc(dev->ops, room * sizeof *more);
        if (!more) {
            dev->failed = true;
            fg_fail(&dev->why, FG_NO_MEMORY, "no memory for a step");
            return &nowhere;
        }
        dev->ops = more;
        dev->op_room = room;
    }
    struct fg_tesla_op *op = &dev->ops[dev->op_count++];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    return op;
}

static bool is_float(int32_t type)
{
    return type == FG_F32 || type == FG_F16 || type == FG_BF16;
}

/* What the kernel that will multiply with this type reads (family.cu: product). */
static uint32_t form_of(const struct fg_dev *dev, int32_t type)
{
    const struct fg_tesla_family *f = dev->family;
    if (dev->count <= f->few)
        return is_float(type) ? FG_IN_FLOAT : FG_IN_STEPS;
    if (f->has_tensor_cores)
        return FG_IN_HALF;
    return is_float(type) || f->is_float ? FG_IN_FLOAT : FG_IN_STEPS;
}

static void prepare(struct fg_dev *dev, const struct fg_buffer *in, const struct fg_weight *norm,
                    float eps, uint32_t forms)
{
    struct fg_tesla_op *op = add(dev, FG_OP_PREPARE);
    op->prepare.in = in->data;
    op->prepare.norm = norm ? norm->m.lo : NULL;
    op->prepare.eps = eps;
    op->prepare.rows = dev->count;
    op->prepare.forms = forms;
    op->prepare.k = in->width;
}

static struct fg_tesla_product *product(struct fg_dev *dev, uint32_t k, int32_t mode)
{
    struct fg_tesla_product *p = &add(dev, FG_OP_PRODUCT)->product;
    p->in = dev->in;
    p->in.k = k;
    p->rows = dev->count;
    p->mode = mode;
    p->work = dev->work;
    p->work_bytes = dev->work_bytes;
    p->processors = dev->processors;
    return p;
}

static void part(struct fg_tesla_product *p, const struct fg_linear *from, float *out, uint32_t stride)
{
    struct fg_tesla_part *to = &p->part[p->count++];
    to->w = from->weight->m;
    to->bias = from->bias ? from->bias->m.lo : NULL;
    to->out = out;
    to->stride = stride;
}

static void embed(struct fg_dev *dev, const struct fg_weight *w, float scale, struct fg_buffer *out)
{
    struct fg_tesla_op *op = add(dev, FG_OP_EMBEDDING);
    op->embed.m = w->m;
    op->embed.scale = scale;
    op->embed.out = out->data;
}

static void project(struct fg_dev *dev, const struct fg_project *p)
{
    uint32_t forms = 0;
    bool done[FG_LINEARS_MOST] = {false};
    for (uint32_t i = 0; i < p->count; i++)
        forms |= form_of(dev, p->part[i].weight->m.type);
    prepare(dev, p->in, p->norm, p->eps, forms);
    for (uint32_t i = 0; i < p->count; i++) { /* parts of one type share a launch */
        const int32_t type = p->part[i].weight->m.type;
        if (done[i])
            continue;
        struct fg_tesla_product *op = product(dev, p->in->width, FG_MODE_STORE);
        for (uint32_t j = i; j < p->count; j++)
            if (!done[j] && p->part[j].weight->m.type == type) {
                part(op, &p->part[j], p->part[j].out->data, p->part[j].out->width);
                done[j] = true;
            }
    }
}

static void project_gated(struct fg_dev *dev, const struct fg_project_gated *p)
{
    const int32_t mode = p->act == FG_GATE_SILU ? FG_MODE_SILU : FG_MODE_GELU;
    const int32_t gate = p->gate.weight->m.type, up = p->up.weight->m.type;
    prepare(dev, p->in, p->norm, p->eps, form_of(dev, gate) | form_of(dev, up));
    if (gate == up) {
        struct fg_tesla_product *op = product(dev, p->in->width, mode);
        part(op, &p->gate, p->out->data, p->out->width);
        part(op, &p->up, p->out->data, p->out->width);
        return;
    }
    part(product(dev, p->in->width, FG_MODE_STORE), &p->gate, p->out->data, p->out->width);
    part(product(dev, p->in->width, FG_MODE_STORE), &p->up, dev->aside, p->out->width);
    struct fg_tesla_op *op = add(dev, FG_OP_GATING);
    op->gate.mode = mode;
    op->gate.rows = dev->count;
    op->gate.width = p->out->width;
    op->gate.up = dev->aside;
    op->gate.gate = p->out->data;
}

static void project_add(struct fg_dev *dev, const struct fg_project_add *p)
{
    prepare(dev, p->in, NULL, 0, form_of(dev, p->part.weight->m.type));
    if (!p->post_norm) {
        part(product(dev, p->in->width, FG_MODE_ADD), &p->part, p->onto->data, p->onto->width);
        return;
    }
    part(product(dev, p->in->width, FG_MODE_STORE), &p->part, dev->aside, p->onto->width);
    struct fg_tesla_op *op = add(dev, FG_OP_ADD_NORM);
    op->norm.in = dev->aside;
    op->norm.weight = p->post_norm->m.lo;
    op->norm.eps = p->eps;
    op->norm.rows = dev->count;
    op->norm.width = p->onto->width;
    op->norm.out = p->onto->data;
}

/* Once a step, before the first use. */
static void need_rope(struct fg_dev *dev, const struct fg_rope *rope)
{
    for (uint32_t i = 0; i < dev->rope_count; i++)
        if (dev->ropes[i] == rope)
            return;
    if (dev->rope_count < sizeof dev->ropes / sizeof *dev->ropes)
        dev->ropes[dev->rope_count++] = (struct fg_rope *)rope;
    struct fg_tesla_op *op = add(dev, FG_OP_ROPE);
    op->rope.frequency = rope->frequency;
    op->rope.pairs = rope->pairs;
    op->rope.magnitude = rope->magnitude;
    op->rope.out = rope->table;
}

/* How many blocks of threads look at one row's past: enough to fill the card twice, each with at
 * least 64 tokens. The longest past counts as a power of two, so that the number (and with it the
 * graph) rarely changes. */
static uint32_t splits_of(const struct fg_dev *dev, const struct fg_attend *a)
{
    uint32_t longest = 64;
    for (uint32_t i = 0; i < dev->rows.count; i++)
        while (longest <= dev->rows.position[i])
            longest *= 2;
    const uint32_t blocks = dev->rows.count * a->kv->kv.kv_heads;
    uint32_t splits = (2 * dev->processors + blocks - 1) / blocks;
    if (splits > longest / 64)
        splits = longest / 64;
    return splits > 32 ? 32 : splits < 1 ? 1 : splits;
}

static void attend(struct fg_dev *dev, const struct fg_attend *a)
{
    if (a->rope)
        need_rope(dev, a->rope);
    const uint32_t splits = splits_of(dev, a);
    const size_t partial = (size_t)dev->rows.count * a->heads * splits *
                           (a->kv->kv.head_dim + 2) * sizeof(float);
    if (splits > 1 &&
        !fg_tesla_grow(dev, &dev->partial, &dev->partial_bytes, partial, "attention's parts"))
        return;
    struct fg_tesla_attend *to = &add(dev, FG_OP_ATTENTION)->attend;
    to->q = a->q->data;
    to->k = a->k->data;
    to->v = a->v->data;
    to->q_norm = a->q_norm ? a->q_norm->m.lo : NULL;
    to->k_norm = a->k_norm ? a->k_norm->m.lo : NULL;
    to->eps = a->eps;
    if (a->rope) {
        to->rope = a->rope->table;
        to->rope_dims = a->rope->pairs * 2;
        to->rope_halves = a->rope->halves;
    }
    to->kv = a->kv->kv;
    to->layer = a->layer;
    to->heads = a->heads;
    to->scale = a->scale;
    to->softcap = a->softcap;
    to->window = a->window;
    to->splits = splits;
    to->partial = dev->partial;
    to->out = a->out ? a->out->data : NULL;
}

static void norm(struct fg_dev *dev, const struct fg_buffer *in, const struct fg_weight *w,
                 float eps, struct fg_buffer *out)
{
    struct fg_tesla_op *op = add(dev, FG_OP_NORM);
    op->norm.in = in->data;
    op->norm.weight = w ? w->m.lo : NULL;
    op->norm.eps = eps;
    op->norm.rows = dev->count;
    op->norm.width = in->width;
    op->norm.out = out->data;
}

/* In two hops: rows that move into each other's place must not meet half-way. */
static void gather(struct fg_dev *dev, struct fg_buffer *b, const uint32_t *index, uint32_t count)
{
    const uint32_t room = dev->most_rows;
    if (dev->gathered + count > 2 * room) {
        dev->failed = true;
        fg_fail(&dev->why, FG_INTERNAL, "a step gathers too often");
        return;
    }
    uint32_t *host = dev->header_host + 3 * room + dev->gathered;
    const uint32_t *card = dev->header_card + 3 * room + dev->gathered;
    memcpy(host, index, count * sizeof *index);
    dev->gathered += count;
    for (int hop = 0; hop < 2; hop++) {
        struct fg_tesla_op *op = add(dev, FG_OP_GATHERING);
        op->gather.from = hop ? dev->aside : b->data;
        op->gather.to = hop ? b->data : dev->aside;
        op->gather.index = hop ? NULL : card; /* NULL: as they are */
        op->gather.count = count;
        op->gather.width = b->width;
    }
}

static void narrow(struct fg_dev *dev, uint32_t rows)
{
    dev->count = rows;
}

static void copy_out(struct fg_dev *dev, const float *from, float *to, size_t bytes)
{
    if (dev->copy_count == sizeof dev->copies / sizeof *dev->copies) {
        dev->failed = true;
        fg_fail(&dev->why, FG_INTERNAL, "a step reads too often");
        return;
    }
    dev->copies[dev->copy_count++] = (struct fg_tesla_copy){from, to, bytes};
}

static void logits(struct fg_dev *dev, const struct fg_buffer *in, const struct fg_weight *w,
                   float softcap, float *out)
{
    const size_t bytes = (size_t)dev->count * w->m.n * sizeof(float);
    if (!fg_tesla_grow(dev, &dev->logits, &dev->logits_bytes, bytes, "logits"))
        return;
    prepare(dev, in, NULL, 0, form_of(dev, w->m.type));
    part(product(dev, in->width, FG_MODE_STORE), &(struct fg_linear){.weight = w}, dev->logits,
         w->m.n);
    if (softcap > 0) {
        struct fg_tesla_op *op = add(dev, FG_OP_CAPPING);
        op->softcap.v = dev->logits;
        op->softcap.count = (size_t)dev->count * w->m.n;
        op->softcap.cap = softcap;
    }
    copy_out(dev, dev->logits, out, bytes);
}

/* Put aside first: operations behind this one may change the buffer. */
static void read_rows(struct fg_dev *dev, const struct fg_buffer *b, float *out)
{
    const size_t bytes = (size_t)dev->count * b->width * sizeof(float);
    if (!fg_tesla_grow(dev, &dev->stash, &dev->stash_bytes, bytes, "hidden states"))
        return;
    struct fg_tesla_op *op = add(dev, FG_OP_GATHERING);
    op->gather.from = b->data;
    op->gather.to = dev->stash;
    op->gather.count = dev->count;
    op->gather.width = b->width;
    copy_out(dev, dev->stash, out, bytes);
}

const struct fg_device_ops fg_device_ops = {
    .weight_load = fg_tesla_weight_load,
    .weight_free = fg_tesla_weight_free,
    .weight_bytes = weight_bytes,
    .buffer_open = buffer_open,
    .buffer_free = buffer_free,
    .rope_open = rope_open,
    .rope_free = rope_free,
    .kv_open = kv_open,
    .kv_free = kv_free,
    .kv_token_bytes = kv_token_bytes,
    .kv_copy = kv_copy,
    .begin = fg_tesla_step_begin,
    .narrow = narrow,
    .embed = embed,
    .project = project,
    .project_gated = project_gated,
    .project_add = project_add,
    .attend = attend,
    .norm = norm,
    .gather = gather,
    .logits = logits,
    .read = read_rows,
    .sync = fg_tesla_step_run,
};
