/*
 * flow/route.h - where a model may run: a pure function of what is needed and what is known of the
 * backends. It calls nobody and holds nothing, so every rule of it can be tested on a table.
 */
#ifndef FG_FLOW_ROUTE_H
#define FG_FLOW_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

enum { FG_ROUTE_MAX = 32 /* backends */ };

struct fg_route_backend { /* in the configured order of preference */
    const char *name;
    int32_t state;      /* enum fg_backend_state */
    const char *reason; /* why it is not up */
    bool is_apart;      /* the model is another backend's own: not even told as skipped */
    bool excluded;      /* this job already failed there for good */
    const char *why_excluded;
};
struct fg_route_choice {
    uint32_t index;     /* of the backend */
    const char *reason; /* why here, or why not: a phrase, borrowed from the input */
};
struct fg_route {
    struct fg_route_choice candidates[FG_ROUTE_MAX]; /* best first */
    uint32_t candidate_count;
    struct fg_route_choice skipped[FG_ROUTE_MAX]; /* better placed, but not usable */
    uint32_t skipped_count;
    bool may_come_back; /* no candidate now, but a backend is starting or restarting */
};

void fg_route(const struct fg_route_backend *, uint32_t count, struct fg_route *out);

#endif
