/*
 * api/inner.h - what the files of this folder share: a call (one exchange and its jobs), the
 * faults it may end with, and the shapes in which its answer is written.
 */
#ifndef FG_API_INNER_H
#define FG_API_INNER_H

#include "api/api.h"
#include "api/ask.h"
#include "util/json.h"

/* The version of Ollama's API that is spoken here; clients read it as dotted integers. */
#define FG_OLLAMA_API_VERSION "0.14.3"

enum fg_dialect {
    FG_DIALECT_PLAIN = 0, /* outside any API: as Ollama's router answers */
    FG_DIALECT_OLLAMA = 1,
    FG_DIALECT_OPENAI = 2,
    FG_DIALECT_ANTHROPIC = 3, /* error shape only */
    FG_DIALECT_NATIVE = 4,    /* llama-server's own routes */
};

struct fg_api {
    struct fg_http_handler handler;
    struct fg_hub *hub;
    struct fg_http_server *server;
    char **origins; /* extra ones; may hold '*' */
    uint32_t origin_count;
    char *default_model; /* NULL: none */
    char host_name[256]; /* this machine's */
    bool is_loopback;    /* every listener is: Host is checked */
};

struct fg_fault { /* an error answer before a dialect gives it its shape */
    int status;
    const char *type, *code; /* OpenAI's words; code NULL: null */
    char param[64];          /* the field; "" none */
    char text[252];
    uint32_t retry_after_s;
    bool no_retry;           /* cannot heal: x-should-retry: false */
    uint32_t prompt_tokens, context; /* too long a prompt */
};

struct fg_call;
struct fg_route {
    int32_t method;
    const char *path; /* ends with '*': the rest is the call's `rest` */
    int32_t dialect;
    void (*run)(struct fg_call *);
};

struct fg_shape { /* how one endpoint writes its answer */
    const char *stream_type;
    bool is_sse;
    void (*chunk)(struct fg_call *, const struct fg_event *); /* appends to call->out */
    void (*end)(struct fg_call *);                            /* the last lines of a stream */
    void (*whole)(struct fg_call *);                          /* the body of a plain answer */
    /* Appends log probabilities to parts[0] (or to each of its four), commas between. */
    void (*logprobs)(struct fg_call *, const struct fg_event *, struct fg_buf parts[4],
                     uint32_t *chars);
};

struct fg_choice { /* one answer, folded; a stream uses only the counters */
    struct fg_buf text, thinking, logs[4];
    uint32_t chars; /* code points so far, for text_offset */
    int32_t finish;
    bool is_finished, is_open; /* open: a chunk of it was written */
};
struct fg_vector {
    float *values;
    uint32_t count;
};

struct fg_wait { /* an answer that cannot be called off; outlives the call if need be */
    struct fg_call *call; /* NULL: nobody waits any more */
};

struct fg_call {
    struct fg_api *api;
    struct fg_exchange *exchange;
    const struct fg_http_request *http;
    const struct fg_route *route;
    struct fg_str rest;
    struct fg_arena *arena; /* what was parsed; the job has its own copy */
    struct fg_ask *ask;
    const struct fg_catalog *catalog;
    const struct fg_model_entry *entry; /* of the model asked for, NULL when not known */
    const struct fg_shape *shape;
    struct fg_hub_job *job;
    struct fg_hub_inspect *inspect;
    struct fg_wait *wait;
    struct fg_buf out;
    char id[48];          /* of the answer */
    uint64_t created_s;
    bool is_stream, is_begun;
    bool is_over;         /* the exchange is gone */
    bool is_looked;       /* the hub has looked for models that came lately */
    uint32_t depth;       /* callbacks of ours on the stack: not freed below them */
    uint32_t pick;        /* which prompt of several runs now */
    /* what came back */
    struct fg_choice *choices;
    uint32_t choice_count;
    struct fg_vector *vectors;
    uint32_t vector_count;
    int32_t *tokens; /* ids, when asked for */
    uint32_t token_count, token_room;
    struct fg_usage usage; /* summed over the prompts */
    uint64_t load_ns, queue_ns;
    bool no_memory;
    bool has_prompt_ids; /* the engine told the prompt's ids with STARTED */
};

/* ---- call.c ---- */
struct fg_call *fg_call_open(struct fg_api *, struct fg_exchange *, const struct fg_route *);
void fg_call_over(struct fg_call *);    /* the exchange is gone */
void fg_call_drained(struct fg_call *);
/* Answers. Nothing of the call may be touched behind them but through enter/leave. */
void fg_call_reply(struct fg_call *, int status, const char *type, struct fg_str body);
void fg_call_reply_json(struct fg_call *, struct fg_buf *); /* 200, dialect's type; frees the buffer */
void fg_call_fail(struct fg_call *, const struct fg_fault *);
/* The hub looks for models that came lately, then the route runs again from its start. False: it
 * has done so already. */
