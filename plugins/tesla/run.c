/*
 * tesla/run.c - a step from its list to its results: one upload, one graph (or a walk over the
 * list), the copies back, and a wait with a deadline.
 *
 * A list that comes for the second time is captured as a CUDA graph; its parameters are constant,
 * because everything that changes from step to step (tokens, positions, page tables) is read from
 * the header in the card's memory. What went wrong on the card shows at the wait; such an error
 * poisons the context, so it is FG_DEVICE_LOST and the process has to go.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tesla/tesla.h"
#include "util/clock.h"
#include "util/error.h"

enum {
    SPIN_NS = 4000000,            /* a decode step is shorter: then sleeping costs more than it saves */
    SLEEP_NS = 50000,
    DEADLINE_S = 60, /* no step takes so long: the card hangs */
    PAGES_LEAST = 16,
};

bool fg_tesla_grow(struct fg_dev *dev, float **at, size_t *have, size_t need, const char *what)
{
    if (*have >= need)
        return true;
    if (dev->failed)
        return false;
    /* Steps under way are none: a step ends with its wait. */
    fg_tesla_forget_graphs(dev);
    (void)cudaFree(*at);
    *at = NULL;
    *have = 0;
    need += need / 4;
    if (fg_tesla_alloc(dev, need, (void **)at, what, &dev->why) != FG_OK) {
        dev->failed = true;
        return false;
    }
    *have = need;
    return true;
}

void fg_tesla_forget_graphs(struct fg_dev *dev)
{
    for (int i = 0; i < FG_TESLA_GRAPHS; i++)
        if (dev->graphs[i].exec)
            (void)cudaGraphExecDestroy(dev->graphs[i].exec);
    memset(dev->graphs, 0, sizeof dev->graphs);
}

/* ---- the beginning --------------------------------------------------------------------------- */

static bool grow_header(struct fg_dev *dev, size_t words)
{
    if (dev->header_words >= words)
        return true;
    fg_tesla_forget_graphs(dev);
    (void)cudaFreeHost(dev->header_host);
    (void)cudaFree(dev->header_card);
    dev->header_host = dev->header_card = NULL;
    dev->header_words = 0;
    words += words / 2;
    cudaError_t rc = cudaHostAlloc((void **)&dev->header_host, words * 4, cudaHostAllocDefault);
    if (rc == cudaSuccess)
        rc = cudaMalloc((void **)&dev->header_card, words * 4);
    if (rc != cudaSuccess) {
        fg_tesla_error(rc, "the step's header", &dev->why);
        dev->failed = true;
        return false;
    }
    dev->header_words = words;
    return true;
}

static bool grow_inputs(struct fg_dev *dev)
{
    const size_t rows = (size_t)dev->most_rows + FG_TESLA_FEW, k = dev->most_width;
    struct {
        void **at;
        size_t bytes;
    } all[] = {
        {(void **)&dev->in.f, rows * k * 4},
        {&dev->in.q, rows * k * (dev->family->is_float ? 4 : 1)},
        {(void **)&dev->in.steps, rows * (k / 32) * 16},
        {(void **)&dev->in.half, rows * k * 2},
        {(void **)&dev->in.half_scale, rows * 4},
    };
    if (dev->in_rows == rows && dev->in_width == k)
        return true;
    fg_tesla_forget_graphs(dev);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        (void)cudaFree(*all[i].at);
        *all[i].at = NULL;
        if (fg_tesla_alloc(dev, all[i].bytes, all[i].at, "activations", &dev->why) != FG_OK) {
            dev->failed = true;
            return false;
        }
        /* Rows that pad the last group are multiplied too; their results go nowhere. */
        (void)cudaMemsetAsync(*all[i].at, 0, all[i].bytes, dev->stream);
    }
    dev->in_rows = rows;
    dev->in_width = k;
    return true;
}

