/*
 * engine/gguf/quant.c - the type table and the reference that turns blocks back to float.
 *
 * Block layouts are those of the file format (ggml). Every product is formed in the order that
 * ggml uses, so that results are equal to the bit. Blocks are read bytewise: a tensor of a hostile
 * file may start at any address.
 */
#include "quant.h"

#include <string.h>

#define SUPER 256 /* weights in a block of the K types */

static const struct fg_quant_info types[] = {
    [FG_F32] = {"F32", 1, 4, true},
    [FG_F16] = {"F16", 1, 2, true},
    [FG_Q4_0] = {"Q4_0", 32, 18, true},
    [FG_Q4_1] = {"Q4_1", 32, 20, true},
    [FG_Q5_0] = {"Q5_0", 32, 22, true},
    [FG_Q5_1] = {"Q5_1", 32, 24, true},
    [FG_Q8_0] = {"Q8_0", 32, 34, true},
    [FG_Q8_1] = {"Q8_1", 32, 36, false},
    [FG_Q2_K] = {"Q2_K", SUPER, 84, true},
    [FG_Q3_K] = {"Q3_K", SUPER, 110, true},
    [FG_Q4_K] = {"Q4_K", SUPER, 144, true},
    [FG_Q5_K] = {"Q5_K", SUPER, 176, true},
    [FG_Q6_K] = {"Q6_K", SUPER, 210, true},
    [FG_Q8_K] = {"Q8_K", SUPER, 292, false},
    [16] = {"IQ2_XXS", SUPER, 66, false},
    [17] = {"IQ2_XS", SUPER, 74, false},
    [18] = {"IQ3_XXS", SUPER, 98, false},
    [19] = {"IQ1_S", SUPER, 50, false},
    [FG_IQ4_NL] = {"IQ4_NL", 32, 18, true},
    [21] = {"IQ3_S", SUPER, 110, false},
    [22] = {"IQ2_S", SUPER, 82, false},
    [FG_IQ4_XS] = {"IQ4_XS", SUPER, 136, true},
    [FG_I8] = {"I8", 1, 1, false},
    [FG_I16] = {"I16", 1, 2, false},
    [FG_I32] = {"I32", 1, 4, false},
    [FG_I64] = {"I64", 1, 8, false},
    [FG_F64] = {"F64", 1, 8, false},
    [29] = {"IQ1_M", SUPER, 56, false},
    [FG_BF16] = {"BF16", 1, 2, true},
    [34] = {"TQ1_0", SUPER, 54, false},
    [35] = {"TQ2_0", SUPER, 66, false},
    [FG_MXFP4] = {"MXFP4", 32, 17, true},
    [40] = {"NVFP4", 64, 36, false},
};

static const char *const file_types[] = {
    [0] = "F32",      [1] = "F16",      [2] = "Q4_0",     [3] = "Q4_1",    [7] = "Q8_0",
    [8] = "Q5_0",     [9] = "Q5_1",     [10] = "Q2_K",    [11] = "Q3_K_S", [12] = "Q3_K_M",
    [13] = "Q3_K_L",  [14] = "Q4_K_S",  [15] = "Q4_K_M",  [16] = "Q5_K_S", [17] = "Q5_K_M",
    [18] = "Q6_K",    [19] = "IQ2_XXS", [20] = "IQ2_XS",  [21] = "Q2_K_S", [22] = "IQ3_XS",
    [23] = "IQ3_XXS", [24] = "IQ1_S",   [25] = "IQ4_NL",  [26] = "IQ3_S",  [27] = "IQ3_M",
    [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS",  [31] = "IQ1_M",  [32] = "BF16",
    [36] = "TQ1_0",   [37] = "TQ2_0",   [38] = "MXFP4",   [39] = "NVFP4",
};

/* The 16 values of the non-linear 4-bit types, and the doubled values of e2m1. */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

const struct fg_quant_info *fg_quant_info(int32_t type)
{
    if (type < 0 || (size_t)type >= sizeof(types) / sizeof(types[0]) || !types[type].name)
        return NULL;
    return &types[type];
}

const char *fg_quant_file_type_name(uint32_t file_type)
{
    file_type &= ~1024u; /* a flag of the format: the type was guessed */
    if (file_type >= sizeof(file_types) / sizeof(file_types[0]))
        return NULL;
    return file_types[file_type];
}

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

float fg_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 31u;
    uint32_t fraction = h & 1023u;

    if (exponent == 31) /* a NaN becomes quiet, as the instruction makes it */
        return float_of(sign | 0x7f800000u | (fraction ? 0x400000u : 0) | fraction << 13);
    if (exponent == 0) { /* subnormal: fraction * 2^-24 is exact */
        float f = (float)fraction * 0x1p-24f;
        return sign ? -f : f;
    }
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t fg_f32_to_f16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t mag = bits & 0x7fffffffu;

    if (mag > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (mag >> 13 & 0x3ffu));
    if (mag >= 0x477ff000u) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    uint32_t half, rest, tie;
    if (mag < 0x38800000u) { /* below 2^-14: subnormal */
        uint32_t shift = 126 - (mag >> 23);
        if (shift > 24)
            return (uint16_t)sign;
        uint32_t full = (mag & 0x7fffffu) | 0x800000u;
        half = full >> shift;
        rest = full & ((1u << shift) - 1);
        tie = 1u << (shift - 1);
    } else {
        half = (mag - 0x38000000u) >> 13;
        rest = mag & 0x1fffu;
        tie = 0x1000u;
    }
    if (rest > tie || (rest == tie && (half & 1)))
        half++;
    return (uint16_t)(sign | half);
}

