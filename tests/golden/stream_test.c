/*
 * Text out of real vocabularies, token by token: what is sent is whole characters at every step,
 * also where an emoji or a Chinese character lies over several tokens, and in sum it is the text.
 * The ids are those of tokenizer-*.json.
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

#include "engine/sched/text.h"
#include "engine/token/vocab.h"

struct subject {
    const char *vectors, *file; /* file below the cache */
};

static struct fg_vocab *open_vocab(const char *file)
{
    const char *cache = getenv("FLUXGATE_CACHE"), *home = getenv("HOME");
    char path[1024];
    struct fg_gguf *g = NULL;
    struct fg_vocab *v = NULL;
    struct fg_error err = {0};
    snprintf(path, sizeof path, "%s%s/%s",
             cache  ? cache
             : home ? home
                    : "",
             cache ? "" : "/.cache/fluxgate", file);
    if (access(path, R_OK) != 0) {
        printf("skip: %s is not there\n", path);
        skip();
    }
    if (fg_gguf_open(path, &g, &err) != FG_OK || fg_vocab_open(g, &v, &err) != FG_OK)
        fail_msg("%s", err.text);
    fg_gguf_close(g);
    return v;
}

/* Feeds the ids one by one; how many ended inside a character. */
static size_t stream(const struct fg_vocab *v, const json_t *ids, struct fg_str want)
{
    struct fg_text t;
    struct fg_text_part part;
    struct fg_buf sent = {0};
    size_t i, inside = 0;
    json_t *id;
    fg_text_init(&t, NULL, 0);
    json_array_foreach(ids, i, id)
    {
        const int32_t number = (int32_t)json_integer_value(id);
        assert_true(fg_text_push(&t, number, fg_vocab_piece(v, number, false), 0, NULL, 0));
        while (fg_text_take(&t, &part)) {
            bool broken = false;
            assert_int_equal(fg_utf8_valid(part.text, &broken), part.text.len);
            fg_buf_add(&sent, part.text);
        }
        inside += t.held.len > 0;
    }
    t.over = true;
    while (fg_text_take(&t, &part))
        fg_buf_add(&sent, part.text);
    struct fg_str got = fg_buf_str(&sent);
    if (fg_vocab_strips_first_blank(v) && got.len && got.ptr[0] == ' ')
        got = fg_str_from(got, 1);
    if (!fg_str_eq(got, want))
        fail_msg("sent %.*s for %.*s", FG_STR_ARG(got), FG_STR_ARG(want));
    fg_buf_done(&sent);
    fg_text_done(&t);
    return inside;
}

static void every_step_sends_whole_characters(void **state)
{
    const struct subject *s = *state;
    struct fg_vocab *v = open_vocab(s->file);
    char path[512];
    snprintf(path, sizeof path, "%s/golden/%s", FG_TEST_DATA, s->vectors);
    json_t *all = json_load_file(path, 0, NULL), *one;
    assert_non_null(all);
    size_t i, inside = 0;
    json_array_foreach(json_object_get(all, "cases"), i, one)
    {
        const json_t *text = json_object_get(one, "text");
        inside += stream(v, json_object_get(one, "plain_text"),
                         (struct fg_str){json_string_value(text), json_string_length(text)});
    }
    assert_true(inside > 0); /* else the strings show nothing */
    json_decref(all);
    fg_vocab_close(v);
}

int main(void)
{
    static const struct subject subjects[] = {
        {"tokenizer-smollm2-135m-instruct-q4_1.json", "models/SmolLM2-135M-Instruct.Q4_1.gguf"},
        {"tokenizer-gemma3-270m-q4_k_m.json", "models/gemma-3-270m-q4_k_m.gguf"},
        {"tokenizer-vocab-llama-bpe.json", "vocab/ggml-vocab-llama-bpe.gguf"},
        {"tokenizer-vocab-llama-spm.json", "vocab/ggml-vocab-llama-spm.gguf"},
        {"tokenizer-vocab-gemma-4.json", "vocab/ggml-vocab-gemma-4.gguf"},
    };
    enum { COUNT = sizeof subjects / sizeof *subjects };
    struct CMUnitTest tests[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        tests[i] = (struct CMUnitTest){.name = subjects[i].vectors,
                                       .test_func = every_step_sends_whole_characters,
                                       .initial_state = (void *)&subjects[i]};
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
