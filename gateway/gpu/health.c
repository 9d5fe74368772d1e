/*
 * The causes and their rules. A cause is either a condition, which is told with every sample and
 * must hold (or be gone) for a while before it counts, or an event, which stays on for a time or
 * until something clears it.
 */
#include "gpu/health.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "util/clock.h"

#define S FG_NS_PER_S

enum clears { BY_TIME = 0, BY_RESTART = 1, BY_FINDING = 2 };
enum {
    FAULT_WINDOW_S = 600, /* three dead contexts within it take the card out */
    ECC_WINDOW_S = 600,
    ECC_MANY = 10,     /* corrected errors in a window */
    RETIRED_MOST = 64, /* pages: the driver retires no more */
    GOVERN_FROM = 10,  /* degrees below the slowdown point: fewer slots from here */
    GOVERN_FULL = 2,   /* fewest slots */
    LOOK_AHEAD_S = 15,
    UNKNOWN_SLOWDOWN = 90, /* most data centre cards slow down between 88 and 95 degrees */
};
static const float fewest = 0.25F;

static const struct rule {
    const char *name, *text;
    int32_t state;
    float weight;
    uint16_t on_s, off_s; /* a condition: how long it must hold, be gone */
    uint16_t hold_s;      /* an event: how long it stays; 0: until it is cleared */
    uint8_t clears;
    bool is_event;
} rules[FG_CAUSES] = {
    [FG_CAUSE_NONE] = {"none", "", FG_GPU_READY, 1, 0, 0, 0, BY_TIME, false},
    [FG_CAUSE_STARTING] = {"starting", "not read yet", FG_GPU_STARTING, 1, 0, 0, 0, BY_TIME, true},
    [FG_CAUSE_HEAT] = {"heat", "clocks held down by heat", FG_GPU_DEGRADED, 0.4F, 30, 60, 0,
                       BY_TIME, false},
    [FG_CAUSE_POWER_BRAKE] = {"power_brake", "clocks held down by the power brake", FG_GPU_DEGRADED,
                              0.4F, 30, 60, 0, BY_TIME, false},
    [FG_CAUSE_ECC_RATE] = {"ecc_rate", "many corrected memory errors", FG_GPU_DEGRADED, 0.6F, 0, 0,
                           0, BY_TIME, false},
    [FG_CAUSE_LINK_WIDTH] = {"link_width", "PCIe link narrower than it could be", FG_GPU_DEGRADED,
                             0.8F, 30, 30, 0, BY_TIME, false},
    [FG_CAUSE_RETIREMENT] = {"retirement_pending", "memory pages are retired at the next reset",
                             FG_GPU_DEGRADED, 0.6F, 0, 0, 0, BY_TIME, false},
    [FG_CAUSE_REMAP] = {"remap_pending", "memory rows are remapped at the next reset",
                        FG_GPU_DEGRADED, 0.6F, 0, 0, 0, BY_TIME, false},
    [FG_CAUSE_NOTICE] = {"notice", "an event of the driver", FG_GPU_DEGRADED, 0.6F, 0, 0, 600,
                         BY_TIME, true},
    [FG_CAUSE_STALL] = {"driver_stall", "the driver does not answer", FG_GPU_DRAINING, 0, 0, 0, 0,
                        BY_TIME, false},
    [FG_CAUSE_MEMORY_FAULT] = {"memory_fault", "uncorrectable memory error", FG_GPU_DRAINING, 0, 0,
                               0, 120, BY_RESTART, true},
    [FG_CAUSE_LINK_FAULT] = {"link_fault", "NVLink error", FG_GPU_DRAINING, 0, 0, 0, 120,
                             BY_RESTART, true},
    [FG_CAUSE_RECOVERY] = {"recovery", "the driver asks for a recovery action", FG_GPU_DRAINING, 0,
                           0, 0, 0, BY_FINDING, true},
    [FG_CAUSE_CONTEXT] = {"context", "a context on it died", FG_GPU_FAILED_RESTART, 0, 0, 0, 15,
                          BY_RESTART, true},
    [FG_CAUSE_REPEATED] = {"repeated_faults", "three contexts on it died within ten minutes",
                           FG_GPU_FAILED_RESET, 0, 0, 0, 1800, BY_FINDING, true},
    [FG_CAUSE_RESET] = {"needs_reset", "it needs a reset", FG_GPU_FAILED_RESET, 0, 0, 0, 0,
                        BY_FINDING, true},
    [FG_CAUSE_REMAP_FAILED] = {"remap_failed", "memory rows could not be remapped",
                               FG_GPU_FAILED_RESET, 0, 0, 0, 0, BY_TIME, false},
    [FG_CAUSE_LOST] = {"lost", "it is not there any more", FG_GPU_LOST, 0, 0, 0, 0, BY_FINDING,
                       true},
};

