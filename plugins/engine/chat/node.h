/*
 * chat/node.h - the tree of a template. Read-only once parsed; lives in the template's arena.
 */
#ifndef FG_CHAT_NODE_H
#define FG_CHAT_NODE_H

#include "engine/chat/value.h"

enum fg_node_kind {
    /* expressions */
    FG_NODE_CONST = 0, /* value */
    FG_NODE_NAME,      /* name */
    FG_NODE_ITEMS,     /* list; form */
    FG_NODE_DICT,      /* list: key, value, key, value ... */
    FG_NODE_ATTR,      /* a . text */
    FG_NODE_INDEX,     /* a [ b ] */
    FG_NODE_SLICE,     /* a [ list[0] : list[1] : list[2] ], each may be NULL */
    FG_NODE_CALL,      /* a ( list ) */
    FG_NODE_FILTER,    /* a | text ( list ); native, or NULL: not known */
    FG_NODE_TEST,      /* a is text ( list ) */
    FG_NODE_KEYWORD,   /* name = a, among the list of a call */
    FG_NODE_NOT,       /* a */
    FG_NODE_SIGNED,    /* op: + or -; a */
    FG_NODE_MATH,      /* a op b */
    FG_NODE_CONCAT,    /* list, joined as text */
    FG_NODE_COMPARE,   /* a, then list: each a FG_NODE_OPERAND */
    FG_NODE_OPERAND,   /* op (enum fg_compare); a */
    FG_NODE_AND,       /* a, b */
    FG_NODE_OR,
    FG_NODE_CHOICE, /* b if a else c; c may be NULL */
    FG_NODE_INPUT,  /* what a filter block or a filtered set works on */
    /* statements */
    FG_NODE_DATA,       /* value */
    FG_NODE_PRINT,      /* a */
    FG_NODE_BLOCK,      /* list */
    FG_NODE_IF,         /* list: condition, block, condition, block ...; c: else or NULL */
    FG_NODE_FOR,        /* a: target, b: over, c: condition or NULL; list: body[, else] */
    FG_NODE_SET,        /* a: target, b: value */
    FG_NODE_CAPTURE,    /* a: target or NULL (it is printed), b: filters or NULL, c: block */
    FG_NODE_MACRO,      /* name; list: parameters (NAME), defaults behind them; c: body */
    FG_NODE_CALL_BLOCK, /* a: the call, b: MACRO that becomes caller() */
    FG_NODE_WITH,       /* list: target, value, target, value ...; c: body */
    FG_NODE_BREAK,
    FG_NODE_CONTINUE,
};
enum fg_compare {
    FG_COMPARE_EQUAL = 0,
    FG_COMPARE_UNEQUAL,
    FG_COMPARE_LESS,
    FG_COMPARE_LESS_EQUAL,
    FG_COMPARE_MORE,
    FG_COMPARE_MORE_EQUAL,
    FG_COMPARE_IN,
    FG_COMPARE_NOT_IN,
};

struct fg_node {
    uint8_t kind, op; /* op: a sign of lex.h, enum fg_compare or enum fg_form */
    uint32_t line;
    uint32_t name;     /* in the program's names */
    uint32_t count;    /* of list */
    uint32_t required; /* MACRO: parameters; count - required of them have defaults */
    const struct fg_node *a, *b, *c;
    const struct fg_node **list;
    union {
        struct fg_value value;
        struct fg_str text;
    };
    const struct fg_native *native;
};

#endif
