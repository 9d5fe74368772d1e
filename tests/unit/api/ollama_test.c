/* Ollama's dialect over a scripted hub. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "world.h"

static const struct fg_usage usage = {.size = sizeof(usage), .prompt_tokens = 21,
                                      .output_tokens = 2, .prompt_ns = 5, .output_ns = 6};
static const struct fg_event hello[] = {
    {.kind = FG_EV_STARTED, .usage = &usage},
    {.kind = FG_EV_TEXT, .text = FG_STR("Hel")},
    {.kind = FG_EV_TEXT, .text = FG_STR("lo")},
    {.kind = FG_EV_DONE, .code = FG_END_STOP, .usage = &usage},
};
#define CHAT(extra) "{\"model\":\"smol:135m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]" extra "}"
#define GEN(extra) "{\"model\":\"smol:135m\",\"prompt\":\"hi\"" extra "}"

static void assert_has(const char *needle)
{
    if (!strstr(world_body(), needle))
        fail_msg("no %s in %s", needle, world_body());
}

static void assert_error(const char *path, const char *body, int status, const char *text)
{
    world_send(FG_POST, path, body);
    if (world.x.status != status)
        fail_msg("%s: status %d: %s", body, world.x.status, world_body());
    json_t *j = json_loads(world_body(), 0, NULL);
    const char *got = json_string_value(json_object_get(j, "error"));
    if (!got || !strstr(got, text))
        fail_msg("%s: no \"%s\" in %s", body, text, world_body());
    json_decref(j);
    assert_string_equal(world.x.type, "application/json; charset=utf-8");
}

static void t05_chat_streams_lines_unless_told_not_to(void **state)
{
    (void)state;
    world_script(hello, 4);
    world_send(FG_POST, "/api/chat", CHAT(",\"stream\":null"));
    assert_string_equal(world.x.type, "application/x-ndjson");
    assert_null(strstr(world_body(), "\n\n"));
    assert_has("\"message\":{\"role\":\"assistant\",\"content\":\"Hel\"},\"done\":false}\n");
    assert_has("\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"total_duration\":");
    assert_has("\"prompt_eval_count\":21,\"prompt_eval_duration\":5,\"eval_count\":2,\"eval_duration\":6}\n");
    assert_null(strstr(world_body(), "load_duration")); /* zero is left out */
    world_send(FG_POST, "/api/chat", CHAT(",\"stream\":false"));
    assert_string_equal(world.x.type, "application/json; charset=utf-8");
    assert_has("\"content\":\"Hello\"},\"done\":true");
    assert_has("{\"model\":\"smol:135m\",\"created_at\":\"20");
}

static void t06_load_and_unload_answer_one_object(void **state)
{
    (void)state;
    world_send(FG_POST, "/api/generate", "{\"model\":\"smol:135m\"}");
    assert_string_equal(world.x.type, "application/json; charset=utf-8");
    assert_has("\"response\":\"\",\"done\":true,\"done_reason\":\"load\"}");
    assert_null(world.ask.request);
    world_send(FG_POST, "/api/chat", "{\"model\":\"smol:135m\",\"messages\":[],\"keep_alive\":0}");
    assert_has("\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"unload\"}");
    assert_int_equal(world.unloads, 1);
    world_send(FG_POST, "/api/generate", "{\"model\":\"smol:135m\",\"prompt\":null,\"keep_alive\":\"0s\"}");
    assert_has("\"done_reason\":\"unload\"");
    assert_error("/api/generate", "{\"model\":\"nope\",\"keep_alive\":0}", 404, "model 'nope' not found");
}

