/*
 * Directories of *.gguf files, and what both kinds of place share (see scan.h). The first place
 * that has a name keeps it.
 */
#include "store/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "obs/log.h"
#include "store/inner.h"
#include "store/name.h"
#include "util/clock.h"
#include "util/error.h"

int fg_store_open_file(int dir, const char *name, struct stat *st)
{
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -1;
    if (fstat(fd, st) != 0 || !S_ISREG(st->st_mode)) {
        close(fd);
        return -1;
    }
    return fd;
}

int fg_store_open_dir(int dir, const char *name)
{
    return openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

bool fg_store_read(int fd, size_t limit, struct fg_buf *out)
{
    out->limit = limit + 1;
    while (out->len <= limit) {
        size_t room = limit + 1 - out->len;
        if (room > 16384)
            room = 16384;
        if (!fg_buf_reserve(out, room))
            return false;
        ssize_t n = read(fd, out->ptr + out->len, room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        if (n == 0)
            return true;
        out->len += (size_t)n;
    }
    return false;
}

void fg_store_sha256_hex(struct fg_str bytes, char out[65])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char hash[EVP_MAX_MD_SIZE] = {0};
    unsigned int len = 0;
    if (EVP_Digest(bytes.ptr, bytes.len, hash, &len, EVP_sha256(), NULL) != 1)
        memset(hash, 0, sizeof hash);
    for (size_t i = 0; i < 32; i++) {
        out[2 * i] = digits[hash[i] >> 4];
        out[2 * i + 1] = digits[hash[i] & 15];
    }
    out[64] = '\0';
}

uint64_t fg_store_mtime_ns(const struct stat *st)
{
    return st->st_mtim.tv_sec < 0
               ? 0
               : (uint64_t)st->st_mtim.tv_sec * FG_NS_PER_S + (uint64_t)st->st_mtim.tv_nsec;
}

struct fg_store_model *fg_store_add(struct fg_store_list *list)
{
    if (list->count == FG_STORE_MAX_MODELS)
        return NULL;
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity ? list->capacity * 2 : 16;
        void *items = realloc(list->items, capacity * sizeof *list->items);
        if (!items)
            return NULL;
        list->items = items;
        list->capacity = capacity;
    }
    struct fg_store_model *m = &list->items[list->count++];
    memset(m, 0, sizeof *m);
    return m;
}

bool fg_store_has(const struct fg_store_list *list, struct fg_str full_name)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (fg_str_ieq(list->items[i].full_name, full_name))
            return true;
    return false;
}

/* One file of a directory; false: skipped. */
static bool add_file(const char *directory, struct fg_str file, const struct stat *st,
                     struct fg_store_list *list)
{
    char name[FG_NAME_ROOM], full[FG_NAME_ROOM], digest[65];
    struct fg_name parsed;
    size_t len = fg_name_of_file(file, name, sizeof name);
    if (!len || !fg_name_parse((struct fg_str){name, len}, &parsed))
        return false;
    size_t full_len = fg_name_full(&parsed, full, sizeof full);
    if (!full_len || fg_store_has(list, (struct fg_str){full, full_len}))
        return false;
    struct fg_str key = fg_arena_printf(list->arena, "%s\n%" PRIu64 "\n%" PRIu64, name,
                                        (uint64_t)st->st_size, fg_store_mtime_ns(st));
    struct fg_str path = fg_arena_printf(list->arena, "%s/%.*s", directory, FG_STR_ARG(file));
    if (!key.ptr || !path.ptr)
        return false;
    fg_store_sha256_hex(key, digest);
    struct fg_store_model *m = fg_store_add(list);
    if (!m)
        return false;
    m->name = fg_arena_str(list->arena, (struct fg_str){name, len});
    m->full_name = fg_arena_str(list->arena, (struct fg_str){full, full_len});
    m->alias = fg_arena_str(list->arena, (struct fg_str){file.ptr, file.len - 5});
    m->path = path;
    m->digest = fg_arena_str(list->arena, (struct fg_str){digest, 64});
    m->size_bytes = m->file_bytes = (uint64_t)st->st_size;
    m->modified_ns = m->file_modified_ns = fg_store_mtime_ns(st);
    if (!m->name.ptr || !m->full_name.ptr || !m->alias.ptr || !m->digest.ptr) {
        list->count--;
        return false;
    }
    return true;
}

static void scan_directory(const char *path, struct fg_store_list *list)
{
    char quoted[300];
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        fg_log(errno == ENOENT ? FG_LOG_INFO : FG_LOG_WARN, "models_directory_unreadable",
               "path=%s errno=%d", fg_log_quote(fg_str_of(path), quoted, sizeof quoted), errno);
        return;
    }
    struct dirent *e;
    while ((e = readdir(dir)) && list->count < FG_STORE_MAX_MODELS) {
        struct fg_str file = fg_str_of(e->d_name);
        if (file.len <= 5 || file.ptr[0] == '.' ||
            !fg_str_ieq(fg_str_from(file, file.len - 5), FG_STR(".gguf")))
            continue;
        struct stat st;
        int f = fg_store_open_file(fd, e->d_name, &st);
        bool taken = f >= 0 && add_file(path, file, &st, list);
        if (f >= 0)
            close(f);
        if (!taken) {
            list->refused++;
            fg_log(FG_LOG_WARN, "model_file_skipped", "file=%s reason=%s",
                   fg_log_quote(file, quoted, sizeof quoted),
                   f < 0 ? "not_a_regular_file" : "name_taken_or_unusable");
        }
    }
    closedir(dir);
}

int32_t fg_store_scan(const struct fg_store_places *places, struct fg_store_list *out,
                      struct fg_error *err)
{
    struct fg_store_list list = {.arena = fg_arena_open(16384, (size_t)256 << 20)};
    if (!list.arena)
        return fg_fail(err, FG_NO_MEMORY, "no memory to list the models");
    for (uint32_t i = 0; i < places->directory_count; i++)
        scan_directory(places->directories[i], &list);
    for (uint32_t i = 0; i < places->store_count; i++)
        fg_store_scan_ollama(places->stores[i], &list);
    *out = list;
    return FG_OK;
}

void fg_store_list_done(struct fg_store_list *list)
{
    fg_arena_close(list->arena);
    free(list->items);
    *list = (struct fg_store_list){0};
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h ^= v + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
    return h;
}

/* Directories only: a store's leaves are files, written by rename, so their directory changes. */
static uint64_t stamp_tree(int dir, const char *name, int depth, bool follow, uint64_t h)
{
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));
    if (fd < 0)
        return mix(h, 1);
    if (fstat(fd, &st) == 0)
        h = mix(mix(h, fg_store_mtime_ns(&st)), (uint64_t)st.st_ino);
    if (depth == 0) {
        close(fd);
        return h;
    }
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return h;
    }
    struct dirent *e;
    uint64_t sum = 0; /* order of readdir must not matter */
    for (uint32_t n = 0; (e = readdir(d)) && n < FG_STORE_MAX_MODELS; n++)
        if (e->d_name[0] != '.' && (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN))
            sum += stamp_tree(fd, e->d_name, depth - 1, false, fg_str_hash(fg_str_of(e->d_name)));
    closedir(d);
    return mix(h, sum);
}

uint64_t fg_store_stamp(const struct fg_store_places *places)
{
    uint64_t h = 0;
    for (uint32_t i = 0; i < places->directory_count; i++)
        h = stamp_tree(AT_FDCWD, places->directories[i], 0, true, h);
    for (uint32_t i = 0; i < places->store_count; i++)
        h = stamp_tree(AT_FDCWD, places->stores[i], 4, true, h);
    return h;
}
