/*
 * cpu/kernels/group.c - the family of kernels over the group layout (group.h): sizes, one row back
 * to float, and which instruction set multiplies.
 */
#include "cpu/kernels/group.h"

#include "cpu/kernels/ops.h"
#include "cpu/kernels/pack.h"
#include "cpu/kernels/panel.h"
#include "engine/gguf/quant.h"

const uint8_t fg_group_tables[2][16] = {
    {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241},
    {128, 129, 130, 131, 132, 134, 136, 140, 128, 127, 126, 125, 124, 122, 120, 116},
};

static const struct fg_group_traits traits[] = {
    [FG_Q4_0] = FG_TRAITS_Q4_0, [FG_Q4_1] = FG_TRAITS_Q4_1,     [FG_Q5_0] = FG_TRAITS_Q5_0,
    [FG_Q5_1] = FG_TRAITS_Q5_1, [FG_Q8_0] = FG_TRAITS_Q8_0,     [FG_Q2_K] = FG_TRAITS_Q2_K,
    [FG_Q3_K] = FG_TRAITS_Q3_K, [FG_Q4_K] = FG_TRAITS_Q4_K,     [FG_Q5_K] = FG_TRAITS_Q5_K,
    [FG_Q6_K] = FG_TRAITS_Q6_K, [FG_IQ4_NL] = FG_TRAITS_IQ4_NL, [FG_IQ4_XS] = FG_TRAITS_IQ4_XS,
    [FG_MXFP4] = FG_TRAITS_MXFP4,
};

static uint16_t u16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
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

static size_t group_bytes(const struct fg_matrix *w)
{
    size_t groups = (w->n + FG_GROUP_ROWS - 1) / FG_GROUP_ROWS;
    return groups * fg_group_bytes(traits[w->type], w->k);
}

static void group_pack(const struct fg_matrix *w, const void *rows, uint32_t first, uint32_t last)
{
    size_t bytes = fg_group_bytes(traits[w->type], w->k), row_bytes = fg_matrix_row_bytes(w);
    for (uint32_t r = first; r < last; r += FG_GROUP_ROWS) {
        uint32_t count = last - r < FG_GROUP_ROWS ? last - r : FG_GROUP_ROWS;
        fg_group_pack(w, traits[w->type], (const uint8_t *)rows + (r - first) * row_bytes, count,
                      (uint8_t *)w->packed + r / FG_GROUP_ROWS * bytes);
    }
}

static float f16_of(const uint8_t *p, uint32_t lane)
{
    return fg_f16_to_f32(u16_at(p + (size_t)lane * 2));
}

/* 2^(e - 128); the two smallest are subnormal. */
static float power_of(uint8_t e)
{
    union { uint32_t u; float f; } v;
    v.u = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    return v.f;
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
            q = (t.table ? fg_group_tables[t.table - 1][q] : q) - t.offset;
            float scale = d, min = 0;
            if (t.exponent) {
                scale = power_of(sc[lane]);
            } else if (!t.super) {
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
