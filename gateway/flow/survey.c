/*
 * What routing knows at this moment: the state of the backends, of their cards, and what was
 * measured. Taken before the hub's lock is: reading a backend or the cards takes a lock of theirs.
 */
#include <math.h>
#include <string.h>

#include "flow/glob.h"
#include "flow/inner.h"

enum { TIGHT_PERCENT = 110 /* of a file: its KV comes to it */ };

void fg_hub_bound(struct fg_hub *hub, struct fg_bound out[FG_ROUTE_MAX], uint32_t count)
{
    struct fg_gpu *gpu = __atomic_load_n(&hub->gpu, __ATOMIC_ACQUIRE);
    const struct fg_gpus *g = gpu ? fg_gpu_snapshot(gpu) : NULL;
    for (uint32_t i = 0; i < count; i++)
        fg_bound_look(g, hub->bound[i].gpus, g ? hub->bound[i].count : 0, &out[i]);
    fg_gpus_release(g);
}

static void take_backend(struct fg_survey *s, uint32_t i, const struct fg_backend_slot *slot,
                         const struct fg_model_entry *entry, uint32_t excluded, const char *why)
{
    struct fg_bound *b = &s->bound[i];
    const char *name = fg_backend_name(slot);
    fg_backend_get_status(slot, &s->status[i]);
    s->barred |= b->is_barred ? 1u << i : 0;
    s->backends[i] = (struct fg_route_backend){
        .name = name,
        .state = s->status[i].state,
        .reason = s->status[i].reason,
        .is_apart = entry->backend.len && !fg_str_is(entry->backend, name),
        .excluded = excluded >> i & 1,
        .why_excluded = why,
        .is_barred = b->is_barred,
        .may_lift = b->may_lift,
        .why_barred = b->why,
        .cards = b->count,
        .weight = b->weight * b->admission,
        .celsius = b->celsius,
    };
}

/* ---- under the lock: what the settings say, and what was measured ------------------------------
 */

static const struct fg_conf_route *route_of(const struct fg_settings *set,
                                            const struct fg_model_entry *entry)
{
    struct fg_str brief = entry->name; /* the tag that people leave out */
    if (fg_str_ends(brief, FG_STR(":latest")))
        brief.len -= 7;
    for (uint32_t i = 0; i < set->route_count; i++) {
        struct fg_str pattern = fg_str_of(set->routes[i].model);
        if (fg_glob_fits(pattern, brief) || fg_glob_fits(pattern, entry->name) ||
            fg_glob_fits(pattern, entry->full_name) ||
            (entry->own_name.len && fg_glob_fits(pattern, entry->own_name)))
            return &set->routes[i];
    }
    return NULL;
}

static void apply_route(struct fg_survey *s, const struct fg_conf_route *route)
{
    for (uint32_t i = 0; route->backend_count && i < s->count; i++) {
        struct fg_route_backend *b = &s->backends[i];
        b->is_unlisted = true;
        for (uint32_t j = 0; j < route->backend_count && b->is_unlisted; j++) {
            b->is_unlisted = strcmp(route->backends[j], b->name) != 0;
            b->rank = j;
        }
    }
}

/* What an idle model takes there can be had: it goes when room is needed. */
static double idle_bytes(const struct fg_hub *hub, uint32_t index)
{
    double bytes = 0;
    FG_LIST_EACH (node, next, &hub->lives) {
        const struct fg_live *live = FG_CONTAINER(node, struct fg_live, node);
        if (live->slot_index == index && live->state == FG_LIVE_READY)
            bytes += (double)live->memory_bytes;
    }
    return bytes;
}

static void take_figures(struct fg_hub *hub, struct fg_survey *s,
                         const struct fg_model_entry *entry)
{
    uint64_t key = fg_measured_key(entry->full_name);
    for (uint32_t i = 0; i < s->count; i++) {
        struct fg_route_backend *b = &s->backends[i];
        struct fg_figure f = fg_measured_get(&hub->measured, key, i);
        b->tokens_per_s = f.tokens_per_s;
        b->joules_per_token = f.joules_per_token;
        s->needed_bytes[i] = f.memory_bytes ? (double)f.memory_bytes
                                            : (double)entry->size_bytes * TIGHT_PERCENT / 100;
        s->free_bytes[i] = s->bound[i].free_bytes + idle_bytes(hub, i);
        b->is_tight = b->cards && s->needed_bytes[i] > s->free_bytes[i]; /* false while NaN */
    }
}

void fg_survey_take(struct fg_hub *hub, const struct fg_model_entry *entry, uint32_t excluded,
                    const char *why, struct fg_survey *s)
{
    uint32_t count = fg_registry_count(hub->registry);
    s->count = count < FG_ROUTE_MAX ? count : FG_ROUTE_MAX;
    s->barred = 0;
    s->pattern[0] = '\0';
    fg_hub_bound(hub, s->bound, s->count);
    for (uint32_t i = 0; i < s->count; i++)
        take_backend(s, i, fg_registry_at(hub->registry, i), entry, excluded, why);
    pthread_mutex_lock(&hub->lock);
    const struct fg_conf_route *route = route_of(&hub->set, entry);
    s->policy = route && route->policy >= 0 ? route->policy : hub->set.policy;
    if (route) {
        apply_route(s, route);
        strncpy(s->pattern, route->model, sizeof s->pattern - 1);
        s->pattern[sizeof s->pattern - 1] = '\0';
    }
    take_figures(hub, s, entry);
    pthread_mutex_unlock(&hub->lock);
    fg_route(s->policy, s->backends, s->count, &s->route);
}
