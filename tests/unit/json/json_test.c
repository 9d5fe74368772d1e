/* Rules of the strict reader (threats.md section 5) and of the writer. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/clock.h"
#include "util/json.h"

/* Status of reading the whole text; error (128 bytes) may be NULL. */
static int32_t read_whole(struct fg_str text, uint32_t flags, char *error)
{
    struct fg_arena *arena = fg_arena_open(0, (size_t)256 << 20);
    struct fg_json r;
    struct fg_json_value v;
    fg_json_init(&r, text, arena, flags);
    fg_json_read(&r, &v);
    fg_json_skip(&r, &v);
    int32_t status = fg_json_end(&r);
    if (error)
        memcpy(error, r.error, sizeof(r.error));
    fg_json_done(&r);
    fg_arena_close(arena);
    return status;
}

static void refuses_what_is_not_json(void **unused)
{
    (void)unused;
    static const char *const bad[] = {
        "", " ", "{", "}", "[", "]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "[1,]", "[,1]", "[1 2]",
        "{\"a\" 1}", "{a:1}", "{'a':1}", "{\"a\":1}{}", "{} x", "nul", "tru", "True", "NaN",
        "Infinity", "-Infinity", "01", "+1", ".5", "1.", "1e", "1e+", "-", "--1", "0x10", "1_000",
        "1e400", "-1e400", "18446744073709551616", "-9223372036854775809", "\"\\x\"", "\"\\u12\"",
        "\"\\u12g4\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\u0000\"", "\"a\nb\"",
        "\"\x01\"", "\"abc", "/* c */ 1", "1 // c", "[1,\n", "\"\xff\"", "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "\"\xf0\x9f\x98\"", "\xef\xbb\xbf{}",
        "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "[{\"x\":{\"k\":1,\"b\":2,\"\\u006b\":3}}]",
        "\"\x7f\x80\"", "{\"a\":tru}", "[\"\\", "\"\\u", "nullx", "1true"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (read_whole(fg_str_of(bad[i]), 0, NULL) != FG_INVALID)
            fail_msg("taken: %s", bad[i]);
    assert_int_equal(read_whole((struct fg_str){"{}\0", 3}, 0, NULL), FG_INVALID);
    assert_int_equal(read_whole((struct fg_str){"\"a\0b\"", 5}, 0, NULL), FG_INVALID);
}

static void takes_what_is_json(void **unused)
{
    (void)unused;
    static const char *const good[] = {
        "{}", "[]", " [ ] ", "null", "0", "-0", "1e5", "1E+5", "1.5e-7", "1e-400", "\"\"", "\"\\u0001\"",
        "\"\\ud83d\\ude00\"", "\"\x7f\"", "\"\xf4\x8f\xbf\xbf\"", "18446744073709551615",
        "-9223372036854775808", "{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}", "\t\r\n1 \n"};
    char error[128];
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        if (read_whole(fg_str_of(good[i]), 0, error) != FG_OK)
            fail_msg("refused: %s: %s", good[i], error);
}

static void trailing_bytes_are_ignored_only_when_asked(void **unused)
{
    (void)unused;
    assert_int_equal(read_whole(FG_STR("{} {"), FG_JSON_TRAILING, NULL), FG_OK);
    assert_int_equal(read_whole(FG_STR("{} {"), 0, NULL), FG_INVALID);
    assert_int_equal(read_whole(FG_STR("{"), FG_JSON_TRAILING, NULL), FG_INVALID);
}

static void a_cut_document_is_an_unexpected_eof(void **unused)
{
    (void)unused;
    static const char *const cut[] = {"", "{", "{\"a\"", "{\"a\":", "[1,", "\"ab", "tr", "{\"a\":1"};
    for (size_t i = 0; i < sizeof(cut) / sizeof(*cut); i++) {
        char error[128] = "";
        assert_int_equal(read_whole(fg_str_of(cut[i]), 0, error), FG_INVALID);
        error[14] = '\0';
        assert_string_equal(error, "unexpected EOF");
    }
}

static void integers_keep_all_their_bits(void **unused)
{
    (void)unused;
    struct fg_arena *arena = fg_arena_open(0, 1 << 20);
    struct fg_json r;
    struct fg_json_value v;
    fg_json_init(&r, FG_STR("[18446744073709551615,-9223372036854775808,9007199254740993,1.0]"),
                 arena, 0);
    assert_int_equal(fg_json_read(&r, &v), FG_JSON_ARRAY);
    assert_true(fg_json_next(&r, NULL));
    assert_int_equal(fg_json_read(&r, &v), FG_JSON_INT);
    assert_true(v.is_big);
    assert_true((uint64_t)v.integer == UINT64_MAX);
    assert_true(fg_json_next(&r, NULL));
    fg_json_read(&r, &v);
    assert_true(!v.is_big && v.integer == INT64_MIN);
    assert_true(fg_json_next(&r, NULL));
    fg_json_read(&r, &v);
    assert_true(v.integer == 9007199254740993ll);
    assert_true(fg_json_next(&r, NULL));
    assert_int_equal(fg_json_read(&r, &v), FG_JSON_REAL);
    assert_false(fg_json_next(&r, NULL));
    assert_int_equal(fg_json_end(&r), FG_OK);
    fg_json_done(&r);
    fg_arena_close(arena);
}

static void unread_and_raw_values_are_stepped_over(void **unused)
{
    (void)unused;
    struct fg_arena *arena = fg_arena_open(0, 1 << 20);
    struct fg_json r;
    struct fg_json_value v;
    struct fg_str key;
    fg_json_init(&r, FG_STR("{\"skip\":[1,{\"x\":[]}],\"raw\": {\"k\" : [1, 2]} ,\"last\":\"\\u0041b\"}"),
                 arena, 0);
    fg_json_read(&r, &v);
    assert_true(fg_json_next(&r, &key) && fg_str_is(key, "skip"));
    assert_true(fg_json_next(&r, &key) && fg_str_is(key, "raw"));
    fg_json_read(&r, &v);
    assert_true(fg_str_is(fg_json_raw(&r, &v), "{\"k\" : [1, 2]}"));
    assert_true(fg_json_next(&r, &key) && fg_str_is(key, "last"));
    fg_json_read(&r, &v);
    assert_true(fg_str_is(v.text, "Ab"));
    assert_false(fg_json_next(&r, &key));
    assert_int_equal(fg_json_end(&r), FG_OK);
    fg_json_done(&r);
    fg_arena_close(arena);
}

static void make_nested(struct fg_buf *b, int depth)
{
    for (int i = 0; i < depth; i++)
        fg_buf_addc(b, '[');
    for (int i = 0; i < depth; i++)
        fg_buf_addc(b, ']');
}

static void depth_is_limited_without_recursion(void **unused)
{
    (void)unused;
    struct fg_buf fine = {0}, deep = {0};
    make_nested(&fine, FG_JSON_MAX_DEPTH);
    make_nested(&deep, 1000000);
    assert_int_equal(read_whole(fg_buf_str(&fine), 0, NULL), FG_OK);
    assert_int_equal(read_whole(fg_buf_str(&deep), 0, NULL), FG_INVALID);
    fg_buf_done(&fine);
    fg_buf_done(&deep);
}

static void make_keys(struct fg_buf *b, int count, const char *last)
{
    fg_buf_addc(b, '{');
    for (int i = 0; i < count; i++)
        fg_buf_printf(b, "%s\"key%d\":{\"a\":1,\"b\":2}", i ? "," : "", i);
    fg_buf_printf(b, "%s}", last);
}

static void keys_of_large_objects_are_counted_and_compared(void **unused)
{
    (void)unused;
    static const struct {
        int count;
        const char *last;
        int32_t status;
    } cases[] = {{10000, "", FG_OK},
                 {10001, "", FG_INVALID},
                 {9999, ",\"\\u006bey0\":1", FG_INVALID},
                 {9999, ",\"key9998\":1", FG_INVALID},
                 {11, ",\"key3\":1", FG_INVALID},
                 {12, ",\"key3\":1", FG_INVALID},
                 {13, ",\"key3\":1", FG_INVALID},
                 {14, ",\"key13 \":1", FG_OK}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct fg_buf b = {0};
        make_keys(&b, cases[i].count, cases[i].last);
        assert_int_equal(read_whole(fg_buf_str(&b), 0, NULL), cases[i].status);
        fg_buf_done(&b);
    }
}

static void large_objects_within_large_objects_keep_apart(void **unused)
{
    (void)unused;
    struct fg_buf b = {0};
    fg_buf_addc(&b, '{');
    for (int i = 0; i < 60; i++) {
        fg_buf_printf(&b, "%s\"k%d\":{", i ? "," : "", i);
        for (int k = 0; k < 50; k++)
            fg_buf_printf(&b, "%s\"k%d\":%d", k ? "," : "", k, k);
        fg_buf_addc(&b, '}');
    }
    size_t good = b.len;
    fg_buf_addc(&b, '}');
    assert_int_equal(read_whole(fg_buf_str(&b), 0, NULL), FG_OK);
    b.len = good;
    fg_buf_add(&b, FG_STR(",\"k31\":0}"));
    assert_int_equal(read_whole(fg_buf_str(&b), 0, NULL), FG_INVALID);
    fg_buf_done(&b);
}

static void the_number_of_values_is_limited(void **unused)
{
    (void)unused;
    struct fg_buf b = {0};
    fg_buf_addc(&b, '[');
    for (int i = 0; i < FG_JSON_MAX_NODES - 1; i++)
        fg_buf_add(&b, i ? FG_STR(",1") : FG_STR("1"));
    fg_buf_addc(&b, ']');
    assert_int_equal(read_whole(fg_buf_str(&b), 0, NULL), FG_OK);
    b.len--;
    fg_buf_add(&b, FG_STR(",1]"));
    assert_int_equal(read_whole(fg_buf_str(&b), 0, NULL), FG_INVALID);
    fg_buf_done(&b);
}

static void a_full_arena_is_an_error_not_a_crash(void **unused)
{
    (void)unused;
    struct fg_buf b = {0};
    fg_buf_add(&b, FG_STR("\"\\n"));
    for (int i = 0; i < 9000; i++)
        fg_buf_addc(&b, 'x');
    fg_buf_addc(&b, '"');
    struct fg_arena *arena = fg_arena_open(0, 8192);
    struct fg_json r;
    struct fg_json_value v;
    fg_json_init(&r, fg_buf_str(&b), arena, 0);
    assert_int_equal(fg_json_read(&r, &v), FG_JSON_NONE);
    assert_int_equal(fg_json_end(&r), FG_NO_MEMORY);
    fg_json_done(&r);
    fg_arena_close(arena);
    fg_buf_done(&b);
}

static void long_numbers_and_texts_take_no_long_time(void **unused)
{
    (void)unused;
    static const char fills[] = {'1', ' ', '\\', 'a'};
    for (size_t i = 0; i < sizeof(fills); i++) {
        struct fg_buf b = {0};
        fg_buf_reserve(&b, 8 << 20);
        memset(b.ptr, fills[i], 8 << 20);
        b.len = 8 << 20;
        uint64_t start = fg_clock_ns();
        assert_int_equal(read_whole(fg_buf_str(&b), 0, NULL), FG_INVALID);
        assert_true(fg_clock_ns() - start < FG_NS_PER_S);
        fg_buf_done(&b);
    }
}

static void writer_puts_commas_and_escapes(void **unused)
{
    (void)unused;
    struct fg_buf b = {0};
    fg_buf_add(&b, FG_STR("data: "));
    fg_json_put_open(&b, '{');
    fg_json_put_name(&b, "a");
    fg_json_put_str(&b, FG_STR("q\"b\\n\n\x01\xff\xc3\xa9\xe2\x82"));
    fg_json_put_key(&b, FG_STR("k\"\xed\xa0\x80"));
    fg_json_put_open(&b, '[');
    fg_json_put_i64(&b, INT64_MIN);
    fg_json_put_u64(&b, UINT64_MAX);
    fg_json_put_bool(&b, true);
    fg_json_put_null(&b);
    fg_json_put_f32(&b, 0.1f);
    fg_json_put_f64(&b, 0.1);
    fg_json_put_f64(&b, NAN);
    fg_json_put_f32(&b, INFINITY);
    fg_json_put_open(&b, '{');
    fg_json_put_close(&b, '}');
    fg_json_put_str(&b, (struct fg_str){NULL, 0});
    fg_json_put_close(&b, ']');
    fg_json_put_name(&b, "raw");
    fg_json_put_raw(&b, FG_STR("{\"x\":1}"));
    fg_json_put_close(&b, '}');
    fg_buf_addc(&b, '\0');
    assert_false(b.failed);
    assert_string_equal(
        b.ptr, "data: {\"a\":\"q\\\"b\\\\n\\n\\u0001\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\","
               "\"k\\\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\":[-9223372036854775808,"
               "18446744073709551615,true,null,0.100000001,0.1,null,null,{},\"\"],"
               "\"raw\":{\"x\":1}}");
    fg_buf_done(&b);
}

static void floats_read_back_to_the_same_bits(void **unused)
{
    (void)unused;
    uint32_t bits = 1;
    for (int i = 0; i < 20000; i++) {
        bits = bits * 1664525u + 1013904223u;
        float value;
        memcpy(&value, &bits, sizeof(value));
        if (!isfinite(value))
            continue;
        struct fg_buf b = {0};
        fg_json_put_f32(&b, value);
        fg_buf_addc(&b, '\0');
        float back = strtof(b.ptr, NULL);
        assert_memory_equal(&back, &value, sizeof(value));
        fg_buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(takes_what_is_json),
        cmocka_unit_test(trailing_bytes_are_ignored_only_when_asked),
        cmocka_unit_test(a_cut_document_is_an_unexpected_eof),
        cmocka_unit_test(integers_keep_all_their_bits),
        cmocka_unit_test(unread_and_raw_values_are_stepped_over),
        cmocka_unit_test(depth_is_limited_without_recursion),
        cmocka_unit_test(keys_of_large_objects_are_counted_and_compared),
        cmocka_unit_test(large_objects_within_large_objects_keep_apart),
        cmocka_unit_test(the_number_of_values_is_limited),
        cmocka_unit_test(a_full_arena_is_an_error_not_a_crash),
        cmocka_unit_test(long_numbers_and_texts_take_no_long_time),
        cmocka_unit_test(writer_puts_commas_and_escapes),
        cmocka_unit_test(floats_read_back_to_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
