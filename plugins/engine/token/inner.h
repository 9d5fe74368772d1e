/* engine/token/inner.h - what a vocabulary holds; for the files of this folder only. */
#ifndef FG_ENGINE_TOKEN_INNER_H
#define FG_ENGINE_TOKEN_INNER_H

#include "engine/gguf/index.h"
#include "engine/token/pre.h"
#include "engine/token/special.h"
#include "engine/token/vocab.h"
#include "util/str.h"

enum kind {
    KIND_BYTES = 0, /* BPE over bytes, GPT-2's alphabet in the file */
    KIND_CHARS = 1, /* BPE over characters, blanks written as U+2581, <0xHH> for the rest */
    KIND_SPM = 2,   /* SentencePiece: merges by score, blanks as U+2581, <0xHH> for the rest */
};
enum attr { /* numbers of our own: a token may be several things */
            ATTR_NORMAL = 1,
            ATTR_UNKNOWN = 2,
            ATTR_CONTROL = 4,
            ATTR_USER = 8,
            ATTR_BYTE = 16,
            ATTR_UNUSED = 32,
            ATTR_END = 64,
            ATTR_RSTRIP = 128,
};
#define ATTR_SPECIAL (ATTR_UNKNOWN | ATTR_CONTROL) /* never made of a user's text */

struct token {
    struct fg_str key;            /* the bytes merges see; empty: not made of text */
    uint32_t piece_at, piece_len; /* in the pool: the bytes it stands for */
    float score;
    uint32_t attr;
};
struct merge { /* a slot of an open-addressing table; left < 0: free */
    int32_t left, right, to;
    uint32_t rank;
};
struct symbol { /* a text of the merges that is no token: id = token count + position */
    struct fg_str text;
};
struct fg_vocab {
    int32_t kind;
    char *pool;
    size_t pool_len, pool_room;
    struct token *tokens;
    uint32_t count;
    uint32_t longest;      /* bytes of the longest key */
    struct fg_index index; /* tokens that text can become, by key */
    int32_t bos, eos, unk;
    bool adds_bos, adds_eos, adds_blank;
    int32_t byte_token[256]; /* -1: none */
    struct fg_specials specials;
    /* BPE */
    struct merge *merges;
    uint32_t merge_mask;
    uint64_t merge_seed;
    struct symbol *symbols;
    uint32_t symbol_count, symbol_room;
    struct fg_index symbol_index;
    struct fg_pre *pre;
    bool ignores_merges; /* a word that is a token is not merged together */
    /* SPM: bytes that come before a blank inside some token; elsewhere words are independent */
    bool before_blank[256];
};

#define BLANK "\xe2\x96\x81" /* U+2581, how vocabularies write a blank */

/* bpe.c, loading: the merges of the file; the tokens are there already. */
int32_t bpe_load(struct fg_vocab *, const struct fg_gguf *, struct fg_error *);
void bpe_unload(struct fg_vocab *);

static inline uint64_t merge_hash(const struct fg_vocab *v, int32_t left, int32_t right)
{
    return fg_hash_mix(((uint64_t)(uint32_t)left << 32 | (uint32_t)right) ^ v->merge_seed,
                       0x9e3779b97f4a7c15ull);
}
/* NULL when the two do not merge. */
static inline const struct merge *merge_find(const struct fg_vocab *v, int32_t left, int32_t right)
{
    if (left < 0 || right < 0)
        return NULL;
    uint64_t at = merge_hash(v, left, right) & v->merge_mask;
    for (; v->merges[at].left >= 0; at = (at + 1) & v->merge_mask)
        if (v->merges[at].left == left && v->merges[at].right == right)
            return &v->merges[at];
    return NULL;
}
/* The token that is exactly this text; -1: none. */
static inline int32_t key_find(const struct fg_vocab *v, struct fg_str text)
{
    const uint32_t at = fg_index_find(&v->index, v->tokens, sizeof *v->tokens, text);
    return at == FG_INDEX_NONE ? -1 : (int32_t)at;
}
/* Likewise a text of the merges, token or not. */
static inline int32_t symbol_find(const struct fg_vocab *v, struct fg_str text)
{
    const int32_t id = key_find(v, text);
    if (id >= 0 || !v->symbol_count)
        return id;
    const uint32_t at = fg_index_find(&v->symbol_index, v->symbols, sizeof *v->symbols, text);
    return at == FG_INDEX_NONE ? -1 : (int32_t)(v->count + at);
}
/* Bytes of the UTF-8 character that begins with c, in valid text. */
static inline uint32_t char_bytes(char c)
{
    const unsigned char u = (unsigned char)c;
    return u < 0xC0 ? 1 : u < 0xE0 ? 2 : u < 0xF0 ? 3 : 4;
}

#endif
