/*
 * The order is the order of the configuration; a backend that is not up, or where this job already
 * failed for a reason that will not go away, is skipped, and the skip is told.
 */
#include "flow/route.h"

#include "plugin/backend.h"

void fg_route(const struct fg_route_backend *backends, uint32_t count, struct fg_route *out)
{
    *out = (struct fg_route){0};
    for (uint32_t i = 0; i < count && i < FG_ROUTE_MAX; i++) {
        const struct fg_route_backend *b = &backends[i];
        const char *why = NULL;
        if (b->is_apart)
            continue;
        if (b->excluded)
            why = b->why_excluded ? b->why_excluded : "it failed there";
        else if (b->state != FG_BACKEND_UP)
            why = b->reason && b->reason[0] ? b->reason : "not up";
        if (!why) {
            out->candidates[out->candidate_count++] = (struct fg_route_choice){
                i, out->skipped_count ? "next in preference" : "preferred"};
            continue;
        }
        out->skipped[out->skipped_count++] = (struct fg_route_choice){i, why};
        if (!b->excluded && (b->state == FG_BACKEND_STARTING || b->state == FG_BACKEND_DOWN))
            out->may_come_back = true;
    }
}
