/*
 * flow/hub.h - what the front ends (api/) ask of the gateway's middle: models, jobs, state.
 *
 * flow decides what a name means (catalog), where a job runs (route), when (queue), and drives it
 * (job). Calls are [worker] unless said otherwise; callbacks come on the worker that asked.
 */
#ifndef FG_FLOW_HUB_H
#define FG_FLOW_HUB_H

#include <jansson.h>

#include "conf/conf.h"
#include "loop/worker.h"
#include "plugin/backend.h"
#include "util/arena.h"

struct fg_gpu;
struct fg_hub;
struct fg_hub_job;

/* ---- catalog: the models there are --------------------------------------------------------- */

struct fg_model_entry { /* immutable; belongs to its snapshot */
    struct fg_str name;       /* display name, shortest form, always with a tag: "smol:135m" */
    struct fg_str full_name;  /* "registry.ollama.ai/library/smol:135m" */
    struct fg_str path;       /* of the GGUF; never shown to clients */
    struct fg_str digest;     /* 64 hex digits */
    uint64_t size_bytes, modified_wall_ns;
    /* What the file says (ext/inspect.h); empty and 0 until it was inspected, error says why if
     * it cannot be. */
    struct fg_str family, quantization, error;
    uint64_t parameters;
    uint32_t context, embedding, can; /* FG_CAN_* */
    struct fg_str chat_template;
    const json_t *metadata;   /* short arrays only; NULL until inspected. Read-only: do not
                                 incref from two threads, use json_dumps or iterate */
    /* From an Ollama manifest; empty for a bare GGUF */
    struct fg_str system, license, template_go, params_json, messages_json, modelfile_from;
    /* A model that a backend has by itself (list()); both empty for a file, and path for these. */
    struct fg_str backend;  /* the only one that can serve it */
    struct fg_str own_name; /* what it is called there */
};
struct fg_catalog; /* a snapshot, shared and counted */
const struct fg_catalog *fg_hub_catalog(struct fg_hub *); /* retained for the caller [any] */
void fg_catalog_release(const struct fg_catalog *);         /* [any] */
uint32_t fg_catalog_count(const struct fg_catalog *);       /* newest first */
const struct fg_model_entry *fg_catalog_at(const struct fg_catalog *, uint32_t index);
/* One look at the disk (no oftener than every 100 ms), at what backends tell of and at what files
 * say (2 s at most), so that the next snapshot has what is there now. done() comes on the worker, exactly once, and cannot be
 * called off. */
void fg_hub_look(struct fg_hub *, struct fg_worker *, void (*done)(void *ctx), void *ctx);
/* Names as contract/ollama.md section 9 says (case-insensitive, default tag, host, namespace).
 * NULL: not there; *invalid (may be NULL) tells a name that fits no grammar. */
const struct fg_model_entry *fg_catalog_find(const struct fg_catalog *, struct fg_str name,
                                             bool *invalid);

/* ---- jobs ----------------------------------------------------------------------------------- */

enum fg_job_reason { /* why a job ended without DONE; status has the plugin's view */
    FG_JOB_OK = 0, FG_JOB_MODEL_UNKNOWN = 1, FG_JOB_NAME_INVALID = 2,
    FG_JOB_CANNOT = 3,      /* the model cannot do this op */
    FG_JOB_QUEUE_FULL = 4, FG_JOB_QUEUE_DEADLINE = 5, FG_JOB_LOAD_FAILED = 6,
    FG_JOB_NO_BACKEND = 7,  /* none healthy; retry_after_s is set when one may come back */
    FG_JOB_BACKEND_LOST = 8, FG_JOB_REFUSED = 9, /* status INVALID, TOO_LONG, ... */
    FG_JOB_TIMEOUT = 10, FG_JOB_DRAINING = 11, FG_JOB_NO_MEMORY = 12, FG_JOB_INTERNAL = 13,
};
struct fg_served { /* who serves it; strings live as long as the job */
    struct fg_str model;    /* display name */
    struct fg_str backend, engine, device, quantization, digest, skipped;
    uint32_t context;       /* tokens a job may have */
    uint64_t queue_ns, load_ns;
    uint32_t can;
};
struct fg_job_end {
    int32_t reason;         /* enum fg_job_reason */
    int32_t status;         /* enum fg_status */
    struct fg_str text;     /* for people; no paths, no secrets */
    uint32_t retry_after_s; /* 0: do not say */
    uint32_t prompt_tokens, context; /* TOO_LONG */
    bool has_joules;                 /* the backend is bound to one card that tells its energy */
    double joules;                   /* this job's part of what the card used meanwhile */
};
struct fg_job_sink {
    /* The slot is there and the plugin took the job: headers can be written. Once, before any
     * event; not for a job that fails before. */
    void (*started)(void *ctx, const struct fg_served *);
    /* Every event but the last, in order; DONE comes too (with usage), just before over(). */
    void (*event)(void *ctx, const struct fg_event *);
    /* Exactly once, unless the job was cancelled; the job is gone after it. */
    void (*over)(void *ctx, const struct fg_job_end *);
    /* Still waiting (queue, load, prefill): every 10 s or so; position 0: not in the queue. May be
     * NULL. */
    void (*waiting)(void *ctx, uint32_t position, const char *phase, float fraction);
};
struct fg_job_ask {
    struct fg_str model;          /* as the client said; "" means the default model */
    const struct fg_request *request; /* in the arena; NULL: only load the model */
    struct fg_arena *arena;       /* given: closed by the job, after over() or cancel */
    const struct fg_job_sink *sink;
    void *ctx;                    /* may lie in the arena */
    bool keep_alive_set;
    int64_t keep_alive_ns;        /* negative: for ever; 0: unload when this job ends */
    uint32_t context;             /* num_ctx wanted, 0: default */
};
/* Never fails at once: what goes wrong comes through over(), which may run before this returns
 * (then NULL is returned). */
