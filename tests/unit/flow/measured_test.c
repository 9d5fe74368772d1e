/* Speed, energy and memory of models on backends, and the parting of energy among jobs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "flow/measured.h"
#include "flow/meter.h"

static struct fg_measured m;

static int fresh(void **state)
{
    (void)state;
    m = (struct fg_measured){0};
    return 0;
}

static void near(double a, double b)
{
    if (!(fabs(a - b) < 1e-9))
        fail_msg("%f is not %f", a, b);
}

static void nothing_is_known_at_first(void **state)
{
    (void)state;
    struct fg_figure f = fg_measured_get(&m, 7, 0);
    assert_true(f.tokens_per_s == 0 && f.joules_per_token == 0 && f.memory_bytes == 0);
}

static void jobs_are_smoothed(void **state)
{
    (void)state;
    fg_measured_note(&m, 7, 1, 100, 10000000000, 50);
    near(fg_measured_get(&m, 7, 1).tokens_per_s, 10);
    near(fg_measured_get(&m, 7, 1).joules_per_token, 0.5);
    fg_measured_note(&m, 7, 1, 100, 5000000000, NAN);
    near(fg_measured_get(&m, 7, 1).tokens_per_s, 12);
    near(fg_measured_get(&m, 7, 1).joules_per_token, 0.5);
    near(fg_measured_get(&m, 7, 0).tokens_per_s, 0); /* another backend */
    near(fg_measured_get(&m, 8, 1).tokens_per_s, 0); /* another model */
    fg_measured_note(&m, 7, 1, 3, 1, 1);             /* too short to tell anything */
    fg_measured_note(&m, 7, 1, 100, 0, 0);           /* a backend that tells no time */
    near(fg_measured_get(&m, 7, 1).tokens_per_s, 12);
    fg_measured_loaded(&m, 7, 1, 5000);
    fg_measured_loaded(&m, 7, 1, 0);
    assert_int_equal(fg_measured_get(&m, 7, 1).memory_bytes, 5000);
}

static void the_one_not_used_for_longest_is_forgotten(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= FG_FIGURES; i++)
        fg_measured_loaded(&m, i, 0, i);
    fg_measured_loaded(&m, 1, 0, 11);
    fg_measured_loaded(&m, 9999, 0, 1);
    assert_int_equal(fg_measured_get(&m, 1, 0).memory_bytes, 11);
    assert_int_equal(fg_measured_get(&m, 2, 0).memory_bytes, 0);
    assert_int_equal(fg_measured_get(&m, 3, 0).memory_bytes, 3);
    assert_true(fg_measured_key(FG_STR("")) != 0);
}

static void energy_is_parted_among_those_who_run(void **state)
{
    (void)state;
    struct fg_meter e = {0};
    struct fg_meter_mark a = fg_meter_start(&e, 100);
    struct fg_meter_mark b = fg_meter_start(&e, 110); /* a alone until here: 10 */
    near(fg_meter_end(&e, a, 130), 20);               /* and half of 20 */
    near(fg_meter_end(&e, b, 135), 15);               /* half of 20, and 5 alone */
    struct fg_meter_mark c = fg_meter_start(&e, 200); /* what was idle is nobody's */
    near(fg_meter_end(&e, c, 201), 1);
}

static void a_hole_in_the_counter_is_not_guessed(void **state)
{
    (void)state;
    struct fg_meter e = {0};
    struct fg_meter_mark a = fg_meter_start(&e, 100), b = fg_meter_start(&e, NAN);
    assert_true(isnan(fg_meter_end(&e, a, 120)));
    assert_true(isnan(fg_meter_end(&e, b, 130))); /* the hole ended while it ran */
    struct fg_meter_mark c = fg_meter_start(&e, 140);
    near(fg_meter_end(&e, c, 150), 10);
    struct fg_meter_mark d = fg_meter_start(&e, 150);
    assert_true(isnan(fg_meter_end(&e, d, 3))); /* the driver was loaded anew */
    assert_int_equal(e.running, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_is_known_at_first, fresh),
        cmocka_unit_test_setup(jobs_are_smoothed, fresh),
        cmocka_unit_test_setup(the_one_not_used_for_longest_is_forgotten, fresh),
        cmocka_unit_test(energy_is_parted_among_those_who_run),
        cmocka_unit_test(a_hole_in_the_counter_is_not_guessed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
