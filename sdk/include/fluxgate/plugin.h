/*
 * fluxgate/plugin.h - the whole contract between the gateway and a backend.
 *
 * A plugin is one shared object that exports fg_plugin_entry() and nothing else. It gets jobs
 * through submit() and answers each with a stream of events: any number of them, then exactly
 * one last event (FG_EV_DONE or FG_EV_FAILED). Two instances of one plugin may live at once, so
 * a plugin has no mutable globals.
 *
 * Threads  [control] one gateway thread per backend, calls never overlap; may take minutes.
 *          [worker]  event-loop threads; return at once, wait on nothing. Calls about one job
 *                    come from one thread; calls about different jobs overlap.
 *          [any]     every thread, also the plugin's own; never blocks.
 * Growth   A struct that may grow starts with its size; fields are only appended. Read a
 *          field newer than minor 0 behind FG_HAS(). Structs used in arrays are frozen.
 * Strings  UTF-8, pointer and length, no terminator. Borrowed: valid for the call, except
 *          a request, which stays valid and unchanged until release().
 * Memory   is freed by the side that allocated it.
 */
#ifndef FLUXGATE_PLUGIN_H
#define FLUXGATE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FG_ABI_MAJOR 1u /* must be equal: an old field or rule changed */
#define FG_ABI_MINOR 0u /* may differ: something was appended */
#define FG_ABI ((FG_ABI_MAJOR << 16) | FG_ABI_MINOR)
#define FG_HAS(type, ptr, field) \
    ((ptr)->size >= offsetof(type, field) + sizeof((ptr)->field))

#if defined(__GNUC__)
#define FG_EXPORT __attribute__((visibility("default")))
#else
#define FG_EXPORT
#endif

enum fg_status {
    FG_OK = 0,
    FG_INVALID = 1,     /* the request is at fault; the text says how */
    FG_NOT_FOUND = 2,
    FG_UNSUPPORTED = 3, /* this backend or model cannot */
    FG_BUSY = 4,        /* later: all slots taken */
    FG_NO_MEMORY = 5,
    FG_CANCELLED = 6,
    FG_TIMEOUT = 7,
    FG_DEVICE_LOST = 8, /* the device or the child process is gone; another may serve */
    FG_INTERNAL = 9,
    FG_TOO_LONG = 10,   /* the prompt does not fit the context; usage->prompt_tokens is set */
};
struct fg_error { /* the caller's; filled on failure; may be passed as NULL */
    int32_t status;
    char text[252];
};
struct fg_str {
    const char *ptr;
    size_t len;
};

/* ---- what is asked (one shape for every front end) ------------------------------------ */

enum fg_op {
    FG_OP_CHAT = 0,       /* messages -> text */
    FG_OP_COMPLETE = 1,   /* inputs[0] or input_tokens -> text; no template */
    FG_OP_EMBED = 2,      /* each input -> one EMBEDDING event, index = input, not normalised */
    FG_OP_RERANK = 3,     /* inputs: query, documents... -> one EMBEDDING value each */
    FG_OP_TOKENIZE = 4,   /* inputs[0] -> TEXT events whose tokens are the ids (text empty) */
    FG_OP_DETOKENIZE = 5, /* input_tokens -> TEXT */
    FG_OP_RENDER = 6,     /* messages -> TEXT: the rendered chat template */
};
enum fg_role { FG_ROLE_SYSTEM = 0, FG_ROLE_USER = 1, FG_ROLE_ASSISTANT = 2, FG_ROLE_TOOL = 3 };
enum fg_part_kind {
    FG_PART_TEXT = 0,
    FG_PART_THINKING = 1,
    FG_PART_IMAGE = 2,
    FG_PART_TOOL_CALL = 3,
    FG_PART_TOOL_RESULT = 4,
};
struct fg_part { /* frozen */
    int32_t kind;       /* enum fg_part_kind */
    struct fg_str data; /* text, decoded image bytes, call arguments (JSON), result text */
    struct fg_str name; /* tool name, or media type of an image */
    struct fg_str id;   /* joins a tool call to its result */
};
struct fg_message { /* frozen */
    int32_t role;       /* enum fg_role */
    uint32_t part_count;
    const struct fg_part *parts;
};
struct fg_tool { /* frozen */
    struct fg_str name, description, schema_json;
};
struct fg_bias { /* frozen: added to the logit of one token; ids outside the vocabulary: ignored */
    int32_t token;
    float bias;
};