static void keep_alive_takes_its_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } cases[] = {{"5", 5000000000}, {"0.5", 500000000}, {"\"1h\"", 3600000000000}, {"-1", -1},
                 {"\"-1m\"", -60000000000}, {"-0.5", -1}, {"1e300", -1}};
    world.is_deferred = true;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char body[200];
        snprintf(body, sizeof(body), GEN(",\"keep_alive\":%s"), cases[i].text);
        world_send(FG_POST, "/api/generate", body);
        assert_true(world.ask.keep_alive_set);
        assert_true(world.ask.keep_alive_ns == cases[i].ns);
    }
    world_send(FG_POST, "/api/generate", GEN(",\"keep_alive\":null"));
    assert_false(world.ask.keep_alive_set);
    world_leave();
    assert_error("/api/generate", GEN(",\"keep_alive\":\"abc\""), 400, "time: invalid duration \"abc\"");
    assert_error("/api/generate", GEN(",\"keep_alive\":true"), 400, "Unsupported type: 'bool'");
}

static void t07_keys_of_any_case_and_trailing_bytes_are_taken(void **state)
{
    (void)state;
    world_script(hello, 4);
    world_send(FG_POST, "/api/chat", "{\"Model\":\"smol:135m\",\"STREAM\":false,\"Messages\":[{\"ROLE\":\"User\",\"Content\":\"x\"}]}\nrest");
    assert_int_equal(world.x.status, 200);
    assert_has("Hello");
    assert_error("/api/chat", "{\"model\":\"a\",\"Model\":\"b\"}", 400, "duplicate");
}

static void t08_empty_things_behave_as_absent(void **state)
{
    (void)state;
    world_script(hello, 4);
    world_send(FG_POST, "/api/chat",
               "{\"model\":\"smol:135m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"images\":[],\"tool_calls\":[]}],\"tools\":[],"
               "\"format\":\"\",\"think\":false,\"keep_alive\":null,\"options\":{\"temperature\":null,\"stop\":null,\"seed\":null}}");
    assert_int_equal(world.x.status, 200);
    world_send(FG_POST, "/api/generate", GEN(",\"format\":null,\"images\":[],\"suffix\":\"\",\"system\":null,\"options\":null,\"context\":[],\"think\":null,\"template\":\"\""));
    assert_int_equal(world.x.status, 200);
    assert_int_equal(world.jobs, 2);
}

static void t35_wrong_types_are_400_with_the_words_of_the_reference(void **state)
{
    (void)state;
    assert_error("/api/chat", CHAT(",\"options\":{\"temperature\":\"1\"}"), 400, "option \"temperature\" must be of type float32");
    assert_error("/api/chat", CHAT(",\"options\":{\"stop\":\"x\"}"), 400, "option \"stop\" must be of type array");
    assert_error("/api/chat", CHAT(",\"options\":{\"num_predict\":1.5}"), 400, "option \"num_predict\" must be of type integer");
    assert_error("/api/chat", CHAT(",\"stream\":\"yes\""), 400, "json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool");
    assert_error("/api/chat", "{\"model\":\"smol:135m\",\"messages\":[{\"role\":\"user\",\"content\":[]}]}", 400,
                 "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string");
    assert_int_equal(world.jobs, 0);
}

