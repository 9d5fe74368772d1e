/* Counts of recent tokens; see history.h. */
#include "engine/sample/history.h"

#include <stdlib.h>
#include <string.h>

void fg_history_init(struct fg_history *h, int32_t limit)
{
    *h = (struct fg_history){.limit = limit};
}

void fg_history_done(struct fg_history *h)
{
    free(h->ring);
    free(h->slots);
    *h = (struct fg_history){.limit = h->limit};
}

static struct fg_history_slot *find(struct fg_history_slot *slots, size_t capacity, int32_t token)
{
    size_t at = ((uint32_t)token * 2654435761u) & (capacity - 1);
    while (slots[at].used && slots[at].token != token)
        at = (at + 1) & (capacity - 1);
    return &slots[at];
}

/* Makes room for one more token; entries that fell to 0 are left behind on the way. */
static bool grow(struct fg_history *h)
{
    size_t live = 0;
    for (size_t i = 0; i < h->capacity; i++)
        live += h->slots[i].used && h->slots[i].count;
    size_t capacity = 64;
    while (capacity < live * 4)
        capacity *= 2;
    struct fg_history_slot *slots = calloc(capacity, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < h->capacity; i++)
        if (h->slots[i].used && h->slots[i].count)
            *find(slots, capacity, h->slots[i].token) = h->slots[i];
    free(h->slots);
    h->slots = slots;
    h->capacity = capacity;
    h->used = live;
    return true;
}

bool fg_history_add(struct fg_history *h, int32_t token)
{
    if (h->limit == 0)
        return true;
    if (h->limit > 0 && !h->ring) {
        h->ring = malloc((size_t)h->limit * sizeof *h->ring);
        if (!h->ring)
            return false;
    }
    if ((h->used + 1) * 2 > h->capacity && !grow(h))
        return false;
    if (h->ring) {
        if (h->filled == (size_t)h->limit)
            find(h->slots, h->capacity, h->ring[h->at])->count--;
        else
            h->filled++;
        h->ring[h->at] = token;
        h->at = (h->at + 1) % (size_t)h->limit;
    }
    struct fg_history_slot *slot = find(h->slots, h->capacity, token);
    if (!slot->used)
        *slot = (struct fg_history_slot){.token = token, .used = true}, h->used++;
    slot->count++;
    return true;
}

bool fg_history_copy(struct fg_history *to, const struct fg_history *from)
{
    *to = *from;
    to->ring = NULL;
    to->slots = NULL;
    if (from->ring) {
        to->ring = malloc((size_t)from->limit * sizeof *to->ring);
        if (to->ring)
            memcpy(to->ring, from->ring, from->filled * sizeof *to->ring);
    }
    if (from->slots) {
        to->slots = malloc(from->capacity * sizeof *to->slots);
        if (to->slots)
            memcpy(to->slots, from->slots, from->capacity * sizeof *to->slots);
    }
    if ((from->ring && !to->ring) || (from->slots && !to->slots)) {
        fg_history_done(to);
        return false;
    }
    return true;
}
