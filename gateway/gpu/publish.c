/* From the sampler's own state to the snapshot that everybody sees, and to the metrics. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/inner.h"
#include "util/clock.h"

enum { PASSTHROUGH = 1, VGPU = 2 };

static void note_of(const struct fg_gpu_unit *u, char *out, size_t room)
{
    const struct fg_card_family *f = fg_card_family_of(u->id.major, u->id.minor);
    out[0] = '\0';
    if (u->id.virtualization == VGPU)
        snprintf(out, room, "a slice of a shared card (vGPU): power and errors may not be told");
    else if (u->id.virtualization == PASSTHROUGH)
        snprintf(out, room, "passed through to this virtual machine");
    else if (f && f->last_driver)
        snprintf(out, room, "driver branch %u and CUDA %u.%u are the last that know it",
                 f->last_driver, f->last_cuda / 10, f->last_cuda % 10);
}

static void fill_card(const struct fg_gpu *g, const struct fg_gpu_unit *u, struct fg_gpu_card *c)
{
    c->index = (uint32_t)(u - g->units);
    memcpy(c->name, u->id.name, sizeof c->name);
    memcpy(c->uuid, u->id.uuid, sizeof c->uuid);
    memcpy(c->pci, u->id.pci, sizeof c->pci);
    c->major = u->id.major;
    c->minor = u->id.minor;
    c->card = u->card;
    memcpy(c->values, u->values, sizeof c->values);
    c->joules_are_summed = !u->has_counter && !isnan(u->values[FG_GPU_JOULES]);
    c->state = u->health.state;
    c->cause = u->health.cause;
    if (c->state != FG_GPU_READY)
        fg_health_text(&u->health, c->reason, sizeof c->reason);
    c->since_wall_ns = u->since_wall_ns;
    c->weight = fg_health_weight(&u->health);
    c->admission = fg_health_admission(&u->health);
    c->last_xid = u->health.xid;
    c->last_xid_wall_ns = u->xid_wall_ns;
    c->xid_count = u->xid_count;
    c->process_count = u->process_count;
    memcpy(c->processes, u->processes, sizeof c->processes);
    note_of(u, c->note, sizeof c->note);
}

static bool is_listed(const struct fg_gpu *g, const struct fg_pci_card *p)
{
    for (uint32_t i = 0; i < g->unit_count; i++)
        if (g->units[i].device && strcmp(g->units[i].id.pci, p->address) == 0)
            return true;
    return false;
}

static void fill_bare(const struct fg_gpu *g, struct fg_gpus *s)
{
    uint32_t major = (uint32_t)strtoul(s->driver, NULL, 10);
    for (uint32_t i = 0; i < g->pci_count; i++) {
        if (is_listed(g, &g->pci[i]))
            continue;
        struct fg_gpu_bare *b = &s->bare[s->bare_count++];
        b->pci = g->pci[i];
        fg_pci_tell(&b->pci, major, b->why, sizeof b->why);
    }
}

void fg_gpu_publish(struct fg_gpu *g, uint64_t now_ns)
{
    struct fg_gpus *s = calloc(1, sizeof *s + g->unit_count * sizeof s->cards[0]);
    if (!s)
        return; /* the old one stays */
    s->refs = 1;
    s->at_ns = now_ns;
    s->at_wall_ns = fg_clock_wall_ns();
    s->is_enabled = g->is_enabled;
    s->has_library = g->nvml != NULL;
    if (g->nvml) {
        int32_t cuda = fg_nvml_cuda(g->nvml);
        snprintf(s->library, sizeof s->library, "%s", fg_nvml_path(g->nvml));
        snprintf(s->driver, sizeof s->driver, "%s", fg_nvml_driver(g->nvml));
        if (cuda > 0)
            snprintf(s->cuda, sizeof s->cuda, "%d.%d", cuda / 1000 % 1000, cuda % 1000 / 10);
    }
    snprintf(s->why, sizeof s->why, "%s",
             !g->is_enabled           ? "gpu.enable is false"
             : !g->nvml && !g->why[0] ? "not looked yet"
                                      : g->why);
    s->count = g->unit_count;
    for (uint32_t i = 0; i < g->unit_count; i++)
        fill_card(g, &g->units[i], &s->cards[i]);
    fill_bare(g, s);
    pthread_mutex_lock(&g->lock);
    struct fg_gpus *old = g->snapshot;
    g->snapshot = s;
    pthread_mutex_unlock(&g->lock);
    fg_gpus_release(old);
}

