/*
 * upstream/reader.h - an answer on its way from a server's records to events. A dialect parses a
 * record and tells here what it found; this checks it against what was asked, numbers the tool
 * calls, keeps the usage and says the events. It says no last event: that is the job's (job.c).
 * One owner thread.
 */
#ifndef FG_UPSTREAM_READER_H
#define FG_UPSTREAM_READER_H

#include "util/arena.h"

enum { FG_READER_TOOLS = 128 /* calls of one answer */ };

struct fg_reader_choice {
    bool is_ended;
    int32_t code;                    /* enum fg_finish */
    uint32_t tools;                  /* calls begun */
    int64_t theirs[FG_READER_TOOLS]; /* their numbers, in our order */
};
struct fg_reader {
    int32_t (*say)(void *ctx, struct fg_event *); /* one event; always taken */
    void *ctx;
    struct fg_arena *arena; /* of one record, reset by the owner */
    int32_t op;
    uint32_t choices, inputs, max_tokens;
    bool wants_logprobs;

    struct fg_reader_choice *all; /* [choices], in the reader's own memory */
    uint8_t *seen;                /* [inputs] of EMBED */
    uint32_t ended, embedded, pieces;
    bool has_started, has_output, has_usage;
    bool is_over; /* the server said that this was all */
    struct fg_usage usage;
    struct fg_error error; /* what the dialect refuses, or the server's own error */
};

/* request: borrowed for the call. */
int32_t fg_reader_init(struct fg_reader *, const struct fg_request *, struct fg_error *);
void fg_reader_done(struct fg_reader *);

/* What dialects tell. false: it cannot be, error is filled. */
void fg_reader_started(struct fg_reader *); /* with the first record; later calls do nothing */
bool fg_reader_text(struct fg_reader *, uint32_t choice, struct fg_str text,
                    const struct fg_logprob *, uint32_t logprob_count);
bool fg_reader_thinking(struct fg_reader *, uint32_t choice, struct fg_str text);
/* theirs: which call, by any number that is the same for all of its pieces. name may be empty but
 * in the first piece; args may be empty. */
bool fg_reader_tool(struct fg_reader *, uint32_t choice, int64_t theirs, struct fg_str id,
                    struct fg_str name, struct fg_str args);
bool fg_reader_embedding(struct fg_reader *, uint32_t index, const float *values, uint32_t count);
bool fg_reader_finish(struct fg_reader *, uint32_t choice, int32_t code);
bool fg_reader_fail(struct fg_reader *, int32_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4))); /* always false */

bool fg_reader_is_whole(const struct fg_reader *); /* all that was asked for came */
/* The code of DONE, once it is whole. */
int32_t fg_reader_code(const struct fg_reader *);

#endif
