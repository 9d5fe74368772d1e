/* The sampler chain, member by member, and the distribution it draws from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sample/sampler.h"
#include "util/clock.h"

enum { VOCAB = 50, DRAWS = 20000 };

static const struct fg_sampling neutral = {.size = sizeof neutral,
                                           .temperature = 1,
                                           .top_p = 1,
                                           .typical_p = 1,
                                           .repeat_penalty = 1,
                                           .repeat_last_n = 64};

static struct fg_sampling seeded(uint64_t seed)
{
    struct fg_sampling s = neutral;
    s.set = FG_SET_SEED;
    s.seed = seed;
    return s;
}

static struct fg_sampler *open_with(const struct fg_sampling *asked, uint32_t vocab)
{
    struct fg_sampler *s = NULL;
    struct fg_error err = {0};
    assert_int_equal(fg_sampler_open(&neutral, asked, vocab, &s, &err), FG_OK);
    return s;
}

static void ramp(float *x, uint32_t n) /* 0, 0.1, ... in a mixed order */
{
    for (uint32_t i = 0; i < n; i++)
        x[i] = (float)((i * 17) % n) * 0.1f;
}

static int32_t draw(struct fg_sampler *s, const float *logits, uint32_t vocab)
{
    float scratch[VOCAB];
    struct fg_sampled got;
    memcpy(scratch, logits, vocab * sizeof *scratch);
    assert_int_equal(fg_sampler_draw(s, scratch, false, 0, &got, NULL), FG_OK);
    return got.token;
}

/* Draws often and compares with the wanted probabilities: the sum of (seen - due)^2 / due has a
 * mean of kinds - 1 and a deviation of sqrt(2 * (kinds - 1)); six of them are never left by
 * chance, and the seed is fixed anyway. */
static void check_distribution(const struct fg_sampling *asked, const float *logits,
                               const double *want)
{
    struct fg_sampler *s = open_with(asked, VOCAB);
    uint32_t seen[VOCAB] = {0};
    for (int i = 0; i < DRAWS; i++)
        seen[draw(s, logits, VOCAB)]++;
    fg_sampler_close(s);
    double chi = 0;
    int kinds = 0;
    for (int i = 0; i < VOCAB; i++) {
        if (want[i] == 0) {
            assert_int_equal(seen[i], 0);
            continue;
        }
        const double due = want[i] * DRAWS;
        chi += ((double)seen[i] - due) * ((double)seen[i] - due) / due;
        kinds++;
    }
    const double bound = kinds - 1 + 6 * sqrt(2.0 * kinds);
    if (chi > bound)
        print_error("chi square %f is above %f\n", chi, bound);
    assert_true(chi <= bound);
}

static void softmax(const float *logits, double temperature, double *p)
{
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += p[i] = exp((double)logits[i] / temperature);
    for (int i = 0; i < VOCAB; i++)
        p[i] /= sum;
}

static void scale(double *p)
{
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += p[i];
    for (int i = 0; i < VOCAB; i++)
        p[i] /= sum;
}

static void draws_follow_the_softmax(void **state)
{
    (void)state;
    float x[VOCAB];
    double p[VOCAB];
    ramp(x, VOCAB);
    struct fg_sampling asked = seeded(1);
    softmax(x, 1, p);
    check_distribution(&asked, x, p);
    asked.temperature = 0.5f;
    asked.set |= FG_SET_TEMPERATURE;
    softmax(x, 0.5, p);
    check_distribution(&asked, x, p);
}

static void top_k_keeps_the_k_largest(void **state)
{
    (void)state;
    float x[VOCAB];
    double p[VOCAB];
    ramp(x, VOCAB);
    softmax(x, 1, p);
    for (int i = 0; i < VOCAB; i++)
        if (x[i] < 4.45f) /* 4.5 to 4.9 are five */
            p[i] = 0;
    scale(p);
    struct fg_sampling asked = seeded(2);
    asked.set |= FG_SET_TOP_K;
    asked.top_k = 5;
    check_distribution(&asked, x, p);
}

