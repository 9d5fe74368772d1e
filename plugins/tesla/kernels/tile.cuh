/*
 * tesla/kernels/tile.cuh - products with many rows (prefill, large batches), without tensor cores:
 * tiles of 64 outputs by 64 rows in shared memory, 4 x 4 of them a thread.
 *
 * Families with dp4a multiply whole numbers and scale once for each 32 (or 16) weights; the others
 * multiply floats that were weights a moment before. Either way a weight is unpacked once for 64
 * rows.
 */
#ifndef FG_TESLA_TILE_CUH
#define FG_TESLA_TILE_CUH

#include "tesla/kernels/planes.cuh"
#include "tesla/kernels/stream.cuh"
#include "tesla/table.h"

enum { FG_TILE = 64, FG_TILE_THREADS = 256, FG_TILE_PAD = FG_TILE + 4 };

struct tile_place {
    int part;
    uint32_t row0; /* first output */
};
FG_INLINE tile_place tile_of(const fg_tesla_product &p, uint32_t tile, uint32_t height)
{
    tile_place at = {0, tile};
    while (at.part + 1 < (int)p.count && at.row0 >= (p.part[at.part].w.n + height - 1) / height)
        at.row0 -= (p.part[at.part++].w.n + height - 1) / height;
    at.row0 *= height;
    return at;
}

FG_INLINE void tile_write(const fg_tesla_product &p, const tile_place &at, uint32_t token0,
                          const float sum[4][4])
{
    const fg_tesla_part &part = p.part[at.part];
    const uint32_t row = at.row0 + threadIdx.x % 16 * 4, token = token0 + threadIdx.x / 16 * 4;
#pragma unroll
    for (int t = 0; t < 4; t++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
            if (token + t >= p.rows || row + r >= part.w.n)
                continue;
            float *out = part.out + (size_t)(token + t) * part.stride + row + r;
            const float v = sum[r][t] + (part.bias ? part.bias[row + r] : 0);
            *out = p.mode == FG_MODE_ADD ? *out + v : v;
        }
}

/* Floats: weights of any type, inputs from in.f. */
template <int TYPE> FG_INLINE void tile_values(const fg_tesla_matrix &w, uint32_t row, uint32_t k,
                                               float v[8])
{
    if (TYPE == 0 || TYPE == 1 || TYPE == 30) {
        load8<TYPE>((const char *)w.lo + (size_t)row * w.k * (TYPE == 0 ? 4 : 2), k, v);
        return;
    }
    constexpr int T = TYPE == 0 || TYPE == 1 || TYPE == 30 ? 2 : TYPE;
    raw<T> r;
    float all[32];
    fetch<T>(w, (size_t)row * (w.k / 32) + k / 32, r);
    values<T>(r, all);
    const int at = k % 32 / 8;
#pragma unroll
    for (int q = 0; q < 4; q++)
        if (q == at)
#pragma unroll
            for (int i = 0; i < 8; i++)
                v[i] = all[q * 8 + i];
}

template <int TYPE>
__global__ void __launch_bounds__(FG_TILE_THREADS) tile_float_kernel(fg_tesla_product p)
{
    __shared__ float w[32][FG_TILE_PAD], x[32][FG_TILE_PAD];
    const tile_place at = tile_of(p, blockIdx.x, FG_TILE);
    const fg_tesla_matrix &m = p.part[at.part].w;
    const uint32_t token0 = blockIdx.y * FG_TILE, k = p.in.k;
    const uint32_t line = threadIdx.x % FG_TILE, chunk = threadIdx.x / FG_TILE * 8;
    const uint32_t row = at.row0 + line < m.n ? at.row0 + line : m.n - 1;
    const uint32_t token = token0 + line < p.rows ? token0 + line : p.rows - 1;
    float sum[4][4] = {};
    launch_wait();
    launch_go();
    for (uint32_t base = 0; base < k; base += 32) {
        float v[8];
        tile_values<TYPE>(m, row, base + chunk, v);
        const float4 *q = (const float4 *)(p.in.f + (size_t)token * k + base + chunk);
        const float4 a = q[0], b = q[1];
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 8; i++)
            w[chunk + i][line] = v[i];
        x[chunk][line] = a.x, x[chunk + 1][line] = a.y, x[chunk + 2][line] = a.z;
        x[chunk + 3][line] = a.w, x[chunk + 4][line] = b.x, x[chunk + 5][line] = b.y;
        x[chunk + 6][line] = b.z, x[chunk + 7][line] = b.w;
        __syncthreads();
#pragma unroll 8
        for (int i = 0; i < 32; i++) {
            const float4 wr = *(const float4 *)&w[i][threadIdx.x % 16 * 4];
            const float4 xt = *(const float4 *)&x[i][threadIdx.x / 16 * 4];
            const float wv[4] = {wr.x, wr.y, wr.z, wr.w}, xv[4] = {xt.x, xt.y, xt.z, xt.w};
#pragma unroll
            for (int r = 0; r < 4; r++)
#pragma unroll
                for (int t = 0; t < 4; t++)
                    sum[r][t] = fmaf(wv[r], xv[t], sum[r][t]);
        }
    }
    tile_write(p, at, token0, sum);
}