static void errors_have_the_contracts_texts(void **state)
{
    (void)state;
    assert_error("/api/chat", "", 400, "missing request body");
    assert_error("/api/chat", "{", 400, "unexpected EOF");
    assert_error("/api/chat", "{}", 400, "model is required");
    assert_error("/api/generate", "{}", 404, "model '' not found");
    assert_error("/api/embed", "{}", 404, "model '' not found");
    assert_error("/api/embeddings", "{}", 400, "model is required");
    assert_error("/api/show", "{}", 400, "model is required");
    assert_error("/api/chat", "{\"model\":\"nope\"}", 404, "model 'nope' not found");
    assert_error("/api/show", "{\"model\":\"nope\"}", 404, "model 'nope:latest' not found");
    assert_error("/api/embed", "{\"model\":\"nope\",\"input\":\"x\"}", 404, "model \"nope\" not found, try pulling it first");
    assert_error("/api/chat", "{\"model\":\"a\\\\b\"}", 400, "invalid model name");
    assert_error("/api/chat", "{\"model\":\"vec\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", 400, "\"vec\" does not support chat");
    assert_error("/api/generate", "{\"model\":\"vec\",\"prompt\":\"x\"}", 400, "\"vec\" does not support generate");
    assert_error("/api/embed", "{\"model\":\"smol:135m\",\"input\":\"x\"}", 501, "embeddings");
    assert_error("/api/embed", "{\"model\":\"vec\",\"input\":[1]}", 400, "invalid input type");
    assert_error("/api/chat", CHAT(",\"tools\":[{\"a\":[1,{}]},{}]"), 400,
                 "registry.ollama.ai/library/smol:135m does not support tools");
    assert_error("/api/chat", "{\"tools\":[{}],\"model\":\"nope\",\"messages\":[]}", 404,
                 "model 'nope' not found");
    assert_error("/api/chat", "{\"tools\":[{},\"model\":\"smol:135m\"}", 400, "");
    assert_error("/api/chat", CHAT(",\"think\":true"), 400, "\"smol:135m\" does not support thinking");
    assert_error("/api/chat", CHAT(",\"think\":\"huge\""), 400, "\"low\"");
    assert_error("/api/chat", CHAT(",\"format\":\"json\""), 400, "format");
    assert_error("/api/chat", CHAT(",\"format\":\"xml\""), 400, "invalid format");
    assert_error("/api/chat", CHAT(",\"logprobs\":true,\"top_logprobs\":21"), 400, "top_logprobs must be between 0 and 20");
    assert_error("/api/generate", GEN(",\"images\":[\"x\"]"), 400, "does not support multimodal input");
    assert_error("/api/generate", GEN(",\"suffix\":\"x\""), 400, "does not support insert");
    assert_error("/api/generate", GEN(",\"raw\":true,\"system\":\"x\""), 400, "raw mode does not support template, system, or context");
    assert_error("/api/generate", GEN(",\"template\":\"x\""), 400, "template");
    world.end.reason = FG_JOB_QUEUE_FULL;
    assert_error("/api/chat", CHAT(""), 503, "server busy, please try again.  maximum pending requests exceeded");
    assert_string_equal(world_reply_header("Retry-After"), "1");
    world.end = (struct fg_job_end){.reason = FG_JOB_REFUSED, .status = FG_TOO_LONG, .prompt_tokens = 9, .context = 4};
    assert_error("/api/chat", CHAT(",\"truncate\":false"), 400, "exceeds the available context size: n_prompt_tokens 9, n_ctx 4");
    assert_error("/api/embed", "{\"model\":\"vec\",\"input\":\"x\",\"truncate\":false}", 400, "the input length exceeds the context length");
}

static void t13_an_error_after_the_first_line_is_the_last_line(void **state)
{
    (void)state;
    world_script(hello, 2);
    world.end = (struct fg_job_end){.reason = FG_JOB_BACKEND_LOST, .text = FG_STR("gone")};
    world_send(FG_POST, "/api/chat", CHAT(""));
    assert_int_equal(world.x.status, 200);
    assert_has("\n{\"error\":\"gone\"}\n");
    assert_null(strstr(world_body(), "\"done\":true"));
    assert_true(world.x.ended && !world.x.aborted);
}

