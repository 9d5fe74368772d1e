/*
 * cpu/kernels/vnni_core.h - AVX-512 VNNI products of one weight type. Private to vnni*.c.
 *
 * `direct` and `fill` of panel.h; everything is inlined with constant traits and, in `direct`, a
 * constant count of rows. The panels are multiplied by vnni_panel.c, which knows no types.
 */
#ifndef FG_CPU_VNNI_CORE_H
#define FG_CPU_VNNI_CORE_H

#include <immintrin.h>

#include "cpu/kernels/act.h"
#include "cpu/kernels/group.h"
#include "cpu/kernels/vnni.h"

#define VNNI   __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma,avx2")))
#define INLINE static inline __attribute__((always_inline))

VNNI INLINE __m512i vnni_four(const uint8_t *p)
{
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return _mm512_set1_epi32(four);
}

/* Weights w[4h .. 4h+3] of a record as unsigned bytes, the offset not taken off. */
VNNI INLINE void vnni_unpack(struct fg_group_traits t, const uint8_t *p, int h, __m512i w[4])
{
    const __m512i nibble = _mm512_set1_epi8(15), pair = _mm512_set1_epi8(3);
    for (int j = 0; j < 4; j++) {
        if (t.low == 8)
            w[j] = _mm512_loadu_si512(p + (4 * h + j) * 64);
        else if (t.low == 4)
            w[j] = _mm512_and_si512(_mm512_srli_epi16(_mm512_loadu_si512(p + j * 64), 4 * h), nibble);
        else
            w[j] = _mm512_and_si512(_mm512_srli_epi16(_mm512_loadu_si512(p + h * 64), 2 * j), pair);
    }
    if (t.table) {
        const __m512i values =
            _mm512_broadcast_i32x4(_mm_loadu_si128(
                (const __m128i *)(const void *)fg_group_tables[t.table - 1]));
        for (int j = 0; j < 4; j++)
            w[j] = _mm512_shuffle_epi8(values, w[j]);
    }
    p += t.low * 64;
    if (t.high == 1) {
        const __m512i one = _mm512_set1_epi8((char)(1 << t.low));
        for (int j = 0; j < 4; j++) {
            __mmask64 bits = _load_mask64((__mmask64 *)(uintptr_t)(p + (4 * h + j) * 8));
            w[j] = _mm512_mask_add_epi8(w[j], bits, w[j], one);
        }
    } else if (t.high == 2) {
        const __m512i two = _mm512_set1_epi8(48), v = _mm512_loadu_si512(p + h * 64);
        w[0] = _mm512_or_si512(w[0], _mm512_and_si512(_mm512_slli_epi16(v, 4), two));
        w[1] = _mm512_or_si512(w[1], _mm512_and_si512(_mm512_slli_epi16(v, 2), two));
        w[2] = _mm512_or_si512(w[2], _mm512_and_si512(v, two));
        w[3] = _mm512_or_si512(w[3], _mm512_and_si512(_mm512_srli_epi16(v, 2), two));
    }
}

/* Puts 128 in the place of the type's offset, as activations' integer sums expect. */
VNNI INLINE void vnni_centre(struct fg_group_traits t, __m512i w[4])
{
    if (!t.mins && t.offset != 128)
        for (int j = 0; j < 4; j++)
            w[j] = _mm512_add_epi8(w[j], _mm512_set1_epi8((char)(128 - t.offset)));
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

/* Scale d and, for types with mins, min m of run r of a record; dd and mm are the header's. */
VNNI INLINE void vnni_scales(struct fg_group_traits t, const uint8_t *p, int r, __m512 dd,
                             __m512 mm, __m512 *d, __m512 *m)
{
    if (t.exponent) { /* 2^(e - 128), or 0 for the two smallest */
        __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
        e = _mm512_sub_epi32(_mm512_max_epi32(e, _mm512_set1_epi32(1)), _mm512_set1_epi32(1));
        *d = _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
    } else if (!t.super) {
        *d = vnni_f16(p);
        if (t.mins)
            *m = vnni_f16(p + 32);
    } else if (t.joined) {
        __m512i v =
            _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p + r * 16)));
        *d = _mm512_mul_ps(dd, _mm512_cvtepi32_ps(_mm512_and_si512(v, _mm512_set1_epi32(15))));
        *m = _mm512_mul_ps(mm, _mm512_cvtepi32_ps(_mm512_srli_epi32(v, 4)));
    } else {
        *d = _mm512_mul_ps(dd, vnni_u8(p + r * 16, true));
        if (t.mins)
            *m = _mm512_mul_ps(mm, vnni_u8(p + (t.runs + r) * 16, false));
    }
}

