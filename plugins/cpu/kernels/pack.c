/*
 * cpu/kernels/pack.c - blocks of a file into the group layout (group.h). Nothing is rounded:
 * quants and scales keep the file's bits and only change places.
 *
 * One function for each type takes one block of one row. It works on words of 4 weights at a time,
 * plain C that runs at some GB/s: a model is packed while its pages are still being read.
 */
#include "cpu/kernels/pack.h"

#include <string.h>

#include "engine/gguf/quant.h"

#define EACH(byte) (0x01010101u * (byte))

/* Where row `lane` of a group goes; `at` is the next record (or header). */
struct place {
    struct fg_group_traits t;
    uint8_t *at;
    uint32_t lane;
};

static uint32_t word(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static void put_word(const struct place *p, uint32_t vector, uint32_t v)
{
    memcpy(p->at + vector * 64 + p->lane * 4, &v, 4);
}

static void put_half(const struct place *p, size_t at, const uint8_t *from)
{
    memcpy(p->at + at + p->lane * 2, from, 2);
}

/* The bit of vector j's four weights; lanes come in order, two share a byte. */
static void put_bits(const struct place *p, uint32_t j, uint32_t four)
{
    uint8_t *byte = p->at + p->t.low * 64 + j * 8 + p->lane / 2;
    *byte = (uint8_t)(p->lane % 2 ? *byte | four << 4 : four);
}

/* Bit `bit` of 4 bytes, side by side: the product moves each of them to bit 24 and up. */
static uint32_t bits_of(uint32_t bytes, uint32_t bit)
{
    return (bytes >> bit & EACH(1)) * 0x01020408u >> 24 & 15;
}

static void next_record(struct place *p)
{
    p->at += fg_group_record(p->t);
}

/* Scale d (and min) of a block of 32, which stand at its beginning in all types. */
static const uint8_t *block_scales(const struct place *p, const uint8_t *b)
{
    size_t quants = fg_group_quants(p->t);
    put_half(p, quants, b);
    if (!p->t.mins)
        return b + 2;
    put_half(p, quants + 32, b + 2);
    return b + 4;
}

static void pack_nibbles(struct place *p, const uint8_t *b) /* Q4_0, Q4_1, IQ4_NL */
{
    b = block_scales(p, b);
    for (uint32_t j = 0; j < 4; j++)
        put_word(p, j, word(b + j * 4));
    next_record(p);
}

static void pack_mxfp4(struct place *p, const uint8_t *b)
{
    p->at[fg_group_quants(p->t) + p->lane] = b[0];
    for (uint32_t j = 0; j < 4; j++)
        put_word(p, j, word(b + 1 + j * 4));
    next_record(p);
}

static void pack_nibbles_bit(struct place *p, const uint8_t *b) /* Q5_0, Q5_1 */
{
    b = block_scales(p, b);
    uint32_t high = (uint32_t)(b[0] | b[1] << 8 | b[2] << 16) | (uint32_t)b[3] << 24;
    for (uint32_t j = 0; j < 8; j++)
        put_bits(p, j, high >> j * 4 & 15);
    for (uint32_t j = 0; j < 4; j++)
        put_word(p, j, word(b + 4 + j * 4));
    next_record(p);
}

static void pack_q8_0(struct place *p, const uint8_t *b)
{
    b = block_scales(p, b);
    for (uint32_t j = 0; j < 8; j++)
        put_word(p, j, word(b + j * 4) ^ EACH(0x80));
    next_record(p);
}

/* d (and dmin) of a block of 256. */
static void super_scales(struct place *p, const uint8_t *d, const uint8_t *dmin)
{
    put_half(p, 0, d);
    if (dmin)
        put_half(p, 32, dmin);
    p->at += fg_group_header(p->t);
}

static void put_small(const struct place *p, int which, uint8_t v)
{
    p->at[fg_group_quants(p->t) + (size_t)which * 16 + p->lane] = v;
}

/* Two bits of 32 bytes, from bit `shift`, as vectors `first` and first + 1. */
static void put_pairs(const struct place *p, uint32_t first, const uint8_t *b, uint32_t shift)
{
    for (uint32_t h = 0; h < 2; h++) {
        uint32_t v = 0;
        for (uint32_t s = 0; s < 4; s++)
            v |= (word(b + (h * 4 + s) * 4) >> shift & EACH(3)) << s * 2;
        put_word(p, first + h, v);
    }
}

/* Four bits of 32 bytes, from bit `shift`, as vectors 0 to 3. */
static void put_nibbles(const struct place *p, const uint8_t *b, uint32_t shift)
{
    for (uint32_t j = 0; j < 4; j++)
        put_word(p, j, (word(b + j * 4) >> shift & EACH(15)) |
                           (word(b + 16 + j * 4) >> shift & EACH(15)) << 4);
}

static void put_plane(const struct place *p, const uint8_t *b, uint32_t bit)
{
    for (uint32_t j = 0; j < 8; j++)
        put_bits(p, j, bits_of(word(b + j * 4), bit));
}

static void pack_q2_k(struct place *p, const uint8_t *b)
{
    super_scales(p, b + 80, b + 82);
    for (uint32_t r = 0; r < 8; r++, next_record(p)) {
        put_pairs(p, 0, b + 16 + r / 4 * 32, r % 4 * 2);
        put_small(p, 0, b[r * 2]);
        put_small(p, 1, b[r * 2 + 1]);
    }
}

/* 6 bits with 32 added: low 4 in 8 bytes, high 2 in 4 more. */
static uint8_t q3_scale(const uint8_t *sc, uint32_t i)
{
    uint32_t low = i < 8 ? sc[i] & 15u : sc[i - 8] >> 4;
    return (uint8_t)((low | (sc[8 + i % 4] >> i / 4 * 2 & 3u) << 4) - 32);
}

static void pack_q3_k(struct place *p, const uint8_t *b)
{
    super_scales(p, b + 108, NULL);
    for (uint32_t r = 0; r < 8; r++, next_record(p)) {
        put_pairs(p, 0, b + 32 + r / 4 * 32, r % 4 * 2);
        put_plane(p, b, r);
        put_small(p, 0, q3_scale(b + 96, r * 2));
        put_small(p, 1, q3_scale(b + 96, r * 2 + 1));
    }
}

/* The 6-bit scales and mins of Q4_K and Q5_K. */
static void put_q45_scales(const struct place *p, const uint8_t *sc, uint32_t r)
{
    if (r < 4) {
        put_small(p, 0, sc[r] & 63);
        put_small(p, 1, sc[r + 4] & 63);
    } else {
        put_small(p, 0, (uint8_t)((sc[r + 4] & 15) | sc[r - 4] >> 6 << 4));
        put_small(p, 1, (uint8_t)(sc[r + 4] >> 4 | sc[r] >> 6 << 4));
    }
}

static void pack_q4_k(struct place *p, const uint8_t *b)
{
    super_scales(p, b, b + 2);
    for (uint32_t r = 0; r < 8; r++, next_record(p)) {
        put_nibbles(p, b + 16 + r / 2 * 32, r % 2 * 4);
        put_q45_scales(p, b + 4, r);
    }
}

static void pack_q5_k(struct place *p, const uint8_t *b)
{
    super_scales(p, b, b + 2);
    for (uint32_t r = 0; r < 8; r++, next_record(p)) {
        put_nibbles(p, b + 48 + r / 2 * 32, r % 2 * 4);
        put_plane(p, b + 16, r);
        put_q45_scales(p, b + 4, r);
    }
}

static void pack_q6_k(struct place *p, const uint8_t *b)
{
    super_scales(p, b + 208, NULL);
    for (uint32_t r = 0; r < 8; r++, next_record(p)) {
        put_nibbles(p, b + r / 4 * 64 + r % 2 * 32, r % 4 / 2 * 4);
        put_pairs(p, 4, b + 128 + r / 4 * 32, r % 4 * 2);
        put_small(p, 0, b[192 + r * 2]);
        put_small(p, 1, b[192 + r * 2 + 1]);
    }
}

static void pack_iq4_xs(struct place *p, const uint8_t *b)
{
    super_scales(p, b, NULL);
    uint32_t high = (uint32_t)(b[2] | b[3] << 8);
    for (uint32_t r = 0; r < 8; r++, next_record(p)) {
        uint32_t low = b[4 + r / 2] >> r % 2 * 4 & 15u;
        for (uint32_t j = 0; j < 4; j++)
            put_word(p, j, word(b + 8 + r * 16 + j * 4));
        put_small(p, 0, (uint8_t)((low | (high >> r * 2 & 3) << 4) - 32));
    }
}

typedef void (*pack_fn)(struct place *, const uint8_t *block);
static const pack_fn packers[] = {
    [FG_Q4_0] = pack_nibbles,     [FG_Q4_1] = pack_nibbles,  [FG_IQ4_NL] = pack_nibbles,
    [FG_Q5_0] = pack_nibbles_bit, [FG_Q5_1] = pack_nibbles_bit, [FG_Q8_0] = pack_q8_0,
    [FG_Q2_K] = pack_q2_k,        [FG_Q3_K] = pack_q3_k,     [FG_Q4_K] = pack_q4_k,
    [FG_Q5_K] = pack_q5_k,        [FG_Q6_K] = pack_q6_k,     [FG_IQ4_XS] = pack_iq4_xs,
    [FG_MXFP4] = pack_mxfp4,
};

void fg_group_pack(const struct fg_matrix *w, struct fg_group_traits t, const uint8_t *rows,
                   uint32_t count, uint8_t *group)
{
    const struct fg_quant_info *info = fg_quant_info(w->type);
    const size_t row_bytes = fg_matrix_row_bytes(w);
    const pack_fn pack = packers[w->type];
    if (count < FG_GROUP_ROWS)
        memset(group, 0, fg_group_bytes(t, w->k));
    for (size_t b = 0; b < w->k / info->block; b++) {
        uint8_t *end = group;
        for (uint32_t lane = 0; lane < count; lane++) {
            struct place p = {.t = t, .at = group, .lane = lane};
            pack(&p, rows + lane * row_bytes + b * info->block_bytes);
            end = p.at;
        }
        group = end;
    }
}