enum { /* fg_sampling.set: what the client gave; anything else is the model's default */
    FG_SET_TEMPERATURE = 1,
    FG_SET_TOP_P = 2,
    FG_SET_TOP_K = 4,
    FG_SET_MIN_P = 8,
    FG_SET_SEED = 16,
    FG_SET_REPEAT_PENALTY = 32,
    FG_SET_FREQUENCY_PENALTY = 64,
    FG_SET_PRESENCE_PENALTY = 128,
    FG_SET_TYPICAL_P = 256,
    FG_SET_REPEAT_LAST_N = 512,
};
struct fg_sampling {
    uint32_t size;
    uint32_t set;
    float temperature; /* [0, inf); 0: greedy */
    float top_p;       /* (0, 1]; 1: off */
    float min_p;       /* [0, 1); 0: off */
    float typical_p;   /* (0, 1]; 1: off */
    float repeat_penalty, frequency_penalty, presence_penalty; /* off: 1, 0, 0 */
    int32_t top_k;         /* <= 0: off */
    int32_t repeat_last_n; /* window of the three penalties in tokens; 0 off, -1 the context */
    uint64_t seed;         /* not set: random */
    const struct fg_bias *bias;
    uint32_t bias_count;
};
enum { /* fg_request.flags */
    FG_REQ_SPECIAL = 1,    /* COMPLETE, TOKENIZE: text such as <|im_end|> is the special token */
    FG_REQ_BOS = 2,        /* COMPLETE, EMBED, TOKENIZE: add what the model wants in front */
    FG_REQ_TRUNCATE = 4,   /* too long: CHAT drops the oldest messages but system and the last,
                              COMPLETE cuts the middle, EMBED the end. Not set: FG_TOO_LONG */
    FG_REQ_SHIFT = 8,      /* context full while generating: slide; not set: end with LENGTH */
    FG_REQ_IGNORE_EOS = 16,
    FG_REQ_TOKENS = 32,    /* events carry token ids (detokenised text comes as well) */
    FG_REQ_NO_CACHE = 64,  /* do not take KV from another request's prefix */
    FG_REQ_PIECES = 128,   /* TOKENIZE: one TEXT event a token, text = its bytes */
    FG_REQ_PROMPT_IDS = 256, /* CHAT, COMPLETE: tokens of STARTED are the prompt's; none when
                                they are too many to be told */
    FG_REQ_WHOLE = 512,    /* the client waits for the whole answer: one piece will do */
};
struct fg_request {
    uint32_t size;
    int32_t op;           /* enum fg_op */
    uint32_t flags;       /* FG_REQ_* */
    struct fg_str id;     /* for logs; the client's or ours */
    const struct fg_message *messages;
    uint32_t message_count; /* CHAT, RENDER. A last message of the assistant is continued */
    const struct fg_tool *tools;
    uint32_t tool_count;
    struct fg_str tool_choice;  /* "", auto, none, required, a name */
    const struct fg_str *inputs; /* COMPLETE: prompt[, suffix]; EMBED; RERANK; TOKENIZE */
    uint32_t input_count;
    const int32_t *input_tokens; /* COMPLETE: in front of inputs[0]; CHAT: of the rendered
                                    messages, an earlier conversation; DETOKENIZE */
    uint32_t input_token_count;
    const struct fg_str *stops;
    uint32_t stop_count;
    const struct fg_sampling *sampling; /* NULL: the model's defaults */
    uint32_t max_tokens;                /* 0: until the context is full */
    uint32_t choices;                   /* answers to make; 0 means 1 */
    uint32_t top_logprobs;              /* alternatives a token, see logprobs */
    uint32_t logprobs;                  /* 1: events carry fg_logprob */
    struct fg_str schema_json;  /* constrain output; "" none, "{}" any JSON */
    struct fg_str thinking;     /* "", off, on, low, medium, high */
    struct fg_str options_json; /* "" or an object: keys only this backend understands */
    const int32_t *resume_tokens;
    uint32_t resume_count;      /* go on after these output tokens, which were delivered;
                                   max_tokens and output_tokens count them as well */
    struct fg_str cache_scope;  /* prefixes are shared within one scope */
};

