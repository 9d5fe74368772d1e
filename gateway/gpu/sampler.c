/*
 * The sampler: one turn reads every card, lets its health follow, and publishes. The library is
 * opened here, opened anew when a card was lost (it may be back after a reset), and tried again
 * while it does not work.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu/inner.h"
#include "obs/log.h"
#include "util/clock.h"

enum {
    NOTHING_S = 300, /* no card on the bus: the library is tried so seldom */
    LONGEST_S = 900, /* between two looks for a lost card */
};

/* ---- what is told -----------------------------------------------------------------------------
 */

static void tell_state(struct fg_gpu *g, const struct fg_gpu_unit *u, int32_t before)
{
    char name[128], text[160], reason[128];
    const struct fg_health *h = &u->health;
    int32_t level = h->state == FG_GPU_READY      ? FG_LOG_INFO
                    : h->state == FG_GPU_DEGRADED ? FG_LOG_WARN
                                                  : FG_LOG_ERROR;
    if (h->state == FG_GPU_STARTING)
        return;
    fg_health_text(h, reason, sizeof reason);
    fg_log(level, "gpu_state", "gpu=%d name=%s uuid=%s from=%s to=%s cause=%s text=%s",
           (int)(u - g->units), fg_log_quote(fg_str_of(u->id.name), name, sizeof name),
           u->id.uuid[0] ? u->id.uuid : "-", fg_gpu_state_name(before), fg_gpu_state_name(h->state),
           fg_gpu_cause_name(h->cause), fg_log_quote(fg_str_of(reason), text, sizeof text));
}

/* Takes over a change of the health; true: state or cause is another one. */
static bool follow(struct fg_gpu *g, struct fg_gpu_unit *u, bool changed, int32_t before)
{
    if (!changed)
        return false;
    u->since_wall_ns = fg_clock_wall_ns();
    tell_state(g, u, before);
    return true;
}

