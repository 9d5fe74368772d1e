/*
 * Where a server listens or is found, in the spellings of OLLAMA_HOST. No name is looked up here.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "conf/inner.h"
#include "util/error.h"

enum { PORT = 11434 };

static int32_t refuse(struct fg_str text, const char *why, struct fg_error *err)
{
    return fg_fail(err, FG_INVALID, "\"%.*s\": %s", text.len > 64 ? 64 : (int)text.len, text.ptr,
                   why);
}

static bool read_port(struct fg_str text, uint16_t *port)
{
    uint64_t n;
    if (!fg_str_u64(text, &n) || n > 65535)
        return false;
    *port = (uint16_t)n;
    return true;
}

static bool is_six(struct fg_str text)
{
    char name[64];
    struct in6_addr six;
    snprintf(name, sizeof name, "%.*s", text.len > 60 ? 60 : (int)text.len, text.ptr);
    return inet_pton(AF_INET6, name, &six) == 1;
}

static bool is_name(struct fg_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] <= ' ' || (unsigned char)s.ptr[i] >= 0x7f ||
            strchr("\"'<>@[]{}|\\^`%?#", s.ptr[i]))
            return false;
    return s.len < sizeof((struct fg_conf_host *)0)->name;
}

/* "http://": *rest is what follows, up to a path, which is of no interest. */
static bool cut_scheme(struct fg_str text, struct fg_str *rest, struct fg_conf_host *h)
{
    *rest = text;
    const char *mark = text.len ? memmem(text.ptr, text.len, "://", 3) : NULL;
    if (mark) {
        struct fg_str scheme = {text.ptr, (size_t)(mark - text.ptr)};
        h->https = fg_str_ieq(scheme, FG_STR("https"));
        if (!h->https && !fg_str_ieq(scheme, FG_STR("http")))
            return false;
        h->port = h->https ? 443 : 80;
        h->has_port = true;
        *rest = fg_str_from(text, scheme.len + 3);
    }
    const char *slash = rest->len ? memchr(rest->ptr, '/', rest->len) : NULL;
    if (slash)
        rest->len = (size_t)(slash - rest->ptr);
    return true;
}

int32_t fg_conf_host(struct fg_str text, struct fg_conf_host *out, struct fg_error *err)
{
    struct fg_conf_host h = {.port = PORT};
    struct fg_str rest, name, port = {NULL, 0};
    if (!cut_scheme(text, &rest, &h))
        return refuse(text, "the scheme must be http or https", err);
    name = rest;
    const char *close = rest.len && rest.ptr[0] == '[' ? memchr(rest.ptr, ']', rest.len) : NULL;
    const char *colon = rest.len ? memrchr(rest.ptr, ':', rest.len) : NULL;
    if (close) {
        name = (struct fg_str){rest.ptr + 1, (size_t)(close - rest.ptr) - 1};
        port = fg_str_from(rest, name.len + 2);
        if (!is_six(name) || (port.len && port.ptr[0] != ':'))
            return refuse(text, "not an address", err);
    } else if (colon && !is_six(rest)) {
        name.len = (size_t)(colon - rest.ptr);
        port = fg_str_from(rest, name.len);
    } else if (!colon && read_port(rest, &h.port)) { /* "8080" alone is a port, not a host */
        name.len = 0;
        h.has_port = true;
    }
    if (port.len) {
        if (!read_port(fg_str_from(port, 1), &h.port))
            return refuse(text, "the port must be a number from 0 to 65535", err);
        h.has_port = true;
    }
    if (!is_name(name) || (memchr(name.ptr ? name.ptr : "", ':', name.len) && !is_six(name)))
        return refuse(text, "not a host", err);
    if (!name.len)
        name = FG_STR("127.0.0.1");
    snprintf(h.name, sizeof h.name, "%.*s", FG_STR_ARG(name));
    *out = h;
    return FG_OK;
}

int32_t fg_conf_env_host(struct fg_conf_host *out, struct fg_error *err)
{
    static const char *const names[] = {"FLUXGATE_HOST", "OLLAMA_HOST"};
    struct fg_conf_host h = {.name = "127.0.0.1", .port = PORT};
    struct fg_error why;
    for (size_t i = 0; i < 2; i++) {
        struct fg_str text = fg_env_get(names[i]);
        if (!text.ptr)
            continue;
        if (fg_conf_host(text, &h, &why) != FG_OK)
            return fg_fail(err, FG_INVALID, "%s: %s", names[i], why.text);
        h.from = names[i];
        break;
    }
    uint64_t port;
    bool found;
    int32_t rc = fg_env_number("FLUXGATE_PORT", "listen[].port", &port, &found, err);
    if (rc == FG_OK && found) {
        h.port = (uint16_t)port;
        h.has_port = true;
    }
    if (rc == FG_OK)
        *out = h;
    return rc;
}

bool fg_conf_is_loopback(struct fg_str address)
{
    char name[64];
    struct in_addr four;
    struct in6_addr six;
    if (fg_str_is(address, "localhost"))
        return true;
    snprintf(name, sizeof name, "%.*s", address.len > 60 ? 60 : (int)address.len,
             address.ptr ? address.ptr : "");
    if (inet_pton(AF_INET, name, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, name, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}
