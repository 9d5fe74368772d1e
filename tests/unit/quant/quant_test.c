/*
 * Blocks back to floats, against values that ggml gives for the same bytes, and f16 against its
 * definition.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/gguf/quant.h"

/* Byte i of a block is i*i*37 + i*11 + 5; at `scales` stand 0.25 and 0.5 as f16. From ggml 0.20:
 * value 0, the one after the middle, the last; and the sum of (i + 1) * value i. All are exact. */
static const struct {
    int32_t type;
    int scales[2];
    float at[3];
    double sum;
} golden[] = {
    {FG_Q4_0, {0, -1}, {1.75f, -0.25f, 0.0f}, 0.25},
    {FG_Q4_1, {0, 2}, {0.75f, 3.75f, 0.5f}, 1267.0},
    {FG_Q5_0, {0, -1}, {2.75f, -2.5f, 2.5f}, -27.25},
    {FG_Q5_1, {0, 2}, {7.75f, 4.75f, 2.25f}, 2661.5},
    {FG_Q8_0, {0, -1}, {-20.25f, 0.75f, -10.75f}, -464.0},
    {FG_Q2_K, {80, 82}, {1.25f, -1.25f, 2.75f}, -17767.5},
    {FG_Q3_K, {108, -1}, {-2.75f, 4.5f, 3.0f}, -33825.5},
    {FG_Q4_K, {0, 2}, {-13.25f, 32.75f, 52.5f}, 1590832.0},
    {FG_Q5_K, {0, 2}, {-9.25f, 32.75f, 68.0f}, 3979456.0},
    {FG_Q6_K, {208, -1}, {-189.75f, 96.25f, -106.25f}, -485624.0},
    {FG_IQ4_NL, {0, -1}, {28.25f, -2.5f, 0.25f}, 284.25},
    {FG_IQ4_XS, {0, -1}, {293.25f, 465.75f, -222.5f}, 648901.75},
    {FG_MXFP4, {-1, -1}, {1.5f, -0.5f, -0.75f}, -48.0},
};

static void blocks_become_the_values_of_the_format(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < sizeof(golden) / sizeof(golden[0]); t++) {
        const struct fg_quant_info *info = fg_quant_info(golden[t].type);
        static const uint8_t halves[2][2] = {{0x00, 0x34}, {0x00, 0x38}};
        uint8_t block[256];
        float y[256];
        for (uint32_t i = 0; i < info->block_bytes; i++)
            block[i] = (uint8_t)(i * i * 37 + i * 11 + 5);
        for (int s = 0; s < 2 && golden[t].scales[s] >= 0; s++)
            memcpy(block + golden[t].scales[s], halves[s], 2);
        if (golden[t].type == FG_MXFP4)
            block[0] = 126;
        fg_dequantize(golden[t].type, block, y, info->block);
        double sum = 0;
        for (uint32_t i = 0; i < info->block; i++)
            sum += (double)(i + 1) * (double)y[i];
        uint32_t at[3] = {0, info->block / 2 + 1, info->block - 1};
        for (int i = 0; i < 3; i++)
            if (y[at[i]] != golden[t].at[i])
                fail_msg("%s: value %u is %g, not %g", info->name, at[i], (double)y[at[i]],
                         (double)golden[t].at[i]);
        if (sum != golden[t].sum)
            fail_msg("%s: weighted sum %.9g, not %.9g", info->name, sum, golden[t].sum);
    }
}

static void every_f16_goes_to_float_and_back(void **unused)
{
    (void)unused;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = fg_f16_to_f32((uint16_t)h);
        uint32_t e = h >> 10 & 31, m = h & 1023;
        if (e == 31) {
            assert_true(m ? isnan(f) : isinf(f));
            continue;
        }
        double want = e ? ldexp(1024.0 + m, (int)e - 25) : ldexp(m, -24);
        assert_true((double)f == (h & 0x8000 ? -want : want));
        assert_int_equal(fg_f32_to_f16(f), h);
    }
}

static void f16_rounds_to_even(void **unused)
{
    (void)unused;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        float low = fg_f16_to_f32((uint16_t)h), high = fg_f16_to_f32((uint16_t)(h + 1));
        float middle = (low + high) / 2;
        assert_int_equal(fg_f32_to_f16(middle), h & 1 ? h + 1 : h);
        assert_int_equal(fg_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(fg_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
    }
    assert_int_equal(fg_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(fg_f32_to_f16(65519.0f), 0x7bff);
}

static void table_knows_types_and_refuses_others(void **unused)
{
    (void)unused;
    assert_null(fg_quant_info(-1));
    assert_null(fg_quant_info(4));
    assert_null(fg_quant_info(1000000));
    assert_int_equal(fg_quant_info(FG_Q4_K)->block_bytes, 144);
    assert_false(fg_quant_info(FG_Q8_K)->computes);
    assert_string_equal(fg_quant_file_type_name(15), "Q4_K_M");
    assert_string_equal(fg_quant_file_type_name(3), "Q4_1");
    assert_null(fg_quant_file_type_name(4));
    assert_null(fg_quant_file_type_name(77));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_become_the_values_of_the_format),
        cmocka_unit_test(every_f16_goes_to_float_and_back),
        cmocka_unit_test(f16_rounds_to_even),
        cmocka_unit_test(table_knows_types_and_refuses_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
