/* Special tokens in a text: longest first, none over another, only where they may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/token/special.h"
#include "util/clock.h"
#include "util/str.h"

/* Token i is names[i]; those from `everywhere` on are user-defined. */
static struct fg_specials make(const char *const *names, int32_t count, int32_t everywhere)
{
    struct fg_specials s = {0};
    for (int32_t i = 0; i < count; i++)
        assert_true(fg_specials_add(&s, fg_str_of(names[i]), i, i >= everywhere));
    return s;
}

static void check(const struct fg_specials *s, const char *text, uint32_t from, uint32_t to,
                  const char *want)
{
    const struct fg_span span = {from, to};
    struct fg_found *found = NULL;
    struct fg_buf got = {0};
    size_t count = 0;
    assert_true(fg_specials_find(s, fg_str_of(text), &span, from < to, &found, &count));
    for (size_t i = 0; i < count; i++)
        fg_buf_printf(&got, "%d@%u+%u ", found[i].id, found[i].at, found[i].len);
    fg_buf_addc(&got, '\0');
    assert_string_equal(got.ptr, want);
    fg_buf_done(&got);
    free(found);
}

static void the_longest_takes_its_place_first(void **state)
{
    (void)state;
    static const char *const names[] = {"ab", "bcd", "abc", "d"};
    struct fg_specials s = make(names, 4, 4);
    check(&s, "ab", 0, 2, "0@0+2 ");
    check(&s, "abc", 0, 3, "2@0+3 ");
    check(&s, "abcd", 0, 4, "2@0+3 3@3+1 ");
    check(&s, "xbcdabcx", 0, 8, "1@1+3 2@4+3 ");
    check(&s, "ababab", 0, 6, "0@0+2 0@2+2 0@4+2 ");
    check(&s, "", 0, 0, "");
    fg_specials_done(&s);
}

/* "bcde" is longer than what begins before it, which falls back to its shorter form. */
static void a_shorter_token_is_found_where_a_longer_one_lost(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "abc", "bcde"};
    struct fg_specials s = make(names, 3, 3);
    check(&s, "abcde", 0, 5, "0@0+1 2@1+4 ");
    check(&s, "abcd", 0, 4, "1@0+3 ");
    fg_specials_done(&s);
}

static void control_tokens_need_a_span_and_others_do_not(void **state)
{
    (void)state;
    static const char *const names[] = {"<c>", "<u>"};
    struct fg_specials s = make(names, 2, 1);
    check(&s, "<c><u><c>", 0, 0, "1@3+3 ");
    check(&s, "<c><u><c>", 0, 9, "0@0+3 1@3+3 0@6+3 ");
    check(&s, "<c><u><c>", 0, 4, "0@0+3 1@3+3 ");
    check(&s, "<c><u><c>", 1, 9, "1@3+3 0@6+3 ");
    check(&s, "<c><u><c>", 6, 8, "1@3+3 ");
    fg_specials_done(&s);
}

static void only_control_tokens_are_looked_for_in_spans(void **state)
{
    (void)state;
    static const char *const names[] = {"<c>"};
    struct fg_specials s = make(names, 1, 1);
    const struct fg_span spans[] = {{0, 2}, {4, 8}, {9, 12}};
    struct fg_found *found = NULL;
    size_t count = 0;
    assert_true(fg_specials_find(&s, FG_STR("<c>.<c>.<<c>"), spans, 3, &found, &count));
    assert_int_equal(count, 2);
    assert_int_equal(found[0].at, 4);
    assert_int_equal(found[1].at, 9);
    free(found);
    fg_specials_done(&s);
}

static void runs_of_overlapping_tokens_are_cheap(void **state)
{
    (void)state;
    struct fg_specials s = {0};
    char *text = malloc((1u << 20) + 7);
    assert_non_null(text);
    memset(text, '\n', (1u << 20) + 7);
    for (int32_t i = 2; i <= 31; i++)
        assert_true(fg_specials_add(&s, (struct fg_str){text, (size_t)i}, i, true));
    struct fg_found *found = NULL;
    size_t count = 0, covered = 0;
    const uint64_t from = fg_clock_ns();
    assert_true(
        fg_specials_find(&s, (struct fg_str){text, (1u << 20) + 7}, NULL, 0, &found, &count));
    assert_true(fg_clock_ns() - from < 10 * FG_NS_PER_S);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(found[i].at, covered);
        covered += found[i].len;
    }
    assert_true(covered + 1 >= (1u << 20) + 7);
    free(found);
    free(text);
    fg_specials_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_takes_its_place_first),
        cmocka_unit_test(a_shorter_token_is_found_where_a_longer_one_lost),
        cmocka_unit_test(control_tokens_need_a_span_and_others_do_not),
        cmocka_unit_test(only_control_tokens_are_looked_for_in_spans),
        cmocka_unit_test(runs_of_overlapping_tokens_are_cheap),
    };
    return cmocka_run_group_tests_name("special", tests, NULL, NULL);
}