/* Reads the header if record b has one; returns where the record begins. */
VNNI INLINE const uint8_t *vnni_header(struct fg_group_traits t, const uint8_t *p, uint32_t b,
                                       __m512 *dd, __m512 *mm)
{
    if (!t.super || b % 8 != 0)
        return p;
    *dd = vnni_f16(p);
    if (t.mins) /* the type takes them off */
        *mm = _mm512_sub_ps(_mm512_setzero_ps(), vnni_f16(p + 32));
    return p + fg_group_header(t);
}

/* acc[i] += w by values 16h .. 16h+15 of row i of `count`. From 5 rows on, loads are the limit
 * (each broadcast is one), so the second half loads 4 words at once and shuffles; that was 20 to
 * 40 % faster on Zen 5 for one run a record, weights in the cache; Intel is not measured. */
VNNI INLINE void vnni_dots(int rows, int count, int h, const __m512i w[4], const uint8_t *q,
                           __m512i acc[8])
{
    if (rows >= 5 && h == 1) {
#pragma GCC unroll 8
        for (int i = 0; i < count; i++) {
            const __m512i four = _mm512_broadcast_i32x4(
                _mm_loadu_si128((const __m128i *)(const void *)(q + i * 32 + 16)));
            acc[i] = _mm512_dpbusd_epi32(acc[i], w[0], _mm512_shuffle_epi32(four, 0x00));
            acc[i] = _mm512_dpbusd_epi32(acc[i], w[1], _mm512_shuffle_epi32(four, 0x55));
            acc[i] = _mm512_dpbusd_epi32(acc[i], w[2], _mm512_shuffle_epi32(four, 0xaa));
            acc[i] = _mm512_dpbusd_epi32(acc[i], w[3], _mm512_shuffle_epi32(four, 0xff));
        }
        return;
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
#pragma GCC unroll 8
        for (int i = 0; i < count; i++)
            acc[i] = _mm512_dpbusd_epi32(acc[i], w[j], vnni_four(q + i * 32 + (4 * h + j) * 4));
}

/* Run r of a record by rows [first, first + count) of a tile of `rows`. The offset of signed weights
 * comes off for each row, or, from 3 rows on, is made 128 with an addition to each vector: then the
 * integer sum starts at minus (act.h). */
VNNI INLINE void vnni_run(struct fg_group_traits t, int rows, int first, int count, int r,
                          const uint8_t *p, const uint8_t *act, __m512 d, __m512 m, __m512 *v,
                          __m512 *sum)
{
    const float *tail = (const float *)(const void *)(act + rows * 32) + first;
    const float *all = tail + (t.runs == 1 ? FG_ACT8_ALL : FG_ACT8_LOW + r) * rows;
    const int32_t *minus = (const int32_t *)(const void *)tail +
                           (t.runs == 1 ? FG_ACT8_MINUS_ALL : FG_ACT8_MINUS_LOW + r) * rows;
    const bool centre = !t.mins && (t.offset == 128 || rows >= 3);
    __m512i acc[8], w[4];
    for (int i = 0; i < count; i++)
        acc[i] = centre ? _mm512_set1_epi32(minus[i]) : _mm512_setzero_si512();
    vnni_unpack(t, p, r, w);
    if (centre)
        vnni_centre(t, w);
    vnni_dots(rows, count, r, w, act + first * 32, acc);
    if (t.runs == 1) {
        vnni_unpack(t, p, 1, w);
        if (centre)
            vnni_centre(t, w);
        vnni_dots(rows, count, 1, w, act + first * 32, acc);
    }
    if (!t.mins)
        m = _mm512_mul_ps(d, _mm512_set1_ps((float)-t.offset));
    for (int i = 0; i < count; i++) {
        __m512 dot = _mm512_cvtepi32_ps(acc[i]);
        v[i] = r == 0 ? _mm512_mul_ps(dot, d) : _mm512_fmadd_ps(dot, d, v[i]);
        if (!centre)
            sum[i] = _mm512_fmadd_ps(m, _mm512_set1_ps(all[i]), sum[i]);
    }
}

/* A record by rows [first, first + count). */
VNNI INLINE void vnni_record(struct fg_group_traits t, int rows, int first, int count,
                             const uint8_t *p, const uint8_t *act, __m512 dd, __m512 mm,
                             __m512 *sum)
{
    const float *scale = (const float *)(const void *)(act + rows * 32) + FG_ACT8_D * rows + first;
    __m512 v[8], d = dd, m = mm;
#pragma GCC unroll 2
    for (int r = 0; r < t.runs; r++) {
        vnni_scales(t, p + fg_group_quants(t), r, dd, mm, &d, &m);
        vnni_run(t, rows, first, count, r, p, act, d, m, v, sum);
    }
    for (int i = 0; i < count; i++)
        sum[i] = _mm512_fmadd_ps(v[i], _mm512_set1_ps(scale[i]), sum[i]);
}

/* The direct road: one group of 16 outputs by `rows` activation rows of one tile. */
VNNI INLINE void vnni_tile(struct fg_group_traits t, int rows, const struct fg_direct *job)
{
    __m512 sum[8], dd = _mm512_setzero_ps(), mm = dd;
    const size_t record = fg_group_record(t);
    const __mmask16 keep = (__mmask16)((1u << job->outputs) - 1);
    const int once = t.runs == 2 && rows > 4 ? 4 : rows; /* two runs of more need too many registers */
    const uint8_t *p = job->packed, *act = job->act;
    for (int i = 0; i < rows; i++)
        sum[i] = job->add ? _mm512_maskz_loadu_ps(keep, job->y + (size_t)i * job->stride)
                          : _mm512_setzero_ps();
    for (uint32_t b = 0; b < job->blocks; b++, p += record, act += rows * (int)FG_ACT8_RECORD) {
        p = vnni_header(t, p, b, &dd, &mm);
        for (size_t at = 0; at < record; at += 64)
            _mm_prefetch((const char *)p + FG_AHEAD + at, _MM_HINT_T0);
        vnni_record(t, rows, 0, once, p, act, dd, mm, sum);
        if (once < rows)
            vnni_record(t, rows, once, rows - once, p, act, dd, mm, sum + once);
    }
    for (int i = 0; i < rows; i++)
        _mm512_mask_storeu_ps(job->y + (size_t)i * job->stride, keep, sum[i]);
}

/* Unpacks `count` records into a panel; returns the place after them. */
VNNI INLINE const uint8_t *vnni_fill(struct fg_group_traits t, const uint8_t *p, uint32_t count,
                                     uint8_t *wide)
{
    const size_t record = fg_group_record(t), quants = fg_group_quants(t);
    __m512 dd = _mm512_setzero_ps(), mm = dd, d = dd, m = dd;
    for (uint32_t b = 0; b < count; b++, p += record, wide += FG_VNNI_WIDE((unsigned)t.runs, t.mins)) {
        p = vnni_header(t, p, b, &dd, &mm);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m512i w[4];
            vnni_unpack(t, p, h, w);
            vnni_centre(t, w);
            for (int j = 0; j < 4; j++)
                _mm512_store_si512(wide + (4 * h + j) * 64, w[j]);
        }
        for (int r = 0; r < t.runs; r++) {
            vnni_scales(t, p + quants, r, dd, mm, &d, &m);
            _mm512_store_ps(wide + 512 + r * 64, d);
            if (t.mins)
                _mm512_store_ps(wide + 512 + (t.runs + r) * 64, m);
        }
    }
    return p;
}

