/* OpenAI's dialect over a scripted hub: fields, shapes, errors, streams. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "world.h"

static const struct fg_usage usage = {.size = sizeof(usage), .prompt_tokens = 21,
                                      .cached_tokens = 16, .output_tokens = 2};
static const struct fg_event hello[] = {
    {.kind = FG_EV_STARTED, .usage = &usage},
    {.kind = FG_EV_TEXT, .text = FG_STR("Hel")},
    {.kind = FG_EV_TEXT, .text = FG_STR("lo")},
    {.kind = FG_EV_DONE, .code = FG_END_LENGTH, .usage = &usage},
};
#define CHAT(extra) "{\"model\":\"smol:135m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]" extra "}"

static json_t *reply(void)
{
    json_error_t err;
    json_t *j = json_loads(world_body(), JSON_REJECT_DUPLICATES, &err);
    if (!j)
        fail_msg("%s in %s", err.text, world_body());
    return j;
}

static void assert_has(const char *needle)
{
    if (!strstr(world_body(), needle))
        fail_msg("no %s in %s", needle, world_body());
}

static void assert_refused(const char *path, const char *body, int status, const char *param)
{
    world_send(FG_POST, path, body);
    if (world.x.status != status)
        fail_msg("%s: status %d: %s", body, world.x.status, world_body());
    json_t *j = reply(), *e = json_object_get(j, "error");
    assert_true(json_is_string(json_object_get(e, "message")));
    assert_true(json_is_string(json_object_get(e, "type")));
    assert_non_null(json_object_get(e, "code"));
    const char *got = json_string_value(json_object_get(e, "param"));
    if (param && (!got || strcmp(got, param) != 0))
        fail_msg("%s: param %s: %s", body, got ? got : "null", world_body());
    json_decref(j);
    assert_int_equal(world.jobs, 0);
}

static void chat_answers_whole(void **state)
{
    (void)state;
    world_script(hello, 4);
    world_send(FG_POST, "/v1/chat/completions", CHAT(""));
    assert_int_equal(world.x.status, 200);
    assert_string_equal(world.x.type, "application/json");
    json_t *j = reply(), *c = json_array_get(json_object_get(j, "choices"), 0);
    assert_string_equal(json_string_value(json_object_get(j, "object")), "chat.completion");
    assert_string_equal(json_string_value(json_object_get(j, "model")), "smol:135m");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(c, "message"), "content")), "Hello");
    assert_string_equal(json_string_value(json_object_get(c, "finish_reason")), "length");
    json_t *u = json_object_get(j, "usage");
    assert_int_equal(json_integer_value(json_object_get(u, "total_tokens")), 23);
    json_decref(j);
    assert_string_equal(world_reply_header("x-fluxgate-backend"), "cpu");
    assert_string_equal(world_reply_header("x-fluxgate-queue-ms"), "3");
    assert_true(world_reply_header("openai-processing-ms")[0] != '\0');
}

static void chat_streams_with_role_finish_and_done(void **state)
{
    (void)state;
    world_script(hello, 4);
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"stream\":true"));
    assert_string_equal(world.x.type, "text/event-stream");
    assert_string_equal(world_reply_header("X-Accel-Buffering"), "no");
    assert_has("\"delta\":{\"role\":\"assistant\",\"content\":\"\"}");
    assert_has("\"delta\":{\"content\":\"Hel\"}");
    assert_has("\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\"");
    assert_null(strstr(world_body(), "usage"));
    assert_null(strstr(world_body(), "\"choices\":[]"));
    const char *end = world_body() + strlen(world_body()) - 14;
    assert_string_equal(end, "data: [DONE]\n\n");
    assert_true(world.x.ended && !world.x.aborted);
}

static void t12_the_usage_chunk_comes_once_and_last(void **state)
{
    (void)state;
    world_script(hello, 4);
    world_send(FG_POST, "/v1/chat/completions",
               CHAT(",\"stream\":true,\"stream_options\":{\"include_usage\":true}"));
    const char *chunk = strstr(world_body(), "\"choices\":[],\"usage\":{\"prompt_tokens\":21");
    assert_non_null(chunk);
    assert_null(strstr(chunk + 1, "\"choices\":[]"));
    assert_non_null(strstr(chunk, "}\n\ndata: [DONE]\n\n"));
}

static void several_choices_end_one_by_one(void **state)
{
    (void)state;
    static const struct fg_event two[] = {
        {.kind = FG_EV_TEXT, .text = FG_STR("a"), .choice = 1},
        {.kind = FG_EV_TEXT, .text = FG_STR("b"), .choice = 0},
        {.kind = FG_EV_FINISH, .choice = 1, .code = FG_END_LENGTH},
        {.kind = FG_EV_FINISH, .choice = 0, .code = FG_END_STOP},
        {.kind = FG_EV_DONE, .code = FG_END_STOP, .usage = &usage}};
    world_script(two, 5);
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"n\":2"));
    json_t *j = reply();
    assert_int_equal(json_array_size(json_object_get(j, "choices")), 2);
    json_decref(j);
    assert_has("\"content\":\"b\"},\"logprobs\":null,\"finish_reason\":\"stop\"");
    assert_has("\"content\":\"a\"},\"logprobs\":null,\"finish_reason\":\"length\"");
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"n\":2,\"stream\":true"));
    int finishes = 0;
    for (const char *p = world_body(); (p = strstr(p, "finish_reason\":\"")); p++)
        finishes++;
    assert_int_equal(finishes, 2);
}

static void t13_an_error_after_the_first_token_breaks_the_stream(void **state)
{
    (void)state;
    world_script(hello, 2);
    world.end = (struct fg_job_end){.reason = FG_JOB_BACKEND_LOST, .status = FG_DEVICE_LOST,
                                    .text = FG_STR("the engine is gone")};
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"stream\":true"));
    assert_int_equal(world.x.status, 200);
    assert_has("data: {\"error\":{\"message\":\"the engine is gone\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_error\"}}\n\n");
    assert_null(strstr(world_body(), "[DONE]"));
    assert_true(world.x.aborted && !world.x.ended);
}

static void t14_an_error_before_the_first_token_has_its_status(void **state)
{
    (void)state;
    static const struct {
        int32_t reason, fg;
        int status;
        const char *type;
    } cases[] = {{FG_JOB_QUEUE_FULL, 0, 503, "unavailable_error"},
                 {FG_JOB_BACKEND_LOST, 0, 502, "server_error"},
                 {FG_JOB_TIMEOUT, 0, 504, "timeout_error"},
                 {FG_JOB_DRAINING, 0, 503, "unavailable_error"},
                 {FG_JOB_REFUSED, FG_INVALID, 400, "invalid_request_error"},
                 {FG_JOB_REFUSED, FG_TOO_LONG, 400, "context_length_exceeded"},
                 {FG_JOB_INTERNAL, FG_INTERNAL, 500, "server_error"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        world_script(hello, 1); /* STARTED is no output */
        world.end = (struct fg_job_end){.reason = cases[i].reason, .status = cases[i].fg,
                                        .prompt_tokens = 5000, .context = 2048};
        world_send(FG_POST, "/v1/chat/completions", CHAT(",\"stream\":true"));
        assert_int_equal(world.x.status, cases[i].status);
        assert_has(cases[i].type);
        if (cases[i].status == 503)
            assert_true(world_reply_header("Retry-After")[0] != '\0');
    }
    world.end = (struct fg_job_end){.reason = FG_JOB_LOAD_FAILED, .text = FG_STR("bad file")};
    world_send(FG_POST, "/v1/chat/completions", CHAT(""));
    assert_string_equal(world_reply_header("x-should-retry"), "false");
}

