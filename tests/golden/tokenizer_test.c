/*
 * Every string of tokenizer-*.json gives the ids that are written there, in all three ways, and
 * comes back as it was. One test a file; a file whose model is not in the cache skips.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/token/vocab.h"
#include "util/str.h"

struct golden {
    const char *path;
    json_t *all;
    struct fg_gguf *gguf;
    struct fg_vocab *vocab;
};

/* The model that a file names: "ggml-vocab-mpt.gguf (vocabulary only, ...)" */
static bool find_model(const json_t *all, char *path, size_t room)
{
    const char *name = json_string_value(json_object_get(all, "model"));
    const char *cache = getenv("FLUXGATE_CACHE"), *home = getenv("HOME");
    char base[512];
    if (!name || (!cache && !home))
        return false;
    if (cache)
        snprintf(base, sizeof base, "%s", cache);
    else
        snprintf(base, sizeof base, "%s/.cache/fluxgate", home);
    const int len = (int)strcspn(name, " ");
    const bool only_vocab = strncmp(name, "ggml-vocab-", 11) == 0;
    snprintf(path, room, "%s/%s/%.*s", base, only_vocab ? "vocab" : "models", len, name);
    return access(path, R_OK) == 0;
}

static void check_ids(const struct golden *g, const json_t *one, const char *way, bool bos,
                      bool special, struct fg_ids *ids)
{
    const json_t *want = json_object_get(one, way), *text = json_object_get(one, "text");
    const struct fg_piece piece = {{json_string_value(text), json_string_length(text)}, special};
    struct fg_error err = {0};
    ids->len = 0;
    if (fg_vocab_encode(g->vocab, &piece, 1, bos, 0, ids, &err) != FG_OK)
        fail_msg("%s: %s: %s", json_string_value(json_object_get(one, "name")), way, err.text);
    bool same = ids->len == json_array_size(want);
    for (size_t i = 0; same && i < ids->len; i++)
        same = ids->ptr[i] == json_integer_value(json_array_get(want, i));
    if (same)
        return;
    char *expected = json_dumps(want, JSON_COMPACT);
    print_error("%s: expected %s, got [", json_string_value(text), expected);
    for (size_t i = 0; i < ids->len; i++)
        print_error("%s%d", i ? "," : "", ids->ptr[i]);
    print_error("]\n");
    free(expected);
    fail_msg("%s: other ids %s", json_string_value(json_object_get(one, "name")), way);
}

/* Unknown characters and blanks that Phi-3 swallows cannot come back. */
static bool is_lossy(const struct golden *g, const struct fg_ids *ids)
{
    uint32_t unk;
    if (strstr(g->path, "phi-3"))
        return true;
    if (fg_gguf_u32(g->gguf, "tokenizer.ggml.unknown_token_id", &unk, NULL) != FG_OK)
        return false;
    for (size_t i = 0; i < ids->len; i++)
        if (ids->ptr[i] == (int32_t)unk)
            return true;
    return false;
}

static void check_text(const struct golden *g, const json_t *one, const struct fg_ids *ids)
{
    const json_t *text = json_object_get(one, "text");
    struct fg_buf back = {0};
    if (is_lossy(g, ids))
        return;
    for (size_t i = 0; i < ids->len; i++)
        fg_buf_add(&back, fg_vocab_piece(g->vocab, ids->ptr[i], true));
    struct fg_str got = fg_buf_str(&back);
    if (fg_vocab_strips_first_blank(g->vocab) && got.len && got.ptr[0] == ' ')
        got = fg_str_from(got, 1);
    const struct fg_str want = {json_string_value(text), json_string_length(text)};
    if (!fg_str_eq(got, want))
        fail_msg("%s came back as %.*s", want.ptr, FG_STR_ARG(got));
    fg_buf_done(&back);
}

static void every_string_gives_the_written_ids(void **state)
{
    struct golden g = {.path = *state};
    char path[1024] = "";
    struct fg_error err = {0};
    struct fg_ids ids = {0};
    g.all = json_load_file(g.path, 0, NULL);
    assert_non_null(g.all);
    if (!find_model(g.all, path, sizeof path)) {
        json_decref(g.all);
        printf("skip: %s is not there\n", path);
        skip();
    }
    if (fg_gguf_open(path, &g.gguf, &err) != FG_OK ||
        fg_vocab_open(g.gguf, &g.vocab, &err) != FG_OK)
        fail_msg("%s", err.text);
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(g.all, "cases"), i, one)
    {
        check_ids(&g, one, "with_special", true, true, &ids);
        check_ids(&g, one, "no_add", false, true, &ids);
        check_ids(&g, one, "plain_text", false, false, &ids);
        check_text(&g, one, &ids);
    }
    assert_int_equal(i, 30);
    fg_ids_done(&ids);
    fg_vocab_close(g.vocab);
    fg_gguf_close(g.gguf);
    json_decref(g.all);
}

int main(void)
{
    glob_t files;
    struct CMUnitTest *tests;
    if (glob(FG_TEST_DATA "/golden/tokenizer-*.json", 0, NULL, &files) != 0)
        return 1;
    tests = calloc(files.gl_pathc, sizeof *tests);
    if (!tests)
        return 1;
    for (size_t i = 0; i < files.gl_pathc; i++)
        tests[i] = (struct CMUnitTest){.name = strrchr(files.gl_pathv[i], '/') + 1,
                                       .test_func = every_string_gives_the_written_ids,
                                       .initial_state = files.gl_pathv[i]};
    const int failed = _cmocka_run_group_tests("tokenizer", tests, files.gl_pathc, NULL, NULL);
    free(tests);
    globfree(&files);
    return failed;
}
