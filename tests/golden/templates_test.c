/*
 * Every conversation of templates-*.json renders as it is written there, and its text gives the
 * written ids the way the scheduler encodes it: BOS in front where the model wants one, once. One
 * test a file; a file whose model is not in the cache skips.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/chat/template.h"
#include "util/arena.h"

enum { MESSAGES = 8, PARTS = 4 };

struct golden {
    json_t *all;
    struct fg_gguf *gguf;
    struct fg_vocab *vocab;
    struct fg_template *chat;
};

static struct fg_str text_of(const json_t *v)
{
    return (struct fg_str){json_string_value(v), json_string_length(v)};
}

static bool open_model(struct golden *g, const char *file)
{
    char path[1024], model[1024];
    const char *cache = getenv("FLUXGATE_CACHE"), *home = getenv("HOME");
    struct fg_error err = {0};
    snprintf(path, sizeof path, FG_TEST_DATA "/golden/%s", file);
    g->all = json_load_file(path, 0, NULL);
    assert_non_null(g->all);
    const char *name = json_string_value(json_object_get(g->all, "model"));
    if (cache)
        snprintf(model, sizeof model, "%s/models/%s", cache, name);
    else
        snprintf(model, sizeof model, "%s/.cache/fluxgate/models/%s", home ? home : "", name);
    if (access(model, R_OK) != 0) {
        json_decref(g->all);
        printf("skip: %s is not there\n", model);
        return false;
    }
    struct fg_str source = fg_str_of(fg_template_chatml);
    if (fg_gguf_open(model, &g->gguf, &err) != FG_OK ||
        fg_vocab_open(g->gguf, &g->vocab, &err) != FG_OK)
        fail_msg("%s", err.text);
    (void)fg_gguf_str(g->gguf, "tokenizer.chat_template", &source, NULL);
    if (fg_template_compile(source, &g->chat, &err) != FG_OK)
        fail_msg("%s", err.text);
    return true;
}

static void close_model(struct golden *g)
{
    fg_template_close(g->chat);
    fg_vocab_close(g->vocab);
    fg_gguf_close(g->gguf);
    json_decref(g->all);
}

static uint32_t read_messages(const json_t *request, struct fg_message *m,
                              struct fg_part (*parts)[PARTS])
{
    static const char *const roles[] = {"system", "user", "assistant"};
    size_t i, k;
    json_t *one, *part;
    json_array_foreach(json_object_get(request, "messages"), i, one)
    {
        assert_true(i < MESSAGES);
        const json_t *content = json_object_get(one, "content");
        const char *role = json_string_value(json_object_get(one, "role"));
        m[i] = (struct fg_message){-1, 1, parts[i]};
        for (int32_t r = 0; r < 3; r++)
            if (strcmp(role, roles[r]) == 0)
                m[i].role = r;
        assert_true(m[i].role >= 0);
        parts[i][0] = (struct fg_part){.kind = FG_PART_TEXT, .data = text_of(content)};
        if (json_is_array(content))
            m[i].part_count = (uint32_t)json_array_size(content);
        json_array_foreach(content, k, part) parts[i][k] =
            (struct fg_part){.kind = FG_PART_TEXT, .data = text_of(json_object_get(part, "text"))};
    }
    return (uint32_t)json_array_size(json_object_get(request, "messages"));
}

static void check_text(const json_t *one, const struct fg_template_output *out)
{
    struct fg_buf text = {0};
    for (size_t i = 0; i < out->count; i++)
        fg_buf_add(&text, out->pieces[i].text);
    const struct fg_str want = text_of(json_object_get(one, "prompt"));
    if (!fg_str_eq(fg_buf_str(&text), want))
        fail_msg("%s: expected %s, got %.*s", json_string_value(json_object_get(one, "name")),
                 want.ptr, FG_STR_ARG(fg_buf_str(&text)));
    fg_buf_done(&text);
}

static void check_ids(const struct golden *g, const json_t *one,
                      const struct fg_template_output *out)
{
    const json_t *want = json_object_get(one, "tokens");
    struct fg_ids ids = {0};
    struct fg_error err = {0};
    if (fg_vocab_adds_bos(g->vocab))
        assert_true(fg_ids_add(&ids, fg_vocab_bos(g->vocab)));
    const size_t own = ids.len;
    if (fg_vocab_encode(g->vocab, out->pieces, out->count, false, 0, &ids, &err) != FG_OK)
        fail_msg("%s", err.text);
    const size_t skip = own && ids.ptr[1] == ids.ptr[0] ? 1 : 0;
    assert_int_equal(ids.len - skip, json_array_size(want));
    for (size_t i = skip; i < ids.len; i++)
        assert_int_equal(ids.ptr[i], json_integer_value(json_array_get(want, i - skip)));
    fg_ids_done(&ids);
}

static void every_conversation_renders_as_written(void **state)
{
    struct golden g = {0};
    if (!open_model(&g, *state))
        skip();
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(g.all, "cases"), i, one)
    {
        struct fg_message messages[MESSAGES];
        struct fg_part parts[MESSAGES][PARTS];
        struct fg_template_output out;
        struct fg_error err = {0};
        const struct fg_template_input in = {
            .messages = messages,
            .message_count = read_messages(json_object_get(one, "request"), messages, parts),
            .add_generation_prompt = true,
            .bos = fg_vocab_piece(g.vocab, fg_vocab_bos(g.vocab), true),
            .eos = fg_vocab_piece(g.vocab, fg_vocab_eos(g.vocab), true),
        };
        struct fg_arena *arena = fg_arena_open(0, 64 << 20);
        if (fg_template_render(g.chat, &in, arena, &out, &err) != FG_OK)
            fail_msg("%s", err.text);
        check_text(one, &out);
        check_ids(&g, one, &out);
        fg_arena_close(arena);
    }
    assert_true(i >= 5);
    close_model(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"smollm2's own template", every_conversation_renders_as_written, NULL, NULL,
         (void *)(uintptr_t) "templates-smollm2-135m-instruct-q4_1.json"},
        {"chatml for a base model without one", every_conversation_renders_as_written, NULL, NULL,
         (void *)(uintptr_t) "templates-gemma3-270m-q4_k_m.json"},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
