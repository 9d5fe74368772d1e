/*
 * flow/facts.h - what a backend said of a model file (ext/inspect.h), kept by path, size and time.
 *
 * The answer may come from a child that just read a hostile file: it is parsed with limits, and
 * every field is checked before it is believed. Facts are immutable and counted.
 */
#ifndef FG_FLOW_FACTS_H
#define FG_FLOW_FACTS_H

#include <jansson.h>

#include <fluxgate/plugin.h>

#include "util/list.h"
#include "util/str.h"

struct fg_facts {
    struct fg_list node; /* in the cache, keeper's thread */
    uint32_t refs;       /* atomic */
    char *path;
    char *backend, *own_name; /* a model that a backend listed; NULL: of a file */
    uint64_t file_bytes, file_modified_ns;
    json_t *root; /* NULL: it could not be inspected */
    const json_t *metadata;
    struct fg_str family, quantization, chat_template; /* borrowed from root */
    char error[256];                                   /* "": fine */
    uint64_t parameters;
    uint32_t context, embedding, can;
};

/* json: the inspect object, or empty with error telling why there is none. NULL: no memory. */
struct fg_facts *fg_facts_new(struct fg_str path, uint64_t file_bytes, uint64_t modified_ns,
                              struct fg_str json, const char *error);
/* Of a model that the backend has by itself. NULL: no memory. */
struct fg_facts *fg_facts_own(const char *backend, const struct fg_model_info *);
struct fg_facts *fg_facts_retain(struct fg_facts *); /* [any] */
void fg_facts_release(struct fg_facts *);            /* [any] */

#endif
