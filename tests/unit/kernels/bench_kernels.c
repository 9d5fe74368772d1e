/*
 * Speed of each weight type on one thread, by hand: bench_kernels [TYPE [ROWS K]]. Not a test.
 *
 * Matrices (1536 x 576, K types 1536 x 512) side by side fill 98 MB in huge pages, so that nothing
 * stays in a cache between passes. Columns: packed bytes over file bytes; MB/s of packing (file
 * bytes); GB/s of packed weights for one row of activations, and the same over a plain read of the
 * buffer, the best of several ways, taken in turns; cost of 2, 4 and 8 rows over one; then GMAC/s of 16, 64 and 512 rows with
 * weights and activations in the cache as a prefill has them. FLUXGATE_CPU_ISA picks the set.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "cpu/kernels/matrix.h"
#include "engine/gguf/quant.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define MOST_ROWS 512u

static void *huge_new(size_t bytes, int fill)
{
    void *p = NULL;
    bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    if (posix_memalign(&p, HUGE_PAGE, bytes))
        exit(1);
    madvise(p, bytes, MADV_HUGEPAGE);
    memset(p, fill, bytes);
    return p;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#if defined(__x86_64__)
#include <immintrin.h>
__attribute__((target("avx512f"))) static void read_zmm(const char *p, size_t bytes, size_t ahead)
{
    __m512i sum[8];
    for (int i = 0; i < 8; i++)
        sum[i] = _mm512_setzero_si512();
    for (size_t at = 0; at + 512 <= bytes; at += 512)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            _mm_prefetch(p + at + i * 64 + ahead, _MM_HINT_T0);
            sum[i] = _mm512_add_epi32(sum[i], _mm512_load_si512(p + at + i * 64));
        }
    for (int i = 0; i < 8; i++)
        __asm__ volatile("" ::"v"(sum[i]));
}
static void read_xmm(const char *p, size_t bytes, size_t ahead)
{
    for (size_t at = 0; at + 64 <= bytes; at += 64) {
        _mm_prefetch(p + at + ahead, _MM_HINT_T0);
        __m128i v = _mm_load_si128((const __m128i *)(const void *)(p + at));
        __asm__ volatile("" ::"x"(v));
    }
}
#endif

/* Seconds of one plain read, the fastest way of several: a slow one would flatter the kernels. The
 * machine's widest loads, whatever FLUXGATE_CPU_ISA says. */
static double read_all(const void *p, size_t bytes)
{
    double best = 1e9;
#if defined(__x86_64__)
    static const size_t ahead[] = {0, 4096, 8192};
    for (size_t i = 0; i < 3; i++) {
        double start = now();
        if (fg_isa_runs(FG_ISA_AVX512_VNNI))
            read_zmm(p, bytes, ahead[i]);
        else
            read_xmm(p, bytes, ahead[i]);
        double took = now() - start;
        best = took < best ? took : best;
    }
#else
    (void)p, (void)bytes;
#endif
    return best;
}

struct bench {
    struct fg_matrix w;
    char *file, *packed;
    size_t file_bytes;
    uint32_t count; /* matrices */
    float *x, *y;
    void *act;
};

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* Seconds for one product with each of `count` matrices. */
static double products(struct bench *b, uint32_t count, uint32_t m)
{
    int32_t kind = fg_matrix_act_kind(&b->w);
    fg_act_quantize(kind, b->x, b->w.k, m, b->w.k, 0, m, b->act);
    double start = now();
    for (uint32_t i = 0; i < count; i++) {
        b->w.packed = b->packed + i * b->w.packed_bytes;
        fg_matrix_multiply(&b->w, b->act, m, b->y, b->w.n, 0, b->w.n);
    }
    return now() - start;
}

static void decode(struct bench *b)
{
    static const uint32_t batches[] = {1, 2, 4, 8};
    double best[4] = {1e9, 1e9, 1e9, 1e9}, stream = 1e9;
    size_t bytes = (size_t)b->count * b->w.packed_bytes;
    for (int pass = 0; pass < 9; pass++) {
        stream = least(stream, read_all(b->packed, bytes));
        for (int i = 0; i < 4; i++)
            best[i] = least(best[i], products(b, b->count, batches[i]));
    }
    printf("%8.1f %5.2f  ", (double)bytes / best[0] * 1e-9, stream / best[0]);
    for (int i = 1; i < 4; i++)
        printf("%6.2f", best[i] / best[0]);
}

static void prefill(struct bench *b)
{
    static const uint32_t batches[] = {16, 64, 512};
    for (int i = 0; i < 3; i++) {
        double best = 1e9, macs = (double)b->w.n * b->w.k * batches[i];
        for (int pass = 0; pass < 12; pass++)
            best = least(best, products(b, 1, batches[i]));
        printf("%8.1f", macs / best * 1e-9);
    }
}

static void pack(struct bench *b)
{
    double best = 1e9;
    for (int pass = 0; pass < 3; pass++) {
        double start = now();
        for (uint32_t i = 0; i < b->count; i++) {
            b->w.packed = b->packed + i * b->w.packed_bytes;
            fg_matrix_pack(&b->w, b->file + i * b->file_bytes, 0, b->w.n);
        }
        best = least(best, now() - start);
    }
    printf("%6.3f%8.0f", (double)b->w.packed_bytes / (double)b->file_bytes,
           (double)(b->count * b->file_bytes) / best * 1e-6);
}

static void bench(int32_t type, uint32_t n, uint32_t k)
{
    const struct fg_quant_info *info = fg_quant_info(type);
    struct bench b = {0};
    if (fg_matrix_plan(type, n, k, fg_isa_detect(), false, &b.w, NULL))
        return;
    b.file_bytes = (size_t)n * k / info->block * info->block_bytes;
    b.count = (uint32_t)(((size_t)98 << 20) / b.w.packed_bytes);
    b.packed = huge_new((size_t)b.count * b.w.packed_bytes, 0);
    b.file = huge_new((size_t)b.count * b.file_bytes, 0x3c); /* normal numbers in every type */
    b.x = huge_new((size_t)MOST_ROWS * k * sizeof(float), 0);
    b.y = huge_new((size_t)MOST_ROWS * n * sizeof(float), 0);
    b.act = huge_new(fg_act_bytes(fg_matrix_act_kind(&b.w), MOST_ROWS, k), 0);
    for (size_t i = 0; i < (size_t)MOST_ROWS * k; i++)
        b.x[i] = (float)(i % 17) - 8;
    printf("%-7s", info->name);
    pack(&b);
    free(b.file);
    decode(&b);
    prefill(&b);
    printf("\n");
    fflush(stdout);
    free(b.packed);
    free(b.x);
    free(b.y);
    free(b.act);
}

int main(int argc, char **argv)
{
    printf("%s\ntype    size    pack    GB/s /read    m=2   m=4   m=8   GMAC16      64     512\n",
           fg_isa_name(fg_isa_detect()));
    for (int32_t type = 0; type < 64; type++) {
        const struct fg_quant_info *info = fg_quant_info(type);
        if (!info || !info->computes || (argc > 1 && strcmp(argv[1], info->name)))
            continue;
        uint32_t n = argc > 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1536;
        uint32_t k = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : info->block == 256 ? 512 : 576;
        bench(type, n, k);
    }
    return 0;
}
