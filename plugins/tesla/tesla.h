/*
 * tesla/tesla.h - what the host files of this folder share: the device, what a model owns on it,
 * and the list of operations of one step.
 *
 * The operations of engine/device.h are not launched when they are called: they are written into a
 * list. sync() looks whether a CUDA graph of exactly this list exists and launches that, or walks
 * the list. So a decode step costs one launch, and the model code knows nothing of graphs.
 */
#ifndef FG_TESLA_TESLA_H
#define FG_TESLA_TESLA_H

#include <jansson.h>

#include "engine/device.h"
#include "tesla/table.h"

enum {
    FG_TESLA_GRAPHS = 32,        /* kept at once; the one not used for longest goes */
    FG_TESLA_GRAPH_ROWS = 64,    /* larger steps are not worth a graph */
    FG_TESLA_SEQUENCES = 64,
    FG_TESLA_STAGE = 16 << 20,   /* bytes of one half of the loader's ring */
};

struct fg_weight {
    struct fg_tesla_matrix m; /* vectors: n 1, type F32 */
    void *memory;
    size_t bytes;
    bool is_vector;
};
struct fg_buffer {
    float *data;
    uint32_t rows, width;
};
struct fg_rope {
    uint32_t pairs;
    bool halves;
    float magnitude;
    float *frequency, *table; /* [pairs]; float2[rows][pairs] */
    bool used;                /* by the step being written */
};
struct fg_kv {
    struct fg_tesla_kv kv;
};

enum fg_tesla_op_kind {
    FG_OP_EMBEDDING = 0, FG_OP_PREPARE, FG_OP_PRODUCT, FG_OP_ROPE, FG_OP_ATTENTION, FG_OP_NORM,
    FG_OP_ADD_NORM, FG_OP_GATING, FG_OP_GATHERING, FG_OP_CAPPING,
};
struct fg_tesla_op { /* cleared before it is filled: lists are compared by their bytes */
    int32_t kind;
    union {
        struct { struct fg_tesla_matrix m; float scale; float *out; } embed;
        struct { const float *in, *norm; float eps; uint32_t rows, forms, k; } prepare;
        struct fg_tesla_product product;
        struct { const float *frequency; uint32_t pairs; float magnitude; float *out; } rope;
        struct fg_tesla_attend attend;
        struct { const float *in, *weight; float eps; uint32_t rows, width; float *out; } norm;
        struct { int32_t mode; uint32_t rows, width; const float *up; float *gate; } gate;
        struct { const float *from; const uint32_t *index; uint32_t count, width; float *to; } gather;
        struct { float *v; size_t count; float cap; } softcap;
    };
};
struct fg_tesla_copy { /* to the host, after the step */
    const float *from;
    float *to;
    size_t bytes;
};
struct fg_tesla_graph {
    uint64_t hash, used;
    uint32_t seen; /* a list becomes a graph when it comes a second time */
    cudaGraphExec_t exec;
};

struct fg_dev {
    const struct fg_tesla_family *family;
    int ordinal;
    char text[160];
    struct fg_device described; /* filled at open; the free memory is refreshed, see lock */
    uint64_t memory_free;       /* atomic */
    uint32_t processors;
    cudaStream_t stream;
    cudaEvent_t done;

    /* loading */
    void *stage_host[2], *stage_card[2];
    cudaEvent_t staged[2];

    /* the step being written */
    struct fg_rows rows;
    uint32_t count; /* rows that operations work on now */
    struct fg_tesla_op *ops;
    uint32_t op_count, op_room;
    struct fg_tesla_copy copies[4];
    uint32_t copy_count;
    uint32_t gathered; /* of the index area in the header */
    struct fg_rope *ropes[4];
    uint32_t rope_count;
    bool failed;
    struct fg_error why;

    /* room that operations share, grown between steps */
    struct fg_tesla_in in;
    size_t in_rows, in_width;
    float *work, *partial, *aside, *logits, *stash;
    size_t work_bytes, partial_bytes, aside_bytes, logits_bytes, stash_bytes;
    char *back; /* pinned: what goes to the host */
    size_t back_bytes;
    uint32_t most_rows, most_width, most_outputs; /* of buffers, of inputs, of products */

    /* the step's rows, one upload: tokens, positions, sequences, gather index, page tables */
    uint32_t *header_host, *header_card;
    size_t header_words, header_used;
    uint32_t page_stride, page_tokens;

    struct fg_tesla_graph graphs[FG_TESLA_GRAPHS];
    uint64_t graph_clock;
    struct fg_tesla_trace *trace; /* NULL: off */
};

int32_t fg_tesla_open(json_t *config, struct fg_dev **, struct fg_error *);
void fg_tesla_close(struct fg_dev *);
void fg_tesla_describe(struct fg_dev *, struct fg_device *out);
const char *fg_tesla_text(struct fg_dev *);

/* The status for a CUDA error, with its name in err. Out of memory is FG_NO_MEMORY, all that
 * poisons a context FG_DEVICE_LOST. */
int32_t fg_tesla_error(cudaError_t, const char *what, struct fg_error *);
int32_t fg_tesla_alloc(struct fg_dev *, size_t bytes, void **out, const char *what,
                       struct fg_error *);
void fg_tesla_forget_graphs(struct fg_dev *);

/* trace.c: where the time of steps goes, printed when the device closes. FLUXGATE_TESLA_TRACE=1
 * counts steps and graphs, =2 runs without graphs and times every operation. */
struct fg_tesla_trace {
    bool times;
    uint64_t steps, walked, captured, replayed, refused;
    uint64_t write_ns, start_ns, wait_ns, began_ns;
    struct {
        uint64_t count;
        double ms;
    } kind[16];
    cudaEvent_t *events;
    uint32_t event_count;
};
void fg_tesla_trace_open(struct fg_dev *);
void fg_tesla_trace_close(struct fg_dev *);
void fg_tesla_trace_mark(struct fg_dev *, uint32_t index);
void fg_tesla_trace_sum(struct fg_dev *); /* after the step's wait */

/* weight.c */
int32_t fg_tesla_weight_load(struct fg_dev *, const struct fg_gguf_tensor *, struct fg_weight **,
                             struct fg_error *);
void fg_tesla_weight_free(struct fg_dev *, struct fg_weight *);
/* Bytes of each plane; false: this engine has no layout for the type. */
bool fg_tesla_planes(const struct fg_tesla_family *, int32_t type, uint32_t n, uint32_t k,
                     struct fg_tesla_sizes *out);

/* step.c: writing; run.c: doing */
extern const struct fg_device_ops fg_device_ops;
void fg_tesla_step_begin(struct fg_dev *, const struct fg_rows *);
int32_t fg_tesla_step_run(struct fg_dev *, struct fg_error *);
bool fg_tesla_grow(struct fg_dev *, float **at, size_t *have, size_t need, const char *what);

#endif
