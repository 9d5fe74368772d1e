/*
 * Page tables and the prefix tree. Siblings stand in a plain list: there are never more nodes than
 * pages, and a look at one is a compare of its first tokens.
 *
 * Invariants: a chain's first `published` pages are exactly the pages of the nodes from its scope's
 * root down to `at`, each holding one use for it; the rest of its pages are its own. So a node in
 * use has only ancestors in use, and an unused node's descendants are unused: taking leaves in
 * order of age can free every unused node. A node with fewer tokens than a page is always a leaf
 * and never part of a chain (its tokens are copied out).
 */
#include "engine/sched/kv.h"

#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/list.h"
#include "util/str.h"

#define NO_PAGE UINT32_MAX

struct fg_kv_node {
    struct fg_list sibling, children;
    struct fg_list age;        /* in pages->old while unused and childless */
    struct fg_kv_node *parent; /* NULL: a root */
    uint32_t page, tokens;     /* NO_PAGE and 0 for a root */
    uint32_t uses;             /* chains that pass here; for a root: chains of its scope */
    bool alone;
    uint64_t stamp; /* when it was last used */
    char *scope;    /* of a root */
    size_t scope_len;
    int32_t ids[]; /* [page_tokens] */
};

struct fg_pages {
    uint32_t page_tokens, total, max_cached;
    uint32_t *free_pages, free_count;
    uint32_t cached, touched;
    uint64_t clock;
    struct fg_list roots; /* fg_kv_node.sibling */
    struct fg_list old;   /* fg_kv_node.age, oldest first */
};

int32_t fg_pages_open(uint32_t page_tokens, uint32_t pages, uint32_t max_cached,
                      struct fg_pages **out, struct fg_error *err)
{
    struct fg_pages *p = calloc(1, sizeof *p);
    uint32_t *list = malloc((size_t)pages * sizeof *list);
    if (!p || !list || page_tokens == 0 || pages == 0) {
        free(p);
        free(list);
        return fg_fail(err, FG_NO_MEMORY, "no memory for %u KV pages", pages);
    }
    *p = (struct fg_pages){.page_tokens = page_tokens,
                           .total = pages,
                           .max_cached = max_cached,
                           .free_pages = list,
                           .free_count = pages};
    for (uint32_t i = 0; i < pages; i++) /* taken from the end: low pages first */
        list[i] = pages - 1 - i;
    fg_list_init(&p->roots);
    fg_list_init(&p->old);
    *out = p;
    return FG_OK;
}

