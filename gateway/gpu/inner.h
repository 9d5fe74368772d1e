/*
 * gpu/inner.h - what the files of gpu/ share. Nobody else but its tests includes it.
 *
 * Threads   a unit and the library's handle: the sampler.   Waiting for events, and noticing that
 *           the sampler hangs: the watcher.   The fields under the lock: any.
 */
#ifndef FG_GPU_INNER_H
#define FG_GPU_INNER_H

#include <pthread.h>

#include "gpu/gpu.h"
#include "gpu/nvml.h"
#include "obs/metrics.h"

enum {
    FG_GPU_EVENTS = 64,   /* of the driver between two turns; more are dropped and counted */
    FG_GPU_SLOW_S = 5,    /* figures that change seldom */
    FG_GPU_REOPEN_S = 60, /* a lost card is looked for again; the pauses grow */
    FG_GPU_RETRY_S = 30,  /* a library that did not work */
    FG_GPU_STALL_S = 5,   /* a turn that takes longer: the driver hangs */
};

struct fg_gpu_unit { /* one card, from the first time it was seen */
    struct fg_nvml_device *device; /* NULL: lost */
    struct fg_nvml_identity id;
    const struct fg_card *card;
    double values[FG_GPU_VALUES];
    struct fg_health health;
    uint64_t read_ns, slow_ns, since_wall_ns, xid_wall_ns, xid_count;
    double joules;      /* summed, where there is no counter */
    double last_watts;
    bool has_counter;
    float told_admission;
    uint32_t process_count;
    struct fg_gpu_process processes[FG_GPU_PROCESSES];
    struct fg_gpu_point *points; /* [lock] ring */
    uint32_t point_count, point_at;
    struct fg_metric *metrics[FG_GPU_VALUES], *state, *weight, *admission;
};

struct fg_gpu {
    /* constant */
    bool is_enabled;
    char *library; /* NULL: the usual ones */
    const char *pci_folder, *proc_folder;
    uint64_t interval_ns;
    uint32_t history;

    /* the sampler's */
    struct fg_nvml *nvml; /* changes only while has_events is not set */
    struct fg_gpu_unit units[FG_GPU_MOST];
    uint32_t unit_count;
    uint64_t reopen_s;
    bool is_word_given; /* by an operator: what needed a reset had one */
    uint64_t open_at_ns; /* when the library is opened, or opened anew; UINT64_MAX: not */
    char why[256], told_why[256];
    struct fg_pci_card pci[FG_PCI_MOST];
    uint32_t pci_count;
    uint64_t pci_ns;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct fg_gpus *snapshot;                      /* [lock] one reference */
    struct fg_nvml_event events[FG_GPU_EVENTS];    /* [lock] */
    uint32_t event_count;                          /* [lock] */
    uint32_t restarted;                            /* [lock] bits of cards */
    uint64_t turn_since_ns;                        /* [lock] 0: no turn is under way */
    bool stopping, poked, is_over;                 /* [lock] is_over: the sampler has ended */
    bool look_again;                               /* [lock] see is_word_given */
    bool is_looked;                                /* [lock] the first turn is over */
    bool has_events;                               /* [lock] the watcher may wait for them */
    bool watcher_waits;                            /* [lock] and does */
    bool watcher_over;                             /* [lock] it has ended */
    struct fg_gpu_events sink;                     /* [lock] */
    pthread_t sampler, watcher;
    bool has_sampler, has_watcher;
};

/* gpu.c; pci_folder, proc_folder: NULL is /sys/bus/pci/devices, /proc */
int32_t fg_gpu_make(const struct fg_conf_gpu *, const char *pci_folder, const char *proc_folder,
                    struct fg_gpu **, struct fg_error *);
void fg_gpu_free(struct fg_gpu *);

/* sampler.c: one turn at this time; true: who listens should hear of it */
bool fg_gpu_turn(struct fg_gpu *, uint64_t now_ns);
void *fg_gpu_sample_run(void *gpu);
/* watch.c */
void *fg_gpu_watch_run(void *gpu);
/* Puts a snapshot in place that says so when a turn takes too long. True: it did just now. */
bool fg_gpu_look_for_stall(struct fg_gpu *, uint64_t now_ns);
/* The library may be closed after it: nobody waits for its events any more. */
void fg_gpu_quiet(struct fg_gpu *);

/* publish.c */
void fg_gpu_publish(struct fg_gpu *, uint64_t now_ns);
void fg_gpu_count_xid(const struct fg_gpu *, const struct fg_gpu_unit *, uint32_t xid);
void fg_gpu_measure(struct fg_gpu *); /* into the metrics */

/* process.c: is pid this process, or below it? name gets what it is called. */
bool fg_process_is_ours(const char *proc_folder, uint32_t pid, char *name, size_t room);

#endif
