/*
 * cpu/simd_core.h - the bodies of simd.h's functions, written once on vectors of LANES floats.
 *
 * Included by simd_*.c, each compiled for its instruction set, which define LANES (a vector),
 * QUERIES (queries held in registers at once while scores are made), VALUES (queries) and SLICE
 * (vectors of a head) while values are summed, load_f16() and store_f16().
 */
#include <math.h>
#include <string.h>

#include "cpu/simd.h"

#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef float vfu __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

INLINE vf load(const float *p)
{
    return *(const vfu *)p;
}
INLINE void store(float *p, vf v)
{
    *(vfu *)p = v;
}
INLINE vf splat(float x)
{
    return x - (vf){0};
}
INLINE vf choose(vi mask, vf yes, vf no)
{
    return (vf)(((vi)yes & mask) | ((vi)no & ~mask));
}
INLINE float sum_of(vf v)
{
    float lanes[LANES];
    memcpy(lanes, &v, sizeof v);
    for (int s = LANES / 2; s > 0; s /= 2)
        for (int i = 0; i < s; i++)
            lanes[i] += lanes[i + s];
    return lanes[0];
}
INLINE float max_of(vf v)
{
    float lanes[LANES];
    memcpy(lanes, &v, sizeof v);
    for (int s = LANES / 2; s > 0; s /= 2)
        for (int i = 0; i < s; i++)
            lanes[i] = lanes[i] > lanes[i + s] ? lanes[i] : lanes[i + s];
    return lanes[0];
}

/* e^x: 2^n * e^r, |r| <= ln2/2, a polynomial good to 1e-7 of the value. Below -87: exactly 0.
 * NaN stays NaN. */
INLINE vf exp_of(vf x)
{
    const vf top = choose(x > 88.0f, splat(88.0f), x);
    const vf y = choose(top < -87.0f, splat(-87.0f), top);
    const vf magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const vf biased = y * 1.44269504088896341f + magic;
    const vf n = biased - magic;
    const vf r = (y - n * 0.693359375f) - n * -2.12194440e-4f;
    vf p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const vi power = ((vi)biased - (vi)magic + 127) << 23;
    return choose(x < -87.0f, splat(0), p * (vf)power);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void rms_norm(const float *x, const float *weight, float eps, uint32_t n, float *out)
{
    vf a = {0}, b = {0};
    uint32_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        const vf u = load(x + i), v = load(x + i + LANES);
        a += u * u;
        b += v * v;
    }
    float total = sum_of(a + b);
    for (; i < n; i++)
        total += x[i] * x[i];
    const float by = 1.0f / sqrtf(total / (float)n + eps);
    for (i = 0; i + LANES <= n; i += LANES)
        store(out + i, load(x + i) * by * load(weight + i));
    for (; i < n; i++)
        out[i] = x[i] * by * weight[i];
}

static void add(float *y, const float *x, uint32_t n)
{
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, load(y + i) + load(x + i));
    for (; i < n; i++)
        y[i] += x[i];
}

static void scale(const float *x, float by, uint32_t n, float *out)
{
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(out + i, load(x + i) * by);
    for (; i < n; i++)
        out[i] = x[i] * by;
}

/* tanh(x) = 1 - 2 / (e^2x + 1) */
INLINE vf capped(vf x, float cap)
{
    return cap - 2.0f * cap / (exp_of(x * (2.0f / cap)) + 1.0f);
}
INLINE vf silu(vf x)
{
    return x / (1.0f + exp_of(-x));
}
/* The tanh form, x/2 (1 + tanh u), is x / (1 + e^-2u). */
INLINE vf gelu(vf x)
{
    const vf u = x * 0.79788456080286535588f * (1.0f + 0.044715f * x * x);
    return x / (1.0f + exp_of(-2.0f * u));
}

/* A whole vector of the n - i < LANES values at the end; the rest of it is zero. */
INLINE vf load_tail(const float *p, uint32_t count)
{
    float lanes[LANES] = {0};
    memcpy(lanes, p, count * sizeof *p);
    return load(lanes);
}
INLINE void store_tail(float *p, uint32_t count, vf v)
{
    memcpy(p, &v, count * sizeof *p);
}