struct fg_pages_count fg_pages_count(const struct fg_pages *p)
{
    return (struct fg_pages_count){p->total, p->free_count, p->cached, p->touched};
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void give_page(struct fg_pages *p, uint32_t page)
{
    p->free_pages[p->free_count++] = page;
}

static void drop_root_if_empty(struct fg_kv_node *root)
{
    if (root->uses || !fg_list_empty(&root->children))
        return;
    fg_list_remove(&root->sibling);
    free(root->scope);
    free(root);
}

/* An unused, childless node waits for its end in order of age. */
static void grow_old(struct fg_pages *p, struct fg_kv_node *n)
{
    if (!n->parent || n->uses || !fg_list_empty(&n->children) || !fg_list_empty(&n->age))
        return;
    struct fg_list *before = p->old.prev; /* most are the youngest: looked for from the end */
    while (before != &p->old && FG_CONTAINER(before, struct fg_kv_node, age)->stamp > n->stamp)
        before = before->prev;
    fg_list_push_front(before, &n->age);
}

/* Removes an unused leaf; its parent may become one. */
static void drop_leaf(struct fg_pages *p, struct fg_kv_node *n)
{
    struct fg_kv_node *parent = n->parent;
    fg_list_remove(&n->age);
    fg_list_remove(&n->sibling);
    give_page(p, n->page);
    p->cached--;
    free(n);
    if (parent->parent)
        grow_old(p, parent);
    else
        drop_root_if_empty(parent);
}

static struct fg_kv_node *oldest(struct fg_pages *p)
{
    return fg_list_empty(&p->old) ? NULL : FG_CONTAINER(p->old.next, struct fg_kv_node, age);
}

static uint32_t take_page(struct fg_pages *p)
{
    struct fg_kv_node *victim = oldest(p);
    if (p->free_count == 0 && victim)
        drop_leaf(p, victim);
    if (p->free_count == 0)
        return NO_PAGE;
    const uint32_t page = p->free_pages[--p->free_count];
    if (page >= p->touched)
        p->touched = page + 1;
    return page;
}

static void use(struct fg_pages *p, struct fg_kv_node *n)
{
    if (n->uses++ == 0 && n->parent) {
        p->cached--;
        fg_list_remove(&n->age);
    }
}

static void unuse(struct fg_pages *p, struct fg_kv_node *n)
{
    n->stamp = p->clock;
    if (--n->uses || !n->parent)
        return;
    p->cached++;
    if (n->alone && fg_list_empty(&n->children))
        drop_leaf(p, n);
    else
        grow_old(p, n);
}

static struct fg_kv_node *new_node(struct fg_pages *p, struct fg_kv_node *parent, uint32_t page,
                                   const int32_t *ids, uint32_t tokens)
{
    struct fg_kv_node *n = calloc(1, sizeof *n + (size_t)p->page_tokens * sizeof *n->ids);
    if (!n)
        return NULL;
    fg_list_init(&n->sibling);
    fg_list_init(&n->children);
    fg_list_init(&n->age);
    n->parent = parent;
    n->page = page;
    n->tokens = tokens;
    n->stamp = p->clock;
    if (parent) {
        n->alone = parent->alone;
        memcpy(n->ids, ids, tokens * sizeof *ids);
        fg_list_remove(&parent->age); /* no leaf any more */
        fg_list_push(&parent->children, &n->sibling);
    }
    return n;
}

static struct fg_kv_node *find_root(struct fg_pages *p, struct fg_str scope, bool alone)
{
    FG_LIST_EACH (node, safe, &p->roots) {
        struct fg_kv_node *root = FG_CONTAINER(node, struct fg_kv_node, sibling);
        if (root->alone == alone && fg_str_eq((struct fg_str){root->scope, root->scope_len}, scope))
            return root;
    }
    struct fg_kv_node *root = new_node(p, NULL, NO_PAGE, NULL, 0);
    char *copy = malloc(scope.len + 1);
    if (!root || !copy) {
        free(root);
        free(copy);
        return NULL;
    }
    if (scope.len)
        memcpy(copy, scope.ptr, scope.len);
    root->scope = copy;
    root->scope_len = scope.len;
    root->alone = alone;
    fg_list_push(&p->roots, &root->sibling);
    return root;
}

static uint32_t common(const int32_t *a, const int32_t *b, uint32_t most)
{
    uint32_t n = 0;
    while (n < most && a[n] == b[n])
        n++;
    return n;
}

/* The child sharing the most first tokens (at most `most`); NULL when none shares any. */
static struct fg_kv_node *best_child(const struct fg_kv_node *n, const int32_t *ids, uint32_t most,
                                     uint32_t *shared)
{
    struct fg_kv_node *best = NULL;
    *shared = 0;
    FG_LIST_EACH (node, safe, &n->children) {
        struct fg_kv_node *child = FG_CONTAINER(node, struct fg_kv_node, sibling);
        const uint32_t same = common(child->ids, ids, child->tokens < most ? child->tokens : most);
        if (same > *shared) {
            *shared = same;
            best = child;
        }
        if (same == most)
            break;
    }
    return best;
}

static struct fg_kv_node *whole_child(const struct fg_kv_node *n, const int32_t *ids,
                                      uint32_t page_tokens)
{
    FG_LIST_EACH (node, safe, &n->children) {
        struct fg_kv_node *child = FG_CONTAINER(node, struct fg_kv_node, sibling);
        if (child->tokens == page_tokens && common(child->ids, ids, page_tokens) == page_tokens)
            return child;
    }
    return NULL;
}

/* ---- chains ---------------------------------------------------------------------------------- */

static bool push_page(struct fg_chain *c, uint32_t page)
{
    if (c->count == c->capacity) {
        const uint32_t capacity = c->capacity ? c->capacity * 2 : 16;
        uint32_t *grown = realloc(c->page, (size_t)capacity * sizeof *grown);
        if (!grown)
            return false;
        c->page = grown;
        c->capacity = capacity;
    }
    c->page[c->count++] = page;
    return true;
}

static bool add_own_page(struct fg_chain *c)
{
    const uint32_t page = take_page(c->pages);
    if (page == NO_PAGE)
        return false;
    if (push_page(c, page))
        return true;
    give_page(c->pages, page);
    return false;
}

/* Part of a page: a copy, so that the chain can write on behind it. */
static void start_inside_page(struct fg_chain *c, const int32_t *ids, uint32_t most,
                              struct fg_kv_copy *copy, uint32_t *reused)
{
    uint32_t shared;
    struct fg_kv_node *from = best_child(c->at, ids, most, &shared);
    if (!from || shared == 0)
        return;
    use(c->pages, from); /* so that making room cannot take it */
    if (add_own_page(c)) {
        *copy = (struct fg_kv_copy){from->page, c->page[c->count - 1], shared};
        *reused += shared;
    }
    unuse(c->pages, from);
}

int32_t fg_chain_start(struct fg_chain *c, struct fg_pages *p, struct fg_str scope, bool alone,
                       const int32_t *ids, uint32_t count, struct fg_kv_copy *copy,
                       uint32_t *reused)
{
    p->clock++;
    *copy = (struct fg_kv_copy){0};
    *reused = 0;
    struct fg_kv_node *root = find_root(p, scope, alone);
    if (!root)
        return FG_NO_MEMORY;
    use(p, root);
    *c = (struct fg_chain){.pages = p, .at = root, .alone = alone};
    const uint32_t most = count ? count - 1 : 0;
    while (*reused + p->page_tokens <= most) {
        struct fg_kv_node *child = whole_child(c->at, ids + *reused, p->page_tokens);
        if (!child || !push_page(c, child->page))
            break;
        use(p, child);
        c->at = child;
        c->published++;
        *reused += p->page_tokens;
    }
    const uint32_t rest = most - *reused;
    if (rest && c->count == c->published)
        start_inside_page(c, ids + *reused, rest < p->page_tokens ? rest : p->page_tokens, copy,
                          reused);
    return FG_OK;
}

bool fg_chain_follow(struct fg_chain *c, const struct fg_chain *from, uint32_t tokens,
                     struct fg_kv_copy *copy)
{
    const uint32_t page_tokens = c->pages->page_tokens, whole = c->published * page_tokens;
    if (tokens <= whole || tokens - whole > page_tokens || from->count <= c->published)
        return false;
    if (c->count == c->published && !add_own_page(c))
        return false;
    *copy = (struct fg_kv_copy){from->page[c->published], c->page[c->published], tokens - whole};
    return true;
}

uint32_t fg_chain_missing(const struct fg_chain *c, uint32_t tokens)
{
    const uint32_t want = tokens / c->pages->page_tokens + (tokens % c->pages->page_tokens != 0);
    return want > c->count ? want - c->count : 0;
}

bool fg_chain_reserve(struct fg_chain *c, uint32_t tokens)
{
    const uint32_t missing = fg_chain_missing(c, tokens), had = c->count;
    if (missing > c->pages->free_count + c->pages->cached)
        return false;
    for (uint32_t i = 0; i < missing; i++) {
        if (add_own_page(c))
            continue;
        while (c->count > had) /* only without memory for the table */
            give_page(c->pages, c->page[--c->count]);
        return false;
    }
    return true;
}

void fg_chain_publish(struct fg_chain *c, const int32_t *ids, uint32_t computed)
{
    struct fg_pages *p = c->pages;
    while ((c->published + 1) * p->page_tokens <= computed && c->published < c->count) {
        const int32_t *block = ids + (size_t)c->published * p->page_tokens;
        uint32_t *page = &c->page[c->published];
        struct fg_kv_node *child = whole_child(c->at, block, p->page_tokens);
        if (child) { /* another chain was first with the same tokens: one page is enough */
            give_page(p, *page);
            *page = child->page;
            use(p, child);
        } else {
            child = new_node(p, c->at, *page, block, p->page_tokens);
            if (!child)
                return; /* not shared for now; the page stays the chain's own */
            child->uses = 1;
        }
        c->at = child;
        c->published++;
    }
}

/* What is computed of the last page becomes a leaf, unless a sibling says as much already. */
static bool keep_tail(struct fg_chain *c, const int32_t *ids, uint32_t tokens)
{
    struct fg_pages *p = c->pages;
    FG_LIST_EACH (node, safe, &c->at->children) {
        struct fg_kv_node *other = FG_CONTAINER(node, struct fg_kv_node, sibling);
        const uint32_t most = other->tokens < tokens ? other->tokens : tokens;
        if (common(other->ids, ids, most) != most)
            continue;
        if (other->tokens >= tokens)
            return false;
        if (other->uses == 0)
            drop_leaf(p, other); /* shorter and equal: ours says more */
    }
    struct fg_kv_node *n = new_node(p, c->at, c->page[c->published], ids, tokens);
    if (!n)
        return false;
    p->cached++;
    grow_old(p, n);
    return true;
}

void fg_chain_end(struct fg_chain *c, const int32_t *ids, uint32_t computed)
{
    struct fg_pages *p = c->pages;
    if (!p)
        return;
    p->clock++;
    fg_chain_publish(c, ids, computed);
    uint32_t own = c->published;
    const uint32_t tail = computed > own * p->page_tokens ? computed - own * p->page_tokens : 0;
    if (!c->alone && tail && tail < p->page_tokens && own < c->count &&
        keep_tail(c, ids + (size_t)own * p->page_tokens, tail))
        own++;
    while (c->count > own)
        give_page(p, c->page[--c->count]);
    while (c->at) {
        struct fg_kv_node *n = c->at;
        c->at = n->parent;
        if (c->at) {
            unuse(p, n);
        } else {
            n->uses--;
            drop_root_if_empty(n);
        }
    }
    free(c->page);
    *c = (struct fg_chain){0};
    while (p->cached > p->max_cached && oldest(p))
        drop_leaf(p, oldest(p));
}

void fg_pages_close(struct fg_pages *p)
{
    if (!p)
        return;
    while (oldest(p))
        drop_leaf(p, oldest(p));
    free(p->free_pages);
    free(p);
}
