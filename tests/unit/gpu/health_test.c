/* The health of a card: states, causes, hysteresis, the governor. Time is a number here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "gpu/health.h"
#include "util/clock.h"

#define AT(s) ((uint64_t)((s)*1000) * FG_NS_PER_MS)

static struct fg_health h;

static struct fg_health_view unknown(void)
{
    return (struct fg_health_view){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, false};
}

static struct fg_health_view good(void)
{
    struct fg_health_view v = unknown();
    v.celsius = 50;
    v.slowdown_celsius = 95;
    v.throttle = FG_THROTTLE_IDLE;
    v.ecc_corrected = v.ecc_uncorrected = 0;
    v.link_width = v.link_width_max = 16;
    return v;
}

static int fresh(void **state)
{
    (void)state;
    fg_health_init(&h, 0);
    return 0;
}

static void ready(void)
{
    struct fg_health_view v = good();
    assert_true(fg_health_sample(&h, &v, AT(1)));
    assert_int_equal(h.state, FG_GPU_READY);
}

static void same(double s, const struct fg_health_view *v, int32_t state, int32_t cause)
{
    fg_health_sample(&h, v, AT(s));
    assert_string_equal(fg_gpu_state_name(h.state), fg_gpu_state_name(state));
    assert_string_equal(fg_gpu_cause_name(h.cause), fg_gpu_cause_name(cause));
}

static void a_card_is_ready_after_its_first_reading(void **state)
{
    (void)state;
    assert_int_equal(h.state, FG_GPU_STARTING);
    ready();
    assert_true(fg_health_weight(&h) == 1);
    assert_true(fg_health_admission(&h) == 1);
    assert_true(h.since_ns == AT(1));
}

static void unknown_figures_are_no_fault(void **state)
{
    (void)state;
    struct fg_health_view v = unknown();
    for (int s = 1; s < 2000; s += 10)
        same(s, &v, FG_GPU_READY, FG_CAUSE_NONE);
    assert_true(fg_health_weight(&h) == 1);
    assert_true(fg_health_admission(&h) == 1);
}

static void heat_degrades_after_half_a_minute_and_is_over_after_one(void **state)
{
    (void)state;
    ready();
    struct fg_health_view v = good(), cool = good();
    v.throttle = FG_THROTTLE_HW_HEAT | FG_THROTTLE_HW_SLOWDOWN;
    same(10, &v, FG_GPU_READY, FG_CAUSE_NONE);
    same(39, &v, FG_GPU_READY, FG_CAUSE_NONE);
    same(39.5, &cool, FG_GPU_READY, FG_CAUSE_NONE); /* a moment of rest starts it anew */
    same(40, &v, FG_GPU_READY, FG_CAUSE_NONE);
    same(70, &v, FG_GPU_DEGRADED, FG_CAUSE_HEAT);
    assert_true(h.since_ns == AT(70));
    assert_true(fg_health_weight(&h) < 0.5F && fg_health_weight(&h) > 0);
    same(71, &cool, FG_GPU_DEGRADED, FG_CAUSE_HEAT);
    same(130, &cool, FG_GPU_DEGRADED, FG_CAUSE_HEAT);
    same(131, &cool, FG_GPU_READY, FG_CAUSE_NONE);
}

static void the_power_brake_is_not_heat(void **state)
{
    (void)state;
    ready();
    struct fg_health_view v = good();
    v.throttle = FG_THROTTLE_POWER_BRAKE | FG_THROTTLE_HW_SLOWDOWN;
    same(10, &v, FG_GPU_READY, FG_CAUSE_NONE);
    assert_true(fg_health_admission(&h) == 1);
    same(40, &v, FG_GPU_DEGRADED, FG_CAUSE_POWER_BRAKE);
    fresh(NULL);
    ready();
    v.throttle = FG_THROTTLE_POWER_CAP; /* the limit that was set for it: as it should be */
    same(10, &v, FG_GPU_READY, FG_CAUSE_NONE);
    same(90, &v, FG_GPU_READY, FG_CAUSE_NONE);
}

