/*
 * Networks on the cpu device against a plain reference, and what a scheduler relies on: rows of a
 * batch are independent to the bit, pages may lie anywhere, a copied page goes on as its original.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/cpu.h"
#include "engine/gguf/quant.h"
#include "engine/model/net.h"
#include "tiny.h"

enum { PAGE = 32, PAGES = 96, SEQUENCES = 4, ROWS_MOST = 512 };

/* 8-bit weights: on the exact path they are what floats would be. */
static const struct tiny_shape llama = {.layers = 2,
                                        .width = 64,
                                        .heads = 6,
                                        .kv_heads = 2,
                                        .head_dim = 16,
                                        .ff = 96,
                                        .vocab = 100,
                                        .type = FG_Q8_0,
                                        .rope_base = 10000};
static const struct tiny_shape gemma = {.gemma = true,
                                        .layers = 7,
                                        .width = 64,
                                        .heads = 4,
                                        .kv_heads = 1,
                                        .head_dim = 32,
                                        .ff = 96,
                                        .vocab = 100,
                                        .type = FG_Q8_0,
                                        .window = 20,
                                        .rope_base = 1e6f};

struct engine {
    struct fg_gguf *g;
    struct fg_dev *dev;
    struct fg_net *net;
    uint32_t table[SEQUENCES][PAGES], vocab, width;
};

static void open_engine(struct engine *e, const struct tiny *t, bool exact, const char *isa,
                        uint32_t threads)
{
    struct fg_error err = {0};
    json_t *config = json_pack("{s:i}", "threads", (int)threads);
    setenv("FLUXGATE_CPU_EXACT", exact ? "1" : "0", 1);
    if (isa)
        setenv("FLUXGATE_CPU_ISA", isa, 1);
    else
        unsetenv("FLUXGATE_CPU_ISA");
    if (fg_gguf_parse(t->file, t->bytes, &e->g, &err) != FG_OK ||
        fg_cpu_open(config, &e->dev, &err) != FG_OK ||
        fg_net_open(e->g, e->dev, NULL, NULL, &e->net, &err) != FG_OK ||
        fg_net_kv_open(e->net, PAGE, PAGES, &err) != FG_OK)
        fail_msg("%s", err.text);
    json_decref(config);
    unsetenv("FLUXGATE_CPU_ISA");
    e->vocab = fg_net_info(e->net)->vocab;
    e->width = fg_net_info(e->net)->width;
    for (uint32_t s = 0; s < SEQUENCES; s++) /* far from each other and not in order */
        for (uint32_t i = 0; i < PAGES; i++)
            e->table[s][i] = (i * 37 + s * 24 + 5) % PAGES;
}

static void close_engine(struct engine *e)
{
    fg_net_close(e->net);
    fg_cpu_close(e->dev);
    fg_gguf_close(e->g);
}

static int32_t token_of(uint32_t sequence, uint32_t position, uint32_t vocab)
{
    return (int32_t)((position * 31 + position * position * 7 + sequence * 53 + 3) % vocab);
}

struct batch {
    struct fg_rows rows;
    int32_t tokens[ROWS_MOST];
    uint32_t position[ROWS_MOST], sequence[ROWS_MOST];
    uint8_t want[ROWS_MOST];
    const uint32_t *tables[SEQUENCES];
};

static void add_rows(struct engine *e, struct batch *b, uint32_t sequence, uint32_t from,
                     uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t n = b->rows.count++;
        assert_true(n < ROWS_MOST);
        b->tokens[n] = token_of(sequence, from + i, e->vocab);
        b->position[n] = from + i;
        b->sequence[n] = sequence;
        b->want[n] = 1;
    }
}

