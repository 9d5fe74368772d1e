/* Taking turns; see turn.h. */
#include "engine/sched/turn.h"

#include <time.h>

enum { ASK_EVERY_NS = 5000000 };

void fg_turn_init(struct fg_turn *t)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, &attr);
    pthread_condattr_destroy(&attr);
    fg_list_init(&t->waiting);
    t->taken = false;
}

void fg_turn_done(struct fg_turn *t)
{
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
}

static void wait_a_little(struct fg_turn *t)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ASK_EVERY_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&t->changed, &t->lock, &until);
}

bool fg_turn_take(struct fg_turn *t, bool (*stop)(void *), void *ctx)
{
    struct fg_list me;
    bool mine = true;
    fg_list_init(&me);
    pthread_mutex_lock(&t->lock);
    fg_list_push(&t->waiting, &me);
    while (mine && (t->taken || t->waiting.next != &me)) {
        if (stop)
            wait_a_little(t);
        else
            pthread_cond_wait(&t->changed, &t->lock);
        mine = !(stop && (t->taken || t->waiting.next != &me) && stop(ctx));
    }
    fg_list_remove(&me);
    t->taken |= mine;
    if (!mine)
        pthread_cond_broadcast(&t->changed); /* who stood behind may be first now */
    pthread_mutex_unlock(&t->lock);
    return mine;
}

void fg_turn_leave(struct fg_turn *t)
{
    pthread_mutex_lock(&t->lock);
    t->taken = false;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}
