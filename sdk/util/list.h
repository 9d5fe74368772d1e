/*
 * util/list.h - an intrusive, doubly linked, circular list: no allocation to enqueue.
 * A node knows its neighbours only; the owner's lock or thread protects the whole list.
 */
#ifndef FG_UTIL_LIST_H
#define FG_UTIL_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct fg_list {
    struct fg_list *next, *prev;
};

#define FG_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
/* Walks nodes; the current one may be removed. */
#define FG_LIST_EACH(node, safe, head)                                          \
    for (struct fg_list *node = (head)->next, *safe = node->next; node != (head); \
         node = safe, safe = node->next)

static inline void fg_list_init(struct fg_list *l)
{
    l->next = l->prev = l;
}
static inline bool fg_list_empty(const struct fg_list *l)
{
    return l->next == l;
}
static inline void fg_list_push(struct fg_list *head, struct fg_list *node) /* to the end */
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}
static inline void fg_list_push_front(struct fg_list *head, struct fg_list *node)
{
    fg_list_push(head->next, node);
}
static inline void fg_list_remove(struct fg_list *node) /* harmless on a node in no list */
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    fg_list_init(node);
}
static inline struct fg_list *fg_list_pop(struct fg_list *head) /* NULL when empty */
{
    struct fg_list *node = head->next;
    if (node == head)
        return NULL;
    fg_list_remove(node);
    return node;
}
/* Moves everything from one list to the end of another. */
static inline void fg_list_take(struct fg_list *to, struct fg_list *from)
{
    if (fg_list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    fg_list_init(from);
}

#endif