static int32_t run_batch(struct engine *e, struct batch *b, float *logits, float *hidden,
                         bool (*stop)(void *), void *ctx)
{
    struct fg_error err = {0};
    for (uint32_t s = 0; s < SEQUENCES; s++)
        b->tables[s] = e->table[s];
    b->rows.tokens = b->tokens;
    b->rows.position = b->position;
    b->rows.sequence = b->sequence;
    b->rows.page_table = b->tables;
    const int32_t rc =
        fg_net_forward(e->net, &b->rows, b->want, logits, hidden, stop, ctx, &err);
    if (rc != FG_OK && rc != FG_CANCELLED)
        fail_msg("forward: %s", err.text);
    return rc;
}

static void run_rows(struct engine *e, uint32_t sequence, uint32_t from, uint32_t count,
                     float *logits, float *hidden)
{
    struct batch *b = calloc(1, sizeof *b);
    assert_non_null(b);
    add_rows(e, b, sequence, from, count);
    assert_int_equal(run_batch(e, b, logits, hidden, NULL, NULL), FG_OK);
    free(b);
}

static float *floats(size_t count)
{
    float *p = calloc(count, sizeof *p);
    assert_non_null(p);
    return p;
}

/* ---- against the reference ------------------------------------------------------------------- */

static double distance(const float *a, const double *b, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        const double d = fabs((double)a[i] - b[i]);
        most = d > most || isnan(d) ? d : most;
    }
    return most;
}

/* Prefill of all but three positions in two steps, then three of one row. */
static void compare(const struct tiny_shape *shape, bool exact, const char *isa, double allowed)
{
    enum { COUNT = 75, FIRST = 41 };
    struct tiny t;
    struct engine e;
    int32_t tokens[COUNT];
    tiny_make(&t, shape, NULL);
    open_engine(&e, &t, exact, isa, 2);
    for (uint32_t i = 0; i < COUNT; i++)
        tokens[i] = token_of(0, i, e.vocab);
    double *expected = calloc((size_t)COUNT * e.vocab, sizeof *expected);
    double *states = calloc((size_t)COUNT * e.width, sizeof *states);
    float *logits = floats((size_t)COUNT * e.vocab), *hidden = floats((size_t)COUNT * e.width);
    assert_true(expected && states);
    tiny_reference(&t, tokens, COUNT, expected, states);
    run_rows(&e, 0, 0, FIRST, logits, hidden);
    run_rows(&e, 0, FIRST, COUNT - 3 - FIRST, logits + (size_t)FIRST * e.vocab,
             hidden + (size_t)FIRST * e.width);
    for (uint32_t i = COUNT - 3; i < COUNT; i++)
        run_rows(&e, 0, i, 1, logits + (size_t)i * e.vocab, i % 2 ? hidden + i * e.width : NULL);
    const double off = distance(logits, expected, (size_t)COUNT * e.vocab);
    const double off_hidden = distance(hidden, states, (size_t)(COUNT - 3) * e.width);
    if (!(off <= allowed) || !(off_hidden <= allowed))
        fail_msg("logits are off by %g, hidden states by %g, allowed %g", off, off_hidden, allowed);
    free(expected);
    free(states);
    free(logits);
    free(hidden);
    close_engine(&e);
    tiny_free(&t);
}

#define EXACT 2e-4 /* float sums against double ones, logits to about 30 */

static void a_plain_llama_computes_what_the_reference_does(void **state)
{
    (void)state;
    compare(&llama, true, NULL, EXACT);
    compare(&llama, true, "generic", EXACT);
    compare(&llama, true, "avx2", EXACT);
}

static void llama_takes_biases_its_own_output_and_an_attention_scale(void **state)
{
    (void)state;
    struct tiny_shape s = llama;
    s.biases = s.output = s.attention_scale = true;
    s.seed = 1;
    compare(&s, true, NULL, EXACT);
}

static void llama_rotates_a_part_of_a_head_with_the_files_factors(void **state)
{
    (void)state;
    struct tiny_shape s = llama;
    s.rope_dims = 8;
    s.factors = true;
    s.seed = 2;
    compare(&s, true, NULL, EXACT);
}

