/*
 * engine/gguf/gguf.c - opens a GGUF file and checks all of it before anyone looks inside.
 *
 * One pass of one cursor: header, pairs, tensor table; then the tensors against the bytes that are
 * really there. Nothing is allocated by an announced count: the lists grow as records are read, so
 * memory follows the size of the file. Values stay in the map. What values mean is for those who
 * read them (values.c converts, model/ and token/ judge).
 *
 * Source: GGUF spec v3 (ggml/docs/gguf.md); v2 has the same layout. Little-endian hosts only.
 */
#include "engine/gguf/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/gguf/cursor.h"
#include "engine/gguf/inner.h"
#include "util/str.h"

#define MAX_RECORDS  100000 /* pairs, and tensors */
#define MAX_KEY      65536
#define MAX_NAME     63 /* of a tensor */
#define MAX_STRING   (64ull << 20)
#define MAX_ELEMENTS (16ull << 20) /* of an array */
#define MAX_DIM      (1ull << 40)
#define PAIR_BYTES   13 /* the least a pair takes: length, one byte of key, type, u8 */
#define TENSOR_BYTES 33 /* and a tensor: length, name, dims, one dim, type, offset */

/* ---- pairs ----------------------------------------------------------------------------------- */

static bool bad_name(struct cursor *c, struct fg_str s, const char *what)
{
    if (c->status != FG_OK)
        return true;
    if (s.len == 0)
        CURSOR_FAIL(c, FG_INVALID, "%s is empty", what);
    else if (memchr(s.ptr, 0, s.len))
        CURSOR_FAIL(c, FG_INVALID, "%s has a zero byte", what);
    return c->status != FG_OK;
}

static bool read_strings(struct cursor *c, uint64_t count)
{
    for (uint64_t i = 0; i < count && c->status == FG_OK; i++)
        cursor_str(c, MAX_STRING, "a string of an array");
    return c->status == FG_OK;
}

static bool are_bools(struct cursor *c, const uint8_t *p, uint64_t count)
{
    for (uint64_t i = 0; p && i < count; i++)
        if (p[i] > 1)
            return CURSOR_FAIL(c, FG_INVALID, "%u is no truth value (0 or 1)", p[i]);
    return true;
}

/* The cursor stands behind the types; a fixed-size element is at least a byte, a string eight. */
static bool read_array(struct cursor *c, struct pair *p)
{
    p->of = (int32_t)cursor_u32(c, "an array");
    p->count = cursor_u64(c, "an array");
    if (c->status != FG_OK)
        return false;
    const uint32_t each = p->of == FG_GGUF_STRING ? 8 : value_bytes(p->of);
    if (p->of == FG_GGUF_ARRAY)
        return CURSOR_FAIL(c, FG_UNSUPPORTED, "%.*s: an array of arrays is not supported",
                           (int)(p->key.len < 64 ? p->key.len : 64), p->key.ptr);
    if (!each)
        return CURSOR_FAIL(c, FG_INVALID, "%u is no type of array elements", (unsigned)p->of);
    if (p->count > MAX_ELEMENTS)
        return CURSOR_FAIL(c, FG_INVALID, "an array of %" PRIu64 " elements (at most %llu)",
                           p->count, MAX_ELEMENTS);
    if (p->count * each > cursor_left(c))
        return CURSOR_FAIL(c, FG_INVALID,
                           "the file ends within an array (%" PRIu64 " elements, %zu bytes left)",
                           p->count, cursor_left(c));
    p->data = c->base + c->at;
    if (p->of == FG_GGUF_STRING)
        return read_strings(c, p->count);
    cursor_take(c, p->count * each, "an array");
    return p->of != FG_GGUF_BOOL || are_bools(c, p->data, p->count);
}

static bool read_value(struct cursor *c, struct pair *p)
{
    p->type = (int32_t)cursor_u32(c, "the type of a value");
    if (c->status != FG_OK)
        return false;
    if (p->type == FG_GGUF_STRING) {
        const struct fg_str s = cursor_str(c, MAX_STRING, "a string");
        p->data = (const uint8_t *)s.ptr;
        p->bytes = s.len;
        return c->status == FG_OK;
    }
    if (p->type == FG_GGUF_ARRAY) {
        if (!read_array(c, p))
            return false;
        p->bytes = (uint64_t)(c->base + c->at - p->data);
        return true;
    }
    p->bytes = value_bytes(p->type);
    if (!p->bytes)
        return CURSOR_FAIL(c, FG_INVALID, "%u is no type of values", (unsigned)p->type);
    p->data = cursor_take(c, p->bytes, "a value");
    return p->data && (p->type != FG_GGUF_BOOL || are_bools(c, p->data, 1));
}

