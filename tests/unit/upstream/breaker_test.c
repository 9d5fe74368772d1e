/* The breaker by an injected clock. */
#include "cmocka_all.h"

#include "upstream/breaker.h"

enum { REST = 10 };

static struct fg_breaker opened(uint64_t now)
{
    struct fg_breaker b;
    fg_breaker_init(&b, 5, REST);
    for (int i = 0; i < 5; i++)
        (void)fg_breaker_bad(&b, now);
    return b;
}

static void five_failures_in_a_row_open_it(void **state)
{
    struct fg_breaker b;
    (void)state;
    fg_breaker_init(&b, 5, REST);
    for (int i = 0; i < 4; i++)
        assert_false(fg_breaker_bad(&b, 100));
    assert_true(fg_breaker_lets_pass(&b));
    assert_true(fg_breaker_bad(&b, 100));
    assert_false(fg_breaker_lets_pass(&b));
    assert_int_equal(fg_breaker_next_ns(&b), 110);
}

static void a_good_answer_starts_the_count_anew(void **state)
{
    struct fg_breaker b;
    (void)state;
    fg_breaker_init(&b, 5, REST);
    for (int i = 0; i < 20; i++) {
        assert_false(fg_breaker_bad(&b, 100));
        if (i % 4 == 3)
            fg_breaker_good(&b);
    }
    assert_true(fg_breaker_lets_pass(&b));
}

static void one_probe_is_due_after_the_rest(void **state)
{
    struct fg_breaker b = opened(100);
    (void)state;
    assert_false(fg_breaker_probe(&b, 109));
    assert_true(fg_breaker_probe(&b, 110));
    assert_false(fg_breaker_probe(&b, 111)); /* one */
    assert_false(fg_breaker_lets_pass(&b));
    assert_int_equal(fg_breaker_next_ns(&b), UINT64_MAX);
}

static void a_good_probe_closes_it_and_a_bad_one_opens_it_again(void **state)
{
    struct fg_breaker b = opened(100);
    (void)state;
    assert_true(fg_breaker_probe(&b, 110));
    fg_breaker_probed(&b, false, 115);
    assert_int_equal(b.state, FG_BREAKER_OPEN);
    assert_false(fg_breaker_probe(&b, 124));
    assert_true(fg_breaker_probe(&b, 125));
    fg_breaker_probed(&b, true, 126);
    assert_true(fg_breaker_lets_pass(&b));
    for (int i = 0; i < 4; i++) /* and it counts from zero */
        assert_false(fg_breaker_bad(&b, 130));
}

static void late_ends_of_old_requests_say_nothing(void **state)
{
    struct fg_breaker b = opened(100);
    (void)state;
    fg_breaker_good(&b);
    assert_int_equal(b.state, FG_BREAKER_OPEN);
    assert_false(fg_breaker_bad(&b, 105));
    assert_int_equal(fg_breaker_next_ns(&b), 110);
    assert_true(fg_breaker_probe(&b, 110));
    assert_false(fg_breaker_bad(&b, 111));
    fg_breaker_good(&b);
    assert_int_equal(b.state, FG_BREAKER_PROBING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_failures_in_a_row_open_it),
        cmocka_unit_test(a_good_answer_starts_the_count_anew),
        cmocka_unit_test(one_probe_is_due_after_the_rest),
        cmocka_unit_test(a_good_probe_closes_it_and_a_bad_one_opens_it_again),
        cmocka_unit_test(late_ends_of_old_requests_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
