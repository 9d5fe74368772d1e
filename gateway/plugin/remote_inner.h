/*
 * plugin/remote_inner.h - one child as its files share it: remote.c (life and calls), remote_job.c
 * (what workers call), remote_io.c (its own thread). Nobody else includes it.
 *
 * Two locks, never held together: `lock` here, and the sender's own.
 */
#ifndef FG_PLUGIN_REMOTE_INNER_H
#define FG_PLUGIN_REMOTE_INNER_H

#include <pthread.h>

#include "plugin/message.h"
#include "plugin/output.h"
#include "plugin/remote.h"
#include "plugin/spawn.h"
#include "plugin/stream.h"
#include "plugin/wire.h"

struct fg_remote_call { /* the one that the control thread waits for */
    uint64_t id;        /* 0: none */
    bool done, moved;   /* moved: fraction is news */
    float fraction;
    struct fg_error err;
    struct fg_msg_reply reply; /* without its strings */
    char name[64], version[64];
    struct fg_list visits; /* struct fg_remote_visit, MODEL and JSON */
    size_t visit_bytes;
};
struct fg_remote_visit {
    struct fg_list node;
    uint8_t type;
    size_t len;
    char data[] __attribute__((aligned(16)));
};
struct fg_remote_numbers { /* a snapshot, shared by those who look at it */
    uint32_t refs;         /* atomic */
    struct fg_arena *arena;
    struct fg_msg_numbers all;
    char data[] __attribute__((aligned(16)));
};

struct fg_backend { /* the instance: one child from its start to its end */
    struct fg_plugin table;
    struct fg_remote_ask ask; /* strings are the owner's */
    char name[64], version[64];
    bool can_inspect;
    uint32_t refs; /* atomic: the owner, and one a model */

    struct fg_child child;
    struct fg_wire_sender out;
    int wake_fd;         /* rings its thread */
    uint32_t is_blocked; /* atomic: the socket was full */
    pthread_t thread;
    bool has_thread, greeted;

    pthread_mutex_t lock;
    pthread_cond_t changed;            /* [lock] the call, or gone */
    struct fg_remote_call call;        /* [lock] */
    uint64_t last_call;                /* the control thread's */
    struct fg_job **jobs;              /* [lock] by index, NULL: free */
    uint32_t room, count;              /* [lock] */
    uint64_t sequence;                 /* [lock] makes ids unique */
    bool gone, closing, announced;     /* [lock] */
    char reason[160];                  /* [lock] why gone; why it is to be ended */
    bool must_end;                     /* [lock] */
    struct fg_remote_numbers *numbers; /* [lock] */

    /* its thread's */
    struct fg_wire_reader in;
    struct fg_arena *arena;
    struct fg_output output, logs; /* logs: the plugin's own lines have their own measure */
    uint64_t now_ns, heard_ns, event_ns, ping_ns, written_ns, written;
};

struct fg_model {
    struct fg_backend *remote;
    uint64_t id;
};

struct fg_job {
    struct fg_backend *remote;
    struct fg_stream *stream;
    uint64_t id;
    uint32_t choices, inputs; /* what events may speak of */
    uint32_t ended;           /* atomic; set under the lock before the last event is emitted */
    uint64_t resumes;         /* atomic; sent so far */
    uint32_t paused;          /* atomic; the stream said PAUSE since the last resume */
    bool stop_sent;           /* its thread's */
    uint64_t since_ns;        /* atomic; submitted, or last resumed */
};

/* remote.c */
void fg_remote_numbers_drop(struct fg_remote_numbers *); /* NULL is fine */

/* remote_io.c */
void *fg_remote_run(void *remote); /* the thread: until the child is gone */
void fg_remote_wake(struct fg_backend *);
/* [any] Writes what waits, or leaves it to the thread. */
void fg_remote_flush(struct fg_backend *);

/* remote_job.c */
int32_t fg_remote_submit(struct fg_model *, const struct fg_request *, struct fg_stream *,
                         struct fg_job **, struct fg_error *);
void fg_remote_resume(struct fg_job *);
void fg_remote_cancel(struct fg_job *);
void fg_remote_release(struct fg_job *);
/* [its thread] False: the child says what it may not. */
bool fg_remote_event(struct fg_backend *, const struct fg_wire_frame *);
void fg_remote_fail_jobs(struct fg_backend *, const char *reason);
/* [its thread] A job that should have said something, for so long. */
bool fg_remote_is_hanging(struct fg_backend *, uint64_t limit_ns);

#endif
