/* Vocabularies that are wrong in one way each: refused with a message, or harmless. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/token/vocab.h"
#include "small_vocab.h"

#define TOKENS "tokenizer.ggml.tokens"
#define MERGES "tokenizer.ggml.merges"
#define TYPES  "tokenizer.ggml.token_type"
#define SCORES "tokenizer.ggml.scores"

static int32_t open_built(struct build *b, struct fg_vocab **v, struct fg_error *err)
{
    struct fg_gguf *g = NULL;
    const struct fg_str file = build_finish(b, 0);
    if (fg_gguf_parse(file.ptr, file.len, &g, err) != FG_OK)
        fail_msg("the test's own file: %s", err->text);
    const int32_t rc = fg_vocab_open(g, v, err);
    fg_gguf_close(g);
    build_done(b);
    return rc;
}

static void begin(struct build *b, const char *model, const char *pre)
{
    build_init(b);
    if (model)
        build_str(b, "tokenizer.ggml.model", model);
    if (pre)
        build_str(b, "tokenizer.ggml.pre", pre);
}

static const char *const abc[] = {"a", "b", "ab"};
static const char *const ab_line[] = {"a b"};

/* ---- refused --------------------------------------------------------------------------------- */

static void no_tokenizer(struct build *b)
{
    begin(b, NULL, NULL);
}
static void model_is_a_number(struct build *b)
{
    begin(b, NULL, NULL);
    build_u32(b, "tokenizer.ggml.model", 1);
}
static void word_piece(struct build *b)
{
    begin(b, "bert", NULL);
}
static void unigram(struct build *b)
{
    begin(b, "t5", NULL);
}
static void other_model(struct build *b)
{
    begin(b, "future", NULL);
}
static void other_pre(struct build *b)
{
    begin(b, "gpt2", "future-pre");
}
static void pre_of_two_names(struct build *b)
{
    begin(b, "gpt2", "mpt olmo");
}
static void pre_is_a_number(struct build *b)
{
    begin(b, "gpt2", NULL);
    build_u32(b, "tokenizer.ggml.pre", 1);
}
static void no_tokens(struct build *b)
{
    begin(b, "llama", NULL);
}
static void empty_tokens(struct build *b)
{
    begin(b, "llama", NULL);
    build_strings(b, TOKENS, abc, 0);
}
static void tokens_are_numbers(struct build *b)
{
    static const int32_t numbers[] = {1, 2};
    begin(b, "llama", NULL);
    build_i32s(b, TOKENS, numbers, 2);
}
static void no_merges(struct build *b)
{
    begin(b, "gpt2", "gpt-2");
    build_strings(b, TOKENS, abc, 3);
}
static void merges_are_numbers(struct build *b)
{
    static const int32_t numbers[] = {1, 2};
    no_merges(b);
    build_i32s(b, MERGES, numbers, 2);
}
static void one_merge(struct build *b, const char *line)
{
    no_merges(b);
    build_strings(b, MERGES, &line, 1);
}
static void merge_of_one(struct build *b)
{
    one_merge(b, "ab");
}
static void merge_without_right(struct build *b)
{
    one_merge(b, "a ");
}
static void merge_without_left(struct build *b)
{
    one_merge(b, " b");
}
static void merge_empty(struct build *b)
{
    one_merge(b, "");
}
static void few_types(struct build *b)
{
    static const int32_t types[] = {1, 1};
    begin(b, "llama", NULL);
    build_strings(b, TOKENS, abc, 3);
    build_i32s(b, TYPES, types, 2);
}
static void types_are_floats(struct build *b)
{
    static const float types[] = {1, 1, 1};
    begin(b, "llama", NULL);
    build_strings(b, TOKENS, abc, 3);
    build_f32s(b, TYPES, types, 3);
}
static void scores_are_bytes(struct build *b)
{
    begin(b, "llama", NULL);
    build_strings(b, TOKENS, abc, 3);
    build_array(b, SCORES, FG_GGUF_U8, 3);
    build_raw(b, "abc", 3);
}
static void few_scores(struct build *b)
{
    static const float scores[] = {1, 2};
    begin(b, "llama", NULL);
    build_strings(b, TOKENS, abc, 3);
    build_f32s(b, SCORES, scores, 2);
}
static void score_is_nan(struct build *b)
{
    const float scores[] = {1, NAN, 3};
    begin(b, "llama", NULL);
    build_strings(b, TOKENS, abc, 3);
    build_f32s(b, SCORES, scores, 3);
}
static void score_is_infinite(struct build *b)
{
    const float scores[] = {1, 2, -INFINITY};
    begin(b, "llama", NULL);
    build_strings(b, TOKENS, abc, 3);
    build_f32s(b, SCORES, scores, 3);
}
static void byte_token(struct build *b, const char *text)
{
    static const int32_t types[] = {1, 6};
    const char *const words[] = {"a", text};
    begin(b, "llama", NULL);
    build_strings(b, TOKENS, words, 2);
    build_i32s(b, TYPES, types, 2);
}
static void byte_token_of_letters(struct build *b)
{
    byte_token(b, "<0xGG>");
}
static void byte_token_in_small(struct build *b)
{
    byte_token(b, "<0xff>");
}
static void byte_token_too_long(struct build *b)
{
    byte_token(b, "<0x100>");
}
static void byte_token_empty(struct build *b)
{
    byte_token(b, "");
}
static void flag_is_a_number(struct build *b)
{
    begin(b, "llama", NULL);
    build_strings(b, TOKENS, abc, 3);
    build_u32(b, "tokenizer.ggml.add_bos_token", 1);
}

