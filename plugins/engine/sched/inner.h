/*
 * engine/sched/inner.h - what the files of sched/ share: the job, its sequences, the scheduler.
 *
 * A job's road: submit (worker) -> lane (prep thread: text to tokens) -> inbox -> engine thread,
 * which owns it until its last event. Two hold a job: the gateway until release(), and the engine
 * until the last event is out; whoever is later frees it.
 */
#ifndef FG_ENGINE_SCHED_INNER_H
#define FG_ENGINE_SCHED_INNER_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/sample/sampler.h"
#include "engine/sched/kv.h"
#include "engine/sched/sched.h"
#include "engine/sched/text.h"
#include "util/list.h"

enum {
    FG_SEQ_IDLE = 0,     /* a further choice: starts when the first one's prompt is computed */
    FG_SEQ_WAITING = 1,  /* for pages */
    FG_SEQ_ACTIVE = 2,   /* has pages; in the batch unless its job is paused */
    FG_SEQ_FINISHED = 3, /* has its last token, gave its pages back */
    FG_SEQ_REPORTED = 4, /* its FINISH (or embedding) is out */
};

struct fg_seq {          /* one answer, or one text to embed */
    struct fg_list node; /* in sched->waiting or ->active, oldest job first */
    struct fg_job *job;
    uint32_t index; /* choice, or embedding input */
    int32_t state, finish;
    struct fg_ids ids; /* prompt and output; what stands in KV is a prefix of it */
    uint32_t done;     /* tokens whose KV is computed */
    uint32_t prompt, outputs;
    uint32_t rows; /* in the step that runs */
    struct fg_chain chain;
    struct fg_sampler *sampler;
    struct fg_text text;
    float *values; /* embedding: sum, then the result */
};

enum { FG_AT_LANE = 0, FG_AT_PREP = 1, FG_AT_ENGINE = 2 };

struct fg_job {
    struct fg_list node; /* lane, inbox or sched->jobs */
    struct fg_sched *sched;
    const struct fg_request *req;
    struct fg_stream *stream;
    _Atomic uint32_t refs;
    _Atomic bool cancelled;
    _Atomic uint32_t resumes; /* counted, so that one that overtakes our PAUSE is not lost */
    int32_t where;            /* under sched->lock */
    uint32_t lane;
    uint64_t number; /* age */
    bool light;      /* needs no KV: tokens and templates */

    /* made by prep */
    int32_t prep; /* status; prep_error says more */
    struct fg_error prep_error;
    struct fg_seq *seqs;
    uint32_t seq_count;
    struct fg_ids tokens; /* TOKENIZE */
    struct fg_buf output; /* RENDER, DETOKENIZE */

    /* the engine thread's */
    uint32_t prompt_tokens, cached_tokens;
    size_t delivered;    /* of tokens or output */
    uint32_t unreported; /* sequences without their last word */
    bool paused, started, failed, is_over;
    uint32_t pause_mark;
    struct fg_error error; /* when failed */
    uint64_t submit_ns, admit_ns, first_ns, end_ns;
};

enum { FG_LANES = 2, FG_MOST_ACTIVE = 64 };

struct fg_sched {
    struct fg_sched_parts p;
    struct fg_pages *pages;
    uint32_t vocab_size, width, max_rows;
    uint32_t tokens; /* that may be drawn: a network's rows may be padded beyond the vocabulary */
    int32_t *ends;   /* tokens that end an answer, for FG_REQ_IGNORE_EOS */
    size_t end_count;
    _Atomic uint32_t running, light_running;
    _Atomic uint64_t numbers;

    pthread_mutex_t lock; /* short: lists below and the two flags */
    pthread_cond_t engine_wake, lane_wake[FG_LANES];
    struct fg_list inbox, lanes[FG_LANES];
    bool kicked, closing;
    pthread_t engine, prep[FG_LANES];
    uint32_t threads; /* started: prep threads first, then the engine */

    /* the engine thread's */
    struct fg_list jobs, waiting, active;
    uint32_t active_count, waiting_count;
    struct fg_seq *batch[FG_MOST_ACTIVE];
    uint32_t batch_count, row_count, want_count, decode_count;
    int32_t *row_token;
    uint32_t *row_position, *row_sequence;
    uint8_t *row_want;
    const uint32_t *tables[FG_MOST_ACTIVE];
    float *logits, *hidden; /* grown when first needed */
    size_t logits_rows;
    bool hidden_wanted;
    bool look;        /* a stream said STOP outside of a flush */
    double ns_a_row;  /* of prefill, moving */
    uint64_t lost_ns; /* work thrown away by cancels lately */

    struct fg_sched_stats stats;
    pthread_mutex_t stats_lock;
    struct fg_sched_stats stats_out; /* under stats_lock: a copy for who asks */
};

/* prep.c */
void *fg_prep_main(void *lane_arg); /* struct fg_prep_arg, freed by it */
struct fg_prep_arg {
    struct fg_sched *sched;
    uint32_t lane;
};
/* Which lane a request's text belongs to. */
uint32_t fg_prep_lane(const struct fg_request *);
/* Fills the job; status is in job->prep. */
void fg_prep_job(struct fg_job *);

/* engine.c */
void *fg_engine_main(void *sched);
void fg_seq_wait(struct fg_sched *, struct fg_seq *);    /* into the waiting list, by age */
void fg_seq_preempt(struct fg_sched *, struct fg_seq *); /* active -> waiting; pages stay cached */
/* The context is full: the later half becomes the prompt of a fresh start; waiting afterwards. */
void fg_seq_slide(struct fg_sched *, struct fg_seq *);
void fg_seq_finish(struct fg_sched *, struct fg_seq *, int32_t finish);
bool fg_engine_admit(struct fg_sched *); /* true: something changed */

/* batch.c */
bool fg_batch_build(struct fg_sched *); /* false: nothing to run */
bool fg_batch_run(struct fg_sched *);   /* false: a cancel stopped it half-way */

/* emit.c */
void fg_job_start_event(struct fg_job *);
void fg_job_progress_event(struct fg_job *, float fraction);
/* Sends what may be sent, and the end; the job may be gone after it (true). */
bool fg_job_flush(struct fg_job *);
void fg_job_fail(struct fg_job *, const struct fg_error *); /* the next flush tells */
/* Ends it with DONE/CANCELLED, paused or not. The job is gone. */
void fg_job_end_cancelled(struct fg_job *);
bool fg_job_light_flush(struct fg_job *, uint32_t share, bool *more); /* true: gone */

/* sched.c */
void fg_job_drop(struct fg_job *); /* one holder less */

#endif
