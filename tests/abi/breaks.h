/*
 * abi/breaks.h - plugins that break one rule each, to see that fg-plugin-check finds it.
 *
 * Each is the template (sdk/template/echo.c, whose entry is renamed) with one function replaced or
 * with its emit() intercepted. The first comment of a breaks_*.c says which check must catch it.
 */
#ifndef FG_TEST_ABI_BREAKS_H
#define FG_TEST_ABI_BREAKS_H

#include <stdbool.h>

#include <fluxgate/plugin.h>

struct breaks {
    struct fg_plugin table; /* a copy of the template's, to be changed */
    int32_t (*emit)(struct fg_stream *, const struct fg_event *); /* instead of the gateway's */
    bool serves_any_host;
};
extern const struct fg_plugin *kept; /* the template's own table */

void breaks(struct breaks *); /* defined by each breaks_*.c */
/* The gateway's emit(). */
int32_t real_emit(struct fg_stream *, const struct fg_event *);

#endif