/* ---- state ------------------------------------------------------------------------------------
 */

/* The gravest cause; of equal ones the first in the enum. */
static bool settle(struct fg_health *h, uint64_t now_ns)
{
    int32_t best = FG_CAUSE_NONE;
    bool starting = h->causes[FG_CAUSE_STARTING].on;
    for (int32_t c = FG_CAUSE_NONE + 1; c < FG_CAUSES; c++)
        if (h->causes[c].on && rules[c].state > rules[best].state)
            best = c;
    if (best == FG_CAUSE_NONE && starting)
        best = FG_CAUSE_STARTING;
    int32_t state = rules[best].state;
    if (state == h->state && best == h->cause)
        return false;
    h->state = state;
    h->cause = best;
    h->since_ns = now_ns;
    return true;
}

static void turn(struct fg_health *h, int32_t cause, bool on, uint64_t now_ns)
{
    struct fg_cause_now *c = &h->causes[cause];
    if (on && !c->on)
        c->on_ns = now_ns;
    c->on = on;
}

static void condition(struct fg_health *h, int32_t cause, bool is_true, uint64_t now_ns)
{
    struct fg_cause_now *c = &h->causes[cause];
    if (c->is_true != is_true) {
        c->is_true = is_true;
        c->turned_ns = now_ns;
    }
    uint64_t held = now_ns - c->turned_ns;
    if (is_true && !c->on && held >= rules[cause].on_s * S)
        turn(h, cause, true, now_ns);
    else if (!is_true && c->on && held >= rules[cause].off_s * S)
        turn(h, cause, false, now_ns);
}

static void happens(struct fg_health *h, int32_t cause, uint64_t now_ns)
{
    turn(h, cause, true, now_ns);
    h->causes[cause].until_ns = rules[cause].hold_s ? now_ns + rules[cause].hold_s * S : 0;
}

static void expire(struct fg_health *h, uint64_t now_ns)
{
    for (int32_t c = 0; c < FG_CAUSES; c++)
        if (h->causes[c].on && h->causes[c].until_ns && now_ns >= h->causes[c].until_ns) {
            h->causes[c].until_ns = 0;
            turn(h, c, false, now_ns);
        }
}

static void clear(struct fg_health *h, uint8_t by, uint64_t now_ns)
{
    for (int32_t c = 0; c < FG_CAUSES; c++)
        if (rules[c].is_event && rules[c].clears != BY_TIME && rules[c].clears <= by)
            turn(h, c, false, now_ns);
}

void fg_health_init(struct fg_health *h, uint64_t now_ns)
{
    *h = (struct fg_health){.state = FG_GPU_STARTING,
                            .cause = FG_CAUSE_STARTING,
                            .since_ns = now_ns,
                            .ecc_base = NAN,
                            .ecc_last = NAN,
                            .ecc_uncorrected = NAN,
                            .celsius = NAN,
                            .admission = 1};
    h->causes[FG_CAUSE_STARTING].on = true;
}

/* ---- samples ----------------------------------------------------------------------------------
 */

static bool has_bit(double mask, uint32_t bits)
{
    return mask >= 0 && mask < 4294967296.0 && ((uint32_t)mask & bits);
}

