/*
 * chat/shape.h - what filters and methods on texts have in common.
 */
#ifndef FG_CHAT_SHAPE_H
#define FG_CHAT_SHAPE_H

#include "engine/chat/run.h"

/* chars: ABSENT or None for white space. */
struct fg_value fg_shape_strip(struct fg_run *, struct fg_tagged, const struct fg_value *chars,
                               int sides);
enum fg_case {
    FG_CASE_UPPER = 0,
    FG_CASE_LOWER,
    FG_CASE_CAPITALIZE, /* the first character */
    FG_CASE_TITLE,      /* as str.title(): behind everything that is no letter */
    FG_CASE_WORDS,      /* as the title filter: behind blanks, hyphens and brackets */
    FG_CASE_SWAP,
};
struct fg_value fg_shape_case(struct fg_run *, struct fg_tagged, enum fg_case);
/* The last place, SIZE_MAX: nowhere. */
size_t fg_shape_rfind(struct fg_run *, struct fg_tagged, struct fg_str needle);
size_t fg_shape_count(struct fg_run *, struct fg_tagged, struct fg_str needle);
/* count < 0: all of them. */
struct fg_value fg_shape_replace(struct fg_run *, struct fg_tagged, struct fg_tagged old,
                                 struct fg_tagged with, int64_t count);
/* by NULL: at runs of white space. most < 0: no limit. */
struct fg_value fg_shape_split(struct fg_run *, struct fg_tagged, const struct fg_tagged *by,
                               int64_t most);
struct fg_value fg_shape_split_right(struct fg_run *, struct fg_tagged, const struct fg_tagged *by,
                                     int64_t most);
/* The line at `at` without its end; *next: where the one after begins, len + 1 behind the last. */
struct fg_tagged fg_shape_line(struct fg_tagged, size_t at, size_t *next);
struct fg_value fg_shape_join(struct fg_run *, struct fg_tagged between, const struct fg_items *);
/* side: where the text stands, '<' '>' or '^'. */
struct fg_value fg_shape_pad(struct fg_run *, struct fg_tagged, int64_t width, uint32_t fill,
                             char side);
struct fg_value fg_shape_round(double, int precision);

#endif
