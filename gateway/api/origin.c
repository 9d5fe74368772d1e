/*
 * api/origin.c - who may call from a browser: the Host check against DNS rebinding (only while we
 * listen on loopback) and the Origin check with its CORS headers. Rules: contract of Ollama,
 * section 11. A refusal is 403 with an empty body.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "api/inner.h"
#include "obs/metrics.h"

/* Text against a pattern with '*' (any run). Linear but for the last star: no blow-up. */
static bool matches(struct fg_str text, struct fg_str pattern)
{
    size_t t = 0, p = 0, star = SIZE_MAX, mark = 0;
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern.len && pattern.ptr[p] == text.ptr[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

bool fg_origin_allowed(const struct fg_api *api, struct fg_str origin)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1", "0.0.0.0", "[::1]"};
    static const char *const schemes[] = {"app://", "file://", "tauri://", "vscode-webview://",
                                          "vscode-file://", "chrome-extension://",
                                          "moz-extension://", "safari-extension://",
                                          "safari-web-extension://", "ms-browser-extension://"};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++)
        if (fg_str_starts(origin, fg_str_of(schemes[i])))
            return true;
    struct fg_str rest = {0};
    if (fg_str_starts(origin, FG_STR("http://")))
        rest = fg_str_from(origin, 7);
    else if (fg_str_starts(origin, FG_STR("https://")))
        rest = fg_str_from(origin, 8);
    for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
        struct fg_str host = fg_str_of(hosts[i]);
        if (!fg_str_starts(rest, host))
            continue;
        struct fg_str port = fg_str_from(rest, host.len);
        uint64_t number;
        if (port.len == 0 || (port.ptr[0] == ':' && fg_str_u64(fg_str_from(port, 1), &number)))
            return true;
    }
    for (uint32_t i = 0; i < api->origin_count; i++)
        if (matches(origin, fg_str_of(api->origins[i])))
            return true;
    return false;
}

/* Loopback, private, link-local or unspecified: an address nobody's DNS answer can borrow. */
static bool is_near_v4(const unsigned char a[4])
{
    return a[0] == 127 || a[0] == 10 || a[0] == 0 || (a[0] == 192 && a[1] == 168) ||
           (a[0] == 172 && a[1] >= 16 && a[1] <= 31) || (a[0] == 169 && a[1] == 254);
}

static bool is_near_v6(const unsigned char a[16])
{
    static const unsigned char zero[15], mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (memcmp(a, zero, 15) == 0)
        return a[15] <= 1;
    if (memcmp(a, mapped, 12) == 0)
        return is_near_v4(a + 12);
    return (a[0] & 0xfe) == 0xfc || (a[0] == 0xfe && (a[1] & 0xc0) == 0x80);
}

static bool ends_in(struct fg_str host, const char *suffix)
{
    struct fg_str tail = fg_str_of(suffix);
    return host.len > tail.len && fg_str_ieq(fg_str_from(host, host.len - tail.len), tail);
}

bool fg_host_allowed(const struct fg_api *api, struct fg_str host)
{
    unsigned char address[16];
    char text[256];
    if (host.len == 0)
        return true; /* HTTP/1.0 */
    if (host.ptr[0] == '[') {
        const char *end = memchr(host.ptr, ']', host.len);
        if (!end)
            return false;
        host = (struct fg_str){host.ptr + 1, (size_t)(end - host.ptr) - 1};
    } else {
        const char *colon = memchr(host.ptr, ':', host.len);
        if (colon)
            host.len = (size_t)(colon - host.ptr);
    }
    if (host.len == 0 || host.len >= sizeof(text))
        return false;
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    if (inet_pton(AF_INET, text, address) == 1)
        return is_near_v4(address);
    if (inet_pton(AF_INET6, text, address) == 1)
        return is_near_v6(address);
    if (host.ptr[host.len - 1] == '.')
        host.len--;
    return fg_str_ieq(host, FG_STR("localhost")) || ends_in(host, ".localhost") ||
           ends_in(host, ".local") || ends_in(host, ".internal") ||
           (api->host_name[0] && fg_str_ieq(host, fg_str_of(api->host_name)));
}

static void refuse(struct fg_exchange *x)
{
    FG_COUNT("fluxgate_refused_origin_total", "Requests refused for their Host or Origin.");
    fg_exchange_reply(x, 403, NULL, FG_STR(""));
}

static void preflight(struct fg_exchange *x)
{
    fg_exchange_set_header(x, "Access-Control-Allow-Methods",
                           FG_STR("GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"));
    fg_exchange_set_header(
        x, "Access-Control-Allow-Headers",
        FG_STR("Authorization,Content-Type,User-Agent,Accept,X-Requested-With,OpenAI-Beta,"
               "x-api-key,anthropic-version,anthropic-beta,"
               "anthropic-dangerous-direct-browser-access,x-stainless-lang,"
               "x-stainless-package-version,x-stainless-os,x-stainless-arch,x-stainless-runtime,"
               "x-stainless-runtime-version,x-stainless-async,x-stainless-helper-method,"
               "x-stainless-poll-helper,x-stainless-custom-poll-interval,x-stainless-retry-count,"
               "x-stainless-timeout"));
    fg_exchange_set_header(x, "Access-Control-Max-Age", FG_STR("43200"));
    fg_exchange_reply(x, 204, NULL, FG_STR(""));
}

bool fg_origin_check(struct fg_api *api, struct fg_exchange *x)
{
    const struct fg_http_request *r = fg_exchange_request(x);
    struct fg_str origin = fg_exchange_header(x, "Origin");
    if (api->is_loopback && !fg_host_allowed(api, fg_exchange_header(x, "Host"))) {
        refuse(x);
        return false;
    }
    if (origin.len) {
        if (!fg_origin_allowed(api, origin)) {
            refuse(x);
            return false;
        }
        fg_exchange_set_header(x, "Access-Control-Allow-Origin", origin);
        fg_exchange_set_header(x, "Vary", FG_STR("Origin"));
        fg_exchange_set_header(x, "Access-Control-Expose-Headers",
                               FG_STR("x-request-id,retry-after,x-fluxgate-backend"));
    }
    if (r->method == FG_OPTIONS) {
        if (!origin.len)
            fg_exchange_set_header(x, "Vary", FG_STR("Origin"));
        preflight(x);
        return false;
    }
    return true;
}
