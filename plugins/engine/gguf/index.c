/*
 * engine/gguf/index.c - the name table of a model file's keys and tensors, and of a vocabulary.
 *
 * Linear probing at most half full. The upper half of the hash lies in the slot, so that a probe
 * touches the items only when they are very probably equal.
 */
#include "engine/gguf/index.h"

#include <stdlib.h>
#include <sys/random.h>

#include "util/clock.h"
#include "util/str.h"

uint64_t fg_index_secret(void)
{
    uint64_t secret;
    if (getrandom(&secret, sizeof secret, GRND_NONBLOCK) != (ssize_t)sizeof secret)
        secret =
            fg_clock_ns() * 0x9e3779b97f4a7c15ull; /* early boot: still not the file's choice */
    return secret;
}

void fg_index_init(struct fg_index *ix)
{
    *ix = (struct fg_index){.seed = fg_index_secret()};
}

void fg_index_done(struct fg_index *ix)
{
    free(ix->slots);
    *ix = (struct fg_index){0};
}

static struct fg_str name_at(const void *items, size_t stride, uint32_t position)
{
    struct fg_str s;
    memcpy(&s, (const char *)items + stride * position, sizeof s);
    return s;
}

/* The slot of a name: where it is, or the free one where it belongs. The table is not full. */
static uint64_t slot_of(const struct fg_index *ix, const void *items, size_t stride, uint64_t hash,
                        struct fg_str name)
{
    uint64_t at = hash & (ix->size - 1);
    for (; ix->slots[at]; at = (at + 1) & (ix->size - 1)) {
        const uint32_t position = (uint32_t)ix->slots[at] - 1;
        if (!((ix->slots[at] ^ hash) >> 32) && fg_str_eq(name_at(items, stride, position), name))
            break;
    }
    return at;
}

uint32_t fg_index_find(const struct fg_index *ix, const void *items, size_t stride,
                       struct fg_str name)
{
    if (!ix->size)
        return FG_INDEX_NONE;
    const uint64_t hash = fg_hash_bytes(ix->seed, name.ptr, name.len);
    const uint64_t at = slot_of(ix, items, stride, hash, name);
    return ix->slots[at] ? (uint32_t)ix->slots[at] - 1 : FG_INDEX_NONE;
}

/* The lower half of a hash is not stored, so every name is hashed again. */
static bool grow(struct fg_index *ix, const void *items, size_t stride, uint64_t size)
{
    struct fg_index grown = *ix;
    grown.size = size;
    grown.slots = calloc(size, sizeof *grown.slots);
    if (!grown.slots)
        return false;
    for (uint64_t i = 0; i < ix->size; i++) {
        if (!ix->slots[i])
            continue;
        const struct fg_str s = name_at(items, stride, (uint32_t)ix->slots[i] - 1);
        uint64_t at = fg_hash_bytes(ix->seed, s.ptr, s.len) & (size - 1);
        while (grown.slots[at])
            at = (at + 1) & (size - 1);
        grown.slots[at] = ix->slots[i];
    }
    free(ix->slots);
    *ix = grown;
    return true;
}

bool fg_index_reserve(struct fg_index *ix, uint32_t count)
{
    uint64_t size = 64;
    while (size < (uint64_t)count * 2)
        size *= 2;
    return ix->size || grow(ix, NULL, 0, size);
}

bool fg_index_add(struct fg_index *ix, const void *items, size_t stride, uint32_t *position)
{
    if (*position >= FG_INDEX_NONE - 1)
        return false;
    if ((ix->used + 1) * 2 > ix->size && !grow(ix, items, stride, ix->size ? ix->size * 2 : 64))
        return false;
    const struct fg_str s = name_at(items, stride, *position);
    const uint64_t hash = fg_hash_bytes(ix->seed, s.ptr, s.len);
    const uint64_t at = slot_of(ix, items, stride, hash, s);
    if (ix->slots[at]) {
        *position = (uint32_t)ix->slots[at] - 1;
        return true;
    }
    ix->slots[at] = (hash >> 32) << 32 | (*position + 1);
    ix->used++;
    return true;
}
