/*
 * upstream/records.h - the two ways in which servers send one answer in pieces: server-sent events
 * (data: {...}, an empty line) and NDJSON (one value a line). Both readers pull: they consume from
 * *in up to the end of one record, so that a reader may stop between two of them. A record that
 * lies whole in the input is handed out in place. One owner.
 */
#ifndef FG_UPSTREAM_RECORDS_H
#define FG_UPSTREAM_RECORDS_H

#include "util/str.h"

enum fg_record_step {
    FG_RECORD_MORE = 0,  /* *in is used up */
    FG_RECORD_READY = 1, /* valid until the next call and as long as the input */
    FG_RECORD_BAD = 2,   /* longer than the limit, or no memory: nothing more comes */
};

struct fg_lines {
    struct fg_buf part;    /* the beginning of a line */
    size_t limit;          /* bytes of a line */
    bool skips_lf;         /* a line ended with CR: an LF that follows belongs to it */
    bool is_bad, is_whole; /* whole: part was handed out, it is empty really */
};
void fg_lines_init(struct fg_lines *, size_t limit);
void fg_lines_done(struct fg_lines *);
/* A line ends with LF, CR or CRLF, which are not part of it. */
int32_t fg_lines_next(struct fg_lines *, struct fg_str *in, struct fg_str *line);

struct fg_sse {
    struct fg_lines lines;
    struct fg_buf data;
    char name[32];
    bool has_data, is_given; /* given: data was handed out, it is empty really */
    uint32_t count;          /* lines seen, comments too: a sign of life */
};
struct fg_sse_event {
    struct fg_str name; /* of "event:", else empty. llama-server's old "error:" is named so */
    struct fg_str data;
};
/* limit: bytes of one line, and of the data of one event. */
void fg_sse_init(struct fg_sse *, size_t limit);
void fg_sse_done(struct fg_sse *);
int32_t fg_sse_next(struct fg_sse *, struct fg_str *in, struct fg_sse_event *);
/* At the end of the body: an event whose empty line is missing. */
bool fg_sse_last(struct fg_sse *, struct fg_sse_event *);

/* NDJSON: the lines that are not blank. */
int32_t fg_ndjson_next(struct fg_lines *, struct fg_str *in, struct fg_str *json);
bool fg_ndjson_last(struct fg_lines *, struct fg_str *json); /* a last line without its end */

#endif