static void tell_why(struct fg_gpu *g)
{
    char text[300];
    if (strcmp(g->why, g->told_why) == 0)
        return;
    if (g->why[0])
        fg_log(g->pci_count ? FG_LOG_WARN : FG_LOG_INFO, "gpu_none", "text=%s",
               fg_log_quote(fg_str_of(g->why), text, sizeof text));
    memcpy(g->told_why, g->why, sizeof g->told_why);
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static struct fg_gpu_unit *unit_of(struct fg_gpu *g, const struct fg_nvml_identity *id)
{
    for (uint32_t i = 0; i < g->unit_count; i++) {
        struct fg_gpu_unit *u = &g->units[i];
        bool same = id->uuid[0] ? strcmp(u->id.uuid, id->uuid) == 0
                                : id->pci[0] && strcmp(u->id.pci, id->pci) == 0;
        if (same)
            return u;
    }
    return NULL;
}

static struct fg_gpu_unit *new_unit(struct fg_gpu *g, const struct fg_nvml_identity *id,
                                    uint64_t now_ns)
{
    if (g->unit_count == FG_GPU_MOST)
        return NULL;
    struct fg_gpu_unit *u = &g->units[g->unit_count];
    struct fg_gpu_point *points = g->history ? calloc(g->history, sizeof *points) : NULL;
    pthread_mutex_lock(&g->lock);
    u->points = points;
    pthread_mutex_unlock(&g->lock);
    u->id = *id;
    u->card = fg_card_of_name(fg_str_of(id->name), 0); /* its variant: once its memory is known */
    u->since_wall_ns = fg_clock_wall_ns();
    u->last_watts = NAN;
    for (int i = 0; i < FG_GPU_VALUES; i++)
        u->values[i] = NAN;
    fg_health_init(&u->health, now_ns);
    g->unit_count++;
    return u;
}

static void tell_card(struct fg_gpu *g, const struct fg_gpu_unit *u)
{
    char name[128];
    fg_log(FG_LOG_INFO, "gpu", "gpu=%d name=%s uuid=%s pci=%s capability=%d.%d table=%s",
           (int)(u - g->units), fg_log_quote(fg_str_of(u->id.name), name, sizeof name),
           u->id.uuid[0] ? u->id.uuid : "-", u->id.pci[0] ? u->id.pci : "-", u->id.major,
           u->id.minor, u->card ? u->card->name : "-");
}

static bool take_card(struct fg_gpu *g, uint32_t index, uint64_t now_ns)
{
    int32_t answer;
    struct fg_nvml_identity id;
    struct fg_nvml_device *d = fg_nvml_device(g->nvml, index, &answer);
    if (!d) {
        fg_log(FG_LOG_ERROR, "gpu_not_opened", "index=%u answer=%d", index, answer);
        return false;
    }
    fg_nvml_identify(g->nvml, d, &id);
    struct fg_gpu_unit *u = unit_of(g, &id);
    bool fresh = !u;
    int32_t before = u ? u->health.state : FG_GPU_STARTING;
    if (fresh && !(u = new_unit(g, &id, now_ns)))
        return false;
    u->device = d;
    u->slow_ns = 0;
    if (fresh)
        tell_card(g, u);
    else if (before == FG_GPU_LOST || g->is_word_given)
        follow(g, u, fg_health_found(&u->health, now_ns), before);
    return true;
}

static void watch_events(struct fg_gpu *g)
{
    struct fg_nvml_device *devices[FG_GPU_MOST];
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->unit_count; i++)
        if (g->units[i].device)
            devices[count++] = g->units[i].device;
    bool can = count && fg_nvml_watch(g->nvml, devices, count);
    if (count && !can)
        fg_log(FG_LOG_INFO, "gpu_no_events", "text=\"XIDs are not seen\"");
    pthread_mutex_lock(&g->lock);
    g->has_events = can;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static void close_library(struct fg_gpu *g)
{
    fg_gpu_quiet(g);
    pthread_mutex_lock(&g->lock);
    g->event_count = 0; /* they name devices of the library that goes */
    pthread_mutex_unlock(&g->lock);
    fg_nvml_close(g->nvml);
    g->nvml = NULL;
    for (uint32_t i = 0; i < g->unit_count; i++)
        g->units[i].device = NULL;
}

/* While a card is missing all are opened anew, ever more seldom: it is work for the others. */
static void plan_opening(struct fg_gpu *g, uint32_t found, uint64_t now_ns)
{
    uint64_t pause = g->unit_count || g->pci_count ? FG_GPU_RETRY_S : NOTHING_S;
    if (found && found == g->unit_count) {
        g->open_at_ns = UINT64_MAX;
        g->reopen_s = FG_GPU_REOPEN_S;
        return;
    }
    if (found) {
        g->reopen_s = g->reopen_s * 2 < LONGEST_S ? g->reopen_s * 2 : LONGEST_S;
        pause = g->reopen_s;
    }
    g->open_at_ns = now_ns + pause * FG_NS_PER_S;
}

/* The cards that are there; those that were there before and are not now are lost. */
static bool open_library(struct fg_gpu *g, uint64_t now_ns)
{
    struct fg_error err = {0};
    bool changed = false;
    g->why[0] = '\0';
    int32_t rc = fg_nvml_open(g->library, &g->nvml, &err);
    uint32_t count = rc == FG_OK ? fg_nvml_count(g->nvml) : 0, found = 0;
    for (uint32_t i = 0; i < count; i++)
        found += take_card(g, i, now_ns);
    if (rc != FG_OK)
        snprintf(g->why, sizeof g->why, "%s", err.text);
    else if (!found)
        snprintf(g->why, sizeof g->why, "the driver lists no card");
    for (uint32_t i = 0; i < g->unit_count; i++) {
        struct fg_gpu_unit *u = &g->units[i];
        int32_t before = u->health.state;
        if (!u->device)
            changed = follow(g, u, fg_health_lost(&u->health, now_ns), before) || changed;
    }
    if (found)
        watch_events(g);
    else if (rc == FG_OK)
        close_library(g);
    plan_opening(g, found, now_ns);
    return changed || found;
}

/* ---- one card ---------------------------------------------------------------------------------
 */

static void sum_joules(struct fg_gpu_unit *u, uint64_t now_ns)
{
    double watts = u->values[FG_GPU_WATTS];
    double dt = u->read_ns ? (double)(now_ns - u->read_ns) / 1e9 : 0;
    u->has_counter = !isnan(u->values[FG_GPU_JOULES]);
    if (u->has_counter)
        return;
    if (!isnan(watts) && !isnan(u->last_watts) && dt < 60)
        u->joules += (watts + u->last_watts) / 2 * dt;
    if (!isnan(watts))
        u->values[FG_GPU_JOULES] = u->joules;
    u->last_watts = watts;
}

static void read_processes(struct fg_gpu *g, struct fg_gpu_unit *u)
{
    struct fg_nvml_process all[FG_GPU_PROCESSES];
    bool known;
    double others = 0;
    uint32_t n = fg_nvml_processes(g->nvml, u->device, all, FG_GPU_PROCESSES, &known);
    for (uint32_t i = 0; i < n; i++) {
        struct fg_gpu_process *p = &u->processes[i];
        p->pid = all[i].pid;
        p->memory_bytes = all[i].memory_bytes;
        p->is_ours = fg_process_is_ours(g->proc_folder, p->pid, p->name, sizeof p->name);
        if (!p->is_ours)
            others += p->memory_bytes; /* one that is not told makes the sum unknown */
    }
    u->process_count = n;
    u->values[FG_GPU_MEMORY_OTHERS] = known ? others : (double)NAN;
}

static struct fg_health_view view_of(const struct fg_gpu_unit *u, bool needs_reset)
{
    const double *v = u->values;
    double single = v[FG_GPU_RETIRED_SINGLE], both = v[FG_GPU_RETIRED_DOUBLE];
    return (struct fg_health_view){
        .celsius = v[FG_GPU_CELSIUS],
        .slowdown_celsius = v[FG_GPU_SLOWDOWN_CELSIUS],
        .throttle = v[FG_GPU_THROTTLE],
        .ecc_corrected = v[FG_GPU_ECC_CORRECTED],
        .ecc_uncorrected = v[FG_GPU_ECC_UNCORRECTED],
        .retired_pages = (single > 0 ? single : 0) + (both > 0 ? both : 0),
        .retirement_pending = v[FG_GPU_RETIREMENT_PENDING],
        .remap_pending = v[FG_GPU_REMAP_PENDING],
        .remap_failed = v[FG_GPU_REMAP_FAILED],
        .link_width = v[FG_GPU_LINK_WIDTH],
        .link_width_max = v[FG_GPU_LINK_WIDTH_MAX],
        .needs_reset = needs_reset,
    };
}

static void keep_point(struct fg_gpu *g, struct fg_gpu_unit *u)
{
    const double *v = u->values;
    struct fg_gpu_point p = {.at_wall_ns = fg_clock_wall_ns(),
                             .celsius = (float)v[FG_GPU_CELSIUS],
                             .watts = (float)v[FG_GPU_WATTS],
                             .busy = (float)v[FG_GPU_BUSY],
                             .memory_used = (float)v[FG_GPU_MEMORY_USED],
                             .sm_mhz = (float)v[FG_GPU_SM_MHZ],
                             .admission = fg_health_admission(&u->health)};
    pthread_mutex_lock(&g->lock);
    if (u->points) {
        u->points[u->point_at] = p;
        u->point_at = (u->point_at + 1) % g->history;
        u->point_count += u->point_count < g->history;
    }
    pthread_mutex_unlock(&g->lock);
}

/* The library works no more for this card; it may after a reset. */
static void lose(struct fg_gpu *g, struct fg_gpu_unit *u, uint64_t now_ns)
{
    u->device = NULL;
    u->process_count = 0;
    u->last_watts = NAN;
    for (int i = 0; i < FG_GPU_VALUES; i++)
        u->values[i] = NAN;
    if (g->open_at_ns == UINT64_MAX)
        g->open_at_ns = now_ns + g->reopen_s * FG_NS_PER_S;
}

static bool read_card(struct fg_gpu *g, struct fg_gpu_unit *u, uint64_t now_ns)
{
    bool slow = !u->slow_ns || now_ns - u->slow_ns >= FG_GPU_SLOW_S * FG_NS_PER_S;
    int32_t before = u->health.state;
    int32_t answer = fg_nvml_read(g->nvml, u->device, slow, u->values);
    if (answer == FG_NVML_LOST) {
        lose(g, u, now_ns);
        return follow(g, u, fg_health_lost(&u->health, now_ns), before);
    }
    if (slow) {
        read_processes(g, u);
        u->slow_ns = now_ns;
        u->card = fg_card_of_name(
            fg_str_of(u->id.name),
            u->values[FG_GPU_MEMORY_TOTAL] > 0 ? (uint64_t)u->values[FG_GPU_MEMORY_TOTAL] : 0);
    }
    sum_joules(u, now_ns);
    u->read_ns = now_ns;
    struct fg_health_view view = view_of(u, answer == FG_NVML_RESET);
    bool changed = follow(g, u, fg_health_sample(&u->health, &view, now_ns), before);
    keep_point(g, u);
    float admission = fg_health_admission(&u->health);
    if (fabsf(admission - u->told_admission) >= 0.1F ||
        (admission == 1) != (u->told_admission == 1)) {
        u->told_admission = admission;
        changed = true;
    }
    return changed;
}

/* ---- events -----------------------------------------------------------------------------------
 */

static bool take_event(struct fg_gpu *g, struct fg_gpu_unit *u, const struct fg_nvml_event *e,
                       uint64_t now_ns)
{
    char name[128];
    int32_t before = u->health.state;
    if (e->kind & FG_NVML_EVENT_XID) {
        uint32_t xid = (uint32_t)e->data;
        const struct fg_xid *x = fg_xid_of(xid);
        fg_log(FG_LOG_WARN, "gpu_xid", "gpu=%d name=%s xid=%u text=\"%s\"", (int)(u - g->units),
               fg_log_quote(fg_str_of(u->id.name), name, sizeof name), xid, x->text);
        u->xid_wall_ns = fg_clock_wall_ns();
        u->xid_count++;
        fg_gpu_count_xid(g, u, xid);
        bool changed = fg_health_xid(&u->health, xid, now_ns);
        if (x->cause == FG_CAUSE_LOST)
            lose(g, u, now_ns);
        u->slow_ns = 0;
        return follow(g, u, changed, before);
    }
    if (e->kind & FG_NVML_EVENT_DOUBLE_BIT) {
        u->slow_ns = 0;
        return follow(g, u, fg_health_ecc_event(&u->health, now_ns), before);
    }
    return false;
}

static bool take_events(struct fg_gpu *g, uint64_t now_ns)
{
    struct fg_nvml_event events[FG_GPU_EVENTS];
    bool changed = false;
    pthread_mutex_lock(&g->lock);
    uint32_t count = g->event_count, restarted = g->restarted;
    memcpy(events, g->events, count * sizeof events[0]);
    g->event_count = 0;
    g->restarted = 0;
    g->is_word_given = g->look_again;
    g->look_again = false;
    pthread_mutex_unlock(&g->lock);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t u = 0; u < g->unit_count; u++)
            if (g->units[u].device && g->units[u].device == events[i].device)
                changed = take_event(g, &g->units[u], &events[i], now_ns) || changed;
    for (uint32_t u = 0; u < g->unit_count; u++) {
        struct fg_gpu_unit *unit = &g->units[u];
        int32_t before = unit->health.state;
        if (restarted >> u & 1)
            changed =
                follow(g, unit, fg_health_restarted(&unit->health, now_ns), before) || changed;
    }
    return changed;
}

