/*
 * engine/token/special.h - finds tokens that are recognised in a text before anything is merged:
 * control tokens where the text may hold them, user-defined ones everywhere.
 * Read-only once built.
 */
#ifndef FG_ENGINE_TOKEN_SPECIAL_H
#define FG_ENGINE_TOKEN_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

struct fg_trie_edge {
    uint32_t from, to; /* to 0: a free slot (the root is nobody's child) */
    uint8_t byte;
};
struct fg_trie_node {
    int32_t any;     /* the token that ends here and is found everywhere; -1: none */
    int32_t control; /* likewise, found where specials are allowed */
};
struct fg_specials { /* zero-initialise */
    struct fg_trie_edge *edges;
    uint32_t edge_mask, edge_count;
    struct fg_trie_node *nodes;
    uint32_t node_count, node_room;
    uint32_t root[256]; /* children of the root; 0: none */
    uint64_t seed;
    bool all_control; /* no token is found everywhere */
};
struct fg_found {
    uint32_t at, len;
    int32_t id;
};
struct fg_span {
    uint32_t from, to;
};

/* Texts over 1024 bytes are left out; false when memory is gone or it would hold over 4 MiB. */
bool fg_specials_add(struct fg_specials *, struct fg_str text, int32_t id, bool everywhere);
void fg_specials_done(struct fg_specials *);

/* Longest tokens first, then from the left, none over another; *found (malloc'd, the caller's) in
 * order of place. allowed: ascending spans, apart from each other, that may hold control tokens.
 * false: no memory. */
bool fg_specials_find(const struct fg_specials *, struct fg_str text, const struct fg_span *allowed,
                      size_t allowed_count, struct fg_found **found, size_t *count);

#endif
