/*
 * tesla/family.cu - one family of kernels: compiled once for each family, with
 *   FG_TESLA_FAMILY  name of its table (fg_tesla_dp4)      FG_TESLA_LABEL  "DP4"
 *   FG_TESLA_FLOAT   1: no dp4a (3.5 to 6.0)               FG_TESLA_MMA    1: tensor cores (7.0 on)
 * Everything but the table has internal linkage, so the objects can be linked together.
 */
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#if FG_TESLA_MMA
#include <mma.h>
#endif
#include <stdint.h>

#include "tesla/table.h"

namespace
{
#include "tesla/kernels/attend.cuh"
#include "tesla/kernels/misc.cuh"
#include "tesla/kernels/mma.cuh"
#include "tesla/kernels/prepare.cuh"
#include "tesla/kernels/tile.cuh"

/* ---- launching ------------------------------------------------------------------------------- */

/* On 9.0 a kernel may begin while the one in front of it ends (common.cuh: launch_wait). */
bool overlaps = false;

template <class... P, class... A>
void launch(cudaStream_t stream, void (*kernel)(P...), dim3 grid, dim3 threads, A... args)
{
    if (!overlaps) {
        kernel<<<grid, threads, 0, stream>>>(args...);
        return;
    }
    cudaLaunchAttribute attribute[1];
    attribute[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute[0].val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = threads;
    config.stream = stream;
    config.attrs = attribute;
    config.numAttrs = 1;
    (void)cudaLaunchKernelEx(&config, kernel, P(args)...); /* the stream remembers */
}

uint32_t up(size_t a, size_t b)
{
    return (uint32_t)((a + b - 1) / b);
}

bool is_float_type(int32_t type)
{
    return type == 0 || type == 1 || type == 30;
}

/* F<TYPE>::run(args...) for the matrix type of this call. */
template <template <int> class F, class... A> void by_type(int32_t type, A... args)
{
    switch (type) {
    case 0:
        F<0>::run(args...);
        break;
    case 1:
        F<1>::run(args...);
        break;
    case 30:
        F<30>::run(args...);
        break;
#define X(number, lo, hi, table, offset, scale)                                                    \
    case number:                                                                                   \
        F<number>::run(args...);                                                                   \
        break;
        FG_TESLA_QUANTS(X)
#undef X
    default:
        break;
    }
}
constexpr bool float_type(int type)
{
    return type == 0 || type == 1 || type == 30;
}

/* ---- operations ------------------------------------------------------------------------------ */

cudaError_t probe(int *code, bool *is_ptx)
{
    cudaFuncAttributes a;
    const cudaError_t rc = cudaFuncGetAttributes(&a, probe_kernel);
    if (rc != cudaSuccess) {
        (void)cudaGetLastError();
        return rc;
    }
    int device = 0, major = 0, driver = 0;
    (void)cudaGetDevice(&device);
    (void)cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    (void)cudaDriverGetVersion(&driver);
    overlaps = major >= 9 && a.ptxVersion >= 90 && driver >= 11080;
    /* What the code was compiled for; the binary is the card's own after a JIT. */
    *code = a.ptxVersion;
    *is_ptx = a.binaryVersion != a.ptxVersion;
    return cudaSuccess;
}

template <int TYPE> struct repack_op {
    static void run(cudaStream_t stream, const fg_tesla_matrix *to, const uint8_t *blocks,
                    uint32_t first_row, uint32_t rows, uint32_t block_bytes, uint32_t block)
    {
        if (float_type(TYPE))
            return;
        constexpr int T = float_type(TYPE) ? 2 : TYPE;
        const size_t each = to->k / 32, count = each * rows;
        repack_kernel<T><<<up(count, 128), 128, 0, stream>>>(*to, blocks, block_bytes, block / 32,
                                                             each * first_row, count);
    }
};
void repack(cudaStream_t stream, fg_tesla_matrix to, const void *blocks, uint32_t first_row,
            uint32_t rows)
{
    static const struct {
        int type;
        uint32_t block, bytes;
    } sizes[] = {{2, 32, 18},   {3, 32, 20},   {6, 32, 22},   {7, 32, 24},   {8, 32, 34},
                 {10, 256, 84}, {11, 256, 110}, {12, 256, 144}, {13, 256, 176}, {14, 256, 210},
                 {20, 32, 18},  {23, 256, 136}, {39, 32, 17}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].type == to.type)
            by_type<repack_op>(to.type, stream, (const fg_tesla_matrix *)&to,
                               (const uint8_t *)blocks, first_row, rows, sizes[i].bytes,
                               sizes[i].block);
}

template <int TYPE> struct dequantize_op {
    static void run(cudaStream_t stream, const fg_tesla_matrix *m, uint32_t first, uint32_t rows,
                    float *out)
    {
        if (float_type(TYPE))
            return;
        constexpr int T = float_type(TYPE) ? 2 : TYPE;
        const size_t each = m->k / 32;
        dequantize_kernel<T>
            <<<up(each * rows, 128), 128, 0, stream>>>(*m, each * first, each * rows, out);
    }
};
void dequantize(cudaStream_t stream, fg_tesla_matrix m, uint32_t first, uint32_t rows, float *out)
{
    by_type<dequantize_op>(m.type, stream, (const fg_tesla_matrix *)&m, first, rows, out);
}

template <int TYPE, bool FLOAT> struct embed_pick {
    static void run(cudaStream_t stream, const fg_tesla_step *s, const fg_tesla_matrix *m,
                    float scale, float *out)
    {
        launch(stream, embed_kernel<TYPE>, s->rows, 128, *s, *m, scale, out);
    }
};
template <int TYPE> struct embed_pick<TYPE, true> {
    static void run(cudaStream_t stream, const fg_tesla_step *s, const fg_tesla_matrix *m,
                    float scale, float *out)
    {
        launch(stream, embed_float_kernel<TYPE>, s->rows, 128, *s, *m, scale, out);
    }
};
template <int TYPE> struct embed_op : embed_pick<TYPE, float_type(TYPE)> {};
void embed(cudaStream_t stream, const fg_tesla_step *s, fg_tesla_matrix m, float scale, float *out)
{
    by_type<embed_op>(m.type, stream, s, (const fg_tesla_matrix *)&m, scale, out);
}

void prepare(cudaStream_t stream, const float *in, const float *norm, float eps, uint32_t rows,
             uint32_t forms, const fg_tesla_in *to)
{
    /* Few rows: as many threads as there are; many: smaller blocks fill the card as well. */
    const uint32_t wanted = up(to->k / 4, 32) * 32;
    const uint32_t most = to->k > 16384 ? 512 : rows > 32 ? 256 : 1024; /* k <= 32768: weight.c */
    const uint32_t threads = wanted < most ? wanted : most, kept = up(to->k, threads * 4);
    if (kept <= 1)
        launch(stream, prepare_kernel<1>, rows, threads, in, norm, eps, forms, *to);
    else if (kept <= 4)
        launch(stream, prepare_kernel<4>, rows, threads, in, norm, eps, forms, *to);
    else
        launch(stream, prepare_kernel<16>, rows, threads, in, norm, eps, forms, *to);
}

/* ---- products -------------------------------------------------------------------------------- */

template <int TYPE, int N, bool FLOAT> struct stream_pick {
    static void run(cudaStream_t s, uint32_t blocks, const fg_tesla_product *p)
    {
        launch(s, stream_kernel<TYPE, N>, blocks, FG_STREAM_WARPS * 32, *p);
    }
};
template <int TYPE, int N> struct stream_pick<TYPE, N, true> {
    static void run(cudaStream_t s, uint32_t blocks, const fg_tesla_product *p)
    {
        launch(s, stream_float_kernel<TYPE, N>, blocks, FG_STREAM_WARPS * 32, *p);
    }
};
template <int TYPE> struct stream_op {
    static void run(cudaStream_t s, const fg_tesla_product *p)
    {
        uint32_t blocks = 0;
        const uint32_t each = FG_STREAM_WARPS * (p->mode >= FG_MODE_SILU ? 1 : FG_STREAM_ROWS);
        for (uint32_t i = 0; i < (p->mode >= FG_MODE_SILU ? 1 : p->count); i++)
            blocks += up(p->part[i].w.n, each);
        constexpr bool F = float_type(TYPE);
        if (p->rows == 1)
            stream_pick<TYPE, 1, F>::run(s, blocks, p);
        else if (p->rows == 2)
            stream_pick<TYPE, 2, F>::run(s, blocks, p);
        else if (p->rows <= 4)
            stream_pick<TYPE, 4, F>::run(s, blocks, p);
        else
            stream_pick<TYPE, 8, F>::run(s, blocks, p);
    }
};

template <int TYPE, bool FLOAT> struct tile_pick {
    static void run(cudaStream_t s, dim3 grid, const fg_tesla_product *p)
    {
#if FG_TESLA_FLOAT
        launch(s, tile_float_kernel<TYPE>, grid, FG_TILE_THREADS, *p);
#else
        launch(s, tile_whole_kernel<TYPE>, grid, FG_TILE_THREADS, *p);
#endif
    }
};
template <int TYPE> struct tile_pick<TYPE, true> {
    static void run(cudaStream_t s, dim3 grid, const fg_tesla_product *p)
    {
        launch(s, tile_float_kernel<TYPE>, grid, FG_TILE_THREADS, *p);
    }
};

#if FG_TESLA_MMA
template <int TYPE> struct many_op {
    static void run(cudaStream_t s, const fg_tesla_product *p)
    {
        uint32_t tiles = 0, all = 0;
        for (uint32_t i = 0; i < p->count; i++) {
            tiles += up(p->part[i].w.n, FG_MMA_M);
            all += p->part[i].w.n;
        }
        const uint32_t bn = p->rows <= 32 ? 32 : p->rows <= 64 ? 64 : 128, ty = up(p->rows, bn);
        /* Enough blocks for two on every processor, each with at least 8 steps of K. */
        uint32_t splits = 2 * p->processors / (tiles * ty);
        const uint32_t most = p->in.k / FG_MMA_K / 8;
        splits = splits > most ? most : splits;
        splits = splits > 8 ? 8 : splits < 1 ? 1 : splits;
        while (splits > 1 && (size_t)splits * p->rows * all * 4 > p->work_bytes)
            splits--;
        const dim3 grid(tiles, ty, splits);
        if (bn == 32)
            launch(s, mma_kernel<TYPE, 32>, grid, FG_MMA_THREADS, *p, splits);
        else if (bn == 64)
            launch(s, mma_kernel<TYPE, 64>, grid, FG_MMA_THREADS, *p, splits);
        else
            launch(s, mma_kernel<TYPE, 128>, grid, FG_MMA_THREADS, *p, splits);
        if (splits > 1 || p->mode >= FG_MODE_SILU)
            launch(s, sum_kernel, dim3(up(p->mode >= FG_MODE_SILU ? p->part[0].w.n : all, 256), p->rows),
                   256, *p, splits);
    }
};
#else
template <int TYPE> struct many_op {
    static void run(cudaStream_t s, const fg_tesla_product *p)
    {
        fg_tesla_product q = *p;
        uint32_t tiles = 0;
        if (p->mode >= FG_MODE_SILU) { /* up goes to the work space, then gate() */
            q.mode = FG_MODE_STORE;
            q.part[1].out = p->work;
            q.part[1].stride = p->part[1].w.n;
        }
        for (uint32_t i = 0; i < p->count; i++)
            tiles += up(p->part[i].w.n, FG_TILE);
        tile_pick<TYPE, float_type(TYPE)>::run(s, dim3(tiles, up(p->rows, FG_TILE)), &q);
        if (p->mode >= FG_MODE_SILU) {
            const size_t count = (size_t)p->rows * p->part[0].w.n;
            launch(s, gate_kernel, up(count, 256), 256, (int)p->mode, count,
                   (const float *)p->work, p->part[0].out);
        }
    }
};
#endif

enum { FEW = FG_TESLA_FEW };
void product(cudaStream_t stream, const fg_tesla_product *p)
{
    if (p->rows <= FEW)
        by_type<stream_op>(p->part[0].w.type, stream, p);
    else
        by_type<many_op>(p->part[0].w.type, stream, p);
}

/* ---- attention ------------------------------------------------------------------------------- */

void rope_table(cudaStream_t stream, const fg_tesla_step *s, const float *frequency, uint32_t pairs,
                float magnitude, float *out)
{
    launch(stream, rope_table_kernel, up((size_t)s->rows * pairs, 128), 128, *s, frequency, pairs,
           magnitude, (float2 *)out);
}

template <int D> void attend_dim(cudaStream_t stream, const fg_tesla_step *s, const fg_tesla_attend *a)
{
    const uint32_t group = a->heads / a->kv.kv_heads;
    const uint32_t g = group >= 3 ? 4 : group, rounds = up(group, g);
    const dim3 grid(s->rows * rounds, a->kv.kv_heads, a->splits);
    if (g == 1)
        launch(stream, attend_kernel<D, 1>, grid, FG_ATTEND_WARPS * 32, *s, *a, group, rounds);
    else if (g == 2)
        launch(stream, attend_kernel<D, 2>, grid, FG_ATTEND_WARPS * 32, *s, *a, group, rounds);
    else
        launch(stream, attend_kernel<D, 4>, grid, FG_ATTEND_WARPS * 32, *s, *a, group, rounds);
}
void attend(cudaStream_t stream, const fg_tesla_step *s, const fg_tesla_attend *a)
{
    launch(stream, rotate_kernel, dim3(s->rows, up(a->heads + 2 * a->kv.kv_heads, 4)), 128, *s, *a);
    if (!a->out)
        return;
    if (a->kv.head_dim == 64)
        attend_dim<64>(stream, s, a);
    else if (a->kv.head_dim == 128)
        attend_dim<128>(stream, s, a);
    else
        attend_dim<256>(stream, s, a);
    if (a->splits > 1)
        launch(stream, combine_kernel, dim3(s->rows, a->heads), 128, *a);
}

void kv_copy(cudaStream_t stream, fg_tesla_kv kv, uint32_t from, uint32_t to, uint32_t tokens)
{
    kv_copy_kernel<<<dim3(kv.layers, 2 * kv.kv_heads), 128, 0, stream>>>(kv, from, to, tokens);
}

/* ---- the rest -------------------------------------------------------------------------------- */

void norm(cudaStream_t stream, const float *in, const float *weight, float eps, uint32_t rows,
          uint32_t width, float *out)
{
    launch(stream, norm_kernel<false>, rows, 256, in, weight, eps, width, out);
}
void add_norm(cudaStream_t stream, const float *in, const float *weight, float eps, uint32_t rows,
              uint32_t width, float *onto)
{
    launch(stream, norm_kernel<true>, rows, 256, in, weight, eps, width, onto);
}
void gate(cudaStream_t stream, int32_t mode, uint32_t rows, uint32_t width, const float *up_,
          float *gate_)
{
    const size_t count = (size_t)rows * width;
    launch(stream, gate_kernel, up(count, 256), 256, (int)mode, count, up_, gate_);
}
void gather(cudaStream_t stream, const float *from, const uint32_t *index, uint32_t count,
            uint32_t width, float *to)
{
    launch(stream, gather_kernel, count, 256, from, index, width, to);
}
void softcap(cudaStream_t stream, float *v, size_t count, float cap)
{
    launch(stream, softcap_kernel, up(count, 256), 256, v, count, cap);
}
} // namespace

extern "C" const fg_tesla_family FG_TESLA_FAMILY = {
    FG_TESLA_LABEL, FG_TESLA_FLOAT != 0, FG_TESLA_MMA != 0, FEW,     probe, repack,
    dequantize,     embed,               prepare,           product, rope_table, attend,
    kv_copy,        norm,                add_norm,          gate,    gather,     softcap,
};
