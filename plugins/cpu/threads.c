/*
 * The pool. One 64-bit ticket holds the number of the job, its chunks and the next one to take, so
 * that taking a chunk is one addition and a late thread cannot take a chunk of a job that is over:
 * what it gets belongs to the job that the same number names. The job's description is read after
 * a chunk of it was taken, and is not changed before that chunk is done.
 *
 * Beside a busy neighbour the kernel takes threads off their cores for milliseconds, in the middle
 * of a chunk as a rule, and everybody would wait for some microseconds of work. So threads help
 * each other. One whose clock stands still while it holds the last chunk is moved to the caller's
 * core, which the caller leaves to it by sleeping; afterwards it is kept off that core for a while,
 * so that the caller has one for itself. And when it is the caller whose clock stands still in a
 * step, an idle thread gives it its own core and takes its place. Measured on 2 cores with one
 * endless loop beside: 0.58 of one thread's speed without all this.
 */
#include "cpu/threads.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"

enum {
    SPIN_WORKER_US = 60,   /* a step's jobs follow one another within a few microseconds */
    SPIN_CALLER_US = 15,   /* longer than most chunks of a decode */
    STILL_US = 10,         /* a clock that stands still for so long belongs to no running thread */
    LOOK_US = 20,          /* of waiting for work before an idle thread looks after the caller */
    PATIENCE_US = 300,     /* threads that do run: a sleep is not worth it before */
    APART_MS = 50,         /* how long a rescued thread is kept off the caller's core */
    CHUNKS_MOST = (1 << 20) - 1,
    THREADS_MOST = 256,
};
#define LINE 64

struct member {
    _Alignas(LINE) _Atomic uint32_t busy; /* has a chunk */
    _Atomic uint32_t rescued;             /* on the caller's core: makes room as soon as it can */
    _Atomic int32_t tid;
    _Atomic uint32_t apart; /* is kept off some core */
    uint64_t clock;         /* when the caller last looked */
    struct fg_pool *pool;
    uint32_t index;
    pthread_t thread;
};

struct fg_pool {
    _Alignas(LINE) _Atomic uint64_t ticket; /* job << 40 | chunks << 20 | next */
    _Alignas(LINE) _Atomic uint32_t done;   /* chunks of the job; the caller sleeps on it */
    _Atomic uint32_t caller_sleeps;
    _Alignas(LINE) _Atomic uint32_t epoch; /* counts jobs and wake-ups; threads sleep on it */
    _Atomic uint32_t sleepers;             /* somebody may be asleep */
    _Atomic uint32_t closing;
    _Atomic int32_t caller;       /* its thread id while it is in a step, else 0 */
    _Atomic uint64_t apart_until; /* 0: nobody is kept apart */

    /* Of the job; written by the caller while no chunk is out. */
    _Alignas(LINE) fg_pool_work *work;
    void *arg;

    uint32_t threads, started;
    bool cores_known;   /* threads can be moved here */
    cpu_set_t cores;     /* that the process had when the pool was opened */
    struct member *members; /* [threads]; 0 is the caller and has no thread */
};

static void futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *most)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, most, NULL, 0);
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
    struct member *me = &p->members[worker];
    bool any = false;
    for (;;) {
        uint64_t ticket = atomic_load_explicit(&p->ticket, memory_order_relaxed);
        if (next_of(ticket) >= chunks_of(ticket))
            return any;
        atomic_store_explicit(&me->busy, 1, memory_order_relaxed);
        ticket = atomic_fetch_add_explicit(&p->ticket, 1, memory_order_acq_rel);
        if (next_of(ticket) >= chunks_of(ticket)) {
            atomic_store_explicit(&me->busy, 0, memory_order_relaxed);
            return any;
        }
        any = true;
        const uint32_t chunks = chunks_of(ticket);
        p->work(p->arg, next_of(ticket), worker);
        atomic_store_explicit(&me->busy, 0, memory_order_relaxed);
        if (atomic_fetch_add(&p->done, 1) + 1 == chunks && atomic_load(&p->caller_sleeps))
            futex_wake(&p->done);
    }
}

/* ---- where threads run ----------------------------------------------------------------------- */

/* Time that a thread has had on a core, ever; 0 when it cannot be asked. The number of the clock is
 * what pthread_getcpuclockid() makes of the thread. */
static uint64_t clock_of(int32_t tid)
{
    struct timespec t;
    if (tid <= 0 || clock_gettime(-(tid + 1) * 8 + 6, &t) != 0)
        return 0;
    return (uint64_t)t.tv_sec * FG_NS_PER_S + (uint64_t)t.tv_nsec;
}