static void too_long_a_prompt_uses_the_known_words(void **state)
{
    (void)state;
    world.end = (struct fg_job_end){.reason = FG_JOB_REFUSED, .status = FG_TOO_LONG,
                                    .prompt_tokens = 5000, .context = 2048};
    world_send(FG_POST, "/v1/chat/completions", CHAT(""));
    assert_has("This model's maximum context length is 2048 tokens. However, your messages resulted in 5000 tokens");
    assert_has("exceeds the available context size");
    assert_has("\"n_prompt_tokens\":5000,\"n_ctx\":2048");
}

static void bad_fields_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *body, *param;
    } cases[] = {
        {CHAT(",\"temperature\":\"1\""), "temperature"},
        {CHAT(",\"temperature\":2.5"), "temperature"},
        {CHAT(",\"temperature\":true"), "temperature"},
        {CHAT(",\"top_p\":1.1"), "top_p"},
        {CHAT(",\"presence_penalty\":-3"), "presence_penalty"},
        {CHAT(",\"n\":0"), "n"},
        {CHAT(",\"n\":129"), "n"},
        {CHAT(",\"n\":1.5"), "n"},
        {CHAT(",\"max_tokens\":0"), "max_tokens"},
        {CHAT(",\"max_tokens\":-2"), "max_tokens"},
        {CHAT(",\"max_completion_tokens\":\"5\""), "max_completion_tokens"},
        {CHAT(",\"stream\":1"), "stream"},
        {CHAT(",\"stop\":5"), "stop"},
        {CHAT(",\"stop\":[5]"), "stop"},
        {CHAT(",\"seed\":1.5"), "seed"},
        {CHAT(",\"logit_bias\":{\"x\":1}"), "logit_bias"},
        {CHAT(",\"logit_bias\":{\"5\":101}"), "logit_bias"},
        {CHAT(",\"logit_bias\":[[1]]"), "logit_bias"},
        {CHAT(",\"top_logprobs\":3"), "top_logprobs"},
        {CHAT(",\"logprobs\":true,\"top_logprobs\":21"), "top_logprobs"},
        {CHAT(",\"tools\":[{}]"), "tools"},
        {CHAT(",\"tools\":{}"), "tools"},
        {CHAT(",\"tool_choice\":\"required\""), "tool_choice"},
        {CHAT(",\"tool_choice\":{\"type\":\"function\"}"), "tool_choice"},
        {CHAT(",\"functions\":[{}]"), "functions"},
        {CHAT(",\"response_format\":{\"type\":\"json_object\"}"), "response_format"},
        {CHAT(",\"response_format\":{\"type\":\"x\"}"), "response_format"},
        {CHAT(",\"reasoning_effort\":\"high\""), "reasoning_effort"},
        {CHAT(",\"reasoning_effort\":\"huge\""), "reasoning_effort"},
        {CHAT(",\"grammar\":\"root ::= x\""), "grammar"},
        {CHAT(",\"keep_alive\":\"abc\""), "keep_alive"},
        {"{\"model\":\"smol:135m\",\"messages\":[]}", "messages"},
        {"{\"model\":\"smol:135m\"}", "messages"},
        {"{\"model\":\"smol:135m\",\"messages\":\"x\"}", "messages"},
        {"{\"model\":5,\"messages\":[]}", "model"},
        {"{\"messages\":[{\"role\":\"robot\",\"content\":\"\"}]}", "messages[0].role"},
        {"{\"messages\":[{\"content\":\"\"}]}", "messages[0].role"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":null}]}", "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":5}]}", "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"\"},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{}]}]}",
         "messages[1].tool_calls"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", "messages[0].role"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"video\"}]}]}",
         "messages[0].content[0]"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"http://x\"}}]}]}",
         "messages[0].content[0]"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_refused("/v1/chat/completions", cases[i].body, 400, cases[i].param);
    assert_has("image URLs are not currently supported, please use base64 encoded data instead");
}

