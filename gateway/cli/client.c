/* See client.h. */
#include "cli/client.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "util/error.h"

struct transfer {
    CURL *curl;
    struct fg_buf text; /* the answer, or the part of a line that is still open */
    fg_client_line *line;
    void *ctx;
    bool ended_by_us;
    int code; /* exit code decided while streaming */
};

static struct {
    void *library;
    __typeof__(&curl_easy_init) init;
    __typeof__(&curl_easy_cleanup) cleanup;
    __typeof__(&curl_easy_setopt) setopt;
    __typeof__(&curl_easy_getinfo) getinfo;
    __typeof__(&curl_easy_perform) perform;
    __typeof__(&curl_easy_strerror) strerror;
} curl;
static volatile sig_atomic_t interrupted;

static bool load_library(void)
{
    const struct {
        const char *name;
        void *at;
    } calls[] = {
        {"curl_easy_init", &curl.init},       {"curl_easy_cleanup", &curl.cleanup},
        {"curl_easy_setopt", &curl.setopt},   {"curl_easy_getinfo", &curl.getinfo},
        {"curl_easy_perform", &curl.perform}, {"curl_easy_strerror", &curl.strerror},
    };
    if (curl.library)
        return true;
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; library && i < sizeof calls / sizeof *calls; i++) {
        void *call = dlsym(library, calls[i].name);
        if (!call)
            break;
        memcpy(calls[i].at, &call, sizeof call); /* POSIX: a function's address fits */
        if (i + 1 == sizeof calls / sizeof *calls)
            curl.library = library;
    }
    if (!curl.library)
        fprintf(stderr, "fluxgate: libcurl is needed to ask a server: %s\n", dlerror());
    return curl.library != NULL;
}

const char *fg_client_url(void)
{
    static char url[320];
    struct fg_conf_host host;
    struct fg_error err = {0};
    if (fg_conf_env_host(&host, &err) != FG_OK) {
        fprintf(stderr, "fluxgate: %s\n", err.text);
        return NULL;
    }
    const char *name = host.name;
    if (strcmp(name, "0.0.0.0") == 0 || strcmp(name, "::") == 0) /* "all of this machine" */
        name = *name == '0' ? "127.0.0.1" : "::1";
    bool six = strchr(name, ':') != NULL;
    snprintf(url, sizeof url, "http%s://%s%s%s:%u", host.https ? "s" : "", six ? "[" : "", name,
             six ? "]" : "", host.port);
    return url;
}

void fg_client_interrupt(void)
{
    interrupted = 1;
}

void fg_client_print(struct fg_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
        putchar(control ? '?' : c);
    }
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
    curl.getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
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

/* Comes about once a second while nothing does, and more often else. */
static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    struct transfer *t = ctx;
    if (!interrupted)
        return 0;
    t->ended_by_us = true;
    return 1;
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
        fprintf(stderr, "fluxgate: %s: %s\n", fg_client_url(), curl.strerror(rc));
        return 3;
    }
    long status = 0;
    curl.getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
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
        fprintf(stderr, "fluxgate: %s answered %ld and not what was asked for\n", fg_client_url(),
                status);
    json_decref(object);
    return 1;
}

static void set_options(struct transfer *t, const char *url, const char *body)
{
    curl.setopt(t->curl, CURLOPT_URL, url);
    curl.setopt(t->curl, CURLOPT_WRITEFUNCTION, on_data);
    curl.setopt(t->curl, CURLOPT_WRITEDATA, t);
    curl.setopt(t->curl, CURLOPT_NOPROGRESS, 0L);
    curl.setopt(t->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl.setopt(t->curl, CURLOPT_XFERINFODATA, t);
    curl.setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
    curl.setopt(t->curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl.setopt(t->curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    if (body)
        curl.setopt(t->curl, CURLOPT_POSTFIELDS, body);
}

static int ask(const char *path, const char *body, struct transfer *t, json_t **answer)
{
    char url[1400];
    const char *server = fg_client_url();
    if (!server)
        return 2;
    snprintf(url, sizeof url, "%s%s", server, path);
    t->curl = load_library() ? curl.init() : NULL;
    if (!t->curl)
        return 1;
    interrupted = 0;
    set_options(t, url, body);
    int code = finish(t, curl.perform(t->curl), answer);
    curl.cleanup(t->curl);
    fg_buf_done(&t->text);
    return code;
}

int fg_client_get(const char *path, json_t **answer)
{
    struct transfer t = {.line = NULL};
    return ask(path, NULL, &t, answer);
}

int fg_client_post(const char *path, json_t *body, fg_client_line *line, void *ctx, json_t **answer)
{
    struct transfer t = {.line = line, .ctx = ctx};
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    if (!text) {
        fprintf(stderr, "fluxgate: an argument is not UTF-8 text\n");
        return 2;
    }
    int code = ask(path, text, &t, answer);
    free(text);
    return code;
}