static void llama_scales_rotation_linearly_and_by_yarn(void **state)
{
    (void)state;
    struct tiny_shape s = llama;
    s.rope_factor = 4;
    s.seed = 3;
    compare(&s, true, NULL, EXACT);
    s.yarn = true;
    compare(&s, true, NULL, EXACT);
}

static void heads_of_odd_lengths_and_groups_work(void **state)
{
    (void)state;
    static const uint32_t cases[][3] = {{1, 1, 64}, {5, 1, 10}, {8, 8, 6}, {7, 7, 18}, {60, 1, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tiny_shape s = llama;
        s.heads = cases[i][0];
        s.kv_heads = cases[i][1];
        s.head_dim = cases[i][2];
        s.seed = 10 + i;
        compare(&s, true, NULL, EXACT);
        compare(&s, true, "generic", EXACT);
    }
}

static void a_window_hides_what_is_too_old_in_every_layer(void **state)
{
    (void)state;
    struct tiny_shape s = llama;
    s.window = 9;
    s.seed = 4;
    compare(&s, true, NULL, EXACT);
}

static void gemma3_computes_what_the_reference_does(void **state)
{
    (void)state;
    compare(&gemma, true, NULL, EXACT);
    compare(&gemma, true, "generic", EXACT);
}

static void gemma3_takes_softcaps_a_pattern_and_a_scaled_rotation(void **state)
{
    (void)state;
    struct tiny_shape s = gemma;
    s.attention_softcap = 3;
    s.final_softcap = 5;
    s.period = 3;
    s.rope_base_window = 500;
    s.rope_factor = 8;
    s.seed = 5;
    compare(&s, true, NULL, EXACT);
}

static void half_precision_kv_and_8_bit_weights_stay_near_the_reference(void **state)
{
    (void)state;
    struct tiny_shape s = llama;
    s.seed = 6;
    compare(&s, false, NULL, 0.5); /* of logits to about 30 */
    compare(&s, false, "generic", 0.5);
    s.type = FG_F32;
    compare(&s, true, NULL, EXACT);
    compare(&s, false, NULL, 0.1);
}

/* ---- batches --------------------------------------------------------------------------------- */

static void check_batches(const struct tiny_shape *shape, bool exact, double allowed,
                          uint32_t threads, const uint32_t at[3])
{
    struct tiny t;
    struct engine alone, together;
    tiny_make(&t, shape, NULL);
    open_engine(&alone, &t, exact, NULL, 1);
    open_engine(&together, &t, exact, NULL, threads);
    struct batch *b = calloc(1, sizeof *b);
    float *one = floats((size_t)ROWS_MOST * alone.vocab);
    float *all = floats((size_t)ROWS_MOST * alone.vocab);
    assert_non_null(b);
    for (uint32_t s = 0; s < 3; s++) /* the beginnings: as one step here, in small ones there */
        for (uint32_t done = 0; done < at[s];) {
            const uint32_t left = at[s] - done, n = left < 512 ? left : 512;
            run_rows(&alone, s, done, n, one, NULL);
            for (uint32_t i = 0; i < n; i += 50)
                run_rows(&together, s, done + i, n - i < 50 ? n - i : 50, all, NULL);
            done += n;
        }
    add_rows(&together, b, 0, at[0], 1);
    add_rows(&together, b, 1, at[1], 21);
    add_rows(&together, b, 2, at[2], 1);
    assert_int_equal(run_batch(&together, b, all, NULL, NULL, NULL), FG_OK);
    for (uint32_t i = 0; i < b->rows.count; i++) {
        run_rows(&alone, b->sequence[i], b->position[i], 1, one, NULL);
        for (uint32_t v = 0; v < alone.vocab; v++)
            if (!(fabs((double)one[v] - (double)all[(size_t)i * alone.vocab + v]) <= allowed))
                fail_msg("row %u, token %u: %.9g alone, %.9g in the batch", i, v, (double)one[v],
                         (double)all[(size_t)i * alone.vocab + v]);
    }
    free(b);
    free(one);
    free(all);
    close_engine(&alone);
    close_engine(&together);
    tiny_free(&t);
}

static void rows_in_a_batch_give_the_same_bits_as_alone(void **state)
{
    (void)state;
    check_batches(&llama, true, 0, 2, (uint32_t[]){40, 7, 0});
    check_batches(&llama, false, 0, 2, (uint32_t[]){40, 7, 0});
    check_batches(&llama, false, 0, 3, (uint32_t[]){31, 0, 64});
    check_batches(&gemma, false, 0, 2, (uint32_t[]){40, 7, 0});
}

/* Products with float weights sum a single row in another order. */
static void rows_of_float_networks_differ_in_rounding_only(void **state)
{
    (void)state;
    struct tiny_shape s = llama;
    s.type = FG_F32;
    check_batches(&s, true, EXACT, 2, (uint32_t[]){40, 7, 0});
}

static void long_sequences_cut_into_segments_give_the_same_bits(void **state)
{
    (void)state;
    check_batches(&llama, false, 0, 2, (uint32_t[]){700, 530, 3});
    struct tiny_shape s = gemma;
    s.window = 300;
    check_batches(&s, false, 0, 2, (uint32_t[]){600, 290, 0});
}

static void decode_of_several_streams_gives_the_same_bits_as_alone(void **state)
{
    (void)state;
    struct tiny t;
    struct engine alone, together;
    float one[100], all[4 * 100];
    tiny_make(&t, &llama, NULL);
    open_engine(&alone, &t, false, NULL, 1);
    open_engine(&together, &t, false, NULL, 2);
    for (uint32_t at = 0; at < 40; at++) {
        struct batch *b = calloc(1, sizeof *b);
        assert_non_null(b);
        for (uint32_t q = 0; q < 4; q++)
            add_rows(&together, b, q, at, 1);
        run_batch(&together, b, all, NULL, NULL, NULL);
        for (uint32_t q = 0; q < 4; q++) {
            run_rows(&alone, q, at, 1, one, NULL);
            assert_memory_equal(one, all + q * 100, sizeof one);
        }
        free(b);
    }
    close_engine(&alone);
    close_engine(&together);
    tiny_free(&t);
}

static void only_wanted_rows_give_logits_and_they_are_the_same(void **state)
{
    (void)state;
    struct tiny t;
    struct engine e;
    float some[2 * 100], all[9 * 100];
    struct batch *b = calloc(1, sizeof *b);
    tiny_make(&t, &llama, NULL);
    open_engine(&e, &t, false, NULL, 2);
    run_rows(&e, 0, 0, 9, all, NULL);
    add_rows(&e, b, 0, 0, 9);
    memset(b->want, 0, sizeof b->want);
    b->want[3] = b->want[8] = 1;
    run_batch(&e, b, some, NULL, NULL, NULL);
    assert_memory_equal(some, all + 3 * 100, 100 * sizeof *some);
    assert_memory_equal(some + 100, all + 8 * 100, 100 * sizeof *some);
    memset(b->want, 0, sizeof b->want); /* nobody wants any: KV is written all the same */
    run_batch(&e, b, some, NULL, NULL, NULL);
    run_rows(&e, 0, 9, 1, some, NULL);
    run_rows(&e, 1, 0, 9, all, NULL);
    free(b);
    close_engine(&e);
    tiny_free(&t);
}

/* ---- pages ----------------------------------------------------------------------------------- */

static void a_copied_page_goes_on_as_its_original(void **state)
{
    (void)state;
    struct tiny t;
    struct engine e;
    float first[100], second[100], ignored[60 * 100];
    tiny_make(&t, &llama, NULL);
    open_engine(&e, &t, false, NULL, 2);
    run_rows(&e, 0, 0, 50, ignored, NULL);
    /* Sequence 1 shares the first page of sequence 0 and has a copy of 10 positions of its next,
     * as the prefix tree gives it to a prompt that parts at position 42. */
    e.table[1][0] = e.table[0][0];
    fg_net_kv_copy(e.net, e.table[0][1], e.table[1][1], 10);
    struct batch *b = calloc(1, sizeof *b);
    assert_non_null(b);
    add_rows(&e, b, 0, 42, 8);
    for (uint32_t i = 0; i < 8; i++)
        b->sequence[i] = 1;
    run_batch(&e, b, ignored, NULL, NULL, NULL);
    memcpy(second, ignored + 7 * 100, sizeof second);
    run_rows(&e, 0, 49, 1, first, NULL);
    assert_memory_equal(first, second, sizeof first);
    free(b);
    close_engine(&e);
    tiny_free(&t);
}

static void pages_of_a_size_that_kernels_cannot_use_are_refused(void **state)
{
    (void)state;
    struct tiny t;
    struct fg_gguf *g;
    struct fg_dev *dev;
    struct fg_net *net;
    struct fg_error err = {0};
    tiny_make(&t, &llama, NULL);
    assert_int_equal(fg_gguf_parse(t.file, t.bytes, &g, NULL), FG_OK);
    assert_int_equal(fg_cpu_open(NULL, &dev, NULL), FG_OK);
    assert_int_equal(fg_net_open(g, dev, NULL, NULL, &net, NULL), FG_OK);
    assert_int_equal(fg_net_kv_open(net, 20, 4, &err), FG_INVALID);
    assert_string_equal(err.text, "KV pages of 20 tokens are not possible");
    assert_int_equal(fg_net_kv_open(net, 128, UINT32_MAX, &err), FG_NO_MEMORY);
    fg_net_close(net);
    fg_cpu_close(dev);
    fg_gguf_close(g);
    tiny_free(&t);
}

/* Weights that are no numbers spoil what reads them and nobody else, also not through a page that
 * is used again. */
static void what_is_no_number_stays_in_its_sequence(void **state)
{
    (void)state;
    struct tiny t;
    struct engine e;
    float clean[40 * 100], mixed[42 * 100];
    struct tiny_shape s = llama;
    struct batch *b = calloc(1, sizeof *b);
    assert_non_null(b);
    s.type = FG_F32;
    tiny_make(&t, &s, &(struct tiny_fault){.poison = 7});
    open_engine(&e, &t, false, NULL, 2);
    add_rows(&e, b, 0, 0, 40);
    for (uint32_t i = 0; i < 40; i++)
        b->tokens[i] = (int32_t)(i % 7);
    assert_int_equal(run_batch(&e, b, clean, NULL, NULL, NULL), FG_OK);
    memset(b, 0, sizeof *b);
    add_rows(&e, b, 1, 0, 2);
    add_rows(&e, b, 0, 0, 40);
    b->tokens[0] = b->tokens[1] = 7;
    for (uint32_t i = 0; i < 40; i++)
        b->tokens[2 + i] = (int32_t)(i % 7);
    assert_int_equal(run_batch(&e, b, mixed, NULL, NULL, NULL), FG_OK);
    assert_true(isnan(mixed[0]) && isnan(mixed[100]));
    for (uint32_t i = 0; i < 40; i++)
        for (uint32_t v = 0; v < 100; v++)
            assert_true(v == 7 || fabs((double)clean[i * 100 + v] -
                                       (double)mixed[(i + 2) * 100 + v]) < EXACT);
    memset(b, 0, sizeof *b);
    add_rows(&e, b, 1, 0, 1); /* in the page that held the other's */
    b->tokens[0] = 0;
    assert_int_equal(run_batch(&e, b, mixed, NULL, NULL, NULL), FG_OK);
    for (uint32_t v = 0; v < 100; v++)
        assert_true(v == 7 || fabs((double)mixed[v] - (double)clean[v]) < EXACT);
    free(b);
    close_engine(&e);
    tiny_free(&t);
}

/* ---- steps that do not run ------------------------------------------------------------------- */

static bool at_second_look(void *ctx)
{
    return ++*(int *)ctx == 2;
}

static void a_stopped_step_can_be_run_again(void **state)
{
    (void)state;
    struct tiny t;
    struct engine e;
    float before[5 * 100], after[5 * 100];
    int looks = 0;
    struct batch *b = calloc(1, sizeof *b);
    assert_non_null(b);
    tiny_make(&t, &llama, NULL);
    open_engine(&e, &t, false, NULL, 2);
    run_rows(&e, 0, 0, 5, before, NULL);
    add_rows(&e, b, 0, 0, 5);
    assert_int_equal(run_batch(&e, b, after, NULL, at_second_look, &looks), FG_CANCELLED);
    assert_int_equal(looks, 2);
    assert_int_equal(run_batch(&e, b, after, NULL, NULL, NULL), FG_OK);
    assert_memory_equal(before, after, sizeof before);
    free(b);
    close_engine(&e);
    tiny_free(&t);
}

static void tokens_and_counts_outside_the_network_are_refused(void **state)
{
    (void)state;
    struct tiny t;
    struct engine e;
    struct fg_error err = {0};
    int32_t token = 100;
    const uint32_t zero = 0, *table = &zero;
    struct fg_rows rows = {1, &token, &zero, &zero, &table};
    tiny_make(&t, &llama, NULL);
    open_engine(&e, &t, false, NULL, 1);
    assert_int_equal(fg_net_forward(e.net, &rows, NULL, NULL, NULL, NULL, NULL, &err), FG_INVALID);
    assert_string_equal(err.text, "token 100 is not in the vocabulary of 100");
    token = -1;
    assert_int_equal(fg_net_forward(e.net, &rows, NULL, NULL, NULL, NULL, NULL, NULL), FG_INVALID);
    rows.count = fg_net_max_rows(e.net) + 1;
    assert_int_equal(fg_net_forward(e.net, &rows, NULL, NULL, NULL, NULL, NULL, NULL), FG_INVALID);
    close_engine(&e);
    tiny_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_llama_computes_what_the_reference_does),
        cmocka_unit_test(llama_takes_biases_its_own_output_and_an_attention_scale),
        cmocka_unit_test(llama_rotates_a_part_of_a_head_with_the_files_factors),
        cmocka_unit_test(llama_scales_rotation_linearly_and_by_yarn),
        cmocka_unit_test(heads_of_odd_lengths_and_groups_work),
        cmocka_unit_test(a_window_hides_what_is_too_old_in_every_layer),
        cmocka_unit_test(gemma3_computes_what_the_reference_does),
        cmocka_unit_test(gemma3_takes_softcaps_a_pattern_and_a_scaled_rotation),
        cmocka_unit_test(half_precision_kv_and_8_bit_weights_stay_near_the_reference),
        cmocka_unit_test(rows_in_a_batch_give_the_same_bits_as_alone),
        cmocka_unit_test(rows_of_float_networks_differ_in_rounding_only),
        cmocka_unit_test(long_sequences_cut_into_segments_give_the_same_bits),
        cmocka_unit_test(decode_of_several_streams_gives_the_same_bits_as_alone),
        cmocka_unit_test(only_wanted_rows_give_logits_and_they_are_the_same),
        cmocka_unit_test(a_copied_page_goes_on_as_its_original),
        cmocka_unit_test(pages_of_a_size_that_kernels_cannot_use_are_refused),
        cmocka_unit_test(what_is_no_number_stays_in_its_sequence),
        cmocka_unit_test(a_stopped_step_can_be_run_again),
        cmocka_unit_test(tokens_and_counts_outside_the_network_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
