/*
 * openai.so: any server that speaks OpenAI's dialect (vLLM, SGLang, llama-server, another Fluxgate,
 * a cloud) as a backend. README.md has the options. What is here is the table; requests go
 * through plugins/upstream.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "openai/openai.h"
#include "util/error.h"

enum { FIRST_LOOK_MS = 1500, LOOK_MS = 5000 };

/* ---- life ------------------------------------------------------------------------------------ */

static void openai_close(struct fg_backend *b)
{
    fg_site_close(b->site);
    fg_fetch_done(&b->fetch);
    fg_remote_models_done(&b->found);
    fg_remote_config_done(&b->config);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

static int32_t open_site(struct fg_backend *b, struct fg_error *err)
{
    const struct fg_remote_config *c = &b->config;
    const struct fg_site_config site = {
        .host = b->host,
        .client = {.url = c->url,
                   .ca_file = c->ca_file,
                   .verify = c->verify,
                   .times = c->times,
                   .keep_max = c->keep_max},
        .dialect = &fg_dialect_openai,
        .options = &c->dialect,
        .fields = fg_buf_str(&c->fields),
        .secrets = c->secrets,
        .secret_count = c->secret_count,
        .breaker_limit = c->breaker_limit,
        .breaker_ms = c->breaker_ms,
        .line_bytes = c->line_bytes,
        .probe_ms = c->probe_ms,
        .tick = fg_remote_look,
        .ctx = b,
    };
    return fg_site_open(&site, &b->site, err);
}

static bool is_here(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

static void warn(struct fg_backend *b)
{
    if (!b->config.url.is_tls && b->config.fields.len && !is_here(b->config.url.host))
        fg_site_log(b->site, FG_LOG_WARN, "upstream_key_in_clear",
                    "the key goes over the network without TLS: use https");
    if (b->config.url.is_tls && !b->config.verify)
        fg_site_log(b->site, FG_LOG_WARN, "upstream_not_verified",
                    "verify is false: whoever answers is believed, and gets the key");
}

static int32_t openai_open(const struct fg_host *host, struct fg_str options,
                           struct fg_backend **out, struct fg_error *err)
{
    struct fg_backend *b = calloc(1, sizeof *b);
    pthread_condattr_t attr;
    if (!b)
        return fg_fail(err, FG_NO_MEMORY, "openai: no memory for a backend");
    b->host = host;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, &attr);
    pthread_condattr_destroy(&attr);
    int32_t rc = fg_remote_config_parse(options, host, &b->config, err);
    if (rc == FG_OK)
        rc = open_site(b, err);
    if (rc != FG_OK) {
        openai_close(b);
        return rc;
    }
    warn(b);
    *out = b;
    return FG_OK;
}

static int32_t openai_device(struct fg_backend *b, uint32_t index, struct fg_device *out)
{
    if (index > 0)
        return FG_NOT_FOUND;
    const int32_t rc = fg_site_device(b->site, out);
    pthread_mutex_lock(&b->lock);
    if (out->state == FG_DEVICE_READY && !b->is_known && b->trouble[0]) {
        out->state = FG_DEVICE_DOWN;
        snprintf(out->reason, sizeof out->reason, "%s", b->trouble);
    }
    pthread_mutex_unlock(&b->lock);
    return rc;
}

/* ---- models ---------------------------------------------------------------------------------- */

static struct fg_model_info describe(const struct fg_backend *b, const char *name, uint32_t can,
                                     uint32_t context, uint32_t max_running)
{
    return (struct fg_model_info){
        .size = sizeof(struct fg_model_info),
        .can = can,
        .name = fg_str_of(name),
        .context = context,
        .max_running = max_running,
        .device = fg_str_of(b->config.url.authority),
    };
}

struct listing {
    struct fg_backend *b;
    fg_model_visit *visit;
    void *ctx;
};

static bool list_one(void *ctx, const struct fg_remote_model *m)
{
    const struct listing *l = ctx;
    const struct fg_model_info info = describe(l->b, m->ours, m->can, m->context, m->max_running);
    l->visit(l->ctx, &info);
    return true;
}

static int32_t openai_list(struct fg_backend *b, fg_model_visit *visit, void *ctx,
                           struct fg_error *err)
{
    struct listing l = {b, visit, ctx};
    (void)err;
    fg_remote_first_look(b, FIRST_LOOK_MS);
    fg_remote_each(b, list_one, &l);
    return FG_OK;
}

struct search {
    struct fg_str name;
    struct fg_model_ask ask;
    char ours[256], theirs[256];
    bool is_found;
};

static bool match(void *ctx, const struct fg_remote_model *m)
{
    struct search *s = ctx;
    if (!fg_str_is(s->name, m->ours))
        return true;
    snprintf(s->ours, sizeof s->ours, "%s", m->ours);
    snprintf(s->theirs, sizeof s->theirs, "%s", m->theirs);
    s->ask = (struct fg_model_ask){.ours = fg_str_of(s->ours),
                                   .theirs = fg_str_of(s->theirs),
                                   .can = m->can,
                                   .context = m->context,
                                   .max_running = m->max_running};
    s->is_found = true;
    return false;
}

static int32_t openai_load(struct fg_backend *b, const struct fg_model_spec *spec,
                           struct fg_model **out, struct fg_error *err)
{
    struct search s = {.name = spec->name};
    if (spec->path.len)
        return fg_fail(err, FG_UNSUPPORTED, "openai: model files are not read");
    if (spec->options_json.len && !fg_str_is(spec->options_json, "{}"))
        return fg_fail(err, FG_UNSUPPORTED, "openai: there are no options at load time");
    fg_remote_each(b, match, &s);
    if (!s.is_found) {
        fg_remote_look_now(b, LOOK_MS);
        fg_remote_each(b, match, &s);
    }
    if (!s.is_found)
        return fg_fail(err, FG_NOT_FOUND, "openai: the server %.100s has no model \"%.*s\"",
                       b->config.url.authority, (int)(spec->name.len < 80 ? spec->name.len : 80),
                       spec->name.ptr ? spec->name.ptr : "");
    if (spec->max_running && spec->max_running < s.ask.max_running)
        s.ask.max_running = spec->max_running;
    if (!s.ask.context) /* the server does not tell: what the gateway will ask for at most */
        s.ask.context = spec->context;
    return fg_model_open(b->site, &s.ask, out, err);
}

static void openai_info(struct fg_model *m, fg_model_visit *visit, void *ctx)
{
    const struct fg_model_info info = {
        .size = sizeof info,
        .can = m->can,
        .name = fg_str_of(m->ours),
        .context = m->context,
        .max_running = m->max_running,
        .device = fg_str_of(m->site->config.client.url.authority),
    };
    visit(ctx, &info);
}

static void openai_metrics(struct fg_backend *b, fg_metric_visit *visit, void *ctx)
{
    fg_site_metrics(b->site, visit, ctx);
}

static const void *openai_extension(struct fg_backend *b, const char *id)
{
    (void)b;
    (void)id;
    return NULL;
}

static const struct fg_plugin table = {
    .size = sizeof table,
    .abi = FG_ABI,
    .name = "openai",
    .version = FLUXGATE_VERSION,
    .open = openai_open,
    .close = openai_close,
    .device = openai_device,
    .list = openai_list,
    .load = openai_load,
    .info = openai_info,
    .unload = fg_model_close,
    .submit = fg_site_submit,
    .resume = fg_site_resume,
    .cancel = fg_site_cancel,
    .release = fg_site_release,
    .metrics = openai_metrics,
    .extension = openai_extension,
};

FG_EXPORT const struct fg_plugin *fg_plugin_entry(uint32_t host_abi)
{
    return host_abi >> 16 == FG_ABI_MAJOR ? &table : NULL;
}
