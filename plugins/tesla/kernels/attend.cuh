/*
 * tesla/kernels/attend.cuh - rotation, the paged K and V, and attention.
 *
 * A row's past is cut into `splits` parts; a block of threads takes one part of one row for one KV
 * head and all query heads that share it. head_dim / 8 lanes read one token with 16-byte loads, so
 * a warp looks at several tokens at once; each such group of lanes keeps its own running maximum
 * and sums in fp32, and they are merged at the end, always in the same order.
 */
#ifndef FG_TESLA_ATTEND_CUH
#define FG_TESLA_ATTEND_CUH

#include "tesla/kernels/common.cuh"
#include "tesla/table.h"

enum { FG_ATTEND_WARPS = 4, FG_ATTEND_GROUP = 4 /* query heads at once: registers */ };

__global__ void rope_table_kernel(fg_tesla_step s, const float *frequency, uint32_t pairs,
                                  float magnitude, float2 *out)
{
    launch_wait();
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= s.rows * pairs)
        return;
    float sine, cosine;
    sincosf((float)s.position[i / pairs] * frequency[i % pairs], &sine, &cosine);
    out[i] = make_float2(cosine * magnitude, sine * magnitude);
}

/* Where K (which 0) or V (1) of a token's head begins. */
FG_INLINE uint16_t *kv_at(const fg_tesla_kv &kv, uint32_t layer, uint32_t page, uint32_t which,
                          uint32_t head, uint32_t token)
{
    const size_t heads = ((size_t)layer * kv.pages + page) * 2 + which;
    return kv.data + ((heads * kv.kv_heads + head) * kv.page_tokens + token) * kv.head_dim;
}

/* One warp a head vector: its norm, its rotation, then back (q) or into the pages (k, v). */
__global__ void __launch_bounds__(128) rotate_kernel(fg_tesla_step s, fg_tesla_attend a)
{
    const uint32_t d = a.kv.head_dim, lane = threadIdx.x % 32;
    const uint32_t row = blockIdx.x, head = blockIdx.y * 4 + threadIdx.x / 32;
    const uint32_t kv_heads = a.kv.kv_heads;
    launch_wait();
    launch_go();
    if (head >= a.heads + 2 * kv_heads)
        return;
    const bool is_q = head < a.heads, is_k = !is_q && head < a.heads + kv_heads;
    const uint32_t own = is_q ? head : is_k ? head - a.heads : head - a.heads - kv_heads;
    const float *from = is_q   ? a.q + ((size_t)row * a.heads + own) * d
                        : is_k ? a.k + ((size_t)row * kv_heads + own) * d
                               : a.v + ((size_t)row * kv_heads + own) * d;
    const float *norm = is_q ? a.q_norm : is_k ? a.k_norm : NULL;
    float factor = 1.0f;
    if (norm) {
        float squares = 0;
        for (uint32_t i = lane; i < d; i += 32)
            squares += from[i] * from[i];
        factor = rsqrtf(warp_sum(squares) / (float)d + a.eps);
    }
    uint16_t *page = NULL;
    if (!is_q) {
        const uint32_t p = s.position[row];
        const uint32_t number =
            s.pages[(size_t)s.sequence[row] * s.page_stride + p / a.kv.page_tokens];
        page = kv_at(a.kv, a.layer, number, !is_k, own, p % a.kv.page_tokens);
    }
    const uint32_t dims = a.rope && (is_q || is_k) ? a.rope_dims : 0, half = dims / 2;
    const float2 *rope = (const float2 *)a.rope + (size_t)row * (a.rope_dims / 2);
    for (uint32_t i = lane; i < half; i += 32) { /* pairs first */
        const uint32_t x = a.rope_halves ? i : 2 * i, y = a.rope_halves ? i + half : 2 * i + 1;
        const float u = from[x] * factor * (norm ? norm[x] : 1.0f);
        const float v = from[y] * factor * (norm ? norm[y] : 1.0f);
        const float2 r = rope[i];
        const float cx = u * r.x - v * r.y, cy = u * r.y + v * r.x;
        if (is_q) { /* nobody else reads these two */
            a.q[((size_t)row * a.heads + own) * d + x] = cx;
            a.q[((size_t)row * a.heads + own) * d + y] = cy;
        } else {
            page[x] = __half_as_ushort(__float2half_rn(cx));
            page[y] = __half_as_ushort(__float2half_rn(cy));
        }
    }
    for (uint32_t i = dims + lane; i < d; i += 32) {
        const float v = from[i] * factor * (norm ? norm[i] : 1.0f);
        if (is_q)
            a.q[((size_t)row * a.heads + own) * d + i] = v;
        else
            page[i] = __half_as_ushort(__float2half_rn(v));
    }
}

