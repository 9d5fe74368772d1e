/*
 * Files that cannot run: each is refused before a weight is read, with one message that names the
 * key or tensor, what it is and what was expected.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/model/net.h"
#include "tiny.h"

static const struct tiny_shape llama = {.layers = 2,
                                        .width = 64,
                                        .heads = 4,
                                        .kv_heads = 2,
                                        .head_dim = 16,
                                        .ff = 96,
                                        .vocab = 100,
                                        .factors = true,
                                        .rope_base = 10000};

static int32_t check(const struct tiny_shape *shape, const struct tiny_fault *fault,
                     struct fg_net_info *info, struct fg_error *err)
{
    struct tiny t;
    struct fg_gguf *g;
    tiny_make(&t, shape, fault);
    int32_t rc = fg_gguf_parse(t.file, t.bytes, &g, err);
    if (rc == FG_OK) {
        rc = fg_net_check(g, info, err);
        fg_gguf_close(g);
    }
    tiny_free(&t);
    return rc;
}

static void refuse(const struct tiny_fault *fault, int32_t status, const char *message)
{
    struct fg_net_info info;
    struct fg_error err = {0};
    const int32_t rc = check(&llama, fault, &info, &err);
    if (rc != status || strcmp(err.text, message) != 0)
        fail_msg("status %d, expected %d: \"%s\", expected \"%s\"", (int)rc, (int)status, err.text,
                 message);
}

static void a_good_file_tells_its_sizes(void **state)
{
    (void)state;
    struct fg_net_info info = {0};
    struct fg_error err = {0};
    if (check(&llama, NULL, &info, &err) != FG_OK)
        fail_msg("%s", err.text);
    assert_string_equal(info.architecture, "llama");
    assert_int_equal(info.layers, 2);
    assert_int_equal(info.width, 64);
    assert_int_equal(info.heads, 4);
    assert_int_equal(info.kv_heads, 2);
    assert_int_equal(info.head_dim, 16);
    assert_int_equal(info.vocab, 100);
    assert_int_equal(info.context_train, 4096);
    assert_int_equal(info.kv_bytes_per_token, 2 * 2 * 32 * 2);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    refuse(&(struct tiny_fault){.drop = "general.architecture"}, FG_INVALID,
           "the file has no general.architecture");
    refuse(&(struct tiny_fault){.drop = "block_count"}, FG_INVALID,
           "the file has no llama.block_count");
    refuse(&(struct tiny_fault){.drop = "attention.layer_norm_rms_epsilon"}, FG_INVALID,
           "the file has no llama.attention.layer_norm_rms_epsilon");
    refuse(&(struct tiny_fault){.drop = "token_embd.weight"}, FG_INVALID,
           "tensor token_embd.weight is missing");
    refuse(&(struct tiny_fault){.drop = "blk.1.ffn_up.weight"}, FG_INVALID,
           "tensor blk.1.ffn_up.weight is missing");
}

static void what_is_not_known_is_named(void **state)
{
    (void)state;
    refuse(&(struct tiny_fault){.text = "mamba"}, FG_UNSUPPORTED,
           "architecture \"mamba\" is not supported");
    refuse(&(struct tiny_fault){.extra = "blk.0.attn_sub_norm.weight"}, FG_UNSUPPORTED,
           "tensor blk.0.attn_sub_norm.weight is not known to architecture llama");
    refuse(&(struct tiny_fault){.extra = "blk.2.attn_norm.weight"}, FG_UNSUPPORTED,
           "tensor blk.2.attn_norm.weight is not known to architecture llama");
    refuse(&(struct tiny_fault){.key = "expert_count", .value = 8}, FG_UNSUPPORTED,
           "llama with 8 experts is not supported");
    refuse(&(struct tiny_fault){.retype = "blk.0.ffn_gate.weight"}, FG_UNSUPPORTED,
           "tensor blk.0.ffn_gate.weight: type I8 is not supported");
    refuse(&(struct tiny_fault){.retype = "output_norm.weight"}, FG_UNSUPPORTED,
           "tensor output_norm.weight: type I8 is not supported for a vector");
}

static void every_shape_is_compared_with_the_computed_one(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"blk.0.attn_q.weight", "64 x 65, expected 64 x 64"},
        {"blk.0.attn_k.weight", "64 x 33, expected 64 x 32"},
        {"blk.0.attn_v.weight", "64 x 33, expected 64 x 32"},
        {"blk.1.attn_output.weight", "64 x 65, expected 64 x 64"},
        {"blk.1.ffn_gate.weight", "64 x 97, expected 64 x 96"},
        {"blk.1.ffn_up.weight", "64 x 97, expected 64 x 96"},
        {"blk.1.ffn_down.weight", "96 x 65, expected 96 x 64"},
        {"blk.0.attn_norm.weight", "65 x 1, expected 64 x 1"},
        {"output_norm.weight", "65 x 1, expected 64 x 1"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char message[200];
        snprintf(message, sizeof message, "tensor %s is %s from the hyperparameters", names[i][0],
                 names[i][1]);
        refuse(&(struct tiny_fault){.reshape = names[i][0]}, FG_INVALID, message);
    }
    refuse(&(struct tiny_fault){.reshape = "rope_freqs.weight"}, FG_INVALID,
           "tensor rope_freqs.weight must be 8 numbers of type F32");
}

static void every_hyperparameter_has_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint32_t value;
        const char *message;
    } cases[] = {
        {"block_count", 0, "llama.block_count is 0, expected 1 to 512"},
        {"block_count", 513, "llama.block_count is 513, expected 1 to 512"},
        {"embedding_length", 0, "llama.embedding_length is 0, expected 1 to 131072"},
        {"attention.head_count", 0, "llama.attention.head_count is 0, expected 1 to 1024"},
        {"attention.head_count", 4000000000u,
         "llama.attention.head_count is 4000000000, expected 1 to 1024"},
        {"attention.head_count_kv", 3, "llama: KV heads do not divide heads (3 and 4)"},
        {"attention.key_length", 4096, "llama.attention.key_length is 4096, expected 2 to 1024"},
        {"attention.key_length", 15,
         "llama: keys and values of different length are not supported (15 and 16)"},
        {"rope.dimension_count", 18,
         "llama: rotated values must be even and within a head (18 and 16)"},
        {"rope.dimension_count", 7,
         "llama: rotated values must be even and within a head (7 and 16)"},
        {"feed_forward_length", 0, "llama.feed_forward_length is 0, expected 1 to 1048576"},
        {"context_length", 0, "llama.context_length is 0, expected 1 to 16777216"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(&(struct tiny_fault){.key = cases[i].key, .value = cases[i].value}, FG_INVALID,
               cases[i].message);
}

static void numbers_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const keys[] = {"rope.freq_base", "attention.layer_norm_rms_epsilon"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const float bad[] = {NAN, INFINITY, -1};
        for (size_t j = 0; j < 3; j++) {
            struct fg_net_info info;
            struct fg_error err = {0};
            const struct tiny_fault fault = {.key = keys[i], .real = true, .number = bad[j]};
            assert_int_equal(check(&llama, &fault, &info, &err), FG_INVALID);
            assert_non_null(strstr(err.text, keys[i]));
        }
    }
}

static void a_key_of_another_type_is_refused(void **state)
{
    (void)state;
    struct fg_net_info info;
    struct fg_error err = {0};
    const struct tiny_fault fault = {.text = ""};
    assert_int_equal(check(&llama, &fault, &info, &err), FG_UNSUPPORTED);
    assert_string_equal(err.text, "architecture \"\" is not supported");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_tells_its_sizes),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(what_is_not_known_is_named),
        cmocka_unit_test(every_shape_is_compared_with_the_computed_one),
        cmocka_unit_test(every_hyperparameter_has_bounds),
        cmocka_unit_test(numbers_that_are_none_are_refused),
        cmocka_unit_test(a_key_of_another_type_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
