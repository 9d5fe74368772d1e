/*
 * engine/sample/sampler.h - from logits to one token id.
 *
 * Order of the chain: logit bias, penalties (repeat, frequency, presence over the last
 * repeat_last_n tokens), then top-k, typical, top-p, min-p, temperature, draw. Temperature 0 takes
 * the largest. The same seed, logits and history give the same token on every machine. One owner
 * thread.
 */
#ifndef FG_ENGINE_SAMPLER_H
#define FG_ENGINE_SAMPLER_H

#include <stdbool.h>

#include <fluxgate/plugin.h>

struct fg_sampler;

/* defaults: the model's (every field valid); asked: the client's, NULL for none. The sampler
 * copies what it needs. */
int32_t fg_sampler_open(const struct fg_sampling *defaults, const struct fg_sampling *asked,
                        uint32_t vocab_size, struct fg_sampler **, struct fg_error *);
void fg_sampler_close(struct fg_sampler *);
/* A token that is now part of the text (prompt or output): history of the penalties. */
void fg_sampler_accept(struct fg_sampler *, int32_t token);
/* A copy with its own random stream (choice > 0 of n answers). */
int32_t fg_sampler_fork(const struct fg_sampler *, uint32_t choice, struct fg_sampler **);

struct fg_sampled {
    int32_t token;
    float logprob;      /* natural log of the whole softmax before bias, penalties and sampling */
    const struct fg_logprob *top; /* top_count best first, bytes empty; valid until the next call */
    uint32_t top_count;
};
/* logits[vocab_size] is used as scratch. forbid: -1 or a token that may not be drawn (EOS when it
 * is to be ignored), more by bias. top: alternatives wanted; logprob is computed only when
 * want_logprob. FG_INTERNAL when the logits are not finite. Does not call accept. */
int32_t fg_sampler_draw(struct fg_sampler *, float *logits, bool want_logprob, uint32_t top,
                        struct fg_sampled *out, struct fg_error *);
/* Sets the logit of these tokens to -inf before everything else, for this sampler's life. */
int32_t fg_sampler_forbid(struct fg_sampler *, const int32_t *tokens, size_t count);

#endif
