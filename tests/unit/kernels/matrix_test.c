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
#include <pthread.h>

#include "cpu/kernels/matrix.h"
#include "engine/gguf/quant.h"

static const int32_t all_types[] = {FG_F32,  FG_F16,  FG_BF16, FG_Q4_0, FG_Q4_1,   FG_Q5_0,
                                    FG_Q5_1, FG_Q8_0, FG_Q2_K, FG_Q3_K, FG_Q4_K,   FG_Q5_K,
                                    FG_Q6_K, FG_IQ4_NL, FG_IQ4_XS, FG_MXFP4};
#define TYPES (sizeof(all_types) / sizeof(all_types[0]))
#define ISAS  5 /* those that this machine does not run are left out */

static uint32_t state = 1;
static uint32_t next(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

/* Where the f16 scales (a byte for MXFP4) stand in a block, and how many bytes they take. */
static size_t scales_at(int32_t type, size_t *bytes)
{
    bool mins = type == FG_Q4_1 || type == FG_Q5_1 || type == FG_Q4_K || type == FG_Q5_K ||
                type == FG_Q2_K;
    *bytes = type == FG_MXFP4 ? 1 : mins ? 4 : 2;
    return type == FG_Q2_K ? 80 : type == FG_Q3_K ? 108 : type == FG_Q6_K ? 208 : 0;
}

/* Random blocks whose scales are small and finite. */
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
        uint16_t h[2] = {fg_f32_to_f16(f * 0.05f), fg_f32_to_f16(f * 0.02f)};
        size_t size, at = scales_at(type, &size);
        if (type == FG_F32)
            memcpy(p, &f, 4);
        else if (type == FG_BF16)
            memcpy(p, (uint8_t *)&f + 2, 2);
        else if (type == FG_MXFP4)
            p[0] = (uint8_t)(118 + next() % 4);
        else
            memcpy(p + at, h, size);
    }
    return w;
}

/* All of a block but its scales. */
static void fill_quants(int32_t type, uint8_t *block, uint8_t fill)
{
    size_t size, at = scales_at(type, &size);
    for (size_t i = 0; i < fg_quant_info(type)->block_bytes; i++)
        if (i < at || i >= at + size)
            block[i] = fill;
}

struct product {
    struct fg_matrix w;
    void *packed, *act;
    float *x, *y;
    uint32_t m, half;
};

static void *aligned_new(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(p);
    memset(p, 0xa5, bytes);
    return p;
}

/* Packs in two ranges, the later one first, and fills x; the product itself comes later. */
static void product_open(struct product *p, int32_t type, enum fg_isa isa, bool exact, uint32_t m,
                         uint32_t n, uint32_t k, const uint8_t *file)
{
    assert_int_equal(fg_matrix_plan(type, n, k, isa, exact, &p->w, NULL), 0);
    const struct fg_quant_info *info = fg_quant_info(type);
    size_t row = (size_t)(k / info->block) * info->block_bytes;
    p->m = m;
    p->w.packed = p->packed = aligned_new(p->w.packed_bytes);
    p->half = n / 2 / p->w.tile * p->w.tile;
    fg_matrix_pack(&p->w, file + p->half * row, p->half, n);
    if (p->half)
        fg_matrix_pack(&p->w, file, 0, p->half);
    p->act = aligned_new(fg_act_bytes(fg_matrix_act_kind(&p->w), m, k));
    p->x = malloc((size_t)m * (k + 3) * sizeof(float));
    p->y = malloc((size_t)m * (n + 5) * sizeof(float));
    for (size_t i = 0; i < (size_t)m * (k + 3); i++)
        p->x[i] = (float)(int)(next() % 20001) / 10000.0f - 1.0f;
    for (size_t i = 0; i < (size_t)m * (n + 5); i++)
        p->y[i] = 12345.0f;
}

static void product_quantize(struct product *p)
{
    uint32_t k = p->w.k, m = p->m;
    int32_t kind = fg_matrix_act_kind(&p->w);
    uint32_t group = fg_act_group(kind);
    for (uint32_t i = 0; i < m; i += group)
        fg_act_quantize(kind, p->x, k + 3, m, k, i, i + group < m ? i + group : m, p->act);
}

