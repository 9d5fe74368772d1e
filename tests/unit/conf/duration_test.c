/* Go's durations: values and messages as time.ParseDuration gives them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "conf/inner.h"

static void durations_have_the_values_go_gives_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } rows[] = {
        {"0", 0},
        {"-0", 0},
        {"+0", 0},
        {"0s", 0},
        {"5s", 5000000000},
        {"30s", 30000000000},
        {"1478s", 1478000000000},
        {"-5s", -5000000000},
        {"+5s", 5000000000},
        {"5.0s", 5000000000},
        {"5.6s", 5600000000},
        {"5.s", 5000000000},
        {".5s", 500000000},
        {"1.0s", 1000000000},
        {"1.00s", 1000000000},
        {"1.004s", 1004000000},
        {"1.0040s", 1004000000},
        {"100.00100s", 100001000000},
        {"10ns", 10},
        {"11us", 11000},
        {"12\xc2\xb5s", 12000},
        {"12\xce\xbcs", 12000},
        {"13ms", 13000000},
        {"14s", 14000000000},
        {"15m", 900000000000},
        {"16h", 57600000000000},
        {"3h30m", 12600000000000},
        {"10.5s4m", 250500000000},
        {"-2m3.4s", -123400000000},
        {"1h2m3s4ms5us6ns", 3723004005006},
        {"39h9m14.425s", 140954425000000},
        {"52763797000ns", 52763797000},
        {"0.3333333333333333333h", 1200000000000},
        {"9007199254740993ns", 9007199254740993},
        {"9223372036854775807ns", INT64_MAX},
        {"-9223372036854775808ns", INT64_MIN},
        {"9223372036854775.807us", INT64_MAX},
        {"-9223372036854775.808us", INT64_MIN},
        {"0.100000000000000000000h", 360000000000},
        {"0.830103483285477580700h", 2988372539827},
        {"300ms", 300000000},
        {"-1m", -60000000000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fg_error err = {0};
        int64_t ns = 4711;
        if (fg_conf_duration(fg_str_of(rows[i].text), &ns, &err) != FG_OK)
            fail_msg("%s: %s", rows[i].text, err.text);
        if (ns != rows[i].ns)
            fail_msg("%s: %lld instead of %lld", rows[i].text, (long long)ns,
                     (long long)rows[i].ns);
    }
}

static void bad_durations_have_the_messages_of_go(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "time: invalid duration \"\""},
        {"3", "time: missing unit in duration \"3\""},
        {"-", "time: invalid duration \"-\""},
        {"s", "time: invalid duration \"s\""},
        {".", "time: invalid duration \".\""},
        {"-.", "time: invalid duration \"-.\""},
        {".s", "time: invalid duration \".s\""},
        {"+.s", "time: invalid duration \"+.s\""},
        {"1d", "time: unknown unit \"d\" in duration \"1d\""},
        {"abc", "time: invalid duration \"abc\""},
        {"1h 2m", "time: unknown unit \"h \" in duration \"1h 2m\""},
        {"1.5", "time: missing unit in duration \"1.5\""},
        {"\"\\", "time: invalid duration \"\\\"\\\\\""},
        {"\x85\x85", "time: invalid duration \"\\x85\\x85\""},
        {"\xff\xff", "time: invalid duration \"\\xff\\xff\""},
        {"hello \xff\xff world", "time: invalid duration \"hello \\xff\\xff world\""},
        {"9223372036854775810ns", "time: invalid duration \"9223372036854775810ns\""},
        {"9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""},
        {"-9223372036854775809ns", "time: invalid duration \"-9223372036854775809ns\""},
        {"9223372036854776us", "time: invalid duration \"9223372036854776us\""},
        {"3000000h", "time: invalid duration \"3000000h\""},
        {"9223372036854775.808us", "time: invalid duration \"9223372036854775.808us\""},
        {"9223372036854ms775us808ns", "time: invalid duration \"9223372036854ms775us808ns\""},
        {"99999999999999999999s", "time: invalid duration \"99999999999999999999s\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fg_error err = {0};
        int64_t ns = 4711;
        assert_int_equal(fg_conf_duration(fg_str_of(rows[i].text), &ns, &err), FG_INVALID);
        assert_string_equal(err.text, rows[i].message);
        assert_true(ns == 4711);
    }
}

static void a_long_text_is_not_echoed_whole(void **state)
{
    (void)state;
    char text[5000];
    struct fg_error err;
    int64_t ns;
    memset(text, 0xff, sizeof text);
    assert_int_equal(fg_conf_duration((struct fg_str){text, sizeof text}, &ns, &err), FG_INVALID);
    assert_true(strlen(err.text) < sizeof err.text);
    memset(text, '1', sizeof text);
    assert_int_equal(fg_conf_duration((struct fg_str){text, sizeof text}, &ns, &err), FG_INVALID);
    memset(text, 'x', sizeof text);
    text[0] = '1';
    assert_int_equal(fg_conf_duration((struct fg_str){text, sizeof text}, &ns, &err), FG_INVALID);
    assert_int_equal(fg_conf_duration((struct fg_str){"5\0s", 3}, &ns, &err), FG_INVALID);
}

static void keep_alive_is_a_duration_or_seconds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } rows[] = {
        {"5m", 300000000000}, {"0", 0},  {"300", 300000000000},      {"-1", -1}, {"-1m", -1},
        {"-5", -1},           {"0s", 0}, {"9223372036854775807", -1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t ns = 4711;
        assert_int_equal(fg_conf_keep_alive(fg_str_of(rows[i].text), &ns, NULL), FG_OK);
        assert_true(ns == rows[i].ns);
    }
    int64_t ns;
    assert_int_equal(fg_conf_keep_alive(FG_STR("soon"), &ns, NULL), FG_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_have_the_values_go_gives_them),
        cmocka_unit_test(bad_durations_have_the_messages_of_go),
        cmocka_unit_test(a_long_text_is_not_echoed_whole),
        cmocka_unit_test(keep_alive_is_a_duration_or_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
