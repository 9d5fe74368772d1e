/*
 * chat/lex.h - a template's source as tokens, white space already taken away where Jinja does.
 *
 * As transformers sets Jinja up: trim_blocks and lstrip_blocks on, one line end at the end of the
 * source dropped, \r\n and \r read as \n.
 */
#ifndef FG_CHAT_LEX_H
#define FG_CHAT_LEX_H

#include <fluxgate/plugin.h>

#include "engine/chat/tagged.h"
#include "util/arena.h"

enum fg_token_kind {
    FG_TOKEN_END = 0,
    FG_TOKEN_DATA,
    FG_TOKEN_PRINT_BEGIN, /* {{ */
    FG_TOKEN_PRINT_END,
    FG_TOKEN_BLOCK_BEGIN, /* {% */
    FG_TOKEN_BLOCK_END,
    FG_TOKEN_NAME,
    FG_TOKEN_TEXT, /* decoded */
    FG_TOKEN_INT,
    FG_TOKEN_FLOAT,
    FG_TOKEN_SIGN, /* sign: one of + - * / % . , : | ~ = < > ( ) [ ] { } and below */
};
enum { /* signs of two characters */
       FG_SIGN_POWER = 128,
       FG_SIGN_FLOOR,
       FG_SIGN_EQUAL,
       FG_SIGN_UNEQUAL,
       FG_SIGN_LESS_EQUAL,
       FG_SIGN_MORE_EQUAL,
};
struct fg_token {
    uint8_t kind, sign;
    uint32_t line;
    union {
        struct fg_str text; /* DATA, NAME, TEXT; of others: as written */
        int64_t integer;
        double real;
    };
};

/* tokens: count of them and an END. All in the arena, source included. FG_INVALID with the line. */
int32_t fg_lex(struct fg_str source, struct fg_arena *, struct fg_token **tokens, size_t *count,
               struct fg_error *);

#endif
