/*
 * The vector loops of each instruction set that this machine has, against plain loops in double on
 * odd lengths. Tolerances: sums of some hundred floats to 1e-5, e^x to some units in the last
 * place.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/simd.h"
#include "engine/gguf/quant.h"

enum { LENGTH = 300 };
static const uint32_t lengths[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, 64, 100, 255, LENGTH};
#define EACH_LENGTH(n)                                                                             \
    for (size_t each = 0, n; each < sizeof lengths / sizeof *lengths && (n = lengths[each], true); \
         each++)

static const struct fg_simd *tables[3];
static size_t table_count;
#define EACH_TABLE(simd)                                                                           \
    for (size_t of = 0; of < table_count; of++)                                                    \
        for (const struct fg_simd *simd = tables[of]; simd; simd = NULL)

static float value(uint32_t i, uint32_t salt)
{
    const uint32_t h = (i * 2654435761u) ^ (salt * 40503u + 977);
    return ((float)(h % 20011) / 20011.0f - 0.5f) * 8;
}
static void fill(float *x, uint32_t salt)
{
    for (uint32_t i = 0; i < LENGTH; i++)
        x[i] = value(i, salt);
}

static void near(double got, double expected, double relative, const char *what, size_t n)
{
    const double off = fabs(got - expected);
    if (!(off <= relative * fabs(expected) + relative * 1e-2))
        fail_msg("%s of %zu: %.9g, expected %.9g", what, n, got, expected);
}

static void rms_norm_divides_by_the_root_of_the_mean_square(void **state)
{
    (void)state;
    float x[LENGTH], w[LENGTH], out[LENGTH + 1];
    fill(x, 1);
    fill(w, 2);
    EACH_TABLE (simd)
        EACH_LENGTH (n) {
            double sum = 0;
            for (size_t i = 0; i < n; i++)
                sum += (double)x[i] * (double)x[i];
            out[n] = 42;
            simd->rms_norm(x, w, 1e-5f, (uint32_t)n, out);
            const double by = 1 / sqrt(sum / (double)n + 1e-5);
            for (size_t i = 0; i < n; i++)
                near((double)out[i], (double)x[i] * by * (double)w[i], 1e-5, "norm", n);
            assert_true(out[n] == 42);
        }
}

static void sums_and_scales_touch_what_they_should(void **state)
{
    (void)state;
    float x[LENGTH], y[LENGTH + 1];
    fill(x, 3);
    EACH_TABLE (simd)
        EACH_LENGTH (n) {
            for (size_t i = 0; i < LENGTH; i++)
                y[i] = value((uint32_t)i, 4);
            y[n] = 42;
            simd->add(y, x, (uint32_t)n);
            for (size_t i = 0; i < n; i++)
                assert_true(y[i] == value((uint32_t)i, 4) + x[i]);
            simd->scale(x, 0.25f, (uint32_t)n, y);
            for (size_t i = 0; i < n; i++)
                assert_true(y[i] == x[i] * 0.25f);
            assert_true(y[n] == 42);
        }
}

static void gates_are_silu_and_the_tanh_form_of_gelu(void **state)
{
    (void)state;
    float gate[LENGTH], up[LENGTH], out[LENGTH + 1];
    fill(gate, 5);
    fill(up, 6);
    gate[0] = 0;
    gate[1] = -90;
    gate[2] = 90;
    gate[3] = -200;
    gate[4] = 1e-3f;
    EACH_TABLE (simd)
        EACH_LENGTH (n) {
            out[n] = 42;
            simd->gate_silu(gate, up, (uint32_t)n, out);
            for (size_t i = 0; i < n; i++) {
                const double x = (double)gate[i];
                near((double)out[i], x / (1 + exp(-x)) * (double)up[i], 2e-6, "silu", n);
            }
            simd->gate_gelu(gate, up, (uint32_t)n, out);
            for (size_t i = 0; i < n; i++) {
                const double x = (double)gate[i];
                const double t = tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
                near((double)out[i], x / 2 * (1 + t) * (double)up[i], 2e-5, "gelu", n);
            }
            assert_true(out[n] == 42);
        }
}

static void a_softcap_bends_what_is_large(void **state)
{
    (void)state;
    float x[LENGTH + 1];
    EACH_TABLE (simd)
        EACH_LENGTH (n) {
            fill(x, 7);
            x[0] = -1e6f;
            x[n] = 42;
            simd->softcap(x, 3, (uint32_t)n);
            for (size_t i = 0; i < n; i++) {
                const double before = i ? (double)value((uint32_t)i, 7) : -1e6;
                near((double)x[i], 3 * tanh(before / 3), 1e-5, "softcap", n);
            }
            assert_true(x[n] == 42);
        }
}

static void rotation_turns_pairs_side_by_side_or_in_halves(void **state)
{
    (void)state;
    static const uint32_t dims[] = {2, 6, 16, 34, 64, 80, 128};
    float head[130], cosine[64], sine[64];
    EACH_TABLE (simd)
        for (size_t k = 0; k < sizeof dims / sizeof *dims; k++)
            for (int halves = 0; halves < 2; halves++) {
                const uint32_t half = dims[k] / 2;
                for (uint32_t i = 0; i < 130; i++)
                    head[i] = value(i, 8);
                for (uint32_t i = 0; i < half; i++) {
                    cosine[i] = cosf((float)i);
                    sine[i] = sinf((float)i);
                }
                simd->rotate(head, dims[k], halves, cosine, sine);
                for (uint32_t i = 0; i < half; i++) {
                    const uint32_t a = halves ? i : 2 * i, b = halves ? i + half : 2 * i + 1;
                    const double x = (double)value(a, 8), y = (double)value(b, 8);
                    const double c = (double)cosine[i], s = (double)sine[i];
                    assert_true(fabs((double)head[a] - (x * c - y * s)) < 1e-5);
                    assert_true(fabs((double)head[b] - (x * s + y * c)) < 1e-5);
                }
                assert_true(head[dims[k]] == value(dims[k], 8)); /* passes through */
            }
}

