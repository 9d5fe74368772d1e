/* Chunks and whole replies of the OpenAI dialect, as the events they become. */
#include "cmocka_all.h"

#include <stdio.h>

#include "upstream/openai.h"

struct world {
    struct fg_reader reader;
    struct fg_buf said; /* one line an event */
};

static int32_t note(void *ctx, struct fg_event *ev)
{
    static const char *const names[] = {"started",   "text",     "thinking", "begin",  "args",
                                        "embedding", "progress", "done",     "failed", "finish"};
    struct fg_buf *b = &((struct world *)ctx)->said;
    fg_buf_printf(b, "%s", names[ev->kind]);
    if (ev->choice)
        fg_buf_printf(b, " choice=%u", ev->choice);
    if (ev->kind == FG_EV_TOOL_BEGIN || ev->kind == FG_EV_TOOL_ARGS)
        fg_buf_printf(b, " %u", ev->index);
    if (ev->text.len || ev->name.len || ev->id.len)
        fg_buf_printf(b, " %.*s%.*s%s%.*s", FG_STR_ARG(ev->text), FG_STR_ARG(ev->name),
                      ev->id.len ? " id=" : "", FG_STR_ARG(ev->id));
    for (uint32_t i = 0; i < ev->logprob_count; i++) {
        const struct fg_logprob *l = &ev->logprobs[i];
        fg_buf_printf(b, " (%.*s %g", FG_STR_ARG(l->bytes), (double)l->logprob);
        for (uint32_t t = 0; t < l->top_count; t++)
            fg_buf_printf(b, " %.*s=%g", FG_STR_ARG(l->top[t].bytes), (double)l->top[t].logprob);
        fg_buf_addc(b, ')');
    }
    for (uint32_t i = 0; i < ev->value_count; i++)
        fg_buf_printf(b, " %g", (double)ev->values[i]);
    if (ev->kind == FG_EV_EMBEDDING)
        fg_buf_printf(b, " @%u", ev->index);
    if (ev->kind == FG_EV_FINISH)
        fg_buf_printf(b, " code=%d", ev->code);
    fg_buf_addc(b, '\n');
    return FG_FLOW_GO;
}

static struct world *open_world(struct fg_request q)
{
    struct world *w = test_calloc(1, sizeof *w);
    q.size = sizeof q;
    w->reader.say = note;
    w->reader.ctx = w;
    w->reader.arena = fg_arena_open(0, 1 << 20);
    assert_int_equal(fg_reader_init(&w->reader, &q, NULL), FG_OK);
    return w;
}

static void close_world(struct world *w)
{
    fg_arena_close(w->reader.arena);
    fg_reader_done(&w->reader);
    fg_buf_done(&w->said);
    test_free(w);
}

static bool feed(struct world *w, const char *record)
{
    const bool good = fg_openai_read(&w->reader, FG_STR(""), fg_str_of(record));
    fg_arena_reset(w->reader.arena);
    return good;
}

static void expect(struct world *w, const char *said)
{
    fg_buf_addc(&w->said, '\0');
    assert_string_equal(w->said.ptr, said);
    w->said.len = 0;
}

#define DELTA(members) "{\"choices\":[{\"index\":0,\"delta\":{" members "}}]}"

static void a_chat_streams_as_text(void **state)
{
    struct world *w = open_world((struct fg_request){.op = FG_OP_CHAT});
    (void)state;
    assert_true(feed(w, DELTA("\"role\":\"assistant\",\"content\":\"\"")));
    assert_true(feed(w, DELTA("\"content\":\"Hel\\u00e4\"")));
    assert_true(feed(w, DELTA("\"content\":null")));
    assert_false(fg_reader_is_whole(&w->reader));
    assert_true(feed(w, "{\"choices\":[{\"finish_reason\":\"length\",\"delta\":{},\"index\":0}]}"));
    assert_true(feed(w, "{\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,"
                        "\"prompt_tokens_details\":{\"cached_tokens\":4}}}"));
    assert_false(w->reader.is_over);
    assert_true(feed(w, " [DONE] "));
    assert_true(w->reader.is_over);
    assert_true(fg_reader_is_whole(&w->reader));
    assert_int_equal(fg_reader_code(&w->reader), FG_END_LENGTH);
    assert_int_equal(w->reader.usage.prompt_tokens, 7);
    assert_int_equal(w->reader.usage.output_tokens, 2);
    assert_int_equal(w->reader.usage.cached_tokens, 4);
    expect(w, "started\ntext Hel\xC3\xA4\n");
    close_world(w);
}

static void thinking_is_taken_once_by_either_name(void **state)
{
    struct world *w = open_world((struct fg_request){.op = FG_OP_CHAT});
    (void)state;
    assert_true(feed(w, DELTA("\"reasoning\":\"a\",\"reasoning_content\":\"a\"")));
    assert_true(feed(w, DELTA("\"content\":\"c\",\"reasoning\":\"b\"")));
    assert_true(feed(w, DELTA("\"content\":[{\"type\":\"text\",\"text\":\"d\"},{\"type\":\"text\","
                              "\"text\":\"e\"}]")));
    assert_true(feed(w, DELTA("\"refusal\":\"no\"")));
    expect(w, "started\nthinking a\nthinking b\ntext c\ntext de\ntext no\n");
    close_world(w);
}

