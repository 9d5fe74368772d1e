/*
 * Tiny random networks as GGUF files in memory, and a plain reference of what they compute.
 *
 * The reference is written from the published descriptions of the architectures, in double, one
 * token at a time over the whole sequence, and shares no code with the engine.
 */
#ifndef FG_TEST_TINY_H
#define FG_TEST_TINY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tiny_shape {
    bool gemma;
    uint32_t layers, width, heads, kv_heads, head_dim, ff, vocab;
    uint32_t window, period; /* 0: none */
    uint32_t rope_dims;      /* 0: head_dim */
    float rope_base, rope_base_window, rope_factor;
    bool yarn, factors; /* factors: a rope_freqs tensor */
    bool biases, output, attention_scale;
    float attention_softcap, final_softcap;
    int32_t type; /* of matrices: FG_F32 or FG_Q8_0 */
    uint64_t seed;
};

/* One thing wrong with the file. */
struct tiny_fault {
    const char *drop;   /* a tensor or key that is left out */
    const char *reshape; /* a tensor whose rows are one more */
    const char *retype;  /* a tensor that is written as I8 */
    const char *extra;   /* a tensor that nobody knows */
    const char *key;     /* an integer key that gets `value`; as float when `real` */
    uint32_t value;
    bool real;
    float number;
    const char *text; /* general.architecture */
    uint32_t poison;  /* this row of token_embd, but 0, is not a number */
};

struct tiny {
    struct tiny_shape shape;
    uint8_t *file;
    size_t bytes;
    struct tiny_tensor {
        char name[64];
        uint64_t row, rows;
        float *values; /* what the file's bits mean */
    } *tensors;
    size_t count;
};

void tiny_make(struct tiny *, const struct tiny_shape *, const struct tiny_fault *);
void tiny_free(struct tiny *);
/* logits[count][vocab] and hidden[count][width] (NULL: not wanted) of one sequence. */
void tiny_reference(const struct tiny *, const int32_t *tokens, uint32_t count, double *logits,
                    double *hidden);

#endif
