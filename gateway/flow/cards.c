/*
 * What flow makes of the cards' health: models leave a card that may not serve, slots are fewer on
 * one that is hot, a child starts anew when its card asks for a new context, and energy is parted
 * among the jobs of a card.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/inner.h"
#include "obs/log.h"
#include "obs/metrics.h"
#include "util/error.h"

/* ---- slots and doors --------------------------------------------------------------------------
 */

void fg_live_admit_locked(struct fg_live *live, struct fg_after *after)
{
    float share = live->hub->bound[live->slot_index].admission;
    uint32_t slots = (uint32_t)((float)live->slots_full * share);
    if (live->state != FG_LIVE_READY)
        return;
    live->queue.slots = slots ? slots : 1;
    fg_live_pump_locked(live, after);
}

/* It takes nobody new; who waits looks elsewhere; it counts no more as loaded. */
void fg_live_bar_locked(struct fg_live *live, struct fg_after *after)
{
    if (!live->is_barred && live->state != FG_LIVE_CLOSING) {
        live->is_barred = true;
        live->hub->live_count--;
    }
    live->retiring = true;
    fg_live_flush_locked(live, FG_WAKE_AGAIN, NULL, after);
    fg_live_settle_locked(live, after);
}

static bool is_empty_locked(const struct fg_hub *hub, uint32_t index)
{
    FG_LIST_EACH (node, next, &hub->lives)
        if (FG_CONTAINER(node, struct fg_live, node)->slot_index == index)
            return false;
    return true;
}

void fg_hub_restart_due_locked(struct fg_hub *hub, struct fg_after *after)
{
    for (uint32_t i = 0; i < FG_ROUTE_MAX; i++) {
        if (!(hub->restart_wanted >> i & 1) || !is_empty_locked(hub, i))
            continue;
        hub->restart_wanted &= ~(1u << i);
        after->restarts |= 1u << i;
    }
}

void fg_hub_restart(struct fg_hub *hub, uint32_t slots)
{
    for (uint32_t i = 0; i < FG_ROUTE_MAX; i++)
        if (slots >> i & 1)
            (void)fg_backend_restart(fg_registry_at(hub->registry, i),
                                     "its card asked for a new process");
}

/* Under the lock: what the backend may do from now on. */
static void take_bound_locked(struct fg_hub *hub, uint32_t i, const struct fg_bound *b,
                              struct fg_after *after)
{
    struct fg_hub_bound *to = &hub->bound[i];
    bool was_lost = to->is_lost, wanted = to->wants_process;
    to->admission = b->admission;
    to->cards = b->cards;
    to->is_lost = b->is_lost;
    to->wants_process = b->needs_new_process;
    if (b->is_lost && !was_lost)
        after->restarts |= 1u << i; /* what runs there cannot end well: sooner is better */
    if (b->needs_new_process && !wanted)
        hub->restart_wanted |= 1u << i;
    FG_LIST_EACH (node, next, &hub->lives) {
        struct fg_live *live = FG_CONTAINER(node, struct fg_live, node);
        if (live->slot_index != i)
            continue;
        if (b->is_barred)
            fg_live_bar_locked(live, after);
        else
            fg_live_admit_locked(live, after);
    }
}

static void on_cards(void *ctx)
{
    struct fg_hub *hub = ctx;
    struct fg_bound bound[FG_ROUTE_MAX];
    struct fg_after after;
    fg_after_init(&after);
    fg_hub_bound(hub, bound, hub->bound_count);
    pthread_mutex_lock(&hub->lock);
    for (uint32_t i = 0; i < hub->bound_count; i++)
        if (bound[i].count)
            take_bound_locked(hub, i, &bound[i], &after);
    fg_hub_restart_due_locked(hub, &after);
    fg_hub_wake_limbo_locked(hub, &after);
    pthread_mutex_unlock(&hub->lock);
    fg_after_run(hub, &after);
}

void fg_hub_process_is_new(struct fg_hub *hub, const struct fg_backend_slot *slot)
{
    struct fg_gpu *gpu = __atomic_load_n(&hub->gpu, __ATOMIC_ACQUIRE);
    struct fg_bound bound[FG_ROUTE_MAX];
    if (!gpu)
        return;
    fg_hub_bound(hub, bound, hub->bound_count);
    for (uint32_t i = 0; i < hub->bound_count; i++)
        if (fg_registry_at(hub->registry, i) == slot && bound[i].cards)
            fg_gpu_restarted(gpu, bound[i].cards);
}

/* ---- life -------------------------------------------------------------------------------------
 */

int32_t fg_hub_bind(struct fg_hub *hub, const struct fg_conf *conf, struct fg_error *err)
{
    uint32_t count = fg_registry_count(hub->registry);
    hub->bound_count = count < FG_ROUTE_MAX ? count : FG_ROUTE_MAX;
    for (uint32_t i = 0; i < FG_ROUTE_MAX; i++)
        hub->bound[i].admission = 1;
    for (uint32_t i = 0; i < hub->bound_count && i < conf->backend_count; i++) {
        const struct fg_conf_backend *from = &conf->backends[i];
        struct fg_hub_bound *to = &hub->bound[i];
        to->gpus = from->gpu_count ? calloc(from->gpu_count, sizeof *to->gpus) : NULL;
        for (uint32_t j = 0; to->gpus && j < from->gpu_count; j++) {
            to->gpus[j] = strdup(from->gpus[j]);
            if (!to->gpus[j])
                break;
            to->count = j + 1;
        }
        if (to->count != from->gpu_count)
            return fg_fail(err, FG_NO_MEMORY, "no memory for the cards of a backend");
    }
    return FG_OK;
}

