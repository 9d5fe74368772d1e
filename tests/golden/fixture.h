/*
 * A model file of the cache on the cpu device, and one sequence on it: what the tests of real
 * models share.
 */
#ifndef FG_TEST_FIXTURE_H
#define FG_TEST_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/net.h"

struct fixture {
    struct fg_gguf *gguf;
    struct fg_dev *dev;
    struct fg_net *net;
    uint32_t *table; /* pages of the one sequence, in order */
    uint32_t vocab, max_rows;
};

/* Path of a file in a folder of the cache, in room; false when it is not there. */
bool fixture_find(const char *folder, const char *file, char *room, size_t bytes);
/* exact: float activations and KV. context: positions that the sequence may have. */
void fixture_open(struct fixture *, const char *path, bool exact, uint32_t context);
void fixture_close(struct fixture *);
/* Positions [at, at + count) of the sequence; logits of the rows from `want_from` on, [row][vocab];
 * count may be more than a step takes. */
void fixture_run(struct fixture *, const int32_t *tokens, uint32_t at, uint32_t count,
                 uint32_t want_from, float *logits);
/* Natural logarithm of the whole softmax at one token. */
double fixture_logprob(const float *logits, uint32_t vocab, int32_t token);

#endif
