/*
 * cpu/kernels/group.c - packing into the group layout and one row back out of it. See group.h.
 *
 * A block of the file is first split into plain numbers (struct split), the same for all types;
 * from there one loop writes records. Nothing is rounded: scales keep the file's bits.
 */
#include "cpu/kernels/group.h"

#include <string.h>

#include "cpu/kernels/act.h"
#include "cpu/kernels/ops.h"
#include "cpu/kernels/panel.h"
#include "engine/gguf/quant.h"

const uint8_t fg_group_table[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                    129, 141, 153, 166, 181, 197, 217, 241};

static const struct fg_group_traits traits[] = {
    [FG_Q4_0] = FG_TRAITS_Q4_0, [FG_Q4_1] = FG_TRAITS_Q4_1,     [FG_Q5_0] = FG_TRAITS_Q5_0,
    [FG_Q5_1] = FG_TRAITS_Q5_1, [FG_Q8_0] = FG_TRAITS_Q8_0,     [FG_Q2_K] = FG_TRAITS_Q2_K,
    [FG_Q3_K] = FG_TRAITS_Q3_K, [FG_Q4_K] = FG_TRAITS_Q4_K,     [FG_Q5_K] = FG_TRAITS_Q5_K,
    [FG_Q6_K] = FG_TRAITS_Q6_K, [FG_IQ4_NL] = FG_TRAITS_IQ4_NL, [FG_IQ4_XS] = FG_TRAITS_IQ4_XS,
};

struct split {
    uint8_t q[256];   /* stored numbers, offset not taken off; table types: the index */
    uint16_t d, m;    /* bits of f16 */
    int8_t scale[16]; /* by runs of the type */
    uint8_t min[16];
};

static uint16_t u16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void split_small(int32_t type, const uint8_t *b, struct split *s)
{
    bool mins = traits[type].mins, high = traits[type].high != 0;
    s->d = u16_at(b);
    b += 2;
    if (mins) {
        s->m = u16_at(b);
        b += 2;
    }
    if (type == FG_Q8_0) {
        for (int i = 0; i < 32; i++)
            s->q[i] = b[i] ^ 0x80;
        return;
    }
    const uint8_t *plane = b;
    b += high ? 4 : 0;
    for (int i = 0; i < 32; i++) {
        int q = b[i % 16] >> (i / 16 * 4) & 15;
        if (high)
            q |= (plane[i / 8] >> i % 8 & 1) << 4;
        s->q[i] = (uint8_t)q;
    }
}

