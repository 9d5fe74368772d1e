/*
 * engine/sched/text.h - from tokens to the text that may be sent: whole characters, whole tokens,
 * nothing of a stop string.
 *
 * Bytes wait here while they may still become something else: an incomplete character, or the
 * start of a stop string. What is taken ends at a token's end, so that the ids (and their
 * log-probabilities) that go with a piece of text are exactly the ones that made it. One owner.
 */
#ifndef FG_ENGINE_TEXT_H
#define FG_ENGINE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

#include "util/str.h"

struct fg_text_token {
    int32_t id;
    size_t end; /* of its bytes in `held` */
    float logprob;
    struct fg_logprob *top; /* owned; NULL: none */
    uint32_t top_count;
};
struct fg_text {                /* zero-initialise, then fg_text_init() */
    const struct fg_str *stops; /* borrowed; empty ones are ignored */
    uint32_t stop_count;
    bool failed;  /* memory was gone: text is missing */
    bool over;    /* no more tokens come: nothing is held back any longer */
    bool stopped; /* a stop string was found; `stop` says which */
    struct fg_str stop;
    size_t cut;                   /* where in `held` the text ends, when stopped */
    struct fg_buf held;           /* raw bytes not taken yet */
    struct fg_text_token *tokens; /* those whose end is in `held` */
    size_t token_count, token_room;
    /* what the last take gave */
    struct fg_buf text;
    int32_t *ids;
    struct fg_logprob *logprobs;
    size_t given, given_room;
};
struct fg_text_part { /* borrowed until the next call */
    struct fg_str text;
    const int32_t *ids;
    const struct fg_logprob *logprobs; /* bytes are empty: the caller knows the vocabulary */
    uint32_t count;
};

void fg_text_init(struct fg_text *, const struct fg_str *stops, uint32_t stop_count);
void fg_text_done(struct fg_text *);
/* A token with its bytes. top is given (malloc), also on failure. false: out of memory. */
bool fg_text_push(struct fg_text *, int32_t id, struct fg_str bytes, float logprob,
                  struct fg_logprob *top, uint32_t top_count);
/* What may be sent now; false: nothing new, or `failed`. */
bool fg_text_take(struct fg_text *, struct fg_text_part *out);
/* Bytes to text: invalid ones become U+FFFD. Appends; false: out of memory. Also for whole texts
 * (final: an incomplete character at the end is invalid too). Returns in *used how much was read.
 */
bool fg_text_clean(struct fg_str raw, bool final, struct fg_buf *out, size_t *used);

#endif