VNNI INLINE void vnni_direct(struct fg_group_traits t, const struct fg_direct *p)
{
    switch (p->tile) {
    case 1:
        vnni_tile(t, 1, p);
        break;
    case 2:
        vnni_tile(t, 2, p);
        break;
    case 3:
        vnni_tile(t, 3, p);
        break;
    case 4:
        vnni_tile(t, 4, p);
        break;
    case 5:
        vnni_tile(t, 5, p);
        break;
    case 6:
        vnni_tile(t, 6, p);
        break;
    case 7:
        vnni_tile(t, 7, p);
        break;
    case 8:
        vnni_tile(t, 8, p);
        break;
    default:
        break;
    }
}

#define VNNI_KERNEL(name, ...)                                                                     \
    VNNI static void direct_##name(const struct fg_direct *p)                                      \
    {                                                                                              \
        vnni_direct((struct fg_group_traits)__VA_ARGS__, p);                                       \
    }                                                                                              \
    VNNI static const uint8_t *fill_##name(const uint8_t *packed, uint32_t count, uint8_t *wide)   \
    {                                                                                              \
        return vnni_fill((struct fg_group_traits)__VA_ARGS__, packed, count, wide);                \
    }
#define VNNI_ENTRY(name, runs, mins, panel_fn)                                                     \
    {.few = 8, .wide = FG_VNNI_WIDE(runs, mins), .direct = direct_##name, .fill = fill_##name,     \
     .panel = panel_fn}

#endif
