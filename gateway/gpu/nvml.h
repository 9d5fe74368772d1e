/*
 * gpu/nvml.h - the driver's management library, loaded when it is there (dlopen). Every symbol is
 * optional: a call that the library, the driver or the card does not know leaves its figure
 * unknown (NaN), never zero.
 *
 * One handle is used by the sampler's thread; only waiting for events goes on another. Any call
 * may take long or never come back when the driver hangs: nothing else may wait for that thread.
 */
#ifndef FG_GPU_NVML_H
#define FG_GPU_NVML_H

#include <stdbool.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

#include "gpu/values.h"

struct fg_nvml;
struct fg_nvml_device; /* the library's; never looked into */

enum fg_nvml_answer { /* of a call, as far as it matters */
    FG_NVML_GOOD = 0,
    FG_NVML_UNKNOWN = 1, /* not supported, no permission, missing symbol: no figure */
    FG_NVML_RESET = 2,   /* the card needs a reset */
    FG_NVML_LOST = 3,    /* it is gone */
};
struct fg_nvml_identity {
    char name[96], uuid[96], pci[32];
    int32_t major, minor;        /* -1: not known */
    int32_t virtualization;      /* the library's number; -1: not known */
};
struct fg_nvml_process {
    uint32_t pid;
    double memory_bytes; /* NaN: not told */
};
struct fg_nvml_event {
    struct fg_nvml_device *device;
    uint64_t kind, data; /* FG_NVML_EVENT_*, the XID */
};
enum { FG_NVML_EVENT_DOUBLE_BIT = 2, FG_NVML_EVENT_XID = 8 };

/* path NULL: the usual names and places. FG_NOT_FOUND: there is no library; FG_DEVICE_LOST: there
 * is one, but it cannot start (no driver loaded, wrong version): the text says why. */
int32_t fg_nvml_open(const char *path, struct fg_nvml **, struct fg_error *);
void fg_nvml_close(struct fg_nvml *);
const char *fg_nvml_path(const struct fg_nvml *);   /* the file that was loaded */
const char *fg_nvml_driver(const struct fg_nvml *); /* "580.65.06"; "" not told */
int32_t fg_nvml_cuda(const struct fg_nvml *);       /* 12040 is 12.4; 0: not told */

uint32_t fg_nvml_count(struct fg_nvml *); /* 0 also when it cannot be told */
/* NULL: no such card, or it cannot be opened; *answer tells more. */
struct fg_nvml_device *fg_nvml_device(struct fg_nvml *, uint32_t index, int32_t *answer);
void fg_nvml_identify(struct fg_nvml *, struct fg_nvml_device *, struct fg_nvml_identity *);
/* Fills the figures that change quickly, with `all` the slow ones as well; the others keep what
 * they were. The gravest answer comes back. */
int32_t fg_nvml_read(struct fg_nvml *, struct fg_nvml_device *, bool all,
                     double values[FG_GPU_VALUES]);
/* Returns how many there are; *known is false when that cannot be told. */
uint32_t fg_nvml_processes(struct fg_nvml *, struct fg_nvml_device *, struct fg_nvml_process *,
                           uint32_t room, bool *known);

/* Events of the cards given. False: this library or driver has none. */
bool fg_nvml_watch(struct fg_nvml *, struct fg_nvml_device *const *, uint32_t count);
/* [events thread] True: one came; false: none within the time. */
bool fg_nvml_wait(struct fg_nvml *, uint32_t timeout_ms, struct fg_nvml_event *);
void fg_nvml_unwatch(struct fg_nvml *); /* nobody waits any more */

#endif