static const struct bad {
    const char *name;
    void (*make)(struct build *);
    int32_t status;
    const char *says;
} bad[] = {
    {"none", no_tokenizer, FG_INVALID, "the file has no tokenizer"},
    {"number", model_is_a_number, FG_INVALID, "key tokenizer.ggml.model: a value of type u32"},
    {"bert", word_piece, FG_UNSUPPORTED, "tokenizer \"bert\" (WordPiece) is not supported"},
    {"t5", unigram, FG_UNSUPPORTED, "tokenizer \"t5\" (unigram) is not supported"},
    {"other", other_model, FG_UNSUPPORTED, "tokenizer \"future\" is not supported"},
    {"pre", other_pre, FG_UNSUPPORTED, "pre-tokenizer \"future-pre\" is not supported"},
    {"two pres", pre_of_two_names, FG_UNSUPPORTED, "pre-tokenizer \"mpt olmo\" is not supported"},
    {"pre number", pre_is_a_number, FG_INVALID, "key tokenizer.ggml.pre"},
    {"no tokens", no_tokens, FG_NOT_FOUND, "key tokenizer.ggml.tokens is missing"},
    {"empty tokens", empty_tokens, FG_INVALID, "0 tokens (1 to "},
    {"number tokens", tokens_are_numbers, FG_INVALID, "tokens: expected strings"},
    {"no merges", no_merges, FG_NOT_FOUND, "key tokenizer.ggml.merges is missing"},
    {"number merges", merges_are_numbers, FG_INVALID, "merges: expected strings"},
    {"merge of one", merge_of_one, FG_INVALID, "merge 0 is no two halves"},
    {"no right half", merge_without_right, FG_INVALID, "merge 0 is no two halves"},
    {"no left half", merge_without_left, FG_INVALID, "merge 0 is no two halves"},
    {"empty merge", merge_empty, FG_INVALID, "merge 0 is no two halves"},
    {"few types", few_types, FG_INVALID, "token_type: 2 elements for 3 tokens"},
    {"float types", types_are_floats, FG_INVALID, "token_type: elements of type"},
    {"byte scores", scores_are_bytes, FG_INVALID, "scores: elements of type"},
    {"few scores", few_scores, FG_INVALID, "scores: 2 elements for 3 tokens"},
    {"nan", score_is_nan, FG_INVALID, "the score of token 1 is not finite"},
    {"inf", score_is_infinite, FG_INVALID, "the score of token 2 is not finite"},
    {"<0xGG>", byte_token_of_letters, FG_INVALID, "token 1 is a byte but not <0xHH>"},
    {"<0xff>", byte_token_in_small, FG_INVALID, "token 1 is a byte but not <0xHH>"},
    {"<0x100>", byte_token_too_long, FG_INVALID, "token 1 is a byte but not <0xHH>"},
    {"no byte", byte_token_empty, FG_INVALID, "token 1 is a byte but not <0xHH>"},
    {"flag", flag_is_a_number, FG_INVALID, "key tokenizer.ggml.add_bos_token"},
};

