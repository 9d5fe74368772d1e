/*
 * plugin/block.h - structs with pointers as one block of memory that can be moved or sent.
 *
 * A block starts with the struct itself; what its pointers lead to follows, and the pointers hold
 * offsets from the start of the block. Offset 0 is the struct, so it stands for NULL. Two sides:
 *
 *   fg_pack   measures (base NULL) and then writes, with the same calls
 *   fg_view   reads a block that nobody vouches for: every offset and length is checked, nothing
 *             in the block is changed, arrays that hold pointers themselves are copied
 *
 * Both processes come from one build (the greeting checks it), so layouts agree. Any thread.
 */
#ifndef FG_PLUGIN_BLOCK_H
#define FG_PLUGIN_BLOCK_H

#include <fluxgate/plugin.h>

#include <stdbool.h>

#include "util/arena.h"

struct fg_pack {
    char *base; /* NULL: only measured */
    size_t at;
};
struct fg_pack fg_pack_begin(void *base, size_t head_bytes);
/* The offset in the clothes of a pointer; NULL for nothing. */
void *fg_pack_array(struct fg_pack *, const void *from, size_t count, size_t each);
struct fg_str fg_pack_str(struct fg_pack *, struct fg_str);
/* An array of strings, or of structs that consist of strings only (each: bytes of one). */
void *fg_pack_strings(struct fg_pack *, const void *from, size_t count, size_t each);
/* Writes one struct over a place that fg_pack_array() gave, or over the head (NULL). */
void fg_pack_set(struct fg_pack *, void *place, size_t index, const void *from, size_t each);

struct fg_view {
    const char *base; /* 8-byte aligned */
    size_t len;
    size_t spent; /* bytes led to so far: nothing may be used twice, so never more than len */
    struct fg_arena *arena; /* for copies */
    bool bad, no_memory;    /* no_memory comes with bad */
};
/* In place; NULL and *count = 0 for nothing or what is not right. */
const void *fg_view_array(struct fg_view *, const void *offset, uint32_t *count, size_t each);
/* A copy in the arena, to be corrected by the caller. */
void *fg_view_copy(struct fg_view *, const void *offset, uint32_t *count, size_t each);
struct fg_str fg_view_str(struct fg_view *, struct fg_str);
void *fg_view_strings(struct fg_view *, const void *offset, uint32_t *count, size_t each);

#endif
