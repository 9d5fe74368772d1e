/*
 * plugin/event.h - one event as one block of memory that can be moved: a struct fg_event whose
 * pointers are offsets, followed by what they lead to. Any thread.
 */
#ifndef FG_PLUGIN_EVENT_H
#define FG_PLUGIN_EVENT_H

#include <fluxgate/plugin.h>

/* A view of an event of any minor version: fields it does not have are empty. */
void fg_event_take(const struct fg_event *given, struct fg_event *ev, struct fg_usage *usage);
/* Bytes of the block; written to `block` (16-byte aligned) unless that is NULL. */
size_t fg_event_pack(const struct fg_event *, void *block);
/* Offsets to pointers, in place and once; the event lives as long as the block stays there. */
const struct fg_event *fg_event_unpack(void *block);

#endif