/* ---- what comes back (a stream; a plain reply is the same stream, folded) ------------- */

enum fg_event_kind {
    FG_EV_STARTED = 0, /* prompt accepted; usage->prompt_tokens and cached_tokens known */
    FG_EV_TEXT = 1,    /* whole UTF-8 characters only */
    FG_EV_THINKING = 2,
    FG_EV_TOOL_BEGIN = 3,
    FG_EV_TOOL_ARGS = 4, /* name+id, then JSON fragments */
    FG_EV_EMBEDDING = 5,
    FG_EV_PROGRESS = 6, /* prefill; values[0] in 0..1 */
    FG_EV_DONE = 7,     /* exactly one of these two, last. With choices > 1 each choice */
    FG_EV_FAILED = 8,   /* first ends with FG_EV_FINISH */
    FG_EV_FINISH = 9,   /* one choice of several is complete: choice, code = enum fg_finish */
};
enum fg_finish { FG_END_STOP = 0, FG_END_LENGTH = 1, FG_END_TOOL = 2, FG_END_CANCELLED = 3 };
struct fg_usage {
    uint32_t size;
    uint32_t prompt_tokens, cached_tokens, output_tokens; /* output: all choices */
    uint64_t queue_ns, load_ns, prompt_ns, output_ns;
};
struct fg_logprob { /* frozen */
    int32_t token;
    float logprob;              /* natural log, of the softmax before sampling */
    struct fg_str bytes;        /* the token's exact bytes; may be part of a character */
    const struct fg_logprob *top; /* best first; top of each is NULL */
    uint32_t top_count;
};
struct fg_event {
    uint32_t size;
    int32_t kind;
    uint32_t choice; /* which answer, from 0 */
    uint32_t index;  /* which tool call or embedding input */
    struct fg_str text, name, id; /* delta, arguments, phase, reason; DONE: the stop string hit */
    const int32_t *tokens;
    uint32_t token_count; /* ids behind this text; continuation */
    const struct fg_logprob *logprobs;
    uint32_t logprob_count;
    const float *values;
    uint32_t value_count; /* EMBEDDING; PROGRESS: one, 0..1 */
    int32_t code;         /* DONE, FINISH: enum fg_finish; FAILED: enum fg_status */
    const struct fg_usage *usage; /* STARTED, DONE, FAILED (FG_TOO_LONG); else may be NULL */
};

/* ---- what the gateway offers ---------------------------------------------------------- */

enum fg_level { FG_LOG_ERROR = 0, FG_LOG_WARN = 1, FG_LOG_INFO = 2, FG_LOG_DEBUG = 3 };
enum fg_flow {
    FG_FLOW_GO = 0,
    FG_FLOW_PAUSE = 1, /* taken, but the client is slow: nothing more until resume() */
    FG_FLOW_STOP = 2,  /* nobody listens: end this job with DONE/CANCELLED */
};
struct fg_stream; /* the gateway's end of one job */
struct fg_host {
    uint32_t size, abi;
    void *ctx;
    /* Copies what it needs before it returns; never blocks. Returns enum fg_flow. */
    int32_t (*emit)(struct fg_stream *, const struct fg_event *);                      /* [any] */
    void (*log)(const struct fg_host *, int32_t level, struct fg_str text);            /* [any] */
    /* A device is in another state, or list() would answer otherwise now. */
    void (*device_changed)(const struct fg_host *, uint32_t device);                   /* [any] */
    const void *(*extension)(const struct fg_host *, const char *id);                  /* [any] */
};

/* ---- what a plugin offers ------------------------------------------------------------- */

