/*
 * A toy vocabulary. A piece is a run of blanks and the word behind it; the distinct pieces of the
 * model's text have ids from 256 on, everything else is spelled in bytes, ids 0 to 255. So any text
 * has tokens, tokens give back the text byte for byte, and what the model says is a token a word.
 */
#include "fake/fake.h"

#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, MAX_WORDS = 1 << 18, COUNT_MOST = 4096 /* bytes */ };

struct fg_fake_vocab {
    char *text;           /* a copy; the words point into it */
    struct fg_str *words;
    uint32_t count;
    uint32_t *table;      /* index + 1 by hash, 0: free */
    uint32_t mask;
};

static const char all_bytes[BYTES] = {
#define ROW(x) (char)(x), (char)((x) + 1), (char)((x) + 2), (char)((x) + 3)
#define ROWS(x) ROW(x), ROW((x) + 4), ROW((x) + 8), ROW((x) + 12)
    ROWS(0),   ROWS(16),  ROWS(32),  ROWS(48),  ROWS(64),  ROWS(80),  ROWS(96),  ROWS(112),
    ROWS(128), ROWS(144), ROWS(160), ROWS(176), ROWS(192), ROWS(208), ROWS(224), ROWS(240),
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static struct fg_str piece_at(struct fg_str text, size_t at)
{
    size_t end = at;
    while (end < text.len && is_blank(text.ptr[end]))
        end++;
    while (end < text.len && !is_blank(text.ptr[end]))
        end++;
    return (struct fg_str){text.ptr + at, end - at};
}

/* Index of the piece, or of the free place where it would be put. */
static uint32_t *slot_of(const struct fg_fake_vocab *v, struct fg_str piece)
{
    uint32_t at = (uint32_t)fg_str_hash(piece) & v->mask;
    while (v->table[at] && !fg_str_eq(v->words[v->table[at] - 1], piece))
        at = (at + 1) & v->mask;
    return &v->table[at];
}

static uint32_t pieces_in(struct fg_str text)
{
    uint32_t n = 0;
    for (size_t at = 0; at < text.len && n < MAX_WORDS; n++)
        at += piece_at(text, at).len;
    return n;
}

static bool fill(struct fg_fake_vocab *v, struct fg_str text)
{
    const uint32_t most = pieces_in(text);
    uint32_t size = 16;
    while (size < most * 2)
        size *= 2;
    v->mask = size - 1;
    v->text = malloc(text.len + 1);
    v->words = calloc(most + 1, sizeof *v->words);
    v->table = calloc(size, sizeof *v->table);
    if (!v->text || !v->words || !v->table)
        return false;
    if (text.len)
        memcpy(v->text, text.ptr, text.len);
    const struct fg_str copy = {v->text, text.len};
    uint32_t seen = 0;
    for (size_t at = 0; at < copy.len && seen < most; seen++) {
        const struct fg_str piece = piece_at(copy, at);
        uint32_t *slot = slot_of(v, piece);
        if (!*slot) {
            v->words[v->count++] = piece;
            *slot = v->count;
        }
        at += piece.len;
    }
    return true;
}

struct fg_fake_vocab *fg_fake_vocab_open(struct fg_str text)
{
    struct fg_fake_vocab *v = calloc(1, sizeof *v);
    if (v && !fill(v, text)) {
        fg_fake_vocab_close(v);
        return NULL;
    }
    return v;
}

void fg_fake_vocab_close(struct fg_fake_vocab *v)
{
    if (!v)
        return;
    free(v->text);
    free(v->words);
    free(v->table);
    free(v);
}

uint32_t fg_fake_vocab_size(const struct fg_fake_vocab *v)
{
    return BYTES + v->count;
}

struct fg_str fg_fake_vocab_piece(const struct fg_fake_vocab *v, int32_t id)
{
    if (id < BYTES)
        return (struct fg_str){&all_bytes[id], 1};
    return v->words[id - BYTES];
}

void fg_fake_ids_add(struct fg_fake_ids *to, int32_t id)
{
    if (to->count == to->capacity) {
        const uint32_t capacity = to->capacity ? to->capacity * 2 : 64;
        int32_t *ids = to->failed ? NULL : realloc(to->ids, capacity * sizeof *ids);
        if (!ids) {
            to->failed = true;
            return;
        }
        to->ids = ids;
        to->capacity = capacity;
    }
    to->ids[to->count++] = id;
}

void fg_fake_tokenize(const struct fg_fake_vocab *v, struct fg_str text, struct fg_fake_ids *to)
{
    for (size_t at = 0; at < text.len && !to->failed;) {
        const struct fg_str piece = piece_at(text, at);
        const uint32_t word = *slot_of(v, piece);
        at += piece.len;
        if (word)
            fg_fake_ids_add(to, (int32_t)(BYTES + word - 1));
        for (size_t i = 0; !word && i < piece.len; i++)
            fg_fake_ids_add(to, (unsigned char)piece.ptr[i]);
    }
}

uint32_t fg_fake_count(const struct fg_fake_vocab *v, struct fg_str text)
{
    uint32_t n = 0;
    if (text.len > COUNT_MOST)
        return text.len / 4 > UINT32_MAX / 8 ? UINT32_MAX / 8 : (uint32_t)(text.len / 4);
    for (size_t at = 0; at < text.len;) {
        const struct fg_str piece = piece_at(text, at);
        n += *slot_of(v, piece) ? 1 : (uint32_t)piece.len;
        at += piece.len;
    }
    return n;
}
