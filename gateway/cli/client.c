/* See client.h. */
#include "cli/client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct transfer {
    CURL *curl;
    struct fg_buf text; /* the answer, or the part of a line that is still open */
    fg_client_line *line;
    void *ctx;
    bool ended_by_us;
    int code; /* exit code decided while streaming */
};

const char *fg_client_url(void)
{
    static char url[512];
    const char *host = getenv("FLUXGATE_HOST");
    if (!host || !*host)
        host = getenv("OLLAMA_HOST");
    if (!host || !*host) {
        const char *port = getenv("FLUXGATE_PORT");
        snprintf(url, sizeof url, "http://127.0.0.1:%s", port && *port ? port : "11434");
        return url;
    }
    bool scheme = strstr(host, "://") != NULL;
    const char *rest = scheme ? strstr(host, "://") + 3 : host;
    const char *bracket = strrchr(rest, ']');
    const char *colon = strchr(bracket ? bracket : rest, ':');
    if (*rest == ':') /* ":8080": this machine */
        snprintf(url, sizeof url, "http://127.0.0.1%s", rest);
    else
        snprintf(url, sizeof url, "%s%s%s", scheme ? "" : "http://", host,
                 colon || scheme ? "" : ":11434");
    return url;
}

/* {"error": "text"} or {"error": {"message": "text"}} in an answer; NULL when there is none. */
static const char *error_text(const json_t *object)
{
    const json_t *error = json_object_get(object, "error");
    if (json_is_object(error))
        error = json_object_get(error, "message");
    return json_string_value(error);
}

static bool take_line(struct transfer *t, const char *line, size_t len)
{
    if (len == 0)
        return true;
    json_t *object = json_loadb(line, len, 0, NULL);
    if (!object) {
        fprintf(stderr, "fluxgate: the answer is not JSON: %.*s\n", len > 200 ? 200 : (int)len,
                line);
        t->code = 1;
        return false;
    }
    bool go_on = false;
    const char *error = error_text(object);
    if (error) {
        fprintf(stderr, "fluxgate: %s\n", error);
        t->code = 1;
    } else {
        go_on = t->line(t->ctx, object);
        t->ended_by_us = !go_on;
    }
    json_decref(object);
    return go_on;
}

static size_t on_data(char *data, size_t one, size_t n, void *ctx)
{
    (void)one;
    struct transfer *t = ctx;
    if (!fg_buf_add(&t->text, (struct fg_str){data, n}))
        return 0;
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (!t->line || status != 200)
        return n;
    size_t from = 0;
    for (size_t i = 0; i < t->text.len; i++) {
        if (t->text.ptr[i] != '\n')
            continue;
        if (!take_line(t, t->text.ptr + from, i - from))
            return 0;
        from = i + 1;
    }
    memmove(t->text.ptr, t->text.ptr + from, t->text.len - from);
    t->text.len -= from;
    return n;
}

static int finish(struct transfer *t, CURLcode rc, json_t **answer)
{
    if (t->code || t->ended_by_us)
        return t->code;
    if (rc == CURLE_COULDNT_CONNECT || rc == CURLE_COULDNT_RESOLVE_HOST) {
        fprintf(stderr, "fluxgate: no server answers at %s (start one: fluxgate serve)\n",
                fg_client_url());
        return 3;
    }
    if (rc != CURLE_OK) {
        fprintf(stderr, "fluxgate: %s: %s\n", fg_client_url(), curl_easy_strerror(rc));
        return 3;
    }
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200 && t->line)
        return t->text.len && !take_line(t, t->text.ptr, t->text.len) ? t->code : 0;
    json_t *object = json_loadb(t->text.ptr ? t->text.ptr : "", t->text.len, 0, NULL);
    if (status == 200 && object) {
        *answer = object;
        return 0;
    }
    const char *error = error_text(object);
    if (error)
        fprintf(stderr, "fluxgate: %s\n", error);
    else
        fprintf(stderr, "fluxgate: the server answered %ld\n", status);
    json_decref(object);
    return 1;
}

int fg_client_ask(const char *path, json_t *body, fg_client_line *line, void *ctx,
                  json_t **answer)
{
    struct transfer t = {.line = line, .ctx = ctx};
    struct fg_buf url = {0};
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    int code = 1;
    bool ok = (text || !body) && fg_buf_printf(&url, "%s%s", fg_client_url(), path);
    json_decref(body);
    t.curl = ok ? curl_easy_init() : NULL;
    if (!t.curl) {
        fprintf(stderr, "fluxgate: out of memory\n");
        goto done;
    }
    curl_easy_setopt(t.curl, CURLOPT_URL, url.ptr);
    curl_easy_setopt(t.curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(t.curl, CURLOPT_WRITEDATA, &t);
    curl_easy_setopt(t.curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t.curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl_easy_setopt(t.curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    if (text)
        curl_easy_setopt(t.curl, CURLOPT_POSTFIELDS, text);
    code = finish(&t, curl_easy_perform(t.curl), answer);
done:
    curl_easy_cleanup(t.curl);
    fg_buf_done(&t.text);
    fg_buf_done(&url);
    free(text);
    return code;
}
