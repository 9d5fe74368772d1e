/*
 * A toy model for scheduler tests: a network whose next token is a hash of the whole history as
 * read back through the page tables, a vocabulary of bytes and a few specials, a template that
 * writes "<s>role:text\n". And a stream that keeps what was emitted.
 */
#ifndef FG_TEST_TOY_H
#define FG_TEST_TOY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/sched/sched.h"

enum {
    TOY_BOS = 256,
    TOY_EOS = 257,
    TOY_EURO_HEAD = 258,
    TOY_EURO_TAIL = 259,
    TOY_WORD = 260,
    TOY_VOCAB = 300,
    TOY_LAYERS = 8,
    TOY_WIDTH = 4,
};

struct toy {                    /* knobs and counters of the network */
    _Atomic uint32_t layer_us;  /* time a layer takes */
    _Atomic uint32_t row_us;    /* time a row takes, in every layer together */
    _Atomic int32_t fail_next;  /* status of the next step; 0: works */
    _Atomic uint32_t encode_ms; /* a text above 64 KiB takes to tokenise */
    _Atomic bool not_finite;    /* logits of the next step are NaN */
    _Atomic bool eos;           /* histories end by themselves now and then */
    _Atomic uint64_t rows, steps, most_rows, most_sequences;
};
extern struct toy toy;

struct toy_bench { /* a scheduler over it */
    struct fg_sched *sched;
    struct fg_host host;
    struct fg_turn turn;
    struct fg_net *net;
};
struct toy_size {
    uint32_t context, slots, pages, chunk;
    bool no_template;
};
struct fg_net *toy_net_open(void);
void toy_reset(void); /* knobs and counters; toy_open() does it too */
int32_t toy_emit(struct fg_stream *, const struct fg_event *); /* the stream is a toy_stream */
void toy_open(struct toy_bench *, struct toy_size);
/* Checks that no page is held by anybody, then closes. */
void toy_close(struct toy_bench *);

struct toy_stream {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct fg_buf text[8]; /* by choice */
    struct fg_ids ids[8];
    struct fg_ids prompt; /* told with STARTED */
    struct fg_buf bytes; /* of logprob entries, in order */
    struct fg_ids top;   /* best alternative of each */
    int32_t finish[8], finishes;
    struct fg_buf finish_stop;
    float values[16][TOY_WIDTH];
    uint32_t embeddings, events, started, progress, after_pause;
    bool over, failed, late; /* late: an event after the last */
    int32_t code;
    char reason[256];
    struct fg_usage start_usage, usage;
    /* what emit answers: every pause_every-th event PAUSE (0: never), STOP from stop_at on */
    uint32_t pause_every, stop_at;
    bool paused;
    uint64_t over_ns;
};
void toy_stream_init(struct toy_stream *);
void toy_stream_done(struct toy_stream *);
void toy_wait(struct toy_stream *);                  /* for the last event */
void toy_wait_events(struct toy_stream *, uint32_t); /* for so many events, or the last */
bool toy_is_over(struct toy_stream *);
uint32_t toy_events(struct toy_stream *);
void toy_unpause(struct toy_stream *, struct fg_job *); /* resumes if it is paused */

struct fg_job *toy_submit(struct toy_bench *, struct toy_stream *, const struct fg_request *);
/* submit, wait, release. */
void toy_run(struct toy_bench *, struct toy_stream *, const struct fg_request *);

/* The greedy continuation of a text (BOS in front when bos), computed without the scheduler. */
void toy_expect(struct fg_buf *out, struct fg_str prompt, bool bos, uint32_t tokens);

/* A COMPLETE request, greedy. */
struct toy_ask {
    struct fg_request req;
    struct fg_sampling sampling;
    struct fg_str input;
};
void toy_ask(struct toy_ask *, struct fg_str prompt, uint32_t max_tokens);

#endif