static void broken_bodies_are_400(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "  ", "{", "[]", "null", "5", "{\"a\":1}{", "{\"model\":1e400}",
                                      "{\"model\":\"x\",\"model\":\"y\"}", "{\"x\":\"\\ud800\"}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_refused("/v1/chat/completions", bad[i], 400, NULL);
}

static void t08_empty_things_behave_as_absent(void **state)
{
    (void)state;
    world_script(hello, 4);
    world_send(FG_POST, "/v1/chat/completions",
               CHAT(",\"tools\":[],\"tool_choice\":\"auto\",\"stop\":null,\"response_format\":"
                    "{\"type\":\"text\"},\"reasoning_effort\":\"none\",\"think\":false,"
                    "\"stream_options\":null,\"functions\":[],\"options\":{},\"logit_bias\":{},"
                    "\"temperature\":null,\"max_tokens\":-1,\"seed\":null,\"unknown\":{\"a\":[1]}"));
    assert_int_equal(world.x.status, 200);
    assert_int_equal(world.jobs, 1);
}

static void sampling_is_layered_and_seeds_keep_64_bits(void **state)
{
    (void)state;
    world.is_deferred = true;
    world_send(FG_POST, "/v1/chat/completions",
               CHAT(",\"seed\":18446744073709551615,\"top_p\":0.5,\"max_tokens\":9,"
                    "\"max_completion_tokens\":3,\"logit_bias\":{\"15\":-100},\"ignore_eos\":true,"
                    "\"stop\":\"END\",\"logprobs\":true,\"top_logprobs\":4"));
    assert_int_equal(world.jobs, 1);
    const struct fg_request *r = world.ask.request;
    assert_true(r->sampling->seed == UINT64_MAX);
    assert_true(r->sampling->set & FG_SET_SEED);
    assert_true(r->sampling->temperature == 1.0f);   /* OpenAI's default */
    assert_true(r->sampling->top_p == 0.5f);         /* the request's */
    assert_int_equal(r->sampling->top_k, 7);         /* the model's */
    assert_int_equal(r->max_tokens, 3);              /* max_completion_tokens wins */
    assert_int_equal(r->sampling->bias_count, 1);
    assert_int_equal(r->sampling->bias[0].token, 15);
    assert_true(r->flags & FG_REQ_IGNORE_EOS);
    assert_false(r->flags & FG_REQ_TRUNCATE);
    assert_int_equal(r->stop_count, 1);
    assert_true(fg_str_is(r->stops[0], "END"));
    assert_int_equal(r->logprobs, 1);
    assert_int_equal(r->top_logprobs, 4);
    assert_int_equal(r->message_count, 2); /* the model's system text is put first */
    assert_true(fg_str_is(r->messages[0].parts[0].data, "be brief"));
    assert_int_equal(world.ask.context, 1024); /* the model's num_ctx */
    world_finish();
}

