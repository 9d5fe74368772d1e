/*
 * engine/token/pre.h - pre-tokenizers of BPE vocabularies: which words a text falls into before
 * merging. Each is a published list of regular expressions, applied one after another: matches
 * and what lies between them go to the next. Read-only after open.
 */
#ifndef FG_ENGINE_TOKEN_PRE_H
#define FG_ENGINE_TOKEN_PRE_H

#include <stdbool.h>
#include <stddef.h>

#include <fluxgate/plugin.h>

struct fg_pre;
struct fg_pre_facts { /* what else the name of a pre-tokenizer says */
    bool ignores_merges, adds_bos, over_chars;
};

/* FG_UNSUPPORTED names a pre-tokenizer that is not known. */
int32_t fg_pre_open(struct fg_str name, struct fg_pre **, struct fg_pre_facts *, struct fg_error *);
void fg_pre_close(struct fg_pre *); /* NULL is fine */

/* Calls word(ctx, offset, length) for each word in order until it answers false. text must be
 * valid UTF-8. FG_OK also when word ended it. */
int32_t fg_pre_split(const struct fg_pre *, struct fg_str text,
                     bool (*word)(void *ctx, size_t at, size_t len), void *ctx, struct fg_error *);

#endif
