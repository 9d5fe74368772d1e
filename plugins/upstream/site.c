/*
 * See site.h. The breaker decides on the client's thread, where jobs end; workers only look at it.
 * While it is open the tick starts one real request of one token, whose end decides again.
 */
#include "upstream/site.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/clock.h"
#include "util/error.h"

enum { SECRET_MIN = 4 /* shorter ones are words */, LENGTH_ROOM = 10, ARENA_BYTES = 64 << 20 };

/* ---- words ----------------------------------------------------------------------------------- */

/* A text may have been cut within a secret: its beginning at the end is one as well. */
static void scrub_end(struct fg_str secret, char *text)
{
    const size_t len = strlen(text);
    for (size_t n = secret.len - 1; n >= SECRET_MIN; n--)
        if (n <= len && memcmp(text + len - n, secret.ptr, n) == 0) {
            memset(text + len - n, '*', n);
            return;
        }
}

void fg_site_scrub(const struct fg_site *site, char *text)
{
    for (uint32_t i = 0; i < site->config.secret_count; i++) {
        const struct fg_str secret = site->config.secrets[i];
        char *at = text;
        if (secret.len < SECRET_MIN)
            continue;
        while ((at = memmem(at, strlen(at), secret.ptr, secret.len)))
            memset(at, '*', secret.len);
        scrub_end(secret, text);
    }
}

void fg_site_log(struct fg_site *site, int32_t level, const char *event, const char *text)
{
    char clean[256], line[600];
    snprintf(clean, sizeof clean, "%s", text);
    fg_site_scrub(site, clean);
    for (char *c = clean; *c; c++)
        *c = *c == '"' ? '\'' : (unsigned char)*c < 0x20 ? ' ' : *c;
    const int n = snprintf(line, sizeof line, "%s server=%s text=\"%s\"", event,
                           site->config.client.url.authority, clean);
    const size_t len = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    site->config.host->log(site->config.host, level, (struct fg_str){line, len});
}

static bool write_common(struct fg_site *site)
{
    const struct fg_url *url = &site->config.client.url;
    struct fg_buf *b = &site->common;
    fg_buf_printf(b,
                  " HTTP/1.1\r\nHost: %s\r\nUser-Agent: fluxgate/" FLUXGATE_VERSION
                  "\r\nAccept-Encoding: identity\r\n",
                  url->authority);
    fg_buf_add(b, site->config.fields);
    return fg_buf_add(b, FG_STR("Accept: "));
}

size_t fg_site_head(const struct fg_site *site, struct fg_buf *b, const char *method,
                    const char *path, const char *accept)
{
    size_t mark = 0;
    fg_buf_reserve(b, site->common.len + 512);
    fg_buf_add(b, fg_str_of(method));
    fg_buf_addc(b, ' ');
    fg_buf_add(b, fg_str_of(site->config.client.url.path));
    fg_buf_add(b, fg_str_of(path));
    fg_buf_add(b, fg_buf_str(&site->common));
    fg_buf_add(b, fg_str_of(accept));
    if (strcmp(method, "GET") != 0) {
        fg_buf_add(b, FG_STR("\r\nContent-Type: application/json\r\nContent-Length: "));
        mark = b->len;
        fg_buf_add(b, FG_STR("          "));
    }
    fg_buf_add(b, FG_STR("\r\n\r\n"));
    return mark;
}

void fg_site_head_end(struct fg_buf *b, size_t mark)
{
    if (b->failed || !mark)
        return;
    char *to = b->ptr + mark + LENGTH_ROOM;
    size_t body = b->len - (mark + LENGTH_ROOM + 4);
    do {
        *--to = (char)('0' + body % 10);
        body /= 10;
    } while (body && to > b->ptr + mark);
}

/* ---- the breaker ----------------------------------------------------------------------------- */

static void told_state(struct fg_site *site, int32_t before, int32_t after, const char *text)
{
    if (before == after)
        return;
    if (after == FG_BREAKER_OPEN)
        fg_site_log(site, FG_LOG_WARN,
                    before == FG_BREAKER_PROBING ? "upstream_still_down" : "upstream_down", text);
    else if (after == FG_BREAKER_CLOSED)
        fg_site_log(site, FG_LOG_INFO, "upstream_back", "one token came");
    site->config.host->device_changed(site->config.host, 0);
}