static void top_p_keeps_the_smallest_set_with_that_mass(void **state)
{
    (void)state;
    float x[VOCAB];
    double p[VOCAB];
    ramp(x, VOCAB);
    softmax(x, 1, p);
    double sum = 0, bound = 0;
    for (int best = VOCAB - 1; best >= 0 && sum < 0.7; best--) /* values are best * 0.1 */
        for (int i = 0; i < VOCAB; i++)
            if ((i * 17) % VOCAB == best) {
                sum += p[i];
                bound = p[i];
            }
    for (int i = 0; i < VOCAB; i++)
        if (p[i] < bound)
            p[i] = 0;
    scale(p);
    struct fg_sampling asked = seeded(3);
    asked.set |= FG_SET_TOP_P;
    asked.top_p = 0.7f;
    check_distribution(&asked, x, p);
}

static void min_p_is_relative_to_the_best(void **state)
{
    (void)state;
    float x[VOCAB];
    double p[VOCAB], best = 0;
    ramp(x, VOCAB);
    softmax(x, 1, p);
    for (int i = 0; i < VOCAB; i++)
        best = p[i] > best ? p[i] : best;
    for (int i = 0; i < VOCAB; i++)
        if (p[i] < 0.32 * best)
            p[i] = 0;
    scale(p);
    struct fg_sampling asked = seeded(4);
    asked.set |= FG_SET_MIN_P;
    asked.min_p = 0.32f;
    check_distribution(&asked, x, p);
}

static void typical_keeps_what_surprises_as_expected(void **state)
{
    (void)state;
    float x[VOCAB];
    double p[VOCAB], distance[VOCAB], entropy = 0, sum = 0;
    int order[VOCAB];
    ramp(x, VOCAB);
    softmax(x, 1, p);
    for (int i = 0; i < VOCAB; i++)
        entropy -= p[i] * log(p[i]);
    for (int i = 0; i < VOCAB; i++) {
        distance[i] = fabs(-log(p[i]) - entropy);
        order[i] = i;
    }
    for (int i = 0; i < VOCAB; i++)
        for (int j = i + 1; j < VOCAB; j++)
            if (distance[order[j]] < distance[order[i]]) {
                const int swap = order[i];
                order[i] = order[j];
                order[j] = swap;
            }
    for (int i = 0; i < VOCAB; i++) {
        const bool keep = sum < 0.6;
        sum += p[order[i]];
        if (!keep)
            p[order[i]] = 0;
    }
    scale(p);
    struct fg_sampling asked = seeded(5);
    asked.set |= FG_SET_TYPICAL_P;
    asked.typical_p = 0.6f;
    check_distribution(&asked, x, p);
}

static void temperature_0_takes_the_largest(void **state)
{
    (void)state;
    float x[VOCAB];
    ramp(x, VOCAB);
    struct fg_sampling asked = neutral;
    asked.set = FG_SET_TEMPERATURE;
    asked.temperature = 0;
    struct fg_sampler *s = open_with(&asked, VOCAB);
    int32_t best = 0;
    for (int i = 0; i < VOCAB; i++)
        best = x[i] > x[best] ? i : best;
    assert_int_equal(draw(s, x, VOCAB), best);
    fg_sampler_close(s);
}

static void penalties_change_repeated_tokens(void **state)
{
    (void)state;
    /* Greedy over three tokens: 2.0, 1.5, -0.5; what wins tells what the penalty did. */
    float x[3] = {2.0f, 1.5f, -0.5f};
    struct fg_sampling asked = neutral;
    asked.temperature = 0;
    asked.set = FG_SET_TEMPERATURE | FG_SET_REPEAT_PENALTY;
    asked.repeat_penalty = 1.5f; /* 2.0 / 1.5 = 1.33 < 1.5 */
    struct fg_sampler *s = open_with(&asked, 3);
    assert_int_equal(draw(s, x, 3), 0);
    fg_sampler_accept(s, 0);
    assert_int_equal(draw(s, x, 3), 1);
    for (int i = 0; i < 64; i++) /* out of the window of 64: forgotten */
        fg_sampler_accept(s, 2);
    assert_int_equal(draw(s, x, 3), 0);
    fg_sampler_close(s);

    asked.repeat_penalty = 1;
    asked.frequency_penalty = 0.3f;
    asked.set |= FG_SET_FREQUENCY_PENALTY;
    s = open_with(&asked, 3);
    fg_sampler_accept(s, 0);
    assert_int_equal(draw(s, x, 3), 0); /* 1.7 */
    fg_sampler_accept(s, 0);
    assert_int_equal(draw(s, x, 3), 1); /* 1.4 */
    fg_sampler_close(s);

    asked.frequency_penalty = 0;
    asked.presence_penalty = 0.6f;
    asked.set |= FG_SET_PRESENCE_PENALTY;
    s = open_with(&asked, 3);
    fg_sampler_accept(s, 0);
    fg_sampler_accept(s, 0);
    assert_int_equal(draw(s, x, 3), 1); /* 1.4, however often */
    fg_sampler_accept(s, 1);
    assert_int_equal(draw(s, x, 3), 0); /* both are down by the same */
    fg_sampler_close(s);
}

