/*
 * cpu/threads.h - a pool that runs the chunks of one job on all its threads.
 *
 * The caller of fg_pool_run works too; threads count it. Chunks are handed out one by one, so a
 * thread that the kernel takes off its core holds up no more than the chunk it has. Between jobs
 * of a step threads spin for some microseconds, then sleep; an idle pool costs nothing. One thread
 * at a time calls; calls do not nest. Threads may be moved between the cores that the process had
 * when the pool was opened.
 */
#ifndef FG_CPU_THREADS_H
#define FG_CPU_THREADS_H

#include <stdint.h>

#include <fluxgate/plugin.h>

struct fg_pool;

/* worker: 0 .. threads-1, for scratch memory of its own. */
typedef void fg_pool_work(void *arg, uint32_t chunk, uint32_t worker);

int32_t fg_pool_open(uint32_t threads, struct fg_pool **, struct fg_error *);
void fg_pool_close(struct fg_pool *); /* NULL is fine */
uint32_t fg_pool_threads(const struct fg_pool *);

/* Around a step, that is jobs close behind one another by one thread: wakes sleeping threads, and
 * lets them see to it that the caller has a core. Jobs run outside of a step too. */
void fg_pool_begin(struct fg_pool *);
void fg_pool_end(struct fg_pool *);
/* Runs work(arg, 0 .. chunks-1, ...), in any order, and returns when all have run. */
void fg_pool_run(struct fg_pool *, fg_pool_work *, void *arg, uint32_t chunks);

#endif