static uint16_t u16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static float f16_at(const uint8_t *p)
{
    return fg_f16_to_f32(u16_at(p));
}

/* Each function below turns one block into `block` floats. */

static void one_f32(const uint8_t *b, float *y)
{
    y[0] = float_of(u32_at(b));
}

static void one_f16(const uint8_t *b, float *y)
{
    y[0] = f16_at(b);
}

static void one_bf16(const uint8_t *b, float *y)
{
    y[0] = fg_bf16_to_f32(u16_at(b));
}

static void one_q4_0(const uint8_t *b, float *y)
{
    float d = f16_at(b);
    for (int i = 0; i < 16; i++) {
        y[i] = (float)((b[2 + i] & 15) - 8) * d;
        y[i + 16] = (float)((b[2 + i] >> 4) - 8) * d;
    }
}

static void one_q4_1(const uint8_t *b, float *y)
{
    float d = f16_at(b), m = f16_at(b + 2);
    for (int i = 0; i < 16; i++) {
        y[i] = (float)(b[4 + i] & 15) * d + m;
        y[i + 16] = (float)(b[4 + i] >> 4) * d + m;
    }
}

static void one_q5_0(const uint8_t *b, float *y)
{
    float d = f16_at(b);
    uint32_t high = u32_at(b + 2);
    for (int i = 0; i < 16; i++) {
        int lo = (b[6 + i] & 15) | (int)(high >> i & 1) << 4;
        int hi = (b[6 + i] >> 4) | (int)(high >> (i + 16) & 1) << 4;
        y[i] = (float)(lo - 16) * d;
        y[i + 16] = (float)(hi - 16) * d;
    }
}

static void one_q5_1(const uint8_t *b, float *y)
{
    float d = f16_at(b), m = f16_at(b + 2);
    uint32_t high = u32_at(b + 4);
    for (int i = 0; i < 16; i++) {
        int lo = (b[8 + i] & 15) | (int)(high >> i & 1) << 4;
        int hi = (b[8 + i] >> 4) | (int)(high >> (i + 16) & 1) << 4;
        y[i] = (float)lo * d + m;
        y[i + 16] = (float)hi * d + m;
    }
}

static void one_q8_0(const uint8_t *b, float *y)
{
    float d = f16_at(b);
    for (int i = 0; i < 32; i++)
        y[i] = (float)(int8_t)b[2 + i] * d;
}

static void one_iq4_nl(const uint8_t *b, float *y)
{
    float d = f16_at(b);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)iq4_values[b[2 + i] & 15];
        y[i + 16] = d * (float)iq4_values[b[2 + i] >> 4];
    }
}

static void one_mxfp4(const uint8_t *b, float *y)
{
    /* half of 2^(e - 127), because the table holds doubled values; the two smallest are subnormal */
    float d = float_of(b[0] < 2 ? 0x00200000u << b[0] : (uint32_t)(b[0] - 1) << 23);
    for (int i = 0; i < 16; i++) {
        y[i] = (float)fp4_values[b[1 + i] & 15] * d;
        y[i + 16] = (float)fp4_values[b[1 + i] >> 4] * d;
    }
}

/* 16 runs of 16: scales[16] (scale | min << 4), qs[64], d, dmin */
static void one_q2_k(const uint8_t *b, float *y)
{
    const uint8_t *qs = b + 16;
    float d = f16_at(b + 80), dmin = f16_at(b + 82);
    for (int run = 0; run < 16; run++) {
        float scale = d * (float)(b[run] & 15), min = dmin * (float)(b[run] >> 4);
        const uint8_t *q = qs + run / 8 * 32 + run % 2 * 16;
        int shift = run % 8 / 2 * 2;
        for (int i = 0; i < 16; i++)
            *y++ = scale * (float)(q[i] >> shift & 3) - min;
    }
}

