/*
 * What the server has. Configured names come first; with `discover` the server is asked for its
 * list when the backend opens, again after a while, and at once when somebody wants a name that is
 * not known. When the list is another one the gateway is told (device_changed), and lists again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "openai/openai.h"
#include "util/clock.h"
#include "util/json.h"

enum {
    LIST_BYTES = 8 << 20,
    MODELS_MAX = 4096,
    LOOK_MS = 10000,       /* a look may take */
    FIRST_AGAIN_MS = 1000, /* after a failed one, doubled each time */
};

/* ---- lists ----------------------------------------------------------------------------------- */

void fg_remote_models_done(struct fg_remote_models *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        free(m->list[i].ours);
        free(m->list[i].theirs);
    }
    free(m->list);
    *m = (struct fg_remote_models){0};
}

bool fg_remote_models_add(struct fg_remote_models *m, const struct fg_remote_model *like,
                          struct fg_str ours, struct fg_str theirs)
{
    struct fg_remote_model *grown =
        realloc(m->list, ((size_t)m->count + 1) * sizeof *grown); /* lists are short */
    if (!grown)
        return false;
    m->list = grown;
    struct fg_remote_model one = *like;
    one.ours = strndup(ours.ptr, ours.len);
    one.theirs = strndup(theirs.ptr, theirs.len);
    if (!one.ours || !one.theirs) {
        free(one.ours);
        free(one.theirs);
        return false;
    }
    m->list[m->count++] = one;
    return true;
}

static bool same(const struct fg_remote_models *a, const struct fg_remote_models *b)
{
    bool is_same = a->count == b->count;
    for (uint32_t i = 0; is_same && i < a->count; i++)
        is_same = strcmp(a->list[i].theirs, b->list[i].theirs) == 0 &&
                  a->list[i].context == b->list[i].context;
    return is_same;
}

/* ---- the server's answer --------------------------------------------------------------------- */

/* What a request may have is worth more than what the model was trained with. */
static void take_context(struct fg_str key, const struct fg_json_value *v, uint32_t *context,
                         bool *is_sure)
{
    static const char *const names[] = {"max_model_len", "context_length", "context_window",
                                        "max_context_length", "n_ctx"};
    bool is_limit = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        is_limit |= fg_str_is(key, names[i]);
    const bool is_guess = fg_str_is(key, "n_ctx_train") && !*is_sure;
    if ((!is_limit && !is_guess) || v->integer <= 0 || v->integer >= 1 << 30)
        return;
    *context = (uint32_t)v->integer;
    *is_sure |= is_limit;
}

