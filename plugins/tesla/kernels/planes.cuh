/*
 * tesla/kernels/planes.cuh - from planes (layout.h) to numbers, and from the file's blocks to planes.
 *
 * fetch() issues the loads of one block, expand_*() turns them into what the arithmetic of the
 * family multiplies with, scales() gives factor and addend of each half of 16:
 *     weight = factor * (stored - offset) + addend
 */
#ifndef FG_TESLA_PLANES_CUH
#define FG_TESLA_PLANES_CUH

#include "tesla/kernels/common.cuh"

template <int TYPE> struct quant;
#define X(type, lo_, hi_, table_, offset_, scale_)                                                 \
    template <> struct quant<type> {                                                               \
        static constexpr int table = table_;                                                       \
        static constexpr bool wide = FG_TESLA_FLOAT && table_ != FG_TABLE_NONE;                    \
        static constexpr int lo = wide ? 8 : lo_, hi = hi_, scale = scale_;                        \
        /* float families store 8 bits with 128 added */                                           \
        static constexpr int offset = FG_TESLA_FLOAT && lo == 8 ? 128 : offset_;                   \
        static constexpr bool halves = scale_ == FG_SCALE_K16 || scale_ == FG_SCALE_K16M;          \
        static constexpr bool mins =                                                               \
            scale_ == FG_SCALE_DM || scale_ == FG_SCALE_K32M || scale_ == FG_SCALE_K16M;           \
        static constexpr bool super = scale_ >= FG_SCALE_K32;                                      \
        /* bytes are signed as they come out of expand_bytes */                                    \
        static constexpr bool is_signed = (lo_ == 8 || table_ != FG_TABLE_NONE);                   \
    };
FG_TESLA_QUANTS(X)
#undef X

template <int TYPE> struct raw {
    uint32_t lo[quant<TYPE>::lo], hi[quant<TYPE>::hi ? quant<TYPE>::hi : 1];
    uint32_t sub, super;
};

template <int TYPE> FG_INLINE void fetch(const fg_tesla_matrix &m, size_t block, raw<TYPE> &r)
{
    typedef quant<TYPE> Q;
    if (Q::lo == 2) {
        const uint2 v = __ldg((const uint2 *)m.lo + block);
        r.lo[0] = v.x, r.lo[1] = v.y;
    } else {
#pragma unroll
        for (int i = 0; i < Q::lo / 4; i++) {
            const uint4 v = __ldg((const uint4 *)m.lo + block * (Q::lo / 4) + i);
            r.lo[4 * i] = v.x, r.lo[4 * i + 1] = v.y, r.lo[4 * i + 2] = v.z, r.lo[4 * i + 3] = v.w;
        }
    }
    if (Q::hi == 1) {
        r.hi[0] = __ldg((const uint32_t *)m.hi + block);
    } else if (Q::hi == 2) {
        const uint2 v = __ldg((const uint2 *)m.hi + block);
        r.hi[0] = v.x, r.hi[Q::hi == 2 ? 1 : 0] = v.y;
    }
    switch (Q::scale) {
    case FG_SCALE_D:
    case FG_SCALE_K32M:
    case FG_SCALE_K16:
        r.sub = __ldg((const uint16_t *)m.sub + block);
        break;
    case FG_SCALE_DM:
    case FG_SCALE_K16M:
        r.sub = __ldg((const uint32_t *)m.sub + block);
        break;
    default:
        r.sub = __ldg((const uint8_t *)m.sub + block);
        break;
    }
    if (Q::super)
        r.super = __ldg((const uint32_t *)m.super + block / 8);
}

FG_INLINE float half_bits(uint32_t v)
{
    return __half2float(__ushort_as_half((uint16_t)v));
}

template <int TYPE> FG_INLINE void scales(const raw<TYPE> &r, float factor[2], float addend[2])
{
    const uint32_t s = r.sub;
    addend[0] = addend[1] = 0;
    switch (quant<TYPE>::scale) {
    case FG_SCALE_D:
        factor[0] = half_bits(s);
        break;
    case FG_SCALE_DM:
        factor[0] = half_bits(s & 0xffff);
        addend[0] = half_bits(s >> 16);
        break;
    case FG_SCALE_E8: /* the table holds doubled values; the two smallest are subnormal */
        factor[0] = __uint_as_float(s < 2 ? 0x00200000u << s : (s - 1) << 23);
        break;
    case FG_SCALE_K32:
        factor[0] = half_bits(r.super & 0xffff) * (float)(int8_t)s;
        break;
    case FG_SCALE_K32M:
        factor[0] = half_bits(r.super & 0xffff) * (float)(s & 0xff);
        addend[0] = -half_bits(r.super >> 16) * (float)(s >> 8 & 0xff);
        break;
    case FG_SCALE_K16:
        factor[0] = half_bits(r.super & 0xffff) * (float)(int8_t)(s & 0xff);
        factor[1] = half_bits(r.super & 0xffff) * (float)(int8_t)(s >> 8 & 0xff);
        return;
    case FG_SCALE_K16M:
        factor[0] = half_bits(r.super & 0xffff) * (float)(s & 0xff);
        factor[1] = half_bits(r.super & 0xffff) * (float)(s >> 8 & 0xff);
        addend[0] = -half_bits(r.super >> 16) * (float)(s >> 16 & 0xff);
        addend[1] = -half_bits(r.super >> 16) * (float)(s >> 24);
        return;
    }
    factor[1] = factor[0];
    addend[1] = addend[0];
}

