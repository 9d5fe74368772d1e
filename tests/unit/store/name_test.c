/* The grammar of model names, and names made of file names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "store/name.h"

static void names_get_their_defaults(void **state)
{
    (void)state;
    static const struct {
        const char *text, *full, *brief;
    } rows[] = {
        {"smol", "registry.ollama.ai/library/smol:latest", "smol:latest"},
        {"smol:135m", "registry.ollama.ai/library/smol:135m", "smol:135m"},
        {"me/smol:1.5b", "registry.ollama.ai/me/smol:1.5b", "me/smol:1.5b"},
        {"hf.co/me/smol", "hf.co/me/smol:latest", "hf.co/me/smol:latest"},
        {"localhost:5000/me/smol:x", "localhost:5000/me/smol:x", "localhost:5000/me/smol:x"},
        {"https://hf.co/me/smol", "hf.co/me/smol:latest", "hf.co/me/smol:latest"},
        {"Smol:Q4_K_M", "registry.ollama.ai/library/Smol:Q4_K_M", "Smol:Q4_K_M"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fg_name n;
        char out[FG_NAME_ROOM];
        assert_true(fg_name_parse(fg_str_of(rows[i].text), &n));
        assert_true(fg_name_full(&n, out, sizeof out) > 0);
        assert_string_equal(out, rows[i].full);
        assert_true(fg_name_short(&n, out, sizeof out) > 0);
        assert_string_equal(out, rows[i].brief);
    }
}

static void hostile_names_are_no_names(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "/",
        "/smol",
        "smol/",
        "a//b",
        "..",
        "../etc/passwd",
        "a..b",
        "a/../b",
        "smol:",
        ":x",
        "smol:a:b",
        "a/b/c/d",
        "smol@sha256:0",
        "a b",
        "smol\n",
        "\\\\x",
        "$(id)",
        "%n",
        "smol:../x",
        ".hidden",
        "-x",
        "me.you/smol",
        "smol:x/y/z:w:v",
        "http://",
        "a\x01",
        "\xc3\xa4",
    };
    struct fg_name n;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (fg_name_parse(fg_str_of(bad[i]), &n))
            fail_msg("taken as a name: \"%s\"", bad[i]);
    assert_false(fg_name_parse((struct fg_str){"a\0b", 3}, &n));
    char longer[FG_NAME_MAX + 2];
    memset(longer, 'a', sizeof longer);
    assert_false(fg_name_parse((struct fg_str){longer, FG_NAME_MAX + 1}, &n));
    assert_false(fg_name_parse((struct fg_str){longer, 81}, &n));
    assert_true(fg_name_parse((struct fg_str){longer, 80}, &n));
}

static void files_are_named_by_their_quantization(void **state)
{
    (void)state;
    static const struct {
        const char *file, *name;
    } rows[] = {
        {"SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct:q4_1"},
        {"gemma-3-270m-q4_k_m.gguf", "gemma-3-270m:q4_k_m"},
        {"phi.BF16.GGUF", "phi:bf16"},
        {"llama-3.2-1b-iq4_nl.gguf", "llama-3.2-1b:iq4_nl"},
        {"qwen2.5-7b.gguf", "qwen2.5-7b:latest"},
        {"my model (1).gguf", "my-model--1-:latest"},
        {"..gguf.gguf", "gguf:latest"},
        {"q4_0.gguf", "q4_0:latest"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[FG_NAME_ROOM];
        struct fg_name n;
        assert_true(fg_name_of_file(fg_str_of(rows[i].file), out, sizeof out) > 0);
        assert_string_equal(out, rows[i].name);
        assert_true(fg_name_parse(fg_str_of(out), &n));
    }
    char out[FG_NAME_ROOM];
    assert_int_equal(fg_name_of_file(FG_STR("....gguf"), out, sizeof out), 0);
}

static void digests_are_checked_as_a_whole(void **state)
{
    (void)state;
    static const char hex[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    char text[200] = "sha256:";
    struct fg_str got;
    memcpy(text + 7, hex, sizeof hex);
    assert_true(fg_digest_parse(fg_str_of(text), &got));
    assert_true(fg_str_is(got, hex));
    assert_false(fg_digest_parse((struct fg_str){text, 70}, &got));
    memcpy(text + 71, "\n", 2);
    assert_false(fg_digest_parse(fg_str_of(text), &got));
    memcpy(text + 7, "../../../", 9);
    assert_false(fg_digest_parse((struct fg_str){text, 71}, &got));
    memcpy(text + 7, "ABCDEF012", 9);
    assert_false(fg_digest_parse((struct fg_str){text, 71}, &got));
}

static void cloud_names_are_told_apart(void **state)
{
    (void)state;
    struct fg_name n;
    assert_true(fg_name_parse(FG_STR("big:cloud"), &n) && fg_name_is_cloud(&n));
    assert_true(fg_name_parse(FG_STR("big:120b-CLOUD"), &n) && fg_name_is_cloud(&n));
    assert_true(fg_name_parse(FG_STR("cloud:7b"), &n) && !fg_name_is_cloud(&n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_get_their_defaults),
        cmocka_unit_test(hostile_names_are_no_names),
        cmocka_unit_test(files_are_named_by_their_quantization),
        cmocka_unit_test(digests_are_checked_as_a_whole),
        cmocka_unit_test(cloud_names_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
