/*
 * tesla/device.c - opening a card: which family of kernels its driver takes, what it is called,
 * how much memory there is; and what models own besides weights.
 *
 * Configuration: {"device": n} (0), the ordinal among the devices that CUDA_VISIBLE_DEVICES leaves.
 * FLUXGATE_TESLA_FAMILY=dp4 asks for one family (tests, comparisons).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tesla/tesla.h"
#include "util/error.h"

/* Best first, with the compute capabilities that a family's machine code serves; PTX of the last
 * serves later cards. The build says which families are in (FG_TESLA_HAS_...). */
static const struct {
    const struct fg_tesla_family *family;
    int first, last;
} families[] = {
#ifdef FG_TESLA_HAS_AMP
    {&fg_tesla_amp, 80, 999},
#endif
#ifdef FG_TESLA_HAS_TUR
    {&fg_tesla_tur, 75, 75},
#endif
#ifdef FG_TESLA_HAS_V70
    {&fg_tesla_v70, 70, 72},
#endif
#ifdef FG_TESLA_HAS_DP4
    {&fg_tesla_dp4, 61, 62},
#endif
#ifdef FG_TESLA_HAS_P60
    {&fg_tesla_p60, 60, 60},
#endif
#ifdef FG_TESLA_HAS_MAX
    {&fg_tesla_max, 50, 53},
#endif
#ifdef FG_TESLA_HAS_KEP
    {&fg_tesla_kep, 35, 37},
#endif
    {NULL, 0, 0},
};

int32_t fg_tesla_error(cudaError_t code, const char *what, struct fg_error *err)
{
    const int32_t status = code == cudaErrorMemoryAllocation ? FG_NO_MEMORY : FG_DEVICE_LOST;
    (void)cudaGetLastError(); /* what is not sticky is forgotten */
    return fg_fail(err, status, "%s: %s", what, cudaGetErrorName(code));
}

static void refresh_free(struct fg_dev *dev)
{
    size_t available = 0, total = 0;
    if (cudaMemGetInfo(&available, &total) == cudaSuccess)
        __atomic_store_n(&dev->memory_free, available, __ATOMIC_RELAXED);
}

int32_t fg_tesla_alloc(struct fg_dev *dev, size_t bytes, void **out, const char *what,
                       struct fg_error *err)
{
    const cudaError_t rc = cudaMalloc(out, bytes ? bytes : 256);
    if (rc == cudaSuccess)
        return FG_OK;
    *out = NULL;
    refresh_free(dev);
    if (rc != cudaErrorMemoryAllocation)
        return fg_tesla_error(rc, what, err);
    (void)cudaGetLastError();
    return fg_fail(err, FG_NO_MEMORY, "%s need %.1f MiB, %s has %.1f MiB free of %.1f", what,
                   (double)bytes / 1048576, dev->described.name,
                   (double)__atomic_load_n(&dev->memory_free, __ATOMIC_RELAXED) / 1048576,
                   (double)dev->described.memory_total / 1048576);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int32_t pick_family(struct fg_dev *dev, int capability, struct fg_error *err)
{
    const char *forced = getenv("FLUXGATE_TESLA_FAMILY");
    char tried[160] = "";
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        const struct fg_tesla_family *f = families[i].family;
        if (!f || (forced && *forced ? strcasecmp(forced, f->name) != 0
                                     : capability < families[i].first))
            continue;
        int code = 0;
        bool is_ptx = false;
        const cudaError_t rc = f->probe(&code, &is_ptx);
        if (rc == cudaSuccess) {
            dev->family = f;
            snprintf(dev->text, sizeof dev->text, "%.64s, compute capability %d.%d, kernels %s (%d%s)",
                     dev->described.name, capability / 10, capability % 10, f->name, code,
                     is_ptx ? ", compiled by the driver" : "");
            return FG_OK;
        }
        const size_t at = strlen(tried);
        snprintf(tried + at, sizeof tried - at, " %s: %s;", f->name, cudaGetErrorName(rc));
    }
    return fg_fail(err, FG_UNSUPPORTED,
                   "%s has compute capability %d.%d, and this build has no kernels for it;%s",
                   dev->described.name, capability / 10, capability % 10, tried);
}