#if !FG_TESLA_FLOAT
/* Four table values for the low 16 bits of `index`: two permutes by the low three bits, one that
 * picks by the fourth. */
FG_INLINE uint32_t lookup4(int table, uint32_t index)
{
    const uint32_t low = index & 0x7777u, pick = 0x3210u | (index >> 1 & 0x4444u);
    const uint32_t a = table == FG_TABLE_IQ4 ? __byte_perm(0xbfad9881u, 0xf6eaddcfu, low)
                                             : __byte_perm(0x03020100u, 0x0c080604u, low);
    const uint32_t b = table == FG_TABLE_IQ4 ? __byte_perm(0x26190d01u, 0x71594535u, low)
                                             : __byte_perm(0xfdfeff00u, 0xf4f8fafcu, low);
    return __byte_perm(a, b, pick);
}

/* Stored numbers as bytes: w[i] holds weights 4i .. 4i+3. */
template <int TYPE> FG_INLINE void expand_bytes(const raw<TYPE> &r, uint32_t w[8])
{
    typedef quant<TYPE> Q;
    if (Q::lo == 8) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            w[i] = r.lo[i % Q::lo];
        return;
    }
    if (Q::table != FG_TABLE_NONE) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const uint32_t v = r.lo[j % Q::lo];
            w[2 * j] = lookup4(Q::table, v & 0xffff);
            w[2 * j + 1] = lookup4(Q::table, v >> 16);
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (Q::lo == 4) {
            w[i] = r.lo[i % Q::lo] & 0x0f0f0f0fu;
            w[i + 4] = r.lo[i % Q::lo] >> 4 & 0x0f0f0f0fu;
        } else {
            w[i] = r.lo[0] >> 2 * i & 0x03030303u;
            w[i + 4] = r.lo[1 % Q::lo] >> 2 * i & 0x03030303u;
        }
        if (Q::hi == 1) {
            w[i] |= (r.hi[0] >> i & 0x01010101u) << Q::lo;
            w[i + 4] |= (r.hi[0] >> (i + 4) & 0x01010101u) << Q::lo;
        } else if (Q::hi == 2) {
            w[i] |= (r.hi[0] >> 2 * i & 0x03030303u) << Q::lo;
            w[i + 4] |= (r.hi[Q::hi == 2 ? 1 : 0] >> 2 * i & 0x03030303u) << Q::lo;
        }
    }
}
#else
/* Word j of a plane of `bits` with its fields where those of a 4-bit plane are: weight 8j+i at
 * bit 4i. */
template <int BITS> FG_INLINE uint32_t plane_word(const uint32_t *p, int j)
{
    return BITS == 4 ? p[j] : BITS == 2 ? p[j / 2] >> 2 * (j % 2) : p[0] >> j;
}
/* Field i as the float stored * 2^(place - 149), a subnormal; the activations carry the rest
 * (place_of): no conversion is ever needed. Five fields lie low enough, three are shifted. */
FG_INLINE float field(uint32_t w, uint32_t mask, int i)
{
    return i < 5 ? __uint_as_float(w & mask << 4 * i)
                 : __uint_as_float(w >> 12 & mask << (4 * i - 12));
}
#endif

/* Stored numbers (offset not taken off) as floats, in order. */
template <int TYPE> FG_INLINE void stored(const raw<TYPE> &r, float v[32])
{
    typedef quant<TYPE> Q;
#if !FG_TESLA_FLOAT
    uint32_t w[8];
    expand_bytes<TYPE>(r, w);
#pragma unroll
    for (int k = 0; k < 32; k++) {
        const uint32_t byte = w[k / 4] >> 8 * (k % 4) & 0xff;
        v[k] = Q::is_signed ? (float)(int8_t)byte : (float)byte;
    }
#else
    constexpr int low = Q::lo == 8 ? 4 : Q::lo, high = Q::lo == 8 ? 4 : Q::hi;
    const uint32_t *top = Q::lo == 8 ? r.lo + 4 % Q::lo : r.hi;
#pragma unroll
    for (int k = 0; k < 32; k++) {
        uint32_t n = plane_word<low>(r.lo, k / 8) >> 4 * (k % 8) & ((1u << low) - 1);
        if (high)
            n |= (plane_word<high ? high : 1>(top, k / 8) >> 4 * (k % 8) & ((1u << high) - 1)) << low;
        v[k] = (float)n;
    }
#endif
}

