/*
 * util/json_keys.c - finds a key that stands twice in one object.
 *
 * Keys of all open objects lie on one stack. A small object is compared key by key; a large one
 * goes into an open-addressing table with a keyed hash (SipHash-1-3, seeded by the kernel), so
 * that chosen keys cannot make it slow. Objects end in reverse order, so entries leave the table
 * in reverse order of entering, and then clearing a slot never breaks another entry's probe: no
 * tombstones are needed.
 */
#include "util/json_keys.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "util/clock.h"

enum { LINEAR_KEYS = 12 }; /* up to here comparing beats hashing */

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static uint64_t hash_key(const struct fg_json_keys *k, struct fg_str s)
{
    uint64_t v[4] = {k->seed[0] ^ 0x736f6d6570736575ull, k->seed[1] ^ 0x646f72616e646f6dull,
                     k->seed[0] ^ 0x6c7967656e657261ull, k->seed[1] ^ 0x7465646279746573ull};
    size_t left = s.len;
    const char *p = s.ptr;
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t tail = (uint64_t)s.len << 56;
    for (size_t i = 0; i < left; i++)
        tail |= (uint64_t)(unsigned char)p[i] << (8 * i);
    v[3] ^= tail;
    sip_round(v);
    v[0] ^= tail;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static bool same_key(struct fg_str a, struct fg_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static void seed_table(struct fg_json_keys *k)
{
    if (getrandom(k->seed, sizeof(k->seed), GRND_NONBLOCK) != (ssize_t)sizeof(k->seed)) {
        k->seed[0] = fg_clock_ns(); /* early boot: still not the client's choice */
        k->seed[1] = (uint64_t)(uintptr_t)k;
    }
}

/* Slot of the key from this object, or the free one where it would go. */
static uint32_t find_slot(const struct fg_json_keys *k, uint32_t base, struct fg_str key)
{
    uint32_t slot = (uint32_t)hash_key(k, key) & (k->size - 1);
    while (k->table[slot]) {
        uint32_t index = k->table[slot] - 1;
        if (index >= base && same_key(k->items[index], key))
            break;
        slot = (slot + 1) & (k->size - 1);
    }
    return slot;
}

static void insert_index(struct fg_json_keys *k, uint32_t index)
{
    uint32_t slot = (uint32_t)hash_key(k, k->items[index]) & (k->size - 1);
    while (k->table[slot])
        slot = (slot + 1) & (k->size - 1);
    k->table[slot] = index + 1;
    k->used++;
}

/* Room for `more` entries at a load of at most one half; entries keep their order of entering. */
static bool table_reserve(struct fg_json *r, uint32_t more)
{
    struct fg_json_keys *k = &r->keys;
    if (k->size && (k->used + more) * 2 <= k->size)
        return true;
    uint32_t size = k->size ? k->size : 64;
    while ((k->used + more) * 2 > size)
        size *= 2; /* keys are bounded by FG_JSON_MAX_NODES: no overflow */
    uint32_t *table = calloc(size, sizeof(*table));
    if (!table)
        return false;
    if (!k->size)
        seed_table(k);
    free(k->table);
    k->table = table;
    k->size = size;
    k->used = 0;
    for (uint32_t d = 0; d < r->depth; d++)
        if (r->frames[d].is_hashed)
            for (uint32_t i = 0; i < r->frames[d].key_count; i++)
                insert_index(k, r->frames[d].key_base + i);
    return true;
}

static bool push_key(struct fg_json_keys *k, struct fg_str key)
{
    if (k->count == k->capacity) {
        uint32_t capacity = k->capacity ? k->capacity * 2 : 32;
        struct fg_str *items = realloc(k->items, capacity * sizeof(*items));
        if (!items)
            return false;
        k->items = items;
        k->capacity = capacity;
    }
    k->items[k->count++] = key;
    return true;
}

int32_t fg_json_keys_add(struct fg_json *r, struct fg_json_frame *f, struct fg_str key)
{
    struct fg_json_keys *k = &r->keys;
    if (!f->is_hashed) {
        for (uint32_t i = 0; i < f->key_count; i++)
            if (same_key(k->items[f->key_base + i], key))
                return FG_JSON_KEY_TWICE;
    } else {
        if (k->table[find_slot(k, f->key_base, key)])
            return FG_JSON_KEY_TWICE;
    }
    if (!push_key(k, key))
        return FG_JSON_KEY_MEMORY;
    if (f->is_hashed) {
        if (!table_reserve(r, 1)) {
            k->count--;
            return FG_JSON_KEY_MEMORY;
        }
        insert_index(k, k->count - 1);
        f->key_count++;
        return FG_JSON_KEY_NEW;
    }
    f->key_count++;
    if (f->key_count > LINEAR_KEYS) {
        if (!table_reserve(r, f->key_count))
            return FG_JSON_KEY_MEMORY;
        f->is_hashed = true;
        for (uint32_t i = 0; i < f->key_count; i++)
            insert_index(k, f->key_base + i);
    }
    return FG_JSON_KEY_NEW;
}

void fg_json_keys_drop(struct fg_json *r, struct fg_json_frame *f)
{
    struct fg_json_keys *k = &r->keys;
    for (uint32_t i = f->key_count; f->is_hashed && i-- > 0;) {
        k->table[find_slot(k, f->key_base, k->items[f->key_base + i])] = 0;
        k->used--;
    }
    k->count = f->key_base;
}

void fg_json_keys_done(struct fg_json_keys *k)
{
    free(k->items);
    free(k->table);
    *k = (struct fg_json_keys){0};
}
