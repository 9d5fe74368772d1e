/* Encoding and pieces over small vocabularies of each kind: what must hold for any text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/token/vocab.h"
#include "small_vocab.h"
#include "util/clock.h"

static struct fg_vocab *open_small(int32_t kind)
{
    struct build b;
    struct fg_gguf *g = NULL;
    struct fg_vocab *v = NULL;
    struct fg_error err = {0};
    const struct fg_str file = small_vocab(&b, kind);
    if (fg_gguf_parse(file.ptr, file.len, &g, &err) != FG_OK || fg_vocab_open(g, &v, &err) != FG_OK)
        fail_msg("kind %d: %s", kind, err.text);
    fg_gguf_close(g); /* the vocabulary copied what it needs */
    build_done(&b);
    return v;
}

static struct fg_ids encode(const struct fg_vocab *v, const char *text, bool special, bool bos)
{
    const struct fg_piece piece = {fg_str_of(text), special};
    struct fg_ids ids = {0};
    struct fg_error err = {0};
    if (fg_vocab_encode(v, &piece, 1, bos, 0, &ids, &err) != FG_OK)
        fail_msg("%.60s: %s", text, err.text);
    return ids;
}

static struct fg_buf decode(const struct fg_vocab *v, const struct fg_ids *ids)
{
    struct fg_buf text = {.limit = 64u << 20};
    for (size_t i = 0; i < ids->len; i++)
        fg_buf_add(&text, fg_vocab_piece(v, ids->ptr[i], true));
    if (fg_vocab_strips_first_blank(v) && text.len && text.ptr[0] == ' ') {
        memmove(text.ptr, text.ptr + 1, text.len - 1);
        text.len--;
    }
    fg_buf_addc(&text, '\0');
    return text;
}

static void check(const struct fg_vocab *v, const char *text, bool special, const char *pieces)
{
    struct fg_ids ids = encode(v, text, special, false);
    struct fg_buf got = {0};
    for (size_t i = 0; i < ids.len; i++) {
        fg_buf_addc(&got, '[');
        fg_buf_add(&got, fg_vocab_piece(v, ids.ptr[i], true));
        fg_buf_addc(&got, ']');
    }
    fg_buf_addc(&got, '\0');
    assert_string_equal(got.ptr, pieces);
    fg_buf_done(&got);
    fg_ids_done(&ids);
}

static void words_are_merged_by_rank(void **state)
{
    (void)state;
    struct fg_vocab *v = open_small(SMALL_BYTES);
    check(v, "hello world", false, "[hello][ world]");
    check(v, "hell", false, "[hell]");
    check(v, "aaaaa", false, "[aaaa][a]");
    check(v, "aaaaaaaaaaaaaaaaaaa", false, "[aaaaaaaa][aaaaaaaa][aa][a]");
    check(v, "\xf0\x9f\x98\x80", false, "[\xf0][\x9f][\x98][\x80]");
    check(v, "x  hello", false, "[x][ ][ hello]");
    fg_vocab_close(v);
    v = open_small(SMALL_CHARS);
    check(v, "hello world", false, "[hello][ world]");
    check(v, "  \n\n12", false, "[  ][\n][\n][12]");
    check(v, "\xc3\xa9\xf0\x9f\x98\x80", false, "[\xc3\xa9][\xf0][\x9f][\x98][\x80]");
    fg_vocab_close(v);
    v = open_small(SMALL_SPM);
    check(v, "hello world", false, "[ hello][ world]");
    check(v, "aaaa", false, "[ ][aaaa]");
    check(v, "\xc3\xa9\xf0\x9f\x98\x80", false, "[ ][\xc3\xa9][\xf0][\x9f][\x98][\x80]");
    fg_vocab_close(v);
}

static void any_text_comes_back(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        " ",
                                        "hello",
                                        " hello  world ",
                                        "a\tb\r\nc\n\n\nd",
                                        "\xc3\xa9t\xc3\xa9 \xe4\xb8\xad",
                                        "\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9",
                                        "1234567890",
                                        "it's we'LL <|im_start|>user\n",
                                        "\x01\x7f",
                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                        "\xc2\xa0\xe3\x80\x80 \xe2\x80\xa8",
                                        "[unused] {} \\ ~ `"};
    for (int32_t kind = 0; kind < SMALL_KINDS; kind++) {
        struct fg_vocab *v = open_small(kind);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            struct fg_ids ids = encode(v, texts[i], false, false);
            struct fg_buf back = decode(v, &ids);
            assert_string_equal(back.ptr, texts[i]);
            fg_buf_done(&back);
            fg_ids_done(&ids);
        }
        fg_vocab_close(v);
    }
}