template <int TYPE> FG_INLINE void values(const raw<TYPE> &r, float v[32])
{
    float factor[2], addend[2];
    scales<TYPE>(r, factor, addend);
    stored<TYPE>(r, v);
#pragma unroll
    for (int k = 0; k < 32; k++)
        v[k] = factor[k / 16] * (v[k] - (float)quant<TYPE>::offset) + addend[k / 16];
}

/* ---- from the file --------------------------------------------------------------------------- */

FG_INLINE uint32_t u16_of(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8;
}
FG_INLINE void k_scale_min(const uint8_t *s, int i, uint32_t *scale, uint32_t *min)
{
    if (i < 4) {
        *scale = s[i] & 63;
        *min = s[i + 4] & 63;
    } else {
        *scale = (s[i + 4] & 15) | (s[i - 4] >> 6) << 4;
        *min = (s[i + 4] >> 4) | (s[i] >> 6) << 4;
    }
}
/* "Nibbles below, then nibbles above", the order of the types with blocks of 32. */
FG_INLINE uint32_t split(const uint8_t *q, int k)
{
    return k < 16 ? q[k] & 15 : q[k - 16] >> 4;
}

/* Run `run` (32 weights) of a block of the file: the stored numbers q, and sub and super as the
 * planes hold them. Layouts as in gguf/quant.c. */
template <int TYPE>
FG_INLINE void read_block(const uint8_t *b, int run, uint32_t q[32], uint32_t *sub, uint32_t *super)
{
    *super = 0;
    if (TYPE == 2 || TYPE == 20) { /* Q4_0, IQ4_NL */
        *sub = u16_of(b);
        for (int k = 0; k < 32; k++)
            q[k] = split(b + 2, k);
    } else if (TYPE == 3) {
        *sub = u16_of(b) | u16_of(b + 2) << 16;
        for (int k = 0; k < 32; k++)
            q[k] = split(b + 4, k);
    } else if (TYPE == 6 || TYPE == 7) { /* Q5_0, Q5_1 */
        const int at = TYPE == 6 ? 2 : 4;
        *sub = TYPE == 6 ? u16_of(b) : u16_of(b) | u16_of(b + 2) << 16;
        const uint32_t high = u16_of(b + at) | u16_of(b + at + 2) << 16;
        for (int k = 0; k < 32; k++)
            q[k] = split(b + at + 4, k) | (high >> k & 1) << 4;
    } else if (TYPE == 8) {
        *sub = u16_of(b);
        for (int k = 0; k < 32; k++)
            q[k] = b[2 + k];
    } else if (TYPE == 39) {
        *sub = b[0];
        for (int k = 0; k < 32; k++)
            q[k] = split(b + 1, k);
    } else if (TYPE == 10) { /* Q2_K */
        const uint32_t s0 = b[2 * run], s1 = b[2 * run + 1];
        *sub = (s0 & 15) | (s1 & 15) << 8 | (s0 >> 4) << 16 | (s1 >> 4) << 24;
        *super = u16_of(b + 80) | u16_of(b + 82) << 16;
        for (int k = 0; k < 32; k++)
            q[k] = b[16 + run / 4 * 32 + k] >> run % 4 * 2 & 3;
    } else if (TYPE == 11) { /* Q3_K */
        uint32_t s[2];
        for (int i = 0; i < 2; i++) {
            const int r = 2 * run + i;
            const uint32_t low = r < 8 ? b[96 + r] & 15 : b[96 + r - 8] >> 4;
            const uint32_t high = b[96 + 8 + r % 4] >> (r / 4 * 2) & 3;
            s[i] = (uint32_t)(uint8_t)(int8_t)((int)(low | high << 4) - 32);
        }
        *sub = s[0] | s[1] << 8;
        *super = u16_of(b + 108);
        for (int k = 0; k < 32; k++)
            q[k] = (b[32 + run / 4 * 32 + k] >> run % 4 * 2 & 3) | (b[k] >> run & 1) << 2;
    } else if (TYPE == 12 || TYPE == 13) { /* Q4_K, Q5_K */
        uint32_t s, m;
        k_scale_min(b + 4, run, &s, &m);
        *sub = s | m << 8;
        *super = u16_of(b) | u16_of(b + 2) << 16;
        const uint8_t *ql = b + (TYPE == 12 ? 16 : 48) + run / 2 * 32;
        for (int k = 0; k < 32; k++) {
            q[k] = ql[k] >> run % 2 * 4 & 15;
            if (TYPE == 13)
                q[k] |= (b[16 + k] >> run & 1) << 4;
        }
    } else if (TYPE == 14) { /* Q6_K */
        *sub = b[192 + 2 * run] | (uint32_t)b[192 + 2 * run + 1] << 8;
        *super = u16_of(b + 208);
        const int quarter = run % 4;
        const uint8_t *l = b + run / 4 * 64 + quarter % 2 * 32, *h = b + 128 + run / 4 * 32;
        for (int k = 0; k < 32; k++)
            q[k] = (l[k] >> quarter / 2 * 4 & 15) | (h[k] >> quarter * 2 & 3) << 4;
    } else { /* IQ4_XS */
        const uint32_t s = (b[4 + run / 2] >> run % 2 * 4 & 15) | (u16_of(b + 2) >> run * 2 & 3) << 4;
        *sub = (uint32_t)(uint8_t)(int8_t)((int)s - 32);
        *super = u16_of(b);
        for (int k = 0; k < 32; k++)
            q[k] = split(b + 8 + run * 16, k);
    }
}

