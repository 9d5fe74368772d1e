/*
 * flow/inner.h - what the files of flow/ share. Nobody else includes it.
 *
 * One lock guards the table of loaded models, the lines before them and the settings. Under it
 * only pointers move: tasks that a change calls for are collected in a struct fg_after and posted
 * when the lock is free again (a thread never holds two locks).
 *
 * Threads   a job: its worker.   fg_live, lines, settings: any, under the lock.   the scan, the
 *           cache of facts and the making of snapshots: the keeper.   plugin calls that may wait:
 *           the backend's control thread.
 */
#ifndef FG_FLOW_INNER_H
#define FG_FLOW_INNER_H

#include <pthread.h>

#include "flow/bound.h"
#include "flow/catalog.h"
#include "flow/hub.h"
#include "flow/listed.h"
#include "flow/measured.h"
#include "flow/meter.h"
#include "flow/queue.h"
#include "flow/route.h"
#include "plugin/stream.h"
#include "util/clock.h"

#define FG_NEVER UINT64_MAX
#define FG_CHECK_NS (2 * FG_NS_PER_S) /* the directories are looked at no oftener than this */
enum { FG_LANES = 256, FG_TRIES = 2 /* further ones */, FG_DEFAULT_LOADED = 3 };

struct fg_settings { /* a deep copy of what flow uses of the configuration */
    char **directories, **stores, **preload;
    uint32_t directory_count, store_count, preload_count;
    char *default_model;
    int64_t keep_alive_ns;
    uint32_t context, parallel, max_loaded, max_waiting;
    uint64_t deadline_ns, first_token_ns, request_ns, load_timeout_ns; /* 0: none */
    int32_t policy; /* enum fg_policy */
    struct fg_conf_route *routes;
    struct fg_conf_alias *aliases;
    uint32_t route_count, alias_count;
};

enum fg_live_state { FG_LIVE_LOADING = 0, FG_LIVE_READY = 1, FG_LIVE_CLOSING = 2 };
struct fg_live { /* one model on one backend, from the wish to load it to its unload */
    struct fg_list node, todo; /* in hub->lives; in a struct fg_after */
    struct fg_hub *hub;
    const struct fg_catalog *catalog; /* retained: entry lives in it */
    const struct fg_model_entry *entry;
    struct fg_backend_slot *slot;
    uint32_t slot_index, generation;
    const struct fg_plugin *table;
    struct fg_model *model;
    int32_t state;
    bool retiring; /* takes nobody new; unloads when the last job left */
    bool lost;     /* its child is gone */
    bool is_barred; /* its card may not serve: it counts no more as loaded */
    uint32_t slots_full; /* those of a cool card */
    const char *placed_because; /* static, for the log */
    uint32_t passed_over;       /* backends that were better placed and not usable */
    struct fg_queue queue;
    uint32_t asked_context, context, can, parallel;
    uint64_t memory_bytes;
    char backend[64], engine[96], device[128], quantization[32];
    uint64_t load_started_ns, ready_ns, used_ns, expires_ns;
    uint32_t progress_permille; /* atomic */
    uint64_t progress_ns;       /* atomic: when it last moved */
    struct fg_task task;        /* load, then unload */
};

/* What is to be posted once the lock is free. */
struct fg_after {
    struct fg_list wakes;          /* fg_wait of jobs that left a line */
    struct fg_list loads, unloads; /* fg_live.todo */
    uint32_t restarts;             /* bits of backends whose child is to start anew */
    bool poke;
};

enum fg_place { /* of a job, under the lock */
                FG_PLACE_NONE = 0,
                FG_PLACE_SCAN = 1,
                FG_PLACE_LIMBO = 2,
                FG_PLACE_QUEUE = 3,
                FG_PLACE_COMING = 4, /* left the line, its wake-up is under way */
};
enum fg_outcome { FG_WAKE_GRANTED = 0, FG_WAKE_AGAIN = 1, FG_WAKE_FAILED = 2 };

struct fg_lane { /* the jobs of one worker; the list is that worker's */
    struct fg_worker *worker;
    struct fg_hub *hub;
    struct fg_list jobs;
    struct fg_task cancel_all;
    uint32_t cancelling; /* atomic: the task is posted */
};

struct fg_hub_job {
    struct fg_hub *hub;
    struct fg_worker *worker;
    struct fg_list lane_node;
    struct fg_job_ask ask;
    char model[264]; /* the name asked, default filled in */
    const struct fg_catalog *catalog;
    const struct fg_model_entry *entry;

