/*
 * engine/token/vocab.h - text to token ids and back.
 *
 * Built from a GGUF's tokenizer.ggml.* keys (BPE with a published pre-tokenizer expression, or
 * SPM). The vocabulary copies what it needs; read-only after open, so any thread may use it (each
 * encode call brings its own scratch).
 */
#ifndef FG_ENGINE_VOCAB_H
#define FG_ENGINE_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/gguf/gguf.h"

struct fg_vocab;

struct fg_ids { /* growable; zero-initialise; the caller frees ptr */
    int32_t *ptr;
    size_t len, capacity;
};
bool fg_ids_add(struct fg_ids *, int32_t id);
void fg_ids_done(struct fg_ids *);

/* A piece of a prompt. Specials are recognised only inside a piece that allows them, so what a
 * user wrote never becomes one; but words are split and merged over the joined text, as if the
 * pieces were one string. */
struct fg_piece {
    struct fg_str text;
    bool special;
};

/* FG_UNSUPPORTED names the tokenizer model or pre-tokenizer that is not known. */
int32_t fg_vocab_open(const struct fg_gguf *, struct fg_vocab **, struct fg_error *);
void fg_vocab_close(struct fg_vocab *);

uint32_t fg_vocab_size(const struct fg_vocab *);
/* Appends ids to out. bos: add what the model wants in front (and EOS behind where its metadata
 * says so). Fails with FG_TOO_LONG as soon as more than max_ids would be needed (0: no limit),
 * FG_INVALID on invalid UTF-8 (pieces must be valid), FG_NO_MEMORY. Time is O(n log n) in the
 * length of the text, whatever it holds. */
int32_t fg_vocab_encode(const struct fg_vocab *, const struct fg_piece *pieces, size_t count,
                        bool bos, size_t max_ids, struct fg_ids *out, struct fg_error *);
/* The bytes of one token, borrowed until close; may be part of a character. special: control
 * tokens give their text, else nothing. An id outside the vocabulary gives nothing. first: the
 * first token of a text (SPM drops the blank it put in front). */
struct fg_str fg_vocab_piece(const struct fg_vocab *, int32_t id, bool special);
bool fg_vocab_strips_first_blank(const struct fg_vocab *);
bool fg_vocab_ends(const struct fg_vocab *, int32_t id); /* end of generation: EOS, EOT, ... */
int32_t fg_vocab_bos(const struct fg_vocab *); /* -1: none; likewise below */
int32_t fg_vocab_eos(const struct fg_vocab *);
bool fg_vocab_adds_bos(const struct fg_vocab *);
/* -1 when text is no single token of the vocabulary. */
int32_t fg_vocab_find(const struct fg_vocab *, struct fg_str text);

#endif
