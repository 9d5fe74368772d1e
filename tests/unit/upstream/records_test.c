/* Server-sent events and NDJSON, cut at every byte; and lines that never end. */
#include "cmocka_all.h"

#include "upstream/records.h"

/* All events as "name|data;" in one text. */
static void collect(struct fg_sse *s, struct fg_str in, struct fg_buf *out)
{
    struct fg_sse_event ev;
    while (fg_sse_next(s, &in, &ev) == FG_RECORD_READY)
        fg_buf_printf(out, "%.*s|%.*s;", FG_STR_ARG(ev.name), FG_STR_ARG(ev.data));
    assert_int_equal(in.len, 0);
}

static const struct {
    const char *text, *events;
} streams[] = {
    {"data: a\n\ndata: b\n\n", "|a;|b;"},
    {"data:a\r\n\r\ndata:  b\r\n\r\n", "|a;| b;"},
    {"data: a\r\rdata: b\r\r", "|a;|b;"},
    {"\xEF\xBB\xBF"
     "data: a\n\n",
     "|a;"},
    {": ping\n\ndata: a\n: x\ndata: b\n\n\n\n", "|a\nb;"},
    {"event: x\ndata: a\n\ndata: b\n\n", "x|a;|b;"},
    {"event: x\n\ndata: b\n\n", "|b;"},
    {"id: 1\nretry: 5\ndata\n\ndata: c\n\n", "|;|c;"},
    {"error: {\"code\":1}\n\n", "error|{\"code\":1};"},
    {"datax: a\ndat: b\ndata: c\n\n", "|c;"},
    {"data: {\"a\":\"\xE2\x82\xAC\"}\n\ndata: [DONE]\n\n", "|{\"a\":\"\xE2\x82\xAC\"};|[DONE];"},
};

static void events_are_the_same_however_they_are_cut(void **state)
{
    (void)state;
    for (size_t t = 0; t < sizeof streams / sizeof *streams; t++) {
        const struct fg_str text = fg_str_of(streams[t].text);
        for (size_t a = 0; a <= text.len; a++)
            for (size_t b = a; b <= text.len; b++) {
                struct fg_sse s;
                struct fg_buf out = {0};
                fg_sse_init(&s, 1000);
                collect(&s, (struct fg_str){text.ptr, a}, &out);
                collect(&s, (struct fg_str){text.ptr + a, b - a}, &out);
                collect(&s, fg_str_from(text, b), &out);
                fg_buf_addc(&out, '\0');
                assert_string_equal(out.ptr, streams[t].events);
                fg_buf_done(&out);
                fg_sse_done(&s);
            }
    }
}

static void a_last_event_without_its_empty_line_is_given_at_the_end(void **state)
{
    static const char *const texts[] = {"data: a", "data: a\n", "data: a\r"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct fg_sse s;
        struct fg_sse_event ev;
        struct fg_str in = fg_str_of(texts[i]);
        fg_sse_init(&s, 100);
        assert_int_equal(fg_sse_next(&s, &in, &ev), FG_RECORD_MORE);
        assert_true(fg_sse_last(&s, &ev));
        assert_true(fg_str_is(ev.data, "a"));
        assert_false(fg_sse_last(&s, &ev));
        fg_sse_done(&s);
    }
}

static void a_reader_may_stop_between_two_events(void **state)
{
    struct fg_sse s;
    struct fg_sse_event ev;
    struct fg_str in = FG_STR("data: a\n\ndata: b\n\n");
    (void)state;
    fg_sse_init(&s, 100);
    assert_int_equal(fg_sse_next(&s, &in, &ev), FG_RECORD_READY);
    assert_int_equal(in.len, 9);
    fg_sse_done(&s);
}

static void an_endless_line_ends_with_the_limit(void **state)
{
    static const char *const begins[] = {"data: ", ": comment", "data: x\ndata: "};
    char more[100];
    (void)state;
    memset(more, 'x', sizeof more);
    for (size_t i = 0; i < 3; i++) {
        struct fg_sse s;
        struct fg_sse_event ev;
        struct fg_str in = fg_str_of(begins[i]);
        fg_sse_init(&s, 4096);
        int32_t rc = fg_sse_next(&s, &in, &ev);
        size_t fed = 0;
        for (; rc == FG_RECORD_MORE && fed < 100000; fed += sizeof more) {
            in = (struct fg_str){more, sizeof more};
            rc = fg_sse_next(&s, &in, &ev);
        }
        assert_int_equal(rc, FG_RECORD_BAD);
        assert_true(fed <= 4200);
        in = FG_STR("\n\ndata: y\n\n"); /* and nothing comes after that */
        assert_int_equal(fg_sse_next(&s, &in, &ev), FG_RECORD_BAD);
        assert_false(fg_sse_last(&s, &ev));
        fg_sse_done(&s);
    }
}

static void an_event_of_endless_lines_ends_with_the_limit(void **state)
{
    struct fg_sse s;
    struct fg_sse_event ev;
    int32_t rc = FG_RECORD_MORE;
    int n = 0;
    (void)state;
    fg_sse_init(&s, 4096);
    for (; rc == FG_RECORD_MORE && n < 10000; n++) {
        struct fg_str in = FG_STR("data: 0123456789\n");
        rc = fg_sse_next(&s, &in, &ev);
    }
    assert_int_equal(rc, FG_RECORD_BAD);
    assert_true(n < 500);
    fg_sse_done(&s);
}

static void json_lines_are_the_same_however_they_are_cut(void **state)
{
    const struct fg_str text = FG_STR("{\"a\":1}\n\n  {\"b\":2} \r\n\r\n[3]\r4");
    (void)state;
    for (size_t a = 0; a <= text.len; a++) {
        struct fg_lines l;
        struct fg_buf out = {0};
        struct fg_str json, in[2] = {{text.ptr, a}, {text.ptr + a, text.len - a}};
        fg_lines_init(&l, 100);
        for (int i = 0; i < 2; i++)
            while (fg_ndjson_next(&l, &in[i], &json) == FG_RECORD_READY)
                fg_buf_printf(&out, "%.*s;", FG_STR_ARG(json));
        assert_true(fg_ndjson_last(&l, &json));
        fg_buf_printf(&out, "%.*s;", FG_STR_ARG(json));
        assert_false(fg_ndjson_last(&l, &json));
        fg_buf_addc(&out, '\0');
        assert_string_equal(out.ptr, "{\"a\":1};{\"b\":2};[3];4;");
        fg_buf_done(&out);
        fg_lines_done(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_the_same_however_they_are_cut),
        cmocka_unit_test(a_last_event_without_its_empty_line_is_given_at_the_end),
        cmocka_unit_test(a_reader_may_stop_between_two_events),
        cmocka_unit_test(an_endless_line_ends_with_the_limit),
        cmocka_unit_test(an_event_of_endless_lines_ends_with_the_limit),
        cmocka_unit_test(json_lines_are_the_same_however_they_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
