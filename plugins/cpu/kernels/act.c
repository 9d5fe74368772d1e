/*
 * cpu/kernels/act.c - floats to 8-bit records. See act.h.
 */
#include "cpu/kernels/act.h"

#include <math.h>
#include <string.h>

size_t fg_act8_bytes(uint32_t m, uint32_t k)
{
    return (size_t)m * (k / 32) * FG_ACT8_RECORD;
}

/* Plain loops over 32: the compiler makes vector code of them. A NaN or infinity among the 32
 * makes all of them NaN through d, and nothing else. */
static void round32(const float *x, int8_t *q, float *d, float *low, float *high)
{
    float top = 0;
    float mags[32];
    for (int i = 0; i < 32; i++)
        mags[i] = fabsf(x[i]);
    for (int s = 16; s > 0; s /= 2)
        for (int i = 0; i < s; i++)
            mags[i] = mags[i] > mags[i + s] ? mags[i] : mags[i + s];
    top = mags[0];
    float sum = 0;
    for (int i = 0; i < 32; i++)
        sum += x[i] * 0.0f; /* NaN if any value is not finite */
    float scale = top > 0 && sum == 0 ? 127.0f / top : 0;
    int sums[2] = {0, 0};
    for (int h = 0; h < 2; h++) {
        int total = 0;
        for (int i = h * 16; i < h * 16 + 16; i++) {
            float v = sum == 0 ? x[i] * scale : 0;
            int r = (int)(v + (v < 0 ? -0.5f : 0.5f));
            r = r > 127 ? 127 : r < -127 ? -127 : r;
            q[i] = (int8_t)r;
            total += r;
        }
        sums[h] = total;
    }
    *d = sum == 0 ? top / 127.0f : NAN;
    *low = *d * (float)sums[0];
    *high = *d * (float)sums[1];
}

void fg_act8_quantize(const float *x, size_t stride, uint32_t m, uint32_t k, uint32_t first,
                      uint32_t last, void *act)
{
    uint32_t blocks = k / 32;
    for (uint32_t r = first; r < last; r++) {
        uint32_t base = r / FG_ACT8_ROWS * FG_ACT8_ROWS;
        uint32_t t = m - base < FG_ACT8_ROWS ? m - base : FG_ACT8_ROWS, i = r - base;
        uint8_t *record = (uint8_t *)act + (size_t)base * blocks * FG_ACT8_RECORD;
        for (uint32_t b = 0; b < blocks; b++, record += (size_t)t * FG_ACT8_RECORD) {
            float *tail = (float *)(void *)(record + (size_t)t * 32);
            round32(x + (size_t)r * stride + (size_t)b * 32, (int8_t *)record + (size_t)i * 32,
                    &tail[i], &tail[t + i], &tail[2 * t + i]);
            tail[3 * t + i] = tail[t + i] + tail[2 * t + i];
        }
    }
}
