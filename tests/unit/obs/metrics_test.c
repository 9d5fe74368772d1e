/* The page of metrics as Prometheus reads it, and updates from many threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "obs/metrics.h"

static char *page(struct fg_buf *b)
{
    *b = (struct fg_buf){0};
    assert_true(fg_metrics_write(b));
    assert_true(fg_buf_addc(b, '\0'));
    return b->ptr;
}

static void has(const char *text)
{
    struct fg_buf b;
    const char *all = page(&b);
    if (!strstr(all, text))
        fail_msg("no\n%s\nin\n%s", text, all);
    fg_buf_done(&b);
}

static void a_counter_shows_help_type_and_value(void **state)
{
    (void)state;
    struct fg_metric *m =
        fg_metric(FG_METRIC_COUNTER, "t_requests_total", "requests\nby \\ all", NULL, NULL, 0);
    fg_metric_add(m, 1);
    fg_metric_add(m, 2);
    has("# HELP t_requests_total requests\\nby \\\\ all\n# TYPE t_requests_total counter\n"
        "t_requests_total 3\n");
}

static void a_counter_never_falls(void **state)
{
    (void)state;
    struct fg_metric *m = fg_metric(FG_METRIC_COUNTER, "t_up_total", "up", NULL, NULL, 0);
    fg_metric_add(m, 5);
    fg_metric_add(m, -2);
    fg_metric_set(m, 1);
    fg_metric_observe(m, 9);
    has("t_up_total 5\n");
}

static void a_gauge_goes_both_ways_and_shows_fractions(void **state)
{
    (void)state;
    struct fg_metric *m = fg_metric(FG_METRIC_GAUGE, "t_heat", "heat", NULL, NULL, 0);
    fg_metric_set(m, 10);
    fg_metric_add(m, -9.9);
    has("t_heat 0.09999999999999964\n");
    fg_metric_set(m, 1.0 / 0.0);
    has("t_heat +Inf\n");
    fg_metric_set(m, 0.0 / 0.0);
    has("t_heat NaN\n");
    fg_metric_set(m, 9007199254740993.0);
    has("t_heat 9007199254740992\n");
}

static void the_same_name_and_labels_are_one_series_under_one_title(void **state)
{
    (void)state;
    struct fg_metric *a =
        fg_metric(FG_METRIC_COUNTER, "t_jobs_total", "jobs", "end=\"ok\"", NULL, 0);
    struct fg_metric *b =
        fg_metric(FG_METRIC_COUNTER, "t_jobs_total", "jobs", "end=\"no\"", NULL, 0);
    assert_ptr_equal(a, fg_metric(FG_METRIC_COUNTER, "t_jobs_total", "x", "end=\"ok\"", NULL, 0));
    assert_ptr_not_equal(a, b);
    fg_metric_add(a, 1);
    fg_metric_add(b, 2);
    has("# TYPE t_jobs_total counter\nt_jobs_total{end=\"ok\"} 1\nt_jobs_total{end=\"no\"} 2\n");
}

static void one_name_has_one_kind(void **state)
{
    (void)state;
    fg_metric_add(fg_metric(FG_METRIC_COUNTER, "t_kind_total", "k", NULL, NULL, 0), 1);
    struct fg_metric *wrong = fg_metric(FG_METRIC_GAUGE, "t_kind_total", "k", NULL, NULL, 0);
    assert_non_null(wrong);
    fg_metric_set(wrong, 77);
    has("t_kind_total 1\n");
}

static void histogram_buckets_are_cumulative_and_end_with_infinity(void **state)
{
    (void)state;
    static const double bounds[] = {0.1, 1, 2.5};
    struct fg_metric *m =
        fg_metric(FG_METRIC_HISTOGRAM, "t_wait_seconds", "wait", "q=\"a\"", bounds, 3);
    fg_metric_observe(m, 0.1); /* on a bound: inside */
    fg_metric_observe(m, 0.5);
    fg_metric_observe(m, 0.5);
    fg_metric_observe(m, 100);
    fg_metric_observe(m, 0.0 / 0.0);
    has("# TYPE t_wait_seconds histogram\n"
        "t_wait_seconds_bucket{q=\"a\",le=\"0.1\"} 1\n"
        "t_wait_seconds_bucket{q=\"a\",le=\"1\"} 3\n"
        "t_wait_seconds_bucket{q=\"a\",le=\"2.5\"} 3\n"
        "t_wait_seconds_bucket{q=\"a\",le=\"+Inf\"} 4\n"
        "t_wait_seconds_sum{q=\"a\"} 101.1\n"
        "t_wait_seconds_count{q=\"a\"} 4\n");
    struct fg_metric *bare = fg_metric(FG_METRIC_HISTOGRAM, "t_bare", "b", NULL, bounds, 1);
    fg_metric_observe(bare, 3);
    has("t_bare_bucket{le=\"0.1\"} 0\nt_bare_bucket{le=\"+Inf\"} 1\nt_bare_sum 3\nt_bare_count "
        "1\n");
}

static void *add_many(void *m)
{
    for (int i = 0; i < 10000; i++) {
        fg_metric_add(m, 1);
        FG_COUNT("t_macro_total", "from the macro");
    }
    return NULL;
}

static void updates_of_many_threads_are_all_counted(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct fg_metric *m = fg_metric(FG_METRIC_GAUGE, "t_many", "many", NULL, NULL, 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, m), 0);
    struct fg_buf b;
    for (int i = 0; i < 20; i++) { /* a page may be asked for at any time */
        page(&b);
        fg_buf_done(&b);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    has("t_many 40000\n");
    has("t_macro_total 40000\n");
}

static void a_page_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct fg_buf b = {.limit = 64};
    assert_false(fg_metrics_write(&b));
    fg_buf_done(&b);
}

static void beyond_ten_thousand_series_a_metric_goes_nowhere(void **state)
{
    (void)state;
    char labels[32];
    struct fg_metric *m = NULL;
    for (int i = 0; i < 10001; i++) {
        snprintf(labels, sizeof labels, "i=\"%d\"", i);
        m = fg_metric(FG_METRIC_COUNTER, "t_flood_total", "flood", labels, NULL, 0);
        assert_non_null(m);
        fg_metric_add(m, 1);
    }
    struct fg_buf b;
    const char *all = page(&b);
    assert_non_null(strstr(all, "t_flood_total{i=\"1\"} 1\n"));
    assert_null(strstr(all, "t_flood_total{i=\"10000\"}"));
    fg_buf_done(&b);
}

static void after_done_handles_stay_good_and_begin_at_zero(void **state)
{
    (void)state;
    struct fg_metric *m = fg_metric(FG_METRIC_COUNTER, "t_requests_total", "", NULL, NULL, 0);
    fg_metrics_done();
    has("t_requests_total 0\n");
    has("t_wait_seconds_count{q=\"a\"} 0\n");
    fg_metric_add(m, 1);
    has("t_requests_total 1\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_shows_help_type_and_value),
        cmocka_unit_test(a_counter_never_falls),
        cmocka_unit_test(a_gauge_goes_both_ways_and_shows_fractions),
        cmocka_unit_test(the_same_name_and_labels_are_one_series_under_one_title),
        cmocka_unit_test(one_name_has_one_kind),
        cmocka_unit_test(histogram_buckets_are_cumulative_and_end_with_infinity),
        cmocka_unit_test(updates_of_many_threads_are_all_counted),
        cmocka_unit_test(a_page_that_does_not_fit_is_refused),
        cmocka_unit_test(beyond_ten_thousand_series_a_metric_goes_nowhere),
        cmocka_unit_test(after_done_handles_stay_good_and_begin_at_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