static void tool_calls_come_in_pieces_or_whole(void **state)
{
    struct world *w = open_world((struct fg_request){.op = FG_OP_CHAT});
    (void)state;
    assert_true(feed(w, DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"type\":\"function\","
                              "\"function\":{\"name\":\"w\",\"arguments\":\"\"}}]")));
    assert_true(feed(w, DELTA("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":"
                              "\"{\\\"a\\\"\"}}]")));
    assert_true(feed(w, DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"function\":{\"name\":"
                              "\"w\",\"arguments\":\":1}\"}},{\"index\":3,\"id\":\"c2\","
                              "\"function\":{\"name\":\"v\",\"arguments\":{\"b\":[2]}}}]")));
    assert_true(feed(w, "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}"));
    assert_int_equal(fg_reader_code(&w->reader), FG_END_TOOL);
    expect(w, "started\nbegin 0 w id=c1\nargs 0 {\"a\"\nargs 0 :1}\nbegin 1 v id=c2\n"
              "args 1 {\"b\":[2]}\n");
    assert_false(fg_reader_tool(&w->reader, 5, 0, FG_STR(""), FG_STR("x"), FG_STR("")));
    close_world(w);
}

static void a_whole_reply_is_read_like_a_chunk(void **state)
{
    struct world *w = open_world((struct fg_request){.op = FG_OP_CHAT});
    (void)state;
    assert_true(feed(w,
                     "{\"id\":\"x\",\"object\":\"chat.completion\",\"error\":null,\"choices\":[{"
                     "\"finish_reason\":\"tool_calls\",\"message\":{\"tool_calls\":[{\"function\""
                     ":{\"arguments\":\"{}\",\"name\":\"w\"},\"id\":\"c\"}],\"content\":\"t\"}}],"
                     "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}"));
    assert_true(fg_reader_is_whole(&w->reader));
    expect(w, "started\ntext t\nbegin 0 w id=c\nargs 0 {}\n");
    close_world(w);
}

static void choices_interleave_and_end_each(void **state)
{
    struct world *w = open_world((struct fg_request){.op = FG_OP_COMPLETE, .choices = 2});
    (void)state;
    assert_true(
        feed(w, "{\"choices\":[{\"index\":1,\"text\":\"b\"},{\"index\":0,\"text\":\"a\"}]}"));
    assert_true(feed(w, "{\"choices\":[{\"index\":1,\"text\":\"\",\"finish_reason\":\"stop\"}]}"));
    assert_true(feed(w, "{\"choices\":[{\"index\":1,\"text\":\"late\"}]}"));
    assert_false(fg_reader_is_whole(&w->reader));
    assert_true(feed(w, "{\"choices\":[{\"text\":\"c\",\"finish_reason\":\"length\"}]}"));
    assert_true(fg_reader_is_whole(&w->reader));
    expect(w, "started\ntext choice=1 b\ntext a\nfinish choice=1 code=0\ntext c\nfinish code=1\n");
    assert_false(feed(w, "{\"choices\":[{\"index\":2,\"text\":\"x\"}]}"));
    assert_int_equal(w->reader.error.status, FG_DEVICE_LOST);
    close_world(w);
}

static void logprobs_of_both_shapes_are_read(void **state)
{
    struct world *w = open_world((struct fg_request){.op = FG_OP_CHAT, .logprobs = 1});
    (void)state;
    assert_true(feed(w, "{\"choices\":[{\"logprobs\":{\"content\":[{\"token\":\"H\",\"logprob\":"
                        "-0.5,\"bytes\":[104],\"top_logprobs\":[{\"token\":\"y\",\"logprob\":-2},"
                        "{\"token\":\"H\",\"logprob\":-0.5,\"bytes\":null}]}],\"refusal\":null},"
                        "\"delta\":{\"content\":\"H\"}}]}"));
    expect(w, "started\ntext H (h -0.5 H=-0.5 y=-2)\n");
    assert_true(feed(w, "{\"choices\":[{\"text\":\"ab\",\"logprobs\":{\"tokens\":[\"a\",\"b\"],"
                        "\"text_offset\":[0,1],\"token_logprobs\":[null,-1],\"top_logprobs\":[null,"
                        "{\"b\":-1,\"c\":-0.25}]}}]}"));
    expect(w, "text ab (a 0) (b -1 c=-0.25 b=-1)\n");
    close_world(w);
    w = open_world((struct fg_request){.op = FG_OP_CHAT});
    assert_true(feed(w, "{\"choices\":[{\"logprobs\":{\"content\":[{\"token\":\"H\",\"logprob\":"
                        "-0.5}]},\"delta\":{\"content\":\"H\"}}]}"));
    expect(w, "started\ntext H\n"); /* not asked for */
    close_world(w);
}

