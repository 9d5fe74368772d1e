/*
 * api/parse.h - from a body to an fg_ask, driven by a table of fields. A table names what it
 * knows; other keys are ignored, null is absent, a wrong type is a fault that names the field.
 */
#ifndef FG_API_PARSE_H
#define FG_API_PARSE_H

#include "api/inner.h"

struct fg_field;
struct fg_parse {
    struct fg_json json;
    struct fg_call *call;
    struct fg_ask *ask;
    struct fg_arena *arena;
    struct fg_fault fault;   /* status 0: none */
    const char *go_name;     /* Ollama's name of the request's type: "ChatRequest" */
    struct fg_options *options; /* the layer that option fields fill */
    bool folds_case;         /* keys match in any case */
};
typedef bool fg_take(struct fg_parse *, const struct fg_json_value *, const struct fg_field *);

enum fg_field_kind { FG_FIELD_CALL = 0, FG_FIELD_FLAG = 1, FG_FIELD_INT = 2, FG_FIELD_STR = 3 };
struct fg_field {
    const char *name;
    int32_t kind;   /* where and what it fills, unless take says how */
    size_t offset;  /* in struct fg_ask */
    fg_take *take;
    int64_t least, most; /* of an INT; both 0: any */
};
#define FG_FLAG(name, member) {name, FG_FIELD_FLAG, offsetof(struct fg_ask, member), NULL, 0, 0}
#define FG_TEXT(name, member) {name, FG_FIELD_STR, offsetof(struct fg_ask, member), NULL, 0, 0}
#define FG_COUNT_FIELD(name, member, least, most) \
    {name, FG_FIELD_INT, offsetof(struct fg_ask, member), NULL, least, most}
#define FG_TAKE(name, function) {name, FG_FIELD_CALL, 0, function, 0, 0}

/* Parses the call's body into a new call->ask; false: it answered with the fault. */
bool fg_parse_body(struct fg_call *, const struct fg_field *, size_t count, const char *go_name);
/* The members of an object that was just opened. seen: bits of the fields met, may be NULL. */
bool fg_parse_object(struct fg_parse *, const struct fg_field *, size_t count);
bool fg_parse_fault(struct fg_parse *, const char *param, const char *format, ...)
    __attribute__((format(printf, 3, 4))); /* 400; returns false */
bool fg_parse_type(struct fg_parse *, const char *param, const struct fg_json_value *,
                   const char *wanted); /* wrong type; returns false */
bool fg_parse_memory(struct fg_parse *);
/* Room for one more item behind count; items move when count is a power of two. */
void *fg_parse_grow(struct fg_parse *, void *items, uint32_t count, size_t size);
/* Token ids of an array that was just opened. */
bool fg_parse_ids(struct fg_parse *, const char *param, struct fg_ids *);

fg_take fg_take_model, fg_take_stop, fg_take_stop_list, fg_take_bias, fg_take_sampling,
    fg_take_options, fg_take_keep_alive, fg_take_seed, fg_take_num_ctx;
/* The model's own options (JSON object), as a layer; what is wrong in it is left out. */
void fg_parse_layer(struct fg_call *, struct fg_str json, struct fg_options *);

#endif
