/* The environment and the places on this machine that defaults are made of. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/inner.h"
#include "util/error.h"

struct fg_str fg_env_get(const char *name)
{
    struct fg_str s = fg_str_trim(fg_str_of(getenv(name)));
    while (s.len && (s.ptr[0] == '"' || s.ptr[0] == '\''))
        s = fg_str_from(s, 1);
    while (s.len && (s.ptr[s.len - 1] == '"' || s.ptr[s.len - 1] == '\''))
        s.len--;
    return s.len ? s : (struct fg_str){NULL, 0};
}

int32_t fg_env_number(const char *name, const char *path, uint64_t *out, bool *found,
                      struct fg_error *err)
{
    const struct fg_conf_bounds *b = fg_conf_bounds_of(path);
    struct fg_str text = fg_env_get(name);
    uint64_t n = 0;
    *found = text.ptr != NULL;
    if (!*found)
        return FG_OK;
    if (!fg_str_u64(text, &n) || n < b->least || n > b->most)
        return fg_fail(err, FG_INVALID,
                       "%s: a whole number from %llu to %llu is expected, not \"%.*s\"", name,
                       (unsigned long long)b->least, (unsigned long long)b->most,
                       text.len > 64 ? 64 : (int)text.len, text.ptr);
    *out = n;
    return FG_OK;
}

int32_t fg_env_list(const char *name, char separator, char ***list, uint32_t *count,
                    struct fg_error *err)
{
    enum { MOST = 256 };
    struct fg_str rest = fg_env_get(name);
    if (!rest.ptr)
        return FG_OK;
    char **items = calloc(MOST, sizeof *items);
    uint32_t n = 0;
    bool ok = items != NULL;
    while (ok && rest.len && n < MOST) {
        const char *end = memchr(rest.ptr, separator, rest.len);
        struct fg_str item = {rest.ptr, end ? (size_t)(end - rest.ptr) : rest.len};
        rest = fg_str_from(rest, item.len + 1);
        item = fg_str_trim(item);
        if (item.len)
            ok = (items[n++] = strndup(item.ptr, item.len)) != NULL;
    }
    *list = items;
    *count = n;
    return ok ? FG_OK : fg_fail(err, FG_NO_MEMORY, "no memory for %s", name);
}

static char *join(const char *a, const char *b)
{
    struct fg_buf s = {0};
    if (!fg_buf_printf(&s, "%s%s", a, b)) {
        fg_buf_done(&s);
        return NULL;
    }
    return s.ptr; /* printf leaves it terminated */
}

static const char *home(void)
{
    const char *h = getenv("HOME");
    return h && *h == '/' ? h : NULL;
}

char *fg_conf_path(struct fg_str text, const char *base)
{
    char *plain = strndup(text.ptr ? text.ptr : "", text.len);
    char *whole = plain;
    if (plain && fg_str_starts(text, FG_STR("~/")) && home())
        whole = join(home(), plain + 1);
    else if (plain && plain[0] != '/' && base) {
        char *folder = join(base, "/");
        whole = folder ? join(folder, plain) : NULL;
        free(folder);
    }
    if (whole != plain)
        free(plain);
    return whole;
}

char *fg_conf_default_plugin_dir(void)
{
    char self[1024];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n < 0 ? 0 : n] = '\0';
    for (int up = 0; up < 2; up++) { /* .../bin/fluxgate -> ... */
        char *slash = strrchr(self, '/');
        if (slash)
            *slash = '\0';
    }
    return join(self, "/lib/fluxgate");
}

char *fg_conf_default_directory(void)
{
    const char *data = getenv("XDG_DATA_HOME");
    if (data && *data == '/')
        return join(data, "/fluxgate/models");
    return home() ? join(home(), "/.local/share/fluxgate/models")
                  : strdup("/var/lib/fluxgate/models");
}

char *fg_conf_default_store(void)
{
    struct stat st;
    char *path = home() ? join(home(), "/.ollama/models") : NULL;
    if (path && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return path;
    free(path);
    return NULL;
}
