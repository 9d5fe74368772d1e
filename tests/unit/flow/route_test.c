/* Where a model may run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "conf/conf.h"
#include "flow/route.h"
#include "plugin/backend.h"

static void order_of_the_configuration_is_kept(void **state)
{
    (void)state;
    const struct fg_route_backend b[] = {{.name = "a", .state = FG_BACKEND_UP},
                                         {.name = "b", .state = FG_BACKEND_UP}};
    struct fg_route r;
    fg_route(0, b, 2, &r);
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
    fg_route(0, b, 3, &r);
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
    fg_route(0, b, 3, &r);
    assert_int_equal(r.candidate_count, 1);
    assert_int_equal(r.candidates[0].index, 2);
    assert_int_equal(r.skipped_count, 0);
    fg_route(0, b, 2, &r);
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
    fg_route(0, b, 2, &r);
    assert_int_equal(r.candidate_count, 0);
    assert_false(r.may_come_back);
    fg_route(0, b, 0, &r);
    assert_int_equal(r.candidate_count, 0);
}

/* ---- cards and policies -----------------------------------------------------------------------
 */

#define UP         .state = FG_BACKEND_UP
#define CARD(c, w) .cards = 1, .weight = (w), .celsius = (c)

static void order_is(int32_t policy, const struct fg_route_backend *b, uint32_t count,
                     const char *names)
{
    struct fg_route r;
    char got[64] = "";
    fg_route(policy, b, count, &r);
    for (uint32_t i = 0; i < r.candidate_count; i++) {
        strcat(got, i ? " " : "");
        strcat(got, b[r.candidates[i].index].name);
    }
    assert_string_equal(got, names);
}

static void a_card_that_may_not_serve_bars_its_backend(void **state)
{
    (void)state;
    const struct fg_route_backend b[] = {
        {.name = "a", UP, .is_barred = true, .why_barred = "gpu 0 lost: gone", CARD(40, 0)},
        {.name = "b", UP, .is_barred = true, .may_lift = true, CARD(40, 0)},
        {.name = "cpu", UP}};
    struct fg_route r;
    fg_route(FG_POLICY_PREFER, b, 3, &r);
    assert_int_equal(r.candidate_count, 1);
    assert_string_equal(r.skipped[0].reason, "gpu 0 lost: gone");
    assert_string_equal(r.skipped[1].reason, "its card may not serve");
    assert_true(r.may_come_back);
    fg_route(FG_POLICY_PREFER, b, 1, &r);
    assert_false(r.may_come_back);
}

static void a_strained_card_gives_way_to_a_healthier_one_and_never_to_the_cpu(void **state)
{
    (void)state;
    const struct fg_route_backend b[] = {
        {.name = "old", UP, CARD(80, 0.3F)}, {.name = "cpu", UP}, {.name = "new", UP, CARD(50, 1)}};
    order_is(FG_POLICY_PREFER, b, 3, "new cpu old");
    order_is(FG_POLICY_PREFER, b, 2, "old cpu");
    const struct fg_route_backend fine[] = {{.name = "a", UP, CARD(80, 0.6F)},
                                            {.name = "b", UP, CARD(50, 1)}};
    order_is(FG_POLICY_PREFER, fine, 2, "a b");
    order_is(99, fine, 2, "a b"); /* an unknown policy is the first one */
}

static void policies_order_what_they_have_figures_for(void **state)
{
    (void)state;
    const struct fg_route_backend b[] = {
        {.name = "a", UP, CARD(70, 1), .tokens_per_s = 20, .joules_per_token = 4},
        {.name = "b", UP, CARD(NAN, 1)},
        {.name = "c", UP, CARD(40, 1), .tokens_per_s = 30, .joules_per_token = 5},
        {.name = "cpu", UP, .tokens_per_s = 25, .joules_per_token = 0},
        {.name = "d", UP, CARD(35, 0.4F), .tokens_per_s = 60, .joules_per_token = 3}};
    order_is(FG_POLICY_COOLEST, b, 5, "c b a cpu d"); /* d is strained: not the place for more */
    order_is(FG_POLICY_FASTEST, b, 5, "c b cpu d a"); /* d counts with its weight: 24 */
    order_is(FG_POLICY_CHEAPEST, b, 5, "d b a cpu c");
    struct fg_route r;
    fg_route(FG_POLICY_COOLEST, b, 5, &r);
    assert_string_equal(r.candidates[0].reason, "its card is cooler");
    assert_string_equal(r.candidates[1].reason, "next in preference");
}

static void what_has_no_room_comes_last(void **state)
{
    (void)state;
    const struct fg_route_backend b[] = {{.name = "small", UP, CARD(30, 1), .is_tight = true},
                                         {.name = "large", UP, CARD(60, 1)},
                                         {.name = "cpu", UP}};
    order_is(FG_POLICY_COOLEST, b, 3, "large cpu small");
}

static void a_route_has_its_own_order(void **state)
{
    (void)state;
    const struct fg_route_backend b[] = {{.name = "a", UP, .rank = 2},
                                         {.name = "b", UP, .is_unlisted = true},
                                         {.name = "c", UP, .rank = 0},
                                         {.name = "d", .state = FG_BACKEND_DOWN, .rank = 1}};
    struct fg_route r;
    order_is(FG_POLICY_PREFER, b, 4, "c a");
    fg_route(FG_POLICY_PREFER, b, 4, &r);
    assert_int_equal(r.skipped_count, 1);
    assert_int_equal(r.skipped[0].index, 3);
    assert_string_equal(r.candidates[0].reason, "preferred");
}

static void every_number_of_backends_is_taken(void **state)
{
    (void)state;
    static struct fg_route_backend b[FG_ROUTE_MAX + 8];
    struct fg_route r;
    for (int i = 0; i < FG_ROUTE_MAX + 8; i++)
        b[i] = (struct fg_route_backend){.name = "x", UP, .rank = 99, CARD((float)(100 - i), 1)};
    for (int32_t policy = -1; policy < 6; policy++) {
        fg_route(policy, b, FG_ROUTE_MAX + 8, &r);
        assert_int_equal(r.candidate_count, FG_ROUTE_MAX);
    }
    fg_route(FG_POLICY_COOLEST, b, FG_ROUTE_MAX, &r);
    assert_int_equal(r.candidates[0].index, FG_ROUTE_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_card_that_may_not_serve_bars_its_backend),
        cmocka_unit_test(a_strained_card_gives_way_to_a_healthier_one_and_never_to_the_cpu),
        cmocka_unit_test(policies_order_what_they_have_figures_for),
        cmocka_unit_test(what_has_no_room_comes_last),
        cmocka_unit_test(a_route_has_its_own_order),
        cmocka_unit_test(every_number_of_backends_is_taken),
        cmocka_unit_test(order_of_the_configuration_is_kept),
        cmocka_unit_test(what_is_skipped_is_told),
        cmocka_unit_test(anothers_own_model_is_not_told_as_skipped),
        cmocka_unit_test(only_what_restarts_may_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