FG_INLINE void load_half8(const uint16_t *p, float v[8])
{
    const uint4 a = *(const uint4 *)p;
    const uint32_t w[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float2 f = __half22float2(*(const __half2 *)&w[i]);
        v[2 * i] = f.x, v[2 * i + 1] = f.y;
    }
}

/* D: head_dim; G: query heads of the group handled at once. */
template <int D, int G>
__global__ void __launch_bounds__(FG_ATTEND_WARPS * 32)
    attend_kernel(fg_tesla_step s, fg_tesla_attend a, uint32_t group, uint32_t rounds)
{
    constexpr int LANES = D / 8, TOKENS = 32 / LANES, TEAMS = FG_ATTEND_WARPS * TOKENS;
    __shared__ float merged[TEAMS][G][2];
    __shared__ float sums[FG_ATTEND_WARPS][G][D];
    const uint32_t row = blockIdx.x / rounds, round = blockIdx.x % rounds;
    const uint32_t kv_head = blockIdx.y, split = blockIdx.z;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int part = lane % LANES, team = warp * TOKENS + lane / LANES;
    const uint32_t first_head = kv_head * group + round * G;
    launch_wait();
    launch_go();

    const uint32_t last = s.position[row];
    const uint32_t begin = a.window && last + 1 > a.window ? last + 1 - a.window : 0;
    const uint32_t share = ((last + 1 - begin + a.splits - 1) / a.splits + TEAMS - 1) / TEAMS * TEAMS;
    const uint32_t from = begin + split * share;
    const uint32_t until = from + share < last + 1 ? from + share : last + 1;
    const uint32_t *pages = s.pages + (size_t)s.sequence[row] * s.page_stride;

    float q[G][8], acc[G][8], top[G], total[G];
#pragma unroll
    for (int g = 0; g < G; g++) {
        const uint32_t head = round * G + g < group ? first_head + g : first_head;
        const float *from_q = a.q + ((size_t)row * a.heads + head) * D + part * 8;
        top[g] = -INFINITY, total[g] = 0;
#pragma unroll
        for (int i = 0; i < 8; i++)
            q[g][i] = from_q[i] * a.scale, acc[g][i] = 0;
    }
    for (uint32_t base = from; base < until; base += TEAMS) { /* all lanes stay: they shuffle */
        const uint32_t t = base + team;
        const bool live = t < until;
        const uint32_t page = pages[(live ? t : from) / a.kv.page_tokens];
        const uint32_t slot = (live ? t : from) % a.kv.page_tokens;
        float k[8], v[8];
        load_half8(kv_at(a.kv, a.layer, page, 0, kv_head, slot) + part * 8, k);
        load_half8(kv_at(a.kv, a.layer, page, 1, kv_head, slot) + part * 8, v);
#pragma unroll
        for (int g = 0; g < G; g++) {
            float dot = 0;
#pragma unroll
            for (int i = 0; i < 8; i++)
                dot = fmaf(q[g][i], k[i], dot);
#pragma unroll
            for (int o = LANES / 2; o; o >>= 1)
                dot += __shfl_xor_sync(FG_FULL, dot, o);
            if (a.softcap > 0)
                dot = a.softcap * tanhf(dot / a.softcap);
            if (!live)
                dot = -INFINITY;
            const float peak = fmaxf(top[g], dot);
            const float keep = peak == -INFINITY ? 1.0f : __expf(top[g] - peak);
            const float weight = dot == -INFINITY ? 0.0f : __expf(dot - peak);
            top[g] = peak;
            total[g] = total[g] * keep + weight;
#pragma unroll
            for (int i = 0; i < 8; i++)
                acc[g][i] = acc[g][i] * keep + weight * v[i];
        }
    }
    if (part == 0)
#pragma unroll
        for (int g = 0; g < G; g++)
            merged[team][g][0] = top[g], merged[team][g][1] = total[g];
    __syncthreads();
#pragma unroll
    for (int g = 0; g < G; g++) {
        float peak = -INFINITY;
        for (int t = 0; t < TEAMS; t++)
            peak = fmaxf(peak, merged[t][g][0]);
        const float keep = top[g] == -INFINITY ? 0.0f : __expf(top[g] - peak);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float v = acc[g][i] * keep;
#pragma unroll
            for (int o = LANES; o < 32; o <<= 1)
                v += __shfl_xor_sync(FG_FULL, v, o);
            if (lane < LANES)
                sums[warp][g][part * 8 + i] = v;
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < G * D; i += FG_ATTEND_WARPS * 32) {
        const int g = i / D, c = i % D;
        if (round * G + g >= group)
            continue;
        float peak = -INFINITY, whole = 0, v = 0;
        for (int t = 0; t < TEAMS; t++)
            peak = fmaxf(peak, merged[t][g][0]);
        for (int t = 0; t < TEAMS; t++)
            if (merged[t][g][0] > -INFINITY)
                whole += merged[t][g][1] * __expf(merged[t][g][0] - peak);
        for (int w = 0; w < FG_ATTEND_WARPS; w++)
            v += sums[w][g][c];
        const size_t head = (size_t)row * a.heads + first_head + g;
        if (a.splits == 1) {
            a.out[head * D + c] = v / whole;
            continue;
        }
        float *to = a.partial + (head * a.splits + split) * (D + 2);
        to[c] = v;
        if (c == 0)
            to[D] = peak, to[D + 1] = whole;
    }
}

