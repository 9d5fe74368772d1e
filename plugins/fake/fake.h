/*
 * fake/fake.h - what the files of the scripted backend share.
 *
 *   config.c   the options -> scripts, one a model
 *   words.c    a toy vocabulary: the words of the model's text, and the 256 bytes
 *   answer.c   what a request will be answered: prepared whole at submit()
 *   say.c      the next events of a job
 *   drive.c    when: one thread and a heap of due times for all jobs; credit, cancel, release
 *   plugin.c   the table
 *
 * Threads  a job's "say" fields belong to whoever speaks for it (the worker within submit(), later
 *          the driver); [lock] is the driver's lock, one an instance.
 */
#ifndef FG_FAKE_FAKE_H
#define FG_FAKE_FAKE_H

#include <pthread.h>
#include <stdbool.h>

#include <jansson.h>

#include <fluxgate/plugin.h>

#include "util/str.h"

#define FG_FAKE_NEVER INT64_MAX

/* ---- config.c -------------------------------------------------------------------------------- */

enum fg_fake_garbage { /* ways to break the contract on purpose */
    FG_FAKE_CLEAN = 0,
    FG_FAKE_BAD_UTF8 = 1,  /* text that is no UTF-8 */
    FG_FAKE_BAD_KIND = 2,  /* an event of a kind that does not exist */
    FG_FAKE_TWO_ENDS = 3,  /* a second last event */
    FG_FAKE_TALKS_ON = 4,  /* text after the last event */
    FG_FAKE_IGNORES_PAUSE = 5,
};

struct fg_fake_script { /* of one model; read-only once open() is through */
    char *name, *text, *load_error, *fail_text;
    int64_t tokens;            /* of an answer; 0: the text once */
    int64_t chunk;             /* tokens an event */
    int64_t first_ms, load_ms;
    double tokens_per_s;       /* 0: as fast as possible */
    double busy_share;
    int64_t max_running, context, embedding;
    int64_t crash_after, hang_after, fail_after, garbage_after; /* tokens; NEVER */
    int64_t fail_status, refuse; /* enum fg_status */
    int64_t garbage;           /* enum fg_fake_garbage */
    int64_t can;               /* FG_CAN_* */
    bool echo, thread, deaf, load_crash, stamps;
};
struct fg_fake_config {
    struct fg_fake_script defaults, *models;
    uint32_t count;
    bool files; /* a model that is a file is answered for by the defaults */
};
int32_t fg_fake_config_parse(struct fg_str json, struct fg_fake_config *, struct fg_error *);
void fg_fake_config_done(struct fg_fake_config *);

/* ---- words.c --------------------------------------------------------------------------------- */

struct fg_fake_vocab; /* ids 0..255 are bytes, then the distinct words of a text */
struct fg_fake_ids {
    int32_t *ids;
    uint32_t count, capacity;
    bool failed; /* memory was gone */
};
struct fg_fake_vocab *fg_fake_vocab_open(struct fg_str text); /* NULL: no memory */
void fg_fake_vocab_close(struct fg_fake_vocab *);
uint32_t fg_fake_vocab_size(const struct fg_fake_vocab *);
struct fg_str fg_fake_vocab_piece(const struct fg_fake_vocab *, int32_t id); /* id is in range */
void fg_fake_ids_add(struct fg_fake_ids *, int32_t id);
void fg_fake_tokenize(const struct fg_fake_vocab *, struct fg_str text, struct fg_fake_ids *);
/* As fg_fake_tokenize counts; a quarter of the bytes for texts that are too long to be looked at
 * on a worker. */
uint32_t fg_fake_count(const struct fg_fake_vocab *, struct fg_str text);

/* ---- jobs ------------------------------------------------------------------------------------ */

enum { FG_FAKE_UNQUEUED = -1 };
struct fg_job {
    struct fg_model *model;
    struct fg_stream *stream;
    const struct fg_request *request;
    uint64_t submit_ns, first_ns;

    /* say: what is to be said, and how far it is */
    const int32_t *ids;       /* repeated as long as length asks */
    uint32_t id_count;
    uint32_t length;          /* tokens of a choice, inputs of an EMBED */
    uint32_t at, choice, choices, resumed;
    size_t bytes, byte_limit; /* said of this choice; cut here by a stop string */
    struct fg_str stop;
    int32_t end_code;
    bool started, is_too_long, stamps;
    double pace_ns;           /* from token to token; 0: as fast as possible */
    struct fg_fake_ids own;   /* ids, when they are this job's alone */
    struct fg_fake_ids prompt; /* with PROMPT_IDS */
    struct fg_buf text;       /* RENDER, DETOKENIZE: all of it; else the event being built */
    struct fg_logprob *logprobs;
    float *values;
    struct fg_usage usage;

    uint64_t due_ns;          /* [lock] */
    int32_t heap_at;          /* [lock] */
    bool is_paused;           /* [lock] nothing more until resume() */
    bool is_speaking;         /* [lock] the driver is in fg_fake_say() */
    bool is_hung, released;   /* [lock] */
    uint32_t cancelled, resumes; /* atomic */
};

struct fg_model {
    struct fg_backend *backend;
    struct fg_model *next;    /* [lock] */
    const struct fg_fake_script *script;
    char *name, *label;
    struct fg_fake_vocab *vocab;
    struct fg_fake_ids answer; /* the text's tokens */
    uint32_t max_running, context;
    uint32_t running;         /* atomic */
    uint64_t submitted, tokens; /* atomic */
};

struct fg_fake_driver {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool runs, closing;       /* [lock] */
    struct fg_job **heap;     /* [lock] the earliest first */
    uint32_t count, capacity; /* [lock] capacity: of all loaded models' jobs */
    uint64_t sleeps_until;    /* [lock] 0: awake */
};

struct fg_backend {
    const struct fg_host *host;
    struct fg_fake_config config;
    struct fg_fake_driver driver;
    struct fg_model *models;  /* [driver.lock] */
};

/* answer.c: fills the say fields. On failure the caller frees the job. */
int32_t fg_fake_answer(struct fg_job *, struct fg_error *);
/* Deterministic; texts that share words point the same way. */
void fg_fake_embed(struct fg_str text, float *values, uint32_t count);

/* say.c */
enum fg_fake_next {
    FG_FAKE_LATER = 0,  /* again at due_ns */
    FG_FAKE_PAUSED = 1, /* unless resumes moved on from `mark` */
    FG_FAKE_HUNG = 2,
    FG_FAKE_OVER = 3,   /* the last event is out: the job may be released already */
};
struct fg_fake_turn {
    int32_t next;
    uint64_t due_ns;
    uint32_t mark; /* of job->resumes, before the emit() that answered PAUSE */
};
struct fg_fake_turn fg_fake_say(struct fg_job *);

/* drive.c */
int32_t fg_fake_driver_start(struct fg_fake_driver *, struct fg_error *);
void fg_fake_driver_stop(struct fg_fake_driver *);
int32_t fg_fake_driver_reserve(struct fg_fake_driver *, uint32_t jobs); /* room for so many more */
void fg_fake_driver_forget(struct fg_fake_driver *, uint32_t jobs);
int32_t fg_fake_submit(struct fg_model *, const struct fg_request *, struct fg_stream *,
                       struct fg_job **, struct fg_error *);
void fg_fake_resume(struct fg_job *);
void fg_fake_cancel(struct fg_job *);
void fg_fake_release(struct fg_job *);

#endif