static void bias_and_forbid_decide(void **state)
{
    (void)state;
    float x[VOCAB];
    ramp(x, VOCAB);
    const struct fg_bias bias[] = {{7, 100}, {-3, 5}, {VOCAB, 5}, {8, NAN}};
    struct fg_sampling asked = seeded(1);
    asked.bias = bias;
    asked.bias_count = 4;
    struct fg_sampler *s = open_with(&asked, VOCAB);
    assert_int_equal(draw(s, x, VOCAB), 7);
    const int32_t forbidden[] = {7, -1, VOCAB + 3};
    assert_int_equal(fg_sampler_forbid(s, forbidden, 3), FG_OK);
    for (int i = 0; i < 200; i++)
        assert_int_not_equal(draw(s, x, VOCAB), 7);
    fg_sampler_close(s);
}

static void logprobs_are_of_the_raw_logits(void **state)
{
    (void)state;
    float x[VOCAB], scratch[VOCAB];
    double p[VOCAB];
    ramp(x, VOCAB);
    softmax(x, 1, p);
    const struct fg_bias bias[] = {{7, 50}};
    struct fg_sampling asked = seeded(1);
    asked.bias = bias;
    asked.bias_count = 1;
    struct fg_sampler *s = open_with(&asked, VOCAB);
    struct fg_sampled got;
    memcpy(scratch, x, sizeof x);
    assert_int_equal(fg_sampler_draw(s, scratch, true, 6, &got, NULL), FG_OK);
    assert_int_equal(got.token, 7);
    assert_true(fabs((double)got.logprob - log(p[7])) < 1e-5);
    assert_int_equal(got.top_count, 6);
    for (int i = 0; i < 6; i++) {
        assert_true(fabs((double)got.top[i].logprob - log(p[got.top[i].token])) < 1e-5);
        assert_int_equal((got.top[i].token * 17) % VOCAB, VOCAB - 1 - i);
    }
    fg_sampler_close(s);
}

static void what_is_not_finite_is_an_error(void **state)
{
    (void)state;
    float x[VOCAB];
    struct fg_sampled got;
    struct fg_error err = {0};
    struct fg_sampler *s = open_with(NULL, VOCAB);
    ramp(x, VOCAB);
    x[33] = NAN;
    assert_int_equal(fg_sampler_draw(s, x, false, 0, &got, &err), FG_INTERNAL);
    assert_true(err.text[0] != '\0');
    ramp(x, VOCAB);
    x[49] = INFINITY;
    assert_int_equal(fg_sampler_draw(s, x, false, 0, &got, &err), FG_INTERNAL);
    fg_sampler_close(s);
}

static void values_out_of_range_are_refused(void **state)
{
    (void)state;
    struct fg_sampler *s = NULL;
    struct fg_sampling asked = neutral;
    asked.set = FG_SET_TEMPERATURE | FG_SET_TOP_P | FG_SET_MIN_P | FG_SET_REPEAT_PENALTY;
    asked.temperature = -1;
    assert_int_equal(fg_sampler_open(&neutral, &asked, VOCAB, &s, NULL), FG_INVALID);
    asked.temperature = NAN;
    assert_int_equal(fg_sampler_open(&neutral, &asked, VOCAB, &s, NULL), FG_INVALID);
    asked.temperature = 1;
    asked.top_p = 1.5f;
    assert_int_equal(fg_sampler_open(&neutral, &asked, VOCAB, &s, NULL), FG_INVALID);
    asked.top_p = 1;
    asked.repeat_penalty = 0;
    assert_int_equal(fg_sampler_open(&neutral, &asked, VOCAB, &s, NULL), FG_INVALID);
    assert_null(s);
}