void fg_hub_unbind(struct fg_hub *hub)
{
    for (uint32_t i = 0; i < FG_ROUTE_MAX; i++) {
        for (uint32_t j = 0; j < hub->bound[i].count; j++)
            free(hub->bound[i].gpus[j]);
        free(hub->bound[i].gpus);
    }
}

void fg_hub_attach_gpu(struct fg_hub *hub, struct fg_gpu *gpu)
{
    __atomic_store_n(&hub->gpu, gpu, __ATOMIC_RELEASE);
    on_cards(hub);
    fg_gpu_tell(gpu, &(struct fg_gpu_events){.ctx = hub, .changed = on_cards});
}

void fg_hub_detach_gpu(struct fg_hub *hub)
{
    __atomic_store_n(&hub->gpu, NULL, __ATOMIC_RELEASE);
}

struct fg_gpu *fg_hub_gpu(struct fg_hub *hub)
{
    return __atomic_load_n(&hub->gpu, __ATOMIC_ACQUIRE);
}

/* ---- energy -----------------------------------------------------------------------------------
 */

/* The counter of the one card a backend is bound to; NaN: it has none, or none alone. */
static double joules_now(struct fg_hub *hub, uint32_t slot_index)
{
    struct fg_gpu *gpu = __atomic_load_n(&hub->gpu, __ATOMIC_ACQUIRE);
    const struct fg_hub_bound *b = &hub->bound[slot_index];
    struct fg_bound bound;
    if (!gpu || !b->count)
        return NAN;
    const struct fg_gpus *g = fg_gpu_snapshot(gpu);
    fg_bound_look(g, b->gpus, b->count, &bound);
    double joules =
        bound.single < 0 ? (double)NAN : fg_gpus_joules(g, (uint32_t)bound.single, fg_clock_ns());
    fg_gpus_release(g);
    return joules;
}

void fg_job_meter_start(struct fg_hub_job *job)
{
    struct fg_hub *hub = job->hub;
    uint32_t i = job->live->slot_index;
    job->is_metered = hub->bound[i].count > 0;
    if (!job->is_metered)
        return;
    double joules = joules_now(hub, i);
    pthread_mutex_lock(&hub->lock);
    job->mark = fg_meter_start(&hub->bound[i].meter, joules);
    pthread_mutex_unlock(&hub->lock);
}

void fg_job_meter_end(struct fg_hub_job *job)
{
    struct fg_hub *hub = job->hub;
    if (!job->is_metered)
        return;
    uint32_t i = job->live->slot_index;
    double joules = joules_now(hub, i);
    job->is_metered = false;
    pthread_mutex_lock(&hub->lock);
    joules = fg_meter_end(&hub->bound[i].meter, job->mark, joules);
    pthread_mutex_unlock(&hub->lock);
    if (isnan(joules))
        return;
    job->joules += joules;
    job->has_joules = true;
    fg_metric_add(hub->metrics[i].joules, joules);
}

/* ---- health -----------------------------------------------------------------------------------
 */

static json_t *number(double figure)
{
    return isnan(figure) ? json_null() : json_real(figure);
}

static json_t *card_json(struct fg_hub *hub, const struct fg_gpu_card *c,
                         const struct fg_bound *bound, json_t *reasons)
{
    json_t *backends = json_array();
    bool is_bound = false;
    for (uint32_t i = 0; i < hub->bound_count; i++) {
        if (!(bound[i].cards >> c->index & 1))
            continue;
        is_bound = true;
        json_array_append_new(backends,
                              json_string(fg_backend_name(fg_registry_at(hub->registry, i))));
    }
    if (is_bound && c->state > FG_GPU_READY)
        json_array_append_new(reasons, json_sprintf("gpu %u (%s): %s: %s", c->index, c->name,
                                                    fg_gpu_state_name(c->state), c->reason));
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:f, s:f, s:o, s:o}", "index", (int)c->index,
                     "name", c->name, "uuid", c->uuid, "state", fg_gpu_state_name(c->state),
                     "cause", c->state == FG_GPU_READY ? "" : fg_gpu_cause_name(c->cause), "reason",
                     c->reason, "weight", (double)c->weight, "admission", (double)c->admission,
                     "celsius", number(c->values[FG_GPU_CELSIUS]), "backends", backends);
}

json_t *fg_hub_cards_json(struct fg_hub *hub, json_t *reasons)
{
    struct fg_gpu *gpu = __atomic_load_n(&hub->gpu, __ATOMIC_ACQUIRE);
    json_t *cards = json_array();
    struct fg_bound bound[FG_ROUTE_MAX];
    if (!gpu)
        return cards;
    const struct fg_gpus *g = fg_gpu_snapshot(gpu);
    for (uint32_t i = 0; i < hub->bound_count; i++) {
        fg_bound_look(g, hub->bound[i].gpus, hub->bound[i].count, &bound[i]);
        bool is_missing = bound[i].is_barred && bound[i].weight == 0 && !bound[i].cards;
        if ((bound[i].is_unknown && g->is_enabled) || is_missing)
            json_array_append_new(reasons,
                                  json_sprintf("backend %s: %s",
                                               fg_backend_name(fg_registry_at(hub->registry, i)),
                                               bound[i].why));
    }
    for (uint32_t i = 0; i < g->count; i++)
        json_array_append_new(cards, card_json(hub, &g->cards[i], bound, reasons));
    fg_gpus_release(g);
    return cards;
}