static void options_are_layered(void **state)
{
    (void)state;
    world.is_deferred = true;
    world_send(FG_POST, "/api/chat", CHAT(",\"options\":{\"num_predict\":5.0,\"seed\":-1,\"temperature\":0,\"num_ctx\":512}"));
    const struct fg_request *r = world.ask.request;
    assert_true(r->sampling->temperature == 0);
    assert_true(r->sampling->top_p == 0.9f);
    assert_true(r->sampling->repeat_penalty == 1.1f);
    assert_int_equal(r->sampling->top_k, 7);
    assert_int_equal(r->sampling->repeat_last_n, 64);
    assert_false(r->sampling->set & FG_SET_SEED);
    assert_int_equal(r->max_tokens, 5);
    assert_true(fg_str_is(r->stops[0], "<|im_end|>"));
    assert_true(r->flags & FG_REQ_TRUNCATE);
    assert_true(r->flags & FG_REQ_SHIFT);
    assert_int_equal(world.ask.context, 512);
    world_leave();
    world_send(FG_POST, "/api/generate", GEN(",\"raw\":true,\"options\":{\"seed\":42},\"truncate\":false,\"shift\":false"));
    r = world.ask.request;
    assert_int_equal(r->op, FG_OP_COMPLETE);
    assert_int_equal(r->flags, FG_REQ_SPECIAL | FG_REQ_BOS);
    assert_true(r->sampling->seed == 42);
    assert_true(fg_str_is(r->inputs[0], "hi"));
    world_leave();
    world_send(FG_POST, "/api/generate", GEN(",\"system\":\"S\",\"context\":[1,2]"));
    r = world.ask.request;
    assert_int_equal(r->op, FG_OP_CHAT);
    assert_int_equal(r->message_count, 2);
    assert_true(fg_str_is(r->messages[0].parts[0].data, "S"));
    assert_int_equal(r->input_token_count, 2);
}

static void logprobs_come_with_each_line(void **state)
{
    (void)state;
    static const struct fg_logprob one[] = {{.token = 1, .logprob = -2, .bytes = FG_STR("I")}};
    static const struct fg_event events[] = {
        {.kind = FG_EV_TEXT, .text = FG_STR("I"), .logprobs = one, .logprob_count = 1},
        {.kind = FG_EV_DONE, .code = FG_END_LENGTH, .usage = &usage}};
    world_script(events, 2);
    world_send(FG_POST, "/api/generate", GEN(",\"logprobs\":true"));
    assert_has("\"response\":\"I\",\"done\":false,\"logprobs\":[{\"token\":\"I\",\"logprob\":-2,\"bytes\":[73]}]}\n");
    assert_has("\"done_reason\":\"length\"");
    world_send(FG_POST, "/api/generate", GEN(",\"logprobs\":true,\"stream\":false,\"top_logprobs\":1"));
    assert_has("\"logprobs\":[{\"token\":\"I\",\"logprob\":-2,\"bytes\":[73],\"top_logprobs\":[]}]");
}

static void context_is_told_only_when_it_is_whole(void **state)
{
    (void)state;
    static const int32_t prompt[] = {1, 2, 3}, out[] = {9};
    static const struct fg_event events[] = {
        {.kind = FG_EV_STARTED, .tokens = prompt, .token_count = 3, .usage = &usage},
        {.kind = FG_EV_TEXT, .text = FG_STR("x"), .tokens = out, .token_count = 1},
        {.kind = FG_EV_DONE, .code = FG_END_STOP, .usage = &usage}};
    world_script(events, 3);
    world_send(FG_POST, "/api/generate", GEN(""));
    assert_has("\"context\":[1,2,3,9]");
    world_script(events + 1, 2);
    world_send(FG_POST, "/api/generate", GEN(""));
    assert_null(strstr(world_body(), "context"));
}

static void embeddings_are_normalised_in_the_new_route_only(void **state)
{
    (void)state;
    static const float values[] = {3, 4};
    static const struct fg_event events[] = {
        {.kind = FG_EV_EMBEDDING, .values = values, .value_count = 2},
        {.kind = FG_EV_DONE, .usage = &usage}};
    world_script(events, 2);
    world_send(FG_POST, "/api/embed", "{\"model\":\"vec\",\"input\":\"a\"}");
    assert_has("{\"model\":\"vec\",\"embeddings\":[[0.600000024,0.800000012]],\"total_duration\":");
    assert_has("\"prompt_eval_count\":21}");
    world_send(FG_POST, "/api/embed", "{\"model\":\"vec\",\"input\":\"a\",\"dimensions\":99}");
    assert_has("[[0.600000024,0.800000012]]");
    world_send(FG_POST, "/api/embeddings", "{\"model\":\"vec\",\"prompt\":\"a\"}");
    assert_string_equal(world_body(), "{\"embedding\":[3,4]}");
    world_script(NULL, 0);
    world_send(FG_POST, "/api/embed", "{\"model\":\"vec\",\"input\":[]}");
    assert_has("\"embeddings\":[]");
    world_send(FG_POST, "/api/embeddings", "{\"model\":\"vec\"}");
    assert_string_equal(world_body(), "{\"embedding\":[]}");
}