__global__ void combine_kernel(fg_tesla_attend a)
{
    const uint32_t d = a.kv.head_dim;
    const size_t head = (size_t)blockIdx.x * a.heads + blockIdx.y;
    launch_wait();
    launch_go();
    const float *from = a.partial + head * a.splits * (d + 2);
    float peak = -INFINITY, whole = 0;
    for (uint32_t i = 0; i < a.splits; i++)
        peak = fmaxf(peak, from[(size_t)i * (d + 2) + d]);
    for (uint32_t i = 0; i < a.splits; i++)
        whole += from[(size_t)i * (d + 2) + d] == -INFINITY
                     ? 0.0f
                     : from[(size_t)i * (d + 2) + d + 1] * __expf(from[(size_t)i * (d + 2) + d] - peak);
    for (uint32_t c = threadIdx.x; c < d; c += blockDim.x) {
        float v = 0;
        for (uint32_t i = 0; i < a.splits; i++) {
            const float *p = from + (size_t)i * (d + 2);
            if (p[d] > -INFINITY)
                v += p[c] * __expf(p[d] - peak);
        }
        a.out[head * d + c] = v / whole;
    }
}

__global__ void kv_copy_kernel(fg_tesla_kv kv, uint32_t from, uint32_t to, uint32_t tokens)
{
    const uint32_t layer = blockIdx.x, which = blockIdx.y / kv.kv_heads, head = blockIdx.y % kv.kv_heads;
    const uint16_t *source = kv_at(kv, layer, from, which, head, 0);
    uint16_t *target = kv_at(kv, layer, to, which, head, 0);
    for (uint32_t i = threadIdx.x; i < tokens * kv.head_dim; i += blockDim.x)
        target[i] = source[i];
}

#endif
