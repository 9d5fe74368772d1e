/*
 * engine/gguf/index.h - names to positions: an open-addressing hash table whose hash is keyed, so
 * that a hostile file cannot make it slow. It stores positions only; the names stay where the
 * caller has them.
 *
 * One writer while it is built, any reader after.
 */
#ifndef FG_ENGINE_INDEX_H
#define FG_ENGINE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <fluxgate/plugin.h>

struct fg_index {
    uint64_t *slots; /* upper half of the hash, then position + 1; 0: free */
    uint64_t size;   /* a power of two, or 0 */
    uint64_t used;
    uint64_t seed; /* secret: drawn by fg_index_init() */
};

#define FG_INDEX_NONE UINT32_MAX

void fg_index_init(struct fg_index *);
void fg_index_done(struct fg_index *);
/* A 64-bit secret for keyed hashes. */
uint64_t fg_index_secret(void);

/* items: an array of structs of `stride` bytes that begin with a struct fg_str. */
uint32_t fg_index_find(const struct fg_index *, const void *items, size_t stride, struct fg_str);
/* Adds items[position] unless its name is there: then *position becomes where. false when memory
 * is gone. */
bool fg_index_add(struct fg_index *, const void *items, size_t stride, uint32_t *position);
/* Room for so many names at once, when they are known to be there; false: no memory. */
bool fg_index_reserve(struct fg_index *, uint32_t count);

/* Both halves of a product folded together: mixes well and is fast where there is a multiplier. */
static inline uint64_t fg_hash_mix(uint64_t a, uint64_t b)
{
    const unsigned __int128 p = (unsigned __int128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* Keyed hash of bytes, eight at a time. The key must stay secret to be of use. */
static inline uint64_t fg_hash_bytes(uint64_t seed, const char *p, size_t n)
{
    uint64_t h = fg_hash_mix(seed ^ 0x9e3779b97f4a7c15ull, n ^ 0xd1b54a32d192ed03ull), word;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&word, p, 8);
        h = fg_hash_mix(h ^ word, seed ^ 0xa24baed4963ee407ull);
    }
    if (n >= 4) { /* the two reads overlap: every byte is in one of them */
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + n - 4, 4);
        word = (uint64_t)high << 32 | low;
    } else {
        word = 0;
        for (size_t i = 0; i < n; i++)
            word = word << 8 | (unsigned char)p[i];
    }
    return fg_hash_mix(h ^ word, seed ^ 0x8ebc6af09c88c6e3ull);
}

#endif
