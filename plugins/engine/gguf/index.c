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

uint32_t fg_index_find(const struct fg_index *ix, const void *items, size_t stride,
                       struct fg_str name)
{
    if (!ix->size)
        return FG_INDEX_NONE;
    const uint64_t hash = fg_hash_bytes(ix->seed, name.ptr, name.len);
    for (uint64_t at = hash & (ix->size - 1); ix->slots[at]; at = (at + 1) & (ix->size - 1)) {
        if ((ix->slots[at] ^ hash) >> 32)
            continue;
        const uint32_t position = (uint32_t)ix->slots[at] - 1;
        if (fg_str_eq(name_at(items, stride, position), name))
            return position;
    }
    return FG_INDEX_NONE;
}

static void put(uint64_t *slots, uint64_t size, uint64_t hash, uint32_t position)
{
    uint64_t at = hash & (size - 1);
    while (slots[at])
        at = (at + 1) & (size - 1);
    slots[at] = (hash >> 32) << 32 | (position + 1);
}

/* The lower half of a hash is not stored, so every name is hashed again. */
static bool grow(struct fg_index *ix, const void *items, size_t stride)
{
    const uint64_t size = ix->size ? ix->size * 2 : 64;
    uint64_t *slots = calloc(size, sizeof *slots);
    if (!slots)
        return false;
    for (uint64_t i = 0; i < ix->size; i++) {
        if (!ix->slots[i])
            continue;
        const uint32_t position = (uint32_t)ix->slots[i] - 1;
        const struct fg_str s = name_at(items, stride, position);
        put(slots, size, fg_hash_bytes(ix->seed, s.ptr, s.len), position);
    }
    free(ix->slots);
    ix->slots = slots;
    ix->size = size;
    return true;
}

bool fg_index_add(struct fg_index *ix, const void *items, size_t stride, uint32_t position)
{
    if (position >= UINT32_MAX - 1)
        return false;
    if ((ix->used + 1) * 2 > ix->size && !grow(ix, items, stride))
        return false;
    const struct fg_str s = name_at(items, stride, position);
    put(ix->slots, ix->size, fg_hash_bytes(ix->seed, s.ptr, s.len), position);
    ix->used++;
    return true;
}