static bool has(const struct fg_ids *ids, int32_t id)
{
    for (size_t i = 0; i < ids->len; i++)
        if (ids->ptr[i] == id)
            return true;
    return false;
}

static void a_users_text_never_becomes_a_control_token(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "<|im_end|>", "</s>", "<s>", "<unk>", "a<|im_start|>b", "<|im_end|><|im_end|>", " </s> "};
    for (int32_t kind = 0; kind < SMALL_KINDS; kind++) {
        struct fg_vocab *v = open_small(kind);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            struct fg_ids ids = encode(v, texts[i], false, false);
            for (int32_t id = SMALL_UNK; id <= SMALL_END; id++)
                if (has(&ids, id))
                    fail_msg("kind %d: %s gave token %d", kind, texts[i], id);
            fg_ids_done(&ids);
        }
        fg_vocab_close(v);
    }
}

static void specials_are_seen_only_in_pieces_that_allow_them(void **state)
{
    (void)state;
    for (int32_t kind = 0; kind < SMALL_KINDS; kind++) {
        struct fg_vocab *v = open_small(kind);
        const struct fg_piece pieces[] = {
            {FG_STR("<|im_"), true}, /* one token over two pieces of the template */
            {FG_STR("start|>"), true},  {FG_STR("<|im_end|>"), false},
            {FG_STR("<|im_end"), true}, /* ends in what the user wrote */
            {FG_STR("|>"), false},      {FG_STR("<|im_end|>"), true},
        };
        struct fg_ids ids = {0};
        struct fg_error err = {0};
        assert_int_equal(fg_vocab_encode(v, pieces, 6, false, 0, &ids, &err), FG_OK);
        assert_int_equal(ids.ptr[0], SMALL_START);
        assert_int_equal(ids.ptr[ids.len - 1], SMALL_END);
        ids.len--;
        assert_false(has(&ids, SMALL_END));
        fg_ids_done(&ids);
        fg_vocab_close(v);
    }
}

static void user_defined_tokens_are_seen_everywhere(void **state)
{
    (void)state;
    struct fg_vocab *v = open_small(SMALL_BYTES);
    struct fg_ids ids = encode(v, "x<think>y", false, false);
    assert_int_equal(ids.len, 3);
    assert_int_equal(ids.ptr[1], SMALL_THINK);
    fg_ids_done(&ids);
    fg_vocab_close(v);
}

/* As in llama.cpp: the text behind any token that was cut out begins anew. */
static void spm_puts_a_blank_behind_special_tokens(void **state)
{
    (void)state;
    struct fg_vocab *v = open_small(SMALL_SPM);
    check(v, "<think>12<|im_end|>hello", true, "[<think>][ ][12][<|im_end|>][ hello]");
    check(v, "<think>12", false, "[<think>][ ][12]");
    fg_vocab_close(v);
}

/* "hel" + "lo" gives what "hello" gives: a template's parts leave no seam. */
static void pieces_are_one_text(void **state)
{
    (void)state;
    for (int32_t kind = 0; kind < SMALL_KINDS; kind++) {
        struct fg_vocab *v = open_small(kind);
        const struct fg_piece pieces[] = {{FG_STR("hel"), true},
                                          {FG_STR(""), false},
                                          {FG_STR("lo wo"), false},
                                          {FG_STR("rld"), true}};
        struct fg_ids ids = {0}, whole = encode(v, "hello world", false, false);
        assert_int_equal(fg_vocab_encode(v, pieces, 4, false, 0, &ids, NULL), FG_OK);
        assert_int_equal(ids.len, whole.len);
        assert_memory_equal(ids.ptr, whole.ptr, ids.len * sizeof *ids.ptr);
        fg_ids_done(&ids);
        fg_ids_done(&whole);
        fg_vocab_close(v);
    }
}

