/*
 * conf/conf.h - the configuration: YAML through libcyaml into one tree of structs.
 *
 * Every key has a default, so that no file at all is a good configuration. Unknown keys, wrong
 * types and values out of bounds are errors that name file, line and path. Environment variables
 * that users of Ollama know (OLLAMA_HOST, OLLAMA_MODELS, OLLAMA_KEEP_ALIVE, OLLAMA_CONTEXT_LENGTH,
 * OLLAMA_NUM_PARALLEL, OLLAMA_MAX_QUEUE, OLLAMA_ORIGINS, OLLAMA_MAX_LOADED_MODELS,
 * OLLAMA_LOAD_TIMEOUT) and FLUXGATE_PORT, FLUXGATE_HOST, FLUXGATE_MODELS (folders of GGUF files),
 * FLUXGATE_PLUGIN_DIR fill what the file leaves out. Read-only after load.
 */
#ifndef FG_CONF_CONF_H
#define FG_CONF_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

struct fg_conf_listen {
    char *address; /* an IP literal or "localhost"; loopback only until keys exist */
    uint16_t port; /* 0: any free one (tests), printed in the log */
};
struct fg_conf_backend {
    char *name;        /* unique: [a-z0-9-] */
    char *plugin;      /* module name ("cpu") or absolute path of a .so */
    bool isolate;      /* in a child process */
    char **gpus;       /* cards it runs on, as gpu/bind.c reads them; none: not told */
    uint32_t gpu_count;
    char *config_json; /* `options` of the file as one JSON object, "{}" when none */
};
struct fg_conf_limits { /* threats: each has a hard upper bound */
    uint32_t connections, connections_per_address;
    uint32_t head_bytes, request_line_bytes, header_count;
    uint64_t body_bytes;
    uint32_t head_timeout_ms, idle_timeout_ms, body_idle_timeout_ms, write_timeout_ms;
    uint32_t unsent_bytes; /* a client that does not read: above this the job is paused */
};
struct fg_conf_queue {
    uint32_t max_waiting;     /* a model; beyond it 503 (OLLAMA_MAX_QUEUE: 512) */
    uint32_t deadline_ms;     /* in the queue: 60 s */
    uint32_t first_token_ms;  /* from slot to first output: 10 min; 0 none */
    uint32_t request_ms;      /* whole: 1 h; 0 none */
    uint32_t load_timeout_ms; /* 5 min */
};
struct fg_conf_gpu {
    bool enable;
    char *library;        /* of NVML; NULL: the usual names and places */
    uint32_t interval_ms; /* between two readings */
    uint32_t history;     /* readings kept a card */
};
enum fg_policy { /* how a backend is chosen, see flow/route.h */
    FG_POLICY_PREFER = 0,
    FG_POLICY_COOLEST = 1,
    FG_POLICY_FASTEST = 2,
    FG_POLICY_CHEAPEST = 3,
};
struct fg_conf_route { /* for the models whose name it fits; the first that fits counts */
    char *model;     /* may hold '*' and '?' */
    char **backends; /* only these, in this order; none: all of them as listed */
    uint32_t backend_count;
    int32_t policy;  /* -1: that of models */
};
struct fg_conf_alias {
    char *name, *model;
};
struct fg_conf_models {
    char **directories; /* of *.gguf files */
    uint32_t directory_count;
    char **stores; /* Ollama model stores (manifests + blobs), read-only */
    uint32_t store_count;
    char *default_model; /* for requests without a model; NULL: none */
    char **preload;
    uint32_t preload_count;
    int64_t keep_alive_ns; /* after the last request; negative: for ever */
    uint32_t context;      /* default tokens a job; 0: the engine's choice */
    uint32_t parallel;     /* slots a model; 0: the engine's choice */
    uint32_t max_loaded;   /* models at once; 0: 3 */
    int32_t policy;        /* enum fg_policy */
    struct fg_conf_route *routes;
    uint32_t route_count;
    struct fg_conf_alias *aliases;
    uint32_t alias_count;
};
struct fg_conf {
    struct fg_conf_listen *listen;
    uint32_t listen_count;
    uint32_t workers; /* 0: one a core, at most 4 */
    char *log_path;   /* NULL: stderr */
    int32_t log_level;
    bool log_prompts;
    char *plugin_dir; /* where module names are looked up */
    char **origins;   /* extra CORS origins, may hold '*' */
    uint32_t origin_count;
    uint32_t drain_ms; /* SIGTERM: running requests may finish for 30 s */
    struct fg_conf_limits limits;
    struct fg_conf_queue queue;
    struct fg_conf_models models;
    struct fg_conf_gpu gpu;
    struct fg_conf_backend *backends; /* in order of preference; default: cpu, isolated */
    uint32_t backend_count;
};

/* path NULL: defaults and environment only. */
int32_t fg_conf_load(const char *path, struct fg_conf **, struct fg_error *);
void fg_conf_free(struct fg_conf *);
/* "5m", "1h30m", "300ms", "-1m" (Go durations), the error text being Go's. */
int32_t fg_conf_duration(struct fg_str text, int64_t *ns, struct fg_error *);

struct fg_conf_host {
    char name[256]; /* an address without brackets, or a name; "127.0.0.1" when none is given */
    uint16_t port;  /* 11434 when none is given; 80 and 443 behind a scheme */
    bool has_port, https;
    const char *from; /* the variable it comes from, or NULL */
};
/* OLLAMA_HOST's spellings: host, host:port, :port, port, http://host[:port]/..., [::1]:port. */
int32_t fg_conf_host(struct fg_str text, struct fg_conf_host *, struct fg_error *);
/* Where the environment says the server is: FLUXGATE_HOST, else OLLAMA_HOST, else 127.0.0.1; the
 * port of FLUXGATE_PORT is stronger than theirs. For `serve` and for the commands that ask it. */
int32_t fg_conf_env_host(struct fg_conf_host *, struct fg_error *);

#endif
