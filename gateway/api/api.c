/*
 * api/api.c - the handler that the HTTP server calls: origin and route are decided on the head,
 * before the body is read; the endpoint runs on the whole request.
 */
#include "api/api.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/inner.h"
#include "util/error.h"

static void refuse_encoding(struct fg_exchange *x, int32_t dialect)
{
    struct fg_fault f;
    struct fg_buf b = {0};
    fg_fault_set(&f, 415, "invalid_request_error", NULL, NULL,
                 "Content-Encoding is not supported; send the body as it is");
    fg_fault_write(dialect, &f, &b);
    fg_exchange_reply(x, f.status, fg_json_type(dialect), fg_buf_str(&b));
    fg_buf_done(&b);
}

static void on_head(void *ctx, struct fg_exchange *x)
{
    struct fg_api *api = ctx;
    const struct fg_http_request *r = fg_exchange_request(x);
    struct fg_buf allow = {0};
    struct fg_str rest = {0};
    fg_exchange_set_user(x, NULL);
    if (!fg_origin_check(api, x))
        return;
    const struct fg_route *route = fg_route_find(r->method, r->path, &rest, &allow);
    struct fg_str encoding = fg_exchange_header(x, "Content-Encoding");
    if (!route) {
        fg_route_unknown(api, x, fg_buf_str(&allow));
    } else if (encoding.len && !fg_str_ieq(encoding, FG_STR("identity"))) {
        refuse_encoding(x, route->dialect);
    } else {
        struct fg_call *call = fg_call_open(api, x, route);
        if (call) {
            call->rest = rest;
            fg_exchange_set_user(x, call);
        } else {
            fg_exchange_set_header(x, "Retry-After", FG_STR("1"));
            fg_exchange_reply(x, 503, "application/json", FG_STR("{\"error\":\"out of memory\"}"));
        }
    }
    fg_buf_done(&allow);
}

static void on_request(void *ctx, struct fg_exchange *x)
{
    (void)ctx;
    struct fg_call *call = fg_exchange_user(x);
    if (!call)
        return; /* refused on its head */
    fg_call_enter(call);
    call->http = fg_exchange_request(x);
    call->route->run(call);
    fg_call_leave(call);
}

static void on_over(void *ctx, struct fg_exchange *x, bool closed)
{
    (void)ctx;
    (void)closed;
    struct fg_call *call = fg_exchange_user(x);
    fg_exchange_set_user(x, NULL);
    if (call)
        fg_call_over(call);
}

static void on_drained(void *ctx, struct fg_exchange *x)
{
    (void)ctx;
    struct fg_call *call = fg_exchange_user(x);
    if (call)
        fg_call_drained(call);
}

static void on_refusal(void *ctx, int status, struct fg_str path, const char *message,
                       struct fg_buf *body)
{
    (void)ctx;
    struct fg_fault f;
    fg_fault_set(&f, status,
                 status == 408   ? "timeout_error"
                 : status == 503 ? "unavailable_error"
                 : status >= 500 ? "not_supported_error"
                                 : "invalid_request_error",
                 status == 413 ? "request_too_large" : NULL, NULL, "%.200s", message);
    fg_fault_write(fg_route_dialect(path), &f, body);
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool is_loopback_address(const char *address)
{
    unsigned char a[16];
    if (!address || strcmp(address, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, address, a) == 1)
        return a[0] == 127;
    static const unsigned char one[16] = {[15] = 1};
    return inet_pton(AF_INET6, address, a) == 1 && memcmp(a, one, 16) == 0;
}

static int32_t copy_conf(struct fg_api *api, const struct fg_conf *conf)
{
    api->is_loopback = true;
    for (uint32_t i = 0; i < conf->listen_count; i++)
        api->is_loopback &= is_loopback_address(conf->listen[i].address);
    if (conf->models.default_model && !(api->default_model = strdup(conf->models.default_model)))
        return FG_NO_MEMORY;
    api->origins = calloc(conf->origin_count ? conf->origin_count : 1, sizeof(*api->origins));
    if (!api->origins)
        return FG_NO_MEMORY;
    for (; api->origin_count < conf->origin_count; api->origin_count++) {
        api->origins[api->origin_count] = strdup(conf->origins[api->origin_count]);
        if (!api->origins[api->origin_count])
            return FG_NO_MEMORY;
    }
    if (gethostname(api->host_name, sizeof(api->host_name) - 1) != 0)
        api->host_name[0] = '\0';
    return FG_OK;
}

int32_t fg_api_open(const struct fg_conf *conf, struct fg_hub *hub, struct fg_api **out,
                    struct fg_error *err)
{
    struct fg_api *api = calloc(1, sizeof(*api));
    if (!api || copy_conf(api, conf) != FG_OK) {
        fg_api_close(api);
        return fg_fail(err, FG_NO_MEMORY, "api: out of memory");
    }
    api->hub = hub;
    api->handler = (struct fg_http_handler){.ctx = api,
                                            .head = on_head,
                                            .request = on_request,
                                            .over = on_over,
                                            .drained = on_drained,
                                            .refusal = on_refusal};
    *out = api;
    return FG_OK;
}

const struct fg_http_handler *fg_api_handler(struct fg_api *api)
{
    return &api->handler;
}

void fg_api_attach(struct fg_api *api, struct fg_http_server *server)
{
    api->server = server;
}

void fg_api_close(struct fg_api *api)
{
    if (!api)
        return;
    for (uint32_t i = 0; i < api->origin_count; i++)
        free(api->origins[i]);
    free(api->origins);
    free(api->default_model);
    free(api);
}
