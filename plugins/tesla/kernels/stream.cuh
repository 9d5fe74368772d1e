/*
 * tesla/kernels/stream.cuh - products with few rows (decode): the weights are read once, in a
 * straight line, and everything else hides behind that.
 *
 * A warp owns ROWS outputs; a lane takes a block of 32 weights of each, the next ones 32 blocks on.
 * The loads of the next round are under way while this one is multiplied. In the gated modes the
 * two outputs of a warp are row i of gate and row i of up.
 */
#ifndef FG_TESLA_STREAM_CUH
#define FG_TESLA_STREAM_CUH

#include "tesla/kernels/planes.cuh"
#include "tesla/table.h"

enum { FG_STREAM_WARPS = 8, FG_STREAM_ROWS = 2 };

struct stream_rows { /* which outputs a warp makes */
    int part;
    uint32_t first; /* of ROWS in this part; gated: of ROWS/2 in both */
};

FG_INLINE uint32_t stream_blocks(const fg_tesla_product &p, int part)
{
    const uint32_t each = FG_STREAM_WARPS * (p.mode >= FG_MODE_SILU ? 1 : FG_STREAM_ROWS);
    return (p.part[part].w.n + each - 1) / each;
}

FG_INLINE stream_rows stream_place(const fg_tesla_product &p)
{
    stream_rows at = {0, blockIdx.x};
    if (p.mode < FG_MODE_SILU)
        while (at.part + 1 < (int)p.count && at.first >= stream_blocks(p, at.part))
            at.first -= stream_blocks(p, at.part++);
    at.first = at.first * FG_STREAM_WARPS + threadIdx.x / 32;
    if (p.mode < FG_MODE_SILU)
        at.first *= FG_STREAM_ROWS;
    return at;
}

/* The matrix and the row of output r of this warp. */
FG_INLINE const fg_tesla_part &stream_part(const fg_tesla_product &p, const stream_rows &at, int r)
{
    return p.part[p.mode >= FG_MODE_SILU ? r : at.part];
}
FG_INLINE uint32_t stream_row(const fg_tesla_product &p, const stream_rows &at, int r)
{
    return p.mode >= FG_MODE_SILU ? at.first : at.first + r;
}

template <int N>
FG_INLINE void stream_write(const fg_tesla_product &p, const stream_rows &at,
                            float sum[FG_STREAM_ROWS][N])
{
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
        for (int r = 0; r < FG_STREAM_ROWS; r++)
            sum[r][n] = warp_sum(sum[r][n]);
        if (lane != n || (uint32_t)n >= p.rows)
            continue;
        if (p.mode >= FG_MODE_SILU) {
            const fg_tesla_part &g = p.part[0], &u = p.part[1];
            if (at.first >= g.w.n)
                continue;
            const float gate = sum[0][n] + (g.bias ? g.bias[at.first] : 0);
            const float up = sum[1][n] + (u.bias ? u.bias[at.first] : 0);
            g.out[(size_t)n * g.stride + at.first] =
                (p.mode == FG_MODE_SILU ? silu(gate) : gelu(gate)) * up;
            continue;
        }
        const fg_tesla_part &part = p.part[at.part];
#pragma unroll
        for (int r = 0; r < FG_STREAM_ROWS; r++) {
            const uint32_t row = at.first + r;
            if (row >= part.w.n)
                continue;
            float *out = part.out + (size_t)n * part.stride + row;
            const float v = sum[r][n] + (part.bias ? part.bias[row] : 0);
            *out = p.mode == FG_MODE_ADD ? *out + v : v;
        }
    }
}