#if !FG_TESLA_FLOAT
template <int TYPE>
__global__ void __launch_bounds__(FG_TILE_THREADS) tile_whole_kernel(fg_tesla_product p)
{
    typedef quant<TYPE> Q;
    constexpr int HALVES = Q::halves ? 2 : 1;
    __shared__ int w[8][FG_TILE_PAD], x[8][FG_TILE_PAD];
    __shared__ float factor[HALVES][FG_TILE_PAD], rest[HALVES][FG_TILE_PAD];
    __shared__ float scale[FG_TILE_PAD], whole[HALVES][FG_TILE_PAD];
    const tile_place at = tile_of(p, blockIdx.x, FG_TILE);
    const fg_tesla_matrix &m = p.part[at.part].w;
    const uint32_t token0 = blockIdx.y * FG_TILE, k = p.in.k, blocks = k / 32;
    const uint32_t line = threadIdx.x % FG_TILE, quarter = threadIdx.x / FG_TILE;
    const uint32_t row = at.row0 + line < m.n ? at.row0 + line : m.n - 1;
    const uint32_t token = token0 + line < p.rows ? token0 + line : p.rows - 1;
    float sum[4][4] = {};
    launch_wait();
    launch_go();
    for (uint32_t b = 0; b < blocks; b++) {
        raw<TYPE> r;
        uint32_t v[8];
        int4 a0, a1;
        float4 s;
        if (quarter == 0) { /* two warps unpack, two bring inputs, the rest wait at the barrier */
            fetch<TYPE>(m, (size_t)row * blocks + b, r);
            expand_bytes<TYPE>(r, v);
        } else if (quarter == 1) {
            const int4 *q = (const int4 *)((const int8_t *)p.in.q + (size_t)token * k + b * 32);
            a0 = q[0], a1 = q[1];
            s = ((const float4 *)p.in.steps)[(size_t)token * blocks + b];
        }
        __syncthreads();
        if (quarter == 0) {
            float f[2], c[2];
            scales<TYPE>(r, f, c);
#pragma unroll
            for (int i = 0; i < 8; i++)
                w[i][line] = (int)v[i];
#pragma unroll
            for (int h = 0; h < HALVES; h++)
                factor[h][line] = f[h], rest[h][line] = c[h] - f[h] * Q::offset;
        } else if (quarter == 1) {
            x[0][line] = a0.x, x[1][line] = a0.y, x[2][line] = a0.z, x[3][line] = a0.w;
            x[4][line] = a1.x, x[5][line] = a1.y, x[6][line] = a1.z, x[7][line] = a1.w;
            scale[line] = s.x;
            whole[0][line] = HALVES == 2 ? s.y : s.w;
            if (HALVES == 2)
                whole[HALVES - 1][line] = s.z;
        }
        __syncthreads();
        const uint32_t r0 = threadIdx.x % 16 * 4, t0 = threadIdx.x / 16 * 4;
        const float4 d4 = *(const float4 *)&scale[t0];
        const float d[4] = {d4.x, d4.y, d4.z, d4.w};
#pragma unroll
        for (int h = 0; h < HALVES; h++) {
            int dot[4][4] = {};
#pragma unroll
            for (int i = h * 4; i < (HALVES == 2 ? h * 4 + 4 : 8); i++) {
                const int4 wr = *(const int4 *)&w[i][r0], xt = *(const int4 *)&x[i][t0];
                const int wv[4] = {wr.x, wr.y, wr.z, wr.w}, xv[4] = {xt.x, xt.y, xt.z, xt.w};
#pragma unroll
                for (int rr = 0; rr < 4; rr++)
#pragma unroll
                    for (int t = 0; t < 4; t++)
                        dot[rr][t] = dot4(wv[rr], xv[t], dot[rr][t]);
            }
            const float4 f4 = *(const float4 *)&factor[h][r0], c4 = *(const float4 *)&rest[h][r0];
            const float4 s4 = *(const float4 *)&whole[h][t0];
            const float f[4] = {f4.x, f4.y, f4.z, f4.w}, c[4] = {c4.x, c4.y, c4.z, c4.w};
            const float o[4] = {s4.x, s4.y, s4.z, s4.w};
#pragma unroll
            for (int rr = 0; rr < 4; rr++)
#pragma unroll
                for (int t = 0; t < 4; t++) {
                    sum[rr][t] += f[rr] * (d[t] * (float)dot[rr][t]);
                    if (Q::mins || Q::offset)
                        sum[rr][t] += c[rr] * o[t];
                }
        }
    }
    tile_write(p, at, token0, sum);
}
#endif

#endif
