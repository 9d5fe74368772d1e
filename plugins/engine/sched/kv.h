/*
 * engine/sched/kv.h - which page of KV memory holds what: page tables of sequences, and a tree of
 * the prefixes that are already computed.
 *
 * Pure bookkeeping, no device. A page holds page_tokens positions. Whole pages of computed tokens
 * are published in a tree (one root a cache scope, a node a page), where the next prompt with the
 * same beginning finds them; a page that is only partly equal is copied up to the difference. A
 * page is free, owned by one chain, or a node of the tree; nodes that no chain uses are kept until
 * their page is needed (least recently used first, leaves before their parents). One owner thread.
 */
#ifndef FG_ENGINE_KV_H
#define FG_ENGINE_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

struct fg_pages;
struct fg_kv_node;

/* max_cached: pages kept for nobody in particular; UINT32_MAX: as many as there are. */
int32_t fg_pages_open(uint32_t page_tokens, uint32_t pages, uint32_t max_cached, struct fg_pages **,
                      struct fg_error *);
void fg_pages_close(struct fg_pages *); /* chains must have ended */

struct fg_pages_count {
    uint32_t total, free, cached; /* cached: in the tree and used by no chain */
    uint32_t touched;             /* ever handed out: what KV memory is really there */
};
struct fg_pages_count fg_pages_count(const struct fg_pages *);

struct fg_chain { /* a sequence's pages; zero-initialise; fields are the module's but `page` */
    struct fg_pages *pages; /* NULL: not started */
    uint32_t *page;         /* page table: page[i] holds positions i * page_tokens ... */
    uint32_t count, capacity;
    struct fg_kv_node *at; /* deepest published node; page[0 .. published) are the tree's */
    uint32_t published;
    bool alone; /* nothing of it outlives its last chain */
};
struct fg_kv_copy { /* to do on the device before anything else, when tokens > 0 */
    uint32_t from, to, tokens;
};

/*
 * Starts a chain for these ids: takes what is cached of their beginning and sets *reused to the
 * tokens that need no computing (at most count - 1, as the last one's logits are wanted). alone:
 * in a scope that dies with its last chain, so nothing is shared with another request.
 * FG_NO_MEMORY: nothing was taken.
 */
int32_t fg_chain_start(struct fg_chain *, struct fg_pages *, struct fg_str scope, bool alone,
                       const int32_t *ids, uint32_t count, struct fg_kv_copy *copy,
                       uint32_t *reused);
/* Takes over what `from`, a chain with the same first ids in the same scope, has computed of the
 * page behind the whole ones, up to `tokens` in all. true: do *copy; tokens are there now. */
bool fg_chain_follow(struct fg_chain *, const struct fg_chain *from, uint32_t tokens,
                     struct fg_kv_copy *copy);
/* Pages for positions 0 .. tokens-1. false: there are none, what it had stays. */
bool fg_chain_reserve(struct fg_chain *, uint32_t tokens);
/* How many pages fg_chain_reserve() would have to find. */
uint32_t fg_chain_missing(const struct fg_chain *, uint32_t tokens);
/* The first `computed` of ids are in the pages now: publishes whole ones. */
void fg_chain_publish(struct fg_chain *, const int32_t *ids, uint32_t computed);
/* Ends the chain; what is computed stays cached, also the part of a page. Harmless when it was
 * not started. */
void fg_chain_end(struct fg_chain *, const int32_t *ids, uint32_t computed);

#endif
