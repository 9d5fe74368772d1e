/*
 * cpu/kernels/x2_core.h - products over the group layout with 256-bit vectors: AVX2, or AVX-VNNI
 * where X2_VNNI is 1. Private to avx2_*.c and avxvnni_*.c.
 *
 * `direct`, `fill` and `panel` of panel.h. One record by up to 4 rows is the same code for packed
 * and for wide weights, in two halves of 8 outputs; all constants are inlined.
 *
 * Without VNNI a product of bytes is vpmaddubsw: unsigned weights by signed activations, pairs
 * summed to 16 bits, saturating. With |activation| <= 127 no pair saturates up to 7 bits of weight,
 * and 8 sums fit for weights of 4 bits, 4 for 5, 2 for 6 bits before they must become 32 bits wide.
 * 8-bit weights take their sign out: |w| by sign(w) * a, one pair at most.
 */
#ifndef FG_CPU_X2_CORE_H
#define FG_CPU_X2_CORE_H

#include <immintrin.h>
#include <string.h>

#include "cpu/kernels/act.h"
#include "cpu/kernels/panel.h"

#if X2_VNNI
#define X2 __attribute__((target("avx2,fma,f16c,avxvnni")))
#else
#define X2 __attribute__((target("avx2,fma,f16c")))
#endif
#define INLINE static inline __attribute__((always_inline))

/* Keeps the compiler from turning a chain of sums into a tree, for which 16 registers are too few. */
#define X2_STAY(v) __asm__("" : "+x"(v))

#define X2_ROWS 4 /* rows of activations at once */

/* What a loop must know at compile time. Wide records: 512 bytes of weights, float d[runs][16],
 * then m[runs][16] if mins. */
struct x2_shape {
    struct fg_group_traits t; /* of packed weights */
    bool packed;
    int runs;
    int adds;     /* 16-bit sums: 8, 4 or 2 vectors; 0: signed weights */
    bool mins;    /* there is an m: the type's min, or -offset * d */
    bool centred; /* weights have 128 added, and integer sums start at minus (act.h) */
};

static inline struct x2_shape x2_shape_of(struct fg_group_traits t, bool packed)
{
    struct x2_shape s = {.t = t, .packed = packed, .runs = t.runs, .mins = t.mins};
#if X2_VNNI
    s.centred = !t.mins;
#else
    int bits = t.low + t.high;
    s.adds = bits <= 4 && !t.table ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 0;
    s.mins = s.adds != 0;
#endif
    return s;
}
static inline size_t x2_wide(struct x2_shape s)
{
    return 512 + (size_t)s.runs * (s.mins ? 128 : 64);
}

X2 INLINE __m256i x2_load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* 32 bits of a plane to bytes of 0 or `value`. */
X2 INLINE __m256i x2_spread(const uint8_t *p, uint8_t value)
{
    const __m256i each = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2,
                                          2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    int32_t bits;
    memcpy(&bits, p, 4);
    __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), each), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8((char)value));
}

/* Half h of vector j of a packed record: unsigned, or signed where the shape says so. */
X2 INLINE __m256i x2_unpack(struct x2_shape s, const uint8_t *p, int h, int j)
{
    const struct fg_group_traits t = s.t;
    const __m256i flip = _mm256_set1_epi8((char)0x80);
    const bool is_signed = !s.centred && s.adds == 0 && !t.mins;
    const uint8_t *plane = p + t.low * 64;
    __m256i w;
    if (t.low == 8) {
        w = x2_load(p + j * 64 + h * 32);
        return is_signed ? _mm256_xor_si256(w, flip) : w;
    }
    if (t.low == 4)
        w = _mm256_and_si256(_mm256_srli_epi16(x2_load(p + j % 4 * 64 + h * 32), j / 4 * 4),
                             _mm256_set1_epi8(15));
    else
        w = _mm256_and_si256(_mm256_srli_epi16(x2_load(p + j / 4 * 64 + h * 32), j % 4 * 2),
                             _mm256_set1_epi8(3));
    if (t.table) {
        __m256i values = _mm256_broadcastsi128_si256(
            _mm_loadu_si128((const __m128i *)(const void *)fg_group_tables[t.table - 1]));
        w = _mm256_shuffle_epi8(is_signed ? _mm256_xor_si256(values, flip) : values, w);
    }
    if (t.high == 1)
        w = _mm256_or_si256(w, x2_spread(plane + j * 8 + h * 4, (uint8_t)(1 << t.low)));
    if (t.high == 2) {
        __m256i v = x2_load(plane + j / 4 * 64 + h * 32);
        int at = j % 4 * 2;
        v = at <= 4 ? _mm256_slli_epi16(v, 4 - at) : _mm256_srli_epi16(v, at - 4);
        w = _mm256_or_si256(w, _mm256_and_si256(v, _mm256_set1_epi8(48)));
    }
    if (s.centred && t.offset != 128)
        w = _mm256_add_epi8(w, _mm256_set1_epi8((char)(128 - t.offset)));
    return w;
}