static void split_q2_k(const uint8_t *b, struct split *s)
{
    s->d = u16_at(b + 80);
    s->m = u16_at(b + 82);
    for (int i = 0; i < 16; i++) {
        s->scale[i] = (int8_t)(b[i] & 15);
        s->min[i] = b[i] >> 4;
    }
    for (int i = 0; i < 256; i++)
        s->q[i] = b[16 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

static void split_q3_k(const uint8_t *b, struct split *s)
{
    const uint8_t *sc = b + 96;
    s->d = u16_at(b + 108);
    for (int i = 0; i < 16; i++) {
        int low = i < 8 ? sc[i] & 15 : sc[i - 8] >> 4;
        s->scale[i] = (int8_t)((low | (sc[8 + i % 4] >> (i / 4 * 2) & 3) << 4) - 32);
    }
    for (int i = 0; i < 256; i++) {
        int low = b[32 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        s->q[i] = (uint8_t)(low | (b[i % 32] >> i / 32 & 1) << 2);
    }
}

static void split_q45_k(bool five, const uint8_t *b, struct split *s)
{
    const uint8_t *sc = b + 4, *high = b + 16, *low = five ? b + 48 : b + 16;
    s->d = u16_at(b);
    s->m = u16_at(b + 2);
    for (int i = 0; i < 8; i++) {
        s->scale[i] = (int8_t)(i < 4 ? sc[i] & 63 : (sc[i + 4] & 15) | (sc[i - 4] >> 6) << 4);
        s->min[i] = (uint8_t)(i < 4 ? sc[i + 4] & 63 : (sc[i + 4] >> 4) | (sc[i] >> 6) << 4);
    }
    for (int i = 0; i < 256; i++) {
        int q = low[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
        if (five)
            q |= (high[i % 32] >> i / 32 & 1) << 4;
        s->q[i] = (uint8_t)q;
    }
}

static void split_q6_k(const uint8_t *b, struct split *s)
{
    s->d = u16_at(b + 208);
    memcpy(s->scale, b + 192, 16);
    for (int i = 0; i < 256; i++) {
        int quarter = i % 128 / 32;
        int low = b[i / 128 * 64 + quarter % 2 * 32 + i % 32] >> (quarter / 2 * 4) & 15;
        int high = b[128 + i / 128 * 32 + i % 32] >> (quarter * 2) & 3;
        s->q[i] = (uint8_t)(low | high << 4);
    }
}

static void split_iq4_xs(const uint8_t *b, struct split *s)
{
    s->d = u16_at(b);
    uint32_t high = u16_at(b + 2);
    for (int i = 0; i < 8; i++) {
        int low = b[4 + i / 2] >> (i % 2 * 4) & 15;
        s->scale[i] = (int8_t)((low | (int)(high >> i * 2 & 3) << 4) - 32);
    }
    for (int i = 0; i < 256; i++)
        s->q[i] = b[8 + i / 32 * 16 + i % 16] >> (i % 32 / 16 * 4) & 15;
}

static void split_block(int32_t type, const uint8_t *b, struct split *s)
{
    switch (type) {
    case FG_Q2_K:
        split_q2_k(b, s);
        return;
    case FG_Q3_K:
        split_q3_k(b, s);
        return;
    case FG_Q4_K:
    case FG_Q5_K:
        split_q45_k(type == FG_Q5_K, b, s);
        return;
    case FG_Q6_K:
        split_q6_k(b, s);
        return;
    case FG_IQ4_XS:
        split_iq4_xs(b, s);
        return;
    default:
        split_small(type, b, s);
    }
}

/* Writes 32 numbers of row `lane` into a cleared record. */
static void put_quants(struct fg_group_traits t, uint8_t *rec, uint32_t lane, const uint8_t *q)
{
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t j = i / 4, at = lane * 4 + i % 4;
        unsigned low = q[i] & ((1u << t.low) - 1), high = q[i] >> t.low;
        if (t.low == 8)
            rec[j * 64 + at] = q[i];
        else if (t.low == 4)
            rec[j % 4 * 64 + at] |= (uint8_t)(low << j / 4 * 4);
        else
            rec[j / 4 * 64 + at] |= (uint8_t)(low << j % 4 * 2);
        uint8_t *plane = rec + t.low * 64;
        if (t.high == 1)
            plane[j * 8 + at / 8] |= (uint8_t)(high << at % 8);
        else if (t.high == 2)
            plane[j / 4 * 64 + at] |= (uint8_t)(high << j % 4 * 2);
    }
}

static uint8_t get_quant(struct fg_group_traits t, const uint8_t *rec, uint32_t lane, uint32_t i)
{
    uint32_t j = i / 4, at = lane * 4 + i % 4;
    unsigned q;
    if (t.low == 8)
        q = rec[j * 64 + at];
    else if (t.low == 4)
        q = rec[j % 4 * 64 + at] >> j / 4 * 4 & 15;
    else
        q = rec[j / 4 * 64 + at] >> j % 4 * 2 & 3;
    const uint8_t *plane = rec + t.low * 64;
    if (t.high == 1)
        q |= (plane[j * 8 + at / 8] >> at % 8 & 1u) << t.low;
    else if (t.high == 2)
        q |= (plane[j / 4 * 64 + at] >> j % 4 * 2 & 3u) << t.low;
    return (uint8_t)q;
}

static void put_u16(uint8_t *p, uint32_t lane, uint16_t v)
{
    p[lane * 2] = (uint8_t)v;
    p[lane * 2 + 1] = (uint8_t)(v >> 8);
}

static void put_small_scales(struct fg_group_traits t, uint8_t *p, uint32_t lane,
                             const struct split *s, uint32_t block)
{
    uint32_t runs = (uint32_t)t.runs;
    for (uint32_t r = 0; r < runs; r++) {
        uint32_t from = block * runs + r;
        if (t.joined) {
            p[r * 16 + lane] = (uint8_t)(s->scale[from] | s->min[from] << 4);
            continue;
        }
        p[r * 16 + lane] = (uint8_t)s->scale[from];
        if (t.mins)
            p[(runs + r) * 16 + lane] = s->min[from];
    }
}

static void pack_row(const struct fg_matrix *w, const uint8_t *row, uint8_t *group, uint32_t lane)
{
    struct fg_group_traits t = traits[w->type];
    const struct fg_quant_info *info = fg_quant_info(w->type);
    size_t record = fg_group_record(t), quants = fg_group_quants(t);
    struct split s;

    for (uint32_t at = 0; at < w->k; at += info->block, row += info->block_bytes) {
        split_block(w->type, row, &s);
        if (t.super) {
            put_u16(group, lane, s.d);
            if (t.mins)
                put_u16(group + 32, lane, s.m);
            group += fg_group_header(t);
        }
        for (uint32_t b = 0; b < info->block / 32; b++, group += record) {
            put_quants(t, group, lane, s.q + (size_t)b * 32);
            if (t.super) {
                put_small_scales(t, group + quants, lane, &s, b);
                continue;
            }
            put_u16(group + quants, lane, s.d);
            if (t.mins)
                put_u16(group + quants + 32, lane, s.m);
        }
    }
}

static size_t group_bytes(const struct fg_matrix *w)
{
    size_t groups = (w->n + FG_GROUP_ROWS - 1) / FG_GROUP_ROWS;
    return groups * fg_group_bytes(traits[w->type], w->k);
}

static void group_pack(const struct fg_matrix *w, const void *rows, uint32_t first, uint32_t last)
{
    size_t bytes = fg_group_bytes(traits[w->type], w->k), row_bytes = fg_matrix_row_bytes(w);
    for (uint32_t r = first; r < last; r++) {
        uint8_t *group = (uint8_t *)w->packed + r / FG_GROUP_ROWS * bytes;
        if (r % FG_GROUP_ROWS == 0)
            memset(group, 0, bytes);
        pack_row(w, (const uint8_t *)rows + (r - first) * row_bytes, group, r % FG_GROUP_ROWS);
    }
}

static float f16_of(const uint8_t *p, uint32_t lane)
{
    return fg_f16_to_f32(u16_at(p + (size_t)lane * 2));
}

/* The products are formed as fg_dequantize forms them: equal to the bit. */
static void group_row(const struct fg_matrix *w, uint32_t row, float *out)
{
    struct fg_group_traits t = traits[w->type];
    uint32_t lane = row % FG_GROUP_ROWS, runs = (uint32_t)t.runs;
    size_t record = fg_group_record(t), quants = fg_group_quants(t);
    const uint8_t *p =
        (const uint8_t *)w->packed + row / FG_GROUP_ROWS * fg_group_bytes(t, w->k);
    float d = 0, m = 0;

    for (uint32_t at = 0; at < w->k; at += 32, p += record) {
        if (t.super && at % 256 == 0) {
            d = f16_of(p, lane);
            m = t.mins ? f16_of(p + 32, lane) : 0;
            p += fg_group_header(t);
        }
        const uint8_t *sc = p + quants;
        for (uint32_t i = 0; i < 32; i++) {
            uint32_t run = i / (32 / runs);
            int q = get_quant(t, p, lane, i);
            q = (t.table ? fg_group_table[q] : q) - t.offset;
            float scale = d, min = 0;
            if (!t.super) {
                scale = f16_of(sc, lane);
                min = t.mins ? f16_of(sc + 32, lane) : 0;
            } else if (t.joined) {
                scale = d * (float)(sc[run * 16 + lane] & 15);
                min = m * (float)(sc[run * 16 + lane] >> 4);
            } else {
                scale = d * (float)(int8_t)sc[run * 16 + lane];
                min = t.mins ? m * (float)sc[(runs + run) * 16 + lane] : 0;
            }
            float v = scale * (float)q;
            out[at + i] = !t.mins ? v : t.super ? v - min : v + min;
        }
    }
}

#if defined(__x86_64__)
static const struct fg_group_kernel *kernel_of(int32_t type, enum fg_isa isa)
{
    const bool super = traits[type].super;
    const struct fg_group_kernel *k;
    if (isa >= FG_ISA_AVX512_VNNI)
        k = super ? fg_vnni_super : fg_vnni_block;
    else if (isa == FG_ISA_AVX_VNNI)
        k = super ? fg_avxvnni_super : fg_avxvnni_block;
    else
        k = super ? fg_avx2_super : fg_avx2_block;
    return k + type;
}

static void group_multiply(const struct fg_matrix *w, const void *act, const struct fg_product *p)
{
    fg_group_multiply(w, traits[w->type], kernel_of(w->type, w->isa), act, p);
}

static const struct fg_kernel_ops group_ops = {
    .act_kind = FG_ACT_INT8,
    .tile = 2 * FG_GROUP_ROWS, /* panels are of two groups */
    .packed_bytes = group_bytes,
    .pack = group_pack,
    .row = group_row,
    .multiply = group_multiply,
};

const struct fg_kernel_ops *fg_ops_group(int32_t type, enum fg_isa isa)
{
    bool laid_out = (size_t)type < sizeof(traits) / sizeof(traits[0]) && traits[type].low;
    return laid_out && isa >= FG_ISA_AVX2 ? &group_ops : NULL;
}
#else
const struct fg_kernel_ops *fg_ops_group(int32_t type, enum fg_isa isa)
{
    (void)type, (void)isa;
    (void)group_bytes, (void)group_pack, (void)group_row;
    return NULL;
}
#endif
