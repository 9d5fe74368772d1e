/* A worker on its thread, jobs that collect their events, and a child or a plugin to run them. */
#ifndef RIG_H
#define RIG_H

#include <stdatomic.h>

#include "plugin/remote.h"
#include "plugin/stream.h"

struct rig {
    struct fg_worker *worker;
    const struct fg_plugin *table;
    struct fg_backend *backend;
    struct fg_model *model;
    int32_t pid;
    struct fg_host host;
    atomic_int gone, logs, device_changes;
    char reason[160], log[256];
};

struct rig_job { /* the worker's until over is set */
    struct rig *rig;
    struct fg_task task, unhold, cancel;
    struct fg_request request;
    struct fg_str input;
    struct fg_stream *stream;
    struct fg_job *job;
    struct fg_error err;
    int32_t submitted; /* status of submit() */
    atomic_int over, held, started, texts, resumes;
    int32_t want_cancel; /* cancel after so many texts; -1: never */
    uint32_t lasts, out_of_order, starteds;
    int32_t last_kind, last_code;
    uint32_t prompt_tokens;
    char last_text[256];
    char text[8192]; /* of all TEXT events, cut */
    size_t text_len, text_bytes;
    uint32_t values;
    float last_value;
    void (*look)(struct rig_job *, const struct fg_event *);
};

/* A child with the wicked plugin (or host_path: another program in its place). */
int32_t rig_open(struct rig *, const char *host_path, const char *name, const char *config,
                 uint64_t short_ns, struct fg_error *);
/* The wicked plugin in this process. */
void rig_open_here(struct rig *);
void rig_load(struct rig *);
void rig_close(struct rig *);
const char *rig_file(char *path, size_t room, const char *name); /* of a wicked module */
const char *rig_host(void);

void rig_start(struct rig *, struct rig_job *, const char *words);
void rig_start_held(struct rig *, struct rig_job *, const char *words); /* takes no events */
void rig_start_request(struct rig *, struct rig_job *);
void rig_unhold(struct rig_job *);
void rig_cancel(struct rig_job *);
bool rig_wait(struct rig_job *, int seconds); /* false: it is not over */
bool rig_until(atomic_int *, int at_least, int seconds);

#endif
