/* What the engine refuses, and that it says why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/job.h"
#include "util/str.h"

static const struct fg_part text_part = {.kind = FG_PART_TEXT, .data = {"hi", 2}};
static const struct fg_message message = {FG_ROLE_USER, 1, &text_part};

static struct fg_request chat(void)
{
    return (struct fg_request){.size = sizeof(struct fg_request),
                               .op = FG_OP_CHAT,
                               .messages = &message,
                               .message_count = 1};
}

static void refused(const struct fg_request *req, int32_t status, const char *naming)
{
    struct fg_error err = {0};
    assert_int_equal(fg_engine_check_request(req, &err), status);
    assert_int_equal(err.status, status);
    if (!strstr(err.text, naming))
        fail_msg("\"%s\" does not name \"%s\"", err.text, naming);
    assert_int_equal(fg_engine_check_request(req, NULL), status);
}

static void ordinary_requests_pass(void **state)
{
    (void)state;
    struct fg_request req = chat();
    const struct fg_str input = FG_STR("x");
    assert_int_equal(fg_engine_check_request(&req, NULL), FG_OK);
    req.thinking = FG_STR("off");
    req.tool_choice = FG_STR("none");
    req.options_json = FG_STR("{}");
    assert_int_equal(fg_engine_check_request(&req, NULL), FG_OK);
    req.message_count = 0;
    req.op = FG_OP_COMPLETE; /* ids alone are a prompt, nothing at all is the model's start */
    assert_int_equal(fg_engine_check_request(&req, NULL), FG_OK);
    req.op = FG_OP_DETOKENIZE;
    assert_int_equal(fg_engine_check_request(&req, NULL), FG_OK);
    req.inputs = &input;
    req.input_count = 1;
    req.op = FG_OP_EMBED;
    assert_int_equal(fg_engine_check_request(&req, NULL), FG_OK);
    req.op = FG_OP_TOKENIZE;
    assert_int_equal(fg_engine_check_request(&req, NULL), FG_OK);
}

static void what_is_not_there_yet_is_named(void **state)
{
    (void)state;
    const struct fg_tool tool = {0};
    const struct fg_str inputs[] = {FG_STR("a"), FG_STR("b")};
    struct fg_request req = chat();
    req.tools = &tool;
    req.tool_count = 1;
    refused(&req, FG_UNSUPPORTED, "tools");
    req = chat();
    req.tool_choice = FG_STR("required");
    refused(&req, FG_UNSUPPORTED, "tools");
    req = chat();
    req.schema_json = FG_STR("{}");
    refused(&req, FG_UNSUPPORTED, "schema");
    req = chat();
    req.thinking = FG_STR("high");
    refused(&req, FG_UNSUPPORTED, "thinking");
    req = chat();
    req.op = FG_OP_RERANK;
    refused(&req, FG_UNSUPPORTED, "rerank");
    req.op = 99;
    refused(&req, FG_UNSUPPORTED, "99");
    req = chat();
    req.op = FG_OP_COMPLETE;
    req.inputs = inputs;
    req.input_count = 2;
    refused(&req, FG_UNSUPPORTED, "suffix");
    req = chat();
    req.options_json = FG_STR("{\"mirostat\":1}");
    refused(&req, FG_UNSUPPORTED, "mirostat");
    const int32_t id = 1;
    req = chat();
    req.choices = 2;
    req.resume_tokens = &id;
    req.resume_count = 1;
    refused(&req, FG_UNSUPPORTED, "choices");
    const int32_t kinds[] = {FG_PART_IMAGE, FG_PART_TOOL_CALL, FG_PART_TOOL_RESULT};
    const char *const names[] = {"images", "tool calls", "tool calls"};
    for (int i = 0; i < 3; i++) {
        const struct fg_part part = {.kind = kinds[i]};
        const struct fg_message m = {FG_ROLE_USER, 1, &part};
        req = chat();
        req.messages = &m;
        refused(&req, FG_UNSUPPORTED, names[i]);
    }
}

static void nonsense_is_invalid(void **state)
{
    (void)state;
    struct fg_request req = chat();
    req.message_count = 0;
    refused(&req, FG_INVALID, "messages");
    const struct fg_part odd = {.kind = 77};
    const struct fg_message wrong[] = {{9, 1, &text_part}, {FG_ROLE_USER, 1, &odd}};
    req = chat();
    req.messages = &wrong[0];
    refused(&req, FG_INVALID, "role 9");
    req.messages = &wrong[1];
    refused(&req, FG_INVALID, "kind 77");
    req = chat();
    req.choices = 4000;
    refused(&req, FG_INVALID, "4000");
    req = chat();
    req.top_logprobs = 500;
    refused(&req, FG_INVALID, "500");
    req = chat();
    req.options_json = FG_STR("[1]");
    refused(&req, FG_INVALID, "object");
    req.options_json = FG_STR("{");
    refused(&req, FG_INVALID, "object");
    req = chat();
    req.op = FG_OP_EMBED;
    refused(&req, FG_INVALID, "inputs");
    req.op = FG_OP_TOKENIZE;
    refused(&req, FG_INVALID, "one input");
    req = chat();
    req.size = 8;
    refused(&req, FG_INVALID, "size");
    req = chat();
    const struct fg_str stop = {"x", 1 << 20};
    req.stops = &stop;
    req.stop_count = 1;
    refused(&req, FG_INVALID, "stop");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_requests_pass),
        cmocka_unit_test(what_is_not_there_yet_is_named),
        cmocka_unit_test(nonsense_is_invalid),
    };
    return cmocka_run_group_tests_name("engine/request", tests, NULL, NULL);
}
