/*
 * Areas from mmap, and a heap of pieces cut from them one behind the other. Pieces are not reused:
 * a model's weights come together and go together.
 */
#include "cpu/memory.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "util/error.h"
#include "util/list.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define HEAP_AREA ((size_t)1 << 30) /* address space, not memory */
#define PIECE     ((size_t)64)

int32_t fg_area_open(size_t bytes, struct fg_area *out, struct fg_error *err)
{
    size_t whole;
    if (__builtin_add_overflow(bytes, 2 * HUGE_PAGE, &whole))
        return fg_fail(err, FG_NO_MEMORY, "%zu bytes are too many", bytes);
    bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    whole = bytes + HUGE_PAGE;
    char *base = mmap(NULL, whole, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return fg_fail(err, FG_NO_MEMORY, "%zu MiB of memory are not to be had", bytes >> 20);
    const size_t before = (HUGE_PAGE - (uintptr_t)base % HUGE_PAGE) % HUGE_PAGE;
    if (before)
        munmap(base, before);
    if (HUGE_PAGE - before)
        munmap(base + before + bytes, HUGE_PAGE - before);
    out->ptr = base + before;
    out->bytes = bytes;
    (void)madvise(out->ptr, bytes, MADV_HUGEPAGE); /* small pages are slower, not wrong */
    return FG_OK;
}

void fg_area_close(struct fg_area *a)
{
    if (a->ptr)
        munmap(a->ptr, a->bytes);
    *a = (struct fg_area){0};
}

struct part {
    struct fg_list node;
    struct fg_area area;
    size_t used;
    uint32_t pieces;
};
struct fg_heap {
    struct fg_list parts; /* the first one is cut from */
};

int32_t fg_heap_open(struct fg_heap **out, struct fg_error *err)
{
    struct fg_heap *h = malloc(sizeof *h);
    if (!h)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a heap");
    fg_list_init(&h->parts);
    *out = h;
    return FG_OK;
}

static void drop(struct part *p)
{
    fg_list_remove(&p->node);
    fg_area_close(&p->area);
    free(p);
}

void fg_heap_close(struct fg_heap *h)
{
    if (!h)
        return;
    FG_LIST_EACH (node, safe, &h->parts)
        drop(FG_CONTAINER(node, struct part, node));
    free(h);
}

int32_t fg_heap_take(struct fg_heap *h, size_t bytes, void **out, struct fg_error *err)
{
    struct part *p = NULL;
    if (bytes > SIZE_MAX / 4)
        return fg_fail(err, FG_NO_MEMORY, "%zu bytes are too many", bytes);
    bytes = (bytes + PIECE - 1) / PIECE * PIECE;
    if (!fg_list_empty(&h->parts))
        p = FG_CONTAINER(h->parts.next, struct part, node);
    if (!p || p->area.bytes - p->used < bytes) {
        p = calloc(1, sizeof *p);
        if (!p)
            return fg_fail(err, FG_NO_MEMORY, "no memory for a heap");
        const int32_t rc = fg_area_open(bytes > HEAP_AREA ? bytes : HEAP_AREA, &p->area, err);
        if (rc != FG_OK) {
            free(p);
            return rc;
        }
        fg_list_init(&p->node);
        fg_list_push_front(&h->parts, &p->node);
    }
    *out = (char *)p->area.ptr + p->used;
    p->used += bytes;
    p->pieces++;
    return FG_OK;
}

void fg_heap_give(struct fg_heap *h, void *piece)
{
    FG_LIST_EACH (node, safe, &h->parts) {
        struct part *p = FG_CONTAINER(node, struct part, node);
        const uintptr_t at = (uintptr_t)piece, base = (uintptr_t)p->area.ptr;
        if (at < base || at >= base + p->area.bytes)
            continue;
        if (--p->pieces == 0)
            drop(p);
        return;
    }
}
