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
#include "cpu/kernels/vnni_core.h"

VNNI INLINE __m512 bcast(const float *p)
{
    return _mm512_set1_ps(*p);
}

/* Run r of a record: integer dots of `rows` rows, as float. */
VNNI INLINE void run_dots(int runs, bool mins, int rows, int r, const uint8_t *w,
                          const uint8_t *act, __m512 dot[8])
{
    const int32_t *whole = (const int32_t *)(const void *)(act + rows * 32) +
                           (runs == 1 ? FG_ACT8_MINUS_ALL : FG_ACT8_MINUS_LOW + r) * rows;
    __m512i acc[8];
    for (int i = 0; i < rows; i++)
        acc[i] = mins ? _mm512_setzero_si512() : _mm512_set1_epi32(whole[i]);
#pragma GCC unroll 8
    for (int j = 8 / runs * r; j < 8 / runs * (r + 1); j++) {
        __m512i v = _mm512_load_si512(w + j * 64);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
            acc[i] = _mm512_dpbusd_epi32(acc[i], v, vnni_four(act + i * 32 + j * 4));
    }
    for (int i = 0; i < rows; i++)
        dot[i] = _mm512_cvtepi32_ps(acc[i]);
}

VNNI INLINE void panel(int runs, bool mins, int rows, const struct fg_vnni_panel *p)
{
    const size_t record = fg_vnni_wide(runs, mins);
    const uint8_t *w = p->wide, *act = p->act, *ahead = p->ahead;
    const uint32_t step = p->step;
    const __mmask16 keep = (__mmask16)p->keep;
    __m512 sum[8], v[8], dot[8];
    for (int i = 0; i < rows; i++)
        sum[i] = p->add ? _mm512_maskz_loadu_ps(keep, p->y + (size_t)i * p->stride)
                        : _mm512_setzero_ps();
    for (uint32_t b = p->count; b > 0; b--, w += record, act += rows * (int)FG_ACT8_RECORD) {
        const float *tail = (const float *)(const void *)(act + rows * 32);
        for (uint32_t at = 0; at < step; at += 64)
            _mm_prefetch((const char *)ahead + at, _MM_HINT_T0);
        ahead += step;
#pragma GCC unroll 2
        for (int r = 0; r < runs; r++) {
            run_dots(runs, mins, rows, r, w, act, dot);
            __m512 d = _mm512_load_ps(w + 512 + r * 64);
            for (int i = 0; i < rows; i++)
                v[i] = r == 0 ? _mm512_mul_ps(dot[i], d) : _mm512_fmadd_ps(dot[i], d, v[i]);
            if (!mins)
                continue;
            const float *all = tail + (runs == 1 ? FG_ACT8_ALL : FG_ACT8_LOW + r) * rows;
            __m512 m = _mm512_load_ps(w + 512 + runs * 64 + r * 64);
            for (int i = 0; i < rows; i++)
                sum[i] = _mm512_fmadd_ps(m, bcast(all + i), sum[i]);
        }
        for (int i = 0; i < rows; i++)
            sum[i] = _mm512_fmadd_ps(v[i], bcast(tail + FG_ACT8_D * rows + i), sum[i]);
    }
    for (int i = 0; i < rows; i++)
        _mm512_mask_storeu_ps(p->y + (size_t)i * p->stride, keep, sum[i]);
}

#define PANEL(runs, mins, rows)                                                                    \
    VNNI static void panel_##runs##_##mins##_##rows(const struct fg_vnni_panel *p)                 \
    {                                                                                              \
        panel(runs, mins, rows, p);                                                                \
    }
#define PANELS(runs, mins)                                                                         \
    PANEL(runs, mins, 1)                                                                           \
    PANEL(runs, mins, 2)                                                                           \
    PANEL(runs, mins, 3)                                                                           \
    PANEL(runs, mins, 4)                                                                           \
    PANEL(runs, mins, 5)                                                                           \
    PANEL(runs, mins, 6)                                                                           \
    PANEL(runs, mins, 7)                                                                           \
    PANEL(runs, mins, 8)
#define NAMES(runs, mins)                                                                          \
    {                                                                                              \
        panel_##runs##_##mins##_1, panel_##runs##_##mins##_2, panel_##runs##_##mins##_3,           \
            panel_##runs##_##mins##_4, panel_##runs##_##mins##_5, panel_##runs##_##mins##_6,       \
            panel_##runs##_##mins##_7, panel_##runs##_##mins##_8                                   \
    }
PANELS(1, 0)
PANELS(1, 1)
PANELS(2, 0)
PANELS(2, 1)

const fg_vnni_panel_fn fg_vnni_panels[2][2][8] = {{NAMES(1, 0), NAMES(1, 1)},
                                                  {NAMES(2, 0), NAMES(2, 1)}};
#else
typedef int fg_vnni_panel_is_empty;
#endif