static void logprobs_have_both_shapes(void **state)
{
    (void)state;
    static const struct fg_logprob top[] = {{.token = 1, .logprob = -0.5f, .bytes = FG_STR("H")},
                                            {.token = 2, .logprob = -2, .bytes = FG_STR("\xe2\x82")}};
    static const struct fg_logprob one[] = {
        {.token = 1, .logprob = -0.5f, .bytes = FG_STR("H"), .top = top, .top_count = 2}};
    static const struct fg_event events[] = {
        {.kind = FG_EV_TEXT, .text = FG_STR("H"), .logprobs = one, .logprob_count = 1},
        {.kind = FG_EV_DONE, .code = FG_END_STOP, .usage = &usage}};
    world_script(events, 2);
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"logprobs\":true,\"top_logprobs\":2"));
    assert_has("\"logprobs\":{\"content\":[{\"token\":\"H\",\"logprob\":-0.5,\"bytes\":[72],\"top_logprobs\":[{\"token\":\"H\"");
    assert_has("\"bytes\":[226,130]");
    world_send(FG_POST, "/v1/chat/completions",
               CHAT(",\"logprobs\":true,\"top_logprobs\":2,\"stream\":true"));
    assert_has("\"delta\":{\"content\":\"H\"},\"logprobs\":{\"content\":[{\"token\":\"H\"");
    world_send(FG_POST, "/v1/completions", "{\"model\":\"smol:135m\",\"prompt\":\"x\",\"logprobs\":2}");
    assert_has("\"logprobs\":{\"tokens\":[\"H\"],\"token_logprobs\":[-0.5],\"top_logprobs\":[{\"H\":-0.5,\"bytes:\\\\xe2\\\\x82\":-2}],\"text_offset\":[0]}");
}