void fg_tesla_step_begin(struct fg_dev *dev, const struct fg_rows *rows)
{
    const uint32_t room = dev->most_rows;
    const size_t outputs = (size_t)room * dev->most_outputs * sizeof(float);
    uint32_t sequences = 0, pages = 0;
    if (dev->trace)
        dev->trace->began_ns = fg_clock_ns();
    dev->failed = false;
    dev->why = (struct fg_error){0};
    dev->rows = *rows;
    dev->count = rows->count;
    dev->op_count = dev->copy_count = dev->gathered = dev->rope_count = 0;
    (void)cudaSetDevice(dev->ordinal); /* the engine's thread may be a new one */
    if (!dev->page_tokens || rows->count > room) {
        fg_fail(&dev->why, FG_INTERNAL, "a step of %u rows has no cache", rows->count);
        dev->failed = true;
        return;
    }
    for (uint32_t i = 0; i < rows->count; i++) {
        const uint32_t need = rows->position[i] / dev->page_tokens + 1;
        pages = need > pages ? need : pages;
        sequences = rows->sequence[i] >= sequences ? rows->sequence[i] + 1 : sequences;
    }
    dev->page_stride = PAGES_LEAST;
    while (dev->page_stride < pages)
        dev->page_stride *= 2;
    dev->header_used = 5 * (size_t)room + (size_t)sequences * dev->page_stride;
    if (!grow_header(dev, dev->header_used) || !grow_inputs(dev) ||
        !fg_tesla_grow(dev, &dev->aside, &dev->aside_bytes, outputs, "activations") ||
        !fg_tesla_grow(dev, &dev->work, &dev->work_bytes, 2 * outputs, "work space"))
        return;
    uint32_t *h = dev->header_host;
    memcpy(h, rows->tokens, rows->count * 4);
    memcpy(h + room, rows->position, rows->count * 4);
    memcpy(h + 2 * (size_t)room, rows->sequence, rows->count * 4);
    for (uint32_t i = 0; i < rows->count; i++) { /* the last row of a sequence copies the most */
        const uint32_t s = rows->sequence[i], need = rows->position[i] / dev->page_tokens + 1;
        if (i + 1 < rows->count && rows->sequence[i + 1] == s)
            continue;
        memcpy(h + 5 * (size_t)room + (size_t)s * dev->page_stride, rows->page_table[s], need * 4);
    }
}

/* ---- walking the list ------------------------------------------------------------------------ */

static void run_op(struct fg_dev *dev, const struct fg_tesla_step *step,
                   const struct fg_tesla_op *op)
{
    const struct fg_tesla_family *f = dev->family;
    cudaStream_t s = dev->stream;
    struct fg_tesla_in in = dev->in;
    switch (op->kind) {
    case FG_OP_EMBEDDING:
        f->embed(s, step, op->embed.m, op->embed.scale, op->embed.out);
        break;
    case FG_OP_PREPARE:
        in.k = op->prepare.k;
        f->prepare(s, op->prepare.in, op->prepare.norm, op->prepare.eps, op->prepare.rows,
                   op->prepare.forms, &in);
        break;
    case FG_OP_PRODUCT:
        f->product(s, &op->product);
        break;
    case FG_OP_ROPE:
        f->rope_table(s, step, op->rope.frequency, op->rope.pairs, op->rope.magnitude,
                      op->rope.out);
        break;
    case FG_OP_ATTENTION:
        f->attend(s, step, &op->attend);
        break;
    case FG_OP_NORM:
        f->norm(s, op->norm.in, op->norm.weight, op->norm.eps, op->norm.rows, op->norm.width,
                op->norm.out);
        break;
    case FG_OP_ADD_NORM:
        f->add_norm(s, op->norm.in, op->norm.weight, op->norm.eps, op->norm.rows, op->norm.width,
                    op->norm.out);
        break;
    case FG_OP_GATING:
        f->gate(s, op->gate.mode, op->gate.rows, op->gate.width, op->gate.up, op->gate.gate);
        break;
    case FG_OP_GATHERING:
        f->gather(s, op->gather.from, op->gather.index, op->gather.count, op->gather.width,
                  op->gather.to);
        break;
    case FG_OP_CAPPING:
        f->softcap(s, op->softcap.v, op->softcap.count, op->softcap.cap);
        break;
    default:
        break;
    }
}

static void walk(struct fg_dev *dev, const struct fg_tesla_step *step)
{
    for (uint32_t i = 0; i < dev->op_count; i++) {
        fg_tesla_trace_mark(dev, i);
        run_op(dev, step, &dev->ops[i]);
    }
    fg_tesla_trace_mark(dev, dev->op_count);
}

/* ---- graphs ---------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t hash_list(const struct fg_dev *dev)
{
    _Static_assert(sizeof(struct fg_tesla_op) % 8 == 0, "read in words");
    const size_t words = dev->op_count * sizeof(struct fg_tesla_op) / 8;
    const char *bytes = (const char *)dev->ops;
    uint64_t h = mix(dev->page_stride, dev->rows.count);
    for (size_t i = 0; i < words; i++) {
        uint64_t v;
        memcpy(&v, bytes + i * 8, 8);
        h = mix(h, v);
    }
    return h;
}

static struct fg_tesla_graph *find_graph(struct fg_dev *dev, uint64_t hash)
{
    struct fg_tesla_graph *oldest = &dev->graphs[0];
    for (int i = 0; i < FG_TESLA_GRAPHS; i++) {
        struct fg_tesla_graph *g = &dev->graphs[i];
        if (g->seen && g->hash == hash) {
            g->used = ++dev->graph_clock;
            g->seen++;
            return g;
        }
        if (g->used < oldest->used)
            oldest = g;
    }
    if (oldest->exec)
        (void)cudaGraphExecDestroy(oldest->exec);
    *oldest = (struct fg_tesla_graph){.hash = hash, .used = ++dev->graph_clock, .seen = 1};
    return oldest;
}

static cudaGraphExec_t capture(struct fg_dev *dev, const struct fg_tesla_step *step)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    if (cudaStreamBeginCapture(dev->stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess)
        return NULL;
    walk(dev, step);
    if (cudaStreamEndCapture(dev->stream, &graph) != cudaSuccess || !graph) {
        (void)cudaGetLastError();
        return NULL;
    }
    if (cudaGraphInstantiateWithFlags(&exec, graph, 0) != cudaSuccess) {
        (void)cudaGetLastError();
        exec = NULL;
    }
    (void)cudaGraphDestroy(graph);
    return exec;
}

static cudaError_t launch(struct fg_dev *dev, const struct fg_tesla_step *step)
{
    struct fg_tesla_trace *trace = dev->trace;
    if (dev->rows.count <= FG_TESLA_GRAPH_ROWS && !(trace && trace->times)) {
        struct fg_tesla_graph *g = find_graph(dev, hash_list(dev));
        if (g->seen == 2) {
            g->exec = capture(dev, step);
            if (trace)
                trace->captured += g->exec != NULL, trace->refused += !g->exec;
        }
        if (g->exec) {
            if (trace)
                trace->replayed++;
            return cudaGraphLaunch(g->exec, dev->stream);
        }
    }
    if (trace)
        trace->walked++;
    walk(dev, step);
    return cudaPeekAtLastError();
}

/* ---- the end --------------------------------------------------------------------------------- */