/* 16 runs of 16: hmask[32], qs[64], scales[12] (6 bits each, offset 32), d */
static void one_q3_k(const uint8_t *b, float *y)
{
    const uint8_t *qs = b + 32, *sc = b + 96;
    float d = f16_at(b + 108);
    for (int run = 0; run < 16; run++) {
        int low = run < 8 ? sc[run] & 15 : sc[run - 8] >> 4;
        int high = sc[8 + run % 4] >> (run / 4 * 2) & 3;
        float scale = d * (float)((low | high << 4) - 32);
        const uint8_t *q = qs + run / 8 * 32 + run % 2 * 16, *h = b + run % 2 * 16;
        int shift = run % 8 / 2 * 2, bit = run / 2;
        for (int i = 0; i < 16; i++)
            *y++ = scale * (float)((q[i] >> shift & 3) - (h[i] >> bit & 1 ? 0 : 4));
    }
}

/* The 6-bit scale and min of run i of 8, out of the 12 bytes of Q4_K and Q5_K. */
static void scale_min(const uint8_t *s, int i, int *scale, int *min)
{
    if (i < 4) {
        *scale = s[i] & 63;
        *min = s[i + 4] & 63;
    } else {
        *scale = (s[i + 4] & 15) | (s[i - 4] >> 6) << 4;
        *min = (s[i + 4] >> 4) | (s[i] >> 6) << 4;
    }
}

/* 8 runs of 32: d, dmin, scales[12], qs[128] */
static void one_q4_k(const uint8_t *b, float *y)
{
    float d = f16_at(b), dmin = f16_at(b + 2);
    for (int run = 0; run < 8; run++) {
        int s, m;
        scale_min(b + 4, run, &s, &m);
        float scale = d * (float)s, min = dmin * (float)m;
        const uint8_t *q = b + 16 + run / 2 * 32;
        for (int i = 0; i < 32; i++)
            *y++ = scale * (float)(q[i] >> run % 2 * 4 & 15) - min;
    }
}

/* 8 runs of 32: d, dmin, scales[12], qh[32], qs[128] */
static void one_q5_k(const uint8_t *b, float *y)
{
    float d = f16_at(b), dmin = f16_at(b + 2);
    for (int run = 0; run < 8; run++) {
        int s, m;
        scale_min(b + 4, run, &s, &m);
        float scale = d * (float)s, min = dmin * (float)m;
        const uint8_t *h = b + 16, *q = b + 48 + run / 2 * 32;
        for (int i = 0; i < 32; i++)
            *y++ = scale * (float)((q[i] >> run % 2 * 4 & 15) + (h[i] >> run & 1) * 16) - min;
    }
}

/* 16 runs of 16: ql[128], qh[64], scales[16] (signed), d */
static void one_q6_k(const uint8_t *b, float *y)
{
    float d = f16_at(b + 208);
    for (int run = 0; run < 16; run++) {
        float scale = d * (float)(int8_t)b[192 + run];
        int quarter = run % 8 / 2; /* which 32 of the 128 */
        const uint8_t *l = b + run / 8 * 64 + quarter % 2 * 32 + run % 2 * 16;
        const uint8_t *h = b + 128 + run / 8 * 32 + run % 2 * 16;
        for (int i = 0; i < 16; i++)
            *y++ = scale * (float)(((l[i] >> quarter / 2 * 4 & 15) |
                                    (h[i] >> quarter * 2 & 3) << 4) - 32);
    }
}

/* 8 runs of 32: d, scales_h, scales_l[4], qs[128] */
static void one_iq4_xs(const uint8_t *b, float *y)
{
    float d = f16_at(b);
    uint32_t high = u16_at(b + 2);
    for (int run = 0; run < 8; run++) {
        int s = (b[4 + run / 2] >> run % 2 * 4 & 15) | (int)(high >> run * 2 & 3) << 4;
        float scale = d * (float)(s - 32);
        const uint8_t *q = b + 8 + run * 16;
        for (int i = 0; i < 16; i++) {
            y[i] = scale * (float)iq4_values[q[i] & 15];
            y[i + 16] = scale * (float)iq4_values[q[i] >> 4];
        }
        y += 32;
    }
}

void fg_dequantize(int32_t type, const void *blocks, float *out, size_t count)
{
    static void (*const one[])(const uint8_t *, float *) = {
        [FG_F32] = one_f32,       [FG_F16] = one_f16,       [FG_BF16] = one_bf16,
        [FG_Q4_0] = one_q4_0,     [FG_Q4_1] = one_q4_1,     [FG_Q5_0] = one_q5_0,
        [FG_Q5_1] = one_q5_1,     [FG_Q8_0] = one_q8_0,     [FG_Q2_K] = one_q2_k,
        [FG_Q3_K] = one_q3_k,     [FG_Q4_K] = one_q4_k,     [FG_Q5_K] = one_q5_k,
        [FG_Q6_K] = one_q6_k,     [FG_IQ4_NL] = one_iq4_nl, [FG_IQ4_XS] = one_iq4_xs,
        [FG_MXFP4] = one_mxfp4,
    };
    const struct fg_quant_info *info = fg_quant_info(type);
    const uint8_t *b = blocks;
    if (!info || !info->computes)
        return;
    for (size_t i = 0; i + info->block <= count; i += info->block, b += info->block_bytes)
        one[type](b, out + i);
}