static void completions_run_each_prompt(void **state)
{
    (void)state;
    world_script(hello, 4);
    world_send(FG_POST, "/v1/completions",
               "{\"model\":\"smol:135m\",\"prompt\":[\"one\",\"two\"],\"echo\":true}");
    assert_int_equal(world.jobs, 2);
    json_t *j = reply(), *choices = json_object_get(j, "choices");
    assert_int_equal(json_array_size(choices), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(choices, 1), "text")),
                        "twoHello");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(choices, 1), "index")), 1);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(j, "usage"), "prompt_tokens")), 42);
    json_decref(j);
}

static void completions_take_token_ids(void **state)
{
    (void)state;
    world.is_deferred = true;
    world_send(FG_POST, "/v1/completions", "{\"model\":\"smol:135m\",\"prompt\":[5,6,7]}");
    assert_int_equal(world.ask.request->input_token_count, 3);
    assert_int_equal(world.ask.request->input_tokens[2], 7);
    assert_int_equal(world.ask.request->op, FG_OP_COMPLETE);
    assert_true(world.ask.request->flags & FG_REQ_BOS);
}

static void completions_refuse_by_name(void **state)
{
    (void)state;
    assert_refused("/v1/completions", "{\"model\":\"smol:135m\"}", 400, "prompt");
    assert_refused("/v1/completions", "{\"model\":\"smol:135m\",\"prompt\":\"x\",\"suffix\":\"y\"}", 400, "suffix");
    assert_refused("/v1/completions", "{\"model\":\"smol:135m\",\"prompt\":\"x\",\"best_of\":3}", 400, "best_of");
    assert_refused("/v1/completions", "{\"model\":\"smol:135m\",\"prompt\":\"x\",\"logprobs\":6}", 400, "logprobs");
    assert_refused("/v1/completions", "{\"model\":\"smol:135m\",\"prompt\":[\"x\",5]}", 400, "prompt");
    assert_refused("/v1/completions", "{\"model\":\"smol:135m\",\"prompt\":\"x\",\"echo\":true,\"logprobs\":1}", 400, "echo");
}

static void t01_embeddings_come_as_numbers_and_base64(void **state)
{
    (void)state;
    static const float values[] = {3, 4};
    static const struct fg_event events[] = {
        {.kind = FG_EV_EMBEDDING, .index = 1, .values = values, .value_count = 2},
        {.kind = FG_EV_EMBEDDING, .index = 0, .values = values, .value_count = 2},
        {.kind = FG_EV_DONE, .usage = &usage}};
    world_script(events, 3);
    world_send(FG_POST, "/v1/embeddings", "{\"model\":\"vec\",\"input\":[\"a\",\"b\"]}");
    assert_has("\"index\":0,\"embedding\":[0.600000024,0.800000012]");
    assert_has("\"usage\":{\"prompt_tokens\":21,\"total_tokens\":21}");
    world_send(FG_POST, "/v1/embeddings",
               "{\"model\":\"vec\",\"input\":[\"a\",\"b\"],\"encoding_format\":\"base64\"}");
    assert_has("\"embedding\":\"mpkZP83MTD8=\"");
    world_send(FG_POST, "/v1/embeddings",
               "{\"model\":\"vec\",\"input\":[\"a\",\"b\"],\"dimensions\":1}");
    assert_has("\"embedding\":[1]");
}

static void embeddings_refuse_by_name(void **state)
{
    (void)state;
    assert_refused("/v1/embeddings", "{\"model\":\"vec\",\"input\":\"\"}", 400, "input");
    assert_refused("/v1/embeddings", "{\"model\":\"vec\",\"input\":[]}", 400, "input");
    assert_refused("/v1/embeddings", "{\"model\":\"vec\"}", 400, "input");
    assert_refused("/v1/embeddings", "{\"model\":\"vec\",\"input\":[1,2]}", 400, "input");
    assert_refused("/v1/embeddings", "{\"model\":\"vec\",\"input\":\"a\",\"dimensions\":3}", 400, "dimensions");
    assert_refused("/v1/embeddings", "{\"model\":\"smol:135m\",\"input\":\"a\"}", 400, "model");
    assert_refused("/v1/embeddings", "{\"model\":\"vec\",\"input\":\"a\",\"encoding_format\":\"md5\"}", 400, "encoding_format");
    assert_has("Invalid value for 'encoding_format' = md5. Supported values: ['float', 'base64'].");
    assert_refused("/v1/chat/completions", "{\"model\":\"vec\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", 400, "model");
    assert_has("\\\"vec\\\" does not support chat");
}