static void each_bad_vocabulary_has_its_message(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct build b;
        struct fg_vocab *v = NULL;
        struct fg_error err = {0};
        bad[i].make(&b);
        const int32_t rc = open_built(&b, &v, &err);
        if (rc != bad[i].status || !strstr(err.text, bad[i].says))
            fail_msg("%s: status %d (expected %d): %s", bad[i].name, rc, bad[i].status, err.text);
        assert_null(v);
    }
}

/* ---- harmless -------------------------------------------------------------------------------- */

static struct fg_vocab *open_good(struct build *b)
{
    struct fg_vocab *v = NULL;
    struct fg_error err = {0};
    if (open_built(b, &v, &err) != FG_OK)
        fail_msg("%s", err.text);
    return v;
}

static struct fg_ids encode(const struct fg_vocab *v, const char *text)
{
    const struct fg_piece piece = {fg_str_of(text), true};
    struct fg_ids ids = {0};
    struct fg_error err = {0};
    if (fg_vocab_encode(v, &piece, 1, true, 0, &ids, &err) != FG_OK)
        fail_msg("%s", err.text);
    return ids;
}

/* a b -> ab, ab a -> aba, b a -> ba, ba b -> bab ...: every merge makes a text longer, so none can
 * go round; ranks that contradict each other only decide the order. */
static void merges_that_contradict_each_other_end(void **state)
{
    (void)state;
    static const char *const words[] = {"a", "b", "ab", "ba", "aba", "bab", "abab"};
    static const char *const lines[] = {"ab ab", "a b",  "b a", "ba b",  "ab a",
                                        "a ba",  "b ab", "a b", "aba b", "a bab"};
    struct build b;
    begin(&b, "gpt2", "gpt-2");
    build_strings(&b, TOKENS, words, 7);
    build_strings(&b, MERGES, lines, 10);
    struct fg_vocab *v = open_good(&b);
    struct fg_ids ids = encode(v, "abababab");
    assert_int_equal(ids.len, 2);
    assert_int_equal(ids.ptr[0], 6);
    fg_ids_done(&ids);
    fg_vocab_close(v);
}

static void merges_may_pass_through_texts_that_are_no_tokens(void **state)
{
    (void)state;
    static const char *const words[] = {"a", "b", "c", "abc"};
    static const char *const lines[] = {"a b", "ab c"};
    struct build b;
    begin(&b, "gpt2", "gpt-2");
    build_strings(&b, TOKENS, words, 4);
    build_strings(&b, MERGES, lines, 2);
    struct fg_vocab *v = open_good(&b);
    struct fg_ids ids = encode(v, "abcab"); /* the second "ab" stays one, and is told by bytes */
    assert_int_equal(ids.len, 3);
    assert_int_equal(ids.ptr[0], 3);
    assert_int_equal(ids.ptr[1], 0);
    assert_int_equal(ids.ptr[2], 1);
    fg_ids_done(&ids);
    fg_vocab_close(v);
}

static void ids_out_of_range_count_as_absent(void **state)
{
    (void)state;
    struct build b;
    begin(&b, "gpt2", "llama-bpe"); /* adds BOS */
    build_strings(&b, TOKENS, abc, 3);
    build_strings(&b, MERGES, ab_line, 1);
    build_u32(&b, "tokenizer.ggml.bos_token_id", 3);
    build_u32(&b, "tokenizer.ggml.eos_token_id", UINT32_MAX);
    build_u32(&b, "tokenizer.ggml.unknown_token_id", 1u << 31);
    build_u32(&b, "tokenizer.ggml.eot_token_id", 1u << 30);
    build_str(&b, "tokenizer.ggml.eom_token_id", "a");
    struct fg_vocab *v = open_good(&b);
    assert_int_equal(fg_vocab_bos(v), -1);
    assert_int_equal(fg_vocab_eos(v), -1);
    struct fg_ids ids = encode(v, "abz"); /* no token for z, nothing unknown: left out */
    assert_int_equal(ids.len, 1);
    assert_int_equal(ids.ptr[0], 2);
    fg_ids_done(&ids);
    fg_vocab_close(v);
}

static void a_default_id_behind_a_tiny_vocabulary_is_absent(void **state)
{
    (void)state;
    static const char *const words[] = {"x"};
    struct build b;
    begin(&b, "llama", NULL);
    build_strings(&b, TOKENS, words, 1);
    struct fg_vocab *v = open_good(&b);
    assert_int_equal(fg_vocab_bos(v), -1);
    assert_int_equal(fg_vocab_eos(v), -1);
    struct fg_ids ids = encode(v, "xyz \xf0\x9f\x98\x80");
    for (size_t i = 0; i < ids.len; i++)
        assert_int_equal(ids.ptr[i], 0); /* the default unknown is 0 */
    fg_ids_done(&ids);
    fg_vocab_close(v);
}

