/*
 * Every weight type by every instruction set at odd sizes, against fg_dequantize and sums in double.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/kernels/matrix.h"
#include "engine/gguf/quant.h"

static const int32_t all_types[] = {FG_F32,  FG_F16,  FG_BF16, FG_Q4_0, FG_Q4_1,   FG_Q5_0,
                                    FG_Q5_1, FG_Q8_0, FG_Q2_K, FG_Q3_K, FG_Q4_K,   FG_Q5_K,
                                    FG_Q6_K, FG_IQ4_NL, FG_IQ4_XS, FG_MXFP4};
#define TYPES (sizeof(all_types) / sizeof(all_types[0]))

static uint32_t state = 1;
static uint32_t next(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

/* Random blocks whose f16 scales are small and finite. Where they stand in a block, by type. */
static uint8_t *weights_new(int32_t type, uint32_t n, uint32_t k)
{
    const struct fg_quant_info *info = fg_quant_info(type);
    size_t blocks = (size_t)n * (k / info->block), bytes = blocks * info->block_bytes;
    uint8_t *w = malloc(bytes);
    assert_non_null(w);
    for (size_t i = 0; i < bytes; i++)
        w[i] = (uint8_t)next();
    for (size_t b = 0; b < blocks; b++) {
        uint8_t *p = w + b * info->block_bytes;
        float f = (float)(int)(next() % 2001) / 1000.0f - 1.0f;
        uint16_t h = fg_f32_to_f16(f * 0.05f), h2 = fg_f32_to_f16(f * 0.02f);
        int at = type == FG_Q2_K ? 80 : type == FG_Q3_K ? 108 : type == FG_Q6_K ? 208 : 0;
        if (type == FG_F32) {
            memcpy(p, &f, 4);
        } else if (type == FG_BF16) {
            memcpy(p, (uint8_t *)&f + 2, 2);
        } else if (type == FG_MXFP4) {
            p[0] = 120;
        } else {
            memcpy(p + at, &h, 2);
            if (type == FG_Q4_1 || type == FG_Q5_1 || type == FG_Q4_K || type == FG_Q5_K ||
                type == FG_Q2_K)
                memcpy(p + at + 2, &h2, 2);
        }
    }
    return w;
}

struct product {
    struct fg_matrix w;
    void *packed, *act;
    float *x, *y;
    uint32_t m;
};

static void *aligned_new(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(p);
    memset(p, 0xa5, bytes);
    return p;
}

static void product_make(struct product *p, int32_t type, enum fg_isa isa, bool exact, uint32_t m,
                         uint32_t n, uint32_t k, const uint8_t *file)
{
    assert_int_equal(fg_matrix_plan(type, n, k, isa, exact, &p->w, NULL), 0);
    const struct fg_quant_info *info = fg_quant_info(type);
    size_t row = (size_t)(k / info->block) * info->block_bytes;
    p->m = m;
    p->w.packed = p->packed = aligned_new(p->w.packed_bytes);
    uint32_t half = n / 2 / p->w.tile * p->w.tile; /* in two ranges, the later one first */
    fg_matrix_pack(&p->w, file + half * row, half, n);
    if (half)
        fg_matrix_pack(&p->w, file, 0, half);
    int32_t kind = fg_matrix_act_kind(&p->w);
    p->act = aligned_new(fg_act_bytes(kind, m, k));
    p->x = malloc((size_t)m * (k + 3) * sizeof(float));
    p->y = malloc((size_t)m * (n + 5) * sizeof(float));
    for (size_t i = 0; i < (size_t)m * (k + 3); i++)
        p->x[i] = (float)(int)(next() % 20001) / 10000.0f - 1.0f;
    for (size_t i = 0; i < (size_t)m * (n + 5); i++)
        p->y[i] = 12345.0f;
    uint32_t group = fg_act_group(kind);
    for (uint32_t i = 0; i < m; i += group)
        fg_act_quantize(kind, p->x, k + 3, m, k, i, i + group < m ? i + group : m, p->act);
    fg_matrix_multiply(&p->w, p->act, m, p->y, n + 5, half, n);
    if (half)
        fg_matrix_multiply(&p->w, p->act, m, p->y, n + 5, 0, half);
}

static void product_free(struct product *p)
{
    free(p->packed);
    free(p->act);
    free(p->x);
    free(p->y);
}

/* An 8-bit activation is off by half a step of its 32-block, at most max|x| / 254 each, so a sum
 * is off by no more than sum |w| * max|x| / 254 (+ rounding of the float sums, far below it). */
