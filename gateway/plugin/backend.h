/*
 * plugin/backend.h - configured backends: a plugin's table behind a health state, in this process
 * or in a child of ours. flow/ calls plugins through here only.
 *
 * A backend is opened on its control thread; its state is read by anybody. The child of an
 * isolated backend is restarted here with growing pauses; models that were loaded in it are gone
 * then (generation changes), and every job in it ends with one FAILED/DEVICE_LOST.
 */
#ifndef FG_PLUGIN_BACKEND_H
#define FG_PLUGIN_BACKEND_H

#include <fluxgate/plugin.h>

#include "conf/conf.h"
#include "loop/control.h"
#include "loop/worker.h"

struct fg_registry;
struct fg_backend_slot; /* one configured backend */

enum fg_backend_state {
    FG_BACKEND_STARTING = 0,
    FG_BACKEND_UP = 1,
    FG_BACKEND_DOWN = 2,   /* its child is gone, a restart is due */
    FG_BACKEND_FAILED = 3, /* wrong ABI, failed open, crash loop: reason says which */
};
struct fg_backend_status {
    int32_t state;
    uint32_t generation; /* grows by one with each (re)start: models of an older one are gone */
    uint32_t revision; /* grows when a device, or what list() answers, may be another */
    uint32_t restarts;
    int32_t pid; /* of the child; 0 in process */
    char reason[160];
};
struct fg_registry_events { /* [a control thread of the registry] */
    void *ctx;
    void (*changed)(void *ctx, struct fg_backend_slot *); /* the status is another one */
};

/* Starts opening all backends on their control threads and returns at once. host_path: the
 * fg-plugin-host executable; NULL: beside this program. */
int32_t fg_registry_open(const struct fg_conf *, const char *host_path,
                         const struct fg_registry_events *, struct fg_registry **,
                         struct fg_error *);
void fg_registry_close(struct fg_registry *); /* all models unloaded, all jobs released before;
                                                 ends and reaps every child */
uint32_t fg_registry_count(const struct fg_registry *);
struct fg_backend_slot *fg_registry_at(const struct fg_registry *, uint32_t index);
struct fg_backend_slot *fg_registry_find(const struct fg_registry *, struct fg_str name);

const char *fg_backend_name(const struct fg_backend_slot *);
void fg_backend_get_status(const struct fg_backend_slot *, struct fg_backend_status *); /* [any] */
/* For calls tagged [control]: post to this thread. The table and instance may be used there only
 * while the state is UP; for calls tagged [worker]/[any] as long as a model is held. */
struct fg_control *fg_backend_control(struct fg_backend_slot *);
const struct fg_plugin *fg_backend_table(const struct fg_backend_slot *);
struct fg_backend *fg_backend_instance(const struct fg_backend_slot *);
/* [any] Ends the child of an isolated backend that is UP; it is started again as after any end.
 * False: there is none to end. */
bool fg_backend_restart(struct fg_backend_slot *, const char *reason);
/* [any] The plugin's own numbers, while the backend is UP. */
void fg_backend_metrics(struct fg_backend_slot *, fg_metric_visit *, void *ctx);

#endif
