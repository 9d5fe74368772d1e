/*
 * engine/sched/turn.h - whose step it is, when several models share one machine.
 *
 * A step uses every core, so two at once would only disturb each other. A plain mutex may be taken
 * again and again by the thread that just left it; tickets serve in order. Any thread.
 */
#ifndef FG_ENGINE_TURN_H
#define FG_ENGINE_TURN_H

#include <pthread.h>
#include <stdint.h>

struct fg_turn {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t next, serving;
};

static inline void fg_turn_init(struct fg_turn *t)
{
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    t->next = t->serving = 0;
}
static inline void fg_turn_done(struct fg_turn *t)
{
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
}
static inline void fg_turn_take(struct fg_turn *t)
{
    pthread_mutex_lock(&t->lock);
    const uint64_t mine = t->next++;
    while (t->serving != mine)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}
static inline void fg_turn_leave(struct fg_turn *t)
{
    pthread_mutex_lock(&t->lock);
    t->serving++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

#endif
