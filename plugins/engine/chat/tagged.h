/*
 * chat/tagged.h - text that knows where each byte came from: the template or a message.
 *
 * What a user wrote must never become a special token, whatever a template does with it, so the
 * origin travels through slicing, trimming, joining and changing case. Most texts have one origin
 * and carry one tag; a mixed one has a tag for every byte. Immutable, valid UTF-8, in the run's
 * arena.
 */
#ifndef FG_CHAT_TAGGED_H
#define FG_CHAT_TAGGED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/str.h"

struct fg_run;

enum fg_tag {
    FG_TAG_TEMPLATE = 0,
    FG_TAG_DATA = 1,
    FG_TAG_OPEN = 2, /* data of the message that the model is to go on with */
};
struct fg_tagged {
    const char *ptr;
    size_t len;
    const uint8_t *tags; /* one a byte; NULL: all of them are `tag` */
    uint8_t tag;
};

static inline struct fg_tagged fg_tagged_of(struct fg_str s, enum fg_tag tag)
{
    return (struct fg_tagged){s.ptr ? s.ptr : "", s.len, NULL, (uint8_t)tag};
}
static inline struct fg_str fg_tagged_str(struct fg_tagged t)
{
    return (struct fg_str){t.ptr, t.len};
}
#define FG_TAGGED(literal) fg_tagged_of(FG_STR(literal), FG_TAG_TEMPLATE)

/* Offsets are bytes, at the border of a character. */
struct fg_tagged fg_tagged_part(struct fg_tagged, size_t at, size_t len);
static inline struct fg_tagged fg_tagged_from(struct fg_tagged t, size_t at)
{
    return fg_tagged_part(t, at, t.len - at);
}
static inline uint8_t fg_tagged_at(const struct fg_tagged *t, size_t at)
{
    return t->tags ? t->tags[at] : t->tag;
}
size_t fg_tagged_chars(struct fg_tagged);                /* Python's len() */
size_t fg_tagged_offset(struct fg_tagged, size_t index); /* of a character; len when past the end */
size_t fg_tagged_find(struct fg_tagged, struct fg_str needle, size_t from); /* SIZE_MAX: nowhere */
int fg_tagged_compare(struct fg_tagged, struct fg_tagged); /* by code point; origins do not count */
enum { FG_STRIP_LEFT = 1, FG_STRIP_RIGHT = 2, FG_STRIP_BOTH = 3 };
/* chars NULL: white space as Python sees it. */
struct fg_tagged fg_tagged_strip(struct fg_tagged, const struct fg_tagged *chars, int sides);

/* A text being put together. Fails the run when it grows past FG_RUN_TEXT. */
struct fg_weave {
    struct fg_run *run;
    char *ptr;
    uint8_t *tags; /* NULL while everything has the same tag */
    size_t len, capacity;
    uint8_t tag;
};
void fg_weave_open(struct fg_weave *, struct fg_run *);
void fg_weave_add(struct fg_weave *, struct fg_tagged);
void fg_weave_put(struct fg_weave *, struct fg_str, uint8_t tag);
void fg_weave_repeat(struct fg_weave *, struct fg_tagged, int64_t times);
void fg_weave_char(struct fg_weave *, uint32_t codepoint, uint8_t tag);
struct fg_tagged fg_weave_text(const struct fg_weave *);

/* Characters as Python sees them. */
uint32_t fg_char_get(const char *at, const char *end, size_t *bytes);
bool fg_char_is_space(uint32_t);
bool fg_char_is_alpha(uint32_t);
bool fg_char_is_digit(uint32_t);
bool fg_char_is_upper(uint32_t);
bool fg_char_is_lower(uint32_t);
uint32_t fg_char_upper(uint32_t);
uint32_t fg_char_lower(uint32_t);
uint32_t fg_char_title(uint32_t);

#endif
