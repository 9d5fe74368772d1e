/*
 * gpu/health.h - whether a card may serve: a pure state machine. Time and figures are arguments;
 * it calls nobody, so that every rule is tested without a card and without waiting.
 *
 *   STARTING -> READY -> DEGRADED -> DRAINING -> FAILED_RESTART -> FAILED_RESET -> LOST
 *
 * A card has causes that are on or off, each with its own hysteresis; the state is that of the
 * gravest cause that is on. Unknown figures (NaN) turn nothing on.
 */
#ifndef FG_GPU_HEALTH_H
#define FG_GPU_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fg_gpu_state {
    FG_GPU_STARTING = 0,       /* seen, not yet read */
    FG_GPU_READY = 1,
    FG_GPU_DEGRADED = 2,       /* serves, others are better */
    FG_GPU_DRAINING = 3,       /* finishes what runs, takes nothing new */
    FG_GPU_FAILED_RESTART = 4, /* the process on it needs a new context */
    FG_GPU_FAILED_RESET = 5,   /* an operator must reset it or boot */
    FG_GPU_LOST = 6,           /* not there any more */
    FG_GPU_STATES = 7,
};
enum fg_gpu_cause {
    FG_CAUSE_NONE = 0,
    FG_CAUSE_STARTING,
    FG_CAUSE_HEAT,           /* clocks are held down by heat */
    FG_CAUSE_POWER_BRAKE,    /* by the board's power brake */
    FG_CAUSE_ECC_RATE,       /* many corrected errors lately */
    FG_CAUSE_LINK_WIDTH,     /* narrower than card and slot allow */
    FG_CAUSE_RETIREMENT,     /* pages wait for a reset to be retired */
    FG_CAUSE_REMAP,          /* rows wait for a reset to be remapped */
    FG_CAUSE_NOTICE,         /* an event of little or unknown weight */
    FG_CAUSE_STALL,          /* the driver does not answer: told by who waits for it, not here */
    FG_CAUSE_MEMORY_FAULT,   /* an uncorrectable memory error; a new context avoids the page */
    FG_CAUSE_LINK_FAULT,     /* NVLink error, once */
    FG_CAUSE_RECOVERY,       /* the driver asks for an action (XID 154) */
    FG_CAUSE_CONTEXT,        /* a context died: illegal address, killed process ... */
    FG_CAUSE_REPEATED,       /* three of those in ten minutes */
    FG_CAUSE_RESET,          /* the driver or the firmware is beyond repair without a reset */
    FG_CAUSE_REMAP_FAILED,
    FG_CAUSE_LOST,
    FG_CAUSES,
};

/* What is read from a card; NaN: not known. */
struct fg_health_view {
    double celsius, slowdown_celsius;
    double throttle; /* bits FG_THROTTLE_* */
    double ecc_corrected, ecc_uncorrected; /* since the driver was loaded */
    double retired_pages, retirement_pending, remap_pending, remap_failed;
    double link_width, link_width_max;
    bool needs_reset; /* a call said so */
};
enum { /* the driver's bits of clocks event reasons that matter here */
    FG_THROTTLE_IDLE = 0x1,
    FG_THROTTLE_POWER_CAP = 0x4,
    FG_THROTTLE_HW_SLOWDOWN = 0x8,
    FG_THROTTLE_SW_HEAT = 0x20,
    FG_THROTTLE_HW_HEAT = 0x40,
    FG_THROTTLE_POWER_BRAKE = 0x80,
};

struct fg_cause_now {
    bool on, is_true;
    uint64_t turned_ns; /* when is_true last changed */
    uint64_t on_ns;
    uint64_t until_ns;  /* of an event: off then; 0: only by what clears it */
};
struct fg_health {
    int32_t state, cause; /* the gravest */
    uint64_t since_ns;    /* in this state for this cause */
    struct fg_cause_now causes[FG_CAUSES];
    uint32_t xid;         /* the last one, for the text */
    uint64_t faults_ns[3], link_fault_ns; /* contexts that died; 0: none */
    double ecc_base, ecc_last, ecc_uncorrected; /* corrected ones at the window's start */
    uint64_t ecc_window_ns;
    bool has_sample;
    float retired;        /* pages, 0 when not known */
    float admission;      /* 0..1, see fg_health_admission() */
    uint64_t admission_ns;
    double celsius, rise_per_s; /* smoothed slope */
    uint64_t celsius_ns;
};

void fg_health_init(struct fg_health *, uint64_t now_ns);
/* Each returns true when state or cause changed. */
bool fg_health_sample(struct fg_health *, const struct fg_health_view *, uint64_t now_ns);
bool fg_health_xid(struct fg_health *, uint32_t xid, uint64_t now_ns);
bool fg_health_ecc_event(struct fg_health *, uint64_t now_ns); /* double bit */
bool fg_health_lost(struct fg_health *, uint64_t now_ns);
/* It is enumerated (again): whatever needed a reset or a boot is over. */
bool fg_health_found(struct fg_health *, uint64_t now_ns);
/* The process that serves on it has a new context. */
bool fg_health_restarted(struct fg_health *, uint64_t now_ns);

/* 0..1, the part of its worth that it has now; 0 where it may take nothing. */
float fg_health_weight(const struct fg_health *);
/* 0..1, the part of its slots that may be used: falls as the temperature nears the point where
 * the card would slow down by itself. Never 0: that is the state's business. */
float fg_health_admission(const struct fg_health *);
bool fg_health_may_serve(int32_t state); /* takes new work */

const char *fg_gpu_state_name(int32_t state);
const char *fg_gpu_cause_name(int32_t cause);
const char *fg_gpu_cause_text(int32_t cause); /* for people */
/* For people: "XID 79: it has fallen off the bus". */
const char *fg_health_text(const struct fg_health *, char *out, size_t room);

/* ---- xid.c: the driver's error numbers ------------------------------------------------------ */
struct fg_xid {
    uint32_t number;
    int32_t cause; /* enum fg_gpu_cause it turns on */
    const char *text;
};
/* Never NULL: an unknown number is a notice. */
const struct fg_xid *fg_xid_of(uint32_t number);

#endif
