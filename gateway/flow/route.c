/* See route.h. Everything is sorted stably, by insertion: there are a few backends. */
#include "flow/route.h"

#include <math.h>

#include "conf/conf.h"
#include "plugin/backend.h"

/* Below this a card has lost so much that another card serves better; never the CPU. */
static const float strained = 0.5F;

static const char *why_not(const struct fg_route_backend *b)
{
    if (b->excluded)
        return b->why_excluded ? b->why_excluded : "it failed there";
    if (b->state != FG_BACKEND_UP)
        return b->reason && b->reason[0] ? b->reason : "not up";
    if (b->is_barred)
        return b->why_barred ? b->why_barred : "its card may not serve";
    return NULL;
}

static bool may_come_back(const struct fg_route_backend *b)
{
    if (b->excluded)
        return false;
    return b->state == FG_BACKEND_STARTING || b->state == FG_BACKEND_DOWN ||
           (b->state == FG_BACKEND_UP && b->is_barred && b->may_lift);
}

static uint32_t by_rank(const struct fg_route_backend *backends, uint32_t count, uint32_t *order)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count && i < FG_ROUTE_MAX; i++) {
        if (backends[i].is_apart || backends[i].is_unlisted)
            continue;
        uint32_t at = n++;
        for (; at && backends[order[at - 1]].rank > backends[i].rank; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    return n;
}

/* ---- policies: the smaller figure comes first; NaN: none ----------------------------------------
 */

static double by_strain(const struct fg_route_backend *b)
{
    return b->cards ? b->weight < strained : (double)NAN;
}

static double by_heat(const struct fg_route_backend *b)
{
    bool known = b->cards && !isnan(b->celsius);
    return known ? (double)b->celsius + (b->weight < strained ? 1000 : 0) : (double)NAN;
}

static double by_speed(const struct fg_route_backend *b)
{
    double weight = b->cards ? (double)b->weight : 1;
    return b->tokens_per_s > 0 ? -b->tokens_per_s * weight : (double)NAN;
}

static double by_energy(const struct fg_route_backend *b)
{
    return b->joules_per_token > 0 ? b->joules_per_token : (double)NAN;
}

static const struct policy {
    double (*figure)(const struct fg_route_backend *);
    const char *moved; /* why it stands before where it is listed */
} policies[] = {
    [FG_POLICY_PREFER] = {by_strain, "its card is healthier"},
    [FG_POLICY_COOLEST] = {by_heat, "its card is cooler"},
    [FG_POLICY_FASTEST] = {by_speed, "fastest so far"},
    [FG_POLICY_CHEAPEST] = {by_energy, "least energy so far"},
};

/* Sorts those with a figure among the places they hold. */
static void apply(const struct policy *policy, const struct fg_route_backend *backends,
                  struct fg_route *r)
{
    uint32_t places[FG_ROUTE_MAX], n = 0;
    for (uint32_t i = 0; i < r->candidate_count; i++)
        if (!isnan(policy->figure(&backends[r->candidates[i].index])))
            places[n++] = i;
    for (uint32_t i = 1; i < n; i++) {
        struct fg_route_choice moving = r->candidates[places[i]];
        double figure = policy->figure(&backends[moving.index]);
        uint32_t at = i;
        for (; at; at--) {
            struct fg_route_choice before = r->candidates[places[at - 1]];
            if (policy->figure(&backends[before.index]) <= figure)
                break;
            r->candidates[places[at]] = before;
        }
        if (at != i)
            moving.reason = policy->moved;
        r->candidates[places[at]] = moving;
    }
}

static void tight_ones_last(const struct fg_route_backend *backends, struct fg_route *r)
{
    struct fg_route_choice sorted[FG_ROUTE_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->candidate_count; i++)
        if (!backends[r->candidates[i].index].is_tight)
            sorted[n++] = r->candidates[i];
    for (uint32_t i = 0; i < r->candidate_count; i++)
        if (backends[r->candidates[i].index].is_tight)
            sorted[n++] = (struct fg_route_choice){r->candidates[i].index,
                                                   "there is probably too little memory"};
    for (uint32_t i = 0; i < n; i++)
        r->candidates[i] = sorted[i];
}

void fg_route(int32_t policy, const struct fg_route_backend *backends, uint32_t count,
              struct fg_route *out)
{
    uint32_t order[FG_ROUTE_MAX];
    bool known = policy >= 0 && policy <= FG_POLICY_CHEAPEST;
    uint32_t n = by_rank(backends, count, order);
    *out = (struct fg_route){0};
    for (uint32_t i = 0; i < n; i++) {
        const char *why = why_not(&backends[order[i]]);
        if (why)
            out->skipped[out->skipped_count++] = (struct fg_route_choice){order[i], why};
        else
            out->candidates[out->candidate_count++] =
                (struct fg_route_choice){order[i], i ? "next in preference" : "preferred"};
        out->may_come_back = out->may_come_back || (why && may_come_back(&backends[order[i]]));
    }
    apply(&policies[known ? policy : FG_POLICY_PREFER], backends, out);
    tight_ones_last(backends, out);
}
