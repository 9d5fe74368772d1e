/*
 * conf/schema.h - every key of the configuration: its place in the raw tree that libcyaml fills,
 * its bounds and its default. Inside conf/ (and for the test that compares the annotated file).
 *
 * In the raw tree everything is a pointer: NULL is a key that the file leaves out.
 */
#ifndef FG_CONF_SCHEMA_H
#define FG_CONF_SCHEMA_H

#include <cyaml/cyaml.h>
#include <stdbool.h>
#include <stdint.h>

/* X(key, least, most, default): all whole numbers; the names are those of struct fg_conf. */
#define FG_CONF_TOP_NUMBERS(X)                                                                     \
    X(workers, 0, 256, 0)                                                                          \
    X(drain_ms, 0, 600000, 30000)
#define FG_CONF_LIMIT_NUMBERS(X)                                                                   \
    X(connections, 1, 65536, 4096)                                                                 \
    X(connections_per_address, 1, 65536, 1024)                                                     \
    X(head_bytes, 1024, 262144, 32768)                                                             \
    X(request_line_bytes, 256, 65536, 8192)                                                        \
    X(header_count, 4, 1000, 100)                                                                  \
    X(body_bytes, 1024, 268435456, 33554432)                                                       \
    X(head_timeout_ms, 50, 120000, 10000)                                                          \
    X(idle_timeout_ms, 50, 3600000, 60000)                                                         \
    X(body_idle_timeout_ms, 50, 600000, 20000)                                                     \
    X(write_timeout_ms, 50, 600000, 20000)                                                         \
    X(unsent_bytes, 4096, 67108864, 1048576)
#define FG_CONF_QUEUE_NUMBERS(X)                                                                   \
    X(max_waiting, 0, 65536, 512)                                                                  \
    X(deadline_ms, 10, 3600000, 60000)                                                             \
    X(first_token_ms, 0, 86400000, 600000)                                                         \
    X(request_ms, 0, 86400000, 3600000)                                                            \
    X(load_timeout_ms, 100, 3600000, 300000)
#define FG_CONF_MODEL_NUMBERS(X)                                                                   \
    X(context, 0, 16777216, 0)                                                                     \
    X(parallel, 0, 256, 0)                                                                         \
    X(max_loaded, 0, 64, 0)
#define FG_CONF_GPU_NUMBERS(X)                                                                     \
    X(interval_ms, 100, 60000, 1000)                                                               \
    X(history, 0, 86400, 600)

#define FG_RAW_NUMBER(key, least, most, value) uint64_t *key;
struct fg_raw_listen {
    char *address;
    uint64_t *port;
};
struct fg_raw_backend {
    char *name, *plugin;
    bool *isolate;
    char **gpus;
    uint32_t gpus_count;
};
struct fg_raw_gpu {
    bool *enable;
    char *library;
    FG_CONF_GPU_NUMBERS(FG_RAW_NUMBER)
};
struct fg_raw_route {
    char *model;
    char **backends;
    uint32_t backends_count;
    int32_t *policy;
};
struct fg_raw_alias {
    char *name, *model;
};
struct fg_raw_limits {
    FG_CONF_LIMIT_NUMBERS(FG_RAW_NUMBER)
};
struct fg_raw_queue {
    FG_CONF_QUEUE_NUMBERS(FG_RAW_NUMBER)
};
struct fg_raw_models {
    char **directories, **stores, **preload;
    uint32_t directories_count, stores_count, preload_count;
    char *default_model, *keep_alive;
    FG_CONF_MODEL_NUMBERS(FG_RAW_NUMBER)
    int32_t *policy;
    struct fg_raw_route *routes;
    uint32_t routes_count;
    struct fg_raw_alias *aliases;
    uint32_t aliases_count;
};
struct fg_raw {
    struct fg_raw_listen *listen;
    uint32_t listen_count;
    FG_CONF_TOP_NUMBERS(FG_RAW_NUMBER)
    char *log_path;
    int32_t *log_level;
    bool *log_prompts;
    char *plugin_dir;
    char **origins;
    uint32_t origins_count;
    struct fg_raw_limits *limits;
    struct fg_raw_queue *queue;
    struct fg_raw_models *models;
    struct fg_raw_gpu *gpu;
    struct fg_raw_backend *backends;
    uint32_t backends_count;
};
#undef FG_RAW_NUMBER

extern const struct cyaml_schema_value fg_conf_schema;

struct fg_conf_bounds {
    const char *path; /* "limits.connections"; in lists "listen[].port" */
    uint64_t least, most;
};
/* NULL: a key without bounds. */
const struct fg_conf_bounds *fg_conf_bounds_of(const char *path);

#endif
