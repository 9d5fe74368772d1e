/* Words of published pre-tokenizers, and that none of them is slow on any text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/token/pre.h"
#include "util/clock.h"
#include "util/str.h"

struct seen {
    struct fg_str text;
    struct fg_buf words; /* "[word][word]" */
    size_t at, count, stop_after;
};

static bool see(void *ctx, size_t at, size_t len)
{
    struct seen *s = ctx;
    if (at != s->at || len == 0)
        fail_msg("a word at %zu of %zu bytes, expected one at %zu", at, len, s->at);
    s->at += len;
    s->count++;
    if (s->text.len < 4096) {
        fg_buf_addc(&s->words, '[');
        fg_buf_add(&s->words, (struct fg_str){s->text.ptr + at, len});
        fg_buf_addc(&s->words, ']');
    }
    return s->count != s->stop_after;
}

static struct fg_pre *open_pre(const char *name)
{
    struct fg_pre *p = NULL;
    struct fg_pre_facts facts;
    struct fg_error err = {0};
    if (fg_pre_open(fg_str_of(name), &p, &facts, &err) != FG_OK)
        fail_msg("%s", err.text);
    return p;
}

static void check(const char *name, const char *text, const char *words)
{
    struct fg_pre *p = open_pre(name);
    struct seen s = {.text = fg_str_of(text)};
    assert_int_equal(fg_pre_split(p, s.text, see, &s, NULL), FG_OK);
    assert_int_equal(s.at, s.text.len);
    fg_buf_addc(&s.words, '\0');
    assert_string_equal(s.words.ptr, words);
    fg_buf_done(&s.words);
    fg_pre_close(p);
}

static void families_split_as_published(void **state)
{
    (void)state;
    check("gpt-2", "it's  a 2024-test\n\n x", "[it]['s][ ][ a][ 2024][-][test][\n\n][ x]");
    check("smollm", "it's 2024", "[it]['s][ ][2][0][2][4]");
    check("llama-bpe", "IT'S  a 20245-test\n\n x", "[IT]['S][ ][ a][ ][202][45][-test][\n\n][ x]");
    check("qwen2", "a 20 !\n", "[a][ ][2][0][ !\n]");
    check("qwen35", "e\xcc\x81t", "[e\xcc\x81t]");
    check("qwen2", "e\xcc\x81t", "[e][\xcc\x81t]");
    check("gpt-4o", "HelloWorld'll XMLHttp", "[Hello][World'll][ XMLHttp]");
    check("tekken", "HelloWorld's", "[Hello][World]['s]");
    check("falcon", "a 12345 b", "[a][ ][123][45][ b]");
    check("deepseek-v3",
          "x=1234\xe4\xb8\xad"
          "a",
          "[x][=][123][4][\xe4\xb8\xad][a]");
    check("deepseek-llm", "a\n b  ", "[a][\n][ b][  ]");
    check("bloom", "a (b) c", "[a][ (][b][)][ c]");
    check("gemma4", "a b\n\nc", "[a b][\n\n][c]");
}

static void a_word_that_says_no_ends_it(void **state)
{
    (void)state;
    struct fg_pre *p = open_pre("smollm");
    struct seen s = {.text = FG_STR("a b 1 2 c"), .stop_after = 3};
    assert_int_equal(fg_pre_split(p, s.text, see, &s, NULL), FG_OK);
    assert_int_equal(s.count, 3);
    fg_buf_done(&s.words);
    fg_pre_close(p);
}

static void an_unknown_name_is_told(void **state)
{
    (void)state;
    static const char *const names[] = {"", " ", "mpt olmo", "superbpe", "kimi-k2", "GPT-2", "gpt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct fg_pre *p = NULL;
        struct fg_pre_facts facts;
        struct fg_error err = {0};
        assert_int_equal(fg_pre_open(fg_str_of(names[i]), &p, &facts, &err), FG_UNSUPPORTED);
        assert_non_null(strstr(err.text, names[i]));
        assert_null(p);
    }
}

/* `unit` over and over, then `end`. */
static double seconds_for(const struct fg_pre *p, const char *unit, const char *end, size_t bytes)
{
    struct fg_buf text = {0};
    while (text.len < bytes)
        fg_buf_add(&text, fg_str_of(unit));
    fg_buf_add(&text, fg_str_of(end));
    struct seen s = {.text = fg_buf_str(&text)};
    struct fg_error err = {0};
    const uint64_t from = fg_clock_ns();
    if (fg_pre_split(p, s.text, see, &s, &err) != FG_OK)
        fail_msg("%s", err.text);
    assert_int_equal(s.at, s.text.len);
    fg_buf_done(&text);
    return (double)(fg_clock_ns() - from) / 1e9;
}

/* What is quadratic takes minutes. */
static void no_pre_tokenizer_is_slow_on_any_text(void **state)
{
    (void)state;
    static const char *const names[] = {"llama-bpe",   "dbrx",     "qwen2",        "qwen35",
                                        "laguna",      "minicpm5", "seed-coder",   "bailingmoe",
                                        "tekken",      "gpt-4o",   "gpt-2",        "smollm",
                                        "falcon",      "default",  "deepseek-llm", "deepseek-coder",
                                        "deepseek-v3", "bloom",    "viking",       "gemma4"};
    static const char *const units[] = {"a",
                                        "A",
                                        " ",
                                        "\n",
                                        "\t",
                                        "7",
                                        "!",
                                        "'",
                                        "\r",
                                        " \n",
                                        "aA",
                                        "\xcc\x81",
                                        "\xe2\x80\x83",
                                        "\xc7\x85",
                                        "\xe4\xb8\xad",
                                        "\xf0\x9f\x98\x80",
                                        "(",
                                        "~",
                                        "'s",
                                        "a ",
                                        "\xc2\x85"};
    static const char *const tails[] = {"", "x", "\xe4\xb8\xad", "\n", "\xcc\x81", " ", "1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct fg_pre *p = open_pre(names[i]);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            for (size_t t = 0; t < sizeof tails / sizeof *tails; t++) {
                const double took = seconds_for(p, units[u], tails[t], 1u << 15);
                if (took > 1)
                    fail_msg("%s: 32 KiB of \"%s\" and \"%s\" took %.1f s", names[i], units[u],
                             tails[t], took);
            }
            if (seconds_for(p, units[u], "x", 1u << 18) > 5)
                fail_msg("%s: 256 KiB of \"%s\" are slow", names[i], units[u]);
        }
        fg_pre_close(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_split_as_published),
        cmocka_unit_test(a_word_that_says_no_ends_it),
        cmocka_unit_test(an_unknown_name_is_told),
        cmocka_unit_test(no_pre_tokenizer_is_slow_on_any_text),
    };
    return cmocka_run_group_tests_name("pre", tests, NULL, NULL);
}
