/* The fake library of tests/fakes/nvml, as the tests here play on it. */
#ifndef FG_TEST_GPU_PLAY_H
#define FG_TEST_GPU_PLAY_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../fakes/nvml/fake_nvml.h"

#define FAKE(kind) FG_TEST_BIN "/tests/fakes/nvml/" kind "/libnvidia-ml.so.1"

static void *fake_library;
static fake_nvml_do_fn *fake_do;
static fake_nvml_reset_fn *fake_reset;
static fake_nvml_calls_fn *fake_calls;

/* Stays loaded, so that what was played is still there when NVML is closed and opened again. */
static inline int fake_open(const char *path)
{
    fake_library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!fake_library) {
        fprintf(stderr, "%s\n", dlerror());
        return -1;
    }
    *(void **)&fake_do = dlsym(fake_library, "fake_nvml_do");
    *(void **)&fake_reset = dlsym(fake_library, "fake_nvml_reset");
    *(void **)&fake_calls = dlsym(fake_library, "fake_nvml_calls");
    if (!fake_do || !fake_reset || !fake_calls)
        return -1;
    fake_reset();
    return 0;
}

static inline void play(const char *line)
{
    if (fake_do(line)) {
        fprintf(stderr, "the fake does not understand: %s\n", line);
        abort();
    }
}

#endif
