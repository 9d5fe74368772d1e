/*
 * conf/tree.h - a YAML text as a tree that remembers lines: what the checks walk, so that every
 * message can name file, line and path, which the loader's own messages do not. One thread.
 */
#ifndef FG_CONF_TREE_H
#define FG_CONF_TREE_H

#include "util/arena.h"
#include "util/str.h"

enum { FG_TREE_MAX_BYTES = 1 << 20, FG_TREE_MAX_NODES = 20000, FG_TREE_MAX_DEPTH = 16 };

enum fg_tree_kind { FG_TREE_SCALAR = 0, FG_TREE_LIST = 1, FG_TREE_MAP = 2 };
struct fg_tree {
    int32_t kind;       /* enum fg_tree_kind */
    bool plain;         /* a scalar without quotes: may be a number, a bool or null */
    uint32_t line;      /* from 1 */
    struct fg_str key;  /* in a map */
    struct fg_str text; /* of a scalar; terminated */
    struct fg_tree *parent, *first, *last, *next;
    uint32_t count; /* children */
};
struct fg_path { /* "backends[1].name" */
    char text[160];
    size_t len;
};

/* Everything is in the arena. An empty file gives an empty map. Refuses: syntax errors, two
 * documents, anchors, aliases, tags, keys that are no text or stand twice, too deep, too many. */
int32_t fg_tree_read(const char *file, struct fg_str yaml, struct fg_arena *, struct fg_tree **,
                     struct fg_error *);
bool fg_tree_is_null(const struct fg_tree *); /* plain "", "~", "null" */
/* A map's child; NULL when there is none, or it is null, or map is NULL or no map. */
const struct fg_tree *fg_tree_get(const struct fg_tree *map, const char *key);
/* The subtree as JSON: plain true, false, null and JSON numbers are such, all else is a string. */
void fg_tree_json(const struct fg_tree *, struct fg_buf *);

/* Appends; what does not fit is cut. The length before, to be given back to fg_path_cut(). */
size_t fg_path_key(struct fg_path *, struct fg_str key);
size_t fg_path_index(struct fg_path *, uint32_t index);
size_t fg_path_any(struct fg_path *); /* "[]" */
void fg_path_cut(struct fg_path *, size_t len);

#endif
