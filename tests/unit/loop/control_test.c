/* A control thread: one task after the other, in order, and none is lost at the end. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "loop/control.h"

enum { MANY = 1000 };

struct step {
    struct fg_task task;
    struct road *road;
    uint32_t number;
    long nap_ns;
};
struct road {
    struct fg_control *control;
    pthread_t thread;
    uint32_t seen[MANY * 4], count;
    int32_t inside; /* atomic */
    bool overlapped, other_thread, taken;
    struct step extra;
};

static void walk(struct fg_task *task)
{
    struct step *s = FG_CONTAINER(task, struct step, task);
    struct road *r = s->road;
    r->overlapped |= __atomic_add_fetch(&r->inside, 1, __ATOMIC_ACQ_REL) != 1;
    if (!r->count)
        r->thread = pthread_self();
    r->other_thread |= !pthread_equal(r->thread, pthread_self());
    r->seen[r->count++] = s->number;
    if (s->nap_ns)
        nanosleep(&(struct timespec){.tv_nsec = s->nap_ns}, NULL);
    __atomic_sub_fetch(&r->inside, 1, __ATOMIC_ACQ_REL);
}

static void tasks_run_in_order_and_never_overlap(void **state)
{
    (void)state;
    static struct road r;
    static struct step steps[MANY];
    assert_int_equal(fg_control_open("a very long name of a backend", &r.control, NULL), FG_OK);
    for (uint32_t i = 0; i < MANY; i++) {
        steps[i] = (struct step){{.run = walk}, &r, i, 0};
        assert_true(fg_control_post(r.control, &steps[i].task));
    }
    fg_control_close(r.control);
    assert_int_equal(r.count, MANY);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(r.seen[i], i);
    assert_false(r.overlapped);
    assert_false(r.other_thread);
}

static void closing_waits_for_all_that_was_posted(void **state)
{
    (void)state;
    static struct road r;
    static struct step steps[3];
    assert_int_equal(fg_control_open("slow", &r.control, NULL), FG_OK);
    for (uint32_t i = 0; i < 3; i++) {
        steps[i] = (struct step){{.run = walk}, &r, i, 20000000};
        assert_true(fg_control_post(r.control, &steps[i].task));
    }
    fg_control_close(r.control);
    assert_int_equal(r.count, 3);
}

static void post_extra(struct fg_task *task)
{
    struct step *s = FG_CONTAINER(task, struct step, task);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* the close has begun */
    s->road->extra = (struct step){{.run = walk}, s->road, 7, 0};
    s->road->taken = fg_control_post(s->road->control, &s->road->extra.task);
}

static void a_task_posted_while_closing_is_refused_or_runs(void **state)
{
    (void)state;
    static struct road r;
    struct step s = {{.run = post_extra}, &r, 1, 0};
    assert_int_equal(fg_control_open("closing", &r.control, NULL), FG_OK);
    assert_true(fg_control_post(r.control, &s.task));
    fg_control_close(r.control);
    assert_int_equal(r.count, r.taken ? 1 : 0);
}

static void *post_share(void *ctx)
{
    struct step *steps = ctx;
    for (uint32_t i = 0; i < MANY; i++)
        assert_true(fg_control_post(steps[i].road->control, &steps[i].task));
    return NULL;
}

static void each_senders_tasks_keep_their_order(void **state)
{
    (void)state;
    static struct road r;
    static struct step steps[4][MANY];
    pthread_t threads[4];
    assert_int_equal(fg_control_open("many", &r.control, NULL), FG_OK);
    for (uint32_t t = 0; t < 4; t++) {
        for (uint32_t i = 0; i < MANY; i++)
            steps[t][i] = (struct step){{.run = walk}, &r, t * MANY + i, 0};
        assert_int_equal(pthread_create(&threads[t], NULL, post_share, steps[t]), 0);
    }
    for (uint32_t t = 0; t < 4; t++)
        pthread_join(threads[t], NULL);
    fg_control_close(r.control);
    uint32_t next[4] = {0};
    assert_int_equal(r.count, 4 * MANY);
    for (uint32_t i = 0; i < 4 * MANY; i++)
        assert_int_equal(r.seen[i] % MANY, next[r.seen[i] / MANY]++);
    assert_false(r.overlapped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_run_in_order_and_never_overlap),
        cmocka_unit_test(closing_waits_for_all_that_was_posted),
        cmocka_unit_test(a_task_posted_while_closing_is_refused_or_runs),
        cmocka_unit_test(each_senders_tasks_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
