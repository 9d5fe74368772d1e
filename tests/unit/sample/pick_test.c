/* The passes over a vocabulary against straightforward code: sort everything, sum in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sample/pick.h"
#include "engine/sample/rng.h"
#include "util/clock.h"

enum { MOST = 5000 };

static void fill(float *x, size_t n, struct fg_rng *rng, int kinds)
{
    for (size_t i = 0; i < n; i++) /* few kinds: many equal values, so ties are met */
        x[i] = kinds ? (float)(fg_rng_next(rng) % (unsigned)kinds) - 3.0f
                     : (float)(fg_rng_unit(rng) * 60 - 30);
}

static const float *sorted_by;
static int compare(const void *a, const void *b)
{
    const int i = *(const int *)a, j = *(const int *)b;
    if (sorted_by[i] != sorted_by[j])
        return sorted_by[i] > sorted_by[j] ? -1 : 1;
    return i - j;
}

static void top_is_what_a_full_sort_gives(void **state)
{
    (void)state;
    static float x[MOST];
    static int order[MOST];
    static struct fg_cand got[MOST];
    struct fg_rng rng;
    fg_rng_seed(&rng, 7, 0);
    for (int round = 0; round < 300; round++) {
        const size_t n = 1 + fg_rng_next(&rng) % (round % 3 ? 70 : MOST);
        const size_t k = 1 + fg_rng_next(&rng) % (round % 2 ? n : 50);
        fill(x, n, &rng, round % 4 == 0 ? 9 : 0);
        for (size_t i = 0; i < n; i++)
            order[i] = (int)i;
        sorted_by = x;
        qsort(order, n, sizeof *order, compare);
        const size_t count = fg_pick_top(x, n, k, got);
        assert_int_equal(count, k < n ? k : n);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(got[i].id, order[i]);
            assert_true(got[i].logit == x[order[i]]);
        }
        assert_int_equal(fg_pick_argmax(x, n), order[0]);
    }
}

static void top_leaves_out_what_is_forbidden(void **state)
{
    (void)state;
    float x[40];
    struct fg_cand got[8];
    for (int i = 0; i < 40; i++)
        x[i] = i % 20 == 3 ? (float)i : -INFINITY;
    assert_int_equal(fg_pick_top(x, 40, 8, got), 2);
    assert_int_equal(got[0].id, 23);
    assert_int_equal(got[1].id, 3);
}

static void exp_is_close_to_the_library(void **state)
{
    (void)state;
    for (float x = -86.9f; x <= 0; x += 0.0137f) {
        const double want = exp((double)x);
        assert_true(fabs((double)fg_pick_exp(x) - want) <= 3e-7 * want);
    }
    assert_true(fg_pick_exp(0) == 1.0f);
    assert_true(fg_pick_exp(-88) == 0.0f);
    assert_true(fg_pick_exp(-INFINITY) == 0.0f);
}

static void sum_and_max_agree_with_plain_loops(void **state)
{
    (void)state;
    static float x[MOST];
    struct fg_rng rng;
    fg_rng_seed(&rng, 11, 0);
    for (size_t n = 1; n < MOST; n = n * 3 / 2 + 1) {
        fill(x, n, &rng, 0);
        float max = -INFINITY;
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            max = x[i] > max ? x[i] : max;
        for (size_t i = 0; i < n; i++)
            sum += exp((double)x[i] - (double)max);
        bool finite = false;
        assert_true(fg_pick_max(x, n, &finite) == max);
        assert_true(finite);
        assert_true(fabs(fg_pick_sum_exp(x, n, max) - sum) < 1e-6 * sum);
    }
}

static void anything_not_finite_is_seen_anywhere(void **state)
{
    (void)state;
    float x[67];
    const float wrong[] = {NAN, INFINITY, -INFINITY};
    for (size_t kind = 0; kind < 3; kind++)
        for (size_t at = 0; at < 67; at++) {
            bool finite = true;
            memset(x, 0, sizeof x);
            x[at] = wrong[kind];
            (void)fg_pick_max(x, 67, &finite);
            assert_false(finite);
        }
}