static void embeddings_come_as_floats_or_base64_in_any_order(void **state)
{
    const struct fg_str inputs[2] = {FG_STR("a"), FG_STR("b")};
    struct fg_request q = {.op = FG_OP_EMBED, .inputs = inputs, .input_count = 2};
    struct world *w = open_world(q);
    (void)state;
    assert_true(feed(w, "{\"object\":\"list\",\"data\":[{\"index\":1,\"embedding\":[1,-0.5]},"
                        "{\"index\":0,\"embedding\":\"AACAPwAAAD8=\"}],"
                        "\"usage\":{\"prompt_tokens\":2}}"));
    assert_true(fg_reader_is_whole(&w->reader));
    expect(w, "started\nembedding 1 -0.5 @1\nembedding 1 0.5 @0\n");
    close_world(w);
    static const char *const bad[] = {
        "{\"data\":[{\"embedding\":\"AACAPw\"},{\"embedding\":\"AAA=\"}]}",
        "{\"data\":[{\"embedding\":\"AADAfw==\"}]}",
        "{\"data\":[{\"embedding\":[]}]}",
        "{\"data\":[{\"embedding\":[\"x\"]}]}",
        "{\"data\":[{\"embedding\":null}]}",
        "{\"data\":[{\"index\":2,\"embedding\":[1]}]}",
        "{\"data\":[{\"index\":1,\"embedding\":[1]},{\"index\":1,\"embedding\":[1]}]}",
        "{\"data\":[1]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        w = open_world(q);
        assert_false(feed(w, bad[i]));
        assert_int_equal(w->reader.error.status, FG_DEVICE_LOST);
        close_world(w);
    }
}

static void an_error_in_the_stream_ends_it_with_its_status(void **state)
{
    static const struct {
        const char *record;
        int32_t status;
    } all[] = {
        {"{\"error\":{\"message\":\"gone\",\"type\":\"server_error\",\"code\":\"upstream_error\"}}",
         FG_DEVICE_LOST},
        {"{\"error\":{\"message\":\"This model's maximum context length is 10 tokens. However, "
         "your "
         "messages resulted in 99 tokens\",\"code\":400}}",
         FG_TOO_LONG},
        {"{\"error\":{\"message\":\"slow\",\"type\":\"rate_limit_error\"}}", FG_BUSY},
        {"{\"error\":{\"message\":\"no\",\"type\":\"invalid_request_error\"}}", FG_INVALID},
        {"{\"error\":\"CUDA error\"}", FG_INTERNAL},
        {"{\"error\":{\"code\":500,\"message\":\"boom\"}}", FG_DEVICE_LOST},
        {"{\"choices\":[{\"finish_reason\":\"error\"}]}", FG_DEVICE_LOST},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct world *w = open_world((struct fg_request){.op = FG_OP_CHAT});
        assert_false(feed(w, all[i].record));
        if (w->reader.error.status != all[i].status)
            fail_msg("%s: status %d", all[i].record, w->reader.error.status);
        if (all[i].status == FG_TOO_LONG)
            assert_int_equal(w->reader.usage.prompt_tokens, 99);
        close_world(w);
    }
}

static void what_is_no_chunk_ends_it(void **state)
{
    static const char *const all[] = {"{",
                                      "[]",
                                      "hello",
                                      "{\"choices\":[1]}",
                                      "\"x\"",
                                      "{\"choices\":[{\"delta\":{\"content\":\"\xFF\"}}]}",
                                      DELTA("\"content\":\"x\"") "x",
                                      DELTA("\"tool_calls\":[{\"index\":0,\"function\":"
                                            "{\"arguments\":\"{}\"}}]")};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct world *w = open_world((struct fg_request){.op = FG_OP_CHAT});
        if (feed(w, all[i]))
            fail_msg("taken: %s", all[i]);
        assert_int_equal(w->reader.error.status, FG_DEVICE_LOST);
        assert_true(w->reader.error.text[0] != '\0');
        close_world(w);
    }
}

static void what_nobody_knows_is_stepped_over(void **state)
{
    struct world *w = open_world((struct fg_request){.op = FG_OP_CHAT});
    (void)state;
    assert_true(feed(w, ""));
    assert_true(feed(w, "{\"x\":[{\"y\":[1,{}]}],\"choices\":null,\"usage\":null,\"data\":[1]}"));
    assert_true(feed(w, "{\"choices\":[{\"z\":{\"content\":\"no\"},\"logprobs\":null,\"delta\":{"
                        "\"audio\":{},\"content\":\"yes\",\"tool_calls\":null}}]}"));
    expect(w, "started\ntext yes\n");
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chat_streams_as_text),
        cmocka_unit_test(thinking_is_taken_once_by_either_name),
        cmocka_unit_test(tool_calls_come_in_pieces_or_whole),
        cmocka_unit_test(a_whole_reply_is_read_like_a_chunk),
        cmocka_unit_test(choices_interleave_and_end_each),
        cmocka_unit_test(logprobs_of_both_shapes_are_read),
        cmocka_unit_test(embeddings_come_as_floats_or_base64_in_any_order),
        cmocka_unit_test(an_error_in_the_stream_ends_it_with_its_status),
        cmocka_unit_test(what_is_no_chunk_ends_it),
        cmocka_unit_test(what_nobody_knows_is_stepped_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
