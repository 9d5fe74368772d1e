/* See url.h. */
#include "upstream/url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "util/error.h"
#include "util/str.h"

static bool is_host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

static bool is_path_char(char c)
{
    return c > ' ' && c < 0x7f && !strchr("?#\\\"<>^`{|}", c);
}

static bool take_scheme(struct fg_str *s, struct fg_url *url)
{
    static const struct fg_str plain = {"http://", 7}, tls = {"https://", 8};
    if (s->len > 8 && fg_str_ieq((struct fg_str){s->ptr, 8}, tls)) {
        url->is_tls = true;
        *s = fg_str_from(*s, 8);
        return true;
    }
    if (s->len > 7 && fg_str_ieq((struct fg_str){s->ptr, 7}, plain)) {
        *s = fg_str_from(*s, 7);
        return true;
    }
    return false;
}

static bool take_port(struct fg_str text, struct fg_url *url)
{
    uint64_t port;
    if (text.len > 5 || !fg_str_u64(text, &port) || port == 0 || port > UINT16_MAX)
        return false;
    url->port = (uint16_t)port;
    return true;
}

static bool take_host(struct fg_str host, struct fg_url *url)
{
    if (!host.len || host.len >= sizeof url->host)
        return false;
    for (size_t i = 0; i < host.len; i++)
        url->host[i] =
            host.ptr[i] >= 'A' && host.ptr[i] <= 'Z' ? (char)(host.ptr[i] | 0x20) : host.ptr[i];
    url->host[host.len] = '\0';
    struct in_addr four;
    url->is_literal = inet_pton(AF_INET, url->host, &four) == 1;
    for (size_t i = 0; i < host.len; i++)
        if (!is_host_char(url->host[i]))
            return false;
    return true;
}

static bool take_bracketed(struct fg_str host, struct fg_url *url)
{
    struct in6_addr six;
    if (!host.len || host.len >= INET6_ADDRSTRLEN)
        return false;
    memcpy(url->host, host.ptr, host.len);
    url->host[host.len] = '\0';
    url->is_literal = true;
    return inet_pton(AF_INET6, url->host, &six) == 1;
}

static bool take_authority(struct fg_str a, struct fg_url *url)
{
    const uint16_t usual = url->is_tls ? 443 : 80;
    const bool is_six = a.len && a.ptr[0] == '[';
    url->port = usual;
    if (is_six) {
        const char *end = memchr(a.ptr, ']', a.len);
        if (!end || !take_bracketed((struct fg_str){a.ptr + 1, (size_t)(end - a.ptr - 1)}, url))
            return false;
        a = fg_str_from(a, (size_t)(end - a.ptr) + 1);
        if (a.len && (a.ptr[0] != ':' || !take_port(fg_str_from(a, 1), url)))
            return false;
    } else {
        const char *colon = a.len ? memchr(a.ptr, ':', a.len) : NULL;
        const size_t len = colon ? (size_t)(colon - a.ptr) : a.len;
        if (!take_host((struct fg_str){a.ptr, len}, url) ||
            (colon && !take_port(fg_str_from(a, len + 1), url)))
            return false;
    }
    const int n = url->port == usual ? snprintf(url->authority, sizeof url->authority,
                                                is_six ? "[%s]" : "%s", url->host)
                                     : snprintf(url->authority, sizeof url->authority,
                                                is_six ? "[%s]:%u" : "%s:%u", url->host, url->port);
    return n > 0 && (size_t)n < sizeof url->authority;
}

static bool take_path(struct fg_str path, struct fg_url *url)
{
    while (path.len && path.ptr[path.len - 1] == '/')
        path.len--;
    if (path.len >= sizeof url->path)
        return false;
    for (size_t i = 0; i < path.len; i++)
        if (!is_path_char(path.ptr[i]))
            return false;
    if (path.len)
        memcpy(url->path, path.ptr, path.len);
    url->path[path.len] = '\0';
    return true;
}

int32_t fg_url_parse(struct fg_str text, struct fg_url *out, struct fg_error *err)
{
    struct fg_url url = {0};
    struct fg_str rest = text;
    if (!take_scheme(&rest, &url))
        return fg_fail(err, FG_INVALID, "a base_url begins with http:// or https://");
    const char *slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
    const struct fg_str authority = {rest.ptr, slash ? (size_t)(slash - rest.ptr) : rest.len};
    if (authority.len && memchr(authority.ptr, '@', authority.len))
        return fg_fail(err, FG_INVALID,
                       "a base_url has no user and password: give the key as api_key_file");
    if (!take_authority(authority, &url))
        return fg_fail(err, FG_INVALID, "the base_url has no proper host and port");
    if (!take_path(fg_str_from(rest, authority.len), &url))
        return fg_fail(err, FG_INVALID,
                       "the path of the base_url is too long or has characters "
                       "that do not belong there (no ? and no #)");
    *out = url;
    return FG_OK;
}
