/*
 * dlopen() and what must be true of a plugin before anything of it is called. Used by the gateway
 * for plugins in its own process and by fg-plugin-host for those in a child. What a plugin does
 * when it is called is not checked here: fg-plugin-check does that.
 */
#include "plugin/loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"

#define PATH_CUT "%.120s" /* the message has 252 bytes */

static int32_t trust_one(const char *path, struct fg_error *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return fg_fail(err, FG_NOT_FOUND, "plugin " PATH_CUT ": %s", path, strerror(errno));
    bool own = st.st_uid == 0 || st.st_uid == geteuid();
    bool world = (st.st_mode & S_IWOTH) && !(S_ISDIR(st.st_mode) && (st.st_mode & S_ISVTX));
    bool group = (st.st_mode & S_IWGRP) && st.st_gid != 0 && st.st_gid != getegid() &&
                 !(S_ISDIR(st.st_mode) && (st.st_mode & S_ISVTX));
    if (own && !world && !group)
        return FG_OK;
    return fg_fail(err, FG_INVALID, "plugin is not trusted: " PATH_CUT " %s", path,
                   !own ? "belongs to another user" : "can be written by others");
}

int32_t fg_loader_trust(const char *path, struct fg_error *err)
{
    struct stat st;
    char *real = realpath(path, NULL);
    if (!real)
        return fg_fail(err, errno == ENOMEM ? FG_NO_MEMORY : FG_NOT_FOUND,
                       "plugin " PATH_CUT ": %s", path, strerror(errno));
    int32_t rc = FG_OK;
    if (stat(real, &st) != 0 || !S_ISREG(st.st_mode))
        rc = fg_fail(err, FG_INVALID, "plugin " PATH_CUT ": not a regular file", path);
    for (char *end = real + strlen(real); rc == FG_OK && end; end = strrchr(real, '/')) {
        if (end == real) { /* the root folder */
            rc = trust_one("/", err);
            break;
        }
        *end = '\0';
        rc = trust_one(real, err);
    }
    free(real);
    return rc;
}

/* fg_plugin's functions in their order; all are pointers of one size. */
static const struct {
    size_t offset;
    const char *name;
} functions[] = {
    {offsetof(struct fg_plugin, open), "open"},
    {offsetof(struct fg_plugin, close), "close"},
    {offsetof(struct fg_plugin, device), "device"},
    {offsetof(struct fg_plugin, list), "list"},
    {offsetof(struct fg_plugin, load), "load"},
    {offsetof(struct fg_plugin, info), "info"},
    {offsetof(struct fg_plugin, unload), "unload"},
    {offsetof(struct fg_plugin, submit), "submit"},
    {offsetof(struct fg_plugin, resume), "resume"},
    {offsetof(struct fg_plugin, cancel), "cancel"},
    {offsetof(struct fg_plugin, release), "release"},
    {offsetof(struct fg_plugin, metrics), "metrics"},
    {offsetof(struct fg_plugin, extension), "extension"},
};

int32_t fg_loader_check(const struct fg_plugin *table, const char *path, struct fg_error *err)
{
    const uint32_t least = offsetof(struct fg_plugin, extension) + sizeof table->extension;
    if (!table)
        return fg_fail(err, FG_UNSUPPORTED,
                       "plugin " PATH_CUT ": does not serve a gateway of ABI %u.%u", path,
                       FG_ABI_MAJOR, FG_ABI_MINOR);
    if (table->abi >> 16 != FG_ABI_MAJOR) /* before all else: other fields may have moved */
        return fg_fail(err, FG_UNSUPPORTED,
                       "plugin " PATH_CUT ": made for ABI %u.%u, this gateway has %u.%u", path,
                       table->abi >> 16, table->abi & 0xffff, FG_ABI_MAJOR, FG_ABI_MINOR);
    if (table->size < least)
        return fg_fail(err, FG_INVALID,
                       "plugin " PATH_CUT ": its table has %u bytes, at least %u are expected",
                       path, table->size, least);
    if (!table->name || !table->version)
        return fg_fail(err, FG_INVALID, "plugin " PATH_CUT ": its table has no %s", path,
                       table->name ? "version" : "name");
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void (*f)(void);
        memcpy(&f, (const char *)table + functions[i].offset, sizeof f);
        if (!f)
            return fg_fail(err, FG_INVALID, "plugin " PATH_CUT ": %s() is missing in its table",
                           path, functions[i].name);
    }
    return FG_OK;
}

int32_t fg_loader_open(const char *path, const struct fg_plugin **out, struct fg_error *err)
{
    int32_t rc = fg_loader_trust(path, err);
    if (rc != FG_OK)
        return rc;
    void *dl = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!dl) {
        const char *why = dlerror();
        return fg_fail(err, FG_INVALID, "plugin cannot be loaded: %.200s", why ? why : path);
    }
    const struct fg_plugin *(*entry)(uint32_t);
    void *symbol = dlsym(dl, "fg_plugin_entry");
    memcpy(&entry, &symbol, sizeof entry);
    if (!entry)
        return fg_fail(err, FG_INVALID,
                       "plugin " PATH_CUT ": not a plugin, it has no fg_plugin_entry()", path);
    const struct fg_plugin *table = entry(FG_ABI);
    rc = fg_loader_check(table, path, err);
    if (rc == FG_OK)
        *out = table;
    return rc;
}
