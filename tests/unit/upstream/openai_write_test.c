/* What is asked, as the body that goes out: parsed again with jansson and compared whole. */
#include "cmocka_all.h"

#include <jansson.h>

#include "upstream/openai.h"

static const struct fg_openai_options usual = {.max_tokens_field = "max_tokens",
                                               .repeat_penalty_field = "repeat_penalty",
                                               .include_usage = true,
                                               .send_thinking = true};

static json_t *body_of(const struct fg_request *q, const struct fg_openai_options *o)
{
    const struct fg_ask ask = {.request = q, .model = FG_STR("their/model"), .options = o};
    struct fg_buf b = {0};
    struct fg_error err = {0};
    if (fg_openai_write(&ask, &b, &err) != FG_OK)
        fail_msg("refused: %s", err.text);
    json_t *root = json_loadb(b.ptr, b.len, JSON_REJECT_DUPLICATES, NULL);
    if (!root)
        fail_msg("no JSON: %.*s", (int)b.len, b.ptr);
    fg_buf_done(&b);
    return root;
}

static void expect(json_t *got, const char *want_text)
{
    json_t *want = json_loads(want_text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(want);
    if (!json_equal(got, want)) {
        char *text = json_dumps(got, JSON_INDENT(1));
        fail_msg("got %s", text);
    }
    json_decref(want);
    json_decref(got);
}

#define TEXT(s)                                                                                    \
    {                                                                                              \
        .kind = FG_PART_TEXT, .data = FG_STR(s)                                                    \
    }
#define CHAT(list)                                                                                 \
    {                                                                                              \
        .size = sizeof(struct fg_request), .op = FG_OP_CHAT, .messages = (list),                   \
        .message_count = sizeof(list) / sizeof *(list)                                             \
    }

static void a_plain_chat_says_no_more_than_was_asked(void **state)
{
    const struct fg_part system = TEXT("be brief"), user = TEXT("say \"\xC3\xBC\"\n");
    const struct fg_message list[] = {{FG_ROLE_SYSTEM, 1, &system}, {FG_ROLE_USER, 1, &user}};
    const struct fg_request q = CHAT(list);
    struct fg_openai_options bare = usual;
    (void)state;
    bare.include_usage = false;
    expect(body_of(&q, &bare), "{\"model\":\"their/model\",\"stream\":true,\"messages\":["
                               "{\"role\":\"system\",\"content\":\"be brief\"},"
                               "{\"role\":\"user\",\"content\":\"say \\\"\\u00fc\\\"\\n\"}]}");
    assert_string_equal(fg_openai_path(FG_OP_CHAT), "/chat/completions");
    assert_null(fg_openai_path(FG_OP_RERANK));
    assert_null(fg_openai_path(-1));
}

static void a_whole_answer_is_not_streamed(void **state)
{
    const struct fg_part user = TEXT("x");
    const struct fg_message list[] = {{FG_ROLE_USER, 1, &user}};
    struct fg_request q = CHAT(list);
    (void)state;
    q.flags = FG_REQ_WHOLE;
    expect(body_of(&q, &usual), "{\"model\":\"their/model\",\"messages\":["
                                "{\"role\":\"user\",\"content\":\"x\"}]}");
}

static void everything_that_was_set_goes_out(void **state)
{
    const struct fg_part user = TEXT("x");
    const struct fg_message list[] = {{FG_ROLE_USER, 1, &user}};
    const struct fg_str stops[] = {FG_STR("a"), FG_STR("\n\n")};
    const struct fg_bias bias[] = {{7, -100}, {-1, 0.5f}};
    const struct fg_sampling sampling = {.size = sizeof sampling,
                                         .set = 1023,
                                         .temperature = 0.5f,
                                         .top_p = 0.25f,
                                         .min_p = 0.125f,
                                         .typical_p = 0.75f,
                                         .repeat_penalty = 1.5f,
                                         .frequency_penalty = 0.25f,
                                         .presence_penalty = -0.25f,
                                         .top_k = 40,
                                         .repeat_last_n = 64,
                                         .seed = UINT64_MAX,
                                         .bias = bias,
                                         .bias_count = 2};
    struct fg_request q = CHAT(list);
    struct fg_openai_options other = usual;
    (void)state;
    q.stops = stops;
    q.stop_count = 2;
    q.sampling = &sampling;
    q.max_tokens = 9;
    q.choices = 3;
    q.logprobs = 1;
    q.top_logprobs = 4;
    q.flags = FG_REQ_IGNORE_EOS;
    q.schema_json = FG_STR("{\"type\":\"object\"}");
    q.thinking = FG_STR("high");
    q.options_json = FG_STR("{\"mirostat\":2,\"model\":\"stolen\",\"x\":{\"y\":[1]}}");
    other.max_tokens_field = "max_completion_tokens";
    other.repeat_penalty_field = "repetition_penalty";
    expect(body_of(&q, &other),
           "{\"model\":\"their/model\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
           "\"stream\":true,\"stream_options\":{\"include_usage\":true},"
           "\"max_completion_tokens\":9,\"n\":3,\"stop\":[\"a\",\"\\n\\n\"],\"temperature\":0.5,"
           "\"top_p\":0.25,\"min_p\":0.125,\"typical_p\":0.75,\"repetition_penalty\":1.5,"
           "\"frequency_penalty\":0.25,\"presence_penalty\":-0.25,\"top_k\":40,"
           "\"repeat_last_n\":64,\"seed\":9223372036854775807,"
           "\"logit_bias\":{\"7\":-100,\"-1\":0.5},\"ignore_eos\":true,\"logprobs\":true,"
           "\"top_logprobs\":4,\"reasoning_effort\":\"high\",\"response_format\":{\"type\":"
           "\"json_schema\",\"json_schema\":{\"name\":\"answer\",\"strict\":true,\"schema\":"
           "{\"type\":\"object\"}}},\"mirostat\":2,\"x\":{\"y\":[1]}}");
}

static void tools_and_their_results_keep_their_ids(void **state)
{
    const struct fg_part user = TEXT("weather?");
    const struct fg_part calls[] = {
        {.kind = FG_PART_THINKING, .data = FG_STR("hm")},
        {.kind = FG_PART_TOOL_CALL,
         .data = FG_STR("{\"c\":1}"),
         .name = FG_STR("w"),
         .id = FG_STR("call_1")},
        {.kind = FG_PART_TOOL_CALL, .name = FG_STR("w"), .id = FG_STR("call_2")}};
    const struct fg_part results[] = {
        {.kind = FG_PART_TOOL_RESULT, .data = FG_STR("sun"), .id = FG_STR("call_1")},
        {.kind = FG_PART_TOOL_RESULT, .data = FG_STR("rain"), .id = FG_STR("call_2")}};
    const struct fg_message list[] = {
        {FG_ROLE_USER, 1, &user}, {FG_ROLE_ASSISTANT, 3, calls}, {FG_ROLE_TOOL, 2, results}};
    const struct fg_tool tool = {FG_STR("w"), FG_STR("tells"), FG_STR("{\"type\":\"object\"}")};
    struct fg_request q = CHAT(list);
    struct fg_openai_options bare = usual;
    (void)state;
    bare.include_usage = false;
    q.tools = &tool;
    q.tool_count = 1;
    q.tool_choice = FG_STR("w");
    expect(body_of(&q, &bare),
           "{\"model\":\"their/model\",\"stream\":true,\"messages\":["
           "{\"role\":\"user\",\"content\":\"weather?\"},"
           "{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"hm\",\"tool_calls\":["
           "{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"w\","
           "\"arguments\":\"{\\\"c\\\":1}\"}},"
           "{\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":\"w\","
           "\"arguments\":\"{}\"}}]},"
           "{\"role\":\"tool\",\"tool_call_id\":\"call_1\",\"content\":\"sun\"},"
           "{\"role\":\"tool\",\"tool_call_id\":\"call_2\",\"content\":\"rain\"}],"
           "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"w\",\"description\":"
           "\"tells\",\"parameters\":{\"type\":\"object\"}}}],"
           "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"w\"}}}");
    q.tool_choice = FG_STR("required");
    bare.send_thinking = false;
    json_t *root = body_of(&q, &bare);
    assert_string_equal(json_string_value(json_object_get(root, "tool_choice")), "required");
    json_t *second = json_array_get(json_object_get(root, "messages"), 1);
    assert_null(json_object_get(second, "reasoning_content"));
    json_decref(root);
}

static void images_go_as_data_urls(void **state)
{
    static const char *const encoded[] = {"AQ==", "AQI=", "AQID", "AQID/w=="};
    static const unsigned char bytes[] = {1, 2, 3, 255};
    (void)state;
    for (size_t n = 1; n <= 4; n++) {
        const struct fg_part parts[] = {
            TEXT("see"),
            {.kind = FG_PART_IMAGE, .data = {(const char *)bytes, n}, .name = FG_STR("image/png")}};
        const struct fg_message list[] = {{FG_ROLE_USER, 2, parts}};
        const struct fg_request q = CHAT(list);
        json_t *root = body_of(&q, &usual);
        json_t *content =
            json_object_get(json_array_get(json_object_get(root, "messages"), 0), "content");
        const char *url = json_string_value(
            json_object_get(json_object_get(json_array_get(content, 1), "image_url"), "url"));
        assert_non_null(url);
        assert_memory_equal(url, "data:image/png;base64,", 22);
        assert_string_equal(url + 22, encoded[n - 1]);
        json_decref(root);
    }
}

static void completions_and_embeddings_have_their_bodies(void **state)
{
    const struct fg_str inputs[] = {FG_STR("once"), FG_STR("end")};
    const int32_t ids[] = {1, 2, 3};
    struct fg_openai_options bare = usual;
    struct fg_request q = {.size = sizeof q,
                           .op = FG_OP_COMPLETE,
                           .inputs = inputs,
                           .input_count = 2,
                           .max_tokens = 5,
                           .logprobs = 1,
                           .top_logprobs = 2};
    (void)state;
    bare.include_usage = false;
    expect(body_of(&q, &bare), "{\"model\":\"their/model\",\"prompt\":\"once\",\"suffix\":\"end\","
                               "\"stream\":true,\"max_tokens\":5,\"logprobs\":2}");
    q = (struct fg_request){
        .size = sizeof q, .op = FG_OP_COMPLETE, .input_tokens = ids, .input_token_count = 3};
    expect(body_of(&q, &bare), "{\"model\":\"their/model\",\"prompt\":[1,2,3],\"stream\":true}");
    q = (struct fg_request){
        .size = sizeof q, .op = FG_OP_EMBED, .inputs = inputs, .input_count = 2};
    expect(body_of(&q, &bare), "{\"model\":\"their/model\",\"input\":[\"once\",\"end\"],"
                               "\"encoding_format\":\"base64\"}");
}

static void thinking_is_asked_for_in_the_servers_words(void **state)
{
    const struct fg_part user = TEXT("x");
    const struct fg_message list[] = {{FG_ROLE_USER, 1, &user}};
    struct fg_request q = CHAT(list);
    struct fg_openai_options o = usual;
    (void)state;
    q.thinking = FG_STR("off");
    json_t *root = body_of(&q, &o);
    assert_string_equal(json_string_value(json_object_get(root, "reasoning_effort")), "none");
    json_decref(root);
    o.thinking = FG_THINKING_TEMPLATE;
    root = body_of(&q, &o);
    assert_true(json_is_false(
        json_object_get(json_object_get(root, "chat_template_kwargs"), "enable_thinking")));
    json_decref(root);
    q.thinking = (struct fg_str){0};
    q.schema_json = FG_STR(" {} ");
    root = body_of(&q, &o);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(root, "response_format"), "type")),
        "json_object");
    json_decref(root);
}