/* ---- metrics ----------------------------------------------------------------------------------
 */

static void labels_of(const struct fg_gpu *g, const struct fg_gpu_unit *u, char *out, size_t room)
{
    snprintf(out, room, "gpu=\"%d\",uuid=\"%s\"", (int)(u - g->units), u->id.uuid);
}

/* The series of a figure begins with its first value; where one is lost it is NaN, not 0. */
static void set_value(struct fg_gpu_unit *u, int value, const char *labels)
{
#define NAME(constant, key, help) {"fluxgate_gpu_" key, help},
    static const struct {
        const char *name, *help;
    } rows[FG_GPU_VALUES] = {FG_GPU_VALUE_LIST(NAME)};
#undef NAME
    if (!u->metrics[value] && !isnan(u->values[value]))
        u->metrics[value] =
            fg_metric(FG_METRIC_GAUGE, rows[value].name, rows[value].help, labels, NULL, 0);
    if (u->metrics[value])
        fg_metric_set(u->metrics[value], u->values[value]);
}

static void open_metrics(const struct fg_gpu *g, struct fg_gpu_unit *u, const char *labels)
{
    char info[512];
    u->state = fg_metric(FG_METRIC_GAUGE, "fluxgate_gpu_state",
                         "0 starting, 1 ready, 2 degraded, 3 draining, 4 and 5 failed, 6 lost",
                         labels, NULL, 0);
    u->weight = fg_metric(FG_METRIC_GAUGE, "fluxgate_gpu_weight",
                          "health as routing sees it, 0 to 1", labels, NULL, 0);
    u->admission =
        fg_metric(FG_METRIC_GAUGE, "fluxgate_gpu_admission",
                  "part of the slots that may be used, falls with heat", labels, NULL, 0);
    snprintf(info, sizeof info, "%s,name=\"%s\",driver=\"%s\"", labels, u->id.name,
             g->nvml ? fg_nvml_driver(g->nvml) : "");
    fg_metric_set(
        fg_metric(FG_METRIC_GAUGE, "fluxgate_gpu_info", "what card it is, always 1", info, NULL, 0),
        1);
}

void fg_gpu_measure(struct fg_gpu *g)
{
    char labels[192];
    for (uint32_t i = 0; i < g->unit_count; i++) {
        struct fg_gpu_unit *u = &g->units[i];
        labels_of(g, u, labels, sizeof labels);
        if (!u->state)
            open_metrics(g, u, labels);
        for (int v = 0; v < FG_GPU_VALUES; v++)
            set_value(u, v, labels);
        fg_metric_set(u->state, u->health.state);
        fg_metric_set(u->weight, (double)fg_health_weight(&u->health));
        fg_metric_set(u->admission, (double)fg_health_admission(&u->health));
    }
}

/* Numbers without a rule share one series: there are some hundred of them. */
void fg_gpu_count_xid(const struct fg_gpu *g, const struct fg_gpu_unit *u, uint32_t xid)
{
    char labels[192], with_xid[224];
    labels_of(g, u, labels, sizeof labels);
    if (fg_xid_of(xid)->number)
        snprintf(with_xid, sizeof with_xid, "%s,xid=\"%u\"", labels, xid);
    else
        snprintf(with_xid, sizeof with_xid, "%s,xid=\"other\"", labels);
    fg_metric_add(fg_metric(FG_METRIC_COUNTER, "fluxgate_gpu_xids_total",
                            "errors the driver told of, by number", with_xid, NULL, 0),
                  1);
}
