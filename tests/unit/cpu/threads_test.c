/*
 * The thread pool: every chunk once, whatever the threads do in between. Run under TSan as well.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cpu/threads.h"
#include "util/clock.h"

enum { CHUNKS_MOST = 5000 };

struct count {
    uint32_t done[CHUNKS_MOST]; /* plain: each chunk has one thread, jobs follow one another */
    uint32_t threads;
    _Atomic uint32_t helpers;   /* bits of workers that had a chunk */
    _Atomic uint32_t strangers; /* workers out of range */
    uint32_t sleep_us;
};

static void sleep_us(uint32_t us)
{
    const struct timespec t = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&t, NULL);
}

static void count_chunk(void *arg, uint32_t chunk, uint32_t worker)
{
    struct count *c = arg;
    c->done[chunk]++;
    atomic_fetch_or(&c->helpers, 1u << worker);
    if (worker >= c->threads)
        atomic_fetch_add(&c->strangers, 1);
    if (c->sleep_us)
        sleep_us(c->sleep_us);
}

static void run_jobs(uint32_t threads, uint32_t jobs, uint32_t pause_us)
{
    struct fg_pool *pool;
    struct count *c = calloc(1, sizeof *c);
    uint32_t expected[CHUNKS_MOST] = {0};
    assert_non_null(c);
    c->threads = threads;
    assert_int_equal(fg_pool_open(threads, &pool, NULL), FG_OK);
    assert_int_equal(fg_pool_threads(pool), threads);
    for (uint32_t j = 0; j < jobs; j++) {
        const uint32_t chunks = j * 7 % 97;
        fg_pool_run(pool, count_chunk, c, chunks);
        for (uint32_t i = 0; i < chunks; i++) /* seen by the caller without more ado */
            assert_int_equal(c->done[i], ++expected[i]);
        if (pause_us && j % 50 == 0)
            sleep_us(pause_us);
        if (j % 31 == 0)
            fg_pool_begin(pool);
        if (j % 62 == 40)
            fg_pool_end(pool);
    }
    assert_int_equal(atomic_load(&c->strangers), 0);
    fg_pool_close(pool);
    free(c);
}

static void every_chunk_runs_once(void **state)
{
    (void)state;
    run_jobs(1, 300, 0);
    run_jobs(2, 3000, 0);
    run_jobs(5, 1000, 0);
}

static void threads_that_went_to_sleep_come_back(void **state)
{
    (void)state;
    run_jobs(2, 1000, 300);
    run_jobs(4, 500, 1000);
}

static void more_chunks_than_usual_run_once_too(void **state)
{
    (void)state;
    struct fg_pool *pool;
    struct count *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->threads = 3;
    assert_int_equal(fg_pool_open(3, &pool, NULL), FG_OK);
    fg_pool_run(pool, count_chunk, c, CHUNKS_MOST);
    for (uint32_t i = 0; i < CHUNKS_MOST; i++)
        assert_int_equal(c->done[i], 1);
    fg_pool_close(pool);
    free(c);
}

static void slow_chunks_are_shared_and_waited_for(void **state)
{
    (void)state;
    struct fg_pool *pool;
    struct count *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->threads = 4;
    c->sleep_us = 20000;
    assert_int_equal(fg_pool_open(4, &pool, NULL), FG_OK);
    fg_pool_begin(pool);
    fg_pool_run(pool, count_chunk, c, 8);
    fg_pool_end(pool);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(c->done[i], 1);
    const uint32_t helpers = atomic_load(&c->helpers);
    assert_true((helpers & 1) && helpers != 1); /* the caller and somebody else */
    fg_pool_close(pool);
    free(c);
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * FG_NS_PER_S + (uint64_t)t.tv_nsec;
}

static void an_idle_pool_costs_no_time(void **state)
{
    (void)state;
    struct fg_pool *pool;
    struct count *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->threads = 4;
    assert_int_equal(fg_pool_open(4, &pool, NULL), FG_OK);
    fg_pool_run(pool, count_chunk, c, 64);
    sleep_us(20000);
    const uint64_t begin = cpu_ns();
    sleep_us(200000);
    const uint64_t used = cpu_ns() - begin;
    if (used > 10 * FG_NS_PER_MS)
        fail_msg("%.1f ms of CPU in 200 ms of idling", (double)used / 1e6);
    fg_pool_close(pool);
    free(c);
}

static void pools_open_and_close_at_any_moment(void **state)
{
    (void)state;
    struct count *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->threads = 3;
    for (uint32_t i = 0; i < 60; i++) {
        struct fg_pool *pool;
        assert_int_equal(fg_pool_open(3, &pool, NULL), FG_OK);
        if (i % 3)
            fg_pool_run(pool, count_chunk, c, i);
        if (i % 4 == 0)
            sleep_us(200);
        fg_pool_close(pool);
    }
    fg_pool_close(NULL);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_chunk_runs_once),
        cmocka_unit_test(threads_that_went_to_sleep_come_back),
        cmocka_unit_test(more_chunks_than_usual_run_once_too),
        cmocka_unit_test(slow_chunks_are_shared_and_waited_for),
        cmocka_unit_test(an_idle_pool_costs_no_time),
        cmocka_unit_test(pools_open_and_close_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
