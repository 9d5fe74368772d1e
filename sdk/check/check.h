/*
 * check/check.h - what the files of fg-plugin-check share.
 *
 *   main.c     arguments, the list of checks, TAP
 *   run.c      a process for each check: a crash or a hang of the plugin is a failed check
 *   host.c     the gateway's side as a plugin sees it: emit() judges every event as it comes
 *   use.c      calls to the plugin, each noted down so that a crash can be told by name
 *   module.c life.c jobs.c credit.c cancel.c crowd.c ops.c   the checks
 *
 * A check runs in its own process on its main thread and ends it: by returning (the rule was kept),
 * by broken() or by skipped(). Nothing it leaves behind matters but a leak, which a sanitizer
 * tells.
 */
#ifndef FG_CHECK_CHECK_H
#define FG_CHECK_CHECK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <fluxgate/plugin.h>

#include "util/str.h"

struct options {
    const char *module, *model, *only;
    struct fg_str config;
    uint32_t timeout_ms, rounds;
    bool is_verbose, is_list;
};

struct notes { /* shared with the parent process */
    char step[160];   /* the call that was made last */
    char text[1024];  /* why it was broken or skipped */
};

struct bench { /* one check's world */
    const struct options *options;
    struct notes *notes;
    const struct fg_plugin *plugin;
    struct fg_host host;
    uint32_t patience_ms, cancel_ms; /* for a last event: after submit(), after cancel() */
    uint32_t can, max_running, context, embedding; /* of the loaded model */
};

enum { NEEDS_NOTHING = 0, NEEDS_MODEL = 1, NEEDS_TEXT = 2 /* a model that generates */ };
struct check {
    const char *name; /* a sentence about the plugin */
    void (*run)(struct bench *);
    int32_t needs;
};
extern const struct check checks_module[], checks_life[], checks_jobs[], checks_credit[],
    checks_cancel[], checks_crowd[], checks_ops[]; /* each ends with an empty one */

/* run.c */
enum verdict { KEPT = 0, SKIPPED = 1, BROKEN = 2 };
enum verdict run_check(const struct options *, const struct check *, struct notes *);
void broken(struct bench *, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));
void skipped(struct bench *, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));

/* ---- host.c: a stream ------------------------------------------------------------------------ */

enum policy { /* what emit() answers */
    ALWAYS_GO = 0,
    PAUSE_ONCE = 1,  /* to the first output */
    PAUSE_EACH = 2,  /* to every output */
    STOP_ONCE = 3,   /* to the first output */
    SLOW_LAST = 4,   /* GO; the last event's emit() returns late */
    OVERTAKE = 5,    /* PAUSE to every output, but emit() returns only after resume() was called */
};
struct fg_stream {
    uint32_t magic;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int32_t policy;
    uint32_t choices, inputs, max_tokens, embedding;
    bool pieces;            /* TOKENIZE with PIECES: text may be a part of a character */
    pthread_t submitter;
    bool is_submitting, is_inside, is_paused, is_stopped, is_cancelled, is_started, is_over;
    bool wants_resume;      /* OVERTAKE: emit() is waiting for resume() */
    uint32_t events, outputs, pauses, finishes, embeddings;
    int32_t last_kind, last_code;
    struct fg_usage usage;
    bool has_usage;
    struct fg_buf text;
    int32_t ids[1024];
    uint32_t id_count, logprobs;
    float first_value;
    char reason[256];       /* of FAILED */
    char broken[400];       /* the first rule that an event broke */
};
void stream_init(struct fg_stream *, const struct fg_request *, int32_t policy);
void stream_done(struct fg_stream *);
int32_t host_emit(struct fg_stream *, const struct fg_event *);
void host_init(struct bench *);

/* ---- use.c ----------------------------------------------------------------------------------- */

void step(struct bench *, const char *what); /* main thread only */
void module_open(struct bench *);            /* dlopen and fg_plugin_entry() */
struct fg_backend *backend_open(struct bench *);
void backend_close(struct bench *, struct fg_backend *);
struct fg_model *model_load(struct bench *, struct fg_backend *); /* skips when there is none */
void model_unload(struct bench *, struct fg_model *);
const char *status_name(int32_t);

/* A request for `words` words of prompt and about max_tokens of answer; valid while it lives. */
struct ask {
    struct fg_request request;
    struct fg_message message;
    struct fg_part part;
    struct fg_str input;
    struct fg_sampling sampling;
    char text[4096];
};
void ask_init(struct bench *, struct ask *, uint32_t words, uint32_t max_tokens);

/* All judge the stream: a rule that an event broke ends the check. */
struct fg_job *job_submit(struct bench *, struct fg_model *, const struct fg_request *,
                          struct fg_stream *);
void job_resume(struct bench *, struct fg_job *, struct fg_stream *);
void job_cancel(struct bench *, struct fg_job *, struct fg_stream *);
void job_release(struct bench *, struct fg_job *);
void judge(struct bench *, struct fg_stream *);
void wait_over(struct bench *, struct fg_stream *, uint32_t ms, const char *what);
bool wait_outputs(struct bench *, struct fg_stream *, uint32_t outputs, uint32_t ms); /* or over */
/* The whole road of one request; the caller looks at the stream and calls stream_done(). */
void job_run(struct bench *, struct fg_model *, const struct fg_request *, struct fg_stream *,
             int32_t policy);
/* Memory whose last byte is followed by a page that must not be touched. */
void *guarded(struct bench *, const void *bytes, size_t len);
void unguard(void *guarded, size_t len); /* now none of it may be touched */

enum { PATIENCE_MS = 20000, CANCEL_MS = 5000, QUIET_MS = 150 }; /* at most, see run.c */

#endif
