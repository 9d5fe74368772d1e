/* See meter.h. */
#include "flow/meter.h"

#include <math.h>

static void advance(struct fg_meter *m, double joules)
{
    bool known = !isnan(joules) && m->has_last && joules >= m->last;
    if (m->running && known)
        m->sum += (joules - m->last) / m->running;
    else if (m->running)
        m->gaps++; /* who ran across it is not charged a guess */
    m->has_last = !isnan(joules);
    m->last = joules;
}

struct fg_meter_mark fg_meter_start(struct fg_meter *m, double joules)
{
    advance(m, joules);
    m->running++;
    return (struct fg_meter_mark){m->sum, m->gaps};
}

double fg_meter_end(struct fg_meter *m, struct fg_meter_mark mark, double joules)
{
    advance(m, joules);
    m->running -= m->running > 0;
    return mark.gaps == m->gaps && !isnan(joules) ? m->sum - mark.sum : (double)NAN;
}