static void t26_models_are_listed_and_found_by_any_name(void **state)
{
    (void)state;
    world_send(FG_GET, "/v1/models", NULL);
    json_t *j = reply();
    assert_int_equal(json_array_size(json_object_get(j, "data")), 3);
    json_decref(j);
    world_send(FG_GET, "/v1/models/a/b:c", NULL);
    assert_int_equal(world.x.status, 200);
    assert_has("\"id\":\"a/b:c\",\"object\":\"model\"");
    world_send(FG_GET, "/v1/models/nope", NULL);
    assert_int_equal(world.x.status, 404);
    assert_has("{\"error\":{\"message\":\"model 'nope' not found\",\"type\":\"not_found_error\",\"param\":\"model\",\"code\":\"model_not_found\"}}");
}

static void t21_a_client_that_leaves_cancels_its_job(void **state)
{
    (void)state;
    world.is_deferred = true;
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"stream\":true"));
    world_leave();
    assert_int_equal(world.cancels, 1);
}

static void a_client_lost_during_a_write_cancels_once(void **state)
{
    (void)state;
    world.is_deferred = true;
    world.x.over_during_write = true;
    world_script(hello, 4);
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"stream\":true"));
    world_play();
    assert_int_equal(world.cancels, 1);
    assert_int_equal(world.x.writes, 1);
}

static void a_slow_client_pauses_its_job(void **state)
{
    (void)state;
    world.is_deferred = true;
    world.x.flow = FG_FLOW_PAUSE;
    world_script(hello, 2);
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"stream\":true"));
    world_play();
    assert_int_equal(world.pauses, 1);
    fg_api_handler(world.api)->drained(fg_api_handler(world.api)->ctx, &world.x);
    assert_int_equal(world.unpauses, 1);
}

static void t23_long_waits_send_comments(void **state)
{
    (void)state;
    world.pings = 2;
    world_script(hello, 4);
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"stream\":true"));
    assert_int_equal(strncmp(world_body(), ": ping\n\n: ping\n\ndata: {", 23), 0);
}

static void t27_a_request_without_model_goes_to_the_default(void **state)
{
    (void)state;
    world_script(hello, 4);
    world_send(FG_POST, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}");
    assert_int_equal(world.x.status, 200);
    assert_string_equal(world.asked_model, "");
    world_script(NULL, 0);
    world.end.reason = FG_JOB_MODEL_UNKNOWN;
    world_send(FG_POST, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}");
    assert_int_equal(world.x.status, 400);
    assert_has("model is required");
}

static void t28_thinking_has_its_own_fields(void **state)
{
    (void)state;
    static const struct fg_event events[] = {
        {.kind = FG_EV_THINKING, .text = FG_STR("hm")},
        {.kind = FG_EV_TEXT, .text = FG_STR("ok")},
        {.kind = FG_EV_DONE, .code = FG_END_STOP, .usage = &usage}};
    world_script(events, 3);
    world_send(FG_POST, "/v1/chat/completions", CHAT(""));
    assert_has("\"content\":\"ok\",\"reasoning\":\"hm\",\"reasoning_content\":\"hm\"");
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"stream\":true"));
    assert_has("\"delta\":{\"reasoning\":\"hm\",\"reasoning_content\":\"hm\"}");
}

static void an_explicit_no_limit_wins(void **state)
{
    (void)state;
    world.models[0].params_json = FG_STR("{\"num_predict\":42}");
    world_script(hello, 4);
    world.is_deferred = true;
    world_send(FG_POST, "/v1/chat/completions", CHAT(""));
    assert_int_equal(world.ask.request->max_tokens, 42);
    world_leave();
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"max_tokens\":-1"));
    assert_int_equal(world.ask.request->max_tokens, 0);
    world_leave();
    world_send(FG_POST, "/v1/chat/completions",
               CHAT(",\"max_tokens\":5,\"max_completion_tokens\":-1"));
    assert_int_equal(world.ask.request->max_tokens, 0);
    world_leave();
}