static void what_has_no_field_is_refused(void **state)
{
    const int32_t ids[] = {1};
    const struct fg_str input = FG_STR("x");
    const struct fg_part user = TEXT("x");
    const struct fg_message list[] = {{FG_ROLE_USER, 1, &user}};
    struct fg_request all[] = {
        {.size = sizeof *all, .op = FG_OP_RERANK, .inputs = &input, .input_count = 1},
        {.size = sizeof *all, .op = FG_OP_TOKENIZE, .inputs = &input, .input_count = 1},
        {.size = sizeof *all, .op = FG_OP_CHAT},
        {.size = sizeof *all, .op = FG_OP_EMBED},
        {.size = sizeof *all,
         .op = FG_OP_COMPLETE,
         .inputs = &input,
         .input_count = 1,
         .resume_tokens = ids,
         .resume_count = 1},
        {.size = sizeof *all,
         .op = FG_OP_COMPLETE,
         .inputs = &input,
         .input_count = 1,
         .input_tokens = ids,
         .input_token_count = 1},
        {.size = sizeof *all,
         .op = FG_OP_CHAT,
         .messages = list,
         .message_count = 1,
         .input_tokens = ids,
         .input_token_count = 1},
        {.size = sizeof *all,
         .op = FG_OP_COMPLETE,
         .inputs = &input,
         .input_count = 1,
         .options_json = FG_STR("[1]")},
        {.size = sizeof *all,
         .op = FG_OP_COMPLETE,
         .inputs = &input,
         .input_count = 1,
         .options_json = FG_STR("{\"a\":1},{")},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const struct fg_ask ask = {.request = &all[i], .model = input, .options = &usual};
        struct fg_buf b = {0};
        struct fg_error err = {0};
        assert_int_not_equal(fg_openai_write(&ask, &b, &err), FG_OK);
        assert_true(err.text[0] != '\0');
        fg_buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_chat_says_no_more_than_was_asked),
        cmocka_unit_test(a_whole_answer_is_not_streamed),
        cmocka_unit_test(everything_that_was_set_goes_out),
        cmocka_unit_test(tools_and_their_results_keep_their_ids),
        cmocka_unit_test(images_go_as_data_urls),
        cmocka_unit_test(completions_and_embeddings_have_their_bodies),
        cmocka_unit_test(thinking_is_asked_for_in_the_servers_words),
        cmocka_unit_test(what_has_no_field_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
