/* Text out: whole characters, stop strings that never leak, ids that belong to their text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/sample/rng.h"
#include "engine/sched/text.h"

enum { MOST = 400 };

struct result {
    char text[MOST * 4];
    size_t len;
    int32_t ids[MOST];
    size_t id_count;
    bool stopped;
};

static void collect(struct fg_text *t, struct result *r)
{
    struct fg_text_part part;
    if (!fg_text_take(t, &part))
        return;
    bool broken;
    assert_int_equal(fg_utf8_valid(part.text, &broken), part.text.len);
    assert_true(r->len + part.text.len <= sizeof r->text);
    if (part.text.len)
        memcpy(r->text + r->len, part.text.ptr, part.text.len);
    r->len += part.text.len;
    for (uint32_t i = 0; i < part.count; i++) {
        assert_int_equal(part.logprobs[i].token, part.ids[i]);
        assert_true(part.logprobs[i].logprob == -(float)part.ids[i]);
        r->ids[r->id_count++] = part.ids[i];
    }
}

/* Cuts raw into pieces at the given borders and feeds them one by one. */
static void run(struct fg_str raw, const size_t *borders, size_t count, const struct fg_str *stops,
                uint32_t stop_count, struct result *r)
{
    struct fg_text t;
    memset(r, 0, sizeof *r);
    fg_text_init(&t, stops, stop_count);
    size_t at = 0;
    for (size_t i = 0; i <= count && !t.stopped; i++) {
        const size_t end = i < count ? borders[i] : raw.len;
        assert_true(fg_text_push(&t, (int32_t)i, (struct fg_str){raw.ptr + at, end - at}, -(float)i,
                                 NULL, 0));
        at = end;
        collect(&t, r);
    }
    t.over = true;
    collect(&t, r);
    r->stopped = t.stopped;
    fg_text_done(&t);
}

static void check(const char *raw, const size_t *borders, size_t count, const char *stop,
                  const char *want, bool stopped)
{
    struct result r;
    const struct fg_str stops[1] = {fg_str_of(stop)};
    run(fg_str_of(raw), borders, count, stops, stop ? 1 : 0, &r);
    assert_int_equal(r.len, strlen(want));
    assert_memory_equal(r.text, want, r.len);
    assert_int_equal(r.stopped, stopped);
}

static void characters_come_whole(void **state)
{
    (void)state;
    struct fg_text t;
    struct fg_text_part part;
    fg_text_init(&t, NULL, 0);
    assert_true(fg_text_push(&t, 1, FG_STR("a\xe2"), 0, NULL, 0));
    assert_false(fg_text_take(&t, &part)); /* "a" belongs to a token that is not complete */
    assert_true(fg_text_push(&t, 2, FG_STR("\x82"), 0, NULL, 0));
    assert_false(fg_text_take(&t, &part));
    assert_true(fg_text_push(&t, 3, FG_STR("\xac!"), 0, NULL, 0));
    assert_true(fg_text_take(&t, &part));
    assert_int_equal(part.text.len, 5);
    assert_memory_equal(part.text.ptr, "a\xe2\x82\xac!", 5);
    assert_int_equal(part.count, 3);
    fg_text_done(&t);
}

static void what_can_never_be_a_character_is_replaced(void **state)
{
    (void)state;
    const size_t one[] = {1}, two[] = {1, 2};
    check("\xe2"
          "A",
          one, 1, NULL,
          "\xef\xbf\xbd"
          "A",
          false);
    check("\xff\xfe", one, 1, NULL, "\xef\xbf\xbd\xef\xbf\xbd", false);
    check("x\xe2\x82", two, 2, NULL, "x\xef\xbf\xbd", false); /* cut at the very end: one */
    check("\xe2\x82"
          "B",
          two, 2, NULL,
          "\xef\xbf\xbd"
          "B",
          false); /* one for the whole start */
    check("\xc0\xaf", one, 1, NULL, "\xef\xbf\xbd\xef\xbf\xbd", false);
}

static void a_stop_string_never_leaks(void **state)
{
    (void)state;
    const char *raw = "The end. STOP here";
    for (size_t a = 1; a < strlen(raw); a++)
        for (size_t b = a; b < strlen(raw); b++) {
            const size_t borders[] = {a, b};
            check(raw, borders, 2, "STOP", "The end. ", true);
            check(raw, borders, 2, "STOP!", raw, false);
            check(raw, borders, 2, "The", "", true);
            check(raw, borders, 2, "e", "Th", true);
        }
}

