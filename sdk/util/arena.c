/* Blocks in a chain; a large request gets a block of its own. See arena.h. */
#include "util/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define FG_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FG_ASAN 1
#endif
#endif
#ifdef FG_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#define ALIGN 16u

struct block {
    struct block *next;
    size_t size, used;
    max_align_t data[];
};

struct fg_arena {
    struct block *head; /* the block being filled; full and large ones follow it */
    size_t block_bytes, limit_bytes, held_bytes, used_bytes;
};

struct fg_arena *fg_arena_open(size_t block_bytes, size_t limit_bytes)
{
    struct fg_arena *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->block_bytes = block_bytes ? block_bytes : 4096;
    a->limit_bytes = limit_bytes;
    return a;
}

static void free_block(struct block *b)
{
    UNPOISON(b->data, b->size);
    free(b);
}

void fg_arena_close(struct fg_arena *a)
{
    if (!a)
        return;
    for (struct block *b = a->head, *next; b; b = next) {
        next = b->next;
        free_block(b);
    }
    free(a);
}

void fg_arena_reset(struct fg_arena *a)
{
    struct block *keep = NULL;
    for (struct block *b = a->head, *next; b; b = next) {
        next = b->next;
        if (!keep && b->size == a->block_bytes)
            keep = b;
        else
            free_block(b);
    }
    a->head = keep;
    a->held_bytes = a->used_bytes = 0;
    if (keep) {
        keep->next = NULL;
        keep->used = 0;
        POISON(keep->data, keep->size);
        a->held_bytes = keep->size;
    }
}

static struct block *new_block(struct fg_arena *a, size_t size)
{
    if (size > a->limit_bytes || a->held_bytes > a->limit_bytes - size)
        return NULL;
    struct block *b = malloc(sizeof *b + size);
    if (!b)
        return NULL;
    *b = (struct block){.size = size};
    POISON(b->data, size);
    a->held_bytes += size;
    return b;
}

void *fg_arena_alloc(struct fg_arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX - ALIGN)
        return NULL;
    size_t need = bytes ? (bytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    struct block *b = a->head;
    if (!b || b->size - b->used < need) {
        bool large = need > a->block_bytes / 2;
        b = new_block(a, large ? need : a->block_bytes);
        if (!b && !large)
            b = new_block(a, need); /* close to the limit: what is still allowed */
        if (!b)
            return NULL;
        if (large && a->head) { /* keep filling the ordinary block in front */
            b->next = a->head->next;
            a->head->next = b;
        } else {
            b->next = a->head;
            a->head = b;
        }
    }
    char *p = (char *)b->data + b->used;
    b->used += need;
    a->used_bytes += need;
    UNPOISON(p, bytes);
    return p;
}

void *fg_arena_zalloc(struct fg_arena *a, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *p = fg_arena_alloc(a, bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

struct fg_str fg_arena_str(struct fg_arena *a, struct fg_str s)
{
    char *p = s.len < SIZE_MAX ? fg_arena_alloc(a, s.len + 1) : NULL;
    if (!p)
        return (struct fg_str){0};
    if (s.len)
        memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return (struct fg_str){p, s.len};
}

struct fg_str fg_arena_printf(struct fg_arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *p = n < 0 ? NULL : fg_arena_alloc(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    return p ? (struct fg_str){p, (size_t)n} : (struct fg_str){0};
}

size_t fg_arena_used(const struct fg_arena *a)
{
    return a->used_bytes;
}
