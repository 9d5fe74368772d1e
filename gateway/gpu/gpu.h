/*
 * gpu/gpu.h - the cards of this machine: what they are, how they do, what they may take. One
 * thread reads them every interval and publishes a snapshot; who wants to know takes the newest.
 *
 * Without a driver, a library or a card everything here works and says so: a snapshot without
 * cards, with the reason.
 */
#ifndef FG_GPU_GPU_H
#define FG_GPU_GPU_H

#include "conf/conf.h"
#include "gpu/cards.h"
#include "gpu/health.h"
#include "gpu/pci.h"
#include "gpu/values.h"
#include "util/str.h"

enum { FG_GPU_MOST = 16, FG_GPU_PROCESSES = 16 };

struct fg_gpu_process {
    uint32_t pid;
    bool is_ours; /* started by this gateway, or by what it started */
    double memory_bytes; /* NaN: not told */
    char name[32];
};
struct fg_gpu_card { /* in a snapshot: immutable */
    uint32_t index;  /* the library's order, which is that of the PCI bus */
    char name[96], uuid[96], pci[32]; /* "" when not told */
    int32_t major, minor;             /* -1: not known */
    const struct fg_card *card;       /* NULL: not in the table */
    double values[FG_GPU_VALUES];
    bool joules_are_summed; /* the card has no counter: power times time */
    int32_t state, cause;
    char reason[128]; /* "" while READY */
    uint64_t since_wall_ns;
    float weight, admission;
    uint32_t last_xid; /* 0: none yet */
    uint64_t last_xid_wall_ns, xid_count;
    uint32_t process_count;
    struct fg_gpu_process processes[FG_GPU_PROCESSES];
    char note[128]; /* what an operator may want to know: a slice of a card, a driver's end */
};
struct fg_gpu_bare { /* on the bus, and of no use */
    struct fg_pci_card pci;
    char why[160];
};
struct fg_gpus { /* a snapshot, shared and counted */
    uint32_t refs; /* atomic */
    uint64_t at_ns, at_wall_ns;
    bool is_enabled, has_library;
    char library[256], driver[80], cuda[16];
    char why[256]; /* why there are no figures; "" when there are */
    uint32_t count, bare_count;
    struct fg_gpu_bare bare[FG_PCI_MOST];
    struct fg_gpu_card cards[];
};
struct fg_gpu_point { /* of the history; NaN: not known */
    uint64_t at_wall_ns;
    float celsius, watts, busy, memory_used, sm_mhz, admission;
};
struct fg_gpu_events { /* [the sampler's thread] */
    void *ctx;
    /* The state of a card, or what it may take, is another one; also once when cards are there. */
    void (*changed)(void *ctx);
};

struct fg_gpu;

/* Takes one look (at most some ms, unless the driver hangs: then it goes on alone after 2 s), then
 * reads on its own thread. */
int32_t fg_gpu_open(const struct fg_conf *, struct fg_gpu **, struct fg_error *);
/* [main] From now on events go there; called once, changes before it are made up for. */
void fg_gpu_tell(struct fg_gpu *, const struct fg_gpu_events *);
/* A thread that hangs in the driver is left behind. */
void fg_gpu_close(struct fg_gpu *);

/* [any] Retained for the caller, never NULL. */
const struct fg_gpus *fg_gpu_snapshot(struct fg_gpu *);
void fg_gpus_release(const struct fg_gpus *);           /* [any]; NULL is fine */
/* [any] The process that serves on these cards (bits of indexes) has a new context. */
void fg_gpu_restarted(struct fg_gpu *, uint32_t cards);
/* [any] An operator's word that cards were reset: all are opened anew, and what needed a reset
 * starts afresh. */
void fg_gpu_look_again(struct fg_gpu *);
/* [any] The last points of a card, oldest first. */
uint32_t fg_gpu_history(struct fg_gpu *, uint32_t index, struct fg_gpu_point *, uint32_t room);

/* The snapshot as JSON; with history, points a card (0: none). */
void fg_gpus_write(const struct fg_gpus *, struct fg_gpu *history, uint32_t points,
                   struct fg_buf *);

/* ---- bind.c, pure ---------------------------------------------------------------------- */

/* Each entry is an index ("0"), a UUID or its beginning ("GPU-1f2"), a PCI address, "all", or a
 * spelling of cards.h, which means every card it fits. *missing (may be NULL) is the first that
 * fits none, else NULL. Returns bits of indexes. */
uint32_t fg_gpus_match(const struct fg_gpus *, char *const *gpus, uint32_t count,
                       const char **missing);
/* Energy used by a card until now, between two readings by its power; NaN: not known. */
double fg_gpus_joules(const struct fg_gpus *, uint32_t index, uint64_t now_ns);
/* Is every entry of every backend spelled in one of these ways? */
int32_t fg_gpus_check(const struct fg_conf *, struct fg_error *);

#endif
