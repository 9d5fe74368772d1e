/*
 * chat/parser.h - what parse.c (statements) and expression.c share while a program is built.
 */
#ifndef FG_CHAT_PARSER_H
#define FG_CHAT_PARSER_H

#include "engine/chat/lex.h"
#include "engine/chat/parse.h"

struct fg_parser {
    struct fg_arena *arena;
    const struct fg_token *token; /* the current one; an END stands at the end */
    struct fg_str *names;
    uint32_t name_count, *table; /* table: index + 1 by hash; 0 is free */
    uint32_t depth, loops;
    int32_t status;
    struct fg_error *err;
};
struct fg_nodes { /* a list being made */
    const struct fg_node **at;
    uint32_t count, capacity;
};

/* Sticky like a run: after a failure the current token is the END. Returns NULL. */
struct fg_node *fg_parser_fail(struct fg_parser *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
struct fg_node *fg_parser_no_memory(struct fg_parser *);
struct fg_node *fg_parser_node(struct fg_parser *, enum fg_node_kind);
void fg_parser_push(struct fg_parser *, struct fg_nodes *, const struct fg_node *);
void fg_parser_take(struct fg_node *, const struct fg_nodes *);
uint32_t fg_parser_name(struct fg_parser *, struct fg_str);
bool fg_parser_deeper(struct fg_parser *); /* false: nested too deep */
void fg_parser_next(struct fg_parser *);
bool fg_parser_is_sign(const struct fg_parser *, int sign);
bool fg_parser_is_word(const struct fg_parser *, const char *word);
bool fg_parser_skip_sign(struct fg_parser *, int sign);
bool fg_parser_skip_word(struct fg_parser *, const char *word);
bool fg_parser_expect_sign(struct fg_parser *, int sign);
struct fg_str fg_parser_expect_name(struct fg_parser *);

/* expression.c */
const struct fg_node *fg_parse_expression(struct fg_parser *);
/* One without `if`: where `if` means something else. */
const struct fg_node *fg_parse_plain(struct fg_parser *);
/* a, b, c without brackets is a tuple. */
const struct fg_node *fg_parse_tuple(struct fg_parser *, bool with_if);
const struct fg_node *fg_parse_target(struct fg_parser *, bool with_attribute);
/* name(args)|name ... working on `on`. */
const struct fg_node *fg_parse_filters(struct fg_parser *, const struct fg_node *on, bool begun);

#endif
