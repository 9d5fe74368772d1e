/*
 * From a request to a template's variables: content as text or as parts, system messages where a
 * template has none, tools and their calls, thinking, and an answer that was begun.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "chat.h"

static void check(const char *source, const struct fg_template_input *in, const char *expected)
{
    struct outcome o = render(fg_str_of(source), in);
    if (o.rc != FG_OK)
        fail_msg("%s: %s", source, o.err.text);
    char *got = marked(&o);
    if (strcmp(got, expected) != 0)
        fail_msg("%s: expected \"%s\", got \"%s\"", source, expected, got);
    free(got);
    done(&o);
}

#define EACH                                                                                       \
    "{% for m in messages %}"                                                                      \
    "[{{ m.role }}:{{ m.content }}]"                                                               \
    "{% endfor %}{% if add_generation_prompt %}>{% endif %}"

static void roles_and_texts_arrive(void **state)
{
    (void)state;
    const struct fg_part a = text_part("be"), b = text_part("hi");
    const struct fg_message m[] = {message(FG_ROLE_SYSTEM, &a, 1), message(FG_ROLE_USER, &b, 1)};
    const struct fg_template_input in = {.messages = m,
                                         .message_count = 2,
                                         .add_generation_prompt = true,
                                         .bos = FG_STR("<s>"),
                                         .eos = FG_STR("</s>")};
    check("{{ bos_token }}" EACH "{{ eos_token }}", &in, "<s>[system:«be»][user:«hi»]></s>");
    check("{{ tools is none }}{{ enable_thinking is defined }}{{ documents }}" EACH, &in,
          "TrueFalseNone[system:«be»][user:«hi»]>");
}

static void several_texts_are_lines(void **state)
{
    (void)state;
    const struct fg_part parts[] = {text_part("a"), text_part("b")};
    const struct fg_message m = message(FG_ROLE_USER, parts, 2);
    const struct fg_template_input in = {.messages = &m, .message_count = 1};
    check(EACH, &in, "[user:«a\nb»]");
    check("{% for p in messages[0].content %}{% if p.type == 'text' %}<{{ p.text }}>{% endif %}{% "
          "endfor %}",
          &in, "<«a»><«b»>");
}

static void no_message_and_no_text_are_fine(void **state)
{
    (void)state;
    const struct fg_message m = message(FG_ROLE_USER, NULL, 0);
    const struct fg_template_input none = {.add_generation_prompt = true};
    const struct fg_template_input one = {.messages = &m, .message_count = 1};
    check(EACH, &none, ">");
    check(EACH, &one, "[user:]");
}

static void a_template_without_system_messages_gets_them_in_the_next_one(void **state)
{
    (void)state;
    const struct fg_part a = text_part("be"), b = text_part("hi");
    const struct fg_message m[] = {message(FG_ROLE_SYSTEM, &a, 1), message(FG_ROLE_USER, &b, 1)};
    const struct fg_template_input in = {.messages = m, .message_count = 2};
    check("{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" EACH, &in,
          "[user:«be\nhi»]");
}

static void tools_and_calls_arrive(void **state)
{
    (void)state;
    const struct fg_tool tool = {FG_STR("f"), FG_STR("does"), FG_STR("{\"type\": \"object\"}")};
    const struct fg_part ask = text_part("go");
    const struct fg_part call = {.kind = FG_PART_TOOL_CALL,
                                 .data = FG_STR("{\"x\": 1}"),
                                 .name = FG_STR("f"),
                                 .id = FG_STR("c1")};
    const struct fg_part result = {
        .kind = FG_PART_TOOL_RESULT, .data = FG_STR("42"), .name = FG_STR("f"), .id = FG_STR("c1")};
    const struct fg_message m[] = {message(FG_ROLE_USER, &ask, 1),
                                   message(FG_ROLE_ASSISTANT, &call, 1),
                                   message(FG_ROLE_TOOL, &result, 1)};
    const struct fg_template_input in = {
        .messages = m, .message_count = 3, .tools = &tool, .tool_count = 1};
    check(
        "{{ tools | tojson }}" EACH, &in,
        "[{\"type\": \"function\", \"function\": {\"name\": \"«f»\", \"description\": \"«does»\", "
        "\"parameters\": {\"«type»\": \"«object»\"}}}][user:«go»][assistant:][tool:«42»]");
    check("{{ messages[1].tool_calls[0].function.arguments.x }}{{ messages[2].tool_call_id }}"
          "{{ messages[1].tool_calls | tojson }}",
          &in,
          "1«c1»[{\"type\": \"function\", \"function\": {\"name\": \"«f»\", \"arguments\": "
          "{\"«x»\": 1}}, "
          "\"id\": \"«c1»\"}]");
    check(EACH
          "{% for c in messages[1].tool_calls %}{{ '<' + c.function.arguments + '>' }}{% endfor %}",
          &in, "[user:«go»][assistant:][tool:«42»]<«{\"x\": 1}»>");
}

static void thinking_is_a_variable_and_a_part(void **state)
{
    (void)state;
    const struct fg_part ask = text_part("go");
    const struct fg_part parts[] = {{.kind = FG_PART_THINKING, .data = FG_STR("hm")},
                                    text_part("ok")};
    const struct fg_message m[] = {message(FG_ROLE_USER, &ask, 1),
                                   message(FG_ROLE_ASSISTANT, parts, 2),
                                   message(FG_ROLE_USER, &ask, 1)};
    struct fg_template_input in = {.messages = m, .message_count = 3, .thinking = FG_STR("off")};
    check("{{ enable_thinking }}{{ messages[1].reasoning_content }}", &in, "False«hm»");
    check("{{ messages[1].thinking }}", &in, "«hm»");
    in.thinking = FG_STR("high");
    check("{{ enable_thinking }}{{ reasoning_effort }}" EACH, &in,
          "Truehigh[user:«go»][assistant:«ok»][user:«go»]");
}

static void an_answer_that_was_begun_stays_open(void **state)
{
    (void)state;
    const struct fg_part a = text_part("count"), b = text_part(" one, two,"), none = text_part("");
    struct fg_message m[] = {message(FG_ROLE_USER, &a, 1), message(FG_ROLE_ASSISTANT, &b, 1)};
    const struct fg_template_input in = {.messages = m, .message_count = 2};
    check(EACH "{% if add_generation_prompt %}[assistant:{% endif %}", &in,
          "[user:«count»][assistant:« one, two,»");
    check("{% for m in messages %}[{{ m.role }}:{{ m.content | trim }}]{% endfor %}", &in,
          "[user:«count»][assistant:«one, two,»");
    /* The template shows nothing of it: it goes behind a new turn. */
    check("{% for m in messages if m.role == 'user' %}[{{ m.content }}]{% endfor %}"
          "{% if add_generation_prompt %}A:{% endif %}",
          &in, "[«count»]A:« one, two,»");
    m[1] = message(FG_ROLE_ASSISTANT, &none, 1);
    check(EACH, &in, "[user:«count»]>");
}

