/*
 * chat/native.h - filters, tests, functions and methods: everything a template can call by name.
 *
 * This is the whitelist: what is in none of the tables does not exist.
 */
#ifndef FG_CHAT_NATIVE_H
#define FG_CHAT_NATIVE_H

#include "engine/chat/run.h"

enum { FG_NATIVE_ARGS = 6 };

struct fg_named {
    struct fg_str name;
    struct fg_value value;
};
struct fg_given { /* a call's arguments as written */
    const struct fg_value *at;
    uint32_t count;
    const struct fg_named *named;
    uint32_t named_count;
};
/* self: what a filter, test or method works on. arg: one for each parameter, ABSENT when not
 * given. */
typedef struct fg_value fg_native_fn(struct fg_run *, const struct fg_value *self,
                                     const struct fg_value *arg, const struct fg_given *);
struct fg_native {
    const char *name;
    fg_native_fn *fn;
    const char *params; /* names with blanks between; "*": any, see fg_given */
};
struct fg_bound {
    struct fg_value self;
    const struct fg_native *native;
};

const struct fg_native *fg_native_find(const struct fg_native *table, size_t count, struct fg_str);
struct fg_value fg_native_call(struct fg_run *, const struct fg_native *,
                               const struct fg_value *self, const struct fg_given *);

const struct fg_native *fg_filter_find(struct fg_str name);
const struct fg_native *fg_filter_of_lists(struct fg_str name); /* filter_list.c's share */
const struct fg_native *fg_filter_of_json(struct fg_str name);
const struct fg_native *fg_test_find(struct fg_str name);
const struct fg_native *fg_function_find(struct fg_str name);
const struct fg_native *fg_method_find(const struct fg_value *self, struct fg_str name);
const struct fg_native *fg_method_of_text(struct fg_str name);

/* Arguments with a default. They fail the run on a value of another kind. */
int64_t fg_arg_integer(struct fg_run *, const struct fg_value *, int64_t absent);
bool fg_arg_bool(const struct fg_value *, bool absent);
struct fg_tagged fg_arg_text(struct fg_run *, const struct fg_value *, struct fg_tagged absent);

/* eval.c and exec.c */
struct fg_value fg_eval(struct fg_run *, const struct fg_node *);
/* A call with caller= as a further argument. */
struct fg_value fg_eval_call(struct fg_run *, const struct fg_node *,
                             const struct fg_value *caller);
void fg_exec(struct fg_run *, const struct fg_node *); /* a whole template */
struct fg_value fg_macro_call(struct fg_run *, const struct fg_macro *, const struct fg_given *);
struct fg_value fg_value_attribute(struct fg_run *, const struct fg_value *, struct fg_tagged name);
struct fg_value fg_value_item(struct fg_run *, const struct fg_value *, const struct fg_value *key);
/* "a.b.0": a path into a value, as map(attribute=) and its kin take it. */
struct fg_value fg_value_path(struct fg_run *, const struct fg_value *,
                              const struct fg_value *path);
struct fg_value fg_value_call(struct fg_run *, const struct fg_value *callee,
                              const struct fg_given *);
/* format.c: "%s" % value and "{}".format(value) */
struct fg_value fg_value_percent(struct fg_run *, struct fg_tagged format, const struct fg_value *);
struct fg_value fg_value_fill(struct fg_run *, struct fg_tagged format, const struct fg_given *);
/* math.c */
struct fg_value fg_value_math(struct fg_run *, int sign, const struct fg_value *,
                              const struct fg_value *);
struct fg_value fg_value_slice(struct fg_run *, const struct fg_value *,
                               const struct fg_value *from, const struct fg_value *to,
                               const struct fg_value *step);
struct fg_value fg_items_slice(struct fg_run *, const struct fg_items *, size_t from, size_t count);

#endif