static void a_narrow_link_weighs_little(void **state)
{
    (void)state;
    ready();
    struct fg_health_view v = good();
    v.link_width = 4;
    same(2, &v, FG_GPU_READY, FG_CAUSE_NONE);
    same(32, &v, FG_GPU_DEGRADED, FG_CAUSE_LINK_WIDTH);
    assert_true(fg_health_weight(&h) > 0.7F);
    v.link_width_max = NAN;
    same(33, &v, FG_GPU_DEGRADED, FG_CAUSE_LINK_WIDTH);
    same(63, &v, FG_GPU_READY, FG_CAUSE_NONE);
}

static void many_corrected_errors_count_in_windows(void **state)
{
    (void)state;
    struct fg_health_view v = good();
    v.ecc_corrected = 100000; /* from before us */
    same(1, &v, FG_GPU_READY, FG_CAUSE_NONE);
    v.ecc_corrected += 9;
    same(100, &v, FG_GPU_READY, FG_CAUSE_NONE);
    v.ecc_corrected += 1;
    same(200, &v, FG_GPU_DEGRADED, FG_CAUSE_ECC_RATE);
    same(601, &v, FG_GPU_DEGRADED, FG_CAUSE_ECC_RATE); /* the end of a bad window */
    same(1100, &v, FG_GPU_DEGRADED, FG_CAUSE_ECC_RATE);
    same(1201, &v, FG_GPU_READY, FG_CAUSE_NONE); /* a good one */
    v.ecc_corrected = 3;                         /* the driver was loaded anew */
    same(1300, &v, FG_GPU_READY, FG_CAUSE_NONE);
}

static void an_uncorrected_error_drains_until_the_process_is_new(void **state)
{
    (void)state;
    ready();
    struct fg_health_view v = good();
    v.ecc_uncorrected = 1;
    same(2, &v, FG_GPU_DRAINING, FG_CAUSE_MEMORY_FAULT);
    assert_true(fg_health_weight(&h) == 0);
    v.retirement_pending = 1;
    same(3, &v, FG_GPU_DRAINING, FG_CAUSE_MEMORY_FAULT);
    assert_true(fg_health_restarted(&h, AT(4)));
    assert_int_equal(h.state, FG_GPU_DEGRADED);
    assert_int_equal(h.cause, FG_CAUSE_RETIREMENT);
    v.retirement_pending = 0;
    v.retired_pages = 32;
    same(5, &v, FG_GPU_READY, FG_CAUSE_NONE);
    assert_true(fg_health_weight(&h) == 0.75F); /* pages that are gone stay a warning */
    v.retired_pages = 1000;
    same(6, &v, FG_GPU_READY, FG_CAUSE_NONE);
    assert_true(fg_health_weight(&h) == 0.5F);
}

