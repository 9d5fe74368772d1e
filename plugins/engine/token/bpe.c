/*
 * engine/token/bpe.c - the merges of a BPE vocabulary: "left right" lines by rank.
 *
 * Loaded into one table from two symbols to the third. A half or a result need not be a token (in
 * real files nearly all are): such texts get ids behind the tokens'.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/token/inner.h"
#include "engine/token/letters.h"
#include "util/error.h"

#define MAX_MERGES (2u << 20)

static int32_t add_symbol(struct fg_vocab *v, struct fg_str text)
{
    if (v->symbol_count == v->symbol_room) {
        const uint32_t room = v->symbol_room ? v->symbol_room * 2 : 64;
        struct symbol *grown = realloc(v->symbols, room * sizeof *grown);
        if (!grown)
            return -1;
        v->symbols = grown;
        v->symbol_room = room;
    }
    char *copy = malloc(text.len);
    if (!copy)
        return -1;
    memcpy(copy, text.ptr, text.len);
    v->symbols[v->symbol_count].text = (struct fg_str){copy, text.len};
    uint32_t at = v->symbol_count;
    if (!fg_index_add(&v->symbol_index, v->symbols, sizeof *v->symbols, &at)) {
        free(copy);
        return -1;
    }
    return (int32_t)(v->count + v->symbol_count++);
}

static int32_t symbol_of(struct fg_vocab *v, struct fg_str text)
{
    const int32_t id = symbol_find(v, text);
    return id >= 0 ? id : add_symbol(v, text);
}

/* Halves as merges see them, one behind the other in scratch. FG_NOT_FOUND: a byte-level half has
 * letters outside the alphabet, so no text holds it. */
static int32_t read_halves(const struct fg_vocab *v, struct fg_str line, char *scratch,
                           struct fg_str *left, struct fg_str *right)
{
    const char *blank = line.len > 1 ? memchr(line.ptr + 1, ' ', line.len - 1) : NULL;
    if (!blank || blank + 1 == line.ptr + line.len)
        return FG_INVALID;
    const struct fg_str a = {line.ptr, (size_t)(blank - line.ptr)};
    const struct fg_str b = {blank + 1, line.len - a.len - 1};
    size_t an = a.len, bn = b.len;
    if (v->kind == KIND_BYTES) {
        if (!fg_letters_decode(a, scratch, &an) || !fg_letters_decode(b, scratch + an, &bn))
            return FG_NOT_FOUND;
    } else {
        memcpy(scratch, a.ptr, an);
        memcpy(scratch + an, b.ptr, bn);
    }
    *left = (struct fg_str){scratch, an};
    *right = (struct fg_str){scratch + an, bn};
    return FG_OK;
}

static void put(struct fg_vocab *v, struct merge m)
{
    uint64_t at = merge_hash(v, m.left, m.right) & v->merge_mask;
    while (v->merges[at].left >= 0) {
        if (v->merges[at].left == m.left && v->merges[at].right == m.right)
            return; /* the first one has the better rank */
        at = (at + 1) & v->merge_mask;
    }
    v->merges[at] = m;
}

static int32_t add_merge(struct fg_vocab *v, struct fg_str line, uint32_t rank, char **scratch,
                         size_t *room)
{
    struct fg_str left, right;
    if (line.len > *room) {
        char *grown = realloc(*scratch, line.len);
        if (!grown)
            return FG_NO_MEMORY;
        *scratch = grown;
        *room = line.len;
    }
    const int32_t rc = read_halves(v, line, *scratch, &left, &right);
    if (rc != FG_OK)
        return rc == FG_NOT_FOUND ? FG_OK : rc;
    const struct merge m = {
        .left = symbol_of(v, left),
        .right = symbol_of(v, right),
        .to = symbol_of(v, (struct fg_str){left.ptr, left.len + right.len}),
        .rank = rank,
    };
    if (m.left < 0 || m.right < 0 || m.to < 0)
        return FG_NO_MEMORY;
    put(v, m);
    return FG_OK;
}

static bool make_table(struct fg_vocab *v, uint64_t count)
{
    uint32_t size = 64;
    while (size < count * 2)
        size *= 2;
    v->merges = malloc((size_t)size * sizeof *v->merges);
    if (!v->merges)
        return false;
    for (uint32_t i = 0; i < size; i++)
        v->merges[i].left = -1;
    v->merge_mask = size - 1;
    v->merge_seed = fg_index_secret();
    fg_index_init(&v->symbol_index);
    return true;
}

int32_t bpe_load(struct fg_vocab *v, const struct fg_gguf *g, struct fg_error *err)
{
    struct fg_gguf_array lines;
    int32_t rc = fg_gguf_array(g, "tokenizer.ggml.merges", &lines, err);
    if (rc != FG_OK)
        return rc;
    if (lines.type != FG_GGUF_STRING)
        return fg_fail(err, FG_INVALID, "tokenizer.ggml.merges: expected strings");
    if (lines.count > MAX_MERGES)
        return fg_fail(err, FG_INVALID, "tokenizer.ggml.merges: %llu merges (at most %u)",
                       (unsigned long long)lines.count, MAX_MERGES);
    if (!make_table(v, lines.count))
        return fg_fail(err, FG_NO_MEMORY, "no memory for the merges");
    char *scratch = NULL;
    size_t room = 0;
    const void *cursor = lines.data;
    for (uint32_t i = 0; i < lines.count && rc == FG_OK; i++) {
        rc = add_merge(v, fg_gguf_next_string(&cursor), i, &scratch, &room);
        if (rc == FG_INVALID)
            fg_fail(err, rc, "tokenizer.ggml.merges: merge %u is no two halves", i);
        else if (rc != FG_OK)
            fg_fail(err, rc, "no memory for the merges");
    }
    free(scratch);
    return rc;
}

void bpe_unload(struct fg_vocab *v)
{
    for (uint32_t i = 0; i < v->symbol_count; i++)
        free((char *)v->symbols[i].text.ptr);
    free(v->symbols);
    free(v->merges);
    fg_index_done(&v->symbol_index);
}