/* Where weight k's `bits` go in a plane of `words` words a block. */
template <int BITS, bool NATURAL> FG_INLINE void place(uint32_t *w, int k, uint32_t v)
{
#if FG_TESLA_FLOAT
    const int j = k / 8, i = k % 8;
    if (BITS == 4)
        w[j] |= v << 4 * i;
    else if (BITS == 2)
        w[j / 2] |= v << (4 * i + 2 * (j % 2));
    else
        w[0] |= v << (4 * i + j);
#else
    const int half = k / 16, b = k % 4, word = k % 16 / 4;
    if (BITS == 8)
        w[k / 4] |= v << 8 * b;
    else if (BITS == 4 && NATURAL)
        w[k / 8] |= v << 4 * (k % 8);
    else if (BITS == 4)
        w[word] |= v << (8 * b + 4 * half);
    else if (BITS == 2)
        w[half] |= v << (8 * b + 2 * word);
    else
        w[0] |= v << (8 * b + 4 * half + word);
#endif
}

template <int TYPE>
__global__ void repack_kernel(fg_tesla_matrix to, const uint8_t *blocks, uint32_t block_bytes,
                              uint32_t runs, size_t first, size_t count)
{
    typedef quant<TYPE> Q;
    const size_t at = (size_t)blockIdx.x * blockDim.x + threadIdx.x; /* runs of 32 */
    if (at >= count)
        return;
    uint32_t q[32], sub, super;
    read_block<TYPE>(blocks + at / runs * block_bytes, (int)(at % runs), q, &sub, &super);
    uint32_t lo[8] = {0}, hi[2] = {0};
#if FG_TESLA_FLOAT
    const int8_t iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    const int8_t fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
#endif
#pragma unroll
    for (int k = 0; k < 32; k++) {
        uint32_t v = q[k];
#if FG_TESLA_FLOAT
        if (Q::table != FG_TABLE_NONE)
            v = (uint32_t)(uint8_t)(Q::table == FG_TABLE_IQ4 ? iq4[v] : fp4[v]);
        if (Q::lo == 8) {
            v ^= 128;
            place<4, false>(lo, k, v & 15);
            place<4, false>(lo + 4, k, v >> 4);
            continue;
        }
#endif
        place<Q::lo, Q::table != FG_TABLE_NONE>(lo, k, v & ((1u << Q::lo) - 1));
        if (Q::hi)
            place<Q::hi ? Q::hi : 1, false>(hi, k, v >> Q::lo);
    }
    const size_t b = first + at;
    uint32_t *out = (uint32_t *)to.lo + b * Q::lo;
#pragma unroll
    for (int i = 0; i < Q::lo; i++)
        out[i] = lo[i];
#pragma unroll
    for (int i = 0; i < Q::hi; i++)
        ((uint32_t *)to.hi)[b * Q::hi + i] = hi[i];
    if (Q::scale == FG_SCALE_DM || Q::scale == FG_SCALE_K16M)
        ((uint32_t *)to.sub)[b] = sub;
    else if (Q::scale == FG_SCALE_E8 || Q::scale == FG_SCALE_K32)
        ((uint8_t *)to.sub)[b] = (uint8_t)sub;
    else
        ((uint16_t *)to.sub)[b] = (uint16_t)sub;
    if (Q::super && b % 8 == 0)
        ((uint32_t *)to.super)[b / 8] = super;
}

#endif
