/*
 * Speed of each weight type on one thread: GB/s of packed weights for one row (decode), and GMAC/s
 * for small and large batches. Matrices of 1536 x 576 (K types: 1536 x 512) side by side fill
 * 98 MB in huge pages, so that nothing stays in a cache between passes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "cpu/kernels/matrix.h"
#include "engine/gguf/quant.h"

#define HUGE_PAGE ((size_t)2 << 20)

static void *huge_new(size_t bytes)
{
    void *p = NULL;
    bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    if (posix_memalign(&p, HUGE_PAGE, bytes))
        exit(1);
    madvise(p, bytes, MADV_HUGEPAGE);
    memset(p, 0x3c, bytes); /* small normal numbers in every type */
    return p;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds for one product with each of `count` matrices, the best of some passes. */
static double measure(struct fg_matrix *w, char *packed, uint32_t count, uint32_t m)
{
    int32_t kind = fg_matrix_act_kind(w);
    float *x = huge_new((size_t)m * w->k * 4), *y = huge_new((size_t)m * w->n * 4);
    void *act = huge_new(fg_act_bytes(kind, m, w->k));
    for (size_t i = 0; i < (size_t)m * w->k; i++)
        x[i] = (float)(i % 17) - 8;
    double best = 1e9;
    for (int pass = 0; pass < 4; pass++) {
        double start = now();
        for (uint32_t i = 0; i < count; i++) {
            w->packed = packed + i * w->packed_bytes;
            fg_act_quantize(kind, x, w->k, m, w->k, 0, m, act);
            fg_matrix_multiply(w, act, m, y, w->n, 0, w->n);
        }
        double took = now() - start;
        best = took < best ? took : best;
    }
    free(x);
    free(y);
    free(act);
    return best;
}

static void bench(int32_t type)
{
    static const uint32_t batches[] = {1, 2, 4, 8, 32, 512};
    const struct fg_quant_info *info = fg_quant_info(type);
    struct fg_matrix w;
    uint32_t k = info->block == 256 ? 512 : 576;
    if (fg_matrix_plan(type, 1536, k, fg_isa_detect(), false, &w, NULL))
        return;
    uint32_t count = (uint32_t)(((size_t)98 << 20) / w.packed_bytes);
    char *packed = huge_new((size_t)count * w.packed_bytes);
    printf("%-7s", info->name);
    for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
        uint32_t few = batches[i] > 8 && count > 24 ? 24 : count;
        double s = measure(&w, packed, few, batches[i]);
        double macs = (double)few * w.n * k * batches[i];
        if (i == 0)
            printf("%8.1f", (double)few * (double)w.packed_bytes / s * 1e-9);
        printf("%8.1f", macs / s * 1e-9);
        fflush(stdout);
    }
    printf("\n");
    free(packed);
}

int main(int argc, char **argv)
{
    printf("%s: GB/s (m = 1), then GMAC/s at m = 1, 2, 4, 8, 32, 512\n",
           fg_isa_name(fg_isa_detect()));
    for (int32_t type = 0; type < 64; type++) {
        const struct fg_quant_info *info = fg_quant_info(type);
        if (info && info->computes && (argc < 2 || !strcmp(argv[1], info->name)))
            bench(type);
    }
    return 0;
}
