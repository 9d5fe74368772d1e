/*
 * conf -> log -> gpu -> registry -> hub -> api -> workers and listeners; closed in reverse.
 * Listening comes last but waits for nobody: backends open on their control threads, the disk is
 * scanned by the keeper.
 */
#include "gateway.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "flow/hub.h"
#include "gpu/gpu.h"
#include "http/http.h"
#include "obs/log.h"
#include "obs/metrics.h"
#include "util/error.h"

enum { MAX_WORKERS = 256, DEFAULT_WORKERS = 4 };

struct fg_gateway {
    struct fg_conf *conf;
    struct fg_gpu *gpu;
    struct fg_registry *registry;
    struct fg_hub *hub; /* atomic: a backend's event may come before it is there */
    struct fg_api *api;
    struct fg_http_server *http;
    struct fg_worker *workers[MAX_WORKERS];
    uint32_t worker_count;
};

static void on_backend(void *ctx, struct fg_backend_slot *slot)
{
    struct fg_gateway *g = ctx;
    struct fg_hub *hub = __atomic_load_n(&g->hub, __ATOMIC_ACQUIRE);
    if (hub)
        fg_hub_backend_changed(hub, slot);
}

static uint32_t worker_count(const struct fg_conf *conf)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t n = conf->workers;
    if (!n)
        n = cores < 1 ? 1 : cores > DEFAULT_WORKERS ? DEFAULT_WORKERS : (uint32_t)cores;
    return n > MAX_WORKERS ? MAX_WORKERS : n;
}

static int32_t open_workers(struct fg_gateway *g, struct fg_error *err)
{
    uint32_t wanted = worker_count(g->conf);
    for (uint32_t i = 0; i < wanted; i++) {
        int32_t rc = fg_worker_open(i, &g->workers[i], err);
        if (rc != FG_OK)
            return rc;
        g->worker_count = i + 1;
    }
    return FG_OK;
}

static int32_t open_flow(struct fg_gateway *g, struct fg_error *err)
{
    struct fg_registry_events events = {.ctx = g, .changed = on_backend};
    struct fg_hub *hub;
    int32_t rc = fg_gpu_open(g->conf, &g->gpu, err); /* before backends take memory on cards */
    if (rc == FG_OK)
        rc = fg_registry_open(g->conf, NULL, &events, &g->registry, err);
    if (rc == FG_OK)
        rc = fg_hub_open(g->conf, g->registry, &hub, err);
    if (rc != FG_OK)
        return rc;
    fg_hub_attach_gpu(hub, g->gpu);
    __atomic_store_n(&g->hub, hub, __ATOMIC_RELEASE);
    /* An event that came before the hub was there is made up for. */
    for (uint32_t i = 0; i < fg_registry_count(g->registry); i++)
        fg_hub_backend_changed(hub, fg_registry_at(g->registry, i));
    return FG_OK;
}

static int32_t open_front(struct fg_gateway *g, struct fg_error *err)
{
    int32_t rc = fg_api_open(g->conf, g->hub, &g->api, err);
    if (rc == FG_OK)
        rc = fg_http_open(g->conf, fg_api_handler(g->api), g->workers, g->worker_count, &g->http,
                          err);
    if (rc == FG_OK)
        fg_api_attach(g->api, g->http);
    for (uint32_t i = 0; rc == FG_OK && i < g->worker_count; i++)
        rc = fg_worker_start(g->workers[i], err);
    return rc;
}

int32_t fg_gateway_check(const struct fg_conf *conf, struct fg_error *err)
{
    return fg_gpus_check(conf, err);
}

int32_t fg_gateway_open(struct fg_conf *conf, struct fg_gateway **out, struct fg_error *err)
{
    struct fg_gateway *g = calloc(1, sizeof *g);
    if (!g) {
        fg_conf_free(conf);
        return fg_fail(err, FG_NO_MEMORY, "no memory for the gateway");
    }
    g->conf = conf;
    int32_t rc = fg_gateway_check(conf, err);
    if (rc == FG_OK)
        rc = fg_log_open(conf->log_path, conf->log_level, err);
    if (rc == FG_OK)
        rc = open_workers(g, err);
    if (rc == FG_OK)
        rc = open_flow(g, err);
    if (rc == FG_OK)
        rc = open_front(g, err);
    if (rc != FG_OK) {
        fg_gateway_close(g);
        return rc;
    }
    *out = g;
    return FG_OK;
}

uint16_t fg_gateway_port(const struct fg_gateway *g, uint32_t listen_index)
{
    return fg_http_port(g->http, listen_index);
}

const struct fg_conf *fg_gateway_conf(const struct fg_gateway *g)
{
    return g->conf;
}

void fg_gateway_drain(struct fg_gateway *g)
{
    fg_hub_drain(g->hub);
    fg_http_drain(g->http);
}

uint32_t fg_gateway_busy(const struct fg_gateway *g)
{
    uint32_t jobs = fg_hub_running(g->hub), exchanges = fg_http_active(g->http);
    return jobs > exchanges ? jobs : exchanges;
}

