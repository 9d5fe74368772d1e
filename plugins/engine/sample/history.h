/*
 * engine/sample/history.h - how often each token stands in the last n: what penalties ask.
 *
 * A ring of the last n tokens (or all of them) and a count for each distinct one. One owner.
 */
#ifndef FG_ENGINE_HISTORY_H
#define FG_ENGINE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_history_slot {
    int32_t token; /* valid when used */
    uint32_t count;
    bool used; /* stays set at count 0 until the table is rebuilt */
};
struct fg_history {
    int32_t limit; /* tokens remembered; 0: none, negative: all */
    int32_t *ring; /* the last `limit`; NULL when all are remembered */
    size_t at, filled;
    struct fg_history_slot *slots; /* open addressing, a power of two */
    size_t capacity, used;
};

void fg_history_init(struct fg_history *, int32_t limit);
void fg_history_done(struct fg_history *);
bool fg_history_add(struct fg_history *, int32_t token); /* false: out of memory, nothing added */
bool fg_history_copy(struct fg_history *to, const struct fg_history *from); /* to: overwritten */

#endif
