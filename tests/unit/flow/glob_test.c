/* Patterns of names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "flow/glob.h"

static bool fits(const char *pattern, const char *name)
{
    return fg_glob_fits(fg_str_of(pattern), fg_str_of(name));
}

static void stars_and_question_marks_fit(void **state)
{
    (void)state;
    assert_true(fits("*", "") && fits("*", "x") && fits("**", "x") && fits("", ""));
    assert_true(fits("llama3*", "llama3:8b") && fits("LLAMA3*", "llama3.1:8b"));
    assert_true(fits("*:8b", "a:8b:8b") && fits("q?en*", "Qwen2.5:7b") && fits("a*b*c", "axbxbc"));
    assert_false(fits("llama3", "llama3:8b") || fits("?", "") || fits("", "x"));
    assert_false(fits("*:8b", "a:70b") || fits("a*b*c", "axbxb") || fits("a?c", "ac"));
}

static void no_pattern_takes_for_ever(void **state)
{
    (void)state;
    char *name = malloc(20001);
    assert_non_null(name);
    memset(name, 'a', 20000);
    name[20000] = '\0';
    assert_false(fits("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", name));
    free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stars_and_question_marks_fit),
        cmocka_unit_test(no_pattern_takes_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