/* A counter that falls was reset with the driver: what was before does not count. */
static void look_at_ecc(struct fg_health *h, const struct fg_health_view *v, uint64_t now_ns)
{
    if (!isnan(v->ecc_uncorrected)) {
        if (v->ecc_uncorrected > h->ecc_uncorrected) /* false while it is NaN */
            happens(h, FG_CAUSE_MEMORY_FAULT, now_ns);
        h->ecc_uncorrected = v->ecc_uncorrected;
    }
    if (isnan(v->ecc_corrected))
        return;
    bool fresh = isnan(h->ecc_base) || v->ecc_corrected < h->ecc_base;
    bool many = !fresh && v->ecc_corrected - h->ecc_base >= ECC_MANY;
    bool is_over = now_ns - h->ecc_window_ns >= ECC_WINDOW_S * S;
    if (fresh || is_over) { /* a window that was bad holds until the next was good */
        h->ecc_base = v->ecc_corrected;
        h->ecc_window_ns = now_ns;
    }
    if (many || fresh || is_over)
        condition(h, FG_CAUSE_ECC_RATE, many, now_ns);
    h->ecc_last = v->ecc_corrected;
}

/* Where the temperature will be in a while, if it goes on rising as it did. */
static double expected_celsius(struct fg_health *h, double celsius, uint64_t now_ns)
{
    double dt = (double)(now_ns - h->celsius_ns) / 1e9;
    if (isnan(h->celsius) || dt > 60) {
        h->rise_per_s = 0;
    } else if (dt > 0) {
        double share = dt / (dt + 10); /* smoothed over some ten seconds: readings are whole */
        h->rise_per_s += share * ((celsius - h->celsius) / dt - h->rise_per_s);
    }
    h->celsius = celsius;
    h->celsius_ns = now_ns;
    return celsius + (h->rise_per_s > 0 ? h->rise_per_s * LOOK_AHEAD_S : 0);
}

/* Falls at once, rises by a twentieth a second: a card that was hot is hot again soon. */
static void govern(struct fg_health *h, const struct fg_health_view *v, bool heat, uint64_t now_ns)
{
    if (isnan(v->celsius)) {
        h->celsius = NAN;
        h->admission = heat ? fewest : 1;
        return;
    }
    double limit = v->slowdown_celsius > 0 ? v->slowdown_celsius : UNKNOWN_SLOWDOWN;
    double head = limit - expected_celsius(h, v->celsius, now_ns);
    double share = (head - GOVERN_FULL) / (GOVERN_FROM - GOVERN_FULL);
    float wanted = share >= 1 ? 1 : share <= 0 ? fewest : fewest + (1 - fewest) * (float)share;
    if (heat)
        wanted = fewest;
    float step = 0.05F * (float)((double)(now_ns - h->admission_ns) / 1e9);
    h->admission = wanted > h->admission + step ? h->admission + step : wanted;
    h->admission_ns = now_ns;
}

bool fg_health_sample(struct fg_health *h, const struct fg_health_view *v, uint64_t now_ns)
{
    bool brake = has_bit(v->throttle, FG_THROTTLE_POWER_BRAKE);
    /* The plain hardware bit is set along with the brake's; older drivers know only this one. */
    bool heat = has_bit(v->throttle, FG_THROTTLE_SW_HEAT | FG_THROTTLE_HW_HEAT) ||
                (has_bit(v->throttle, FG_THROTTLE_HW_SLOWDOWN) && !brake);
    if (!h->has_sample)
        h->admission_ns = h->ecc_window_ns = now_ns;
    h->has_sample = true;
    turn(h, FG_CAUSE_STARTING, false, now_ns);
    expire(h, now_ns);
    condition(h, FG_CAUSE_HEAT, heat, now_ns);
    condition(h, FG_CAUSE_POWER_BRAKE, brake, now_ns);
    condition(h, FG_CAUSE_LINK_WIDTH, v->link_width > 0 && v->link_width < v->link_width_max,
              now_ns);
    condition(h, FG_CAUSE_RETIREMENT, v->retirement_pending > 0, now_ns);
    condition(h, FG_CAUSE_REMAP, v->remap_pending > 0, now_ns);
    condition(h, FG_CAUSE_REMAP_FAILED, v->remap_failed > 0, now_ns);
    look_at_ecc(h, v, now_ns);
    if (v->needs_reset)
        happens(h, FG_CAUSE_RESET, now_ns);
    h->retired = v->retired_pages > 0 ? (float)v->retired_pages : 0;
    govern(h, v, heat, now_ns);
    return settle(h, now_ns);
}

