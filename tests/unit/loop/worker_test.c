/* A worker: order of what is posted, its thread, its end, and events on its base. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "loop/worker.h"
#include "util/clock.h"

struct note { /* writes its number down when it runs */
    struct fg_task task;
    struct board *board;
    uint32_t number;
};
struct board {
    struct fg_worker *worker;
    uint32_t seen[4000], count;
    bool on_thread;
    sem_t done;
};

static void write_down(struct fg_task *task)
{
    struct note *n = FG_CONTAINER(task, struct note, task);
    n->board->seen[n->board->count++] = n->number;
    n->board->on_thread &= fg_worker_is_current(n->board->worker);
    sem_post(&n->board->done);
}

static struct fg_worker *open_worker(struct board *b)
{
    struct fg_error err = {0};
    assert_int_equal(fg_worker_open(3, &b->worker, &err), FG_OK);
    b->count = 0;
    b->on_thread = true;
    sem_init(&b->done, 0, 0);
    return b->worker;
}

static void wait_for(struct board *b, uint32_t n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    while (n--)
        assert_int_equal(sem_timedwait(&b->done, &until), 0);
}

static void tasks_run_in_order_on_the_worker(void **state)
{
    (void)state;
    static struct board b;
    static struct note notes[1000];
    struct fg_worker *w = open_worker(&b);
    assert_int_equal(fg_worker_index(w), 3);
    assert_non_null(fg_worker_base(w));
    assert_false(fg_worker_is_current(w));
    for (uint32_t i = 0; i < 1000; i++) {
        notes[i] = (struct note){{.run = write_down}, &b, i};
        if (i == 500) /* what was posted before the start waits for it */
            assert_int_equal(fg_worker_start(w, NULL), FG_OK);
        assert_true(fg_worker_post(w, &notes[i].task));
    }
    wait_for(&b, 1000);
    fg_worker_close(w);
    assert_int_equal(b.count, 1000);
    assert_true(b.on_thread);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(b.seen[i], i);
}

static void *post_many(void *ctx)
{
    struct note *notes = ctx;
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(fg_worker_post(notes[i].board->worker, &notes[i].task));
    return NULL;
}

static void each_senders_tasks_keep_their_order(void **state)
{
    (void)state;
    static struct board b;
    static struct note notes[4][1000];
    pthread_t threads[4];
    struct fg_worker *w = open_worker(&b);
    assert_int_equal(fg_worker_start(w, NULL), FG_OK);
    for (uint32_t t = 0; t < 4; t++) {
        for (uint32_t i = 0; i < 1000; i++)
            notes[t][i] = (struct note){{.run = write_down}, &b, t * 1000 + i};
        assert_int_equal(pthread_create(&threads[t], NULL, post_many, notes[t]), 0);
    }
    for (uint32_t t = 0; t < 4; t++)
        pthread_join(threads[t], NULL);
    wait_for(&b, 4000);
    fg_worker_close(w);
    uint32_t next[4] = {0};
    for (uint32_t i = 0; i < 4000; i++)
        assert_int_equal(b.seen[i] % 1000, next[b.seen[i] / 1000]++);
}

static void closing_runs_what_was_still_posted(void **state)
{
    (void)state;
    static struct board b;
    struct note never_started = {{.run = write_down}, &b, 1},
                after_stop = {{.run = write_down}, &b, 2};
    struct fg_worker *w = open_worker(&b);
    assert_true(fg_worker_post(w, &never_started.task));
    fg_worker_close(w);
    assert_int_equal(b.count, 1);
    w = open_worker(&b);
    assert_int_equal(fg_worker_start(w, NULL), FG_OK);
    fg_worker_stop(w);
    fg_worker_stop(w); /* twice is once */
    fg_worker_join(w);
    assert_non_null(fg_worker_base(w));
    assert_true(fg_worker_post(w, &after_stop.task));
    fg_worker_close(w);
    assert_int_equal(b.count, 1);
    assert_int_equal(b.seen[0], 2);
    assert_true(b.on_thread); /* the closing thread counts as the worker's */
}

struct late {
    struct fg_task task;
    struct note *note;
    bool taken;
};

static void post_again(struct fg_task *task)
{
    struct late *l = FG_CONTAINER(task, struct late, task);
    l->taken = fg_worker_post(l->note->board->worker, &l->note->task);
}

static void a_closed_worker_refuses_tasks(void **state)
{
    (void)state;
    static struct board b;
    struct note n = {{.run = write_down}, &b, 1};
    struct late l = {{.run = post_again}, &n, true};
    struct fg_worker *w = open_worker(&b);
    assert_true(fg_worker_post(w, &l.task));
    fg_worker_close(w);
    assert_false(l.taken);
    assert_int_equal(b.count, 0);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct board *b = ctx;
    (void)fd;
    (void)what;
    b->on_thread &= fg_worker_is_current(b->worker);
    sem_post(&b->done);
}

static void events_of_its_base_run_on_its_thread(void **state)
{
    (void)state;
    static struct board b;
    struct timeval soon = {.tv_usec = 1000};
    struct fg_worker *w = open_worker(&b);
    struct event *e = event_new(fg_worker_base(w), -1, EV_PERSIST, on_timer, &b);
    assert_int_equal(event_add(e, &soon), 0);
    assert_int_equal(fg_worker_start(w, NULL), FG_OK);
    wait_for(&b, 3);
    fg_worker_join(w);
    event_free(e); /* the loop has ended, the base is still there */
    fg_worker_close(w);
    assert_true(b.on_thread);
}

static void the_last_turn_follows_the_loop(void **state)
{
    (void)state;
    static struct board b;
    struct note n = {{.run = write_down}, &b, 1};
    struct fg_worker *w = open_worker(&b);
    uint64_t first = fg_worker_last_turn_ns(w);
    assert_true(first > 0);
    assert_int_equal(fg_worker_start(w, NULL), FG_OK);
    assert_true(fg_worker_post(w, &n.task));
    wait_for(&b, 1);
    assert_true(fg_worker_last_turn_ns(w) >= first);
    uint64_t then = fg_clock_ns(), until = then + 20 * FG_NS_PER_S;
    while (fg_worker_last_turn_ns(w) < then && fg_clock_ns() < until) /* idle: it beats alone */
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    assert_true(fg_worker_last_turn_ns(w) >= then);
    fg_worker_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_run_in_order_on_the_worker),
        cmocka_unit_test(each_senders_tasks_keep_their_order),
        cmocka_unit_test(closing_runs_what_was_still_posted),
        cmocka_unit_test(a_closed_worker_refuses_tasks),
        cmocka_unit_test(events_of_its_base_run_on_its_thread),
        cmocka_unit_test(the_last_turn_follows_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
