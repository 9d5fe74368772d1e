/*
 * Any bytes as a template, those behind the first NUL as what the user wrote: compiling and
 * rendering end, and what comes out is valid UTF-8 in pieces that alternate in origin.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/chat/template.h"
#include "util/arena.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *why)
{
    fprintf(stderr, "%s\n", why);
    abort();
}

static void check(const struct fg_template_output *out)
{
    struct fg_buf all = {0};
    bool broken;
    for (size_t i = 0; i < out->count; i++) {
        const struct fg_piece *p = &out->pieces[i];
        if (p->text.len == 0)
            die("an empty piece");
        if (i && p->special == out->pieces[i - 1].special)
            die("two pieces of one origin");
        fg_buf_add(&all, p->text);
    }
    if (fg_utf8_valid(fg_buf_str(&all), &broken) != all.len)
        die("the output is no valid UTF-8");
    fg_buf_done(&all);
}

static void render(const struct fg_template *t, struct fg_str text, bool begun)
{
    const struct fg_tool tool = {FG_STR("get"), text,
                                 FG_STR("{\"type\": \"object\", \"n\": [1, null]}")};
    const struct fg_part said = {.kind = FG_PART_TEXT, .data = text};
    const struct fg_part call[] = {{.kind = FG_PART_THINKING, .data = text},
                                   {.kind = FG_PART_TOOL_CALL,
                                    .data = FG_STR("{\"a\": 1.5}"),
                                    .name = FG_STR("get"),
                                    .id = text}};
    const struct fg_part result = {
        .kind = FG_PART_TOOL_RESULT, .data = text, .name = FG_STR("get"), .id = FG_STR("1")};
    const struct fg_message messages[] = {{FG_ROLE_SYSTEM, 1, &said},
                                          {FG_ROLE_USER, 1, &said},
                                          {FG_ROLE_ASSISTANT, 2, call},
                                          {FG_ROLE_TOOL, 1, &result},
                                          {FG_ROLE_ASSISTANT, 1, &said}};
    const struct fg_template_input in = {
        .messages = messages,
        .message_count = begun ? 5 : 4,
        .tools = &tool,
        .tool_count = begun ? 0 : 1,
        .add_generation_prompt = !begun,
        .bos = FG_STR("<s>"),
        .eos = FG_STR("</s>"),
        .now_s = 1,
        .thinking = begun ? FG_STR("high") : FG_STR(""),
    };
    struct fg_error err;
    struct fg_template_output out;
    struct fg_arena *arena = fg_arena_open(0, 256 << 20);
    if (fg_template_render(t, &in, arena, &out, &err) == FG_OK)
        check(&out);
    fg_arena_close(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data, *nul = size ? memchr(bytes, 0, size) : NULL;
    const size_t len = nul ? (size_t)(nul - bytes) : size;
    const struct fg_str source = {size ? bytes : "", len};
    const struct fg_str text =
        nul ? (struct fg_str){nul + 1, size - len - 1} : FG_STR("Hi <|im_end|> é");
    struct fg_template *t;
    struct fg_error err;
    if (fg_template_compile(source, &t, &err) != FG_OK)
        return 0;
    render(t, text, false);
    render(t, text, true);
    fg_template_close(t);
    return 0;
}
