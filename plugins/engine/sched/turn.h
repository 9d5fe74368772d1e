/*
 * engine/sched/turn.h - whose step it is, when several models share one machine.
 *
 * A step uses every core, so two at once would only disturb each other. A plain mutex may be taken
 * again and again by the thread that just left it; here who waits longest is next. Any thread.
 */
#ifndef FG_ENGINE_TURN_H
#define FG_ENGINE_TURN_H

#include <pthread.h>
#include <stdbool.h>

#include "util/list.h"

struct fg_turn {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool taken;
    struct fg_list waiting; /* in order of coming; nodes lie on the waiters' stacks */
};

void fg_turn_init(struct fg_turn *);
void fg_turn_done(struct fg_turn *);
/* Waits for the turn. stop (may be NULL) is asked every few milliseconds while it is not ours; true
 * from it gives up the place: false, nothing was taken. */
bool fg_turn_take(struct fg_turn *, bool (*stop)(void *), void *ctx);
void fg_turn_leave(struct fg_turn *);

#endif
