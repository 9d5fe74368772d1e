/* Where a model may run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "flow/route.h"
#include "plugin/backend.h"

static void order_of_the_configuration_is_kept(void **state)
{
    (void)state;
    const struct fg_route_backend b[] = {{.name = "a", .state = FG_BACKEND_UP},
                                         {.name = "b", .state = FG_BACKEND_UP}};
    struct fg_route r;
    fg_route(b, 2, &r);
    assert_int_equal(r.candidate_count, 2);
    assert_int_equal(r.candidates[0].index, 0);
    assert_int_equal(r.skipped_count, 0);
}

static void what_is_skipped_is_told(void **state)
{
    (void)state;
    const struct fg_route_backend b[] = {
        {.name = "gpu", .state = FG_BACKEND_DOWN, .reason = "restarting"},
        {.name = "x", .state = FG_BACKEND_UP, .excluded = true, .why_excluded = "no memory"},
        {.name = "cpu", .state = FG_BACKEND_UP}};
    struct fg_route r;
    fg_route(b, 3, &r);
    assert_int_equal(r.candidate_count, 1);
    assert_int_equal(r.candidates[0].index, 2);
    assert_int_equal(r.skipped_count, 2);
    assert_string_equal(r.skipped[0].reason, "restarting");
    assert_string_equal(r.skipped[1].reason, "no memory");
    assert_true(r.may_come_back);
}

static void anothers_own_model_is_not_told_as_skipped(void **state)
{
    (void)state;
    const struct fg_route_backend b[] = {
        {.name = "cpu", .state = FG_BACKEND_UP, .is_apart = true},
        {.name = "old", .state = FG_BACKEND_DOWN, .is_apart = true},
        {.name = "fake", .state = FG_BACKEND_UP}};
    struct fg_route r;
    fg_route(b, 3, &r);
    assert_int_equal(r.candidate_count, 1);
    assert_int_equal(r.candidates[0].index, 2);
    assert_int_equal(r.skipped_count, 0);
    fg_route(b, 2, &r);
    assert_int_equal(r.candidate_count, 0);
    assert_false(r.may_come_back);
}

static void only_what_restarts_may_come_back(void **state)
{
    (void)state;
    const struct fg_route_backend b[] = {
        {.name = "a", .state = FG_BACKEND_FAILED, .reason = "wrong ABI"},
        {.name = "b", .state = FG_BACKEND_STARTING, .excluded = true}};
    struct fg_route r;
    fg_route(b, 2, &r);
    assert_int_equal(r.candidate_count, 0);
    assert_false(r.may_come_back);
    fg_route(b, 0, &r);
    assert_int_equal(r.candidate_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_of_the_configuration_is_kept),
        cmocka_unit_test(what_is_skipped_is_told),
        cmocka_unit_test(anothers_own_model_is_not_told_as_skipped),
        cmocka_unit_test(only_what_restarts_may_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