/* Members of one model, and of its `meta`. */
static void read_model(struct fg_json *j, struct fg_str *id, struct fg_remote_model *like)
{
    struct fg_json_value v;
    struct fg_str key;
    bool is_sure = false;
    while (fg_json_next(j, &key)) {
        const int32_t kind = fg_json_read(j, &v);
        if (kind == FG_JSON_STRING && fg_str_is(key, "id")) {
            *id = v.text;
        } else if (kind == FG_JSON_INT) {
            take_context(key, &v, &like->context, &is_sure);
        } else if (kind == FG_JSON_OBJECT && fg_str_is(key, "meta")) {
            while (fg_json_next(j, &key))
                if (fg_json_read(j, &v) == FG_JSON_INT)
                    take_context(key, &v, &like->context, &is_sure);
                else
                    fg_json_skip(j, &v);
        } else {
            fg_json_skip(j, &v);
        }
    }
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* A name that people can ask for: servers list paths of files ("/models/My Model.gguf") and what
 * not. The part behind the last slash is enough of a path, and of what has many slashes. */
static size_t name_of(struct fg_str prefix, struct fg_str id, char *out, size_t room)
{
    size_t slashes = 0, n = 0, last = 0;
    for (size_t i = 0; i < prefix.len + id.len; i++) {
        const char c = i < prefix.len ? prefix.ptr[i] : id.ptr[i - prefix.len];
        slashes += c == '/' || c == '\\';
        if (i >= prefix.len && (c == '/' || c == '\\'))
            last = i - prefix.len + 1;
    }
    if (slashes > 2 || !is_name_char(id.ptr[0]) || memchr(id.ptr, '\\', id.len))
        id = fg_str_from(id, last);
    if (fg_str_ends(id, FG_STR(".gguf")))
        id.len -= 5;
    bool has_tag = false;
    for (size_t i = 0; i < prefix.len + id.len && n < room - 1; i++) {
        const char c = i < prefix.len ? prefix.ptr[i] : id.ptr[i - prefix.len];
        const bool begins = n == 0 || out[n - 1] == '/';
        const bool is_kept =
            is_name_char(c) || c == '/' || c == '-' || c == '.' || (c == ':' && !has_tag);
        if (begins && !is_name_char(c))
            continue;
        has_tag |= c == ':';
        out[n++] = is_kept ? c : '-';
    }
    return n;
}

static bool add_found(const struct fg_backend *b, struct fg_remote_models *to, struct fg_str id,
                      const struct fg_remote_model *like)
{
    const struct fg_str prefix = fg_str_of(b->config.prefix ? b->config.prefix : "");
    char ours[512];
    if (!id.len || id.len + prefix.len > 255 || to->count >= MODELS_MAX)
        return true; /* nobody could ask for it */
    const size_t n = name_of(prefix, id, ours, sizeof ours);
    return n == 0 || fg_remote_models_add(to, like, (struct fg_str){ours, n}, id);
}

/* False: it is no list of models. */
static bool read_list(const struct fg_backend *b, struct fg_str body, struct fg_remote_models *to)
{
    struct fg_json j;
    struct fg_json_value v;
    struct fg_str key;
    bool has_data = false, good = true;
    struct fg_arena *arena = fg_arena_open(0, LIST_BYTES);
    if (!arena)
        return false;
    fg_json_init(&j, body, arena, 0);
    if (fg_json_read(&j, &v) == FG_JSON_OBJECT) {
        while (fg_json_next(&j, &key)) {
            if (!fg_str_is(key, "data"))
                continue;
            has_data = fg_json_read(&j, &v) == FG_JSON_ARRAY;
            while (has_data && fg_json_next(&j, NULL)) {
                struct fg_remote_model like = {.can = b->config.can,
                                               .context = b->config.context,
                                               .max_running = b->config.max_running};
                struct fg_str id = {0};
                if (fg_json_read(&j, &v) == FG_JSON_OBJECT)
                    read_model(&j, &id, &like);
                good = good && add_found(b, to, id, &like);
            }
            fg_json_skip(&j, &v);
        }
    }
    good = good && has_data && fg_json_end(&j) == FG_OK;
    fg_json_done(&j);
    fg_arena_close(arena);
    return good;
}

/* ---- a look, [io] ---------------------------------------------------------------------------- */

static void tell(struct fg_backend *b, bool was_good, bool changed, const char *trouble)
{
    char text[64];
    pthread_mutex_lock(&b->lock);
    const uint32_t count = b->found.count;
    const bool is_news = strcmp(b->trouble, trouble) != 0;
    snprintf(b->trouble, sizeof b->trouble, "%s", trouble);
    fg_site_scrub(b->site, b->trouble);
    b->looks++;
    b->is_known = b->is_known || was_good;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    if (was_good && changed) {
        snprintf(text, sizeof text, "%u models", count);
        fg_site_log(b->site, FG_LOG_INFO, "upstream_models", text);
    }
    if (!was_good && is_news)
        fg_site_log(b->site, FG_LOG_WARN, "upstream_models_unknown", trouble);
    if (changed || is_news)
        b->host->device_changed(b->host, 0);
}

static void plan(struct fg_backend *b, bool was_good)
{
    const uint64_t now = fg_client_now(b->site->client);
    uint64_t ms = b->config.discover_s * 1000ull;
    if (!was_good) {
        const uint32_t n = b->failed_in_a_row < 10 ? b->failed_in_a_row++ : 10;
        const uint64_t soon = (uint64_t)FIRST_AGAIN_MS << n;
        ms = soon < ms ? soon : ms;
    } else {
        b->failed_in_a_row = 0;
    }
    b->look_ns = now + ms * FG_NS_PER_MS;
}

static void looked(struct fg_backend *b, int32_t status, const char *text)
{
    struct fg_remote_models fresh = {0};
    char why[128] = "";
    bool changed = false;
    const int32_t http = b->fetch.http_status;
    if (status != FG_OK)
        snprintf(why, sizeof why, "%s", text);
    else if (http == 401 || http == 403)
        snprintf(why, sizeof why, "it refuses our key (HTTP %d)", http);
    else if (http != 200)
        snprintf(why, sizeof why, "it answers HTTP %d to /models", http);
    else if (!read_list(b, fg_buf_str(&b->fetch.body), &fresh))
        snprintf(why, sizeof why, "its answer to /models is no list of models");
    const bool good = !why[0];
    if (status == FG_OK && (http == 401 || http == 403 || good))
        fg_site_key_refused(b->site, !good);
    if (good) {
        pthread_mutex_lock(&b->lock);
        struct fg_remote_models old = b->found;
        changed = !b->is_known || !same(&old, &fresh);
        b->found = fresh;
        pthread_mutex_unlock(&b->lock);
        fresh = old;
    }
    fg_remote_models_done(&fresh);
    plan(b, good);
    tell(b, good, changed, why);
}

static void on_done(struct fg_fetch *f, int32_t status, const char *text)
{
    looked(FG_CONTAINER(f, struct fg_backend, fetch), status, text);
}

uint64_t fg_remote_look(void *ctx, uint64_t now)
{
    struct fg_backend *b = ctx;
    if (!b->config.discover)
        return UINT64_MAX;
    if (b->fetch.is_running) {
        if (now < b->fetch.due_ns)
            return b->fetch.due_ns;
        fg_exchange_stop(&b->fetch.ex);
        b->fetch.is_running = false;
        looked(b, FG_TIMEOUT, "it does not answer to /models in time");
        return b->look_ns;
    }
    const bool is_asked = __atomic_exchange_n(&b->is_asked, 0, __ATOMIC_ACQ_REL);
    if (!is_asked && now < b->look_ns)
        return b->look_ns;
    b->fetch.done = on_done;
    b->fetch.due_ns = now + LOOK_MS * FG_NS_PER_MS;
    fg_fetch_start(b->site, &b->fetch, "/models", LIST_BYTES);
    return b->fetch.due_ns;
}

/* ---- [control] ------------------------------------------------------------------------------- */

static void wait_for(struct fg_backend *b, uint64_t looks, uint32_t ms)
{
    struct timespec until;
    const uint64_t end = fg_clock_ns() + ms * FG_NS_PER_MS;
    until.tv_sec = (time_t)(end / FG_NS_PER_S);
    until.tv_nsec = (long)(end % FG_NS_PER_S);
    pthread_mutex_lock(&b->lock);
    while (b->looks < looks && pthread_cond_timedwait(&b->changed, &b->lock, &until) != ETIMEDOUT) {
    }
    pthread_mutex_unlock(&b->lock);
}

void fg_remote_first_look(struct fg_backend *b, uint32_t ms)
{
    if (b->config.discover)
        wait_for(b, 1, ms);
}

void fg_remote_look_now(struct fg_backend *b, uint32_t ms)
{
    if (!b->config.discover)
        return;
    pthread_mutex_lock(&b->lock);
    const uint64_t looks = b->looks;
    pthread_mutex_unlock(&b->lock);
    __atomic_store_n(&b->is_asked, 1, __ATOMIC_RELEASE);
    fg_client_wake(b->site->client);
    wait_for(b, looks + 1, ms);
}

void fg_remote_each(struct fg_backend *b, bool (*visit)(void *ctx, const struct fg_remote_model *),
                    void *ctx)
{
    bool goes_on = true;
    for (uint32_t i = 0; goes_on && i < b->config.models.count; i++)
        goes_on = visit(ctx, &b->config.models.list[i]);
    pthread_mutex_lock(&b->lock);
    for (uint32_t i = 0; goes_on && i < b->found.count; i++)
        goes_on = visit(ctx, &b->found.list[i]);
    pthread_mutex_unlock(&b->lock);
}