X2 INLINE __m256i x2_weights(struct x2_shape s, const uint8_t *p, int h, int j)
{
    return s.packed ? x2_unpack(s, p, h, j) : x2_load(p + j * 64 + h * 32);
}

X2 INLINE __m256i x2_four(const uint8_t *p)
{
    int32_t four;
    memcpy(&four, p, 4);
    return _mm256_set1_epi32(four);
}

/* Where the rows of a sub-tile stand in a record of a tile of t rows. */
struct x2_rows {
    const uint8_t *q;
    const float *d, *all[2]; /* by run */
    const int32_t *minus[2];
};

static inline struct x2_rows x2_rows_of(int runs, const uint8_t *act, uint32_t t, uint32_t i)
{
    const float *tail = (const float *)(const void *)(act + (size_t)t * 32) + i;
    const int32_t *whole = (const int32_t *)(const void *)tail;
    struct x2_rows v = {.q = act + (size_t)i * 32, .d = tail + FG_ACT8_D * t};
    for (int r = 0; r < runs; r++) {
        v.all[r] = tail + (runs == 1 ? FG_ACT8_ALL : FG_ACT8_LOW + (uint32_t)r) * t;
        v.minus[r] =
            whole + (runs == 1 ? FG_ACT8_MINUS_ALL : FG_ACT8_MINUS_LOW + (uint32_t)r) * t;
    }
    return v;
}

/* acc[h][i] += weights [from, from + count) of half h by row i, in 32 bits. */
X2 INLINE void x2_chunk(struct x2_shape s, int rows, int from, int count, const uint8_t *p,
                        const uint8_t *q, __m256i acc[2][X2_ROWS])
{
#if X2_VNNI
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        if (j < from || j >= from + count)
            continue;
        __m256i w[2] = {x2_weights(s, p, 0, j), x2_weights(s, p, 1, j)};
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            __m256i a = x2_four(q + i * 32 + j * 4);
            acc[0][i] = _mm256_dpbusd_avx_epi32(acc[0][i], w[0], a);
            acc[1][i] = _mm256_dpbusd_avx_epi32(acc[1][i], w[1], a);
        }
    }
#else
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i narrow[2][X2_ROWS];
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        if (j < from || j >= from + count)
            continue;
        __m256i w[2] = {x2_weights(s, p, 0, j), x2_weights(s, p, 1, j)};
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            __m256i a = x2_four(q + i * 32 + j * 4);
            for (int h = 0; h < 2; h++) {
                if (s.adds == 0) {
                    __m256i v = _mm256_maddubs_epi16(_mm256_abs_epi8(w[h]),
                                                     _mm256_sign_epi8(a, w[h]));
                    acc[h][i] = _mm256_add_epi32(acc[h][i], _mm256_madd_epi16(v, ones));
                } else {
                    __m256i v = _mm256_maddubs_epi16(w[h], a);
                    narrow[h][i] = j == from ? v : _mm256_add_epi16(narrow[h][i], v);
                    X2_STAY(narrow[h][i]);
                }
            }
        }
    }
    if (s.adds == 0)
        return;
    for (int h = 0; h < 2; h++)
        for (int i = 0; i < rows; i++)
            acc[h][i] = _mm256_add_epi32(acc[h][i], _mm256_madd_epi16(narrow[h][i], ones));
