/*
 * cpu/kernels/isa.c - which instruction sets this processor and its kernel offer.
 *
 * A set counts only when cpuid names every part of it and XCR0 says that the operating system
 * saves its registers. Nothing is remembered: the answer is asked for when a model loads.
 */
#include <stdlib.h>
#include <string.h>

#include "cpu/kernels/matrix.h"

static const char *const names[] = {"generic", "avx2", "avxvnni", "avx512vnni", "avx512bf16"};
#define COUNT ((int)(sizeof(names) / sizeof(names[0])))

#if defined(__x86_64__)
#include <cpuid.h>

static unsigned xcr0(void)
{
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool has(unsigned word, unsigned bits)
{
    return (word & bits) == bits;
}

static bool x86_runs(enum fg_isa isa)
{
    const unsigned fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    const unsigned avx2 = 1u << 5, avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* f dq bw vl */
    unsigned a, b, c, d, b7, c7, a71 = 0;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, fma | osxsave | avx | f16c))
        return false;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d) || !has(b7, avx2) || !has(xcr0(), 0x6))
        return false;
    if (a >= 1 && !__get_cpuid_count(7, 1, &a71, &b, &c, &d))
        a71 = 0;
    if (isa == FG_ISA_AVX_VNNI)
        return has(a71, 1u << 4);
    if (isa >= FG_ISA_AVX512_VNNI && (!has(b7, avx512) || !has(c7, 1u << 11) || !has(xcr0(), 0xe6)))
        return false;
    return isa != FG_ISA_AVX512_BF16 || has(a71, 1u << 5);
}
#endif

bool fg_isa_runs(enum fg_isa isa)
{
    if (isa == FG_ISA_GENERIC)
        return true;
#if defined(__x86_64__)
    if ((int)isa < COUNT)
        return x86_runs(isa);
#endif
    return false;
}

enum fg_isa fg_isa_detect(void)
{
    const char *wish = getenv("FLUXGATE_CPU_ISA");
    int best = COUNT - 1;
    for (int i = 0; wish && i < COUNT; i++)
        if (!strcmp(wish, names[i]))
            best = i;
    while (!fg_isa_runs((enum fg_isa)best))
        best--;
    return (enum fg_isa)best;
}

const char *fg_isa_name(enum fg_isa isa)
{
    return (int)isa >= 0 && (int)isa < COUNT ? names[isa] : "unknown";
}