static bool move(int32_t tid, const cpu_set_t *to)
{
    return tid > 0 && sched_setaffinity(tid, sizeof *to, to) == 0;
}

/* The core we are on, and the others of the process; false when there are none. */
static bool split_cores(const struct fg_pool *p, cpu_set_t *mine, cpu_set_t *others)
{
    const int core = sched_getcpu();
    if (core < 0 || core >= CPU_SETSIZE || !CPU_ISSET(core, &p->cores))
        return false;
    CPU_ZERO(mine);
    CPU_SET(core, mine);
    *others = p->cores;
    CPU_CLR(core, others);
    return CPU_COUNT(others) > 0;
}

static void keep_apart(struct fg_pool *p, struct member *m, const cpu_set_t *others)
{
    (void)move(atomic_load(&m->tid), others);
    atomic_store(&m->apart, 1);
    atomic_store(&p->apart_until, fg_clock_ns() + APART_MS * FG_NS_PER_MS);
}

/* The caller is off its core in the middle of a step: ours for its. */
static void free_caller(struct fg_pool *p, struct member *me, int32_t caller)
{
    cpu_set_t mine, others;
    if (!split_cores(p, &mine, &others) || !move(caller, &mine))
        return;
    (void)move(caller, &p->cores); /* it stays in the queue it is in */
    keep_apart(p, me, &others);
}

/* Between looks of an idle thread at the caller: *clock is what the first one saw, 0 before. */
static uint64_t look_after_caller(struct fg_pool *p, struct member *me, uint64_t now,
                                  uint64_t *clock)
{
    const int32_t caller = atomic_load(&p->caller);
    if (!caller || !p->cores_known)
        return now + LOOK_US * 1000ull;
    const uint64_t before = *clock;
    *clock = clock_of(caller);
    if (!before)
        return now + STILL_US * 1000ull;
    if (*clock == before && atomic_load(&p->caller) == caller)
        free_caller(p, me, caller);
    *clock = 0;
    return now + LOOK_US * 1000ull;
}

/* ---- threads --------------------------------------------------------------------------------- */

static bool spin_for_work(struct fg_pool *p, struct member *me)
{
    uint64_t now = fg_clock_ns(), clock = 0, look = now + LOOK_US * 1000ull;
    const uint64_t end = now + SPIN_WORKER_US * 1000ull;
    for (; now < end; now = fg_clock_ns()) {
        for (int i = 0; i < 64; i++) {
            const uint64_t ticket = atomic_load_explicit(&p->ticket, memory_order_relaxed);
            if (atomic_load_explicit(&me->rescued, memory_order_relaxed))
                return false;
            if (next_of(ticket) < chunks_of(ticket))
                return true;
            relax();
        }
        if (now >= look)
            look = look_after_caller(p, me, now, &clock);
    }
    return false;
}

static void *thread_main(void *arg)
{
    struct member *me = arg;
    struct fg_pool *p = me->pool;
    prctl(PR_SET_NAME, "fg-cpu");
    atomic_store(&me->tid, (int32_t)syscall(SYS_gettid));
    for (;;) {
        const uint32_t epoch = atomic_load(&p->epoch);
        if (atomic_load_explicit(&p->closing, memory_order_acquire))
            return NULL;
        if (run_chunks(p, me->index) || spin_for_work(p, me))
            continue;
        atomic_store(&p->sleepers, 1);
        if (atomic_load(&p->epoch) == epoch)
            futex_wait(&p->epoch, epoch, NULL);
    }
}

static void wake(struct fg_pool *p)
{
    atomic_fetch_add(&p->epoch, 1);
    if (atomic_load(&p->sleepers) && atomic_exchange(&p->sleepers, 0))
        futex_wake(&p->epoch);
}

void fg_pool_begin(struct fg_pool *p)
{
    static _Thread_local int32_t tid;
    if (!tid)
        tid = (int32_t)syscall(SYS_gettid);
    atomic_store(&p->caller, tid);
    wake(p);
}

void fg_pool_end(struct fg_pool *p)
{
    atomic_store(&p->caller, 0);
}

/* ---- waiting, and helping who cannot go on --------------------------------------------------- */

static bool is_done(const struct fg_pool *p, uint32_t chunks)
{
    return atomic_load_explicit(&p->done, memory_order_acquire) == chunks;
}

/* true: all chunks are done. */
static bool spin_for_done(const struct fg_pool *p, uint32_t chunks, uint32_t us)
{
    const uint64_t end = fg_clock_ns() + us * 1000ull;
    do {
        for (int i = 0; i < 32; i++) {
            if (is_done(p, chunks))
                return true;
            relax();
        }
    } while (fg_clock_ns() < end);
    return false;
}

