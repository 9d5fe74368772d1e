/* engine/token/vocab.c - what a loaded vocabulary answers; load.c makes it, encode.c uses it. */
#include "engine/token/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "engine/token/inner.h"

#define FIND_MOST 1024 /* bytes of a token that fg_vocab_find() looks for */

bool fg_ids_add(struct fg_ids *ids, int32_t id)
{
    if (ids->len == ids->capacity) {
        const size_t capacity = ids->capacity ? ids->capacity * 2 : 64;
        int32_t *ptr = realloc(ids->ptr, capacity * sizeof *ptr);
        if (!ptr)
            return false;
        ids->ptr = ptr;
        ids->capacity = capacity;
    }
    ids->ptr[ids->len++] = id;
    return true;
}

void fg_ids_done(struct fg_ids *ids)
{
    free(ids->ptr);
    *ids = (struct fg_ids){0};
}

void fg_vocab_close(struct fg_vocab *v)
{
    if (!v)
        return;
    bpe_unload(v);
    fg_pre_close(v->pre);
    fg_specials_done(&v->specials);
    fg_index_done(&v->index);
    free(v->tokens);
    free(v->pool);
    free(v);
}

uint32_t fg_vocab_size(const struct fg_vocab *v)
{
    return v->count;
}

static const struct token *token_at(const struct fg_vocab *v, int32_t id)
{
    return id >= 0 && (uint32_t)id < v->count ? &v->tokens[id] : NULL;
}

struct fg_str fg_vocab_piece(const struct fg_vocab *v, int32_t id, bool special)
{
    const struct token *t = token_at(v, id);
    if (!t || (!special && (t->attr & ATTR_SPECIAL)))
        return FG_STR("");
    return (struct fg_str){v->pool + t->piece_at, t->piece_len};
}

bool fg_vocab_strips_first_blank(const struct fg_vocab *v)
{
    return v->adds_blank;
}

bool fg_vocab_ends(const struct fg_vocab *v, int32_t id)
{
    const struct token *t = token_at(v, id);
    return t && (t->attr & ATTR_END);
}

int32_t fg_vocab_bos(const struct fg_vocab *v)
{
    return v->bos;
}

int32_t fg_vocab_eos(const struct fg_vocab *v)
{
    return v->eos;
}

bool fg_vocab_adds_bos(const struct fg_vocab *v)
{
    return v->adds_bos;
}

/* A special token that is exactly this text. */
static int32_t special_find(const struct fg_vocab *v, struct fg_str text)
{
    struct fg_found *found = NULL;
    size_t count = 0;
    int32_t id = -1;
    const struct fg_span all = {0, (uint32_t)text.len};
    if (fg_specials_find(&v->specials, text, &all, 1, &found, &count) && count == 1 &&
        found->len == text.len)
        id = found->id;
    free(found);
    return id;
}

int32_t fg_vocab_find(const struct fg_vocab *v, struct fg_str text)
{
    char key[FIND_MOST * 3];
    size_t len = 0;
    if (text.len == 0 || text.len > FIND_MOST)
        return -1;
    const int32_t special = special_find(v, text);
    if (special >= 0 || v->kind == KIND_BYTES)
        return special >= 0 ? special : key_find(v, text);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == ' ') {
            memcpy(key + len, BLANK, 3);
            len += 3;
        } else {
            key[len++] = text.ptr[i];
        }
    }
    return key_find(v, (struct fg_str){key, len});
}
