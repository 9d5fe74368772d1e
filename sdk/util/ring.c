/* See ring.h. Each record: a 16-byte header with its length, then its bytes, padded to 16. */
#include "util/ring.h"

#include <stdlib.h>
#include <string.h>

#define HEADER 16u
#define NOWHERE SIZE_MAX

static size_t padded(size_t len)
{
    return HEADER + (len + 15) / 16 * 16;
}

void fg_ring_init(struct fg_ring *r, size_t limit_bytes)
{
    *r = (struct fg_ring){.limit = limit_bytes, .wrap = NOWHERE};
}

void fg_ring_done(struct fg_ring *r)
{
    free(r->data);
    fg_ring_init(r, r->limit);
}

/* A larger buffer with the records laid out straight from 0. */
static bool grow(struct fg_ring *r, size_t need)
{
    size_t size = r->capacity ? r->capacity * 2 : 1024;
    while (size < r->used + need)
        size *= 2;
    if (size > r->limit)
        size = r->limit;
    if (size < r->used + need)
        return false;
    char *data = aligned_alloc(16, (size + 15) / 16 * 16);
    if (!data)
        return false;
    size_t n = 0;
    if (r->count && r->wrap != NOWHERE) {
        memcpy(data, r->data + r->head, r->wrap - r->head);
        n = r->wrap - r->head;
        memcpy(data + n, r->data, r->tail);
        n += r->tail;
    } else if (r->count) {
        memcpy(data, r->data + r->head, r->tail - r->head);
        n = r->tail - r->head;
    }
    free(r->data);
    r->data = data;
    r->capacity = size;
    r->head = 0;
    r->tail = r->used = n;
    r->wrap = NOWHERE;
    return true;
}

static bool fits(struct fg_ring *r, size_t need)
{
    if (r->count == 0) {
        r->head = r->tail = r->used = 0;
        r->wrap = NOWHERE;
        return r->capacity >= need;
    }
    if (r->wrap != NOWHERE) /* free bytes lie between tail and head */
        return r->head - r->tail >= need;
    if (r->capacity - r->tail >= need)
        return true;
    if (r->head < need)
        return false;
    r->wrap = r->tail;
    r->tail = 0;
    return true;
}

void *fg_ring_push(struct fg_ring *r, size_t len)
{
    if (len > r->limit)
        return NULL;
    size_t need = padded(len);
    if (!fits(r, need) && (!grow(r, need) || !fits(r, need)))
        return NULL;
    char *p = r->data + r->tail;
    memcpy(p, &len, sizeof len);
    r->tail += need;
    r->used += need;
    r->count++;
    return p + HEADER;
}

void *fg_ring_peek(const struct fg_ring *r, size_t *len)
{
    if (r->count == 0)
        return NULL;
    size_t at = r->head == r->wrap ? 0 : r->head;
    memcpy(len, r->data + at, sizeof *len);
    return r->data + at + HEADER;
}

void fg_ring_pop(struct fg_ring *r)
{
    if (r->count == 0)
        return;
    if (r->head == r->wrap) {
        r->head = 0;
        r->wrap = NOWHERE;
    }
    size_t len;
    memcpy(&len, r->data + r->head, sizeof len);
    r->head += padded(len);
    r->used -= padded(len);
    r->count--;
}
