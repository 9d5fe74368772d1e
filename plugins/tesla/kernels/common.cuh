/*
 * tesla/kernels/common.cuh - small device helpers all kernels share.
 *
 * FG_TESLA_FLOAT (0/1) and FG_TESLA_MMA (0/1) come from the build: they say what arithmetic this
 * family's object is made for. Statistics, sums of products and the residual stream are fp32
 * everywhere.
 */
#ifndef FG_TESLA_COMMON_CUH
#define FG_TESLA_COMMON_CUH

#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include "tesla/layout.h"

#define FG_FULL 0xffffffffu /* all lanes of a warp */
#define FG_INLINE __device__ __forceinline__

/* Overlap of launches (9.0): everything before wait() must not read what the kernel in front
 * wrote; go() lets the next kernel start its own beginning. */
FG_INLINE void launch_wait()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
FG_INLINE void launch_go()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

FG_INLINE float warp_sum(float v)
{
#pragma unroll
    for (int o = 16; o; o >>= 1)
        v += __shfl_xor_sync(FG_FULL, v, o);
    return v;
}
FG_INLINE float warp_max(float v)
{
#pragma unroll
    for (int o = 16; o; o >>= 1)
        v = fmaxf(v, __shfl_xor_sync(FG_FULL, v, o));
    return v;
}
/* Over a block of up to 1024 threads; shared: 32 floats, free afterwards for the next call. */
template <bool MAX> FG_INLINE float block_reduce(float v, float *shared)
{
    v = MAX ? warp_max(v) : warp_sum(v);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = v;
    __syncthreads();
    const int warps = (blockDim.x + 31) / 32;
    v = (int)(threadIdx.x % 32) < warps ? shared[threadIdx.x % 32] : 0.0f; /* MAX: magnitudes */
    return MAX ? warp_max(v) : warp_sum(v);
}

FG_INLINE int dot4(int a, int b, int c)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 610
    return __dp4a(a, b, c);
#else /* never run: families below 6.1 are FG_TESLA_FLOAT */
    return c + a + b;
#endif
}

FG_INLINE float silu(float x)
{
    return x / (1.0f + __expf(-x));
}
FG_INLINE float gelu(float x) /* the tanh form */
{
    const float t = 0.79788456080286535588f * x * (1.0f + 0.044715f * x * x);
    return 0.5f * x * (1.0f + tanhf(t));
}

#endif
