/*
 * Writes GGUF files into memory, good and bad ones: for the tests of gguf/ and token/, and for the
 * seeds of the fuzz targets. What is written is written as told; nothing is checked.
 */
#ifndef FG_TESTS_GGUF_BUILD_H
#define FG_TESTS_GGUF_BUILD_H

#include <stdint.h>

#include "engine/gguf/gguf.h"
#include "util/str.h"

struct build {
    struct fg_buf bytes;
    uint64_t tensors, pairs;
    uint32_t alignment; /* of the data section; 0: 32 */
};

void build_init(struct build *); /* the header, version 3 */
void build_done(struct build *);
void build_raw(struct build *, const void *, size_t);
void build_u32_raw(struct build *, uint32_t);
void build_u64_raw(struct build *, uint64_t);
void build_str_raw(struct build *, struct fg_str);             /* length and bytes */
void build_key(struct build *, const char *key, int32_t type); /* a value must follow */

void build_u32(struct build *, const char *key, uint32_t);
void build_f32(struct build *, const char *key, float);
void build_bool(struct build *, const char *key, uint8_t);
void build_str(struct build *, const char *key, const char *);
void build_array(struct build *, const char *key, int32_t of, uint64_t count); /* elements follow */
void build_strings(struct build *, const char *key, const char *const *, uint64_t count);
void build_i32s(struct build *, const char *key, const int32_t *, uint64_t count);
void build_f32s(struct build *, const char *key, const float *, uint64_t count);
void build_tensor(struct build *, const char *name, int32_t type, uint32_t dims,
                  const uint64_t *shape, uint64_t offset);
/* Writes the counts into the header, pads, and adds data_bytes of a pattern. */
struct fg_str build_finish(struct build *, size_t data_bytes);
/* Only the counts: nothing behind the tables. */
struct fg_str build_counts(struct build *, uint64_t tensors, uint64_t pairs);

#endif
