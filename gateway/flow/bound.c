/* See bound.h. A backend may spread a model over its cards, so the worst of them is what counts. */
#include "flow/bound.h"

#include <math.h>
#include <stdio.h>

static bool may_lift(const struct fg_gpu_card *c)
{
    return c->state < FG_GPU_FAILED_RESET && c->cause != FG_CAUSE_RECOVERY;
}

static void take_card(const struct fg_gpu_card *c, struct fg_bound *b)
{
    const double *v = c->values;
    b->weight = c->weight < b->weight ? c->weight : b->weight;
    b->admission = c->admission < b->admission ? c->admission : b->admission;
    b->free_bytes += v[FG_GPU_MEMORY_FREE];
    if (isnan(b->celsius) || v[FG_GPU_CELSIUS] > (double)b->celsius)
        b->celsius = (float)v[FG_GPU_CELSIUS];
    b->is_lost = b->is_lost || c->state == FG_GPU_LOST;
    b->needs_new_process = b->needs_new_process || c->cause == FG_CAUSE_MEMORY_FAULT ||
                           c->cause == FG_CAUSE_LINK_FAULT;
    if (fg_health_may_serve(c->state))
        return;
    if (!b->is_barred)
        snprintf(b->why, sizeof b->why, "gpu %u %s: %s", c->index, fg_gpu_state_name(c->state),
                 c->reason);
    b->may_lift = may_lift(c) && (!b->is_barred || b->may_lift);
    b->is_barred = true;
}

void fg_bound_look(const struct fg_gpus *g, char *const *gpus, uint32_t count, struct fg_bound *b)
{
    const char *missing;
    *b = (struct fg_bound){.count = count,
                           .weight = 1,
                           .admission = 1,
                           .celsius = NAN,
                           .free_bytes = NAN,
                           .single = -1};
    if (!count)
        return;
    b->cards = fg_gpus_match(g, gpus, count, &missing);
    b->is_unknown = !g->has_library && !g->count;
    if (b->is_unknown) {
        snprintf(b->why, sizeof b->why, "health of its cards is not known: %.100s", g->why);
        return;
    }
    b->free_bytes = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        if (!(b->cards >> i & 1))
            continue;
        take_card(&g->cards[i], b);
        b->single = b->cards == 1u << i ? (int32_t)i : -1;
    }
    if (missing && !b->is_barred) {
        snprintf(b->why, sizeof b->why, "no card is \"%.32s\"", missing);
        b->is_barred = true;
        b->weight = 0;
    }
}