/* ---- events -----------------------------------------------------------------------------------
 */

static void context_died(struct fg_health *h, uint64_t now_ns)
{
    h->faults_ns[0] = h->faults_ns[1];
    h->faults_ns[1] = h->faults_ns[2];
    h->faults_ns[2] = now_ns;
    if (h->faults_ns[0] && now_ns - h->faults_ns[0] < FAULT_WINDOW_S * S)
        happens(h, FG_CAUSE_REPEATED, now_ns);
}

bool fg_health_xid(struct fg_health *h, uint32_t xid, uint64_t now_ns)
{
    int32_t cause = fg_xid_of(xid)->cause;
    h->xid = xid;
    if (cause == FG_CAUSE_LINK_FAULT) {
        bool again = h->link_fault_ns && now_ns - h->link_fault_ns < FAULT_WINDOW_S * S;
        h->link_fault_ns = now_ns;
        if (again)
            cause = FG_CAUSE_RESET;
    }
    happens(h, cause, now_ns);
    /* 45 follows the end of every process that had a context, ours as well: no fault by itself. */
    if (cause == FG_CAUSE_CONTEXT && xid != 45)
        context_died(h, now_ns);
    return settle(h, now_ns);
}

bool fg_health_ecc_event(struct fg_health *h, uint64_t now_ns)
{
    happens(h, FG_CAUSE_MEMORY_FAULT, now_ns);
    return settle(h, now_ns);
}

bool fg_health_lost(struct fg_health *h, uint64_t now_ns)
{
    happens(h, FG_CAUSE_LOST, now_ns);
    return settle(h, now_ns);
}

bool fg_health_found(struct fg_health *h, uint64_t now_ns)
{
    clear(h, BY_FINDING, now_ns);
    memset(h->faults_ns, 0, sizeof h->faults_ns);
    h->link_fault_ns = 0;
    h->ecc_base = h->ecc_last = h->ecc_uncorrected = NAN;
    h->has_sample = false;
    turn(h, FG_CAUSE_STARTING, true, now_ns);
    return settle(h, now_ns);
}

bool fg_health_restarted(struct fg_health *h, uint64_t now_ns)
{
    clear(h, BY_RESTART, now_ns);
    return settle(h, now_ns);
}

/* ---- what follows from it ---------------------------------------------------------------------
 */

bool fg_health_may_serve(int32_t state)
{
    return state <= FG_GPU_DEGRADED;
}

float fg_health_weight(const struct fg_health *h)
{
    float weight = 1;
    if (!fg_health_may_serve(h->state))
        return 0;
    for (int32_t c = 0; c < FG_CAUSES; c++)
        if (h->causes[c].on)
            weight *= rules[c].weight;
    float pages = h->retired < RETIRED_MOST ? h->retired : RETIRED_MOST;
    return weight * (1 - pages / RETIRED_MOST / 2);
}

float fg_health_admission(const struct fg_health *h)
{
    return h->admission;
}

const char *fg_gpu_state_name(int32_t state)
{
    static const char *const names[] = {"starting",       "ready",        "degraded", "draining",
                                        "failed_restart", "failed_reset", "lost"};
    return state >= 0 && state < FG_GPU_STATES ? names[state] : "unknown";
}

const char *fg_gpu_cause_name(int32_t cause)
{
    return cause >= 0 && cause < FG_CAUSES ? rules[cause].name : "unknown";
}

const char *fg_gpu_cause_text(int32_t cause)
{
    return cause >= 0 && cause < FG_CAUSES ? rules[cause].text : "unknown";
}

const char *fg_health_text(const struct fg_health *h, char *out, size_t room)
{
    const struct fg_xid *x = fg_xid_of(h->xid);
    bool by_xid =
        h->xid && rules[h->cause].is_event &&
        (x->cause == h->cause || (h->cause == FG_CAUSE_RESET && x->cause == FG_CAUSE_LINK_FAULT));
    if (by_xid)
        snprintf(out, room, "XID %u: %s", h->xid, x->text);
    else
        snprintf(out, room, "%s", rules[h->cause].text);
    return out;
}