static void check(struct product *p, const uint8_t *file, bool float_act)
{
    uint32_t n = p->w.n, k = p->w.k;
    const struct fg_quant_info *info = fg_quant_info(p->w.type);
    size_t row = (size_t)(k / info->block) * info->block_bytes;
    float *ref = malloc(k * sizeof(float)), *got = malloc(k * sizeof(float));
    for (uint32_t r = 0; r < n; r++) {
        fg_dequantize(p->w.type, file + r * row, ref, k);
        fg_matrix_row(&p->w, r, got);
        assert_memory_equal(ref, got, k * sizeof(float));
        for (uint32_t i = 0; i < p->m; i++) {
            double sum = 0, mags = 0;
            for (uint32_t j = 0; j < k; j++) {
                double v = (double)ref[j] * (double)p->x[(size_t)i * (k + 3) + j];
                sum += v;
                mags += float_act ? fabs(v) : fabs((double)ref[j]);
            }
            double limit = (float_act ? 1e-5 : 1.02 / 254) * mags + 1e-6;
            double y = (double)p->y[(size_t)i * (n + 5) + r];
            if (!(fabs(y - sum) <= limit))
                fail_msg("%s %s: row %u of batch row %u: %g, wanted %g within %g", info->name,
                         fg_isa_name(p->w.isa), r, i, y, sum, limit);
        }
    }
    for (uint32_t i = 0; i < p->m; i++)
        for (uint32_t r = n; r < n + 5; r++)
            assert_true(p->y[(size_t)i * (n + 5) + r] == 12345.0f);
    free(ref);
    free(got);
}

static void products_agree_with_the_reference(void **unused)
{
    static const uint32_t sizes[][2] = {{1, 256}, {16, 512}, {37, 256}, {50, 768}};
    (void)unused;
    for (size_t t = 0; t < TYPES; t++)
        for (int isa = 0; isa <= (int)fg_isa_detect(); isa++)
            for (uint32_t m = 1; m <= 19 && fg_isa_runs((enum fg_isa)isa); m += m < 9 ? 1 : 5)
                for (int exact = 0; exact < 2; exact++) {
                    const uint32_t *size = sizes[(m + t) % 4];
                    uint8_t *file = weights_new(all_types[t], size[0], size[1]);
                    struct product p;
                    product_make(&p, all_types[t], (enum fg_isa)isa, exact, m, size[0], size[1],
                                 file);
                    check(&p, file, exact || fg_matrix_act_kind(&p.w) == 0);
                    product_free(&p);
                    free(file);
                }
}

static void blocks_of_32_take_any_multiple_of_32(void **unused)
{
    static const int32_t types[] = {FG_Q4_0, FG_Q4_1, FG_Q5_0, FG_Q5_1, FG_Q8_0, FG_IQ4_NL};
    (void)unused;
    for (size_t t = 0; t < 6; t++)
        for (uint32_t k = 32; k <= 608; k += 96) {
            uint8_t *file = weights_new(types[t], 33, k);
            struct product p;
            product_make(&p, types[t], fg_isa_detect(), false, 11, 33, k, file);
            check(&p, file, fg_matrix_act_kind(&p.w) == 0);
            product_free(&p);
            free(file);
        }
}

static void hostile_weights_only_spoil_their_own_sums(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < TYPES; t++) {
        const struct fg_quant_info *info = fg_quant_info(all_types[t]);
        size_t bytes = (size_t)40 * 512 / info->block * info->block_bytes;
        uint8_t *file = malloc(bytes);
        for (int fill = 0; fill < 256; fill += 51) {
            memset(file, fill, bytes);
            struct product p;
            product_make(&p, all_types[t], fg_isa_detect(), false, 3, 40, 512, file);
            product_free(&p);
        }
        free(file);
    }
}

static void plan_refuses_what_cannot_be(void **unused)
{
    struct fg_matrix w;
    struct fg_error err;
    (void)unused;
    assert_int_equal(fg_matrix_plan(FG_Q8_K, 4, 256, FG_ISA_GENERIC, false, &w, &err),
                     FG_UNSUPPORTED);
    assert_non_null(strstr(err.text, "Q8_K"));
    assert_int_equal(fg_matrix_plan(999, 4, 256, FG_ISA_GENERIC, false, &w, &err), FG_UNSUPPORTED);
    assert_int_equal(fg_matrix_plan(FG_Q4_K, 4, 96, FG_ISA_GENERIC, false, &w, &err), FG_INVALID);
    assert_int_equal(fg_matrix_plan(FG_Q4_0, 0, 96, FG_ISA_GENERIC, false, &w, &err), FG_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree_with_the_reference),
        cmocka_unit_test(blocks_of_32_take_any_multiple_of_32),
        cmocka_unit_test(hostile_weights_only_spoil_their_own_sums),
        cmocka_unit_test(plan_refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