#endif
}

X2 INLINE __m256 x2_f16(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

X2 INLINE __m256 x2_u8(const uint8_t *p, bool is_signed)
{
    __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return _mm256_cvtepi32_ps(is_signed ? _mm256_cvtepi8_epi32(v) : _mm256_cvtepu8_epi32(v));
}

struct x2_header {
    __m256 d[2], m[2];
};

/* Reads the header if packed record b has one; returns where the record begins. */
X2 INLINE const uint8_t *x2_open(struct fg_group_traits t, const uint8_t *p, uint32_t b,
                                 struct x2_header *head)
{
    if (!t.super || b % 8 != 0)
        return p;
    for (int h = 0; h < 2; h++) {
        head->d[h] = x2_f16(p + h * 16);
        if (t.mins) /* the type takes them off */
            head->m[h] = _mm256_sub_ps(_mm256_setzero_ps(), x2_f16(p + 32 + h * 16));
    }
    return p + fg_group_header(t);
}

/* Scale and min of run r, half h, out of a packed record. */
X2 INLINE void x2_unpack_scales(struct x2_shape s, const uint8_t *p, int r, int h,
                                const struct x2_header *head, __m256 *d, __m256 *m)
{
    const struct fg_group_traits t = s.t;
    p += fg_group_quants(t);
    if (t.exponent) { /* 2^(e - 128), or 0 for the two smallest */
        __m256i e = _mm256_cvtepu8_epi32(
            _mm_loadl_epi64((const __m128i *)(const void *)(p + h * 8)));
        e = _mm256_sub_epi32(_mm256_max_epi32(e, _mm256_set1_epi32(1)), _mm256_set1_epi32(1));
        *d = _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
    } else if (!t.super) {
        *d = x2_f16(p + h * 16);
        if (t.mins)
            *m = x2_f16(p + 32 + h * 16);
    } else if (t.joined) {
        __m256i v = _mm256_cvtepu8_epi32(
            _mm_loadl_epi64((const __m128i *)(const void *)(p + r * 16 + h * 8)));
        *d = _mm256_mul_ps(head->d[h],
                           _mm256_cvtepi32_ps(_mm256_and_si256(v, _mm256_set1_epi32(15))));
        *m = _mm256_mul_ps(head->m[h], _mm256_cvtepi32_ps(_mm256_srli_epi32(v, 4)));
    } else {
        *d = _mm256_mul_ps(head->d[h], x2_u8(p + r * 16 + h * 8, true));
        if (t.mins)
            *m = _mm256_mul_ps(head->m[h], x2_u8(p + (t.runs + r) * 16 + h * 8, false));
    }
    if (s.mins && !t.mins)
        *m = _mm256_mul_ps(*d, _mm256_set1_ps((float)-t.offset));
}

X2 INLINE void x2_scales(struct x2_shape s, const uint8_t *p, int r, int h,
                         const struct x2_header *head, __m256 *d, __m256 *m)
{
    if (s.packed) {
        x2_unpack_scales(s, p, r, h, head, d, m);
        return;
    }
    const float *scales = (const float *)(const void *)(p + 512) + h * 8;
    *d = _mm256_loadu_ps(scales + r * 16);
    if (s.mins)
        *m = _mm256_loadu_ps(scales + (s.runs + r) * 16);
}

X2 INLINE __m256 x2_row_float(const float *p, size_t step, int i)
{
    float f;
    memcpy(&f, (const uint8_t *)p + step + i * 4, 4);
    return _mm256_set1_ps(f);
}

/* One record by `rows` rows, whose own record is `step` bytes on. */
X2 INLINE void x2_record(struct x2_shape s, int rows, const uint8_t *p, const struct x2_rows *at,
                         size_t step, const struct x2_header *head, __m256 sum[2][X2_ROWS])
{
    const int per_run = 8 / s.runs, chunk = s.adds > 0 && s.adds < per_run ? s.adds : per_run;
    __m256 v[2][X2_ROWS], d = _mm256_setzero_ps(), m = d;
#pragma GCC unroll 2
    for (int r = 0; r < 2; r++) {
        if (r == s.runs)
            break;
        __m256i acc[2][X2_ROWS];
        for (int i = 0; i < rows; i++) {
            acc[0][i] = s.centred ? x2_four((const uint8_t *)at->minus[r] + step + i * 4)
                                  : _mm256_setzero_si256();
            acc[1][i] = acc[0][i];
        }
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++)
            if (c * chunk < per_run)
                x2_chunk(s, rows, r * per_run + c * chunk, chunk, p, at->q + step, acc);
        for (int h = 0; h < 2; h++) {
            x2_scales(s, p, r, h, head, &d, &m);
            for (int i = 0; i < rows; i++) {
                __m256 dot = _mm256_cvtepi32_ps(acc[h][i]);
                v[h][i] = r == 0 ? _mm256_mul_ps(dot, d) : _mm256_fmadd_ps(dot, d, v[h][i]);
                if (s.mins)
                    sum[h][i] =
                        _mm256_fmadd_ps(m, x2_row_float(at->all[r], step, i), sum[h][i]);
            }
        }
    }
    for (int i = 0; i < rows; i++) {
        __m256 da = x2_row_float(at->d, step, i);
        sum[0][i] = _mm256_fmadd_ps(v[0][i], da, sum[0][i]);
        sum[1][i] = _mm256_fmadd_ps(v[1][i], da, sum[1][i]);
    }
}

