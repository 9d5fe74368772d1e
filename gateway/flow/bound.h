/*
 * flow/bound.h - a backend's cards, as one: what `gpus` of the configuration and a snapshot of the
 * cards say together. Pure.
 */
#ifndef FG_FLOW_BOUND_H
#define FG_FLOW_BOUND_H

#include "gpu/gpu.h"

struct fg_bound {
    uint32_t cards;          /* bits of indexes */
    uint32_t count;          /* of entries in the configuration; 0: bound to none */
    bool is_barred, may_lift; /* one may not serve, or is not there */
    bool is_unknown;         /* nothing is known of cards here: they count as healthy */
    bool needs_new_process;  /* a card waits for a new context, and may have it once it is idle */
    bool is_lost;            /* one is gone: what runs on it cannot end well */
    float weight, admission; /* of the worst */
    float celsius;           /* of the hottest; NaN: not known */
    double free_bytes;       /* of all of them; NaN: not known */
    int32_t single;          /* the card, when it is one; -1 */
    char why[160];           /* why barred, or not known */
};

void fg_bound_look(const struct fg_gpus *, char *const *gpus, uint32_t count, struct fg_bound *);

#endif