static void sleep_for_done(struct fg_pool *p, uint32_t chunks, const struct timespec *most)
{
    atomic_store(&p->caller_sleeps, 1);
    const uint32_t done = atomic_load(&p->done);
    if (done != chunks)
        futex_wait(&p->done, done, most);
    atomic_store(&p->caller_sleeps, 0);
}

/* The caller's core is theirs until they are done. */
static void rescue(struct fg_pool *p, uint32_t chunks, const bool *still)
{
    const struct timespec most = {0, 2000000};
    cpu_set_t mine, others;
    bool moved = false;
    if (!split_cores(p, &mine, &others))
        return;
    for (uint32_t i = 1; i <= p->started; i++)
        if (still[i]) {
            atomic_store(&p->members[i].rescued, 1);
            moved |= move(atomic_load(&p->members[i].tid), &mine);
        }
    while (moved && !is_done(p, chunks))
        sleep_for_done(p, chunks, &most);
    for (uint32_t i = 1; i <= p->started; i++)
        if (still[i]) {
            keep_apart(p, &p->members[i], &others);
            atomic_store(&p->members[i].rescued, 0);
        }
}

/* Looks twice at the clocks of those who have a chunk: who stands still is off its core. */
static void help(struct fg_pool *p, uint32_t chunks)
{
    bool still[THREADS_MOST] = {false}, any = false;
    for (uint32_t i = 1; i <= p->started; i++)
        if (atomic_load_explicit(&p->members[i].busy, memory_order_relaxed))
            p->members[i].clock = clock_of(atomic_load(&p->members[i].tid)), still[i] = true;
    if (spin_for_done(p, chunks, STILL_US))
        return;
    for (uint32_t i = 1; i <= p->started; i++) {
        const struct member *m = &p->members[i];
        still[i] = still[i] && atomic_load_explicit(&m->busy, memory_order_relaxed) &&
                   m->clock && m->clock == clock_of(atomic_load(&m->tid));
        any |= still[i];
    }
    if (any)
        rescue(p, chunks, still);
}

static void wait_done(struct fg_pool *p, uint32_t chunks)
{
    const struct timespec most = {0, 1000000};
    if (is_done(p, chunks) || spin_for_done(p, chunks, SPIN_CALLER_US))
        return;
    const uint64_t end = fg_clock_ns() + PATIENCE_US * 1000ull;
    while (!is_done(p, chunks)) {
        if (p->cores_known)
            help(p, chunks);
        if (fg_clock_ns() > end && !is_done(p, chunks))
            sleep_for_done(p, chunks, &most);
    }
}

static void let_together(struct fg_pool *p)
{
    if (fg_clock_ns() < atomic_load(&p->apart_until))
        return;
    atomic_store(&p->apart_until, 0);
    for (uint32_t i = 1; i <= p->started; i++)
        if (atomic_exchange(&p->members[i].apart, 0))
            (void)move(atomic_load(&p->members[i].tid), &p->cores);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

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
    if (atomic_load_explicit(&p->apart_until, memory_order_relaxed))
        let_together(p);
    p->work = work;
    p->arg = arg;
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    atomic_store_explicit(&p->ticket, job << 40 | (uint64_t)chunks << 20, memory_order_release);
    wake(p);
    run_chunks(p, 0);
    wait_done(p, chunks);
}

int32_t fg_pool_open(uint32_t threads, struct fg_pool **out, struct fg_error *err)
{
    struct fg_pool *p = aligned_alloc(LINE, (sizeof *p + LINE - 1) / LINE * LINE);
    if (!p)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a thread pool");
    const uint32_t count = threads < 1 ? 1 : threads > THREADS_MOST ? THREADS_MOST : threads;
    *p = (struct fg_pool){.threads = count};
    p->cores_known =
        sched_getaffinity(0, sizeof p->cores, &p->cores) == 0 && CPU_COUNT(&p->cores) > 1;
    p->members = aligned_alloc(LINE, p->threads * sizeof *p->members);
    if (!p->members) {
        free(p);
        return fg_fail(err, FG_NO_MEMORY, "no memory for %u threads", threads);
    }
    for (uint32_t i = 0; i < p->threads; i++)
        p->members[i] = (struct member){.pool = p, .index = i};
    for (uint32_t i = 1; i < p->threads; i++) {
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
    wake(p);
    for (uint32_t i = 1; i <= p->started; i++)
        pthread_join(p->members[i].thread, NULL);
    free(p->members);
    free(p);
}

uint32_t fg_pool_threads(const struct fg_pool *p)
{
    return p->threads;
}