static bool same_value(const struct pair *a, const struct pair *b)
{
    return a->type == b->type && a->of == b->of && a->count == b->count && a->bytes == b->bytes &&
           memcmp(a->data, b->data, a->bytes) == 0;
}

/* Room for one more record; doubles. */
static void *grown(void *items, uint32_t count, uint32_t *room, size_t each)
{
    if (count < *room)
        return items;
    const uint32_t more = *room ? *room * 2 : 64;
    void *moved = realloc(items, more * each);
    if (moved)
        *room = more;
    return moved;
}

static bool add_pair(struct fg_gguf *g, struct cursor *c, const struct pair *p)
{
    uint32_t at = g->pair_count;
    struct pair *pairs = grown(g->pairs, g->pair_count, &g->pair_room, sizeof *p);
    if (pairs) {
        g->pairs = pairs;
        pairs[at] = *p;
    }
    if (!pairs || !fg_index_add(&g->pair_index, g->pairs, sizeof *p, &at))
        return CURSOR_FAIL(c, FG_NO_MEMORY, "no memory for the keys");
    if (at == g->pair_count) {
        g->pair_count++;
        return true;
    }
    return same_value(&g->pairs[at], p) ||
           CURSOR_FAIL(c, FG_INVALID, "key %.*s is there twice with two values",
                       (int)(p->key.len < 64 ? p->key.len : 64), p->key.ptr);
}

static bool read_pairs(struct fg_gguf *g, struct cursor *c, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct pair p = {.key = cursor_str(c, MAX_KEY, "a key")};
        if (bad_name(c, p.key, "a key") || !read_value(c, &p) || !add_pair(g, c, &p))
            return false;
    }
    return true;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* Shape and size in bytes, all products checked. */
static bool measure(struct cursor *c, struct fg_gguf_tensor *t)
{
    const struct fg_quant_info *type = fg_quant_info(t->type);
    uint64_t weights = 1;
    if (!type)
        return CURSOR_FAIL(c, FG_UNSUPPORTED, "tensor %.*s: type %d is not known",
                           FG_STR_ARG(t->name), t->type);
    for (uint32_t d = 0; d < t->dims; d++) {
        if (t->shape[d] == 0 || t->shape[d] > MAX_DIM)
            return CURSOR_FAIL(c, FG_INVALID, "tensor %.*s: dimension %u is %" PRIu64,
                               FG_STR_ARG(t->name), d, t->shape[d]);
        if (__builtin_mul_overflow(weights, t->shape[d], &weights))
            return CURSOR_FAIL(c, FG_INVALID, "tensor %.*s: its size overflows",
                               FG_STR_ARG(t->name));
    }
    if (t->shape[0] % type->block)
        return CURSOR_FAIL(c, FG_INVALID, "tensor %.*s: rows of %" PRIu64 " are no blocks of %u",
                           FG_STR_ARG(t->name), t->shape[0], type->block);
    if (__builtin_mul_overflow(weights / type->block, type->block_bytes, &t->bytes) ||
        weights > INT64_MAX)
        return CURSOR_FAIL(c, FG_INVALID, "tensor %.*s: its size overflows", FG_STR_ARG(t->name));
    return true;
}

/* The offset is kept as a pointer into the data section once that is known; see place(). */
static bool read_tensor(struct fg_gguf *g, struct cursor *c, uint64_t *offset)
{
    struct fg_gguf_tensor t = {.name = cursor_str(c, MAX_NAME, "a tensor name"),
                               .shape = {1, 1, 1, 1}};
    if (bad_name(c, t.name, "a tensor name"))
        return false;
    t.dims = cursor_u32(c, "a tensor");
    if (c->status == FG_OK && (t.dims < 1 || t.dims > 4))
        CURSOR_FAIL(c, FG_INVALID, "tensor %.*s: %u dimensions (1 to 4)", FG_STR_ARG(t.name),
                    t.dims);
    for (uint32_t d = 0; d < t.dims && c->status == FG_OK; d++)
        t.shape[d] = cursor_u64(c, "a tensor");
    t.type = (int32_t)cursor_u32(c, "a tensor");
    *offset = cursor_u64(c, "a tensor");
    if (c->status != FG_OK || !measure(c, &t))
        return false;
    uint32_t at = g->tensor_count;
    struct fg_gguf_tensor *tensors = grown(g->tensors, g->tensor_count, &g->tensor_room, sizeof t);
    if (tensors) {
        g->tensors = tensors;
        tensors[at] = t;
    }
    if (!tensors || !fg_index_add(&g->tensor_index, g->tensors, sizeof t, &at))
        return CURSOR_FAIL(c, FG_NO_MEMORY, "no memory for the tensors");
    if (at != g->tensor_count)
        return CURSOR_FAIL(c, FG_INVALID, "tensor %.*s is there twice", FG_STR_ARG(t.name));
    g->tensor_count++;
    return true;
}

