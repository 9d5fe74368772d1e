/*
 * engine/token/special.c - a byte trie over the special tokens, and the choice among overlapping
 * finds.
 *
 * The order is the one of llama.cpp: the longest token takes all its places first, then the next
 * longest. Each place tries its longest token, and falls back to shorter ones when a longer token
 * took a part. A heap keeps that in order, so a megabyte of newlines over a vocabulary with 30
 * tokens of newlines stays cheap.
 */
#include "engine/token/special.h"

#include <stdlib.h>
#include <string.h>

#include "engine/gguf/index.h"
#include "engine/token/heap.h"
#include "util/str.h"

#define MAX_TEXT  1024
#define MAX_NODES (4u << 20)

/* ---- the trie -------------------------------------------------------------------------------- */

static uint32_t slot_of(const struct fg_specials *s, uint32_t from, uint8_t byte)
{
    uint32_t at =
        (uint32_t)fg_hash_mix(((uint64_t)from << 8 | byte) ^ s->seed, 0x9e3779b97f4a7c15ull) &
        s->edge_mask;
    while (s->edges[at].to && (s->edges[at].from != from || s->edges[at].byte != byte))
        at = (at + 1) & s->edge_mask;
    return at;
}

static uint32_t child(const struct fg_specials *s, uint32_t from, uint8_t byte)
{
    return from ? s->edges[slot_of(s, from, byte)].to : s->root[byte];
}

static bool room_for_edge(struct fg_specials *s)
{
    if (s->edges && (s->edge_count + 1) * 2 <= s->edge_mask + 1)
        return true;
    struct fg_specials grown = *s;
    grown.edge_mask = s->edges ? s->edge_mask * 2 + 1 : 255;
    grown.edges = calloc((size_t)grown.edge_mask + 1, sizeof *grown.edges);
    if (!grown.edges)
        return false;
    for (uint32_t i = 0; s->edges && i <= s->edge_mask; i++)
        if (s->edges[i].to)
            grown.edges[slot_of(&grown, s->edges[i].from, s->edges[i].byte)] = s->edges[i];
    free(s->edges);
    *s = grown;
    return true;
}

static bool room_for_node(struct fg_specials *s)
{
    if (s->node_count < s->node_room)
        return true;
    const uint32_t room = s->node_room ? s->node_room * 2 : 256;
    struct fg_trie_node *nodes = realloc(s->nodes, room * sizeof *nodes);
    if (!nodes)
        return false;
    s->nodes = nodes;
    s->node_room = room;
    return true;
}

static bool init(struct fg_specials *s)
{
    s->seed = fg_index_secret();
    s->all_control = true;
    if (!room_for_edge(s) || !room_for_node(s))
        return false;
    s->nodes[s->node_count++] = (struct fg_trie_node){-1, -1};
    return true;
}

/* 0: no memory. */
static uint32_t grow_child(struct fg_specials *s, uint32_t from, uint8_t byte)
{
    if (s->node_count >= MAX_NODES || !room_for_edge(s) || !room_for_node(s))
        return 0;
    const uint32_t to = s->node_count++;
    s->nodes[to] = (struct fg_trie_node){-1, -1};
    if (!from) {
        s->root[byte] = to;
        return to;
    }
    s->edges[slot_of(s, from, byte)] = (struct fg_trie_edge){.from = from, .to = to, .byte = byte};
    s->edge_count++;
    return to;
}

bool fg_specials_add(struct fg_specials *s, struct fg_str text, int32_t id, bool everywhere)
{
    if (!s->nodes && !init(s))
        return false;
    if (text.len == 0 || text.len > MAX_TEXT)
        return true;
    uint32_t node = 0;
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t byte = (uint8_t)text.ptr[i];
        uint32_t next = child(s, node, byte);
        if (!next)
            next = grow_child(s, node, byte);
        if (!next)
            return false;
        node = next;
    }
    int32_t *end = everywhere ? &s->nodes[node].any : &s->nodes[node].control;
    if (*end < 0)
        *end = id;
    if (everywhere)
        s->all_control = false;
    return true;
}

void fg_specials_done(struct fg_specials *s)
{
    free(s->edges);
    free(s->nodes);
    *s = (struct fg_specials){0};
}

/* ---- finding --------------------------------------------------------------------------------- */