void fg_gateway_cancel_all(struct fg_gateway *g)
{
    fg_hub_cancel_all(g->hub);
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_listen(const struct fg_conf *a, const struct fg_conf *b)
{
    if (a->listen_count != b->listen_count)
        return false;
    for (uint32_t i = 0; i < a->listen_count; i++)
        if (!same_text(a->listen[i].address, b->listen[i].address) ||
            a->listen[i].port != b->listen[i].port)
            return false;
    return true;
}

static bool same_gpus(const struct fg_conf_backend *a, const struct fg_conf_backend *b)
{
    if (a->gpu_count != b->gpu_count)
        return false;
    for (uint32_t i = 0; i < a->gpu_count; i++)
        if (!same_text(a->gpus[i], b->gpus[i]))
            return false;
    return true;
}

static bool same_backends(const struct fg_conf *a, const struct fg_conf *b)
{
    if (a->backend_count != b->backend_count)
        return false;
    for (uint32_t i = 0; i < a->backend_count; i++)
        if (!same_text(a->backends[i].name, b->backends[i].name) ||
            !same_text(a->backends[i].plugin, b->backends[i].plugin) ||
            !same_text(a->backends[i].config_json, b->backends[i].config_json) ||
            a->backends[i].isolate != b->backends[i].isolate ||
            !same_gpus(&a->backends[i], &b->backends[i]))
            return false;
    return true;
}

static bool same_gpu(const struct fg_conf_gpu *a, const struct fg_conf_gpu *b)
{
    return a->enable == b->enable && same_text(a->library, b->library) &&
           a->interval_ms == b->interval_ms && a->history == b->history;
}

static bool same_origins(const struct fg_conf *a, const struct fg_conf *b)
{
    if (a->origin_count != b->origin_count)
        return false;
    for (uint32_t i = 0; i < a->origin_count; i++)
        if (!same_text(a->origins[i], b->origins[i]))
            return false;
    return true;
}

/* What needs a restart is named, never silently half applied. */
static void tell_not_applied(const struct fg_conf *now, const struct fg_conf *wanted)
{
    const struct {
        const char *key;
        bool same;
    } rows[] = {
        {"listen", same_listen(now, wanted)},
        {"backends", same_backends(now, wanted)},
        {"gpu", same_gpu(&now->gpu, &wanted->gpu)},
        {"plugin_dir", same_text(now->plugin_dir, wanted->plugin_dir)},
        {"workers", now->workers == wanted->workers},
        {"log_path", same_text(now->log_path, wanted->log_path)},
        {"log_prompts", now->log_prompts == wanted->log_prompts},
        {"origins", same_origins(now, wanted)},
        {"drain_ms", now->drain_ms == wanted->drain_ms},
        {"limits", memcmp(&now->limits, &wanted->limits, sizeof now->limits) == 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!rows[i].same)
            fg_log(FG_LOG_WARN, "reload_not_applied", "key=%s reason=needs_restart", rows[i].key);
}

int32_t fg_gateway_reload(struct fg_gateway *g, const char *conf_path, struct fg_error *err)
{
    struct fg_conf *fresh = NULL;
    int32_t rc = fg_conf_load(conf_path, &fresh, err);
    if (rc == FG_OK)
        rc = fg_hub_reload(g->hub, fresh, err);
    if (rc == FG_OK) {
        fg_log_set_level(fresh->log_level);
        tell_not_applied(g->conf, fresh);
        fg_log(FG_LOG_INFO, "reload_applied", "keys=models,queue,log_level");
    }
    fg_conf_free(fresh);
    return rc;
}

void fg_gateway_close(struct fg_gateway *g)
{
    if (!g)
        return;
    if (g->hub && fg_hub_running(g->hub)) {
        /* A backend did not give its jobs back in time: their events may still come, so nothing
         * they touch is freed. Children notice the closed socket and end. */
        fg_log(FG_LOG_ERROR, "hard_end", "jobs=%u", fg_hub_running(g->hub));
        fg_log_close();
        _exit(0);
    }
    for (uint32_t i = 0; i < g->worker_count; i++)
        fg_worker_stop(g->workers[i]);
    for (uint32_t i = 0; i < g->worker_count; i++)
        fg_worker_join(g->workers[i]);
    if (g->http) /* its events need the workers' bases, but no turning loop */
        fg_http_close(g->http);
    for (uint32_t i = 0; i < g->worker_count; i++)
        fg_worker_close(g->workers[i]);
    if (g->api)
        fg_api_close(g->api);
    struct fg_hub *hub = __atomic_exchange_n(&g->hub, NULL, __ATOMIC_ACQ_REL);
    if (hub)
        fg_hub_detach_gpu(hub);
    fg_gpu_close(g->gpu);
    fg_hub_close(hub);
    if (g->registry)
        fg_registry_close(g->registry);
    fg_conf_free(g->conf);
    fg_metrics_done();
    fg_log_close();
    free(g);
}