static void product_make(struct product *p, int32_t type, enum fg_isa isa, bool exact, uint32_t m,
                         uint32_t n, uint32_t k, const uint8_t *file)
{
    product_open(p, type, isa, exact, m, n, k, file);
    product_quantize(p);
    fg_matrix_multiply(&p->w, p->act, m, p->y, n + 5, p->half, n);
    if (p->half)
        fg_matrix_multiply(&p->w, p->act, m, p->y, n + 5, 0, p->half);
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
    static const uint32_t sizes[][2] = {{1, 256}, {16, 512}, {37, 256}, {50, 768}, {33, 2048}};
    (void)unused;
    for (size_t t = 0; t < TYPES; t++)
        for (int isa = 0; isa < ISAS; isa++)
            for (uint32_t m = 1; m <= 19 && fg_isa_runs((enum fg_isa)isa); m += m < 9 ? 1 : 5)
                for (int exact = 0; exact < 2; exact++) {
                    const uint32_t *size = sizes[(m + t) % 5];
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
    static const int32_t types[] = {FG_Q4_0, FG_Q4_1,   FG_Q5_0, FG_Q5_1,
                                    FG_Q8_0, FG_IQ4_NL, FG_MXFP4};
    static const uint32_t rows[] = {1, 3, 4, 8, 11, 16, 17};
    (void)unused;
    for (size_t t = 0; t < 7; t++)
        for (int isa = 0; isa < ISAS; isa++)
            for (uint32_t k = 32; k <= 640 && fg_isa_runs((enum fg_isa)isa); k += 32) {
                uint8_t *file = weights_new(types[t], 33, k);
                struct product p;
                product_make(&p, types[t], (enum fg_isa)isa, false, rows[k / 32 % 7], 33, k, file);
                check(&p, file, fg_matrix_act_kind(&p.w) == 0);
                product_free(&p);
                free(file);
            }
}

static void floats_take_any_k(void **unused)
{
    static const int32_t types[] = {FG_F32, FG_F16, FG_BF16};
    (void)unused;
    for (size_t t = 0; t < 3; t++)
        for (int isa = 0; isa < ISAS; isa++)
            for (uint32_t k = 1; k <= 67 && fg_isa_runs((enum fg_isa)isa); k++) {
                uint8_t *file = weights_new(types[t], 35, k);
                struct product p;
                product_make(&p, types[t], (enum fg_isa)isa, k % 2, 1 + k % 13, 35, k, file);
                check(&p, file, fg_matrix_act_kind(&p.w) == 0);
                product_free(&p);
                free(file);
            }
}

/* The greatest quants by the greatest activations, with equal and with changing signs: sums of
 * products in 16 bits must not saturate anywhere. */
static void the_greatest_numbers_do_not_saturate(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < TYPES; t++)
        for (int isa = 0; isa < ISAS; isa++)
            for (int round = 0; round < 8 && fg_isa_runs((enum fg_isa)isa); round++) {
                const struct fg_quant_info *info = fg_quant_info(all_types[t]);
                if (info->block == 1)
                    continue;
                uint32_t m = round < 4 ? 2 : 12;
                uint8_t *file = weights_new(all_types[t], 20, 512), fill = round & 1 ? 0x80 : 0xff;
                for (size_t i = 0; i < (size_t)20 * 512 / info->block; i++)
                    fill_quants(all_types[t], file + i * info->block_bytes, fill);
                struct product p;
                product_open(&p, all_types[t], (enum fg_isa)isa, false, m, 20, 512, file);
                for (size_t i = 0; i < (size_t)m * 515; i++)
                    p.x[i] = round & 2 && i % 3 == 0 ? -1.0f : 1.0f;
                product_quantize(&p);
                fg_matrix_multiply(&p.w, p.act, m, p.y, 25, 0, 20);
                check(&p, file, fg_matrix_act_kind(&p.w) == 0);
                product_free(&p);
                free(file);
            }
}

static void a_product_can_be_added(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < TYPES; t++)
        for (int isa = 0; isa < ISAS; isa++)
            for (uint32_t m = 1; m <= 20 && fg_isa_runs((enum fg_isa)isa); m += 3) {
                uint8_t *file = weights_new(all_types[t], 41, 1024);
                struct product p;
                product_make(&p, all_types[t], (enum fg_isa)isa, false, m, 41, 1024, file);
                float *once = malloc((size_t)m * 46 * sizeof(float));
                memcpy(once, p.y, (size_t)m * 46 * sizeof(float));
                for (size_t i = 0; i < (size_t)m * 46; i++)
                    p.y[i] = 3.0f;
                fg_matrix_multiply_add(&p.w, p.act, m, p.y, 46, 0, 41);
                for (size_t i = 0; i < (size_t)m; i++)
                    for (size_t r = 0; r < 46; r++) {
                        float want = r < 41 ? once[i * 46 + r] + 3.0f : 3.0f;
                        assert_true(fabsf(p.y[i * 46 + r] - want) <= 2e-5f * (fabsf(want) + 3.0f));
                    }
                free(once);
                product_free(&p);
                free(file);
            }
}

struct slice {
    struct product *p;
    const uint8_t *file;
    uint32_t first, last, part;
    pthread_barrier_t *packed;
};

