/*
 * plugin/event.h - one event as one block (see block.h). Any thread.
 */
#ifndef FG_PLUGIN_EVENT_H
#define FG_PLUGIN_EVENT_H

#include "plugin/block.h"

/* A view of an event of any minor version: fields it does not have are empty. */
void fg_event_take(const struct fg_event *given, struct fg_event *ev, struct fg_usage *usage);
/* Bytes of the block; written to `block` (8-byte aligned) unless that is NULL. */
size_t fg_event_pack(const struct fg_event *, void *block);
/* Our own block, in place and once; the event lives as long as the block stays there. */
const struct fg_event *fg_event_unpack(void *block);
/* A block from outside; false: it is broken. Borrows from the view's block and arena. */
bool fg_event_view(struct fg_view *, struct fg_event *);

#endif
