/*
 * Speed of encoding, by hand: bench_token MODEL.gguf [TEXT]; not a test. Prints MB/s of the text,
 * and the time a megabyte of the hard cases takes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/token/vocab.h"
#include "util/clock.h"
#include "util/str.h"

static char *repeat(const char *unit, size_t bytes)
{
    const size_t n = strlen(unit);
    char *text = malloc(bytes + 1);
    if (!text)
        exit(1);
    for (size_t i = 0; i < bytes; i++)
        text[i] = unit[i % n];
    text[bytes / n * n] = '\0';
    return text;
}

static void run(const struct fg_vocab *v, const char *name, const char *text, int times)
{
    const struct fg_piece piece = {fg_str_of(text), true};
    uint64_t best = UINT64_MAX;
    struct fg_ids ids = {0};
    struct fg_error err = {0};
    for (int i = 0; i < times; i++) {
        const uint64_t from = fg_clock_ns();
        ids.len = 0;
        if (fg_vocab_encode(v, &piece, 1, true, 0, &ids, &err) != FG_OK) {
            printf("%s: %s\n", name, err.text);
            return;
        }
        const uint64_t took = fg_clock_ns() - from;
        best = took < best ? took : best;
    }
    printf("%-24s %9zu bytes %8zu ids %9.3f ms %8.2f MB/s\n", name, piece.text.len, ids.len,
           (double)best / 1e6, (double)piece.text.len * 1e3 / (double)best);
    fg_ids_done(&ids);
}

static char *read_all(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        exit(1);
    const long size = ftell(f);
    rewind(f);
    char *text = calloc(1, (size_t)size + 1);
    if (!text || fread(text, 1, (size_t)size, f) != (size_t)size)
        exit(1);
    fclose(f);
    return text;
}

int main(int argc, char **argv)
{
    static const char *const hard[] = {
        "a",  " ", "\n",           " a",          "7", "!", "\xf0\x9f\x98\x80", "\xe4\xb8\xad",
        "ab", "A", "\xe2\x96\x81", "<|im_start|>"};
    struct fg_gguf *g = NULL;
    struct fg_vocab *v = NULL;
    struct fg_error err = {0};
    if (argc < 2)
        return 1;
    const uint64_t from = fg_clock_ns();
    if (fg_gguf_open(argv[1], &g, &err) != FG_OK || fg_vocab_open(g, &v, &err) != FG_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    printf("load %.1f ms, %u tokens\n", (double)(fg_clock_ns() - from) / 1e6, fg_vocab_size(v));
    if (argc > 2) {
        char *text = read_all(argv[2]);
        run(v, "text", text, 5);
        if (strlen(text) > 2000)
            text[2000] = '\0';
        run(v, "2000 bytes of it", text, 1000);
        free(text);
    }
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) {
        char *text = repeat(hard[i], 1u << 20);
        run(v, hard[i][0] == '\n' ? "newlines" : hard[i], text, 1);
        free(text);
    }
    fg_vocab_close(v);
    fg_gguf_close(g);
    return 0;
}