static void softcap(float *x, float cap, uint32_t n)
{
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(x + i, capped(load(x + i), cap));
    if (i < n)
        store_tail(x + i, n - i, capped(load_tail(x + i, n - i), cap));
}

static void gate_silu(const float *gate, const float *up, uint32_t n, float *out)
{
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(out + i, silu(load(gate + i)) * load(up + i));
    if (i < n)
        store_tail(out + i, n - i, silu(load_tail(gate + i, n - i)) * load_tail(up + i, n - i));
}

static void gate_gelu(const float *gate, const float *up, uint32_t n, float *out)
{
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(out + i, gelu(load(gate + i)) * load(up + i));
    if (i < n)
        store_tail(out + i, n - i, gelu(load_tail(gate + i, n - i)) * load_tail(up + i, n - i));
}

static void rotate(float *head, uint32_t dims, bool halves, const float *cosine, const float *sine)
{
    const uint32_t half = dims / 2;
    uint32_t i = 0;
    if (!halves) {
        for (; i < half; i++) {
            const float a = head[2 * i], b = head[2 * i + 1];
            head[2 * i] = a * cosine[i] - b * sine[i];
            head[2 * i + 1] = a * sine[i] + b * cosine[i];
        }
        return;
    }
    for (; i + LANES <= half; i += LANES) {
        const vf a = load(head + i), b = load(head + half + i);
        const vf c = load(cosine + i), s = load(sine + i);
        store(head + i, a * c - b * s);
        store(head + half + i, a * s + b * c);
    }
    for (; i < half; i++) {
        const float a = head[i], b = head[half + i];
        head[i] = a * cosine[i] - b * sine[i];
        head[half + i] = a * sine[i] + b * cosine[i];
    }
}

