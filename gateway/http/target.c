/*
 * http/target.c - the request target: path and query, decoded and tidied once, so that routing and
 * authorisation look at the same bytes. Dot segments, NUL, control characters, backslashes and
 * what is not UTF-8 are refused, also when encoded; doubled and trailing slashes go away. And the
 * grammar of Host, which an absolute target shares.
 */
#include <string.h>

#include "http/parse.h"

enum { HOST_MAX = 255 };

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static bool is_port(struct fg_str s) /* what follows the host: nothing, or ':' and digits */
{
    if (s.len == 0)
        return true;
    if (s.ptr[0] != ':' || s.len > 6)
        return false;
    for (size_t i = 1; i < s.len; i++)
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    return true;
}

static bool is_literal(struct fg_str host) /* "[" IPv6 "]" port */
{
    const char *end = memchr(host.ptr, ']', host.len);
    if (!end || end == host.ptr + 1)
        return false;
    for (const char *p = host.ptr + 1; p < end; p++)
        if (!fg_http_is(*p, FG_CH_HEX) && *p != ':' && *p != '.')
            return false;
    return is_port(fg_str_from(host, (size_t)(end + 1 - host.ptr)));
}

bool fg_host_is_valid(struct fg_str host)
{
    if (host.len == 0 || host.len > HOST_MAX)
        return false;
    if (host.ptr[0] == '[')
        return is_literal(host);
    size_t n = 0;
    while (n < host.len && fg_http_is(host.ptr[n], FG_CH_HOST))
        n++;
    return n > 0 && is_port(fg_str_from(host, n));
}

/* Nothing to decode or tidy: by far the most. */
static bool is_plain(struct fg_str path)
{
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        if (c == '%')
            return false;
        if (c == '/' && (i + 1 == path.len ? path.len > 1
                                           : path.ptr[i + 1] == '/' || path.ptr[i + 1] == '.'))
            return false;
    }
    return true;
}

/* Decodes into room; false on a bad escape or what must not be in a path. */
static bool decode(struct fg_str raw, char *room, size_t *len)
{
    size_t n = 0;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];
        if (c == '%') {
            if (raw.len - i < 3 || !fg_http_is(raw.ptr[i + 1], FG_CH_HEX) ||
                !fg_http_is(raw.ptr[i + 2], FG_CH_HEX))
                return false;
            c = (char)(hex(raw.ptr[i + 1]) * 16 + hex(raw.ptr[i + 2]));
            i += 2;
        }
        if ((unsigned char)c < 0x20 || c == 0x7f || c == '\\')
            return false;
        room[n++] = c;
    }
    *len = n;
    return fg_utf8_valid((struct fg_str){room, n}, NULL) == n;
}

/* Single slashes, none at the end; false on a dot segment. */
static bool tidy(char *path, size_t *len)
{
    size_t n = 0;
    for (size_t i = 0; i < *len;) {
        while (i < *len && path[i] == '/')
            i++;
        size_t from = i;
        while (i < *len && path[i] != '/')
            i++;
        size_t size = i - from;
        if ((size == 1 && path[from] == '.') ||
            (size == 2 && path[from] == '.' && path[from + 1] == '.'))
            return false;
        if (size == 0)
            continue;
        path[n++] = '/';
        memmove(path + n, path + from, size);
        n += size;
    }
    if (n == 0)
        path[n++] = '/';
    *len = n;
    return true;
}

static int refuse(int status, const char *text, const char **message)
{
    *message = text;
    return status;
}

int fg_target_read(struct fg_str target, char *room, struct fg_target *out, const char **message)
{
    *out = (struct fg_target){0};
    if (fg_str_is(target, "*")) { /* only OPTIONS may; the caller knows the method */
        out->raw_path = target;
        out->path = FG_STR("*");
        return 0;
    }
    if (target.ptr[0] != '/') {
        static const struct fg_str scheme = {"http://", 7};
        if (target.len <= scheme.len ||
            !fg_str_ieq((struct fg_str){target.ptr, scheme.len}, scheme))
            return refuse(400, "the request target is not a path", message);
        target = fg_str_from(target, scheme.len);
        size_t n = 0;
        while (n < target.len && target.ptr[n] != '/' && target.ptr[n] != '?')
            n++;
        out->authority = (struct fg_str){target.ptr, n};
        if (!fg_host_is_valid(out->authority))
            return refuse(400, "the request target has no proper host", message);
        target = fg_str_from(target, n);
    }
    const char *mark = target.len ? memchr(target.ptr, '?', target.len) : NULL;
    size_t path_len = mark ? (size_t)(mark - target.ptr) : target.len;
    out->raw_path = (struct fg_str){target.ptr, path_len};
    if (mark)
        out->query = fg_str_from(target, path_len + 1);
    if (path_len == 0) {
        out->path = FG_STR("/");
        return 0;
    }
    if (is_plain(out->raw_path)) {
        out->path = out->raw_path;
        return 0;
    }
    size_t len = 0;
    if (!decode(out->raw_path, room, &len))
        return refuse(400, "the path has a bad escape or a character that is not allowed", message);
    if (!tidy(room, &len))
        return refuse(400, "the path has dot segments", message);
    out->path = (struct fg_str){room, len};
    return 0;
}