static void ids_have_128_bits_and_differ(void **state)
{
    (void)state;
    char first[64];
    world_script(hello, 4);
    world_send(FG_POST, "/v1/chat/completions", CHAT(""));
    json_t *j = reply();
    const char *id = json_string_value(json_object_get(j, "id"));
    assert_int_equal(strncmp(id, "chatcmpl-", 9), 0);
    assert_int_equal(strlen(id), 9 + 32);
    snprintf(first, sizeof first, "%s", id);
    json_decref(j);
    world_send(FG_POST, "/v1/chat/completions", CHAT(""));
    assert_null(strstr(world_body(), first));
}

static void modalities_are_ignored(void **state)
{
    (void)state;
    world_script(hello, 4);
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"modalities\":[\"text\",\"audio\"]"));
    assert_int_equal(world.x.status, 200);
}

static void a_refusal_names_what_was_sent(void **state)
{
    (void)state;
    assert_refused("/v1/chat/completions",
                   "{\"tools\":[{}],\"model\":\"smol:135m\",\"messages\":[]}", 400, "tools");
    assert_has("this model does not support tools");
    assert_refused("/v1/chat/completions",
                   "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\",\"function_call\":{\"name\":\"f\"}}]}",
                   400, "messages[0].function_call");
    world.end = (struct fg_job_end){.reason = FG_JOB_REFUSED, .status = FG_TOO_LONG,
                                    .prompt_tokens = 5000, .context = 2048};
    world_send(FG_POST, "/v1/completions", "{\"model\":\"smol:135m\",\"prompt\":\"x\"}");
    assert_has("\"param\":\"prompt\"");
}

static void every_503_says_when_to_come_back(void **state)
{
    (void)state;
    world.end = (struct fg_job_end){.reason = FG_JOB_NO_BACKEND, .text = FG_STR("no device")};
    world_send(FG_POST, "/v1/chat/completions", CHAT(""));
    assert_int_equal(world.x.status, 503);
    assert_string_equal(world_reply_header("Retry-After"), "60");
    assert_string_equal(world_reply_header("x-should-retry"), "false");
}

static void an_impossible_token_has_a_number(void **state)
{
    (void)state;
    static const struct fg_logprob log = {.token = 1, .logprob = -INFINITY, .bytes = FG_STR("a")};
    static const struct fg_event events[] = {
        {.kind = FG_EV_TEXT, .text = FG_STR("a"), .logprobs = &log, .logprob_count = 1},
        {.kind = FG_EV_DONE, .code = FG_END_STOP, .usage = &usage}};
    world_script(events, 2);
    world_send(FG_POST, "/v1/chat/completions", CHAT(",\"logprobs\":true"));
    assert_has("\"logprob\":-9999");
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(chat_answers_whole), T(chat_streams_with_role_finish_and_done),
        T(t12_the_usage_chunk_comes_once_and_last), T(several_choices_end_one_by_one),
        T(t13_an_error_after_the_first_token_breaks_the_stream),
        T(t14_an_error_before_the_first_token_has_its_status),
        T(too_long_a_prompt_uses_the_known_words), T(bad_fields_are_named),
        T(broken_bodies_are_400), T(t08_empty_things_behave_as_absent),
        T(sampling_is_layered_and_seeds_keep_64_bits), T(logprobs_have_both_shapes),
        T(completions_run_each_prompt), T(completions_take_token_ids),
        T(completions_refuse_by_name), T(t01_embeddings_come_as_numbers_and_base64),
        T(embeddings_refuse_by_name), T(t26_models_are_listed_and_found_by_any_name),
        T(t21_a_client_that_leaves_cancels_its_job), T(a_client_lost_during_a_write_cancels_once),
        T(a_slow_client_pauses_its_job), T(t23_long_waits_send_comments),
        T(t27_a_request_without_model_goes_to_the_default), T(t28_thinking_has_its_own_fields),
        T(an_explicit_no_limit_wins), T(ids_have_128_bits_and_differ), T(modalities_are_ignored),
        T(a_refusal_names_what_was_sent), T(every_503_says_when_to_come_back),
        T(an_impossible_token_has_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
