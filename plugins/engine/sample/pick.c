/*
 * Passes over logits. The compiler makes SIMD of the vector types; a machine without wide
 * registers gets them split, with the same results, because no operation's order depends on the
 * width: LANES is fixed. The three passes over whole vocabularies are compiled twice, for AVX2 and
 * for the baseline, from one body each.
 */
#include "engine/sample/pick.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 8 }; /* 16 makes gcc 12 fall back to scalars: five times slower (2026-11) */
typedef float vf __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t vi __attribute__((vector_size(LANES * sizeof(int32_t))));

#if defined(__x86_64__)
#define WIDE      __attribute__((target("avx2"))) /* without fma: results stay the same */
#define IS_WIDE() __builtin_cpu_supports("avx2")
#else
#define WIDE
#define IS_WIDE() 0
#endif
#define BODY static inline __attribute__((always_inline))

BODY void load(vf *v, const float *x)
{
    memcpy(v, x, sizeof *v); /* no alignment is promised */
}

/* exp(x) = 2^k * exp(r), |r| <= ln 2 / 2, the polynomial being Cephes' expf. */
#define EXP_LOW      (-87.0f)
#define EXP_ROUND    12582912.0f /* 1.5 * 2^23: adding it rounds to an integer */
#define EXP_LN2_HIGH 0.693359375f
#define EXP_LN2_LOW  (-2.12194440e-4f)

BODY void exp_lanes(vf *io)
{
    const vf x = *io;
    const vi live = x > EXP_LOW;
    const vf safe = (vf)(live & (vi)x); /* 0 where it would underflow; masked out below */
    const vf shifted = safe * 1.44269504088896341f + EXP_ROUND;
    const vf k = shifted - EXP_ROUND;
    const vf r = (safe - k * EXP_LN2_HIGH) - k * EXP_LN2_LOW;
    vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const vi bits = (vi)p + (((vi)shifted - 0x4b400000) << 23); /* k is in the low bits */
    *io = (vf)(bits & live);
}

float fg_pick_exp(float x)
{
    vf v = {0};
    v[0] = x;
    exp_lanes(&v);
    return v[0];
}

BODY float max_body(const float *x, size_t n, bool *finite)
{
    vf best = {0}, v;
    vi wrong = {0};
    best = best - INFINITY;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        load(&v, x + i);
        const vi more = v > best;
        best = (vf)((more & (vi)v) | (~more & (vi)best));
        wrong |= ((vi)v & 0x7f800000) == 0x7f800000; /* exponent of infinities and NaN */
    }
    float max = -INFINITY;
    bool bad = false;
    for (size_t j = 0; j < LANES; j++) {
        max = best[j] > max ? best[j] : max;
        bad |= wrong[j] != 0;
    }
    for (; i < n; i++) {
        max = x[i] > max ? x[i] : max;
        bad |= !isfinite(x[i]);
    }
    if (finite)
        *finite = !bad;
    return max;
}

WIDE static float max_wide(const float *x, size_t n, bool *finite)
{
    return max_body(x, n, finite);
}

float fg_pick_max(const float *x, size_t n, bool *finite)
{
    return IS_WIDE() ? max_wide(x, n, finite) : max_body(x, n, finite);
}

BODY double sum_body(const float *x, size_t n, float max)
{
    double sum = 0;
    vf part = {0}, v;
    size_t i = 0, inner = 0;
    for (; i + LANES <= n; i += LANES) {
        load(&v, x + i);
        v -= max;
        exp_lanes(&v);
        part += v;
        if (++inner == 64) { /* float sums stay short: 64 terms a lane */
            for (size_t j = 0; j < LANES; j++)
                sum += (double)part[j];
            part = part - part;
            inner = 0;
        }
    }
    for (size_t j = 0; j < LANES; j++)
        sum += (double)part[j];
    for (; i < n; i++) {
        vf one = {0};
        one[0] = x[i] - max;
        exp_lanes(&one);
        sum += (double)one[0];
    }
    return sum;
}

WIDE static double sum_wide(const float *x, size_t n, float max)
{
    return sum_body(x, n, max);
}

double fg_pick_sum_exp(const float *x, size_t n, float max)
{
    return IS_WIDE() ? sum_wide(x, n, max) : sum_body(x, n, max);
}