#if !FG_TESLA_FLOAT
template <int TYPE, int N>
FG_INLINE void stream_multiply(const raw<TYPE> r[FG_STREAM_ROWS], const fg_tesla_in &in,
                               uint32_t block, float sum[FG_STREAM_ROWS][N])
{
    typedef quant<TYPE> Q;
    uint32_t w[FG_STREAM_ROWS][8];
    float factor[FG_STREAM_ROWS][2], addend[FG_STREAM_ROWS][2];
#pragma unroll
    for (int i = 0; i < FG_STREAM_ROWS; i++) {
        expand_bytes<TYPE>(r[i], w[i]);
        scales<TYPE>(r[i], factor[i], addend[i]);
        addend[i][0] -= factor[i][0] * Q::offset;
        addend[i][1] -= factor[i][1] * Q::offset;
    }
#pragma unroll
    for (int n = 0; n < N; n++) {
        const int4 *q = (const int4 *)((const int8_t *)in.q + (size_t)n * in.k + block * 32);
        const int4 a = q[0], b = q[1];
        const float4 s = ((const float4 *)in.steps)[(size_t)n * (in.k / 32) + block];
#pragma unroll
        for (int i = 0; i < FG_STREAM_ROWS; i++) {
            int low = dot4(w[i][0], a.x, 0), high = dot4(w[i][4], b.x, 0);
            low = dot4(w[i][1], a.y, low), high = dot4(w[i][5], b.y, high);
            low = dot4(w[i][2], a.z, low), high = dot4(w[i][6], b.z, high);
            low = dot4(w[i][3], a.w, low), high = dot4(w[i][7], b.w, high);
            if (Q::halves) {
                sum[i][n] += factor[i][0] * (s.x * (float)low) + addend[i][0] * s.y;
                sum[i][n] += factor[i][1] * (s.x * (float)high) + addend[i][1] * s.z;
            } else {
                sum[i][n] += factor[i][0] * (s.x * (float)(low + high));
                if (Q::mins || Q::offset)
                    sum[i][n] += addend[i][0] * s.w;
            }
        }
    }
}
#else
template <int TYPE, int N>
FG_INLINE void stream_multiply(const raw<TYPE> r[FG_STREAM_ROWS], const fg_tesla_in &in,
                               uint32_t block, float sum[FG_STREAM_ROWS][N])
{
    typedef quant<TYPE> Q;
    constexpr int low = Q::lo == 8 ? 4 : Q::lo, high = Q::lo == 8 ? 4 : Q::hi;
    float dot[FG_STREAM_ROWS][N], above[FG_STREAM_ROWS][N];
#pragma unroll
    for (int j = 0; j < 4; j++) {
        if (j == 0 || (Q::halves && j == 2))
#pragma unroll
            for (int i = 0; i < FG_STREAM_ROWS; i++)
#pragma unroll
                for (int n = 0; n < N; n++)
                    dot[i][n] = above[i][n] = 0;
        uint32_t w[FG_STREAM_ROWS], h[FG_STREAM_ROWS];
#pragma unroll
        for (int i = 0; i < FG_STREAM_ROWS; i++) {
            w[i] = plane_word<low>(r[i].lo, j);
            h[i] = high ? plane_word<high ? high : 1>(Q::lo == 8 ? r[i].lo + 4 % Q::lo : r[i].hi, j)
                        : 0;
        }
#pragma unroll
        for (int n = 0; n < N; n++) {
            const float4 *q =
                (const float4 *)((const float *)in.q + (size_t)n * in.k + block * 32 + j * 8);
            const float4 a = q[0], b = q[1];
            const float x[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
            for (int i = 0; i < FG_STREAM_ROWS; i++)
#pragma unroll
                for (int f = 0; f < 8; f++) {
                    dot[i][n] = fmaf(field(w[i], (1u << low) - 1, f), x[f], dot[i][n]);
                    if (high)
                        above[i][n] = fmaf(field(h[i], (1u << high) - 1, f), x[f], above[i][n]);
                }
        }
        if (j == 3 || (Q::halves && j == 1)) {
            const int part = Q::halves ? j / 2 : 0;
#pragma unroll
            for (int i = 0; i < FG_STREAM_ROWS; i++) {
                float factor[2], addend[2];
                scales<TYPE>(r[i], factor, addend);
                const float rest = addend[part] - factor[part] * Q::offset;
#pragma unroll
                for (int n = 0; n < N; n++) {
                    const float4 s = ((const float4 *)in.steps)[(size_t)n * (in.k / 32) + block];
                    const float of = !Q::halves ? s.w : part ? s.z : s.y;
                    const float v = dot[i][n] + above[i][n] * (float)(1 << low);
                    sum[i][n] += factor[part] * (v * s.x) + rest * of;
                }
            }
        }
    }
}
#endif

template <int TYPE, int N>
__global__ void __launch_bounds__(FG_STREAM_WARPS * 32) stream_kernel(fg_tesla_product p)
{
    const stream_rows at = stream_place(p);
    const uint32_t blocks = p.in.k / 32, lane = threadIdx.x % 32;
    float sum[FG_STREAM_ROWS][N];
    raw<TYPE> now[FG_STREAM_ROWS], next[FG_STREAM_ROWS];
    size_t base[FG_STREAM_ROWS];
#pragma unroll
    for (int r = 0; r < FG_STREAM_ROWS; r++) {
        const fg_tesla_matrix &w = stream_part(p, at, r).w;
        const uint32_t row = stream_row(p, at, r);
        base[r] = (size_t)(row < w.n ? row : w.n - 1) * blocks;
#pragma unroll
        for (int n = 0; n < N; n++)
            sum[r][n] = 0;
        if (lane < blocks)
            fetch<TYPE>(w, base[r] + lane, now[r]); /* weights wait for nobody */
    }
    launch_wait();
    for (uint32_t b = lane; b < blocks; b += 32) {
#pragma unroll
        for (int r = 0; r < FG_STREAM_ROWS; r++)
            if (b + 32 < blocks)
                fetch<TYPE>(stream_part(p, at, r).w, base[r] + b + 32, next[r]);
        stream_multiply<TYPE, N>(now, p.in, b, sum);
#pragma unroll
        for (int r = 0; r < FG_STREAM_ROWS; r++)
            now[r] = next[r];
    }
    launch_go();
    stream_write<N>(p, at, sum);
}

/* ---- float weights --------------------------------------------------------------------------- */

template <int TYPE> FG_INLINE void load8(const void *row, uint32_t k, float v[8])
{
    if (TYPE == 0) {
        const float4 a = __ldg((const float4 *)row + k / 4), b = __ldg((const float4 *)row + k / 4 + 1);
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
        return;
    }
    const uint4 a = __ldg((const uint4 *)row + k / 8);
    const uint32_t w[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[2 * i] = TYPE == 1 ? half_bits(w[i] & 0xffff) : __uint_as_float(w[i] << 16);
        v[2 * i + 1] = TYPE == 1 ? half_bits(w[i] >> 16) : __uint_as_float(w[i] & 0xffff0000u);
    }
}

template <int TYPE, int N>
__global__ void __launch_bounds__(FG_STREAM_WARPS * 32) stream_float_kernel(fg_tesla_product p)
{
    const stream_rows at = stream_place(p);
    const uint32_t k = p.in.k, lane = threadIdx.x % 32;
    float sum[FG_STREAM_ROWS][N];
#pragma unroll
    for (int r = 0; r < FG_STREAM_ROWS; r++)
#pragma unroll
        for (int n = 0; n < N; n++)
            sum[r][n] = 0;
    launch_wait();
    for (uint32_t i = lane * 8; i < k; i += 256) {
        float w[FG_STREAM_ROWS][8];
#pragma unroll
        for (int r = 0; r < FG_STREAM_ROWS; r++) {
            const fg_tesla_matrix &m = stream_part(p, at, r).w;
            const uint32_t row = stream_row(p, at, r);
            const size_t start = (size_t)(row < m.n ? row : m.n - 1) * k * (TYPE == 0 ? 4 : 2);
            load8<TYPE>((const char *)m.lo + start, i, w[r]);
        }
#pragma unroll
        for (int n = 0; n < N; n++) {
            const float4 *q = (const float4 *)(p.in.f + (size_t)n * k + i);
            const float4 a = q[0], b = q[1];
            const float x[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
            for (int r = 0; r < FG_STREAM_ROWS; r++)
#pragma unroll
                for (int j = 0; j < 8; j++)
                    sum[r][n] = fmaf(w[r][j], x[j], sum[r][n]);
        }
    }
    launch_go();
    stream_write<N>(p, at, sum);
}

#endif
