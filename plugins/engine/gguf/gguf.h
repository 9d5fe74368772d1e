/*
 * engine/gguf/gguf.h - a GGUF v2/v3 file, mapped, with every offset checked.
 *
 * Model files are hostile input: one bounds-checked cursor reads everything, nothing is allocated
 * by an announced count, and the reader of a value states the type it wants. Read-only after open,
 * so any thread may ask.
 */
#ifndef FG_ENGINE_GGUF_H
#define FG_ENGINE_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fluxgate/plugin.h>
#include <jansson.h>

#include "engine/gguf/quant.h"

struct fg_gguf;

enum fg_gguf_type { /* value types of the format, GGUF spec v3 */
    FG_GGUF_U8 = 0, FG_GGUF_I8 = 1, FG_GGUF_U16 = 2, FG_GGUF_I16 = 3, FG_GGUF_U32 = 4,
    FG_GGUF_I32 = 5, FG_GGUF_F32 = 6, FG_GGUF_BOOL = 7, FG_GGUF_STRING = 8, FG_GGUF_ARRAY = 9,
    FG_GGUF_U64 = 10, FG_GGUF_I64 = 11, FG_GGUF_F64 = 12,
};
struct fg_gguf_tensor {
    struct fg_str name;
    int32_t type;         /* enum fg_quant_type */
    uint32_t dims;        /* 1..4 */
    uint64_t shape[4];    /* shape[0] is the contiguous one (a row); unused ones are 1 */
    const void *data;     /* in the map; NULL in a file without tensor data */
    uint64_t bytes;
};
struct fg_gguf_array {
    int32_t type;         /* enum fg_gguf_type of the elements, never ARRAY */
    uint64_t count;
    const void *data;     /* fixed-size elements, unaligned little-endian; strings: see below */
};

int32_t fg_gguf_open(const char *path, struct fg_gguf **, struct fg_error *);
/* The same over bytes in memory (borrowed until close): for fuzzing and tests. */
int32_t fg_gguf_parse(const void *data, size_t bytes, struct fg_gguf **, struct fg_error *);
void fg_gguf_close(struct fg_gguf *); /* NULL is fine */
uint64_t fg_gguf_file_bytes(const struct fg_gguf *);

uint64_t fg_gguf_tensor_count(const struct fg_gguf *);
const struct fg_gguf_tensor *fg_gguf_tensor_at(const struct fg_gguf *, uint64_t index);
const struct fg_gguf_tensor *fg_gguf_tensor_find(const struct fg_gguf *, const char *name);
/* After the weights were copied elsewhere: lets the kernel drop the mapped pages (the metadata
 * stays usable). */
void fg_gguf_drop_pages(const struct fg_gguf *);

bool fg_gguf_has(const struct fg_gguf *, const char *key);
/* Typed getters: FG_NOT_FOUND when absent, FG_INVALID (with key and types) when the value does not
 * convert without loss; *out untouched then. Integers of any width convert when in range. */
int32_t fg_gguf_u32(const struct fg_gguf *, const char *key, uint32_t *out, struct fg_error *);
int32_t fg_gguf_f32(const struct fg_gguf *, const char *key, float *out, struct fg_error *);
int32_t fg_gguf_bool(const struct fg_gguf *, const char *key, bool *out, struct fg_error *);
int32_t fg_gguf_str(const struct fg_gguf *, const char *key, struct fg_str *out, struct fg_error *);
int32_t fg_gguf_array(const struct fg_gguf *, const char *key, struct fg_gguf_array *out,
                      struct fg_error *);
/* Strings of a string array in order: start with *cursor = array.data. The caller stops after
 * array.count strings. */
struct fg_str fg_gguf_next_string(const void **cursor);

/* Metadata as flat keys; arrays longer than 16 become null unless arrays is set. New reference;
 * invalid UTF-8 in strings is replaced by U+FFFD. */
json_t *fg_gguf_metadata(const struct fg_gguf *, bool arrays);

#endif
