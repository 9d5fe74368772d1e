/*
 * Test-only: renders chat templates for test_jinja.py. Each line of the input is a JSON object
 * {"template", "messages", "tools", "bos", "eos", "now", "thinking"}; each line of the output is
 * {"pieces": [[text, special], ...]} or {"error": why}. Messages are those of OpenAI's API.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/chat/template.h"

enum { PARTS = 16 };

static struct fg_str text_of(json_t *v)
{
    return (struct fg_str){json_string_value(v), json_string_length(v)};
}

static int32_t role_of(const char *name)
{
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    for (int32_t i = 0; i < 4; i++)
        if (name && strcmp(name, names[i]) == 0)
            return i;
    return FG_ROLE_USER;
}

static void add_part(struct fg_part *parts, uint32_t *count, struct fg_part part)
{
    if (*count < PARTS)
        parts[(*count)++] = part;
}

static void read_message(json_t *m, struct fg_message *out, struct fg_part *parts)
{
    size_t i;
    json_t *item, *content = json_object_get(m, "content");
    uint32_t count = 0;
    const bool tool = role_of(json_string_value(json_object_get(m, "role"))) == FG_ROLE_TOOL;
    if (json_object_get(m, "reasoning_content"))
        add_part(parts, &count,
                 (struct fg_part){.kind = FG_PART_THINKING,
                                  .data = text_of(json_object_get(m, "reasoning_content"))});
    if (json_is_string(content))
        add_part(parts, &count,
                 (struct fg_part){.kind = tool ? FG_PART_TOOL_RESULT : FG_PART_TEXT,
                                  .data = text_of(content),
                                  .name = text_of(json_object_get(m, "name")),
                                  .id = text_of(json_object_get(m, "tool_call_id"))});
    json_array_foreach(content, i, item) add_part(
        parts, &count,
        (struct fg_part){.kind = FG_PART_TEXT, .data = text_of(json_object_get(item, "text"))});
    json_array_foreach(json_object_get(m, "tool_calls"), i, item)
    {
        json_t *function = json_object_get(item, "function");
        add_part(parts, &count,
                 (struct fg_part){.kind = FG_PART_TOOL_CALL,
                                  .data = text_of(json_object_get(function, "arguments")),
                                  .name = text_of(json_object_get(function, "name")),
                                  .id = text_of(json_object_get(item, "id"))});
    }
    *out =
        (struct fg_message){role_of(json_string_value(json_object_get(m, "role"))), count, parts};
}

static json_t *render(const struct fg_template *t, const struct fg_template_input *in)
{
    struct fg_error err = {0};
    struct fg_template_output out;
    struct fg_arena *arena = fg_arena_open(0, 256 << 20);
    if (fg_template_render(t, in, arena, &out, &err) != FG_OK) {
        fg_arena_close(arena);
        return json_pack("{s:s}", "error", err.text);
    }
    json_t *pieces = json_array();
    for (size_t i = 0; i < out.count; i++)
        json_array_append_new(pieces,
                              json_pack("[s#b]", out.pieces[i].text.ptr,
                                        (int)out.pieces[i].text.len, (int)out.pieces[i].special));
    fg_arena_close(arena);
    return json_pack("{s:o}", "pieces", pieces);
}

static json_t *answer(json_t *ask)
{
    struct fg_error err = {0};
    struct fg_template *t;
    if (fg_template_compile(text_of(json_object_get(ask, "template")), &t, &err) != FG_OK)
        return json_pack("{s:s}", "error", err.text);
    json_t *messages = json_object_get(ask, "messages"), *tools = json_object_get(ask, "tools");
    const size_t count = json_array_size(messages), tool_count = json_array_size(tools);
    struct fg_message *m = calloc(count + 1, sizeof *m);
    struct fg_part *parts = calloc(count * PARTS + 1, sizeof *parts);
    struct fg_tool *tool = calloc(tool_count + 1, sizeof *tool);
    for (size_t i = 0; i < count; i++)
        read_message(json_array_get(messages, i), &m[i], parts + i * PARTS);
    for (size_t i = 0; i < tool_count; i++) {
        json_t *function = json_object_get(json_array_get(tools, i), "function");
        char *schema = json_dumps(json_object_get(function, "parameters"), 0);
        tool[i] = (struct fg_tool){text_of(json_object_get(function, "name")),
                                   text_of(json_object_get(function, "description")),
                                   {schema, schema ? strlen(schema) : 0}};
    }
    const struct fg_template_input in = {
        .messages = m,
        .message_count = (uint32_t)count,
        .tools = tool,
        .tool_count = (uint32_t)tool_count,
        .add_generation_prompt = !count || m[count - 1].role != FG_ROLE_ASSISTANT,
        .bos = text_of(json_object_get(ask, "bos")),
        .eos = text_of(json_object_get(ask, "eos")),
        .now_s = (uint64_t)json_integer_value(json_object_get(ask, "now")),
        .thinking = text_of(json_object_get(ask, "thinking")),
    };
    json_t *reply = render(t, &in);
    for (size_t i = 0; i < tool_count; i++)
        free((char *)(uintptr_t)tool[i].schema_json.ptr);
    free(m);
    free(parts);
    free(tool);
    fg_template_close(t);
    return reply;
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    while ((len = getline(&line, &size, stdin)) > 0) {
        json_t *ask = json_loadb(line, (size_t)len, 0, NULL);
        json_t *reply = ask ? answer(ask) : json_pack("{s:s}", "error", "no JSON");
        char *text = json_dumps(reply, JSON_COMPACT);
        puts(text ? text : "{}");
        fflush(stdout);
        free(text);
        json_decref(reply);
        json_decref(ask);
    }
    free(line);
    return 0;
}
