/*
 * api/routes.c - the one table of what is served, and the answers for what is not. The path was
 * decoded and normalised by the server: no trailing or doubled slash.
 */
#include <string.h>

#include "api/inner.h"

static const struct fg_route routes[] = {
    {FG_GET, "/", FG_DIALECT_OLLAMA, fg_ollama_root},
    {FG_GET, "/api/version", FG_DIALECT_OLLAMA, fg_ollama_version},
    {FG_GET, "/api/status", FG_DIALECT_OLLAMA, fg_ollama_status},
    {FG_GET, "/api/tags", FG_DIALECT_OLLAMA, fg_ollama_tags},
    {FG_GET, "/api/ps", FG_DIALECT_OLLAMA, fg_ollama_ps},
    {FG_POST, "/api/show", FG_DIALECT_OLLAMA, fg_ollama_show},
    {FG_POST, "/api/generate", FG_DIALECT_OLLAMA, fg_ollama_generate},
    {FG_POST, "/api/chat", FG_DIALECT_OLLAMA, fg_ollama_chat},
    {FG_POST, "/api/embed", FG_DIALECT_OLLAMA, fg_ollama_embed},
    {FG_POST, "/api/embeddings", FG_DIALECT_OLLAMA, fg_ollama_embeddings},
    {FG_POST, "/api/me", FG_DIALECT_OLLAMA, fg_ollama_account},
    {FG_POST, "/api/signout", FG_DIALECT_OLLAMA, fg_ollama_account},
    {FG_DELETE, "/api/user/keys/*", FG_DIALECT_OLLAMA, fg_ollama_account},
    {FG_GET, "/v1/models", FG_DIALECT_OPENAI, fg_openai_models},
    {FG_GET, "/models", FG_DIALECT_OPENAI, fg_openai_models},
    {FG_GET, "/v1/models/*", FG_DIALECT_OPENAI, fg_openai_model},
    {FG_POST, "/v1/chat/completions", FG_DIALECT_OPENAI, fg_openai_chat},
    {FG_POST, "/v1/completions", FG_DIALECT_OPENAI, fg_openai_complete},
    {FG_POST, "/v1/embeddings", FG_DIALECT_OPENAI, fg_openai_embed},
    {FG_POST, "/tokenize", FG_DIALECT_NATIVE, fg_native_tokenize},
    {FG_POST, "/detokenize", FG_DIALECT_NATIVE, fg_native_detokenize},
    {FG_POST, "/apply-template", FG_DIALECT_NATIVE, fg_native_render},
    {FG_GET, "/health", FG_DIALECT_NATIVE, fg_native_health},
    {FG_GET, "/ready", FG_DIALECT_NATIVE, fg_native_ready},
    {FG_GET, "/metrics", FG_DIALECT_NATIVE, fg_native_metrics},
    {FG_GET, "/api/fluxgate/health", FG_DIALECT_OLLAMA, fg_native_health_full},
    {FG_GET, "/api/fluxgate/gpus", FG_DIALECT_OLLAMA, fg_operator_gpus},
    {FG_GET, "/api/fluxgate/explain", FG_DIALECT_OLLAMA, fg_operator_explain},
};

static bool under(struct fg_str path, const char *root)
{
    struct fg_str r = fg_str_of(root);
    return fg_str_starts(path, r) && (path.len == r.len || path.ptr[r.len] == '/');
}

int32_t fg_route_dialect(struct fg_str path)
{
    if (under(path, "/v1/messages"))
        return FG_DIALECT_ANTHROPIC;
    if (under(path, "/v1") || under(path, "/models"))
        return FG_DIALECT_OPENAI;
    if (under(path, "/api"))
        return FG_DIALECT_OLLAMA;
    static const char *const native[] = {"/tokenize", "/detokenize", "/apply-template", "/health",
                                         "/ready", "/metrics"};
    for (size_t i = 0; i < sizeof(native) / sizeof(*native); i++)
        if (fg_str_is(path, native[i]))
            return FG_DIALECT_NATIVE;
    return FG_DIALECT_PLAIN;
}

static bool path_matches(const struct fg_route *r, struct fg_str path, struct fg_str *rest)
{
    struct fg_str pattern = fg_str_of(r->path);
    if (pattern.ptr[pattern.len - 1] != '*')
        return fg_str_eq(path, pattern);
    pattern.len--;
    if (!fg_str_starts(path, pattern) || path.len == pattern.len)
        return false;
    *rest = fg_str_from(path, pattern.len);
    return true;
}

const struct fg_route *fg_route_find(int32_t method, struct fg_str path, struct fg_str *rest,
                                     struct fg_buf *allow)
{
    static const char *const names[] = {"GET, HEAD", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
    for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++) {
        const struct fg_route *r = &routes[i];
        if (!path_matches(r, path, rest))
            continue;
        if (r->method == method || (r->method == FG_GET && method == FG_HEAD))
            return r;
        fg_buf_printf(allow, "%s%s", allow->len ? ", " : "", names[r->method]);
    }
    return NULL;
}

static const char *method_name(int32_t method)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    return method >= 0 && method <= FG_OPTIONS ? names[method] : "?";
}

void fg_route_unknown(struct fg_api *api, struct fg_exchange *x, struct fg_str allow)
{
    (void)api;
    const struct fg_http_request *r = fg_exchange_request(x);
    int32_t dialect = fg_route_dialect(r->path);
    struct fg_fault f;
    struct fg_str path = fg_cut64(r->path);
    if (allow.len)
        fg_exchange_set_header(x, "Allow", allow);
    if (dialect == FG_DIALECT_PLAIN || dialect == FG_DIALECT_OLLAMA) {
        fg_exchange_reply(x, allow.len ? 405 : 404, "text/plain",
                          allow.len ? FG_STR("405 method not allowed")
                                    : FG_STR("404 page not found"));
        return;
    }
    if (allow.len)
        fg_fault_set(&f, 405, "invalid_request_error", "method_not_allowed", NULL,
                     "Method %s is not allowed for this path", method_name(r->method));
    else
        fg_fault_set(&f, 404, "not_found_error", "unknown_url", NULL, "Invalid URL (%s %.*s)",
                     method_name(r->method), FG_STR_ARG(path));
    struct fg_buf body = {0};
    fg_fault_write(dialect, &f, &body);
    fg_exchange_reply(x, f.status, "application/json", fg_buf_str(&body));
    fg_buf_done(&body);
}
