/*
 * cpu/kernels/vnni_core.h - the one loop behind all AVX-512 VNNI kernels. Private to vnni*.c.
 *
 * Everything is inlined with constant traits and a constant count of activation rows, so each
 * instance is a straight loop: unpack 8 vectors of weights once, use them for up to 8 rows.
 * Per record and row: 8 vpdpbusd, then sum += d_w * (d_a * dot) + m_w * (d_a * sum_a), where m_w is
 * the block's min or, for signed weights stored with an offset, -offset * d_w.
 */
#ifndef FG_CPU_VNNI_CORE_H
#define FG_CPU_VNNI_CORE_H

#include <immintrin.h>

#include "cpu/kernels/act.h"
#include "cpu/kernels/group.h"
#include "cpu/kernels/vnni.h"

#define VNNI   __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma,avx2")))
#define INLINE static inline __attribute__((always_inline))

#define AHEAD 4096 /* bytes; measured on Sapphire Rapids, 98 MB in huge pages */

VNNI INLINE void vnni_unpack(struct fg_group_traits t, const uint8_t *p, __m512i w[8])
{
    const __m512i nibble = _mm512_set1_epi8(15), pair = _mm512_set1_epi8(3);
    if (t.low == 8) {
        for (int j = 0; j < 8; j++)
            w[j] = _mm512_loadu_si512(p + j * 64);
    } else if (t.low == 4) {
        for (int j = 0; j < 4; j++) {
            __m512i v = _mm512_loadu_si512(p + j * 64);
            w[j] = _mm512_and_si512(v, nibble);
            w[j + 4] = _mm512_and_si512(_mm512_srli_epi16(v, 4), nibble);
        }
    } else {
        for (int j = 0; j < 8; j++) {
            __m512i v = _mm512_loadu_si512(p + j / 4 * 64);
            w[j] = _mm512_and_si512(_mm512_srli_epi16(v, j % 4 * 2), pair);
        }
    }
    if (t.table) {
        const __m512i values =
            _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)fg_group_table));
        for (int j = 0; j < 8; j++)
            w[j] = _mm512_shuffle_epi8(values, w[j]);
    }
    p += t.low * 64;
    if (t.high == 1) {
        const __m512i one = _mm512_set1_epi8((char)(1 << t.low));
        for (int j = 0; j < 8; j++) {
            __mmask64 bits = _load_mask64((__mmask64 *)(uintptr_t)(p + j * 8));
            w[j] = _mm512_mask_add_epi8(w[j], bits, w[j], one);
        }
    } else if (t.high == 2) {
        const __m512i two = _mm512_set1_epi8(48);
        for (int j = 0; j < 8; j++) {
            __m512i v = _mm512_loadu_si512(p + j / 4 * 64);
            int s = j % 4 * 2;
            v = s <= 4 ? _mm512_slli_epi16(v, 4 - s) : _mm512_srli_epi16(v, s - 4);
            w[j] = _mm512_or_si512(w[j], _mm512_and_si512(v, two));
        }
    }
}

VNNI INLINE __m512 vnni_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

VNNI INLINE __m512 vnni_u8(const uint8_t *p, bool is_signed)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm512_cvtepi32_ps(is_signed ? _mm512_cvtepi8_epi32(v) : _mm512_cvtepu8_epi32(v));
}

/* Scales d and mins m of the runs of a record; dd and mm are those of the header. */
VNNI INLINE void vnni_scales(struct fg_group_traits t, const uint8_t *p, __m512 dd, __m512 mm,
                             __m512 d[2], __m512 m[2])
{
    for (int r = 0; r < t.runs; r++) {
        if (!t.super) {
            d[r] = vnni_f16(p);
            if (t.mins)
                m[r] = vnni_f16(p + 32);
        } else if (t.joined) {
            __m512i v = _mm512_cvtepu8_epi32(
                _mm_loadu_si128((const __m128i *)(const void *)(p + r * 16)));
            __m512i low = _mm512_and_si512(v, _mm512_set1_epi32(15));
            d[r] = _mm512_mul_ps(dd, _mm512_cvtepi32_ps(low));
            m[r] = _mm512_mul_ps(mm, _mm512_cvtepi32_ps(_mm512_srli_epi32(v, 4)));
        } else {
            d[r] = _mm512_mul_ps(dd, vnni_u8(p + r * 16, true));
            if (t.mins)
                m[r] = _mm512_mul_ps(mm, vnni_u8(p + (t.runs + r) * 16, false));
        }
        if (!t.mins)
            m[r] = _mm512_mul_ps(d[r], _mm512_set1_ps((float)-t.offset));
    }
}