/* ---- turns ------------------------------------------------------------------------------------
 */

static void look_at_bus(struct fg_gpu *g, uint64_t now_ns)
{
    if (g->pci_ns && now_ns - g->pci_ns < FG_GPU_REOPEN_S * FG_NS_PER_S)
        return;
    g->pci_count = fg_pci_scan(g->pci_folder, g->pci, FG_PCI_MOST);
    g->pci_ns = now_ns;
}

static void set_turn(struct fg_gpu *g, uint64_t since_ns)
{
    pthread_mutex_lock(&g->lock);
    g->turn_since_ns = since_ns;
    if (since_ns && !g->has_events)
        pthread_cond_broadcast(&g->changed); /* the watcher looks at the time */
    pthread_mutex_unlock(&g->lock);
}

bool fg_gpu_turn(struct fg_gpu *g, uint64_t now_ns)
{
    set_turn(g, now_ns);
    look_at_bus(g, now_ns);
    bool changed = take_events(g, now_ns);
    if (g->is_word_given || now_ns >= g->open_at_ns) {
        close_library(g);
        changed = open_library(g, now_ns) || changed;
        g->is_word_given = false;
    }
    for (uint32_t i = 0; i < g->unit_count; i++)
        if (g->units[i].device)
            changed = read_card(g, &g->units[i], now_ns) || changed;
    set_turn(g, 0);
    fg_gpu_publish(g, now_ns);
    fg_gpu_measure(g);
    tell_why(g);
    return changed;
}