    struct fg_wait wait; /* [lock] */
    struct fg_task wake;
    int32_t place, outcome; /* [lock] */
    struct fg_error wake_error;
    struct fg_live *live; /* whose line or slot */
    uint32_t left_slot;   /* [lock] backend of the model whose line it left */

    struct fg_stream *stream;
    struct fg_job *plugin_job;
    struct event *timer, *pump;
    bool started, is_running, detached, cancelled, paused, scanned, calling, usage_held, is_backoff;
    uint32_t tries, excluded; /* excluded: bits of backends */
    float fraction;
    bool is_metered, has_joules;
    struct fg_meter_mark mark;
    double joules; /* over all its tries */
    struct fg_usage held_usage;
    int32_t *held_ids; /* of the prompt, when STARTED told them */
    uint32_t held_id_count;
    struct fg_error first_error;
    char skipped[240];
    uint64_t created_ns, wait_ns, deadline_ns, granted_ns, first_ns, told_ns;
    uint64_t queue_ns, load_ns, wait_since_ns;
};

struct fg_backend_metrics {
    struct fg_metric *done, *failed, *cancelled, *tokens_in, *tokens_out, *loads, *load_failures;
    struct fg_metric *first_token, *joules;
};

struct fg_hub_bound { /* the cards of a backend */
    char **gpus; /* constant, as is count */
    uint32_t count;
    uint32_t cards;               /* [lock] bits, when it was looked last */
    float admission;              /* [lock] */
    bool is_lost, wants_process;  /* [lock] */
    struct fg_meter meter;        /* [lock] of the card, when it is one */
};
struct fg_survey { /* what routing knows at one moment, see survey.c */
    uint32_t count, barred; /* bits */
    int32_t policy;
    char pattern[128]; /* of the route that fits; "" none */
    struct fg_backend_status status[FG_ROUTE_MAX];
    struct fg_bound bound[FG_ROUTE_MAX];
    struct fg_route_backend backends[FG_ROUTE_MAX];
    double needed_bytes[FG_ROUTE_MAX], free_bytes[FG_ROUTE_MAX];
    struct fg_route route;
};

struct fg_listing { /* what a backend said it has by itself, the keeper's */
    struct fg_listed *listed; /* NULL: nothing yet */
    uint32_t generation;      /* of the start at which it was asked */
    uint32_t revision;        /* of the status then */
    bool is_asked, is_known;  /* an answer is due; one came */
    uint64_t asked_ns;
};

struct fg_ready_wait;
struct fg_hub {
    struct fg_registry *registry;
    pthread_mutex_t lock;
    pthread_cond_t lives_changed;
    struct fg_settings set;           /* [lock] */
    const struct fg_catalog *catalog; /* [lock] the current snapshot, one reference */
    struct fg_list lives;             /* [lock] */
    uint32_t live_count;              /* [lock] not CLOSING */
    struct fg_list limbo;             /* [lock] jobs that wait for a backend or for room */
    struct fg_list scanners;          /* [lock] jobs that wait for a scan */
    struct fg_list lookers;           /* [lock] front ends that do, see fg_hub_look() */
    uint32_t limbo_count;
    struct fg_lane *lanes[FG_LANES]; /* [lock] */
    bool scan_forced, stopping;      /* [lock] */
    struct fg_list facts_done;       /* [lock] from inspections to the keeper */
    bool inspect_over;               /* [lock] */
    struct fg_list listed_done;      /* [lock] from list() to the keeper */
    uint32_t draining, running;      /* atomic */
    uint64_t last_good_ns;           /* atomic: a job ended well */
    struct {                         /* [lock] the check behind /ready */
        bool is_running, is_good;
        uint64_t checked_ns;
        char why[160];
        struct fg_list waiters;
    } ready;
    struct fg_gpu *gpu; /* atomic; NULL: none is attached */
    struct fg_hub_bound bound[FG_ROUTE_MAX];
    uint32_t bound_count;
    uint32_t restart_wanted;   /* [lock] bits of backends */
    struct fg_measured measured; /* [lock] */
    struct fg_backend_metrics metrics[FG_ROUTE_MAX];
    struct fg_metric *queue_wait, *loaded, *jobs_now, *downgraded;
    struct fg_metric *outcomes[FG_JOB_INTERNAL + 1];

