/* OLLAMA_HOST in all its spellings, and which variable is stronger. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "conf/inner.h"
#include "place.h"

static void spellings_of_a_host(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name;
        uint16_t port;
        bool has_port, https;
    } rows[] = {
        {"", "127.0.0.1", 11434, false, false},
        {"example.com", "example.com", 11434, false, false},
        {"1.2.3.4", "1.2.3.4", 11434, false, false},
        {"1.2.3.4:", "1.2.3.4", 0, false, false}, /* port 0 marks a refusal here */
        {"example.com:1234", "example.com", 1234, true, false},
        {":1234", "127.0.0.1", 1234, true, false},
        {"1234", "127.0.0.1", 1234, true, false},
        {":0", "127.0.0.1", 0, true, false},
        {"[::1]", "::1", 11434, false, false},
        {"::1", "::1", 11434, false, false},
        {"[::1]:1337", "::1", 1337, true, false},
        {"fe80::1", "fe80::1", 11434, false, false},
        {"http://example.com", "example.com", 80, true, false},
        {"HTTP://example.com", "example.com", 80, true, false},
        {"https://example.com", "example.com", 443, true, true},
        {"https://1.2.3.4:8443", "1.2.3.4", 8443, true, true},
        {"http://[::1]:5/", "::1", 5, true, false},
        {"example.com/", "example.com", 11434, false, false},
        {"example.com:1234/path/x:9", "example.com", 1234, true, false},
        {"http://:5000", "127.0.0.1", 5000, true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fg_conf_host h = {0};
        struct fg_error err = {0};
        int32_t rc = fg_conf_host(fg_str_of(rows[i].text), &h, &err);
        if (!rows[i].port && !rows[i].has_port) {
            assert_int_equal(rc, FG_INVALID);
            continue;
        }
        if (rc != FG_OK)
            fail_msg("%s", err.text);
        assert_string_equal(h.name, rows[i].name);
        assert_int_equal(h.port, rows[i].port);
        assert_int_equal(h.has_port, rows[i].has_port);
        assert_int_equal(h.https, rows[i].https);
    }
}

static void what_is_no_host_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "ftp://x", "x:65536", "x:-1", "x:1:2",   "[::1",   "[x]", "[::1]x",   "a b",
        "user@x",  "x:0x10",  "a\nb", "http://", "::1]:5", "x?y", "\xc3\xa4",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fg_conf_host h = {0};
        struct fg_error err = {0};
        if (strcmp(bad[i], "http://") == 0)
            continue; /* the default host */
        if (fg_conf_host(fg_str_of(bad[i]), &h, &err) != FG_INVALID)
            fail_msg("%s was taken as %s port %u", bad[i], h.name, h.port);
    }
    char longest[400];
    struct fg_conf_host h;
    memset(longest, 'a', sizeof longest);
    assert_int_equal(fg_conf_host((struct fg_str){longest, 255}, &h, NULL), FG_OK);
    assert_int_equal(fg_conf_host((struct fg_str){longest, 256}, &h, NULL), FG_INVALID);
    assert_int_equal(fg_conf_host((struct fg_str){"a\0b", 3}, &h, NULL), FG_INVALID);
}

static void our_variables_are_stronger(void **state)
{
    (void)state;
    struct fg_conf_host h;
    assert_int_equal(fg_conf_env_host(&h, NULL), FG_OK);
    assert_string_equal(h.name, "127.0.0.1");
    assert_int_equal(h.port, 11434);
    assert_null(h.from);
    setenv("OLLAMA_HOST", "ollama:1", 1);
    assert_int_equal(fg_conf_env_host(&h, NULL), FG_OK);
    assert_string_equal(h.name, "ollama");
    assert_string_equal(h.from, "OLLAMA_HOST");
    setenv("FLUXGATE_HOST", "flux", 1);
    assert_int_equal(fg_conf_env_host(&h, NULL), FG_OK);
    assert_string_equal(h.name, "flux");
    assert_int_equal(h.port, 11434);
    setenv("FLUXGATE_PORT", "2", 1);
    assert_int_equal(fg_conf_env_host(&h, NULL), FG_OK);
    assert_int_equal(h.port, 2);
    assert_true(h.has_port);
}

static void loopback_is_told_from_the_rest(void **state)
{
    (void)state;
    static const char *const good[] = {"127.0.0.1", "127.255.255.254", "::1", "localhost",
                                       "0:0:0:0:0:0:0:1"};
    static const char *const bad[] = {"",           "0.0.0.0",     "126.0.0.1",
                                      "::",         "::2",         "LOCALHOST.example",
                                      "localhost.", "127.0.0.1.5", "127.0.0.1x"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(fg_conf_is_loopback(fg_str_of(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(fg_conf_is_loopback(fg_str_of(bad[i])));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, drop_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(spellings_of_a_host),
        TEST(what_is_no_host_is_refused),
        TEST(our_variables_are_stronger),
        TEST(loopback_is_told_from_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