/* Up to 16 outputs of each row, in and out of the sums. */
X2 INLINE void x2_begin(int rows, bool add, const float *y, size_t stride, uint32_t outputs,
                        __m256 sum[2][X2_ROWS])
{
    for (int i = 0; i < rows; i++) {
        float old[16] = {0};
        if (add)
            memcpy(old, y + (size_t)i * stride, outputs * sizeof(float));
        sum[0][i] = _mm256_loadu_ps(old);
        sum[1][i] = _mm256_loadu_ps(old + 8);
    }
}
X2 INLINE void x2_end(int rows, float *y, size_t stride, uint32_t outputs,
                      __m256 sum[2][X2_ROWS])
{
    for (int i = 0; i < rows; i++) {
        float *out = y + (size_t)i * stride, all[16];
        float *to = outputs == 16 ? out : all;
        _mm256_storeu_ps(to, sum[0][i]);
        _mm256_storeu_ps(to + 8, sum[1][i]);
        if (outputs < 16)
            memcpy(out, all, outputs * sizeof(float));
    }
}

X2 INLINE void x2_direct_rows(struct x2_shape s, int rows, const struct fg_direct *job)
{
    const size_t record = fg_group_record(s.t), act_record = (size_t)rows * FG_ACT8_RECORD;
    const struct x2_rows at = x2_rows_of(s.runs, job->act, (uint32_t)rows, 0);
    const uint8_t *p = job->packed;
    struct x2_header head = {0};
    __m256 sum[2][X2_ROWS];
    size_t step = 0;
    x2_begin(rows, job->add, job->y, job->stride, job->outputs, sum);
    for (uint32_t b = 0; b < job->blocks; b++, p += record, step += act_record) {
        p = x2_open(s.t, p, b, &head);
        for (size_t line = 0; line < record; line += 64)
            _mm_prefetch((const char *)p + FG_AHEAD + line, _MM_HINT_T0);
        x2_record(s, rows, p, &at, step, &head, sum);
    }
    x2_end(rows, job->y, job->stride, job->outputs, sum);
}

X2 INLINE void x2_direct(struct fg_group_traits t, const struct fg_direct *job)
{
    const struct x2_shape s = x2_shape_of(t, true);
    switch (job->tile) {
    case 1:
        x2_direct_rows(s, 1, job);
        break;
    case 2:
        x2_direct_rows(s, 2, job);
        break;
    case 3:
        x2_direct_rows(s, 3, job);
        break;
    case 4:
        x2_direct_rows(s, 4, job);
        break;
    default:
        break;
    }
}

