/* A snapshot as JSON, for /api/fluxgate/gpus. A figure that is not known is null. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gpu/gpu.h"
#include "util/clock.h"
#include "util/json.h"

static void put_text(struct fg_buf *b, const char *key, const char *text)
{
    fg_json_put_name(b, key);
    if (text[0])
        fg_json_put_str(b, fg_str_of(text));
    else
        fg_json_put_null(b);
}

static void put_figure(struct fg_buf *b, const char *key, double figure)
{
    fg_json_put_name(b, key);
    if (isnan(figure))
        fg_json_put_null(b);
    else if (fabs(figure) < 9e15 && figure == floor(figure))
        fg_json_put_i64(b, (int64_t)figure);
    else
        fg_json_put_f64(b, figure);
}

static void put_small(struct fg_buf *b, const char *key, float figure)
{
    fg_json_put_name(b, key);
    fg_json_put_f32(b, figure); /* null when it is not known */
}

static void put_time(struct fg_buf *b, const char *key, uint64_t wall_ns)
{
    char text[40] = "";
    if (wall_ns)
        fg_clock_rfc3339(wall_ns, text, sizeof text);
    put_text(b, key, text);
}

static void put_card_of_table(struct fg_buf *b, const struct fg_gpu_card *c)
{
    char capability[24] = "";
    const struct fg_card_family *f = fg_card_family_of(c->major, c->minor);
    if (c->major >= 0)
        snprintf(capability, sizeof capability, "%d.%d", c->major, c->minor);
    put_text(b, "card", c->card ? c->card->name : "");
    put_text(b, "capability", capability);
    put_text(b, "family", f ? f->name : "");
    put_figure(b, "last_driver_branch", f && f->last_driver ? f->last_driver : (double)NAN);
}

static void put_throttle(struct fg_buf *b, double bits)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } rows[] = {
        {FG_THROTTLE_IDLE, "idle"},
        {FG_THROTTLE_POWER_CAP, "power_cap"},
        {FG_THROTTLE_SW_HEAT, "sw_heat"},
        {FG_THROTTLE_HW_HEAT, "hw_heat"},
        {FG_THROTTLE_HW_SLOWDOWN, "hw_slowdown"},
        {FG_THROTTLE_POWER_BRAKE, "power_brake"},
    };
    fg_json_put_name(b, "throttle");
    if (isnan(bits)) {
        fg_json_put_null(b);
        return;
    }
    fg_json_put_open(b, '[');
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((uint32_t)bits & rows[i].bit)
            fg_json_put_str(b, fg_str_of(rows[i].name));
    fg_json_put_close(b, ']');
}

static void put_processes(struct fg_buf *b, const struct fg_gpu_card *c)
{
    fg_json_put_name(b, "processes");
    fg_json_put_open(b, '[');
    for (uint32_t i = 0; i < c->process_count; i++) {
        fg_json_put_open(b, '{');
        put_figure(b, "pid", c->processes[i].pid);
        put_text(b, "name", c->processes[i].name);
        put_figure(b, "memory_bytes", c->processes[i].memory_bytes);
        fg_json_put_name(b, "ours");
        fg_json_put_bool(b, c->processes[i].is_ours);
        fg_json_put_close(b, '}');
    }
    fg_json_put_close(b, ']');
}

static void put_history(struct fg_buf *b, struct fg_gpu *g, uint32_t index, uint32_t most)
{
    struct fg_gpu_point *points = most && g ? calloc(most, sizeof *points) : NULL;
    if (!points)
        return;
    uint32_t n = fg_gpu_history(g, index, points, most);
    fg_json_put_name(b, "history");
    fg_json_put_open(b, '[');
    for (uint32_t i = 0; i < n; i++) {
        const struct fg_gpu_point *p = &points[i];
        fg_json_put_open(b, '{');
        put_time(b, "at", p->at_wall_ns);
        put_small(b, "celsius", p->celsius);
        put_small(b, "watts", p->watts);
        put_small(b, "busy_ratio", p->busy);
        put_figure(b, "memory_used_bytes", (double)p->memory_used);
        put_small(b, "sm_mhz", p->sm_mhz);
        put_small(b, "admission", p->admission);
        fg_json_put_close(b, '}');
    }
    fg_json_put_close(b, ']');
    free(points);
}

static void put_card(struct fg_buf *b, const struct fg_gpu_card *c, struct fg_gpu *g,
                     uint32_t points)
{
#define KEY(constant, key, help) key,
    static const char *const keys[FG_GPU_VALUES] = {FG_GPU_VALUE_LIST(KEY)};
#undef KEY
    fg_json_put_open(b, '{');
    put_figure(b, "index", c->index);
    put_text(b, "name", c->name);
    put_text(b, "uuid", c->uuid);
    put_text(b, "pci", c->pci);
    put_card_of_table(b, c);
    put_text(b, "state", fg_gpu_state_name(c->state));
    put_text(b, "cause", c->state == FG_GPU_READY ? "" : fg_gpu_cause_name(c->cause));
    put_text(b, "reason", c->reason);
    put_time(b, "since", c->since_wall_ns);
    put_small(b, "weight", c->weight);
    put_small(b, "admission", c->admission);
    put_figure(b, "last_xid", c->last_xid ? c->last_xid : (double)NAN);
    put_time(b, "last_xid_at", c->last_xid_wall_ns);
    put_figure(b, "xids", (double)c->xid_count);
    for (int i = 0; i < FG_GPU_VALUES; i++)
        put_figure(b, keys[i], c->values[i]);
    put_throttle(b, c->values[FG_GPU_THROTTLE]);
    fg_json_put_name(b, "joules_are_summed");
    fg_json_put_bool(b, c->joules_are_summed);
    put_text(b, "note", c->note);
    put_processes(b, c);
    put_history(b, g, c->index, points);
    fg_json_put_close(b, '}');
}

static void put_bare(struct fg_buf *b, const struct fg_gpu_bare *bare)
{
    char id[16];
    snprintf(id, sizeof id, "10de:%04x", bare->pci.device_id & 0xffff);
    fg_json_put_open(b, '{');
    put_text(b, "pci", bare->pci.address);
    put_text(b, "device_id", id);
    put_text(b, "card", bare->pci.card ? bare->pci.card->name : "");
    put_text(b, "driver", bare->pci.driver);
    put_text(b, "why", bare->why);
    fg_json_put_close(b, '}');
}

void fg_gpus_write(const struct fg_gpus *s, struct fg_gpu *history, uint32_t points,
                   struct fg_buf *b)
{
    fg_json_put_open(b, '{');
    put_time(b, "at", s->at_wall_ns);
    put_text(b, "library", s->library);
    put_text(b, "driver", s->driver);
    put_text(b, "cuda", s->cuda);
    put_text(b, "why", s->why);
    fg_json_put_name(b, "gpus");
    fg_json_put_open(b, '[');
    for (uint32_t i = 0; i < s->count; i++)
        put_card(b, &s->cards[i], history, points);
    fg_json_put_close(b, ']');
    fg_json_put_name(b, "unusable");
    fg_json_put_open(b, '[');
    for (uint32_t i = 0; i < s->bare_count; i++)
        put_bare(b, &s->bare[i]);
    fg_json_put_close(b, ']');
    fg_json_put_close(b, '}');
}