/* Order of candidates: larger logit first, then smaller id, so that it is total. */
static inline bool better(const struct fg_cand *a, const struct fg_cand *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static int by_logit(const void *a, const void *b)
{
    return better(a, b) ? -1 : 1; /* ids differ, so never equal */
}

/* heap[0] is the worst that is kept; a hole at `at` sinks until `item` fits. */
static void sink(struct fg_cand *heap, size_t count, size_t at, struct fg_cand item)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && better(&heap[child], &heap[child + 1]))
            child++;
        if (!better(&item, &heap[child]))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = item;
}

enum { BLOCK = 4 * LANES };

/* The first block at or after i that has an entry above bound; n's last whole block at most. */
BODY size_t skip_body(const float *x, size_t i, size_t n, float bound)
{
    for (; i + BLOCK <= n; i += BLOCK) {
        vf a, b, c, d;
        load(&a, x + i);
        load(&b, x + i + LANES);
        load(&c, x + i + 2 * LANES);
        load(&d, x + i + 3 * LANES);
        const vi more = (a > bound) | (b > bound) | (c > bound) | (d > bound);
        uint64_t words[sizeof more / sizeof(uint64_t)], all = 0;
        memcpy(words, &more, sizeof more);
        for (size_t j = 0; j < sizeof more / sizeof(uint64_t); j++)
            all |= words[j];
        if (all)
            break;
    }
    return i;
}

WIDE static size_t skip_wide(const float *x, size_t i, size_t n, float bound)
{
    return skip_body(x, i, n, bound);
}

size_t fg_pick_first(const float *x, size_t n, float max)
{
    const float bound = nextafterf(max, -INFINITY);
    size_t i = IS_WIDE() ? skip_wide(x, 0, n, bound) : skip_body(x, 0, n, bound);
    for (; i < n; i++)
        if (x[i] == max)
            return i;
    return 0;
}

size_t fg_pick_argmax(const float *x, size_t n)
{
    return fg_pick_first(x, n, fg_pick_max(x, n, NULL));
}

size_t fg_pick_top(const float *x, size_t n, size_t k, struct fg_cand *out)
{
    const bool wide = IS_WIDE();
    size_t count = 0, i = 0;
    if (k == 0)
        return 0;
    for (; i < n && count < k; i++)
        if (x[i] > -INFINITY)
            out[count++] = (struct fg_cand){.id = (int32_t)i, .logit = x[i]};
    for (size_t at = count / 2; at-- > 0;)
        sink(out, count, at, out[at]);
    /* From here an entry counts only when it is above the worst kept: ids rise, so an equal one
     * loses. After the first few thousand nearly all blocks are skipped. */
    while (i < n) {
        i = wide ? skip_wide(x, i, n, out[0].logit) : skip_body(x, i, n, out[0].logit);
        const size_t end = i + BLOCK <= n ? i + BLOCK : n;
        for (; i < end; i++)
            if (x[i] > out[0].logit)
                sink(out, count, 0, (struct fg_cand){.id = (int32_t)i, .logit = x[i]});
    }
    qsort(out, count, sizeof *out, by_logit);
    return count;
}

size_t fg_pick_above(const float *x, size_t n, float bound, struct fg_cand *out)
{
    const bool wide = IS_WIDE();
    size_t count = 0;
    for (size_t i = 0; i < n;) {
        i = wide ? skip_wide(x, i, n, bound) : skip_body(x, i, n, bound);
        const size_t end = i + BLOCK <= n ? i + BLOCK : n;
        for (; i < end; i++)
            if (x[i] > bound)
                out[count++] = (struct fg_cand){.id = (int32_t)i, .logit = x[i]};
    }
    return count;
}

/* ---- one of all ------------------------------------------------------------------------------ */

enum { SPAN = 512 }; /* entries whose weights are summed at once */

BODY double span_body(const float *x, size_t n, float max, float scale)
{
    vf sum = {0}, v;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        load(&v, x + i);
        v = (v - max) * scale;
        exp_lanes(&v);
        sum += v;
    }
    double all = 0;
    for (size_t j = 0; j < LANES; j++)
        all += (double)sum[j];
    for (; i < n; i++)
        all += (double)fg_pick_exp((x[i] - max) * scale);
    return all;
}