/* The longest token at the head of text of at most `most` bytes; control ones up to `inside`. */
static uint32_t longest(const struct fg_specials *s, struct fg_str text, uint32_t most,
                        uint32_t inside, int32_t *id)
{
    uint32_t node = 0, best = 0;
    for (uint32_t n = 0; n < most && n < text.len;) {
        node = child(s, node, (uint8_t)text.ptr[n]);
        if (!node)
            break;
        n++;
        const struct fg_trie_node *end = &s->nodes[node];
        if (end->control >= 0 && n <= inside) {
            *id = end->control;
            best = n;
        } else if (end->any >= 0) {
            *id = end->any;
            best = n;
        }
    }
    return best;
}

struct search {
    const struct fg_specials *specials;
    struct fg_str text;
    const struct fg_span *allowed;
    size_t allowed_count;
    struct fg_heap heap;
    uint8_t *taken; /* a bit a byte of the text */
};

/* How many bytes from `at` on may hold a control token. */
static uint32_t inside(const struct search *s, uint32_t at)
{
    size_t low = 0, high = s->allowed_count;
    while (low < high) { /* the first span that ends behind `at` */
        const size_t middle = low + (high - low) / 2;
        if (s->allowed[middle].to > at)
            high = middle;
        else
            low = middle + 1;
    }
    if (low == s->allowed_count || s->allowed[low].from > at)
        return 0;
    return s->allowed[low].to - at;
}

static bool offer(struct search *s, uint32_t at, uint32_t most)
{
    int32_t id = -1;
    const uint32_t len = longest(s->specials, fg_str_from(s->text, at), most, inside(s, at), &id);
    return len == 0 ||
           fg_heap_push(&s->heap,
                        (struct fg_heap_item){
                            .key = (uint64_t)(UINT32_MAX - len) << 32 | at, .size = len, .id = id});
}

static bool is_taken(const struct search *s, uint32_t at)
{
    return s->taken[at / 8] >> (at % 8) & 1;
}

/* Every place with a token, by its longest. */
static bool offer_all(struct search *s)
{
    const size_t end = s->text.len;
    size_t span = 0;
    for (size_t at = 0; at < end; at++) {
        if (s->specials->all_control) { /* nothing to find outside the spans */
            while (span < s->allowed_count && s->allowed[span].to <= at)
                span++;
            if (span == s->allowed_count)
                break;
            if (s->allowed[span].from > at)
                at = s->allowed[span].from;
        }
        if (s->specials->root[(uint8_t)s->text.ptr[at]] && !offer(s, (uint32_t)at, UINT32_MAX))
            return false;
    }
    return true;
}

static int by_place(const void *a, const void *b)
{
    const struct fg_found *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Takes finds in order; what is taken was at least as long, so it covers an end of the next. */
static bool choose(struct search *s, struct fg_found **found, size_t *count)
{
    size_t room = 0;
    while (s->heap.len) {
        const struct fg_heap_item top = fg_heap_pop(&s->heap);
        const uint32_t at = (uint32_t)top.key;
        if (is_taken(s, at))
            continue;
        if (is_taken(s, at + top.size - 1)) {
            if (!offer(s, at, top.size - 1))
                return false;
            continue;
        }
        if (*count == room) {
            room = room ? room * 2 : 16;
            struct fg_found *more = realloc(*found, room * sizeof *more);
            if (!more)
                return false;
            *found = more;
        }
        (*found)[(*count)++] = (struct fg_found){.at = at, .len = top.size, .id = top.id};
        for (uint32_t i = at; i < at + top.size; i++)
            s->taken[i / 8] |= (uint8_t)(1u << (i % 8));
    }
    if (*count)
        qsort(*found, *count, sizeof **found, by_place);
    return true;
}

bool fg_specials_find(const struct fg_specials *specials, struct fg_str text,
                      const struct fg_span *allowed, size_t allowed_count, struct fg_found **found,
                      size_t *count)
{
    struct search s = {
        .specials = specials, .text = text, .allowed = allowed, .allowed_count = allowed_count};
    *found = NULL;
    *count = 0;
    if (!specials->nodes || text.len == 0)
        return true;
    bool good = offer_all(&s);
    if (good && s.heap.len) {
        s.taken = calloc(text.len / 8 + 1, 1);
        good = s.taken && choose(&s, found, count);
    }
    fg_heap_done(&s.heap);
    free(s.taken);
    if (!good) {
        free(*found);
        *found = NULL;
        *count = 0;
    }
    return good;
}