static void mass_is_the_smallest_set(void **state)
{
    (void)state;
    static struct fg_cand c[MOST], before[MOST];
    static float rank[MOST];
    struct fg_rng rng;
    fg_rng_seed(&rng, 3, 0);
    for (int round = 0; round < 200; round++) {
        const size_t n = 1 + fg_rng_next(&rng) % (round % 2 ? 60 : MOST);
        const double mass = fg_rng_unit(&rng);
        float best = -INFINITY;
        for (size_t i = 0; i < n; i++) {
            c[i] = (struct fg_cand){.id = (int32_t)i, .logit = (float)(fg_rng_unit(&rng) * 20)};
            best = c[i].logit > best ? c[i].logit : best;
        }
        fg_pick_softmax(c, n);
        double all = 0;
        for (size_t i = 0; i < n; i++) {
            rank[i] = best - c[i].logit;
            all += (double)c[i].p;
        }
        assert_true(fabs(all - 1) < 1e-4);
        memcpy(before, c, sizeof c);
        const size_t kept = fg_pick_mass(c, rank, n, mass);
        assert_in_range(kept, 1, n);
        double sum = 0;
        for (size_t i = 0; i + 1 < kept; i++) {
            sum += (double)c[i].p;
            assert_true(c[i].logit >= c[i + 1].logit);
        }
        assert_true(kept == 1 || sum < mass); /* one fewer would not do */
        assert_true(sum + (double)c[kept - 1].p >= mass || kept == n);
        for (size_t i = 0; i < n; i++) { /* nothing outside is better than the worst inside */
            bool inside = false;
            for (size_t j = 0; j < kept; j++)
                inside |= c[j].id == before[i].id;
            assert_true(inside || before[i].logit <= c[kept - 1].logit);
        }
        if (round % 2 == 0 && round > 20)
            round += 20; /* the large ones are quadratic here */
    }
}

static void above_takes_what_is_above(void **state)
{
    (void)state;
    static float x[MOST];
    static struct fg_cand got[MOST];
    struct fg_rng rng;
    fg_rng_seed(&rng, 13, 0);
    for (int round = 0; round < 200; round++) {
        const size_t n = 1 + fg_rng_next(&rng) % (round % 3 ? 150 : MOST);
        fill(x, n, &rng, round % 2 ? 9 : 0);
        x[fg_rng_next(&rng) % n] = -INFINITY;
        const float bound = round % 5 == 0 ? -INFINITY : (float)(fg_rng_unit(&rng) * 60 - 30);
        const size_t count = fg_pick_above(x, n, bound, got);
        size_t want = 0;
        for (size_t i = 0; i < n; i++)
            if (x[i] > bound)
                assert_int_equal(got[want++].id, i);
        assert_int_equal(count, want);
    }
}

static void a_roll_lands_where_the_weights_say(void **state)
{
    (void)state;
    static float x[MOST];
    struct fg_rng rng;
    fg_rng_seed(&rng, 17, 0);
    for (int round = 0; round < 400; round++) {
        const size_t n = 1 + fg_rng_next(&rng) % (round % 3 ? 50 : MOST);
        const float scale = round % 2 ? 1.0f : 2.5f;
        double total = 0, sum = 0;
        for (size_t i = 0; i < n; i++)
            x[i] = fg_rng_next(&rng) % 9 == 0 ? -INFINITY : (float)(fg_rng_unit(&rng) * 8);
        x[n / 2] = 8;
        for (size_t i = 0; i < n; i++)
            total += exp(((double)x[i] - 8) * (double)scale);
        const double unit = round == 0 ? 0 : fg_rng_unit(&rng);
        const size_t got = fg_pick_roll(x, n, 8, scale, unit);
        assert_true(got < n && x[got] > -INFINITY);
        for (size_t i = 0; i < got; i++)
            sum += exp(((double)x[i] - 8) * (double)scale);
        const double slack = 1e-5 * total; /* float weights */
        assert_true(sum <= unit * total + slack);
        assert_true(sum + exp(((double)x[got] - 8) * (double)scale) >= unit * total - slack);
    }
    assert_true(x[fg_pick_roll(x, 50, 8, 1, 1 - 0x1p-53)] > -INFINITY);
}

static void top_40_of_a_large_vocabulary_is_quick(void **state)
{
    (void)state;
    enum { VOCAB = 262144 };
    float *x = malloc(VOCAB * sizeof *x);
    assert_non_null(x);
    struct fg_rng rng;
    fg_rng_seed(&rng, 5, 0);
    fill(x, VOCAB, &rng, 0);
    struct fg_cand got[40];
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 20; i++) {
        const uint64_t begin = fg_clock_ns();
        assert_int_equal(fg_pick_top(x, VOCAB, 40, got), 40);
        const uint64_t took = fg_clock_ns() - begin;
        best = took < best ? took : best;
    }
    free(x);
    printf("top 40 of %d: %llu us\n", VOCAB, (unsigned long long)(best / 1000));
    /* A sort takes 20 ms; a shared or instrumented machine may be ten times slower than ours. */
    assert_true(best < 5000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(top_is_what_a_full_sort_gives),
        cmocka_unit_test(top_leaves_out_what_is_forbidden),
        cmocka_unit_test(exp_is_close_to_the_library),
        cmocka_unit_test(sum_and_max_agree_with_plain_loops),
        cmocka_unit_test(anything_not_finite_is_seen_anywhere),
        cmocka_unit_test(mass_is_the_smallest_set),
        cmocka_unit_test(above_takes_what_is_above),
        cmocka_unit_test(a_roll_lands_where_the_weights_say),
        cmocka_unit_test(top_40_of_a_large_vocabulary_is_quick),
    };
    return cmocka_run_group_tests_name("sample/pick", tests, NULL, NULL);
}
