/*
 * tesla/kernels/mma.cuh - products with many rows on tensor cores (7.0 and later): fp16 in, fp32
 * sums.
 *
 * Weights are unpacked to half in shared memory once for BN rows; the inputs are halves divided by
 * their row's greatest magnitude, so nothing can overflow, and the sums are multiplied back at the
 * end. Few rows leave most of a card idle, so K is cut into `splits` parts whose sums are added up
 * afterwards in a fixed order (sum_kernel): results do not depend on timing.
 */
#ifndef FG_TESLA_MMA_CUH
#define FG_TESLA_MMA_CUH

#if FG_TESLA_MMA
#include <mma.h>

#include "tesla/kernels/tile.cuh"

enum { FG_MMA_M = 128, FG_MMA_K = 64, FG_MMA_LD = FG_MMA_K + 8, FG_MMA_THREADS = 256 };

FG_INLINE __half2 as_half2(uint32_t v)
{
    return *(__half2 *)&v;
}
FG_INLINE uint32_t as_word(__half2 v)
{
    return *(uint32_t *)&v;
}

/* 32 weights as 16 half2. Bytes become halves by standing below 0x64: 1024 + byte. */
template <int TYPE> FG_INLINE void half_values(const raw<TYPE> &r, uint32_t out[16])
{
    typedef quant<TYPE> Q;
    uint32_t w[8];
    float factor[2], addend[2];
    expand_bytes<TYPE>(r, w);
    scales<TYPE>(r, factor, addend);
    const __half2 base = __float2half2_rn(Q::is_signed ? 1024.0f + 128.0f : 1024.0f + Q::offset);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const uint32_t v = Q::is_signed ? w[i] ^ 0x80808080u : w[i];
        const __half2 f = __float2half2_rn(factor[i / 4]);
        const __half2 c = __float2half2_rn(addend[i / 4]);
        const __half2 a = __hsub2(as_half2(__byte_perm(v, 0x64646464u, 0x4140)), base);
        const __half2 b = __hsub2(as_half2(__byte_perm(v, 0x64646464u, 0x4342)), base);
        out[2 * i] = as_word(Q::mins ? __hfma2(a, f, c) : __hmul2(a, f));
        out[2 * i + 1] = as_word(Q::mins ? __hfma2(b, f, c) : __hmul2(b, f));
    }
}

template <int TYPE> struct mma_load { /* a thread's 32 weights on their way */
    raw<TYPE> r;
    FG_INLINE void get(const fg_tesla_matrix &m, uint32_t row, uint32_t block)
    {
        fetch<TYPE>(m, (size_t)row * (m.k / 32) + block, r);
    }
    FG_INLINE void halves(uint32_t out[16]) const
    {
        half_values<TYPE>(r, out);
    }
};
template <int TYPE> struct mma_load_float {
    float v[4][8];
    FG_INLINE void get(const fg_tesla_matrix &m, uint32_t row, uint32_t block)
    {
        const char *at = (const char *)m.lo + (size_t)row * m.k * (TYPE == 0 ? 4 : 2);
#pragma unroll
        for (int i = 0; i < 4; i++)
            load8<TYPE>(at, block * 32 + i * 8, v[i]);
    }
    FG_INLINE void halves(uint32_t out[16]) const
    {
#pragma unroll
        for (int i = 0; i < 16; i++)
            out[i] = as_word(__floats2half2_rn(v[i / 4][i % 4 * 2], v[i / 4][i % 4 * 2 + 1]));
    }
};
template <> struct mma_load<0> : mma_load_float<0> {};
template <> struct mma_load<1> : mma_load_float<1> {};
template <> struct mma_load<30> : mma_load_float<30> {};

/* BN: rows of the step a block of threads takes (32, 64 or 128). */
template <int TYPE, int BN>
__global__ void __launch_bounds__(FG_MMA_THREADS) mma_kernel(fg_tesla_product p, uint32_t splits)
{
    using namespace nvcuda;
    constexpr int WARPS_N = BN == 32 ? 1 : 2, WARPS_M = 8 / WARPS_N;
    constexpr int TM = FG_MMA_M / WARPS_M / 16, TN = BN / WARPS_N / 16;
    constexpr int INPUTS = BN * FG_MMA_K / 8 / FG_MMA_THREADS; /* uint4 a thread */
    __shared__ __align__(32) __half w[FG_MMA_M][FG_MMA_LD];
    __shared__ __align__(32) __half x[BN][FG_MMA_LD];
    const tile_place at = tile_of(p, blockIdx.x, FG_MMA_M);
    const fg_tesla_matrix &m = p.part[at.part].w;
    const uint32_t token0 = blockIdx.y * BN, k = p.in.k, blocks = k / 32;
    const uint32_t line = threadIdx.x % FG_MMA_M, side = threadIdx.x / FG_MMA_M;
    const uint32_t row = at.row0 + line < m.n ? at.row0 + line : m.n - 1;
    const uint32_t steps = (blocks + 1) / 2, each = (steps + splits - 1) / splits;
    const uint32_t first = blockIdx.z * each, last = first + each < steps ? first + each : steps;
    const int warp = threadIdx.x / 32, wm = warp / WARPS_N, wn = warp % WARPS_N;

    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum[TM][TN];
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++)
            wmma::fill_fragment(sum[i][j], 0.0f);

    mma_load<TYPE> load;
    uint4 input[INPUTS];
    /* An odd last block: the second half of the step is zero. */
    auto get = [&](uint32_t step) {
        if (step * 2 + side < blocks)
            load.get(m, row, step * 2 + side);
#pragma unroll
        for (int i = 0; i < INPUTS; i++) {
            const uint32_t n = threadIdx.x + i * FG_MMA_THREADS;
            const uint32_t token = token0 + n / 8, at_k = step * FG_MMA_K + n % 8 * 8;
            input[i] = make_uint4(0, 0, 0, 0);
            if (token < p.rows && at_k < k)
                input[i] = *(const uint4 *)(p.in.half + (size_t)token * k + at_k);
        }
    };
    launch_wait();
    launch_go();
    if (first < last)
        get(first);
    for (uint32_t step = first; step < last; step++) {
        uint32_t v[16] = {};
        if (step * 2 + side < blocks)
            load.halves(v);
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 4; i++)
            *(uint4 *)&w[line][side * 32 + i * 8] =
                make_uint4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