static void t02_tags_and_ps_have_whole_digests(void **state)
{
    (void)state;
    static const char *const paths[] = {"/api/tags", "/api/ps"};
    for (int i = 0; i < 2; i++) {
        world_send(FG_GET, paths[i], NULL);
        json_t *j = json_loads(world_body(), JSON_REJECT_DUPLICATES, NULL), *m;
        size_t k;
        assert_true(json_array_size(json_object_get(j, "models")) >= 2);
        json_array_foreach(json_object_get(j, "models"), k, m)
        {
            assert_int_equal(strlen(json_string_value(json_object_get(m, "digest"))), 64);
            assert_true(json_equal(json_object_get(m, "name"), json_object_get(m, "model")));
            assert_true(strchr(json_string_value(json_object_get(m, "name")), ':') != NULL);
        }
        json_decref(j);
    }
    assert_has("\"expires_at\":\"23"); /* for ever */
    assert_true(strstr(world_body(), "vec") < strstr(world_body(), "smol")); /* longest left first */
    world_send(FG_GET, "/api/tags", NULL);
    assert_has("\"parameter_size\":\"134.52M\",\"quantization_level\":\"Q4_1\"");
    assert_has("\"parameter_size\":\"7.2B\"");
    assert_has("\"capabilities\":[\"embedding\"]");
}

static void t15_show_takes_both_names_and_has_model_info(void **state)
{
    (void)state;
    world_send(FG_POST, "/api/show", "{\"model\":\"\",\"system\":\"\",\"template\":\"\",\"verbose\":false,\"options\":null,\"name\":\"smol:135m\"}");
    assert_int_equal(world.x.status, 200);
    json_t *j = json_loads(world_body(), JSON_REJECT_DUPLICATES, NULL);
    assert_true(json_is_object(json_object_get(j, "model_info")));
    json_decref(j);
    assert_has("\"general.architecture\":\"llama\"");
    assert_has("\"llama.context_length\":2048");
    assert_null(strstr(world_body(), "hidden"));
    assert_has("stop                           \\\"<|im_end|>\\\"");
    assert_has("\"capabilities\":[\"completion\"]");
    world_header("User-Agent", "GitHubCopilotChat/1.0");
    world_send(FG_POST, "/api/show", "{\"model\":\"SMOL:135m\"}");
    assert_has("\"general.basename\":\"SMOL:135m\"");
}

static void debug_render_only_runs_nothing(void **state)
{
    (void)state;
    static const struct fg_event events[] = {{.kind = FG_EV_TEXT, .text = FG_STR("<user>hi")},
                                             {.kind = FG_EV_DONE, .usage = &usage}};
    world_script(events, 2);
    world_send(FG_POST, "/api/chat", CHAT(",\"_debug_render_only\":true"));
    assert_has("\"_debug_info\":{\"rendered_template\":\"<user>hi\"}");
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(t05_chat_streams_lines_unless_told_not_to), T(t06_load_and_unload_answer_one_object),
        T(keep_alive_takes_its_forms), T(t07_keys_of_any_case_and_trailing_bytes_are_taken),
        T(t08_empty_things_behave_as_absent),
        T(t35_wrong_types_are_400_with_the_words_of_the_reference),
        T(errors_have_the_contracts_texts), T(t13_an_error_after_the_first_line_is_the_last_line),
        T(options_are_layered), T(logprobs_come_with_each_line),
        T(context_is_told_only_when_it_is_whole),
        T(embeddings_are_normalised_in_the_new_route_only), T(t02_tags_and_ps_have_whole_digests),
        T(t15_show_takes_both_names_and_has_model_info), T(debug_render_only_runs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
