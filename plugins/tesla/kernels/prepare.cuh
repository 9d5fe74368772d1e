/*
 * tesla/kernels/prepare.cuh - the input of a product: RMS norm, then whatever form the product's
 * arithmetic reads (table.h: FG_IN_*). One block of threads a row, eight lanes 32 values.
 */
#ifndef FG_TESLA_PREPARE_CUH
#define FG_TESLA_PREPARE_CUH

#include "tesla/kernels/common.cuh"
#include "tesla/table.h"

/* 32 values of one row, four a lane (place: which of the eight). The rounding is that of the CPU
 * engine (cpu/kernels/act.c), so that the whole-number part of every product is the same on both. */
FG_INLINE void write_steps(const float v[4], uint32_t row, uint32_t at, bool inside,
                           const fg_tesla_in &to)
{ /* all lanes of a warp come here: they shuffle */
    const int place = threadIdx.x % 8;
    float top = fmaxf(fmaxf(fabsf(v[0]), fabsf(v[1])), fmaxf(fabsf(v[2]), fabsf(v[3])));
    bool finite = true;
#pragma unroll
    for (int i = 0; i < 4; i++)
        finite = finite && fabsf(v[i]) < INFINITY;
#pragma unroll
    for (int o = 4; o; o >>= 1)
        top = fmaxf(top, __shfl_xor_sync(FG_FULL, top, o));
    float scale, sum = 0;
#if FG_TESLA_FLOAT
    float q[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int n = 4 * (place % 2) + i, bit = n < 5 ? 4 * n : 4 * n - 12;
        q[i] = (top > 0 ? v[i] / top : 0) * __int_as_float((126 - bit + 127) << 23); /* 2^(126-bit) */
        sum += v[i];
    }
    if (inside)
        *(float4 *)((float *)to.q + (size_t)row * to.k + at) = make_float4(q[0], q[1], q[2], q[3]);
    scale = top * 8388608.0f;
#else
    const bool some = top > 1e-35f;
    const float factor = some ? 127.0f / top : 0;
    int whole = 0;
    uint32_t packed = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int q = some ? __float2int_rn(v[i] * factor) : 0;
        packed |= (uint32_t)(q & 255) << 8 * i;
        whole += q;
    }
    if (inside)
        *(uint32_t *)((int8_t *)to.q + (size_t)row * to.k + at) = packed;
    scale = some ? top / 127.0f : 0;
#pragma unroll
    for (int o = 2; o; o >>= 1)
        whole += __shfl_xor_sync(FG_FULL, whole, o);
    sum = scale * (float)whole;
#endif
#if FG_TESLA_FLOAT
#pragma unroll
    for (int o = 2; o; o >>= 1)
        sum += __shfl_xor_sync(FG_FULL, sum, o);
#endif
    /* Infinity and NaN: all products with these 32 say so. */
    const uint32_t lanes = __ballot_sync(FG_FULL, finite) >> (threadIdx.x % 32 / 8 * 8) & 255u;
    if (lanes != 255u)
        scale = NAN;
    const float other = __shfl_xor_sync(FG_FULL, sum, 4);
    if (inside && place == 0)
        ((float4 *)to.steps)[(size_t)row * (to.k / 32) + at / 32] =
            make_float4(scale, sum, other, sum + other);
}

/* The threads of a block take four values each and keep them, so that a row is read once. */
template <int KEPT>
__global__ void __launch_bounds__(KEPT > 4 ? 512 : 1024)
    prepare_kernel(const float *in, const float *norm, float eps, uint32_t forms, fg_tesla_in to)
{
    __shared__ float shared[32];
    const uint32_t row = blockIdx.x, k = to.k, first = threadIdx.x * 4, hop = blockDim.x * 4;
    const float *x = in + (size_t)row * k;
    float v[KEPT][4];
    float squares = 0, top = 0;
    launch_wait();
#pragma unroll
    for (int n = 0; n < KEPT; n++) {
        const uint32_t at = first + n * hop;
        const float4 f = at < k ? *(const float4 *)(x + at) : make_float4(0, 0, 0, 0);
        v[n][0] = f.x, v[n][1] = f.y, v[n][2] = f.z, v[n][3] = f.w;
#pragma unroll
        for (int i = 0; i < 4; i++)
            squares += v[n][i] * v[n][i];
    }
    if (norm) {
        const float factor = rsqrtf(block_reduce<false>(squares, shared) / (float)k + eps);
#pragma unroll
        for (int n = 0; n < KEPT; n++) {
            const uint32_t at = first + n * hop;
            const float4 w = at < k ? *(const float4 *)(norm + at) : make_float4(0, 0, 0, 0);
            v[n][0] *= factor * w.x, v[n][1] *= factor * w.y;
            v[n][2] *= factor * w.z, v[n][3] *= factor * w.w;
        }
    }
    launch_go();
    if (forms & FG_IN_HALF) {
#pragma unroll
        for (int n = 0; n < KEPT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                top = fmaxf(top, fabsf(v[n][i]));
        top = block_reduce<true>(top, shared);
        if (threadIdx.x == 0)
            to.half_scale[row] = top;
    }
    const float share = top > 0 ? 1.0f / top : 0;
#pragma unroll
    for (int n = 0; n < KEPT; n++) {
        const uint32_t at = first + n * hop;
        const bool inside = at < k; /* a warp is inside or outside by groups of eight lanes */
        if (__ballot_sync(FG_FULL, inside) == 0)
            continue;
        if (forms & FG_IN_STEPS)
            write_steps(v[n], row, at, inside, to);
        if (inside && (forms & FG_IN_FLOAT))
            *(float4 *)(to.f + (size_t)row * k + at) = make_float4(v[n][0], v[n][1], v[n][2], v[n][3]);
        if (inside && (forms & FG_IN_HALF)) {
            const __half2 a = __floats2half2_rn(v[n][0] * share, v[n][1] * share);
            const __half2 b = __floats2half2_rn(v[n][2] * share, v[n][3] * share);
            *(uint2 *)(to.half + (size_t)row * k + at) = make_uint2(*(uint32_t *)&a, *(uint32_t *)&b);
        }
    }
}

#endif
