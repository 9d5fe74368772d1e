/*
 * tesla/kernels/misc.cuh - the small operations between products: token embeddings, norms,
 * gating, moving rows.
 */
#ifndef FG_TESLA_MISC_CUH
#define FG_TESLA_MISC_CUH

#include "tesla/kernels/stream.cuh"

/* A block of threads a row, a thread 32 values (float types: 8). */
template <int TYPE>
__global__ void embed_kernel(fg_tesla_step s, fg_tesla_matrix m, float scale, float *out)
{
    launch_wait();
    launch_go();
    const size_t row = (size_t)s.token[blockIdx.x];
    for (uint32_t b = threadIdx.x; b < m.k / 32; b += blockDim.x) {
        raw<TYPE> r;
        float v[32];
        fetch<TYPE>(m, row * (m.k / 32) + b, r);
        values<TYPE>(r, v);
#pragma unroll
        for (int i = 0; i < 32; i++)
            out[(size_t)blockIdx.x * m.k + b * 32 + i] = v[i] * scale;
    }
}
template <int TYPE>
__global__ void embed_float_kernel(fg_tesla_step s, fg_tesla_matrix m, float scale, float *out)
{
    launch_wait();
    launch_go();
    const char *row = (const char *)m.lo + (size_t)s.token[blockIdx.x] * m.k * (TYPE == 0 ? 4 : 2);
    for (uint32_t i = threadIdx.x * 8; i < m.k; i += blockDim.x * 8) {
        float v[8];
        load8<TYPE>(row, i, v);
#pragma unroll
        for (int j = 0; j < 8; j++)
            out[(size_t)blockIdx.x * m.k + i + j] = v[j] * scale;
    }
}

template <bool ADD>
__global__ void norm_kernel(const float *in, const float *weight, float eps, uint32_t width,
                            float *out)
{
    __shared__ float shared[32];
    const float *x = in + (size_t)blockIdx.x * width;
    float *y = out + (size_t)blockIdx.x * width, squares = 0;
    launch_wait();
    launch_go();
    for (uint32_t i = threadIdx.x; i < width; i += blockDim.x)
        squares += x[i] * x[i];
    const float factor = rsqrtf(block_reduce<false>(squares, shared) / (float)width + eps);
    for (uint32_t i = threadIdx.x; i < width; i += blockDim.x) { /* may work in place */
        const float v = x[i] * factor * (weight ? weight[i] : 1.0f);
        y[i] = ADD ? y[i] + v : v;
    }
}

__global__ void gate_kernel(int mode, size_t count, const float *up, float *gate)
{
    launch_wait();
    launch_go();
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        gate[i] = (mode == FG_MODE_SILU ? silu(gate[i]) : gelu(gate[i])) * up[i];
}

__global__ void gather_kernel(const float *from, const uint32_t *index, uint32_t width, float *to)
{
    launch_wait();
    launch_go();
    const size_t row = index ? index[blockIdx.x] : blockIdx.x;
    for (uint32_t i = threadIdx.x; i < width; i += blockDim.x)
        to[(size_t)blockIdx.x * width + i] = from[row * width + i];
}

__global__ void softcap_kernel(float *v, size_t count, float cap)
{
    launch_wait();
    launch_go();
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        v[i] = cap * tanhf(v[i] / cap);
}

template <int TYPE>
__global__ void dequantize_kernel(fg_tesla_matrix m, size_t first, size_t count, float *out)
{
    const size_t b = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (b >= count)
        return;
    raw<TYPE> r;
    float v[32];
    fetch<TYPE>(m, first + b, r);
    values<TYPE>(r, v);
    for (int i = 0; i < 32; i++)
        out[b * 32 + i] = v[i];
}

__global__ void probe_kernel()
{
}

#endif
