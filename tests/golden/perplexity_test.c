/*
 * Perplexity of every weight type on a recorded text, against the other engine's (README.md): the
 * whole path from text to probabilities, and what a kernel may lose. Chunks of 512 tokens, each
 * begun with BOS where the model wants one, the second half of each scored.
 *
 * Files of the other types are made from the two models by script/setup --bench; a file that is
 * not there skips by name.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/token/vocab.h"
#include "fixture.h"

enum { CHUNK = 512, SCORED_FROM = CHUNK / 2, LOGIT_ROWS = 64, FILES_MOST = 64 };
static const double allowed = 0.005; /* of the recorded value */

static char *text; /* the recorded text */
static size_t text_len;

static struct fg_ids encode(const struct fixture *f, int32_t *bos)
{
    struct fg_vocab *vocab;
    struct fg_ids ids = {0};
    struct fg_error err = {0};
    const struct fg_piece piece = {{text, text_len}, false};
    if (fg_vocab_open(f->gguf, &vocab, &err) != FG_OK ||
        fg_vocab_encode(vocab, &piece, 1, true, 0, &ids, &err) != FG_OK)
        fail_msg("%s", err.text);
    *bos = fg_vocab_adds_bos(vocab) ? fg_vocab_bos(vocab) : -1;
    fg_vocab_close(vocab);
    return ids;
}

/* Sum of the negative log-probabilities of a chunk's second half. */
static double score(struct fixture *f, const int32_t *ids, float *logits)
{
    double sum = 0;
    fixture_run(f, ids, 0, SCORED_FROM, UINT32_MAX, logits);
    for (uint32_t at = SCORED_FROM; at < CHUNK; at += LOGIT_ROWS) {
        fixture_run(f, ids + at, at, LOGIT_ROWS, 0, logits);
        for (uint32_t i = 0; i < LOGIT_ROWS && at + i + 1 < CHUNK; i++)
            sum -= fixture_logprob(logits + (size_t)i * f->vocab, f->vocab, ids[at + i + 1]);
    }
    return sum;
}

static double perplexity(const char *path)
{
    struct fixture f;
    int32_t bos;
    fixture_open(&f, path, false, CHUNK);
    struct fg_ids ids = encode(&f, &bos);
    float *logits = malloc((size_t)LOGIT_ROWS * f.vocab * sizeof *logits);
    assert_non_null(logits);
    double sum = 0;
    uint32_t count = 0;
    for (size_t at = 0; at + CHUNK <= ids.len; at += CHUNK) {
        if (bos >= 0)
            ids.ptr[at] = bos;
        sum += score(&f, ids.ptr + at, logits);
        count += CHUNK - 1 - SCORED_FROM;
    }
    assert_true(count > 0);
    free(logits);
    fg_ids_done(&ids);
    fixture_close(&f);
    return exp(sum / count);
}

static bool find(const char *name, char *path, size_t room)
{
    char file[128];
    if (strcmp(name, "smollm2-Q4_1-orig") == 0)
        return fixture_find("models", "SmolLM2-135M-Instruct.Q4_1.gguf", path, room);
    if (strcmp(name, "gemma3-Q4_K_M-orig") == 0)
        return fixture_find("models", "gemma-3-270m-q4_k_m.gguf", path, room);
    snprintf(file, sizeof file, "%s.gguf", name);
    return fixture_find("quants", file, path, room);
}

static void run(void **state)
{
    const json_t *entry = *state;
    const char *name = json_string_value(json_object_get(entry, "file"));
    const double expected = json_real_value(json_object_get(entry, "ppl"));
    char path[4096];
    if (!find(name, path, sizeof path)) {
        print_message("skip: %s is not in the cache\n", name);
        skip();
    }
    const double got = perplexity(path), off = got / expected - 1;
    print_message("%s: %.4f, recorded %.4f (%+.2f %%)\n", name, got, expected, off * 100);
    if (!(fabs(off) <= allowed))
        fail_msg("%s: perplexity %.4f, recorded %.4f", name, got, expected);
}

static void read_text(void)
{
    FILE *f = fopen(FG_TEST_DATA "/golden/ppl-text-shared.txt", "rb");
    assert_non_null(f);
    text = malloc(1 << 16);
    assert_non_null(text);
    text_len = fread(text, 1, 1 << 16, f);
    fclose(f);
}

int main(void)
{
    static char names[FILES_MOST][96];
    struct CMUnitTest tests[FILES_MOST];
    json_t *all = json_load_file(FG_TEST_DATA "/golden/perplexity.json", 0, NULL), *entry;
    size_t i, count = 0;
    read_text();
    json_array_foreach(json_object_get(all, "results"), i, entry)
    {
        if (count == FILES_MOST)
            break;
        snprintf(names[count], sizeof names[count], "%s_is_within_half_a_percent",
                 json_string_value(json_object_get(entry, "file")));
        tests[count] = (struct CMUnitTest){names[count], run, NULL, NULL, entry};
        count++;
    }
    const int failed = _cmocka_run_group_tests("perplexity", tests, count, NULL, NULL);
    json_decref(all);
    free(text);
    return failed;
}
