/* Addresses of servers, good and bad. */
#include "cmocka_all.h"

#include "upstream/url.h"
#include "util/str.h"

static int32_t parse(const char *text, struct fg_url *url, struct fg_error *err)
{
    return fg_url_parse(fg_str_of(text), url, err);
}

static void urls_are_taken_apart(void **state)
{
    static const struct {
        const char *text, *host, *authority, *path;
        uint16_t port;
        bool is_tls, is_literal;
    } all[] = {
        {"https://api.example.com/v1", "api.example.com", "api.example.com", "/v1", 443, true,
         false},
        {"HTTP://Host", "host", "host", "", 80, false, false},
        {"http://h:8000/", "h", "h:8000", "", 8000, false, false},
        {"http://10.0.0.1:80/a/b//", "10.0.0.1", "10.0.0.1", "/a/b", 80, false, true},
        {"https://[::1]:8443/v1", "::1", "[::1]:8443", "/v1", 8443, true, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct fg_url url;
        assert_int_equal(parse(all[i].text, &url, NULL), FG_OK);
        assert_string_equal(url.host, all[i].host);
        assert_string_equal(url.authority, all[i].authority);
        assert_string_equal(url.path, all[i].path);
        assert_int_equal(url.port, all[i].port);
        assert_int_equal(url.is_tls, all[i].is_tls);
        assert_int_equal(url.is_literal, all[i].is_literal);
    }
}

static void what_is_no_url_is_refused(void **state)
{
    static const char *const all[] = {"",
                                      "http://",
                                      "https://",
                                      "ftp://h",
                                      "h:80",
                                      "http://h:0",
                                      "http://h:65536",
                                      "http://h:",
                                      "http://h:8o",
                                      "http:// h",
                                      "http://h/ a",
                                      "http://h/?q",
                                      "http://h/#x",
                                      "http://h/\r\nX: y",
                                      "http://[::1",
                                      "http://[zz]",
                                      "http://[::1]x",
                                      "http://a\x01",
                                      "http://h:80:80"};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct fg_url url;
        struct fg_error err = {0};
        assert_int_equal(parse(all[i], &url, &err), FG_INVALID);
        assert_true(err.text[0] != '\0');
    }
}

static void a_password_is_refused_and_not_repeated(void **state)
{
    struct fg_url url;
    struct fg_error err = {0};
    (void)state;
    assert_int_equal(parse("https://me:hunter2@h/v1", &url, &err), FG_INVALID);
    assert_null(strstr(err.text, "hunter2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(what_is_no_url_is_refused),
        cmocka_unit_test(a_password_is_refused_and_not_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