struct span {
    uint64_t offset, end; /* within the data section */
    uint32_t tensor;
};

static int by_offset(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Against what the file really has: the size that it announces proves nothing. */
static bool place(struct fg_gguf *g, struct cursor *c, struct span *spans, uint64_t alignment)
{
    const uint64_t have = g->data_at < g->size ? g->size - g->data_at : 0;
    for (uint32_t i = 0; i < g->tensor_count; i++) {
        struct fg_gguf_tensor *t = &g->tensors[i];
        const uint64_t offset = spans[i].offset;
        if (offset % alignment)
            return CURSOR_FAIL(c, FG_INVALID,
                               "tensor %.*s: offset %" PRIu64 " is not aligned to %" PRIu64,
                               FG_STR_ARG(t->name), offset, alignment);
        if (offset > have || t->bytes > have - offset)
            return CURSOR_FAIL(c, FG_INVALID,
                               "tensor %.*s needs %" PRIu64 " bytes at %" PRIu64
                               " of the data, the file has %" PRIu64 ": it is cut off",
                               FG_STR_ARG(t->name), t->bytes, offset, have);
        t->data = g->base + g->data_at + offset;
        spans[i].end = offset + t->bytes;
        spans[i].tensor = i;
    }
    qsort(spans, g->tensor_count, sizeof *spans, by_offset);
    for (uint32_t i = 1; i < g->tensor_count; i++)
        if (spans[i].offset < spans[i - 1].end)
            return CURSOR_FAIL(c, FG_INVALID, "tensors %.*s and %.*s overlap",
                               FG_STR_ARG(g->tensors[spans[i - 1].tensor].name),
                               FG_STR_ARG(g->tensors[spans[i].tensor].name));
    return true;
}

static bool read_tensors(struct fg_gguf *g, struct cursor *c, uint64_t count, uint64_t alignment)
{
    uint32_t room = 0;
    struct span *spans = NULL;
    bool good = true;
    for (uint64_t i = 0; good && i < count; i++) {
        struct span *more = grown(spans, (uint32_t)i, &room, sizeof *spans);
        if (more)
            spans = more;
        good = more ? read_tensor(g, c, &spans[i].offset)
                    : CURSOR_FAIL(c, FG_NO_MEMORY, "no memory for the tensors");
    }
    g->data_at = c->at + (alignment - c->at % alignment) % alignment;
    good = good && (count == 0 || place(g, c, spans, alignment));
    free(spans);
    return good;
}

/* ---- the file -------------------------------------------------------------------------------- */

static bool read_version(struct cursor *c)
{
    const uint8_t *magic = cursor_take(c, 4, "the header");
    if (!magic)
        return false;
    c->at = 0;
    if (memcmp(magic, "GGUF", 4) != 0)
        return CURSOR_FAIL(c, FG_INVALID,
                           "this is no GGUF file (it begins with %02x %02x %02x %02x)", magic[0],
                           magic[1], magic[2], magic[3]);
    c->at = 4;
    const uint32_t version = cursor_u32(c, "the header");
    if (c->status != FG_OK)
        return false;
    c->at = 4;
    if (version && (version & 0xFFFF) == 0)
        return CURSOR_FAIL(c, FG_UNSUPPORTED, "a big-endian GGUF file is not supported");
    if (version != 2 && version != 3)
        return CURSOR_FAIL(c, FG_UNSUPPORTED, "GGUF version %u is not supported (2 and 3 are)",
                           version);
    c->at = 8;
    return true;
}

static bool plausible(struct cursor *c, uint64_t count, uint64_t least, const char *what)
{
    if (c->status != FG_OK)
        return false;
    if (count > MAX_RECORDS)
        return CURSOR_FAIL(c, FG_INVALID, "%" PRIu64 " %s (at most %d)", count, what, MAX_RECORDS);
    if (count * least > cursor_left(c))
        return CURSOR_FAIL(c, FG_INVALID, "%" PRIu64 " %s in a file with %zu bytes left", count,
                           what, cursor_left(c));
    return true;
}

/* general.alignment, when it is there: an unsigned power of two. */
static bool read_alignment(const struct fg_gguf *g, struct cursor *c, uint64_t *out)
{
    uint32_t value = 32;
    struct fg_error why = {0};
    const int32_t rc = fg_gguf_u32(g, "general.alignment", &value, &why);
    if (rc != FG_OK && rc != FG_NOT_FOUND)
        return CURSOR_FAIL(c, FG_INVALID, "%s", why.text);
    if (value < 8 || value > 65536 || (value & (value - 1)))
        return CURSOR_FAIL(c, FG_INVALID, "general.alignment is %u (a power of two, 8 to 65536)",
                           value);
    *out = value;
    return true;
}

static bool is_whole(const struct fg_gguf *g, struct cursor *c)
{
    uint32_t parts = 0, part = 0;
    if (fg_gguf_u32(g, "split.count", &parts, NULL) != FG_OK || parts <= 1)
        return true;
    (void)fg_gguf_u32(g, "split.no", &part, NULL);
    return CURSOR_FAIL(c, FG_UNSUPPORTED,
                       "this is part %" PRIu64 " of %u of a split model; merge the parts into one "
                       "file first",
                       (uint64_t)part + 1, parts);
}

static int32_t parse(struct fg_gguf *g, const char *name, struct fg_error *err)
{
    struct cursor c = {.name = name, .base = g->base, .size = g->size, .err = err};
    uint64_t alignment = 0;
    if (!read_version(&c))
        return c.status;
    const uint64_t tensors = cursor_u64(&c, "the header");
    const uint64_t pairs = cursor_u64(&c, "the header");
    if (plausible(&c, tensors, TENSOR_BYTES, "tensors") &&
        plausible(&c, pairs, PAIR_BYTES, "keys") && read_pairs(g, &c, pairs) && is_whole(g, &c) &&
        read_alignment(g, &c, &alignment))
        read_tensors(g, &c, tensors, alignment);
    return c.status;
}

static int32_t open_over(const void *base, size_t size, bool mapped, const char *name,
                         struct fg_gguf **out, struct fg_error *err)
{
    struct fg_gguf *g = calloc(1, sizeof *g);
    if (!g) {
        if (mapped)
            munmap((void *)base, size);
        return fg_fail(err, FG_NO_MEMORY, "no memory for a model file");
    }
    g->base = base;
    g->size = size;
    g->mapped = mapped;
    fg_index_init(&g->pair_index);
    fg_index_init(&g->tensor_index);
    const int32_t rc = parse(g, name, err);
    if (rc != FG_OK) {
        fg_gguf_close(g);
        return rc;
    }
    *out = g;
    return FG_OK;
}

int32_t fg_gguf_parse(const void *data, size_t bytes, struct fg_gguf **out, struct fg_error *err)
{
    return open_over(data, bytes, false, "memory", out, err);
}

/* O_NONBLOCK: a path may name a pipe that nobody writes to. */
static int32_t map_file(const char *path, const char *name, void **base, size_t *size,
                        struct fg_error *err)
{
    struct stat st;
    int32_t rc = FG_OK;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return fg_fail(err, errno == ENOENT ? FG_NOT_FOUND : FG_INVALID, "%.60s: cannot open: %s",
                       name, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = fg_fail(err, FG_INVALID, "%.60s: is no regular file", name);
    else if (st.st_size == 0)
        rc = fg_fail(err, FG_INVALID, "%.60s: the file is empty", name);
    if (rc == FG_OK) {
        *size = (size_t)st.st_size;
        *base = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (*base == MAP_FAILED)
            rc = fg_fail(err, FG_NO_MEMORY, "%.60s: cannot map: %s", name, strerror(errno));
    }
    close(fd); /* the map stays */
    return rc;
}

int32_t fg_gguf_open(const char *path, struct fg_gguf **out, struct fg_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    void *base = NULL;
    size_t size = 0;
    const int32_t rc = map_file(path, name, &base, &size, err);
    return rc == FG_OK ? open_over(base, size, true, name, out, err) : rc;
}

void fg_gguf_close(struct fg_gguf *g)
{
    if (!g)
        return;
    if (g->mapped)
        munmap((void *)g->base, g->size);
    fg_index_done(&g->pair_index);
    fg_index_done(&g->tensor_index);
    free(g->pairs);
    free(g->tensors);
    free(g);
}

uint64_t fg_gguf_file_bytes(const struct fg_gguf *g)
{
    return g->size;
}

uint64_t fg_gguf_tensor_count(const struct fg_gguf *g)
{
    return g->tensor_count;
}

const struct fg_gguf_tensor *fg_gguf_tensor_at(const struct fg_gguf *g, uint64_t index)
{
    return index < g->tensor_count ? &g->tensors[index] : NULL;
}

const struct fg_gguf_tensor *fg_gguf_tensor_find(const struct fg_gguf *g, const char *name)
{
    const uint32_t at =
        fg_index_find(&g->tensor_index, g->tensors, sizeof *g->tensors, fg_str_of(name));
    return at == FG_INDEX_NONE ? NULL : &g->tensors[at];
}

void fg_gguf_drop_pages(const struct fg_gguf *g)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t from = (g->data_at + page - 1) / page * page;
    if (g->mapped && from < g->size)
        madvise((void *)(g->base + from), g->size - from, MADV_DONTNEED);
}
