/* The tables of schema.h. */
#include "conf/schema.h"

#include "conf/conf.h"

#include <fluxgate/plugin.h>
#include <string.h>

/* A key may be left out, and null is the same as left out. */
#define MAY (CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER_NULL_STR)

static const struct cyaml_schema_value line_text = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 1024)};

static const struct cyaml_schema_field listen_fields[] = {
    CYAML_FIELD_STRING_PTR("address", MAY, struct fg_raw_listen, address, 1, 64),
    CYAML_FIELD_UINT_PTR("port", MAY, struct fg_raw_listen, port),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_value listen_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct fg_raw_listen, listen_fields)};

static const struct cyaml_schema_field backend_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct fg_raw_backend, name, 1, 32),
    CYAML_FIELD_STRING_PTR("plugin", MAY, struct fg_raw_backend, plugin, 1, 1024),
    CYAML_FIELD_BOOL_PTR("isolate", MAY, struct fg_raw_backend, isolate),
    CYAML_FIELD_SEQUENCE("gpus", MAY, struct fg_raw_backend, gpus, &line_text, 0, 16),
    CYAML_FIELD_IGNORE("options", CYAML_FLAG_OPTIONAL), /* any map: taken from the tree as JSON */
    CYAML_FIELD_END,
};
static const struct cyaml_schema_value backend_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct fg_raw_backend, backend_fields)};

static const struct cyaml_strval policies[] = {
    {"prefer", FG_POLICY_PREFER},
    {"coolest", FG_POLICY_COOLEST},
    {"fastest", FG_POLICY_FASTEST},
    {"cheapest", FG_POLICY_CHEAPEST},
};
#define POLICY(type)                                                                               \
    CYAML_FIELD_ENUM_PTR("policy", MAY | CYAML_FLAG_STRICT, type, policy, policies,                \
                         sizeof policies / sizeof *policies)

static const struct cyaml_schema_field route_fields[] = {
    CYAML_FIELD_STRING_PTR("model", CYAML_FLAG_POINTER, struct fg_raw_route, model, 1, 256),
    CYAML_FIELD_SEQUENCE("backends", MAY, struct fg_raw_route, backends, &line_text, 0, 16),
    POLICY(struct fg_raw_route),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_value route_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct fg_raw_route, route_fields)};

static const struct cyaml_schema_field alias_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct fg_raw_alias, name, 1, 256),
    CYAML_FIELD_STRING_PTR("model", CYAML_FLAG_POINTER, struct fg_raw_alias, model, 1, 256),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_value alias_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct fg_raw_alias, alias_fields)};

/* clang-format off */
#define NUMBER(key, least, most, value) CYAML_FIELD_UINT_PTR(#key, MAY, struct RAW, key),
static const struct cyaml_schema_field limit_fields[] = {
#define RAW fg_raw_limits
    FG_CONF_LIMIT_NUMBERS(NUMBER)
#undef RAW
    CYAML_FIELD_END,
};
static const struct cyaml_schema_field queue_fields[] = {
#define RAW fg_raw_queue
    FG_CONF_QUEUE_NUMBERS(NUMBER)
#undef RAW
    CYAML_FIELD_END,
};
static const struct cyaml_schema_field model_fields[] = {
#define RAW fg_raw_models
    CYAML_FIELD_SEQUENCE("directories", MAY, struct RAW, directories, &line_text, 0, 64),
    CYAML_FIELD_SEQUENCE("stores", MAY, struct RAW, stores, &line_text, 0, 64),
    CYAML_FIELD_STRING_PTR("default_model", MAY, struct RAW, default_model, 1, 256),
    CYAML_FIELD_SEQUENCE("preload", MAY, struct RAW, preload, &line_text, 0, 64),
    CYAML_FIELD_STRING_PTR("keep_alive", MAY, struct RAW, keep_alive, 1, 64),
    FG_CONF_MODEL_NUMBERS(NUMBER)
    POLICY(struct RAW),
    CYAML_FIELD_SEQUENCE("routes", MAY, struct RAW, routes, &route_entry, 0, 256),
    CYAML_FIELD_SEQUENCE("aliases", MAY, struct RAW, aliases, &alias_entry, 0, 256),
#undef RAW
    CYAML_FIELD_END,
};
static const struct cyaml_schema_field gpu_fields[] = {
#define RAW fg_raw_gpu
    CYAML_FIELD_BOOL_PTR("enable", MAY, struct RAW, enable),
    CYAML_FIELD_STRING_PTR("library", MAY, struct RAW, library, 1, 1024),
    FG_CONF_GPU_NUMBERS(NUMBER)
#undef RAW
    CYAML_FIELD_END,
};
static const struct cyaml_strval levels[] = {
    {"error", FG_LOG_ERROR},
    {"warn", FG_LOG_WARN},
    {"info", FG_LOG_INFO},
    {"debug", FG_LOG_DEBUG},
};
static const struct cyaml_schema_field top_fields[] = {
#define RAW fg_raw
    CYAML_FIELD_SEQUENCE("listen", MAY, struct RAW, listen, &listen_entry, 1, 16),
    FG_CONF_TOP_NUMBERS(NUMBER)
    CYAML_FIELD_STRING_PTR("log_path", MAY, struct RAW, log_path, 1, 1024),
    CYAML_FIELD_ENUM_PTR("log_level", MAY | CYAML_FLAG_STRICT, struct RAW, log_level, levels,
                         sizeof levels / sizeof *levels),
    CYAML_FIELD_BOOL_PTR("log_prompts", MAY, struct RAW, log_prompts),
    CYAML_FIELD_STRING_PTR("plugin_dir", MAY, struct RAW, plugin_dir, 1, 1024),
    CYAML_FIELD_SEQUENCE("origins", MAY, struct RAW, origins, &line_text, 0, 256),
    CYAML_FIELD_MAPPING_PTR("limits", MAY, struct RAW, limits, limit_fields),
    CYAML_FIELD_MAPPING_PTR("queue", MAY, struct RAW, queue, queue_fields),
    CYAML_FIELD_MAPPING_PTR("models", MAY, struct RAW, models, model_fields),
    CYAML_FIELD_MAPPING_PTR("gpu", MAY, struct RAW, gpu, gpu_fields),
    CYAML_FIELD_SEQUENCE("backends", MAY, struct RAW, backends, &backend_entry, 1, 16),
#undef RAW
    CYAML_FIELD_END,
};
/* clang-format on */
const struct cyaml_schema_value fg_conf_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct fg_raw, top_fields)};

#define TOP(key, least, most, value)   {#key, least, most},
#define LIMIT(key, least, most, value) {"limits." #key, least, most},
#define QUEUE(key, least, most, value) {"queue." #key, least, most},
#define MODEL(key, least, most, value) {"models." #key, least, most},
#define GPU(key, least, most, value)   {"gpu." #key, least, most},
/* clang-format off */
static const struct fg_conf_bounds bounds[] = {
    {"listen[].port", 0, 65535},
    FG_CONF_TOP_NUMBERS(TOP)
    FG_CONF_LIMIT_NUMBERS(LIMIT)
    FG_CONF_QUEUE_NUMBERS(QUEUE)
    FG_CONF_MODEL_NUMBERS(MODEL)
    FG_CONF_GPU_NUMBERS(GPU)
};
/* clang-format on */

const struct fg_conf_bounds *fg_conf_bounds_of(const char *path)
{
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
        if (strcmp(bounds[i].path, path) == 0)
            return &bounds[i];
    return NULL;
}