static void xids_lead_to_the_states_of_the_map(void **state)
{
    (void)state;
    static const struct {
        uint32_t xid;
        int32_t state;
    } rows[] = {
        {13, FG_GPU_FAILED_RESTART}, {31, FG_GPU_FAILED_RESTART}, {43, FG_GPU_FAILED_RESTART},
        {45, FG_GPU_FAILED_RESTART}, {94, FG_GPU_FAILED_RESTART}, {48, FG_GPU_DRAINING},
        {63, FG_GPU_DRAINING},       {64, FG_GPU_FAILED_RESET},   {95, FG_GPU_FAILED_RESET},
        {61, FG_GPU_FAILED_RESET},   {62, FG_GPU_FAILED_RESET},   {119, FG_GPU_FAILED_RESET},
        {120, FG_GPU_FAILED_RESET},  {79, FG_GPU_LOST},           {92, FG_GPU_DEGRADED},
        {154, FG_GPU_DRAINING},      {74, FG_GPU_DRAINING},       {999, FG_GPU_DEGRADED},
        {0, FG_GPU_DEGRADED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fresh(NULL);
        ready();
        assert_true(fg_health_xid(&h, rows[i].xid, AT(2)));
        if (h.state != rows[i].state)
            fail_msg("XID %u leads to %s", rows[i].xid, fg_gpu_state_name(h.state));
        assert_int_equal(fg_health_may_serve(h.state), h.state <= FG_GPU_DEGRADED);
    }
}

static void what_is_graver_wins_and_the_rest_shows_again(void **state)
{
    (void)state;
    ready();
    struct fg_health_view v = good();
    fg_health_xid(&h, 92, AT(2));
    fg_health_xid(&h, 13, AT(3));
    assert_int_equal(h.state, FG_GPU_FAILED_RESTART);
    fg_health_xid(&h, 92, AT(4)); /* changes nothing */
    assert_int_equal(h.state, FG_GPU_FAILED_RESTART);
    same(17.9, &v, FG_GPU_FAILED_RESTART, FG_CAUSE_CONTEXT);
    same(18, &v, FG_GPU_DEGRADED, FG_CAUSE_NOTICE); /* nobody's context was ours */
    same(603, &v, FG_GPU_DEGRADED, FG_CAUSE_NOTICE);
    same(604, &v, FG_GPU_READY, FG_CAUSE_NONE);
}

static void three_dead_contexts_in_ten_minutes_take_the_card_out(void **state)
{
    (void)state;
    ready();
    struct fg_health_view v = good();
    for (int i = 0; i < 3; i++) {
        fg_health_xid(&h, 13, AT(100 * i + 10));
        assert_int_equal(h.state, i < 2 ? FG_GPU_FAILED_RESTART : FG_GPU_FAILED_RESET);
        fg_health_restarted(&h, AT(100 * i + 11));
        assert_int_equal(h.state, i < 2 ? FG_GPU_READY : FG_GPU_FAILED_RESET);
    }
    same(2009, &v, FG_GPU_FAILED_RESET, FG_CAUSE_REPEATED);
    same(2010, &v, FG_GPU_READY, FG_CAUSE_NONE); /* half an hour of peace */
    fresh(NULL);
    ready();
    for (int i = 0; i < 9; i++) { /* our own restarts bring 45: not a fault by itself */
        fg_health_xid(&h, 45, AT(10 * i + 10));
        fg_health_restarted(&h, AT(10 * i + 11));
    }
    assert_int_equal(h.state, FG_GPU_READY);
    for (int i = 0; i < 6; i++) { /* too seldom */
        fg_health_xid(&h, 13, AT(1000 + 301 * i));
        fg_health_restarted(&h, AT(1001 + 301 * i));
        assert_int_equal(h.state, FG_GPU_READY);
    }
}

static void a_second_link_error_needs_a_reset(void **state)
{
    (void)state;
    ready();
    fg_health_xid(&h, 74, AT(10));
    assert_int_equal(h.state, FG_GPU_DRAINING);
    fg_health_restarted(&h, AT(11));
    assert_int_equal(h.state, FG_GPU_READY);
    fg_health_xid(&h, 74, AT(500));
    assert_int_equal(h.state, FG_GPU_FAILED_RESET);
    char text[64];
    assert_string_equal(fg_health_text(&h, text, sizeof text), "XID 74: NVLink error");
}

static void a_lost_card_starts_afresh_when_it_is_found(void **state)
{
    (void)state;
    ready();
    struct fg_health_view v = good();
    char text[64];
    fg_health_xid(&h, 64, AT(2));
    fg_health_xid(&h, 79, AT(3));
    assert_string_equal(fg_health_text(&h, text, sizeof text), "XID 79: it has fallen off the bus");
    same(4000, &v, FG_GPU_LOST, FG_CAUSE_LOST); /* only finding it helps */
    fg_health_restarted(&h, AT(4001));
    assert_int_equal(h.state, FG_GPU_LOST);
    assert_true(fg_health_found(&h, AT(4002)));
    assert_int_equal(h.state, FG_GPU_STARTING);
    same(4003, &v, FG_GPU_READY, FG_CAUSE_NONE);
}

static void a_card_that_says_it_needs_a_reset_is_believed(void **state)
{
    (void)state;
    ready();
    struct fg_health_view v = good();
    v.needs_reset = true;
    same(2, &v, FG_GPU_FAILED_RESET, FG_CAUSE_RESET);
    v.needs_reset = false;
    v.remap_failed = 1;
    same(3, &v, FG_GPU_FAILED_RESET, FG_CAUSE_RESET);
    fg_health_found(&h, AT(4));
    same(5, &v, FG_GPU_FAILED_RESET, FG_CAUSE_REMAP_FAILED);
}

static void admission_falls_before_the_card_slows_down(void **state)
{
    (void)state;
    ready();
    struct fg_health_view v = good();
    float least = 1;
    double at_first = 0;
    for (int s = 2; s < 102; s++) { /* half a degree a second, from 50 */
        v.celsius = floor(50 + (s - 2) * 0.5);
        fg_health_sample(&h, &v, AT(s));
        if (fg_health_admission(&h) < least && at_first == 0)
            at_first = v.celsius;
        if (fg_health_admission(&h) < least)
            least = fg_health_admission(&h);
        if (v.celsius < 75)
            assert_true(fg_health_admission(&h) == 1);
        if (v.celsius >= 93)
            assert_true(fg_health_admission(&h) < 0.3F);
    }
    assert_true(at_first >= 75 && at_first < 85); /* it rises, so sooner than at 85 */
    assert_true(least >= 0.2F);
    v.celsius = 60; /* cools: the slots come back slowly */
    fg_health_sample(&h, &v, AT(103));
    assert_true(fg_health_admission(&h) < 0.5F);
    fg_health_sample(&h, &v, AT(125));
    assert_true(fg_health_admission(&h) == 1);
    assert_int_equal(h.state, FG_GPU_READY);
}

static void a_hot_but_steady_card_keeps_its_slots(void **state)
{
    (void)state;
    ready();
    struct fg_health_view v = good();
    for (int s = 2; s < 300; s++) {
        v.celsius = 82 + s % 2; /* readings of whole degrees tremble */
        fg_health_sample(&h, &v, AT(s));
        if (s > 100)
            assert_true(fg_health_admission(&h) > 0.85F);
    }
    v.throttle = FG_THROTTLE_SW_HEAT; /* it slows down though: fewest slots at once */
    fg_health_sample(&h, &v, AT(300));
    assert_true(fg_health_admission(&h) == 0.25F);
}

static void names_are_there_for_every_number(void **state)
{
    (void)state;
    for (int32_t i = -1; i <= FG_CAUSES; i++) {
        assert_non_null(fg_gpu_cause_name(i));
        assert_non_null(fg_gpu_cause_text(i));
    }
    assert_string_equal(fg_gpu_state_name(FG_GPU_LOST), "lost");
    assert_string_equal(fg_gpu_state_name(99), "unknown");
}

#define TEST(name) cmocka_unit_test_setup(name, fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_card_is_ready_after_its_first_reading),
        TEST(unknown_figures_are_no_fault),
        TEST(heat_degrades_after_half_a_minute_and_is_over_after_one),
        TEST(the_power_brake_is_not_heat),
        TEST(a_narrow_link_weighs_little),
        TEST(many_corrected_errors_count_in_windows),
        TEST(an_uncorrected_error_drains_until_the_process_is_new),
        TEST(xids_lead_to_the_states_of_the_map),
        TEST(what_is_graver_wins_and_the_rest_shows_again),
        TEST(three_dead_contexts_in_ten_minutes_take_the_card_out),
        TEST(a_second_link_error_needs_a_reset),
        TEST(a_lost_card_starts_afresh_when_it_is_found),
        TEST(a_card_that_says_it_needs_a_reset_is_believed),
        TEST(admission_falls_before_the_card_slows_down),
        TEST(a_hot_but_steady_card_keeps_its_slots),
        TEST(names_are_there_for_every_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