X2 INLINE const uint8_t *x2_fill(struct fg_group_traits t, const uint8_t *p, uint32_t count,
                                 uint8_t *wide)
{
    const struct x2_shape s = x2_shape_of(t, true);
    struct x2_header head = {0};
    __m256 d, m = _mm256_setzero_ps();
    for (uint32_t b = 0; b < count; b++, p += fg_group_record(t), wide += x2_wide(s)) {
        p = x2_open(t, p, b, &head);
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++)
                _mm256_storeu_si256((__m256i *)(void *)(wide + j * 64 + h * 32),
                                    x2_unpack(s, p, h, j));
        float *scales = (float *)(void *)(wide + 512);
        for (int r = 0; r < s.runs; r++)
            for (int h = 0; h < 2; h++) {
                x2_unpack_scales(s, p, r, h, &head, &d, &m);
                _mm256_storeu_ps(scales + r * 16 + h * 8, d);
                if (s.mins)
                    _mm256_storeu_ps(scales + (s.runs + r) * 16 + h * 8, m);
            }
    }
    return p;
}

X2 INLINE void x2_sub_tile(struct x2_shape s, int rows, const struct fg_panel *job, uint32_t g,
                           uint32_t first)
{
    const struct x2_rows at = x2_rows_of(s.runs, job->act, job->tile, first);
    const size_t act_record = (size_t)job->tile * FG_ACT8_RECORD, record = x2_wide(s);
    const uint8_t *p = job->wide[g], *ahead = job->ahead;
    float *y = job->y + (size_t)first * job->stride + (size_t)g * FG_GROUP_ROWS;
    __m256 sum[2][X2_ROWS];
    size_t step = 0;
    x2_begin(rows, job->add, y, job->stride, job->outputs[g], sum);
    for (uint32_t b = job->count; b > 0; b--, p += record, step += act_record) {
        for (uint32_t line = 0; line < job->ahead_step; line += 64)
            _mm_prefetch((const char *)ahead + line, _MM_HINT_T0);
        ahead += job->ahead_step;
        x2_record(s, rows, p, &at, step, NULL, sum);
    }
    x2_end(rows, y, job->stride, job->outputs[g], sum);
}

X2 INLINE void x2_panel(struct x2_shape s, struct fg_panel *job)
{
    for (uint32_t i = 0; i < job->tile; i += X2_ROWS)
        for (uint32_t g = 0; g < job->groups; g++, job->ahead_step = 0)
            switch (job->tile - i) {
            case 1:
                x2_sub_tile(s, 1, job, g, i);
                break;
            case 2:
                x2_sub_tile(s, 2, job, g, i);
                break;
            case 3:
                x2_sub_tile(s, 3, job, g, i);
                break;
            default:
                x2_sub_tile(s, 4, job, g, i);
            }
}

#define X2_KERNEL(name, ...)                                                                       \
    X2 static void direct_##name(const struct fg_direct *job)                                      \
    {                                                                                              \
        x2_direct((struct fg_group_traits)__VA_ARGS__, job);                                       \
    }                                                                                              \
    X2 static const uint8_t *fill_##name(const uint8_t *packed, uint32_t count, uint8_t *wide)     \
    {                                                                                              \
        return x2_fill((struct fg_group_traits)__VA_ARGS__, packed, count, wide);                  \
    }
/* Types of one shape share a panel: x2_shape_of any of them. */
#define X2_PANEL(name, ...)                                                                        \
    X2 static void name(struct fg_panel *job)                                                      \
    {                                                                                              \
        x2_panel(x2_shape_of((struct fg_group_traits)__VA_ARGS__, false), job);                    \
    }
#define X2_ENTRY(name, panel_fn)                                                                   \
    {.few = X2_ROWS, .wide = FG_PANEL_WIDE, .direct = direct_##name, .fill = fill_##name,          \
     .panel = panel_fn}

#endif