static void invalid_utf8_is_refused(void **state)
{
    (void)state;
    struct outcome o = render_text(EACH, "a\xff");
    assert_int_equal(o.rc, FG_INVALID);
    assert_string_equal(o.err.text, "message 0 is no valid UTF-8");
    done(&o);
}

static void chatml_is_what_base_models_get(void **state)
{
    (void)state;
    const struct fg_part a = text_part("be"), b = text_part("hi");
    const struct fg_message m[] = {message(FG_ROLE_SYSTEM, &a, 1), message(FG_ROLE_USER, &b, 1)};
    const struct fg_template_input in = {
        .messages = m, .message_count = 2, .add_generation_prompt = true};
    check(fg_template_chatml, &in,
          "<|im_start|>system\n«be»<|im_end|>\n<|im_start|>user\n«hi»<|im_end|>\n<|im_start|>"
          "assistant\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_and_texts_arrive),
        cmocka_unit_test(several_texts_are_lines),
        cmocka_unit_test(no_message_and_no_text_are_fine),
        cmocka_unit_test(a_template_without_system_messages_gets_them_in_the_next_one),
        cmocka_unit_test(tools_and_calls_arrive),
        cmocka_unit_test(thinking_is_a_variable_and_a_part),
        cmocka_unit_test(an_answer_that_was_begun_stays_open),
        cmocka_unit_test(invalid_utf8_is_refused),
        cmocka_unit_test(chatml_is_what_base_models_get),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
