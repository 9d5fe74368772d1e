/*
 * cpu/kernels/vnni_panel.c - the inner loop of large batches: a panel of wide weights by up to 8
 * rows of activations, the same for all types. See vnni.h.
 *
 * Rows are the inner loop, so that neighbouring vpdpbusd do not wait for each other. Per record and
 * row 8 of them and 2 to 4 float operations: cvt, times d of the weights, times d of the row into
 * the sum, and the min where there is one. Float operations share their ports with vpdpbusd, so
 * offsets of signed weights are taken off by where the integer sum starts (act.h).
 */
#if defined(__x86_64__)
#include <string.h>

#include "cpu/kernels/vnni_core.h"

/* Where the rows of a sub-tile stand in a record of a tile of t rows. */
struct view {
    const uint8_t *w[2]; /* wide weights of each group */
    const uint8_t *q;
    const float *d, *all[2]; /* by run */
    const int32_t *minus[2];
};

VNNI INLINE void view_open(struct view *v, int runs, const struct fg_panel *p, uint32_t i)
{
    const uint32_t t = p->tile;
    const float *tail = (const float *)(const void *)(p->act + (size_t)t * 32) + i;
    const int32_t *whole = (const int32_t *)(const void *)tail;
    v->w[0] = p->wide[0];
    v->w[1] = p->wide[1];
    v->q = p->act + (size_t)i * 32;
    v->d = tail + FG_ACT8_D * t;
    for (int r = 0; r < runs; r++) {
        v->all[r] = tail + (runs == 1 ? FG_ACT8_ALL : FG_ACT8_LOW + (uint32_t)r) * t;
        v->minus[r] =
            whole + (runs == 1 ? FG_ACT8_MINUS_ALL : FG_ACT8_MINUS_LOW + (uint32_t)r) * t;
    }
}

/* dots[g][i]: run r of record b, group g by row i, as float. */
VNNI INLINE void run_dots(int runs, bool mins, int groups, int rows, int r, const struct view *at,
                          size_t step, size_t w_step, __m512 dots[2][4])
{
    __m512i acc[2][4];
    for (int i = 0; i < rows; i++) {
        __m512i start = mins ? _mm512_setzero_si512()
                             : vnni_four((const uint8_t *)at->minus[r] + step + i * 4);
        for (int g = 0; g < groups; g++)
            acc[g][i] = start;
    }
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        if (runs == 2 && j / 4 != r)
            continue;
        __m512i w[2];
        for (int g = 0; g < groups; g++)
            w[g] = _mm512_load_si512(at->w[g] + w_step + j * 64);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            __m512i a = vnni_four(at->q + step + i * 32 + j * 4);
#pragma GCC unroll 2
            for (int g = 0; g < groups; g++)
                acc[g][i] = _mm512_dpbusd_epi32(acc[g][i], w[g], a);
        }
    }
    for (int g = 0; g < groups; g++)
        for (int i = 0; i < rows; i++)
            dots[g][i] = _mm512_cvtepi32_ps(acc[g][i]);
}

VNNI INLINE __m512 row_float(const float *p, size_t step, int i)
{
    float f;
    memcpy(&f, (const uint8_t *)p + step + i * 4, 4);
    return _mm512_set1_ps(f);
}

VNNI INLINE void sub_tile(int runs, bool mins, int groups, int rows, const struct fg_panel *p,
                          uint32_t first)
{
    const size_t record = FG_VNNI_WIDE((unsigned)runs, mins), stride = p->stride;
    const size_t act_record = (size_t)p->tile * FG_ACT8_RECORD;
    const uint8_t *ahead = p->ahead;
    float *y = p->y + (size_t)first * stride;
    __m512 sum[2][4], v[2][4], dots[2][4];
    struct view at;
    __mmask16 keep[2];

    for (int g = 0; g < groups; g++)
        keep[g] = (__mmask16)((1u << p->outputs[g]) - 1);
    view_open(&at, runs, p, first);
    for (int g = 0; g < groups; g++)
        for (int i = 0; i < rows; i++)
            sum[g][i] = p->add ? _mm512_maskz_loadu_ps(keep[g],
                                                       y + (size_t)i * stride + g * 16)
                               : _mm512_setzero_ps();
    size_t step = 0, w_step = 0;
    for (uint32_t b = p->count; b > 0; b--, step += act_record, w_step += record) {
        for (uint32_t line = 0; line < p->ahead_step; line += 64)
            _mm_prefetch((const char *)ahead + line, _MM_HINT_T0);
        ahead += p->ahead_step;
#pragma GCC unroll 2
        for (int r = 0; r < runs; r++) {
            run_dots(runs, mins, groups, rows, r, &at, step, w_step, dots);
            for (int g = 0; g < groups; g++) {
                const uint8_t *scales = at.w[g] + w_step + 512;
                __m512 d = _mm512_load_ps(scales + r * 64);
                for (int i = 0; i < rows; i++)
                    v[g][i] = r == 0 ? _mm512_mul_ps(dots[g][i], d)
                                     : _mm512_fmadd_ps(dots[g][i], d, v[g][i]);
                if (!mins)
                    continue;
                __m512 m = _mm512_load_ps(scales + (runs + r) * 64);
                for (int i = 0; i < rows; i++)
                    sum[g][i] = _mm512_fmadd_ps(m, row_float(at.all[r], step, i), sum[g][i]);
            }
        }
        for (int i = 0; i < rows; i++) {
            __m512 d = row_float(at.d, step, i);
            for (int g = 0; g < groups; g++)
                sum[g][i] = _mm512_fmadd_ps(v[g][i], d, sum[g][i]);
        }
    }
    for (int g = 0; g < groups; g++)
        for (int i = 0; i < rows; i++)
            _mm512_mask_storeu_ps(y + (size_t)i * stride + g * 16, keep[g],
                                  sum[g][i]);
}

VNNI INLINE void tile(int runs, bool mins, int groups, struct fg_panel *p)
{
    uint32_t i = 0;
    for (; i + 4 <= p->tile; i += 4, p->ahead_step = 0)
        sub_tile(runs, mins, groups, 4, p, i);
    switch (p->tile - i) {
    case 1:
        sub_tile(runs, mins, groups, 1, p, i);
        break;
    case 2:
        sub_tile(runs, mins, groups, 2, p, i);
        break;
    case 3:
        sub_tile(runs, mins, groups, 3, p, i);
        break;
    default:
        break;
    }
}

#define PANEL(name, runs, mins)                                                                    \
    VNNI void name(struct fg_panel *p)                                                             \
    {                                                                                              \
        if (p->groups == 2)                                                                        \
            tile(runs, mins, 2, p);                                                                \
        else                                                                                       \
            tile(runs, mins, 1, p);                                                                \
    }
PANEL(fg_vnni_panel_1, 1, false)
PANEL(fg_vnni_panel_1_mins, 1, true)
PANEL(fg_vnni_panel_2, 2, false)
PANEL(fg_vnni_panel_2_mins, 2, true)
#else
typedef int fg_vnni_panel_is_empty;
#endif
