/*
 * plugin/child.h - the inside of fg-plugin-host: a plugin, and the gateway at the other end of a
 * socket. child_main.c makes the process fit, child_serve.c is the main thread (reads, writes, and
 * makes the calls tagged [worker]), child_call.c the control thread, child_job.c jobs and events.
 */
#ifndef FG_PLUGIN_CHILD_H
#define FG_PLUGIN_CHILD_H

#include <pthread.h>

#include "plugin/message.h"
#include "plugin/wire.h"

enum {
    FG_CHILD_HIGH = 1 << 20, /* bytes that wait for the gateway to read: jobs are paused */
    FG_CHILD_LOW = 128 << 10,
};

struct fg_child_task { /* one call of the gateway, for the control thread */
    struct fg_list node;
    uint8_t type;
    uint64_t id;
    size_t len;
    char data[] __attribute__((aligned(16)));
};

struct fg_served { /* the whole process */
    const struct fg_plugin *table;
    struct fg_backend *instance;
    struct fg_host host;
    struct fg_wire_sender out;
    struct fg_wire_reader in;
    int wake_fd;

    /* flags, atomic; set by any thread with a wake-up, taken by the main thread */
    uint32_t is_open, is_closed;
    uint32_t device_changed, numbers_due;
    uint32_t look; /* a job may wait for the socket to get emptier */

    /* the control thread and its tasks */
    pthread_t control;
    pthread_mutex_t lock;
    pthread_cond_t posted;
    struct fg_list tasks;     /* [lock] */
    struct fg_model **models; /* [lock] by id - 1 */
    uint64_t model_count;     /* [lock] */

    /* the main thread's */
    struct fg_stream **jobs; /* by the low bits of the id */
    uint32_t job_room;
    uint64_t numbers_hash;
};

/* child_serve.c. Until the gateway closes; the exit code. */
int fg_child_serve(struct fg_served *, int socket);
void fg_child_wake(struct fg_served *);
/* Devices and metrics to the gateway, when they changed. */
void fg_child_send_numbers(struct fg_served *);

/* child_call.c */
void *fg_child_control(void *served);
bool fg_child_post(struct fg_served *, const struct fg_wire_frame *);

/* child_job.c, [main] but for emit */
bool fg_child_job_frame(struct fg_served *, const struct fg_wire_frame *);
void fg_child_jobs_look(struct fg_served *); /* resumes who waited for the socket */
int32_t fg_child_emit(struct fg_stream *, const struct fg_event *);

#endif
