/* The reader and jansson must agree on generated documents and on damaged ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "json_compare.h"
#include "util/json.h"

static uint64_t state = 0x9e3779b97f4a7c15ull;

static uint32_t draw(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static void make_string(struct fg_buf *b)
{
    static const char *const bits[] = {"a",      "Z9",     " ",        "\\n",          "\\\"",
                                       "\\u00e9", "\xc3\xa9", "\xe6\x97\xa5", "\\ud83d\\ude00",
                                       "\xf0\x9f\x98\x80", "\\/", "plain text of some length ", "\\u0001"};
    fg_buf_addc(b, '"');
    for (uint32_t n = draw(6); n > 0; n--)
        fg_buf_add(b, fg_str_of(bits[draw(sizeof(bits) / sizeof(*bits))]));
    fg_buf_printf(b, "%u\"", draw(1000));
}

static void make_value(struct fg_buf *b, int depth)
{
    static const char *const scalars[] = {"null", "true", "false", "0", "-0", "-1", "1.5", "1e3",
                                          "-2.5E-3", "9223372036854775807", "-9223372036854775808",
                                          "18446744073709551615", "1e308", "0.1", "123456789.125"};
    uint32_t kind = draw(depth > 5 ? 2 : 4);
    if (kind == 0) {
        make_string(b);
    } else if (kind == 1) {
        fg_buf_add(b, fg_str_of(scalars[draw(sizeof(scalars) / sizeof(*scalars))]));
    } else {
        uint32_t count = draw(8) ? draw(6) : draw(40);
        fg_buf_addc(b, kind == 2 ? '[' : '{');
        for (uint32_t i = 0; i < count; i++) {
            if (i)
                fg_buf_add(b, draw(4) ? FG_STR(",") : FG_STR(" ,\n"));
            if (kind == 3) {
                make_string(b);
                fg_buf_add(b, draw(4) ? FG_STR(":") : FG_STR(" : "));
            }
            make_value(b, depth + 1);
        }
        fg_buf_addc(b, kind == 2 ? ']' : '}');
    }
}

static void damage(struct fg_buf *b)
{
    static const char bytes[] = "{}[]:,\"\\u0eE+-.1 \n\x01\x80\xc3\xed\xf4\xff/tfn";
    for (uint32_t n = 1 + draw(3); n > 0 && b->len; n--) {
        uint32_t at = draw((uint32_t)b->len);
        switch (draw(3)) {
        case 0:
            b->ptr[at] = bytes[draw(sizeof(bytes) - 1)];
            break;
        case 1:
            b->len = at;
            break;
        default:
            memmove(b->ptr + at, b->ptr + at + 1, b->len - at - 1);
            b->len--;
        }
    }
}

static void agrees_with_jansson_on_generated_and_damaged_documents(void **unused)
{
    (void)unused;
    uint32_t taken = 0, refused = 0;
    for (int i = 0; i < 20000; i++) {
        struct fg_buf b = {0};
        make_value(&b, 0);
        if (i % 2)
            damage(&b);
        const char *why = json_compare(fg_buf_str(&b));
        if (why)
            fail_msg("document %d: %s: %.*s", i, why, FG_STR_ARG(fg_buf_str(&b)));
        struct fg_buf copy = {0};
        if (json_rewrite(fg_buf_str(&b), &copy))
            taken++;
        else
            refused++;
        fg_buf_done(&copy);
        fg_buf_done(&b);
    }
    assert_true(taken > 5000); /* the generator makes both kinds */
    assert_true(refused > 5000);
}

static void what_the_writer_writes_reads_back_equal(void **unused)
{
    (void)unused;
    uint32_t compared = 0;
    for (int i = 0; i < 5000; i++) {
        struct fg_buf b = {0}, copy = {0};
        make_value(&b, 0);
        json_t *first = json_loadb(b.ptr, b.len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
        if (first) { /* unsigned 64-bit integers and equal keys are not for jansson */
            assert_true(json_rewrite(fg_buf_str(&b), &copy));
            json_t *second = json_loadb(copy.ptr, copy.len, JSON_DECODE_ANY, NULL);
            if (!second || !json_equal(first, second))
                fail_msg("%.*s\n%.*s", FG_STR_ARG(fg_buf_str(&b)), FG_STR_ARG(fg_buf_str(&copy)));
            json_decref(second);
            compared++;
        }
        json_decref(first);
        fg_buf_done(&copy);
        fg_buf_done(&b);
    }
    assert_true(compared > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_jansson_on_generated_and_damaged_documents),
        cmocka_unit_test(what_the_writer_writes_reads_back_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
