/*
 * chat/value.h - the values of a template: Python's, as far as templates see them.
 *
 * Values are small and copied; what they point to lives in the run's arena. Lists and dicts are
 * shared like Python's.
 */
#ifndef FG_CHAT_VALUE_H
#define FG_CHAT_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/chat/tagged.h"

enum fg_kind {
    FG_KIND_ABSENT = 0, /* an argument that was not given; no template sees it */
    FG_KIND_UNDEFINED = 1,
    FG_KIND_NONE = 2,
    FG_KIND_BOOL = 3,
    FG_KIND_INT = 4,
    FG_KIND_FLOAT = 5,
    FG_KIND_TEXT = 6,
    FG_KIND_ITEMS = 7,
    FG_KIND_DICT = 8,
    FG_KIND_SPACE = 9,   /* namespace() */
    FG_KIND_NATIVE = 10, /* a function or a bound method of ours */
    FG_KIND_MACRO = 11,
    FG_KIND_LOOP = 12,
    FG_KIND_CYCLER = 13,
    FG_KIND_JOINER = 14,
};
enum fg_form { FG_FORM_LIST = 0, FG_FORM_TUPLE = 1, FG_FORM_VIEW = 2, FG_FORM_STREAM = 3 };

struct fg_value;
struct fg_items {
    struct fg_value *at;
    size_t count, capacity;
    uint8_t form; /* VIEW: dict.keys() and the like; STREAM: what map() gives, read once */
};
struct fg_dict {
    struct fg_value *keys, *values; /* in order of insertion */
    size_t count, capacity;
};
struct fg_value {
    uint8_t kind; /* enum fg_kind */
    union {
        bool yes;
        int64_t integer;
        double real;
        const struct fg_tagged *text; /* TEXT; UNDEFINED: its name, or NULL */
        struct fg_items *items;
        struct fg_dict *dict; /* DICT, SPACE */
        const struct fg_bound *bound;
        const struct fg_macro *macro;
        struct fg_loop *loop;
        struct fg_cycle *cycle; /* CYCLER, JOINER */
    };
};
struct fg_cycle {
    struct fg_items *items; /* JOINER: one, the separator */
    size_t next;
};

#define FG_NONE      ((struct fg_value){.kind = FG_KIND_NONE})
#define FG_UNDEFINED ((struct fg_value){.kind = FG_KIND_UNDEFINED})
static inline struct fg_value fg_value_bool(bool yes)
{
    return (struct fg_value){.kind = FG_KIND_BOOL, .yes = yes};
}
static inline struct fg_value fg_value_int(int64_t integer)
{
    return (struct fg_value){.kind = FG_KIND_INT, .integer = integer};
}
static inline struct fg_value fg_value_real(double real)
{
    return (struct fg_value){.kind = FG_KIND_FLOAT, .real = real};
}
struct fg_value fg_value_text(struct fg_run *, struct fg_tagged);
struct fg_value fg_value_chars(struct fg_run *, const char *constant); /* of the template's side */
struct fg_value fg_value_undefined(struct fg_run *, struct fg_tagged name);
struct fg_value fg_value_items(struct fg_run *, enum fg_form, size_t room); /* an empty list */
struct fg_value fg_value_dict(struct fg_run *);

static inline bool fg_value_is(const struct fg_value *v, enum fg_kind kind)
{
    return v->kind == kind;
}
static inline bool fg_value_given(const struct fg_value *v)
{
    return v->kind != FG_KIND_ABSENT;
}
bool fg_value_true(const struct fg_value *);
const char *fg_value_type(const struct fg_value *); /* Python's name of the type */
/* bool, int and float alike; false for anything else. */
bool fg_value_number(const struct fg_value *, double *out);
bool fg_value_integer(const struct fg_value *, int64_t *out); /* bool and int */

void fg_items_add(struct fg_run *, struct fg_items *, struct fg_value);
void fg_dict_set(struct fg_run *, struct fg_dict *, struct fg_value key, struct fg_value);
void fg_dict_name(struct fg_run *, struct fg_dict *, const char *key, struct fg_value);
const struct fg_value *fg_dict_get(struct fg_run *, const struct fg_dict *,
                                   const struct fg_value *key);
const struct fg_value *fg_dict_find(struct fg_run *, const struct fg_dict *, struct fg_str key);
bool fg_dict_drop(struct fg_run *, struct fg_dict *, const struct fg_value *key);

/* compare.c */
bool fg_value_equal(struct fg_run *, const struct fg_value *, const struct fg_value *);
/* <0, 0, >0; fails the run when the two have no order. */
int fg_value_order(struct fg_run *, const struct fg_value *, const struct fg_value *);
bool fg_value_contains(struct fg_run *, const struct fg_value *in, const struct fg_value *what);
/* What a for loop sees: a list's own items, a dict's keys, a text's characters. Borrowed; fails
 * the run on what cannot be iterated. A stream is empty afterwards. */
struct fg_items fg_value_each(struct fg_run *, const struct fg_value *);
bool fg_value_iterable(const struct fg_value *);

/* repr.c */
struct fg_tagged fg_value_str(struct fg_run *, const struct fg_value *); /* Python's str() */
void fg_value_write(struct fg_weave *, const struct fg_value *);         /* the same, appended */
void fg_value_repr(struct fg_weave *, const struct fg_value *);
size_t fg_real_print(char out[40], double); /* Python's repr() of a float */

/* json.c */
struct fg_json_style {
    struct fg_str indent; /* ptr NULL: all on one line */
    struct fg_str comma, colon;
    bool ascii, sort_keys;
};
void fg_value_json(struct fg_weave *, const struct fg_value *, const struct fg_json_style *);
/* A JSON text as values; all its strings carry tag. false: it is none. */
bool fg_value_parse_json(struct fg_run *, struct fg_str json, enum fg_tag, struct fg_value *out);

#endif