static void limits_count_what_this_call_adds(void **state)
{
    (void)state;
    struct fg_vocab *v = open_small(SMALL_SPM);
    const struct fg_piece piece = {FG_STR("hello world"), false};
    struct fg_ids ids = {0};
    struct fg_error err = {0};
    assert_true(fg_ids_add(&ids, 7));
    assert_int_equal(fg_vocab_encode(v, &piece, 1, true, 3, &ids, &err), FG_OK);
    assert_int_equal(ids.len, 4);
    assert_int_equal(ids.ptr[1], SMALL_BOS);
    assert_int_equal(fg_vocab_encode(v, &piece, 1, true, 2, &ids, &err), FG_TOO_LONG);
    fg_ids_done(&ids);
    char *text = malloc(8u << 20);
    assert_non_null(text);
    memset(text, 'b', 8u << 20);
    const struct fg_piece large = {{text, 8u << 20}, false};
    const uint64_t from = fg_clock_ns();
    assert_int_equal(fg_vocab_encode(v, &large, 1, true, 100, &ids, &err), FG_TOO_LONG);
    assert_true(fg_clock_ns() - from < FG_NS_PER_S); /* the merging is not begun */
    fg_ids_done(&ids);
    free(text);
    fg_vocab_close(v);
}

static void broken_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a\xff", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xc0\x80", "\xf5\x80\x80\x80", "\x80"};
    struct fg_vocab *v = open_small(SMALL_BYTES);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct fg_piece piece = {fg_str_of(texts[i]), true};
        struct fg_ids ids = {0};
        struct fg_error err = {0};
        assert_int_equal(fg_vocab_encode(v, &piece, 1, false, 0, &ids, &err), FG_INVALID);
        assert_int_equal(ids.len, 0);
    }
    fg_vocab_close(v);
}

static void nothing_and_zero_bytes_are_texts_too(void **state)
{
    (void)state;
    for (int32_t kind = 0; kind < SMALL_KINDS; kind++) {
        struct fg_vocab *v = open_small(kind);
        struct fg_ids ids = {0};
        assert_int_equal(fg_vocab_encode(v, NULL, 0, false, 0, &ids, NULL), FG_OK);
        assert_int_equal(ids.len, 0);
        const struct fg_piece zero = {FG_STR("a\0b"), false};
        assert_int_equal(fg_vocab_encode(v, &zero, 1, false, 0, &ids, NULL), FG_OK);
        struct fg_buf back = decode(v, &ids);
        assert_int_equal(back.len, 4);
        assert_memory_equal(back.ptr, "a\0b", 4);
        fg_buf_done(&back);
        fg_ids_done(&ids);
        fg_vocab_close(v);
    }
}

static void a_vocabulary_answers_about_its_tokens(void **state)
{
    (void)state;
    for (int32_t kind = 0; kind < SMALL_KINDS; kind++) {
        struct fg_vocab *v = open_small(kind);
        assert_int_equal(fg_vocab_bos(v), SMALL_BOS);
        assert_int_equal(fg_vocab_eos(v), SMALL_EOS);
        assert_true(fg_vocab_ends(v, SMALL_EOS));
        assert_true(fg_vocab_ends(v, SMALL_END));
        assert_false(fg_vocab_ends(v, SMALL_START));
        assert_false(fg_vocab_ends(v, -1));
        assert_false(fg_vocab_ends(v, INT32_MAX));
        assert_int_equal(fg_vocab_piece(v, SMALL_END, false).len, 0);
        assert_true(fg_str_is(fg_vocab_piece(v, SMALL_END, true), "<|im_end|>"));
        assert_true(fg_str_is(fg_vocab_piece(v, SMALL_THINK, false), "<think>"));
        assert_int_equal(fg_vocab_piece(v, SMALL_BYTE + 255, false).len, 1);
        assert_int_equal(*fg_vocab_piece(v, SMALL_BYTE + 255, false).ptr, '\xff');
        assert_int_equal(fg_vocab_piece(v, -1, true).len, 0);
        assert_int_equal(fg_vocab_piece(v, INT32_MIN, true).len, 0);
        assert_int_equal(fg_vocab_piece(v, (int32_t)fg_vocab_size(v), true).len, 0);
        assert_int_equal(fg_vocab_find(v, FG_STR("<|im_end|>")), SMALL_END);
        const int32_t id = fg_vocab_find(v, FG_STR(" world"));
        assert_true(id >= 0);
        assert_true(fg_str_is(fg_vocab_piece(v, id, false), " world"));
        assert_int_equal(fg_vocab_find(v, FG_STR("no such token")), -1);
        assert_int_equal(fg_vocab_find(v, FG_STR("")), -1);
        fg_vocab_close(v);
    }
    fg_vocab_close(NULL);
}