static int32_t wait(struct fg_dev *dev, struct fg_error *err)
{
    const uint64_t began = fg_clock_ns();
    for (;;) {
        const cudaError_t rc = cudaEventQuery(dev->done);
        if (rc == cudaSuccess)
            return FG_OK;
        if (rc != cudaErrorNotReady)
            return fg_tesla_error(rc, "a step", err);
        const uint64_t took = fg_clock_ns() - began;
        if (took > DEADLINE_S * FG_NS_PER_S)
            return fg_fail(err, FG_DEVICE_LOST, "a step of %u rows did not end within %d s",
                           dev->rows.count, DEADLINE_S);
        if (took < SPIN_NS)
            sched_yield();
        else
            nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
    }
}

static cudaError_t queue_copies(struct fg_dev *dev)
{
    size_t at = 0, bytes = 0;
    cudaError_t rc = cudaSuccess;
    for (uint32_t i = 0; i < dev->copy_count; i++)
        bytes += dev->copies[i].bytes;
    if (bytes > dev->back_bytes) {
        (void)cudaFreeHost(dev->back);
        dev->back = NULL;
        dev->back_bytes = 0;
        rc = cudaHostAlloc((void **)&dev->back, bytes + bytes / 4, cudaHostAllocDefault);
        if (rc == cudaSuccess)
            dev->back_bytes = bytes + bytes / 4;
    }
    for (uint32_t i = 0; i < dev->copy_count && rc == cudaSuccess; i++) {
        rc = cudaMemcpyAsync(dev->back + at, dev->copies[i].from, dev->copies[i].bytes,
                             cudaMemcpyDeviceToHost, dev->stream);
        at += dev->copies[i].bytes;
    }
    return rc;
}

int32_t fg_tesla_step_run(struct fg_dev *dev, struct fg_error *err)
{
    if (dev->failed) {
        if (err)
            *err = dev->why;
        return dev->why.status;
    }
    const uint32_t room = dev->most_rows;
    const struct fg_tesla_step step = {
        .token = (const int32_t *)dev->header_card,
        .position = dev->header_card + room,
        .sequence = dev->header_card + 2 * (size_t)room,
        .pages = dev->header_card + 5 * (size_t)room,
        .page_stride = dev->page_stride,
        .rows = dev->rows.count,
    };
    struct fg_tesla_trace *trace = dev->trace;
    const uint64_t began = trace ? fg_clock_ns() : 0;
    cudaError_t rc = cudaMemcpyAsync(dev->header_card, dev->header_host, dev->header_used * 4,
                                     cudaMemcpyHostToDevice, dev->stream);
    if (rc == cudaSuccess)
        rc = launch(dev, &step);
    if (rc == cudaSuccess)
        rc = queue_copies(dev);
    if (rc == cudaSuccess)
        rc = cudaEventRecord(dev->done, dev->stream);
    if (rc != cudaSuccess)
        return fg_tesla_error(rc, "starting a step", err);
    const uint64_t started = trace ? fg_clock_ns() : 0;
    const int32_t waited = wait(dev, err);
    if (trace) {
        trace->steps++;
        trace->write_ns += began - trace->began_ns;
        trace->start_ns += started - began;
        trace->wait_ns += fg_clock_ns() - started;
        fg_tesla_trace_sum(dev);
    }
    size_t at = 0;
    for (uint32_t i = 0; i < dev->copy_count && waited == FG_OK; i++) {
        memcpy(dev->copies[i].to, dev->back + at, dev->copies[i].bytes);
        at += dev->copies[i].bytes;
    }
    return waited;
}
