/*
 * engine/token/heap.h - a binary heap of small keys: what merges next. Smallest key first; equal
 * keys cannot matter, the position is part of the key. For this folder only; one owner.
 */
#ifndef FG_ENGINE_TOKEN_HEAP_H
#define FG_ENGINE_TOKEN_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct fg_heap_item {
    uint64_t key;  /* priority in the upper half, position in the lower */
    uint32_t size; /* bytes the merged symbol would have; tells whether the entry is outdated */
    int32_t id;    /* what it merges to */
};
struct fg_heap { /* zero-initialise */
    struct fg_heap_item *items;
    size_t len, capacity;
};

static inline void fg_heap_done(struct fg_heap *h)
{
    free(h->items);
    *h = (struct fg_heap){0};
}

static inline bool fg_heap_push(struct fg_heap *h, struct fg_heap_item item)
{
    if (h->len == h->capacity) {
        const size_t capacity = h->capacity ? h->capacity * 2 : 256;
        struct fg_heap_item *items = realloc(h->items, capacity * sizeof *items);
        if (!items)
            return false;
        h->items = items;
        h->capacity = capacity;
    }
    size_t at = h->len++;
    while (at > 0 && h->items[(at - 1) / 2].key > item.key) {
        h->items[at] = h->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    h->items[at] = item;
    return true;
}

/* The heap must not be empty. */
static inline struct fg_heap_item fg_heap_pop(struct fg_heap *h)
{
    const struct fg_heap_item top = h->items[0], last = h->items[--h->len];
    size_t at = 0, child;
    while ((child = at * 2 + 1) < h->len) {
        if (child + 1 < h->len && h->items[child + 1].key < h->items[child].key)
            child++;
        if (last.key <= h->items[child].key)
            break;
        h->items[at] = h->items[child];
        at = child;
    }
    if (h->len)
        h->items[at] = last;
    return top;
}

#endif