static void a_seed_repeats_and_choices_differ(void **state)
{
    (void)state;
    float x[VOCAB];
    ramp(x, VOCAB);
    struct fg_sampling asked = seeded(42);
    struct fg_sampler *a = open_with(&asked, VOCAB), *b = open_with(&asked, VOCAB), *c = NULL;
    assert_int_equal(fg_sampler_fork(a, 1, &c), FG_OK);
    int same = 0, other = 0;
    for (int i = 0; i < 200; i++) {
        const int32_t one = draw(a, x, VOCAB);
        same += one == draw(b, x, VOCAB);
        other += one == draw(c, x, VOCAB);
    }
    assert_int_equal(same, 200);
    assert_true(other < 60);
    fg_sampler_close(a);
    fg_sampler_close(b);
    fg_sampler_close(c);
    /* The stream itself is part of the promise: the same on every machine, in every version. */
    struct fg_sampler *d = open_with(&asked, VOCAB);
    int32_t first[8];
    for (int i = 0; i < 8; i++)
        first[i] = draw(d, x, VOCAB);
    const int32_t want[8] = {11, 28, 43, 35, 38, 47, 32, 14};
    for (int i = 0; i < 8; i++)
        assert_int_equal(first[i], want[i]);
    fg_sampler_close(d);
}

static void a_draw_from_a_large_vocabulary_is_legal(void **state)
{
    (void)state;
    enum { LARGE = 262144 };
    float *x = malloc(2 * LARGE * sizeof *x), *scratch = x + LARGE;
    assert_non_null(x);
    for (int i = 0; i < LARGE; i++)
        x[i] = (float)((i * 7919u) % LARGE) * 1e-4f;
    struct fg_sampling asked = seeded(1);
    asked.set |= FG_SET_TOP_K | FG_SET_TOP_P | FG_SET_TEMPERATURE | FG_SET_REPEAT_PENALTY;
    asked.top_k = 40;
    asked.top_p = 0.95f;
    asked.temperature = 0.8f;
    asked.repeat_penalty = 1.1f;
    const char *names[] = {"top_k 40", "top_p 0.95 alone", "plain", "top_k 40, logprobs", "greedy"};
    for (int kind = 0; kind < 5; kind++) {
        asked.temperature = kind == 4 ? 0 : 0.8f;
        asked.repeat_penalty = kind == 4 ? 1 : 1.1f;
        asked.top_k = kind == 0 || kind == 3 ? 40 : 0;
        asked.top_p = kind == 2 ? 1 : 0.95f;
        struct fg_sampler *s = open_with(&asked, LARGE);
        struct fg_sampled got;
        uint64_t best = UINT64_MAX;
        for (int i = 0; i < 10; i++) {
            memcpy(scratch, x, LARGE * sizeof *x);
            const uint64_t begin = fg_clock_ns();
            assert_int_equal(fg_sampler_draw(s, scratch, kind == 3, 5, &got, NULL), FG_OK);
            const uint64_t took = fg_clock_ns() - begin;
            best = took < best ? took : best;
            fg_sampler_accept(s, got.token);
        }
        printf("draw, vocabulary %d, %s: %llu us\n", LARGE, names[kind],
               (unsigned long long)(best / 1000));
        assert_true(got.token >= 0 && got.token < LARGE);
        fg_sampler_close(s);
    }
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_softmax),
        cmocka_unit_test(top_k_keeps_the_k_largest),
        cmocka_unit_test(top_p_keeps_the_smallest_set_with_that_mass),
        cmocka_unit_test(min_p_is_relative_to_the_best),
        cmocka_unit_test(typical_keeps_what_surprises_as_expected),
        cmocka_unit_test(temperature_0_takes_the_largest),
        cmocka_unit_test(penalties_change_repeated_tokens),
        cmocka_unit_test(bias_and_forbid_decide),
        cmocka_unit_test(logprobs_are_of_the_raw_logits),
        cmocka_unit_test(what_is_not_finite_is_an_error),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(a_seed_repeats_and_choices_differ),
        cmocka_unit_test(a_draw_from_a_large_vocabulary_is_legal),
    };
    return cmocka_run_group_tests_name("sample/sampler", tests, NULL, NULL);
}
