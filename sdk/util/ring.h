/*
 * util/ring.h - a bounded byte ring of variable-size records, first in first out.
 *
 * Not thread-safe by itself: the stream that owns it holds its lock. A record is stored in one
 * piece (the ring wraps before it when the tail is too short), so a reader can look at it in place.
 */
#ifndef FG_UTIL_RING_H
#define FG_UTIL_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_ring {
    char *data;
    size_t capacity;   /* bytes now allocated */
    size_t limit;      /* most it may grow to */
    size_t head, tail; /* read and write offsets */
    size_t used;       /* bytes of records with their headers and wrap gaps */
    size_t wrap;       /* where the readable bytes end before they go on at 0; SIZE_MAX: nowhere */
    uint32_t count;    /* records */
};

void fg_ring_init(struct fg_ring *, size_t limit_bytes); /* allocates nothing yet */
void fg_ring_done(struct fg_ring *);
/* Room for one record of len bytes, 16-byte aligned, to be filled before the next call; NULL when
 * it would pass the limit or memory is gone. */
void *fg_ring_push(struct fg_ring *, size_t len);
/* The oldest record, in place until fg_ring_pop(); NULL when empty. */
void *fg_ring_peek(const struct fg_ring *, size_t *len);
void fg_ring_pop(struct fg_ring *);

#endif
