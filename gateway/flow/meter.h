/*
 * flow/meter.h - energy of single jobs on a card that several share: what the card uses at a
 * moment is parted equally among the jobs that run at that moment. The meter keeps the sum that a
 * job would have if it ran for ever; a job's part is the difference between its end and its start.
 * Pure; its owner's lock protects it.
 */
#ifndef FG_FLOW_METER_H
#define FG_FLOW_METER_H

#include <stdbool.h>
#include <stdint.h>

struct fg_meter {
    double sum, last; /* joules a job; the card's counter at the last change */
    uint32_t running;
    uint32_t gaps; /* times at which the counter was not known or fell */
    bool has_last;
};
struct fg_meter_mark { /* a job's start */
    double sum;
    uint32_t gaps;
};

/* joules: the card's counter now; NaN: not known. */
struct fg_meter_mark fg_meter_start(struct fg_meter *, double joules);
double fg_meter_end(struct fg_meter *, struct fg_meter_mark, double joules); /* NaN: not known */

#endif