    /* the keeper's */
    pthread_t keeper;
    bool keeper_runs;
    int poke_fd;
    uint64_t keeper_next_ns; /* [lock] when it wakes by itself */
    struct fg_store_list list;
    struct fg_list facts;
    struct fg_listing listings[FG_ROUTE_MAX];
    uint64_t checked_ns; /* atomic */
    uint64_t scanned_ns, stamp;
    bool inspecting;
    uint32_t no_inspect; /* bits of backends without the extension */
    char *lost_path;     /* the file that was inspected when a child went */
    uint32_t lost_count, preloaded;
};

void fg_after_init(struct fg_after *);
void fg_after_run(struct fg_hub *, struct fg_after *);     /* without the lock */
void fg_hub_poke(struct fg_hub *);                         /* [any] wakes the keeper */
const struct fg_catalog *fg_hub_snapshot(struct fg_hub *); /* retained; asks for no scan */
const char *fg_reason_name(int32_t reason);

/* live.c, [any] */
enum fg_acquired { FG_ACQ_GRANTED = 0, FG_ACQ_WAITS = 1, FG_ACQ_FAILED = 2 };
/* Finds or makes the model a job needs and puts the job in its line. FAILED: end says why. */
int32_t fg_live_acquire(struct fg_hub_job *, struct fg_job_end *end, struct fg_error *err);
void fg_live_preload(struct fg_hub *, const struct fg_catalog *, const struct fg_model_entry *);
/* The job's slot comes back. lost: the child behind it is gone. */
void fg_live_release(struct fg_hub *, struct fg_live *, uint64_t served_ns, int64_t keep_alive_ns,
                     bool lost);
/* Takes the job out of its line; false: its wake-up is under way, or it is in none. */
bool fg_live_leave(struct fg_hub_job *);
void fg_live_pump_locked(struct fg_live *, struct fg_after *);
void fg_live_settle_locked(struct fg_live *, struct fg_after *);
void fg_live_flush_locked(struct fg_live *, int32_t outcome, const struct fg_error *,
                          struct fg_after *);
void fg_hub_wake_limbo_locked(struct fg_hub *, struct fg_after *);
void fg_live_free(struct fg_live *);
uint64_t fg_live_sweep(struct fg_hub *, uint64_t now_ns); /* next expiry */

/* survey.c: without the lock */
void fg_survey_take(struct fg_hub *, const struct fg_model_entry *, uint32_t excluded,
                    const char *why_excluded, struct fg_survey *);
void fg_hub_bound(struct fg_hub *, struct fg_bound[FG_ROUTE_MAX], uint32_t count);

/* cards.c */
int32_t fg_hub_bind(struct fg_hub *, const struct fg_conf *, struct fg_error *);
void fg_hub_unbind(struct fg_hub *);
void fg_live_admit_locked(struct fg_live *, struct fg_after *);
void fg_live_bar_locked(struct fg_live *, struct fg_after *);
/* Backends that wait for a new process and hold no model any more. */
void fg_hub_restart_due_locked(struct fg_hub *, struct fg_after *);
void fg_hub_restart(struct fg_hub *, uint32_t slots);
void fg_hub_process_is_new(struct fg_hub *, const struct fg_backend_slot *);
void fg_job_meter_start(struct fg_hub_job *);
void fg_job_meter_end(struct fg_hub_job *);
json_t *fg_hub_cards_json(struct fg_hub *, json_t *reasons);

/* load.c */
void fg_live_load_post(struct fg_live *);
void fg_live_unload_post(struct fg_live *);

/* keeper.c */
void fg_lookers_done(struct fg_hub *); /* hub is closing: nobody waits any more */
int32_t fg_keeper_start(struct fg_hub *, struct fg_error *);
void fg_keeper_stop(struct fg_hub *);
/* inspect.c: the next file that was not inspected yet; keeper's thread */
void fg_inspect_next(struct fg_hub *);
void fg_inspect_collect(struct fg_hub *);
/* Until when it is worth waiting for files that were not looked into yet; 0: there is none. */
uint64_t fg_inspect_wait_until(const struct fg_hub *, uint64_t now_ns);
struct fg_facts *fg_inspect_known(const struct fg_hub *, const struct fg_store_model *);

/* settings.c */
int32_t fg_settings_copy(const struct fg_conf *, struct fg_settings *, struct fg_error *);
void fg_settings_done(struct fg_settings *);

/* job.c: ends a running or waiting job with an error, its plugin job goes on detached */
void fg_job_end_early(struct fg_hub_job *, int32_t reason, int32_t status, const char *text);

#endif
