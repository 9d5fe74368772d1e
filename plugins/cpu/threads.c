/*
 * The pool. One 64-bit ticket holds the number of the job, its chunks and the next one to take, so
 * that taking a chunk is one addition and a late thread cannot take a chunk of a job that is over:
 * what it gets belongs to the job that the same number names. The job's description is read after
 * a chunk of it was taken, and is not changed before that chunk is done.
 */
#include "cpu/threads.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"

enum {
    SPIN_WORKER_US = 60, /* a step's jobs follow one another within a few microseconds */
    SPIN_CALLER_US = 40, /* then a thread is off its core, and ours may be what it needs */
    CHUNKS_MOST = (1 << 20) - 1,
};
#define LINE 64

struct fg_pool {
    _Alignas(LINE) _Atomic uint64_t ticket; /* job << 40 | chunks << 20 | next */
    _Alignas(LINE) _Atomic uint32_t done;   /* chunks of the job; the caller sleeps on it */
    _Atomic uint32_t caller_sleeps;
    _Alignas(LINE) _Atomic uint32_t epoch; /* counts jobs and wake-ups; threads sleep on it */
    _Atomic uint32_t sleepers;
    _Atomic uint32_t closing;

    /* Of the job; written by the caller while no chunk is out. */
    _Alignas(LINE) fg_pool_work *work;
    void *arg;

    uint32_t threads, started;
    struct member {
        struct fg_pool *pool;
        uint32_t index;
        pthread_t thread;
    } *members; /* [threads]; 0 is the caller and has no thread */
};

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}
static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline uint32_t next_of(uint64_t ticket)
{
    return (uint32_t)(ticket & CHUNKS_MOST);
}
static inline uint32_t chunks_of(uint64_t ticket)
{
    return (uint32_t)(ticket >> 20 & CHUNKS_MOST);
}

/* Runs what chunks there are; false when there was none. */
static bool run_chunks(struct fg_pool *p, uint32_t worker)
{
    bool any = false;
    for (;;) {
        uint64_t ticket = atomic_load_explicit(&p->ticket, memory_order_relaxed);
        if (next_of(ticket) >= chunks_of(ticket))
            return any;
        ticket = atomic_fetch_add_explicit(&p->ticket, 1, memory_order_acq_rel);
        if (next_of(ticket) >= chunks_of(ticket))
            return any;
        any = true;
        const uint32_t chunks = chunks_of(ticket);
        p->work(p->arg, next_of(ticket), worker);
        if (atomic_fetch_add(&p->done, 1) + 1 == chunks && atomic_load(&p->caller_sleeps))
            futex_wake(&p->done);
    }
}

static bool spin_for_work(struct fg_pool *p)
{
    const uint64_t end = fg_clock_ns() + SPIN_WORKER_US * 1000ull;
    do {
        for (int i = 0; i < 64; i++) {
            const uint64_t ticket = atomic_load_explicit(&p->ticket, memory_order_relaxed);
            if (next_of(ticket) < chunks_of(ticket))
                return true;
            relax();
        }
    } while (fg_clock_ns() < end);
    return false;
}

static void *thread_main(void *arg)
{
    struct member *me = arg;
    struct fg_pool *p = me->pool;
    prctl(PR_SET_NAME, "fg-cpu");
    for (;;) {
        const uint32_t epoch = atomic_load(&p->epoch);
        if (atomic_load_explicit(&p->closing, memory_order_acquire))
            return NULL;
        if (run_chunks(p, me->index) || spin_for_work(p))
            continue;
        atomic_fetch_add(&p->sleepers, 1);
        if (atomic_load(&p->epoch) == epoch)
            futex_wait(&p->epoch, epoch);
        atomic_fetch_sub(&p->sleepers, 1);
    }
}

void fg_pool_wake(struct fg_pool *p)
{
    atomic_fetch_add(&p->epoch, 1);
    if (atomic_load(&p->sleepers))
        futex_wake(&p->epoch);
}

static void wait_done(struct fg_pool *p, uint32_t chunks)
{
    if (atomic_load_explicit(&p->done, memory_order_acquire) == chunks)
        return;
    const uint64_t end = fg_clock_ns() + SPIN_CALLER_US * 1000ull;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&p->done, memory_order_acquire) == chunks)
                return;
            relax();
        }
    } while (fg_clock_ns() < end);
    atomic_store(&p->caller_sleeps, 1);
    for (uint32_t done; (done = atomic_load(&p->done)) != chunks;)
        futex_wait(&p->done, done);
    atomic_store(&p->caller_sleeps, 0);
}

static void run_alone(fg_pool_work *work, void *arg, uint32_t chunks)
{
    for (uint32_t i = 0; i < chunks; i++)
        work(arg, i, 0);
}

void fg_pool_run(struct fg_pool *p, fg_pool_work *work, void *arg, uint32_t chunks)
{
    if (p->started == 0 || chunks <= 1 || chunks > CHUNKS_MOST) {
        run_alone(work, arg, chunks);
        return;
    }
    const uint64_t job = (atomic_load_explicit(&p->ticket, memory_order_relaxed) >> 40) + 1;
    p->work = work;
    p->arg = arg;
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    atomic_store_explicit(&p->ticket, job << 40 | (uint64_t)chunks << 20, memory_order_release);
    fg_pool_wake(p);
    run_chunks(p, 0);
    wait_done(p, chunks);
}

int32_t fg_pool_open(uint32_t threads, struct fg_pool **out, struct fg_error *err)
{
    struct fg_pool *p = aligned_alloc(LINE, (sizeof *p + LINE - 1) / LINE * LINE);
    if (!p)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a thread pool");
    *p = (struct fg_pool){.threads = threads ? threads : 1};
    p->members = calloc(p->threads, sizeof *p->members);
    if (!p->members) {
        free(p);
        return fg_fail(err, FG_NO_MEMORY, "no memory for %u threads", threads);
    }
    for (uint32_t i = 1; i < p->threads; i++) {
        p->members[i] = (struct member){.pool = p, .index = i};
        if (pthread_create(&p->members[i].thread, NULL, thread_main, &p->members[i]) != 0) {
            fg_pool_close(p);
            return fg_fail(err, FG_NO_MEMORY, "thread %u of %u could not be started", i + 1,
                           threads);
        }
        p->started++;
    }
    *out = p;
    return FG_OK;
}

void fg_pool_close(struct fg_pool *p)
{
    if (!p)
        return;
    atomic_store_explicit(&p->closing, 1, memory_order_release);
    fg_pool_wake(p);
    for (uint32_t i = 1; i <= p->started; i++)
        pthread_join(p->members[i].thread, NULL);
    free(p->members);
    free(p);
}

uint32_t fg_pool_threads(const struct fg_pool *p)
{
    return p->threads;
}
