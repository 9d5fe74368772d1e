/*
 * chat/parse.h - a template's source as a program: the tree and the names in it.
 */
#ifndef FG_CHAT_PARSE_H
#define FG_CHAT_PARSE_H

#include <fluxgate/plugin.h>

#include "engine/chat/node.h"
#include "util/arena.h"

enum { FG_PARSE_NESTING = 128, FG_PARSE_SOURCE = 256 << 10, FG_PARSE_NAMES = 4096 };

struct fg_program {
    const struct fg_node *body;
    const struct fg_str *names; /* of variables, arguments and macros; nodes hold the index */
    uint32_t name_count;
};

/* Everything in the arena. FG_INVALID with line and cause. */
int32_t fg_parse_program(struct fg_str source, struct fg_arena *, struct fg_program *,
                         struct fg_error *);
/* FG_PARSE_NAMES when the program has no such name. */
uint32_t fg_program_name(const struct fg_program *, struct fg_str);

#endif
