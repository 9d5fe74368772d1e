/*
 * Vocabularies of a few hundred tokens, one of each kind, as GGUF files in memory: for the tests
 * of token/ and for its fuzz target.
 */
#ifndef FG_TESTS_SMALL_VOCAB_H
#define FG_TESTS_SMALL_VOCAB_H

#include "gguf_build.h"

enum small_kind { SMALL_BYTES = 0, SMALL_CHARS = 1, SMALL_SPM = 2, SMALL_KINDS = 3 };

/* Ids that every kind has; what follows differs. */
enum {
    SMALL_UNK = 0,
    SMALL_BOS = 1,
    SMALL_EOS = 2,
    SMALL_START = 3,
    SMALL_END = 4,
    SMALL_THINK = 5,
    SMALL_BYTE = 6 /* and 255 more */
};

/* "<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>" (control), "<think>" (user-defined), 256
 * bytes, then letters, pairs of a and of blanks, and words. The caller calls build_done(). */
struct fg_str small_vocab(struct build *, int32_t kind);
/* The letter of a byte in GPT-2's alphabet, terminated. */
void small_letter(uint32_t byte, char out[5]);

#endif