struct fg_hub_job *fg_job_start(struct fg_hub *, struct fg_worker *, const struct fg_job_ask *);
void fg_job_cancel(struct fg_hub_job *); /* the client left; no callback comes any more */
void fg_job_pause(struct fg_hub_job *);  /* the client is slow: no events until unpause */
void fg_job_unpause(struct fg_hub_job *);

/* ---- loaded models, files, state ------------------------------------------------------------ */

struct fg_loaded { /* borrowed for the visit */
    const struct fg_model_entry *model;
    struct fg_str backend, device;
    uint64_t memory_bytes, device_bytes; /* device_bytes: the part on GPUs */
    uint32_t context, running, waiting, slots;
    int64_t expires_wall_ns;             /* INT64_MAX: never */
};
void fg_hub_loaded(struct fg_hub *, void (*visit)(void *, const struct fg_loaded *), void *ctx);
/* Unloads now (running jobs finish first); found tells whether the model exists. */
void fg_hub_unload(struct fg_hub *, struct fg_worker *, struct fg_str name,
                    void (*done)(void *ctx, bool found), void *ctx);
/* ext/inspect.h of a model: json is borrowed for the call, NULL with err when it failed. Returns a
 * handle for fg_hub_inspect_cancel (the client left; done() does not come then), NULL when done()
 * already ran. */
struct fg_hub_inspect;
struct fg_hub_inspect *fg_hub_inspect(struct fg_hub *, struct fg_worker *, struct fg_str name,
                     uint32_t flags,
                     void (*done)(void *ctx, const json_t *json, const struct fg_error *err),
                     void *ctx);
void fg_hub_inspect_cancel(struct fg_hub_inspect *);
/* {"status":"ok"|"degraded"|"down","reasons":[...],"backends":[...]}; new reference. [any] */
json_t *fg_hub_health(struct fg_hub *);
/* What the backends measure, as Prometheus text. [any] */
bool fg_hub_figures(struct fg_hub *, struct fg_buf *out);
/* Where the model would run and why, also why not elsewhere; new reference. NULL: not there.
 * [any] */
json_t *fg_hub_explain(struct fg_hub *, struct fg_str name, bool *invalid);
/* A real one-token check of the default (or first loadable) model, cached for 30 s; runs it when
 * stale. */
void fg_hub_ready(struct fg_hub *, struct fg_worker *,
                   void (*done)(void *ctx, bool ready, struct fg_str why), void *ctx);

int32_t fg_hub_open(const struct fg_conf *, struct fg_registry *, struct fg_hub **,
                     struct fg_error *);
/* [main] Once, before workers start: from now on the cards' health counts. Borrowed until it is
 * closed, which comes before fg_hub_close(). */
void fg_hub_attach_gpu(struct fg_hub *, struct fg_gpu *);
void fg_hub_detach_gpu(struct fg_hub *); /* [main] the workers are stopped */
struct fg_gpu *fg_hub_gpu(struct fg_hub *); /* NULL: none is attached [any] */
/* [any] A backend changed its state or generation: the composition root passes the registry's event
 * on, and tells of every backend once after fg_hub_open(). */
void fg_hub_backend_changed(struct fg_hub *, struct fg_backend_slot *);
/* [main] New jobs are refused with FG_JOB_DRAINING; running ones go on. */
void fg_hub_drain(struct fg_hub *);
uint32_t fg_hub_running(const struct fg_hub *); /* [any] jobs not yet released */
void fg_hub_cancel_all(struct fg_hub *);        /* [main] end of the drain: jobs fail */
int32_t fg_hub_reload(struct fg_hub *, const struct fg_conf *, struct fg_error *); /* [main] */
void fg_hub_close(struct fg_hub *); /* after the workers stopped: unloads models */

#endif