static void text_is_sent_as_soon_as_it_is_safe(void **state)
{
    (void)state;
    const struct fg_str stops[] = {FG_STR("\n\nUser:")};
    struct fg_text t;
    struct fg_text_part part;
    fg_text_init(&t, stops, 1);
    assert_true(fg_text_push(&t, 1, FG_STR("Hello"), 0, NULL, 0));
    assert_true(fg_text_take(&t, &part));
    assert_int_equal(part.text.len, 5);
    assert_true(fg_text_push(&t, 2, FG_STR("\n"), 0, NULL, 0));
    assert_false(fg_text_take(&t, &part));
    assert_true(fg_text_push(&t, 3, FG_STR("\nUs"), 0, NULL, 0));
    assert_false(fg_text_take(&t, &part));
    assert_true(fg_text_push(&t, 4, FG_STR("ually"), 0, NULL, 0));
    assert_true(fg_text_take(&t, &part));
    assert_int_equal(part.text.len, 9);
    assert_int_equal(part.count, 3);
    fg_text_done(&t);
}

static void the_earliest_of_several_stops_wins(void **state)
{
    (void)state;
    const struct fg_str stops[] = {FG_STR("cd"), FG_STR(""), FG_STR("bcd"), FG_STR("zz")};
    struct result r;
    run(FG_STR("abcde"), NULL, 0, stops, 4, &r);
    assert_true(r.stopped);
    assert_int_equal(r.len, 1);
}

static void tokens_after_a_stop_are_not_given(void **state)
{
    (void)state;
    const struct fg_str stops[] = {FG_STR("##")};
    struct result r;
    const size_t borders[] = {1, 2, 3};
    run(FG_STR("ab##"), borders, 3, stops, 1, &r);
    assert_int_equal(r.id_count, 2); /* "a", "b", not the two "#" */
    const size_t inside[] = {1};
    run(FG_STR("ab##"), inside, 1, stops, 1, &r);
    assert_int_equal(r.id_count, 2); /* "b##" gave the b */
    assert_int_equal(r.len, 2);
}

/* Random bytes, cut at random places, against the whole done at once. */
static void any_cut_gives_the_same_text(void **state)
{
    (void)state;
    static const char *const bits[] = {
        "a",        "b",        "ab", "\xc3", "\xa9", "\xc3\xa9", "\xe2\x82\xac",
        "\xf0\x9f", "\x98\x80", "<|", "|>",   "\xff", "\n"};
    const struct fg_str stops[] = {FG_STR("<|ab|>"), FG_STR("ba\xc3\xa9")};
    struct fg_rng rng;
    uint32_t stopped = 0;
    fg_rng_seed(&rng, 4, 0);
    for (int round = 0; round < 20000; round++) {
        char raw[MOST];
        size_t len = 0, borders[MOST], count = 0;
        while (len < 40) {
            const char *bit = bits[fg_rng_next(&rng) % (sizeof bits / sizeof *bits)];
            memcpy(raw + len, bit, strlen(bit));
            len += strlen(bit);
            if (fg_rng_next(&rng) % 12 == 0) {
                memcpy(raw + len, "<|ab|>", 6);
                len += 6;
            }
        }
        for (size_t i = 1; i < len; i++)
            while (fg_rng_next(&rng) % 3 == 0) /* twice the same: a token without text */
                borders[count++] = i;
        /* Where the first stop string to be complete begins. */
        size_t end = len, done = len + 1;
        for (size_t s = 0; s < 2; s++)
            for (size_t i = 0; i + stops[s].len <= len; i++)
                if (memcmp(raw + i, stops[s].ptr, stops[s].len) == 0) {
                    if (i + stops[s].len < done) {
                        done = i + stops[s].len;
                        end = i;
                    }
                    break;
                }
        struct fg_buf want = {0};
        struct result r;
        size_t used;
        run((struct fg_str){raw, len}, borders, count, stops, 2, &r);
        assert_int_equal(r.stopped, done <= len);
        stopped += r.stopped;
        for (size_t i = 0; i < r.id_count; i++)
            assert_int_equal(r.ids[i], i);
        /* Two stops within one token: the earlier begin wins, which only the cut tells. */
        bool same = false;
        for (int pass = 0; pass < 2 && !same; pass++) {
            want.len = 0;
            assert_true(fg_text_clean((struct fg_str){raw, end}, true, &want, &used));
            same = want.len == r.len && memcmp(want.ptr ? want.ptr : "", r.text, r.len) == 0;
            for (size_t s = 0; s < 2 && !same; s++) {
                const char *hit = memmem(raw, len, stops[s].ptr, stops[s].len);
                if (hit && (size_t)(hit - raw) < end)
                    end = (size_t)(hit - raw);
            }
        }
        assert_true(same);
        if (!r.stopped)
            assert_int_equal(r.id_count, count + 1);
        fg_buf_done(&want);
    }
    assert_true(stopped > 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_come_whole),
        cmocka_unit_test(what_can_never_be_a_character_is_replaced),
        cmocka_unit_test(a_stop_string_never_leaks),
        cmocka_unit_test(text_is_sent_as_soon_as_it_is_safe),
        cmocka_unit_test(the_earliest_of_several_stops_wins),
        cmocka_unit_test(tokens_after_a_stop_are_not_given),
        cmocka_unit_test(any_cut_gives_the_same_text),
    };
    return cmocka_run_group_tests_name("sched/text", tests, NULL, NULL);
}
