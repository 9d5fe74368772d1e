/* The line before a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "flow/queue.h"

static void first_in_first_out_and_no_more_than_the_slots(void **state)
{
    (void)state;
    struct fg_queue q;
    struct fg_wait w[4];
    fg_queue_init(&q, 8);
    q.slots = 2;
    for (int i = 0; i < 4; i++)
        assert_true(fg_queue_push(&q, &w[i], 1));
    assert_int_equal(fg_queue_position(&q, &w[2]), 3);
    assert_ptr_equal(fg_queue_grant(&q), &w[0]);
    assert_ptr_equal(fg_queue_grant(&q), &w[1]);
    assert_null(fg_queue_grant(&q));
    fg_queue_release(&q, 0);
    assert_ptr_equal(fg_queue_grant(&q), &w[2]);
    assert_int_equal(fg_queue_position(&q, &w[2]), 0);
}

static void queue_refuses_when_full(void **state)
{
    (void)state;
    struct fg_queue q;
    struct fg_wait w[3];
    fg_queue_init(&q, 2);
    assert_true(fg_queue_push(&q, &w[0], 1));
    assert_true(fg_queue_push(&q, &w[1], 1));
    assert_false(fg_queue_push(&q, &w[2], 1));
    fg_queue_remove(&q, &w[0]);
    assert_true(fg_queue_push(&q, &w[2], 1));
    assert_ptr_equal(fg_queue_pop(&q), &w[1]);
}

static void limit_zero_still_serves_free_slots(void **state)
{
    (void)state;
    struct fg_queue q;
    struct fg_wait w[2];
    fg_queue_init(&q, 0);
    q.slots = 1;
    assert_true(fg_queue_push(&q, &w[0], 1));
    assert_ptr_equal(fg_queue_grant(&q), &w[0]);
    assert_false(fg_queue_push(&q, &w[1], 1));
    assert_false(fg_queue_is_idle(&q));
    fg_queue_release(&q, 0);
    assert_true(fg_queue_is_idle(&q));
}

static void front_push_goes_before_the_others(void **state)
{
    (void)state;
    struct fg_queue q;
    struct fg_wait w[2];
    fg_queue_init(&q, 1);
    assert_true(fg_queue_push(&q, &w[0], 1));
    fg_queue_push_front(&q, &w[1]);
    assert_ptr_equal(fg_queue_pop(&q), &w[1]);
}

static void retry_after_follows_the_pace_within_bounds(void **state)
{
    (void)state;
    struct fg_queue q;
    struct fg_wait w[100];
    fg_queue_init(&q, 100);
    q.slots = 1;
    assert_int_equal(fg_queue_retry_after(&q), 1);
    q.running = 1;
    fg_queue_release(&q, 2000000000ull);
    for (int i = 0; i < 5; i++)
        assert_true(fg_queue_push(&q, &w[i], 1));
    assert_int_equal(fg_queue_retry_after(&q), 10);
    for (int i = 5; i < 100; i++)
        assert_true(fg_queue_push(&q, &w[i], 1));
    assert_int_equal(fg_queue_retry_after(&q), 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_in_first_out_and_no_more_than_the_slots),
        cmocka_unit_test(queue_refuses_when_full),
        cmocka_unit_test(limit_zero_still_serves_free_slots),
        cmocka_unit_test(front_push_goes_before_the_others),
        cmocka_unit_test(retry_after_follows_the_pace_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