static void to_f16(const float *x, uint32_t n, uint16_t *out)
{
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store_f16(out + i, load(x + i));
    if (i < n) {
        uint16_t tail[LANES];
        store_f16(tail, load_tail(x + i, n - i));
        memcpy(out + i, tail, (n - i) * sizeof *out);
    }
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Queries go in packs of QUERIES: [pack][head_dim][QUERIES], so that a step over head_dim reads
 * one line. */
static size_t packed_queries(uint32_t count, uint32_t head_dim)
{
    return (size_t)(count + QUERIES - 1) / QUERIES * QUERIES * head_dim;
}

static void pack_query(const float *query, float by, uint32_t index, uint32_t head_dim,
                       float *packed)
{
    packed += (size_t)(index / QUERIES) * QUERIES * head_dim + index % QUERIES;
    for (uint32_t d = 0; d < head_dim; d++)
        packed[(size_t)d * QUERIES] = query[d] * by;
}

INLINE vf load_kv(bool wide, const uint8_t *p)
{
    if (wide)
        return load((const float *)(const void *)p);
    return load_f16((const uint16_t *)(const void *)p);
}

/* Scores of `count` queries of one pack with 2 * LANES positions of a page. */
INLINE void score_strip(bool wide, uint32_t count, const struct fg_kv_view *kv, const uint8_t *k,
                        const float *q, float *scores)
{
    const size_t size = wide ? 4 : 2, row = kv->page_tokens * size;
    vf a[QUERIES], b[QUERIES];
    for (uint32_t i = 0; i < count; i++)
        a[i] = b[i] = (vf){0};
    for (uint32_t d = 0; d < kv->head_dim; d++, k += row, q += QUERIES) {
        const vf u = load_kv(wide, k), v = load_kv(wide, k + LANES * size);
#pragma GCC unroll 16
        for (uint32_t i = 0; i < count; i++) {
            a[i] += u * q[i];
            b[i] += v * q[i];
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        store(scores + (size_t)i * FG_TILE_BLOCK, a[i]);
        store(scores + (size_t)i * FG_TILE_BLOCK + LANES, b[i]);
    }
}

#define SCORE_CASE(n)                                                                              \
    case n:                                                                                        \
        score_strip(wide, n, kv, k, q, scores);                                                    \
        break;

INLINE void score_pack(bool wide, uint32_t count, const struct fg_kv_view *kv, const uint8_t *k,
                       const float *q, float *scores)
{
    switch (count) {
        SCORE_CASE(1)
        SCORE_CASE(2)
        SCORE_CASE(3)
        SCORE_CASE(4)
        SCORE_CASE(5)
#if QUERIES > 6
        SCORE_CASE(6)
        SCORE_CASE(7)
        SCORE_CASE(8)
        SCORE_CASE(9)
        SCORE_CASE(10)
        SCORE_CASE(11)
#endif
    default:
        score_strip(wide, QUERIES, kv, k, q, scores);
    }
}

INLINE const uint8_t *page_at(const struct fg_kv_view *kv, const struct fg_tile *t, uint32_t at)
{
    return kv->base + t->page[at / kv->page_tokens] * kv->page_bytes;
}

/* Scores of all queries with positions [from, to), a part of one block; whole strips, so some
 * positions behind `to` get numbers that mean nothing. */
INLINE void score_block(bool wide, const struct fg_kv_view *kv, const struct fg_tile *t,
                        uint32_t from, uint32_t to)
{
    const size_t size = wide ? 4 : 2;
    for (uint32_t at = from; at < to; at += 2 * LANES) {
        const uint8_t *k = page_at(kv, t, at) + at % kv->page_tokens * size;
        for (uint32_t i = 0; i < t->count; i += QUERIES) {
            const uint32_t left = t->count - i < QUERIES ? t->count - i : QUERIES;
            score_pack(wide, left, kv, k, t->queries + (size_t)i * kv->head_dim,
                       t->scores + (size_t)i * FG_TILE_BLOCK + (at - from));
        }
    }
}

/* Scores of one query to weights; returns by what earlier sums must be multiplied. */
INLINE float soften(const struct fg_tile *t, uint32_t i, uint32_t from, uint32_t to)
{
    float *s = t->scores + (size_t)i * FG_TILE_BLOCK;
    const uint32_t n = (to - from + 2 * LANES - 1) / (2 * LANES) * (2 * LANES);
    const uint32_t first = t->first[i] > from ? t->first[i] - from : 0;
    const uint32_t end = t->end[i] < from ? 0 : t->end[i] - from;
    vi lane;
    for (int l = 0; l < LANES; l++)
        lane[l] = l;
    vf top = splat(-1e30f);
    for (uint32_t j = 0; j < n; j += LANES) {
        vf v = load(s + j);
        if (t->softcap > 0)
            v = capped(v, t->softcap);
        const vi at = lane + (int32_t)j;
        v = choose((at >= (int32_t)first) & (at < (int32_t)end), v, splat(-INFINITY));
        store(s + j, v);
        top = choose(v > top, v, top);
    }
    const float before = t->max[i], most = max_of(top) > before ? max_of(top) : before;
    vf sum = {0};
    for (uint32_t j = 0; j < n; j += LANES) {
        const vf v = exp_of(load(s + j) - most);
        store(s + j, v);
        sum += v;
    }
    const float keep = most == before ? 1.0f : sum_of(exp_of(splat(before - most))) / LANES;
    t->max[i] = most;
    t->sum[i] = t->sum[i] * keep + sum_of(sum);
    return keep;
}

/* out = out * keep + weights * V for `count` queries and `slice` vectors of a head. */
INLINE void value_slice(bool wide, uint32_t count, uint32_t slice, const struct fg_kv_view *kv,
                        const struct fg_tile *t, uint32_t query, uint32_t d, const float *keep,
                        uint32_t from, uint32_t to)
{
    const size_t size = wide ? 4 : 2, row = kv->v_stride * size;
    const float *weight = t->scores + (size_t)query * FG_TILE_BLOCK;
    float *out = t->out + (size_t)query * kv->v_stride + d;
    vf sum[VALUES][SLICE];
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t c = 0; c < slice; c++)
            sum[i][c] = load(out + (size_t)i * kv->v_stride + c * LANES) * keep[query + i];
    for (uint32_t at = from; at < to;) {
        const uint32_t inside = at % kv->page_tokens;
        const uint32_t left = to - at, room = kv->page_tokens - inside;
        const uint32_t run = left < room ? left : room;
        const uint8_t *v = page_at(kv, t, at) + kv->v_offset + inside * row + d * size;
        for (uint32_t j = 0; j < run; j++, v += row, weight++) {
            vf x[SLICE];
#pragma GCC unroll 4
            for (uint32_t c = 0; c < slice; c++)
                x[c] = load_kv(wide, v + c * LANES * size);
#pragma GCC unroll 8
            for (uint32_t i = 0; i < count; i++) {
                const float w = weight[(size_t)i * FG_TILE_BLOCK];
#pragma GCC unroll 4
                for (uint32_t c = 0; c < slice; c++)
                    sum[i][c] += x[c] * w;
            }
        }
        at += run;
    }
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t c = 0; c < slice; c++)
            store(out + (size_t)i * kv->v_stride + c * LANES, sum[i][c]);
}

