/*
 * plugin/inner.h - what registry.c and backend.c share. Nobody else includes it.
 */
#ifndef FG_PLUGIN_INNER_H
#define FG_PLUGIN_INNER_H

#include <pthread.h>

#include "plugin/backend.h"

enum { FG_DEATHS = 5, FG_DEVICES_TOLD = 16 };

struct fg_backend_slot {
    struct fg_registry *registry;
    char *name, *path, *config_json, *host_path; /* path: empty when the name is bad */
    bool isolate;
    uint64_t load_timeout_ns;
    struct fg_registry_events events;
    struct fg_control *control;
    struct fg_host host;

    pthread_mutex_t lock;
    pthread_cond_t left;             /* [lock] a visitor left */
    struct fg_backend_status status; /* [lock] */
    const struct fg_plugin *table;   /* [lock] written on the control thread */
    struct fg_backend *instance;     /* [lock] as well */
    uint32_t visitors;               /* [lock] threads that use the two just now */
    bool is_gone;                    /* [lock] the child ended since it was started */

    /* the control thread's */
    uint64_t deaths[FG_DEATHS]; /* when, the oldest is overwritten */
    uint32_t death_count, in_a_row;
    uint64_t up_since_ns;
    bool closing;
    int32_t told[FG_DEVICES_TOLD]; /* state of each device as it was logged */
    struct fg_task open_task, gone_task, close_task, device_task;
    uint32_t device_posted; /* atomic */

    uint64_t due_ns; /* [registry's lock] next start; 0: none */
};

/* backend.c */
int32_t fg_slot_init(struct fg_backend_slot *, const struct fg_conf *,
                     const struct fg_conf_backend *, const char *host_path, struct fg_error *);
void fg_slot_start(struct fg_backend_slot *); /* posts the opening */
void fg_slot_done(struct fg_backend_slot *);  /* closes the instance, joins the control thread */

/* registry.c, [control] */
void fg_registry_schedule(struct fg_backend_slot *, uint64_t at_ns);

#endif