static void *one_slice(void *arg)
{
    struct slice *s = arg;
    const struct fg_matrix *w = &s->p->w;
    const struct fg_quant_info *info = fg_quant_info(w->type);
    size_t row = (size_t)(w->k / info->block) * info->block_bytes;
    int32_t kind = fg_matrix_act_kind(w);
    uint32_t group = fg_act_group(kind);
    fg_matrix_pack(w, s->file + s->first * row, s->first, s->last);
    for (uint32_t i = s->part * group; i < s->p->m; i += 3 * group)
        fg_act_quantize(kind, s->p->x, w->k + 3, s->p->m, w->k, i,
                        i + group < s->p->m ? i + group : s->p->m, s->p->act);
    pthread_barrier_wait(s->packed);
    fg_matrix_multiply(w, s->p->act, s->p->m, s->p->y, w->n + 5, s->first, s->last);
    return NULL;
}

static void three_threads_share_the_work(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < TYPES; t++) {
        const uint32_t n = 115, k = 512, m = 27;
        uint8_t *file = weights_new(all_types[t], n, k);
        struct product p;
        product_open(&p, all_types[t], fg_isa_detect(), false, m, n, k, file);
        memset(p.packed, 0x77, p.w.packed_bytes);
        pthread_barrier_t packed;
        pthread_barrier_init(&packed, NULL, 3);
        pthread_t threads[3];
        struct slice slices[3];
        uint32_t tile = p.w.tile, third = n / 3 / tile * tile;
        for (uint32_t i = 0; i < 3; i++) {
            slices[i] = (struct slice){.p = &p, .file = file, .first = i * third, .part = i,
                                       .last = i < 2 ? (i + 1) * third : n, .packed = &packed};
            assert_int_equal(pthread_create(&threads[i], NULL, one_slice, &slices[i]), 0);
        }
        for (int i = 0; i < 3; i++)
            pthread_join(threads[i], NULL);
        pthread_barrier_destroy(&packed);
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
        for (int isa = 0; isa < ISAS; isa++)
            for (int fill = 0; fill < 256 && fg_isa_runs((enum fg_isa)isa); fill += 51) {
                memset(file, fill, bytes);
                struct product p;
                product_make(&p, all_types[t], (enum fg_isa)isa, false, fill % 4 ? 3 : 18, 40, 512,
                             file);
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
    assert_int_equal(fg_matrix_plan(FG_Q8_0, 0xfffffff0, 0xffffffe0, fg_isa_detect(), false, &w,
                                    &err), FG_INVALID);
}

/* What is not finite spoils the row of activations that has it, and no other. */
static void activations_that_are_not_finite_spoil_their_row(void **unused)
{
    static const float bad[] = {INFINITY, -INFINITY, NAN};
    (void)unused;
    for (size_t t = 0; t < TYPES; t++)
        for (int isa = 0; isa < ISAS; isa++)
            for (uint32_t m = 3; m <= 12 && fg_isa_runs((enum fg_isa)isa); m += 9) {
                uint8_t *file = weights_new(all_types[t], 20, 256);
                struct product p;
                product_open(&p, all_types[t], (enum fg_isa)isa, false, m, 20, 256, file);
                p.x[259 + 70] = bad[m % 2 + t % 2];
                product_quantize(&p);
                fg_matrix_multiply(&p.w, p.act, m, p.y, 25, 0, 20);
                for (uint32_t i = 0; i < m; i++)
                    for (uint32_t r = 0; r < 20; r++)
                        if (i == 1)
                            assert_false(isfinite(p.y[i * 25 + r]));
                        else
                            assert_true(isfinite(p.y[i * 25 + r]));
                product_free(&p);
                free(file);
            }
}

static void the_environment_lowers_the_instruction_set(void **unused)
{
    (void)unused;
    enum fg_isa best = fg_isa_detect();
    for (int isa = 0; isa < ISAS; isa++) {
        setenv("FLUXGATE_CPU_ISA", fg_isa_name((enum fg_isa)isa), 1);
        enum fg_isa got = fg_isa_detect();
        assert_true(fg_isa_runs(got));
        assert_true(got <= (enum fg_isa)isa);
        if (fg_isa_runs((enum fg_isa)isa))
            assert_int_equal(got, isa);
    }
    setenv("FLUXGATE_CPU_ISA", "no such set", 1);
    enum fg_isa got = fg_isa_detect();
    unsetenv("FLUXGATE_CPU_ISA");
    assert_true(got >= best);
    assert_string_equal(fg_isa_name((enum fg_isa)77), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree_with_the_reference),
        cmocka_unit_test(blocks_of_32_take_any_multiple_of_32),
        cmocka_unit_test(floats_take_any_k),
        cmocka_unit_test(the_greatest_numbers_do_not_saturate),
        cmocka_unit_test(a_product_can_be_added),
        cmocka_unit_test(three_threads_share_the_work),
        cmocka_unit_test(activations_that_are_not_finite_spoil_their_row),
        cmocka_unit_test(the_environment_lowers_the_instruction_set),
        cmocka_unit_test(hostile_weights_only_spoil_their_own_sums),
        cmocka_unit_test(plan_refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