static void keep_trouble(struct fg_site *site, const char *text) /* [lock] */
{
    snprintf(site->trouble, sizeof site->trouble, "%s", text);
    fg_site_scrub(site, site->trouble);
}

void fg_site_report(struct fg_site *site, bool is_probe, int32_t verdict, int32_t trouble,
                    const char *text)
{
    const uint64_t now = fg_client_now(site->client);
    const bool is_bad = verdict == FG_VERDICT_BAD;
    if (is_bad)
        __atomic_fetch_add(&site->failures[trouble], 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&site->lock);
    const int32_t before = site->breaker.state;
    if (is_probe)
        fg_breaker_probed(&site->breaker, !is_bad, now);
    else if (is_bad)
        (void)fg_breaker_bad(&site->breaker, now);
    else if (verdict == FG_VERDICT_GOOD)
        fg_breaker_good(&site->breaker);
    const int32_t after = site->breaker.state;
    if (is_bad)
        keep_trouble(site, text);
    pthread_mutex_unlock(&site->lock);
    if (is_bad && !is_probe)
        fg_site_log(site, FG_LOG_WARN, "upstream_failed", text);
    told_state(site, before, after, text);
}

void fg_site_key_refused(struct fg_site *site, bool refused)
{
    pthread_mutex_lock(&site->lock);
    const bool changed = site->is_key_refused != refused;
    site->is_key_refused = refused;
    pthread_mutex_unlock(&site->lock);
    if (!changed)
        return;
    if (refused)
        fg_site_log(site, FG_LOG_ERROR, "upstream_key_refused",
                    "check api_key, api_key_file or api_key_env");
    site->config.host->device_changed(site->config.host, 0);
}

static uint64_t probe(struct fg_site *site, uint64_t now)
{
    if (site->probe) {
        if (now < site->probe_due_ns)
            return site->probe_due_ns;
        fg_site_probe_stop(site->probe);
        site->probe = NULL;
        fg_site_report(site, true, FG_VERDICT_BAD, FG_TROUBLE_TIMEOUT,
                       "the probe got no token in time");
    }
    pthread_mutex_lock(&site->lock);
    const int32_t before = site->breaker.state;
    const bool is_due = fg_breaker_probe(&site->breaker, now);
    const uint64_t next = fg_breaker_next_ns(&site->breaker);
    pthread_mutex_unlock(&site->lock);
    if (!is_due)
        return next;
    __atomic_fetch_add(&site->probes, 1, __ATOMIC_RELAXED);
    told_state(site, before, FG_BREAKER_PROBING, "");
    site->probe_due_ns = now + site->config.probe_ms * FG_NS_PER_MS;
    site->probe = fg_site_probe(site);
    if (!site->probe)
        fg_site_report(site, true, FG_VERDICT_BAD, FG_TROUBLE_NONE, "no memory for a probe");
    return site->probe ? site->probe_due_ns : 0;
}

static uint64_t tick(void *ctx, uint64_t now)
{
    struct fg_site *site = ctx;
    const uint64_t a = probe(site, now);
    const uint64_t b = site->config.tick ? site->config.tick(site->config.ctx, now) : UINT64_MAX;
    return a < b ? a : b;
}

/* ---- what is told ---------------------------------------------------------------------------- */

int32_t fg_site_device(struct fg_site *site, struct fg_device *out)
{
    const struct fg_url *url = &site->config.client.url;
    out->memory_total = out->memory_free = 0;
    out->busy = out->celsius = out->watts = NAN;
    out->state = FG_DEVICE_READY;
    out->reason[0] = '\0';
    snprintf(out->name, sizeof out->name, "%.63s", url->authority);
    snprintf(out->id, sizeof out->id, "%s%.50s", url->is_tls ? "https://" : "http://",
             url->authority);
    pthread_mutex_lock(&site->lock);
    out->faults = site->breaker.opened;
    if (site->breaker.state != FG_BREAKER_CLOSED) {
        out->state = FG_DEVICE_DOWN;
        snprintf(out->reason, sizeof out->reason, "%.100s%s", site->trouble,
                 site->breaker.state == FG_BREAKER_PROBING ? " (trying again)" : "");
    } else if (site->is_key_refused) {
        out->state = FG_DEVICE_DEGRADED;
        snprintf(out->reason, sizeof out->reason, "the server refuses our key");
    }
    pthread_mutex_unlock(&site->lock);
    return FG_OK;
}