bool fg_call_look(struct fg_call *);
/* The entry's file was not looked into yet: its family, sizes and abilities are not known. */
bool fg_call_is_bare(const struct fg_call *);
/* Looks the model up; false: it answered with the dialect's error, or will run again. */
bool fg_call_find(struct fg_call *, struct fg_str model);
/* Starts the job that call->ask describes (only a load when its op is FG_ASK_LOAD). */
void fg_call_start(struct fg_call *);
void fg_call_enter(struct fg_call *);
void fg_call_leave(struct fg_call *); /* may free the call */

/* ---- fold.c ---- */
bool fg_fold_open(struct fg_call *, uint32_t choices, uint32_t vectors);
void fg_fold_close(struct fg_call *);
void fg_fold_event(struct fg_call *, const struct fg_event *);
struct fg_choice *fg_fold_choice(struct fg_call *, const struct fg_event *); /* NULL: not ours */
uint32_t fg_fold_index(const struct fg_call *, const struct fg_event *);
/* Scales to length 1 the first n values (all when 0 or more than there are). */
void fg_fold_normalise(struct fg_vector *, uint32_t n);
void fg_fold_add_tokens(struct fg_call *, const int32_t *, uint32_t count);

/* ---- errors.c ---- */
void fg_fault_set(struct fg_fault *, int status, const char *type, const char *code,
                  const char *param, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
void fg_fault_of_end(const struct fg_call *, const struct fg_job_end *, struct fg_fault *);
void fg_fault_unknown_model(const struct fg_call *, bool invalid, struct fg_fault *);
void fg_fault_cannot(const struct fg_call *, struct fg_fault *);
void fg_fault_write(int32_t dialect, const struct fg_fault *, struct fg_buf *);
const char *fg_json_type(int32_t dialect);
/* For a message: at most 64 bytes, whole characters. */
struct fg_str fg_cut64(struct fg_str);

/* ---- routes.c ---- */
int32_t fg_route_dialect(struct fg_str path);
/* NULL: none; *allow then holds the methods of the path, "" when the path is unknown. */
const struct fg_route *fg_route_find(int32_t method, struct fg_str path, struct fg_str *rest,
                                     struct fg_buf *allow);
void fg_route_unknown(struct fg_api *, struct fg_exchange *, struct fg_str allow);

/* ---- origin.c ---- false: it answered */
bool fg_origin_check(struct fg_api *, struct fg_exchange *);
bool fg_origin_allowed(const struct fg_api *, struct fg_str origin);
bool fg_host_allowed(const struct fg_api *, struct fg_str host);

/* ---- endpoints ---- */
void fg_openai_models(struct fg_call *);
void fg_openai_model(struct fg_call *);
void fg_openai_chat(struct fg_call *);
void fg_openai_complete(struct fg_call *);
void fg_openai_embed(struct fg_call *);
extern const struct fg_shape fg_openai_chat_shape, fg_openai_complete_shape,
    fg_openai_embed_shape;

void fg_ollama_root(struct fg_call *);
void fg_ollama_version(struct fg_call *);
void fg_ollama_status(struct fg_call *);
void fg_ollama_account(struct fg_call *);
void fg_ollama_tags(struct fg_call *);
void fg_ollama_ps(struct fg_call *);
void fg_ollama_show(struct fg_call *);
void fg_ollama_generate(struct fg_call *);
void fg_ollama_chat(struct fg_call *);
void fg_ollama_embed(struct fg_call *);
void fg_ollama_embeddings(struct fg_call *);
extern const struct fg_shape fg_ollama_chat_shape, fg_ollama_generate_shape,
    fg_ollama_embed_shape, fg_ollama_embeddings_shape;
/* Names of what a model can, as an array. */
void fg_ollama_put_capabilities(struct fg_buf *, const struct fg_model_entry *);
void fg_ollama_put_load(struct fg_call *, const char *reason);

void fg_native_tokenize(struct fg_call *);
void fg_native_detokenize(struct fg_call *);
void fg_native_render(struct fg_call *);
void fg_native_health(struct fg_call *);
void fg_native_health_full(struct fg_call *);
void fg_native_ready(struct fg_call *);
void fg_native_metrics(struct fg_call *);

void fg_operator_gpus(struct fg_call *);
void fg_operator_explain(struct fg_call *);

#endif