static void empty_and_equal_tokens_do_no_harm(void **state)
{
    (void)state;
    static const char *const words[] = {"", "a", "", "a", "b", "<s>", "<s>", "\xff\xfe"};
    static const int32_t types[] = {3, 1, 4, 1, 1, 3, 3, 4};
    for (int i = 0; i < 2; i++) {
        struct build b;
        begin(&b, i ? "llama" : "gpt2", i ? NULL : "gpt-2");
        build_strings(&b, TOKENS, words, 8);
        build_i32s(&b, TYPES, types, 8);
        build_strings(&b, MERGES, ab_line, 1);
        struct fg_vocab *v = open_good(&b);
        struct fg_ids ids = encode(v, "a<s>b");
        assert_true(ids.len >= 3);
        fg_ids_done(&ids);
        for (int32_t id = 0; id < 8; id++)
            (void)fg_vocab_piece(v, id, true);
        fg_vocab_close(v);
    }
}

static void types_of_any_number_are_read(void **state)
{
    (void)state;
    static const int32_t types[] = {-1, INT32_MAX, 7};
    struct build b;
    begin(&b, "llama", NULL);
    build_strings(&b, TOKENS, abc, 3);
    build_i32s(&b, TYPES, types, 3);
    struct fg_vocab *v = open_good(&b);
    struct fg_ids ids = encode(v, "ab");
    fg_ids_done(&ids);
    fg_vocab_close(v);
}

static void a_long_special_token_is_left_out(void **state)
{
    (void)state;
    static const int32_t types[] = {1, 3};
    char *large = malloc(2001);
    assert_non_null(large);
    memset(large, 'x', 2000);
    large[2000] = '\0';
    const char *const words[] = {"x", large};
    struct build b;
    begin(&b, "gpt2", "gpt-2");
    build_strings(&b, TOKENS, words, 2);
    build_i32s(&b, TYPES, types, 2);
    build_strings(&b, MERGES, ab_line, 1);
    struct fg_vocab *v = open_good(&b);
    struct fg_ids ids = encode(v, large);
    assert_int_equal(ids.len, 2000);
    fg_ids_done(&ids);
    fg_vocab_close(v);
    free(large);
}

/* An end of turn that a converter wrote as ordinary text must not be a user's to write. */
static void well_known_tokens_are_control_tokens(void **state)
{
    (void)state;
    static const char *const words[] = {"a", "<|im_end|>", "<|fim_prefix|>", "<|file_sep|>"};
    static const int32_t types[] = {1, 1, 1, 4};
    struct build b;
    begin(&b, "gpt2", "gpt-2");
    build_strings(&b, TOKENS, words, 4);
    build_i32s(&b, TYPES, types, 4);
    build_strings(&b, MERGES, ab_line, 1);
    struct fg_vocab *v = open_good(&b);
    assert_true(fg_vocab_ends(v, 1));
    assert_false(fg_vocab_ends(v, 2));
    assert_true(fg_vocab_ends(v, 3));
    assert_int_equal(fg_vocab_piece(v, 1, false).len, 0);
    assert_int_equal(fg_vocab_piece(v, 2, false).len, 0);
    const struct fg_piece user = {FG_STR("<|im_end|>"), false};
    struct fg_ids ids = {0};
    assert_int_equal(fg_vocab_encode(v, &user, 1, false, 0, &ids, NULL), FG_OK);
    assert_int_equal(ids.len, 0); /* none of its letters is a token here */
    fg_ids_done(&ids);
    fg_vocab_close(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_bad_vocabulary_has_its_message),
        cmocka_unit_test(merges_that_contradict_each_other_end),
        cmocka_unit_test(merges_may_pass_through_texts_that_are_no_tokens),
        cmocka_unit_test(ids_out_of_range_count_as_absent),
        cmocka_unit_test(a_default_id_behind_a_tiny_vocabulary_is_absent),
        cmocka_unit_test(empty_and_equal_tokens_do_no_harm),
        cmocka_unit_test(types_of_any_number_are_read),
        cmocka_unit_test(a_long_special_token_is_left_out),
        cmocka_unit_test(well_known_tokens_are_control_tokens),
    };
    return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