static double load(const uint64_t *counter)
{
    return (double)__atomic_load_n(counter, __ATOMIC_RELAXED);
}

void fg_site_metrics(struct fg_site *site, fg_metric_visit *visit, void *ctx)
{
    struct fg_client_numbers n = {0};
    char label[40];
    fg_client_count(site->client, &n);
    pthread_mutex_lock(&site->lock);
    const int32_t state = site->breaker.state;
    const uint64_t opened = site->breaker.opened;
    pthread_mutex_unlock(&site->lock);
    visit(ctx, "upstream_requests_total", "", load(&site->requests));
    visit(ctx, "upstream_done_total", "", load(&site->done));
    visit(ctx, "upstream_cancelled_total", "", load(&site->cancelled));
    visit(ctx, "upstream_busy_total", "", load(&site->busy));
    for (int32_t i = FG_TROUBLE_DNS; i < FG_TROUBLES; i++) {
        snprintf(label, sizeof label, "kind=\"%s\"", fg_trouble_name(i));
        visit(ctx, "upstream_failures_total", label, load(&site->failures[i]));
    }
    visit(ctx, "upstream_breaker_state", "", state);
    visit(ctx, "upstream_breaker_opened_total", "", (double)opened);
    visit(ctx, "upstream_probes_total", "", load(&site->probes));
    visit(ctx, "upstream_running", "", __atomic_load_n(&site->running, __ATOMIC_RELAXED));
    visit(ctx, "upstream_connections", "state=\"open\"", n.open);
    visit(ctx, "upstream_connections", "state=\"idle\"", n.idle);
    visit(ctx, "upstream_connections_opened_total", "", (double)n.opened);
    visit(ctx, "upstream_connections_reused_total", "", (double)n.reused);
    visit(ctx, "upstream_bytes_total", "direction=\"in\"", (double)n.bytes_in);
    visit(ctx, "upstream_bytes_total", "direction=\"out\"", (double)n.bytes_out);
}

/* ---- life ------------------------------------------------------------------------------------ */

int32_t fg_site_open(const struct fg_site_config *config, struct fg_site **out,
                     struct fg_error *err)
{
    struct fg_site *site = calloc(1, sizeof *site);
    if (!site)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a server");
    site->config = *config;
    site->arena = fg_arena_open(16 << 10, ARENA_BYTES);
    pthread_mutex_init(&site->lock, NULL);
    fg_breaker_init(&site->breaker, config->breaker_limit, config->breaker_ms * FG_NS_PER_MS);
    struct fg_client_config client = config->client;
    client.tick = tick;
    client.ctx = site;
    *out = site; /* the tick may come before open() is back */
    int32_t rc = site->arena && write_common(site)
                     ? fg_client_open(&client, &site->client, err)
                     : fg_fail(err, FG_NO_MEMORY, "no memory for a server");
    if (rc != FG_OK) {
        fg_site_close(site);
        *out = NULL;
    }
    return rc;
}

void fg_site_close(struct fg_site *site)
{
    if (!site)
        return;
    fg_client_close(site->client);
    if (site->common.ptr) /* a key is in it */
        explicit_bzero(site->common.ptr, site->common.capacity);
    fg_buf_done(&site->common);
    fg_arena_close(site->arena);
    pthread_mutex_destroy(&site->lock);
    free(site);
}

int32_t fg_model_open(struct fg_site *site, const struct fg_model_ask *ask, struct fg_model **out,
                      struct fg_error *err)
{
    struct fg_model *m = calloc(1, sizeof *m);
    if (m) {
        m->site = site;
        m->can = ask->can;
        m->context = ask->context;
        m->max_running = ask->max_running;
        m->ours = strndup(ask->ours.ptr, ask->ours.len);
        m->theirs = strndup(ask->theirs.ptr, ask->theirs.len);
    }
    if (!m || !m->ours || !m->theirs) {
        fg_model_close(m);
        return fg_fail(err, FG_NO_MEMORY, "no memory for a model");
    }
    *out = m;
    return FG_OK;
}

void fg_model_close(struct fg_model *m)
{
    if (!m)
        return;
    free(m->ours);
    free(m->theirs);
    free(m);
}