#pragma unroll
        for (int i = 0; i < INPUTS; i++) {
            const uint32_t n = threadIdx.x + i * FG_MMA_THREADS;
            *(uint4 *)&x[n / 8][n % 8 * 8] = input[i];
        }
        __syncthreads();
        if (step + 1 < last)
            get(step + 1);
#pragma unroll
        for (int kk = 0; kk < FG_MMA_K; kk += 16) {
            wmma::fragment<wmma::matrix_a, 16, 16, 16, __half, wmma::row_major> a[TM];
#pragma unroll
            for (int i = 0; i < TM; i++)
                wmma::load_matrix_sync(a[i], &w[(wm * TM + i) * 16][kk], FG_MMA_LD);
#pragma unroll
            for (int j = 0; j < TN; j++) {
                wmma::fragment<wmma::matrix_b, 16, 16, 16, __half, wmma::col_major> b;
                wmma::load_matrix_sync(b, &x[(wn * TN + j) * 16][kk], FG_MMA_LD);
#pragma unroll
                for (int i = 0; i < TM; i++)
                    wmma::mma_sync(sum[i][j], a[i], b, sum[i][j]);
            }
        }
    }
    __syncthreads();
    /* Through shared memory, a warp at a time its own 16 x 16. */
    float *stage = (float *)&w[0][0] + warp * 256;
    const int lane = threadIdx.x % 32;
    const fg_tesla_part &part = p.part[at.part];
    size_t offset = 0; /* of this split and part in the work space */
    uint32_t all = 0;
    for (uint32_t i = 0; i < p.count; i++) {
        offset += (int)i < at.part ? p.part[i].w.n : 0;
        all += p.part[i].w.n;
    }
    const bool final = splits == 1 && p.mode <= FG_MODE_ADD;
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) {
            wmma::store_matrix_sync(stage, sum[i][j], 16, wmma::mem_col_major);
            __syncwarp();
            const uint32_t r = at.row0 + (wm * TM + i) * 16 + lane % 16;
#pragma unroll
            for (int t = lane / 16; t < 16; t += 2) {
                const uint32_t token = token0 + (wn * TN + j) * 16 + t;
                if (token >= p.rows || r >= m.n)
                    continue;
                const float s = stage[t * 16 + lane % 16] * p.in.half_scale[token];
                if (!final) {
                    p.work[((size_t)blockIdx.z * p.rows + token) * all + offset + r] = s;
                    continue;
                }
                float *out = part.out + (size_t)token * part.stride + r;
                const float b = s + (part.bias ? part.bias[r] : 0);
                *out = p.mode == FG_MODE_ADD ? *out + b : b;
            }
            __syncwarp();
        }
}

/* Adds the splits up and finishes: bias, adding, gating. */
__global__ void sum_kernel(fg_tesla_product p, uint32_t splits)
{
    const uint32_t token = blockIdx.y;
    uint32_t r = blockIdx.x * blockDim.x + threadIdx.x, all = 0;
    launch_wait();
    launch_go();
    for (uint32_t i = 0; i < p.count; i++)
        all += p.part[i].w.n;
    if (r >= (p.mode >= FG_MODE_SILU ? p.part[0].w.n : all))
        return;
    float v = 0, up = 0;
    for (uint32_t s = 0; s < splits; s++) {
        const float *from = p.work + ((size_t)s * p.rows + token) * all;
        v += from[r];
        if (p.mode >= FG_MODE_SILU)
            up += from[p.part[0].w.n + r];
    }
    int part = 0;
    if (p.mode < FG_MODE_SILU)
        while (r >= p.part[part].w.n)
            r -= p.part[part++].w.n;
    const fg_tesla_part &to = p.part[part];
    float *out = to.out + (size_t)token * to.stride + r;
    v += to.bias ? to.bias[r] : 0;
    if (p.mode >= FG_MODE_SILU) {
        up += p.part[1].bias ? p.part[1].bias[r] : 0;
        v = (p.mode == FG_MODE_SILU ? silu(v) : gelu(v)) * up;
    }
    *out = p.mode == FG_MODE_ADD ? *out + v : v;
}
#endif
#endif