#define VALUE_CASE(n)                                                                              \
    case n:                                                                                        \
        value_slice(wide, n, slice, kv, t, query, d, keep, from, to);                              \
        break;

INLINE void value_pack(bool wide, uint32_t count, uint32_t slice, const struct fg_kv_view *kv,
                       const struct fg_tile *t, uint32_t query, uint32_t d, const float *keep,
                       uint32_t from, uint32_t to)
{
    switch (count) {
        VALUE_CASE(1)
        VALUE_CASE(2)
        VALUE_CASE(3)
        VALUE_CASE(4)
        VALUE_CASE(5)
    default:
        value_slice(wide, VALUES, slice, kv, t, query, d, keep, from, to);
    }
}

INLINE void value_block(bool wide, const struct fg_kv_view *kv, const struct fg_tile *t,
                        const float *keep, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < t->count; i += VALUES) {
        const uint32_t left = t->count - i < VALUES ? t->count - i : VALUES;
        uint32_t d = 0;
        for (; d + SLICE * LANES <= kv->v_stride; d += SLICE * LANES)
            value_pack(wide, left, SLICE, kv, t, i, d, keep, from, to);
        for (; d < kv->v_stride; d += LANES)
            value_pack(wide, left, 1, kv, t, i, d, keep, from, to);
    }
}

INLINE void attend_kind(bool wide, const struct fg_kv_view *kv, const struct fg_tile *t)
{
    float keep[FG_TILE_QUERIES];
    for (uint32_t i = 0; i < t->count; i++) {
        t->max[i] = -1e30f;
        t->sum[i] = 0;
    }
    memset(t->out, 0, (size_t)t->count * kv->v_stride * sizeof *t->out);
    for (uint32_t from = t->from; from < t->to; from += FG_TILE_BLOCK) {
        const uint32_t to = t->to - from < FG_TILE_BLOCK ? t->to : from + FG_TILE_BLOCK;
        score_block(wide, kv, t, from, to);
        for (uint32_t i = 0; i < t->count; i++)
            keep[i] = soften(t, i, from, to);
        value_block(wide, kv, t, keep, from, to);
    }
}

static void attend(const struct fg_kv_view *kv, const struct fg_tile *t)
{
    if (kv->wide)
        attend_kind(true, kv, t);
    else
        attend_kind(false, kv, t);
}

static void join(uint32_t n, float *out, float *max, float *sum, const float *more, float more_max,
                 float more_sum)
{
    const float most = *max > more_max ? *max : more_max;
    const float a = expf(*max - most), b = expf(more_max - most);
    for (uint32_t i = 0; i < n; i++)
        out[i] = out[i] * a + more[i] * b;
    *sum = *sum * a + more_sum * b;
    *max = most;
}

#define SIMD_TABLE                                                                                 \
    {                                                                                              \
        .rms_norm = rms_norm, .add = add, .scale = scale, .softcap = softcap,                      \
        .gate_silu = gate_silu, .gate_gelu = gate_gelu, .rotate = rotate, .to_f16 = to_f16,        \
        .packed_queries = packed_queries, .pack_query = pack_query, .attend = attend, .join = join, \
    }