enum fg_device_state { FG_DEVICE_READY = 0, FG_DEVICE_DEGRADED = 1, FG_DEVICE_DOWN = 2 };
struct fg_device {
    uint32_t size; /* set by the caller */
    int32_t state;
    char name[64], id[64], reason[128];  /* reason: why not READY */
    uint64_t memory_total, memory_free;  /* bytes */
    float busy, celsius, watts;          /* 0..1; NaN when not known */
    uint64_t faults;                     /* ECC + driver faults since start */
};
enum { /* fg_model_info.can */
    FG_CAN_CHAT = 1,
    FG_CAN_COMPLETE = 2,
    FG_CAN_EMBED = 4,
    FG_CAN_TOOLS = 8,
    FG_CAN_SEE = 16,
    FG_CAN_THINK = 32,
    FG_CAN_LOGPROBS = 64,
    FG_CAN_SCHEMA = 128,
    FG_CAN_RERANK = 256,
    FG_CAN_RESUME = 512,
    FG_CAN_TOKENIZE = 1024, /* TOKENIZE, DETOKENIZE, RENDER */
    FG_CAN_INFILL = 2048,
};
struct fg_model_info {
    uint32_t size, can;
    struct fg_str name, family, quantization, digest; /* borrowed for the visit */
    uint64_t parameters, file_bytes;
    uint64_t memory_bytes; /* measured, of the loaded model with its KV; 0 when not loaded */
    uint32_t context;      /* tokens one job may have in this load; not loaded: of training */
    uint32_t embedding;    /* floats */
    uint32_t max_running;  /* jobs at once */
    struct fg_str device;  /* where it runs, for people: "AVX-512 VNNI, 2 threads" */
};
struct fg_model_spec {
    uint32_t size;
    struct fg_str name, path;
    uint32_t context;      /* tokens a job may use; 0: the plugin's choice */
    uint32_t max_running;  /* 0: the plugin's choice */
    struct fg_str options_json; /* "" or an object; load-time keys of this backend */
    void (*progress)(void *ctx, float fraction); /* while load() runs, 0..1; may be NULL */
    void *progress_ctx;
};
struct fg_backend; /* the plugin's: one configured instance */
struct fg_model;   /* the plugin's: one loaded model */
struct fg_job;     /* the plugin's: from submit() to release() */

typedef void fg_model_visit(void *ctx, const struct fg_model_info *);
typedef void fg_metric_visit(void *ctx, const char *name, const char *labels, double value);

struct fg_plugin { /* static const in the plugin; no function may be NULL */
    uint32_t size, abi;
    const char *name, *version;
    int32_t (*open)(const struct fg_host *, struct fg_str config_json, struct fg_backend **,
                    struct fg_error *);                                            /* [control] */
    void (*close)(struct fg_backend *); /* no model left open                         [control] */
    /* FG_NOT_FOUND past the last device. Answers from a cache, never waits. */
    int32_t (*device)(struct fg_backend *, uint32_t index, struct fg_device *out);     /* [any] */
    /* Models the backend has by itself (a remote server's); none is a good answer. */
    int32_t (*list)(struct fg_backend *, fg_model_visit *, void *ctx, struct fg_error *);
                                                                                   /* [control] */
    int32_t (*load)(struct fg_backend *, const struct fg_model_spec *, struct fg_model **,
                    struct fg_error *);                                            /* [control] */
    void (*info)(struct fg_model *, fg_model_visit *, void *ctx); /* visits once      [control] */
    void (*unload)(struct fg_model *);  /* no job left unreleased                     [control] */
    /* May emit before it returns. On failure no event comes and there is nothing to release. */
    int32_t (*submit)(struct fg_model *, const struct fg_request *, struct fg_stream *,
                      struct fg_job **, struct fg_error *);                         /* [worker] */
    void (*resume)(struct fg_job *);  /* no-op unless paused                           [worker] */
    void (*cancel)(struct fg_job *);  /* idempotent, a request; a last event still comes [worker] */
    void (*release)(struct fg_job *); /* once, after the last event                    [worker] */
    void (*metrics)(struct fg_backend *, fg_metric_visit *, void *ctx);                /* [any] */
    const void *(*extension)(struct fg_backend *, const char *id);                     /* [any] */
};

/* The only exported symbol. NULL: this plugin cannot serve that host. [control] */
FG_EXPORT const struct fg_plugin *fg_plugin_entry(uint32_t host_abi);

#ifdef __cplusplus
}
#endif
#endif