static void half_precision_rounds_to_nearest_even(void **state)
{
    (void)state;
    float x[LENGTH];
    uint16_t out[LENGTH + 1];
    fill(x, 9);
    x[0] = 65520; /* to infinity */
    x[1] = 1e-8f; /* to zero */
    x[2] = 6.1e-5f;
    x[3] = -0.0f;
    EACH_TABLE (simd)
        EACH_LENGTH (n) {
            out[n] = 42;
            simd->to_f16(x, (uint32_t)n, out);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(out[i], fg_f32_to_f16(x[i]));
            assert_int_equal(out[n], 42);
        }
}

static void joining_two_parts_is_one_softmax_over_both(void **state)
{
    (void)state;
    float out[5] = {1, 2, 3, 4, 5}, more[5] = {5, 4, 3, 2, 1}, max = 2, sum = 3;
    EACH_TABLE (simd) {
        float o[5], m = max, s = sum;
        memcpy(o, out, sizeof o);
        simd->join(5, o, &m, &s, more, 4, 7);
        const double a = exp(-2);
        for (int i = 0; i < 5; i++)
            near((double)o[i], (double)out[i] * a + (double)more[i], 1e-6, "join", 5);
        near((double)s, 3 * a + 7, 1e-6, "join", 5);
        assert_true(m == 4);
        simd->join(5, o, &m, &s, more, -1e30f, 0); /* a part that saw nothing changes nothing */
        near((double)s, 3 * a + 7, 1e-6, "join", 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rms_norm_divides_by_the_root_of_the_mean_square),
        cmocka_unit_test(sums_and_scales_touch_what_they_should),
        cmocka_unit_test(gates_are_silu_and_the_tanh_form_of_gelu),
        cmocka_unit_test(a_softcap_bends_what_is_large),
        cmocka_unit_test(rotation_turns_pairs_side_by_side_or_in_halves),
        cmocka_unit_test(half_precision_rounds_to_nearest_even),
        cmocka_unit_test(joining_two_parts_is_one_softmax_over_both),
    };
    const enum fg_isa isas[] = {FG_ISA_GENERIC, FG_ISA_AVX2, FG_ISA_AVX512_VNNI};
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        if (isas[i] == FG_ISA_GENERIC || fg_isa_runs(isas[i]))
            tables[table_count++] = fg_simd_for(isas[i]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
