/*
 * engine/plugin.h - the plugin contract on top of a device: what cpu and tesla share whole.
 *
 * A module (cpu.so, tesla.so) fills fg_engine_device and returns fg_engine_plugin()'s table from
 * its fg_plugin_entry().
 */
#ifndef FG_ENGINE_PLUGIN_H
#define FG_ENGINE_PLUGIN_H

#include <fluxgate/plugin.h>
#include <jansson.h>

#include "engine/device.h"

struct fg_engine_device {
    const char *name, *version;
    /* config: the backend's configuration object (borrowed), e.g. {"threads": 2}. */
    int32_t (*open)(json_t *config, struct fg_dev **, struct fg_error *);
    void (*close)(struct fg_dev *);
    void (*describe)(struct fg_dev *, struct fg_device *out); /* [any] cached */
    const char *(*text)(struct fg_dev *); /* "AVX-512 VNNI, 2 threads"; constant */
};

/* The table of functions is one for all; the device is found through `device`, which must be
 * static const in the module. */
extern const struct fg_engine_device fg_engine_device; /* defined by the module */
extern const struct fg_plugin fg_engine_plugin_table;  /* defined by engine/plugin.c */

#endif
