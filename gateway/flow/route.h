/*
 * flow/route.h - where a model may run: a pure function of what is needed and what is known of the
 * backends. It calls nobody and holds nothing, so every rule of it can be tested on a table.
 *
 *   able     up, of the model's route, no card of it fails; else it is skipped, with the reason
 *   fits     what probably has no room now comes last
 *   policy   orders those for which it has a figure among the places they hold; all others stay
 *            where the configuration lists them
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
    bool is_unlisted;   /* the model's route does not name it: the same */
    uint32_t rank;      /* in the model's route; equal ones: as they stand here */
    bool excluded;      /* this job already failed there for good */
    const char *why_excluded;
    bool is_barred, may_lift; /* one of its cards may not serve; soon it may */
    const char *why_barred;
    uint32_t cards;     /* it is bound to; 0: what follows of cards does not count */
    float weight;       /* 0..1, health of the worst */
    float celsius;      /* of the hottest; NaN: not known */
    bool is_tight;      /* there is probably no room for the model */
    double tokens_per_s, joules_per_token; /* measured with this model; 0: not yet */
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
    bool may_come_back; /* no candidate now, but a backend or a card may be back soon */
};

/* policy: enum fg_policy */
void fg_route(int32_t policy, const struct fg_route_backend *, uint32_t count,
              struct fg_route *out);

#endif
