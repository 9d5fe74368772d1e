/*
 * util/arena.h - memory that goes in one piece: everything parsed or built for one job.
 *
 * One owner thread. Allocation never runs past the limit given at birth; what comes back is
 * aligned to 16 bytes and not cleared. Under AddressSanitizer what is not handed out is poisoned.
 */
#ifndef FG_UTIL_ARENA_H
#define FG_UTIL_ARENA_H

#include <stddef.h>

#include "util/str.h"

struct fg_arena;

/* limit_bytes: the most it may ever hold; block_bytes: size of an ordinary block (0: 4 KiB).
 * NULL when memory is gone. */
struct fg_arena *fg_arena_open(size_t block_bytes, size_t limit_bytes);
void fg_arena_close(struct fg_arena *);           /* NULL is fine */
void fg_arena_reset(struct fg_arena *);           /* keeps one ordinary block for reuse */

void *fg_arena_alloc(struct fg_arena *, size_t bytes);              /* NULL: limit or memory */
void *fg_arena_zalloc(struct fg_arena *, size_t count, size_t size); /* cleared, checked product */
/* Copies with a terminating NUL (not counted); ptr NULL when it did not fit. */
struct fg_str fg_arena_str(struct fg_arena *, struct fg_str);
struct fg_str fg_arena_printf(struct fg_arena *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
size_t fg_arena_used(const struct fg_arena *);

#endif