WIDE static double span_wide(const float *x, size_t n, float max, float scale)
{
    return span_body(x, n, max, scale);
}

static double span_of(const float *x, size_t at, size_t n, float max, float scale)
{
    const size_t len = n - at < SPAN ? n - at : SPAN;
    return IS_WIDE() ? span_wide(x + at, len, max, scale) : span_body(x + at, len, max, scale);
}

size_t fg_pick_roll(const float *x, size_t n, float max, float scale, double unit)
{
    double total = 0, left;
    for (size_t at = 0; at < n; at += SPAN)
        total += span_of(x, at, n, max, scale);
    left = unit * total;
    size_t at = 0, last = 0; /* find the span, then the entry; summed again, not stored */
    for (; at + SPAN < n; at += SPAN) {
        const double span = span_of(x, at, n, max, scale);
        if (left < span)
            break;
        left -= span;
    }
    for (size_t i = at; i < n; i++) {
        const double weight = (double)fg_pick_exp((x[i] - max) * scale);
        if (weight <= 0)
            continue;
        last = i;
        left -= weight;
        if (left < 0)
            return i;
    }
    /* Rounding left a crumb behind the last span: its last entry, or the best of all. */
    return x[last] > -INFINITY && last >= at ? last : fg_pick_argmax(x, n);
}

void fg_pick_softmax(struct fg_cand *c, size_t count)
{
    float max = c[0].logit;
    for (size_t i = 1; i < count; i++)
        max = c[i].logit > max ? c[i].logit : max;
    double sum = 0;
    for (size_t i = 0; i < count; i += LANES) {
        const size_t lanes = count - i < LANES ? count - i : LANES;
        vf v = {0};
        for (size_t j = 0; j < lanes; j++)
            v[j] = c[i + j].logit - max;
        exp_lanes(&v);
        for (size_t j = 0; j < lanes; j++) {
            c[i + j].p = v[j];
            sum += (double)v[j];
        }
    }
    const float scale = (float)(1.0 / sum);
    for (size_t i = 0; i < count; i++)
        c[i].p *= scale;
}

/* ---- the smallest set with a given mass ------------------------------------------------------ */

struct ranked {
    struct fg_cand cand;
    float rank;
};

static int by_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->cand.id > y->cand.id) - (x->cand.id < y->cand.id);
}

/* Buckets of an eighth: candidates of far ranks are dropped unsorted, which keeps a draw over a
 * whole vocabulary linear. The last bucket takes all that is beyond. */
enum { BUCKETS = 512, BUCKETS_A_UNIT = 8 };

static size_t bucket_of(float rank)
{
    return rank < (float)BUCKETS / BUCKETS_A_UNIT ? (size_t)(rank * BUCKETS_A_UNIT) : BUCKETS - 1;
}

static size_t last_bucket(const struct fg_cand *c, const float *rank, size_t count, double mass)
{
    double held[BUCKETS] = {0}, sum = 0;
    for (size_t i = 0; i < count; i++)
        held[bucket_of(rank[i])] += (double)c[i].p;
    for (size_t b = 0; b < BUCKETS; b++) {
        sum += held[b];
        if (sum >= mass)
            return b;
    }
    return BUCKETS - 1;
}

size_t fg_pick_mass(struct fg_cand *c, float *rank, size_t count, double mass)
{
    const size_t last = last_bucket(c, rank, count, mass);
    size_t near = 0;
    for (size_t i = 0; i < count; i++) {
        if (bucket_of(rank[i]) > last)
            continue;
        c[near] = c[i];
        rank[near++] = rank[i];
    }
    struct ranked few[64], *all = near <= 64 ? few : malloc(near * sizeof *all);
    if (!all)
        return near; /* out of memory: a slightly larger set is the mildest way to go on */
    for (size_t i = 0; i < near; i++)
        all[i] = (struct ranked){c[i], rank[i]};
    qsort(all, near, sizeof *all, by_rank);
    double sum = 0;
    size_t kept = 0;
    do {
        c[kept] = all[kept].cand;
        sum += (double)c[kept++].p;
    } while (kept < near && sum < mass);
    if (all != few)
        free(all);
    return kept;
}