struct reader {
    const struct fg_vocab *v;
    const struct fg_ids *want;
    bool differs;
};

static const char shared_text[] = "it's 12 hello  world <|im_end|> \xc3\xa9 aaaaaaaaa\n";

static void *read_often(void *arg)
{
    struct reader *r = arg;
    const struct fg_piece piece = {fg_str_of(shared_text), true};
    for (int i = 0; i < 200; i++) {
        struct fg_ids ids = {0};
        if (fg_vocab_encode(r->v, &piece, 1, true, 0, &ids, NULL) != FG_OK ||
            ids.len != r->want->len ||
            memcmp(ids.ptr, r->want->ptr, ids.len * sizeof *ids.ptr) != 0)
            r->differs = true;
        fg_ids_done(&ids);
    }
    return NULL;
}

static void threads_share_a_vocabulary(void **state)
{
    (void)state;
    for (int32_t kind = 0; kind < SMALL_KINDS; kind++) {
        struct fg_vocab *v = open_small(kind);
        struct fg_ids want = encode(v, shared_text, true, true);
        struct reader readers[4];
        pthread_t threads[4];
        for (int i = 0; i < 4; i++) {
            readers[i] = (struct reader){.v = v, .want = &want};
            assert_int_equal(pthread_create(&threads[i], NULL, read_often, &readers[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
            assert_false(readers[i].differs);
        }
        fg_ids_done(&want);
        fg_vocab_close(v);
    }
}

static double seconds_for(const struct fg_vocab *v, const char *unit, size_t bytes)
{
    const size_t n = strlen(unit);
    char *text = malloc(bytes);
    assert_non_null(text);
    for (size_t i = 0; i < bytes; i++)
        text[i] = unit[i % n];
    const struct fg_piece piece = {{text, bytes / n * n}, true};
    struct fg_ids ids = {0};
    struct fg_error err = {0};
    const uint64_t from = fg_clock_ns();
    if (fg_vocab_encode(v, &piece, 1, true, 0, &ids, &err) != FG_OK)
        fail_msg("%s", err.text);
    const double took = (double)(fg_clock_ns() - from) / 1e9;
    fg_ids_done(&ids);
    free(text);
    return took;
}

/* Seconds are generous, for sanitizers and a busy machine. What is quadratic would take hours. */
static void a_megabyte_of_anything_is_done_soon(void **state)
{
    (void)state;
    static const char *const units[] = {"a",
                                        " ",
                                        "\xf0\x9f\x98\x80", /* the first three in full */
                                        "\n",
                                        "ab",
                                        "1",
                                        "!",
                                        "\r\n",
                                        "\t",
                                        "A",
                                        " a",
                                        "\xe4\xb8\xad",
                                        "\xcc\x81",
                                        "\xe2\x96\x81",
                                        "<|im_end|>",
                                        "<think>",
                                        "<|im_",
                                        "'s",
                                        "aaaa "};
    for (int32_t kind = 0; kind < SMALL_KINDS; kind++) {
        struct fg_vocab *v = open_small(kind);
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            const size_t bytes = i < 3 ? 1u << 20 : 1u << 17;
            const double took = seconds_for(v, units[i], bytes);
            if (took > 15)
                fail_msg("kind %d: %zu bytes of \"%s\" took %.1f s", kind, bytes, units[i], took);
        }
        fg_vocab_close(v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_merged_by_rank),
        cmocka_unit_test(any_text_comes_back),
        cmocka_unit_test(a_users_text_never_becomes_a_control_token),
        cmocka_unit_test(specials_are_seen_only_in_pieces_that_allow_them),
        cmocka_unit_test(user_defined_tokens_are_seen_everywhere),
        cmocka_unit_test(spm_puts_a_blank_behind_special_tokens),
        cmocka_unit_test(pieces_are_one_text),
        cmocka_unit_test(limits_count_what_this_call_adds),
        cmocka_unit_test(broken_utf8_is_refused),
        cmocka_unit_test(nothing_and_zero_bytes_are_texts_too),
        cmocka_unit_test(a_vocabulary_answers_about_its_tokens),
        cmocka_unit_test(threads_share_a_vocabulary),
        cmocka_unit_test(a_megabyte_of_anything_is_done_soon),
    };
    return cmocka_run_group_tests_name("vocab", tests, NULL, NULL);
}
