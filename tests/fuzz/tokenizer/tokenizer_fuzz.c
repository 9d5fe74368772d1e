/*
 * Any text over a small vocabulary of each kind: it comes back, ids are in range, a text that may
 * hold no control token gives none, pieces are one text, and a limit cuts where it says.
 *
 * The first byte of the input chooses the kind and which pieces may hold control tokens, the next
 * two where the pieces end.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/token/vocab.h"
#include "small_vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fg_vocab *vocabs[SMALL_KINDS];

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void open_all(void)
{
    for (int32_t kind = 0; kind < SMALL_KINDS && !vocabs[kind]; kind++) {
        struct build b;
        struct fg_gguf *g = NULL;
        struct fg_error err = {0};
        const struct fg_str file = small_vocab(&b, kind);
        check(fg_gguf_parse(file.ptr, file.len, &g, &err) == FG_OK &&
                  fg_vocab_open(g, &vocabs[kind], &err) == FG_OK,
              err.text);
        fg_gguf_close(g);
        build_done(&b);
    }
}

static struct fg_ids encode(const struct fg_vocab *v, const struct fg_piece *pieces, size_t count)
{
    struct fg_ids ids = {0};
    struct fg_error err = {0};
    if (fg_vocab_encode(v, pieces, count, false, 0, &ids, &err) != FG_OK)
        check(false, err.text);
    return ids;
}

static bool same(const struct fg_ids *a, const struct fg_ids *b)
{
    return a->len == b->len && (!a->len || !memcmp(a->ptr, b->ptr, a->len * sizeof *a->ptr));
}

/* What is not UTF-8 becomes '?', so that every input is a text; U+2581 too, which is a blank. */
static void repair(char *text, size_t len)
{
    struct fg_str rest = {text, len};
    while (rest.len) {
        bool broken;
        const size_t good = fg_utf8_valid(rest, &broken);
        rest = fg_str_from(rest, good);
        if (rest.len)
            text[len - rest.len] = '?';
    }
    for (char *at = text; (at = memmem(at, len - (size_t)(at - text), "\xe2\x96\x81", 3)); at += 3)
        memcpy(at, "???", 3);
}

static size_t cut(const char *text, size_t len, uint8_t where)
{
    size_t at = len * where / 256;
    while (at < len && ((unsigned char)text[at] & 0xC0) == 0x80)
        at++;
    return at;
}

static void comes_back(const struct fg_vocab *v, int32_t kind, const struct fg_ids *ids,
                       struct fg_str text)
{
    struct fg_buf back = {0};
    for (size_t i = 0; i < ids->len; i++) {
        check(ids->ptr[i] >= 0 && (uint32_t)ids->ptr[i] < fg_vocab_size(v), "an id out of range");
        if (kind == SMALL_SPM && ids->ptr[i] < SMALL_BYTE) {
            fg_buf_done(&back); /* SPM puts a blank behind each */
            return;
        }
        fg_buf_add(&back, fg_vocab_piece(v, ids->ptr[i], true));
    }
    struct fg_str got = fg_buf_str(&back);
    if (kind == SMALL_SPM && got.len) {
        check(got.ptr[0] == ' ', "SPM without the blank in front");
        got = fg_str_from(got, 1);
    }
    check(fg_str_eq(got, text), "the text does not come back");
    fg_buf_done(&back);
}

static void limits_hold(const struct fg_vocab *v, const struct fg_piece *pieces, size_t count,
                        const struct fg_ids *ids)
{
    struct fg_ids again = {0};
    if (ids->len) {
        check(fg_vocab_encode(v, pieces, count, false, ids->len, &again, NULL) == FG_OK &&
                  same(ids, &again),
              "a limit that suffices");
    }
    again.len = 0;
    if (ids->len > 1)
        check(fg_vocab_encode(v, pieces, count, false, ids->len - 1, &again, NULL) == FG_TOO_LONG,
              "a limit that does not suffice");
    fg_ids_done(&again);
}

static void try_text(const struct fg_vocab *v, int32_t kind, struct fg_str text, uint8_t flags,
                     size_t first, size_t second)
{
    const struct fg_piece plain = {text, false};
    struct fg_piece pieces[3] = {
        {{text.ptr, first}, flags & 4},
        {{text.ptr + first, second - first}, flags & 8},
        {{text.ptr + second, text.len - second}, flags & 16},
    };
    struct fg_ids ids = encode(v, pieces, 3), alone = encode(v, &plain, 1);
    comes_back(v, kind, &ids, text);
    comes_back(v, kind, &alone, text);
    for (size_t i = 0; i < alone.len; i++)
        check(alone.ptr[i] > SMALL_END, "a control token out of a user's text");
    limits_hold(v, pieces, 3, &ids);
    for (int i = 0; i < 3; i++)
        pieces[i].special = false;
    fg_ids_done(&ids);
    ids = encode(v, pieces, 3);
    check(same(&ids, &alone), "pieces are not one text");
    fg_ids_done(&ids);
    fg_ids_done(&alone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    open_all();
    const int32_t kind = (data[0] & 3) % SMALL_KINDS;
    const size_t len = size - 3;
    char *text = malloc(len + 1);
    if (!text)
        return 0;
    memcpy(text, data + 3, len);
    bool broken;
    if (fg_utf8_valid((struct fg_str){text, len}, &broken) != len) {
        const struct fg_piece piece = {{text, len}, true};
        struct fg_ids ids = {0};
        check(fg_vocab_encode(vocabs[kind], &piece, 1, true, 0, &ids, NULL) == FG_INVALID,
              "invalid UTF-8 is taken");
        fg_ids_done(&ids);
    }
    repair(text, len);
    size_t first = cut(text, len, data[1]), second = cut(text, len, data[2]);
    if (first > second) {
        const size_t swap = first;
        first = second;
        second = swap;
    }
    try_text(vocabs[kind], kind, (struct fg_str){text, len}, data[0], first, second);
    free(text);
    return 0;
}