VNNI INLINE __m512i vnni_dot4(__m512i acc, const __m512i *w, const int8_t *q, int from)
{
    for (int j = from; j < from + 4; j++) {
        int32_t four;
        __builtin_memcpy(&four, q + j * 4, 4);
        acc = _mm512_dpbusd_epi32(acc, w[j], _mm512_set1_epi32(four));
    }
    return acc;
}

/* One group of 16 outputs by `rows` activation rows of one tile. */
VNNI INLINE void vnni_tile(struct fg_group_traits t, int rows, const uint8_t *p, const uint8_t *act,
                           uint32_t blocks, float *y, size_t stride, __mmask16 keep)
{
    __m512 sum[FG_ACT8_ROWS], dd = _mm512_setzero_ps(), mm = dd;
    const size_t record = fg_group_record(t), quants = fg_group_quants(t);
    for (int i = 0; i < rows; i++)
        sum[i] = _mm512_setzero_ps();
    for (uint32_t b = 0; b < blocks; b++, p += record, act += rows * (int)FG_ACT8_RECORD) {
        if (t.super && b % 8 == 0) {
            dd = vnni_f16(p);
            if (t.mins) /* the type takes them off */
                mm = _mm512_sub_ps(_mm512_setzero_ps(), vnni_f16(p + 32));
            p += fg_group_header(t);
        }
        if (rows <= 8)
            for (size_t at = 0; at < record; at += 64)
                _mm_prefetch((const char *)p + AHEAD + at, _MM_HINT_T0);
        __m512i w[8];
        __m512 d[2], m[2];
        vnni_unpack(t, p, w);
        vnni_scales(t, p + quants, dd, mm, d, m);
        const float *tail = (const float *)(const void *)(act + rows * 32);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const int8_t *q = (const int8_t *)act + i * 32;
            const __m512i zero = _mm512_setzero_si512();
            __m512i dot = vnni_dot4(zero, w, q, 0);
            __m512 scale = _mm512_set1_ps(tail[i]), v;
            if (t.runs == 1) {
                dot = vnni_dot4(dot, w, q, 4);
                v = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), d[0]);
                sum[i] = _mm512_fmadd_ps(m[0], _mm512_set1_ps(tail[3 * rows + i]), sum[i]);
            } else {
                __m512i dot2 = vnni_dot4(zero, w, q, 4);
                v = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), d[0]);
                v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot2), d[1], v);
                sum[i] = _mm512_fmadd_ps(m[0], _mm512_set1_ps(tail[rows + i]), sum[i]);
                sum[i] = _mm512_fmadd_ps(m[1], _mm512_set1_ps(tail[2 * rows + i]), sum[i]);
            }
            sum[i] = _mm512_fmadd_ps(v, scale, sum[i]);
        }
    }
    for (int i = 0; i < rows; i++)
        _mm512_mask_storeu_ps(y + (size_t)i * stride, keep, sum[i]);
}

VNNI INLINE void vnni_multiply(struct fg_group_traits t, const struct fg_matrix *w,
                               const void *act, uint32_t m, float *y, size_t stride,
                               uint32_t first, uint32_t last)
{
    const size_t bytes = fg_group_bytes(t, w->k);
    const uint32_t blocks = w->k / 32;
    for (uint32_t r = first; r < last; r += FG_GROUP_ROWS) {
        const uint8_t *p = (const uint8_t *)w->packed + r / FG_GROUP_ROWS * bytes;
        uint32_t left = last - r;
        __mmask16 keep = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
        const uint8_t *a = act;
        uint32_t i = 0;
        for (; m - i >= 8; i += 8, a += (size_t)8 * blocks * FG_ACT8_RECORD)
            vnni_tile(t, 8, p, a, blocks, y + (size_t)i * stride + r, stride, keep);
        float *out = y + (size_t)i * stride + r;
        switch (m - i) {
        case 1:
            vnni_tile(t, 1, p, a, blocks, out, stride, keep);
            break;
        case 2:
            vnni_tile(t, 2, p, a, blocks, out, stride, keep);
            break;
        case 3:
            vnni_tile(t, 3, p, a, blocks, out, stride, keep);
            break;
        case 4:
            vnni_tile(t, 4, p, a, blocks, out, stride, keep);
            break;
        case 5:
            vnni_tile(t, 5, p, a, blocks, out, stride, keep);
            break;
        case 6:
            vnni_tile(t, 6, p, a, blocks, out, stride, keep);
            break;
        case 7:
            vnni_tile(t, 7, p, a, blocks, out, stride, keep);
            break;
        default:
            break;
        }
    }
}

#define VNNI_KERNEL(name, ...)                                                                     \
    VNNI void name(const struct fg_matrix *w, const void *act, uint32_t m, float *y,               \
                   size_t y_stride, uint32_t first, uint32_t last)                                 \
    {                                                                                              \
        vnni_multiply((struct fg_group_traits)__VA_ARGS__, w, act, m, y, y_stride, first, last);   \
    }

#endif