static void describe(struct fg_dev *dev, const struct cudaDeviceProp *p)
{
    struct fg_device *d = &dev->described;
    const unsigned char *u = (const unsigned char *)p->uuid.bytes;
    *d = (struct fg_device){.size = sizeof *d,
                            .state = FG_DEVICE_READY,
                            .memory_total = p->totalGlobalMem,
                            .busy = NAN,
                            .celsius = NAN,
                            .watts = NAN};
    snprintf(d->name, sizeof d->name, "%.63s", p->name);
    snprintf(d->id, sizeof d->id,
             "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
             u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    dev->processors = (uint32_t)p->multiProcessorCount;
}

static int32_t read_ordinal(json_t *config, int *out, struct fg_error *err)
{
    json_t *v = json_object_get(config, "device");
    if (v && !(json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < 64))
        return fg_fail(err, FG_INVALID, "device: an ordinal from 0 to 63 is needed");
    *out = v ? (int)json_integer_value(v) : 0;
    return FG_OK;
}

static int32_t open_card(struct fg_dev *dev, struct fg_error *err)
{
    struct cudaDeviceProp p;
    int count = 0;
    cudaError_t rc = cudaGetDeviceCount(&count);
    if (rc != cudaSuccess || count == 0)
        return fg_fail(err, FG_UNSUPPORTED, "no CUDA device: %s",
                       rc != cudaSuccess ? cudaGetErrorString(rc) : "the driver sees none");
    if (dev->ordinal >= count)
        return fg_fail(err, FG_INVALID, "device %d: there are only %d", dev->ordinal, count);
    rc = cudaSetDevice(dev->ordinal);
    if (rc == cudaSuccess)
        rc = cudaGetDeviceProperties(&p, dev->ordinal);
    if (rc != cudaSuccess)
        return fg_tesla_error(rc, "opening the device", err);
    describe(dev, &p);
    const int32_t picked = pick_family(dev, p.major * 10 + p.minor, err);
    if (picked != FG_OK)
        return picked;
    rc = cudaStreamCreateWithFlags(&dev->stream, cudaStreamNonBlocking);
    if (rc == cudaSuccess)
        rc = cudaEventCreateWithFlags(&dev->done, cudaEventDisableTiming);
    refresh_free(dev);
    return rc == cudaSuccess ? FG_OK : fg_tesla_error(rc, "opening a stream", err);
}

int32_t fg_tesla_open(json_t *config, struct fg_dev **out, struct fg_error *err)
{
    struct fg_dev *dev = calloc(1, sizeof *dev);
    if (!dev)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a device");
    int32_t rc = read_ordinal(config, &dev->ordinal, err);
    if (rc == FG_OK)
        rc = open_card(dev, err);
    if (rc != FG_OK) {
        fg_tesla_close(dev);
        return rc;
    }
    fg_tesla_trace_open(dev);
    *out = dev;
    return FG_OK;
}

void fg_tesla_close(struct fg_dev *dev)
{
    if (!dev)
        return;
    fg_tesla_trace_close(dev);
    fg_tesla_forget_graphs(dev);
    for (int i = 0; i < 2; i++) {
        (void)cudaFreeHost(dev->stage_host[i]);
        (void)cudaFree(dev->stage_card[i]);
        if (dev->staged[i])
            (void)cudaEventDestroy(dev->staged[i]);
    }
    void *card[] = {dev->in.f,     dev->in.q,    dev->in.steps, dev->in.half,  dev->in.half_scale,
                    dev->work,     dev->partial, dev->aside,    dev->logits,   dev->stash,
                    dev->header_card};
    for (size_t i = 0; i < sizeof card / sizeof *card; i++)
        (void)cudaFree(card[i]);
    (void)cudaFreeHost(dev->back);
    (void)cudaFreeHost(dev->header_host);
    if (dev->done)
        (void)cudaEventDestroy(dev->done);
    if (dev->stream)
        (void)cudaStreamDestroy(dev->stream);
    free(dev->ops);
    free(dev);
}

void fg_tesla_describe(struct fg_dev *dev, struct fg_device *out)
{
    const uint32_t size = out->size < sizeof dev->described ? out->size : sizeof dev->described;
    struct fg_device d = dev->described;
    d.memory_free = __atomic_load_n(&dev->memory_free, __ATOMIC_RELAXED);
    d.size = size;
    memcpy(out, &d, size);
}

const char *fg_tesla_text(struct fg_dev *dev)
{
    return dev->text;
}
