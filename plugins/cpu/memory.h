/*
 * cpu/memory.h - large memory in huge pages.
 *
 * Weights read from 2 MiB pages stream almost twice as fast as from 4 KiB pages, and kernels give
 * them only when asked (THP at "madvise"). An area is reserved whole and costs memory as it is
 * touched; it is zero until then. A pool of areas packs many weights into few huge pages.
 */
#ifndef FG_CPU_MEMORY_H
#define FG_CPU_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

struct fg_area {
    void *ptr;    /* 2 MiB aligned; NULL: none */
    size_t bytes;
};
int32_t fg_area_open(size_t bytes, struct fg_area *, struct fg_error *);
void fg_area_close(struct fg_area *);

struct fg_heap; /* pieces that live about as long as each other. One thread. */
int32_t fg_heap_open(struct fg_heap **, struct fg_error *);
void fg_heap_close(struct fg_heap *); /* with every piece */
/* 64-byte aligned; an area is given back when its last piece is. */
int32_t fg_heap_take(struct fg_heap *, size_t bytes, void **out, struct fg_error *);
void fg_heap_give(struct fg_heap *, void *piece);

#endif