/* Until the next turn is due, or something happened. False: the end. */
static bool wait_for_turn(struct fg_gpu *g, uint64_t due_ns)
{
    struct timespec until = {.tv_sec = (time_t)(due_ns / FG_NS_PER_S),
                             .tv_nsec = (long)(due_ns % FG_NS_PER_S)};
    int rc = 0;
    pthread_mutex_lock(&g->lock);
    while (!g->stopping && !g->poked && rc == 0)
        rc = pthread_cond_timedwait(&g->changed, &g->lock, &until);
    g->poked = false;
    bool go_on = !g->stopping;
    g->is_over = !go_on;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
    return go_on;
}

void *fg_gpu_sample_run(void *gpu)
{
    struct fg_gpu *g = gpu;
    uint64_t now;
    pthread_setname_np(pthread_self(), "fg-gpu");
    do {
        now = fg_clock_ns();
        bool changed = fg_gpu_turn(g, now);
        pthread_mutex_lock(&g->lock);
        struct fg_gpu_events sink = g->sink;
        g->is_looked = true;
        pthread_cond_broadcast(&g->changed);
        pthread_mutex_unlock(&g->lock);
        if (changed && sink.changed)
            sink.changed(sink.ctx);
        if (!g->nvml && g->open_at_ns > now + g->interval_ns)
            now = g->open_at_ns - g->interval_ns; /* there is nothing to read meanwhile */
    } while (wait_for_turn(g, now + g->interval_ns));
    return NULL;
}
