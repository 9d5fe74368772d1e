/*
 * upstream/site.h - one server as a backend: its client, its breaker, its models, and the jobs of
 * them. What the plugins on top add is a configuration, a list of models, and perhaps a process.
 *
 *   site.c   the breaker and its probe, trouble, device(), metrics(), log lines
 *   job.c    submit() to release(): request, records, events, credit
 *   fetch.c  small requests of our own, such as a list of models
 *
 * Threads  [io] is the client's thread; the tags of the contract elsewhere. A site has one lock,
 *          for the breaker and what is told of it.
 */
#ifndef FG_UPSTREAM_SITE_H
#define FG_UPSTREAM_SITE_H

#include <pthread.h>

#include "upstream/breaker.h"
#include "upstream/client.h"
#include "upstream/dialect.h"
#include "upstream/records.h"

struct fg_site_config {
    const struct fg_host *host;
    struct fg_client_config client; /* without tick and ctx */
    const struct fg_dialect *dialect;
    const void *options;  /* the dialect's; lives as long as the site */
    struct fg_str fields; /* header lines of every request, "Name: value\r\n"...; as above */
    const struct fg_str *secrets; /* are cut out of what the server says; as above */
    uint32_t secret_count;
    uint32_t breaker_limit, breaker_ms;
    uint32_t line_bytes;                          /* one record */
    uint32_t probe_ms;                            /* how long a probe may take */
    uint64_t (*tick)(void *ctx, uint64_t now_ns); /* [io] as the client's; may be NULL */
    void *ctx;
};

struct fg_site {
    struct fg_site_config config;
    struct fg_client *client;
    struct fg_buf common;   /* the head's lines that are the same in every request */
    struct fg_arena *arena; /* [io] of one record */

    pthread_mutex_t lock;
    struct fg_breaker breaker; /* [lock] as what follows */
    char trouble[200];         /* the last failure */
    bool is_key_refused;
    int32_t probe_op;
    char probe_model[256]; /* who was asked last */

    struct fg_job *probe;                             /* [io] */
    uint64_t probe_due_ns;                            /* [io] when it is given up */
    uint64_t requests, done, cancelled, busy, probes; /* atomic, as what follows */
    uint64_t failures[FG_TROUBLES];
    uint32_t running, paused;
};

int32_t fg_site_open(const struct fg_site_config *, struct fg_site **, struct fg_error *);
void fg_site_close(struct fg_site *);                                 /* no job left */
int32_t fg_site_device(struct fg_site *, struct fg_device *);         /* [any] */
void fg_site_metrics(struct fg_site *, fg_metric_visit *, void *ctx); /* [any] */
/* event key=value ...; text is quoted behind it and cleaned of secrets. [any] */
void fg_site_log(struct fg_site *, int32_t level, const char *event, const char *text);
void fg_site_scrub(const struct fg_site *, char *text);
/* Appends the head of a request and leaves room for its length, which end() fills in. */
size_t fg_site_head(const struct fg_site *, struct fg_buf *, const char *method, const char *path,
                    const char *accept);
void fg_site_head_end(struct fg_buf *, size_t mark);

/* How a job ended, for the breaker. [io] */
enum fg_verdict { FG_VERDICT_NONE = 0, FG_VERDICT_GOOD = 1, FG_VERDICT_BAD = 2 };
void fg_site_report(struct fg_site *, bool is_probe, int32_t verdict, int32_t trouble,
                    const char *text);
void fg_site_key_refused(struct fg_site *, bool refused); /* [io] */

/* ---- models and jobs ------------------------------------------------------------------------- */

struct fg_model_ask {
    struct fg_str ours, theirs; /* copied */
    uint32_t can, context, max_running;
};
struct fg_model {
    struct fg_site *site;
    char *ours, *theirs;
    uint32_t can, context, max_running;
    uint32_t running;       /* atomic */
    uint64_t wait_until_ns; /* atomic: the server is busy until then */
};
int32_t fg_model_open(struct fg_site *, const struct fg_model_ask *, struct fg_model **,
                      struct fg_error *);
void fg_model_close(struct fg_model *);

/* The contract's calls of the same names. */
int32_t fg_site_submit(struct fg_model *, const struct fg_request *, struct fg_stream *,
                       struct fg_job **, struct fg_error *);
void fg_site_resume(struct fg_job *);
void fg_site_cancel(struct fg_job *);
void fg_site_release(struct fg_job *);

/* [io] One token of the model that was asked last; its end goes to fg_site_report(). */
struct fg_job *fg_site_probe(struct fg_site *);
void fg_site_probe_stop(struct fg_job *);

/* ---- small requests -------------------------------------------------------------------------- */

struct fg_fetch { /* the caller's; one at a time */
    struct fg_exchange ex;
    struct fg_buf request, body;
    int32_t http_status;
    uint64_t due_ns;
    bool is_running;
    /* [io] status FG_OK: http_status and body are there. Not called after stop(). */
    void (*done)(struct fg_fetch *, int32_t status, const char *text);
};
/* [io] GET of a path behind the configured one. */
void fg_fetch_start(struct fg_site *, struct fg_fetch *, const char *path, size_t body_limit);
void fg_fetch_done(struct fg_fetch *); /* frees; it is not running */

#endif
