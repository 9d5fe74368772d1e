/* See block.h. Everything is aligned to 8 bytes. */
#include "plugin/block.h"

#include <string.h>

#define ALIGN 8u

static size_t aligned(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

struct fg_pack fg_pack_begin(void *base, size_t head_bytes)
{
    return (struct fg_pack){.base = base, .at = aligned(head_bytes)};
}

void *fg_pack_array(struct fg_pack *p, const void *from, size_t count, size_t each)
{
    if (!from || !count)
        return NULL;
    size_t at = p->at, bytes = count * each;
    if (p->base) {
        memcpy(p->base + at, from, bytes);
        memset(p->base + at + bytes, 0, aligned(bytes) - bytes);
    }
    p->at = at + aligned(bytes);
    return (void *)(uintptr_t)at;
}

struct fg_str fg_pack_str(struct fg_pack *p, struct fg_str s)
{
    const char *ptr = fg_pack_array(p, s.ptr, s.len, 1);
    return (struct fg_str){ptr, ptr ? s.len : 0};
}

void fg_pack_set(struct fg_pack *p, void *place, size_t index, const void *from, size_t each)
{
    if (p->base)
        memcpy(p->base + (uintptr_t)place + index * each, from, each);
}

void *fg_pack_strings(struct fg_pack *p, const void *from, size_t count, size_t each)
{
    void *array = fg_pack_array(p, from, count, each);
    const struct fg_str *all = from;
    size_t n = array ? count * (each / sizeof *all) : 0;
    for (size_t i = 0; i < n; i++) {
        struct fg_str s = fg_pack_str(p, all[i]);
        fg_pack_set(p, array, i, &s, sizeof s);
    }
    return array;
}

/* ---- the other side ----------------------------------------------------------------------------
 */

const void *fg_view_array(struct fg_view *v, const void *offset, uint32_t *count, size_t each)
{
    uintptr_t at = (uintptr_t)offset;
    size_t bytes;
    if (!at || !*count) {
        *count = 0;
        return NULL;
    }
    if (at % ALIGN || __builtin_mul_overflow((size_t)*count, each, &bytes) || at > v->len ||
        bytes > v->len - at || bytes > v->len - v->spent) {
        v->bad = true;
        *count = 0;
        return NULL;
    }
    v->spent += bytes;
    return v->base + at;
}

void *fg_view_copy(struct fg_view *v, const void *offset, uint32_t *count, size_t each)
{
    const void *from = fg_view_array(v, offset, count, each);
    if (!from)
        return NULL;
    void *to = fg_arena_alloc(v->arena, *count * each);
    if (!to) {
        v->bad = v->no_memory = true;
        *count = 0;
        return NULL;
    }
    return memcpy(to, from, *count * each);
}

struct fg_str fg_view_str(struct fg_view *v, struct fg_str s)
{
    uint32_t len = (uint32_t)s.len;
    if (s.len > UINT32_MAX) {
        v->bad = true;
        return (struct fg_str){0};
    }
    const char *ptr = fg_view_array(v, s.ptr, &len, 1);
    return (struct fg_str){ptr, len};
}

void *fg_view_strings(struct fg_view *v, const void *offset, uint32_t *count, size_t each)
{
    struct fg_str *all = fg_view_copy(v, offset, count, each);
    size_t n = *count * (each / sizeof *all);
    for (size_t i = 0; i < n; i++)
        all[i] = fg_view_str(v, all[i]);
    return all;
}
