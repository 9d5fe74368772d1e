/*
 * upstream/held.h - events that came after the gateway asked for a pause: copied, in order, until
 * it asks for more. A record of a server may hold several events, and it is not parsed twice.
 */
#ifndef FG_UPSTREAM_HELD_H
#define FG_UPSTREAM_HELD_H

#include <fluxgate/plugin.h>

#include "util/list.h"

struct fg_held {
    struct fg_list node;
    struct fg_event event; /* all it points to is in the same block */
};
/* NULL: no memory. free() ends it. */
struct fg_held *fg_held_copy(const struct fg_event *);
void fg_held_drop(struct fg_list *); /* all of a list */

#endif
