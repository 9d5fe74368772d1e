/*
 * One configured backend: opened on its control thread, its child started again with growing
 * pauses, its state in a snapshot for everybody.
 *
 *   STARTING -> UP         the plugin is open (in this process or in a child)
 *   STARTING -> FAILED     wrong ABI, not a plugin, refused configuration: final
 *   UP -> DOWN -> UP       the child ended; pauses of 0.5 s, 1 s, 2 s ... 60 s, each a little
 *                          random, and from the start again after 10 good minutes
 *   DOWN -> FAILED         5 ends within 5 minutes; one more try every 5 minutes
 */
#include "plugin/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "obs/log.h"
#include "obs/metrics.h"
#include "plugin/inner.h"
#include "plugin/loader.h"
#include "plugin/remote.h"
#include "plugin/stream.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/str.h"

enum {
    FIRST_PAUSE_MS = 500,
    LONGEST_PAUSE_MS = 60 * 1000,
    CRASH_LOOP_S = 5 * 60,
    HEALTHY_S = 10 * 60,
    RETRY_FAILED_S = 5 * 60,
};

/* ---- the snapshot ------------------------------------------------------------------------------
 */

const char *fg_backend_name(const struct fg_backend_slot *slot)
{
    return slot->name;
}

void fg_backend_get_status(const struct fg_backend_slot *slot, struct fg_backend_status *out)
{
    struct fg_backend_slot *s = (struct fg_backend_slot *)slot; /* a lock is no change */
    pthread_mutex_lock(&s->lock);
    *out = s->status;
    pthread_mutex_unlock(&s->lock);
}

struct fg_control *fg_backend_control(struct fg_backend_slot *slot)
{
    return slot->control;
}

const struct fg_plugin *fg_backend_table(const struct fg_backend_slot *slot)
{
    struct fg_backend_slot *s = (struct fg_backend_slot *)slot;
    pthread_mutex_lock(&s->lock);
    const struct fg_plugin *table = s->table;
    pthread_mutex_unlock(&s->lock);
    return table;
}

struct fg_backend *fg_backend_instance(const struct fg_backend_slot *slot)
{
    struct fg_backend_slot *s = (struct fg_backend_slot *)slot;
    pthread_mutex_lock(&s->lock);
    struct fg_backend *instance = s->instance;
    pthread_mutex_unlock(&s->lock);
    return instance;
}

static void set_state_locked(struct fg_backend_slot *slot, int32_t state, const char *reason)
{
    struct fg_str text = fg_str_of(reason);
    bool broken;
    if (text.len >= sizeof slot->status.reason)
        text.len = sizeof slot->status.reason - 1;
    text.len = fg_utf8_valid(text, &broken);
    memcpy(slot->status.reason, text.ptr ? text.ptr : "", text.len);
    slot->status.reason[text.len] = '\0';
    slot->status.state = state;
    if (state != FG_BACKEND_UP)
        slot->status.pid = 0;
}

static void gauge(const struct fg_backend_slot *slot, const char *name, const char *help,
                  enum fg_metric_kind kind, double value)
{
    char labels[128];
    snprintf(labels, sizeof labels, "backend=\"%.64s\"", slot->name);
    struct fg_metric *m = fg_metric(kind, name, help, labels, NULL, 0);
    if (kind == FG_METRIC_COUNTER)
        fg_metric_add(m, value);
    else
        fg_metric_set(m, value);
}

static void tell(struct fg_backend_slot *slot)
{
    static const char *const names[] = {"backend_starting", "backend_up", "backend_down",
                                        "backend_failed"};
    struct fg_backend_status s;
    char text[256];
    fg_backend_get_status(slot, &s);
    int32_t level = s.state == FG_BACKEND_UP       ? FG_LOG_INFO
                    : s.state == FG_BACKEND_FAILED ? FG_LOG_ERROR
                                                   : FG_LOG_WARN;
    fg_log(level, names[s.state], "backend=%s pid=%d generation=%u restarts=%u reason=%s",
           slot->name, (int)s.pid, s.generation, s.restarts,
           fg_log_quote(fg_str_of(s.reason), text, sizeof text));
    gauge(slot, "fluxgate_backend_up", "1 while the backend serves.", FG_METRIC_GAUGE,
          s.state == FG_BACKEND_UP);
    if (slot->events.changed && !slot->closing)
        slot->events.changed(slot->events.ctx, slot);
}

static void set_state(struct fg_backend_slot *slot, int32_t state, const char *reason)
{
    pthread_mutex_lock(&slot->lock);
    set_state_locked(slot, state, reason);
    pthread_mutex_unlock(&slot->lock);
    tell(slot);
}

/* ---- what the gateway offers to a plugin -------------------------------------------------------
 */

static void host_log(const struct fg_host *host, int32_t level, struct fg_str text)
{
    const struct fg_backend_slot *slot = host->ctx;
    char quoted[1200];
    if (level < FG_LOG_ERROR || level > FG_LOG_DEBUG)
        level = FG_LOG_INFO;
    if (level <= fg_log_level())
        fg_log(level, "plugin", "backend=%s text=%s", slot->name,
               fg_log_quote(text, quoted, sizeof quoted));
}

static void tell_device(struct fg_backend_slot *slot, uint32_t index, const struct fg_device *d)
{
    static const char *const states[] = {"ready", "degraded", "down"};
    char name[80], reason[160];
    if (d->state < 0 || d->state > FG_DEVICE_DOWN || slot->told[index] == d->state)
        return;
    slot->told[index] = d->state;
    fg_log(
        d->state == FG_DEVICE_READY ? FG_LOG_INFO : FG_LOG_WARN, "device",
        "backend=%s index=%u name=%s state=%s reason=%s", slot->name, index,
        fg_log_quote((struct fg_str){d->name, strnlen(d->name, sizeof d->name)}, name, sizeof name),
        states[d->state],
        fg_log_quote((struct fg_str){d->reason, strnlen(d->reason, sizeof d->reason)}, reason,
                     sizeof reason));
}

static void tell_devices(struct fg_backend_slot *slot)
{
    for (uint32_t i = 0; i < FG_DEVICES_TOLD; i++) {
        struct fg_device d = {.size = sizeof d};
        if (slot->table->device(slot->instance, i, &d) != FG_OK)
            return;
        tell_device(slot, i, &d);
    }
}

static void run_device(struct fg_task *task)
{
    struct fg_backend_slot *slot = FG_CONTAINER(task, struct fg_backend_slot, device_task);
    __atomic_store_n(&slot->device_posted, 0, __ATOMIC_RELEASE);
    if (!slot->table)
        return;
    tell_devices(slot);
    pthread_mutex_lock(&slot->lock);
    slot->status.revision++;
    pthread_mutex_unlock(&slot->lock);
    if (slot->events.changed && !slot->closing)
        slot->events.changed(slot->events.ctx, slot);
}

static void host_device_changed(const struct fg_host *host, uint32_t device)
{
    struct fg_backend_slot *slot = host->ctx;
    (void)device;
    if (!__atomic_exchange_n(&slot->device_posted, 1, __ATOMIC_ACQ_REL))
        (void)fg_control_post(slot->control, &slot->device_task);
}

static const void *host_extension(const struct fg_host *host, const char *id)
{
    (void)host; /* the gateway offers none yet */
    (void)id;
    return NULL;
}

/* ---- opening -----------------------------------------------------------------------------------
 */

static void on_gone(void *ctx, const char *reason);

static int32_t open_here(struct fg_backend_slot *slot, const struct fg_plugin **table,
                         struct fg_backend **instance, struct fg_error *err)
{
    int32_t rc = fg_loader_open(slot->path, table, err);
    if (rc == FG_OK)
        rc = (*table)->open(&slot->host, fg_str_of(slot->config_json), instance, err);
    return rc;
}

static int32_t open_child(struct fg_backend_slot *slot, const struct fg_plugin **table,
                          struct fg_backend **instance, int32_t *pid, struct fg_error *err)
{
    const struct fg_remote_ask ask = {
        .name = slot->name,
        .host_path = slot->host_path,
        .plugin_path = slot->path,
        .config_json = slot->config_json,
        .host = &slot->host,
        .gone = on_gone,
        .ctx = slot,
        .load_timeout_ns = slot->load_timeout_ns,
    };
    return fg_remote_open(&ask, table, instance, pid, err);
}

/* Five ends in five minutes are a crash loop; else a pause that grows with each in a row. */
static void note_death(struct fg_backend_slot *slot, const char *reason)
{
    uint64_t now = fg_clock_ns();
    if (slot->up_since_ns && now - slot->up_since_ns > HEALTHY_S * FG_NS_PER_S)
        slot->in_a_row = 0;
    slot->up_since_ns = 0;
    slot->deaths[slot->death_count++ % FG_DEATHS] = now;
    gauge(slot, "fluxgate_backend_deaths_total", "Children of a backend that ended by themselves.",
          FG_METRIC_COUNTER, 1);
    /* The slot to be written next holds the oldest of the last five. */
    uint64_t oldest =
        slot->death_count >= FG_DEATHS ? slot->deaths[slot->death_count % FG_DEATHS] : 0;
    if (oldest && now - oldest < CRASH_LOOP_S * FG_NS_PER_S) {
        char text[sizeof slot->status.reason];
        snprintf(text, sizeof text, "crash loop, next try in %d s: %.100s", RETRY_FAILED_S, reason);
        fg_registry_schedule(slot, now + RETRY_FAILED_S * FG_NS_PER_S);
        set_state(slot, FG_BACKEND_FAILED, text);
        return;
    }
    uint64_t ms = FIRST_PAUSE_MS;
    for (uint32_t i = 0; i < slot->in_a_row && ms < LONGEST_PAUSE_MS; i++)
        ms *= 2;
    ms = ms > LONGEST_PAUSE_MS ? LONGEST_PAUSE_MS : ms;
    slot->in_a_row++;
    ms -=
        ms * (now / 1000 % 200) / 1000; /* up to a fifth less, so that many do not start at once */
    fg_registry_schedule(slot, now + ms * FG_NS_PER_MS);
    set_state(slot, FG_BACKEND_DOWN, reason);
}

static void set_up(struct fg_backend_slot *slot, const struct fg_plugin *table,
                   struct fg_backend *instance, int32_t pid)
{
    slot->up_since_ns = fg_clock_ns();
    for (uint32_t i = 0; i < FG_DEVICES_TOLD; i++)
        slot->told[i] = -1;
    pthread_mutex_lock(&slot->lock);
    slot->table = table;
    slot->instance = instance;
    bool gone = slot->is_gone; /* as fast as that: its task is on its way */
    if (!gone) {
        if (slot->status.generation++)
            slot->status.restarts++;
        set_state_locked(slot, FG_BACKEND_UP, "");
        slot->status.pid = pid;
    }
    pthread_mutex_unlock(&slot->lock);
    if (gone)
        return;
    tell(slot);
    tell_devices(slot);
}

static void run_open(struct fg_task *task)
{
    struct fg_backend_slot *slot = FG_CONTAINER(task, struct fg_backend_slot, open_task);
    const struct fg_plugin *table = NULL;
    struct fg_backend *instance = NULL;
    struct fg_error err = {0};
    int32_t pid = 0;
    if (slot->closing || slot->table)
        return;
    pthread_mutex_lock(&slot->lock);
    slot->is_gone = false;
    pthread_mutex_unlock(&slot->lock);
    int32_t rc = slot->isolate ? open_child(slot, &table, &instance, &pid, &err)
                               : open_here(slot, &table, &instance, &err);
    err.text[sizeof err.text - 1] = '\0';
    if (rc == FG_OK)
        set_up(slot, table, instance, pid);
    else if (slot->isolate && rc == FG_DEVICE_LOST)
        note_death(slot, err.text);
    else
        set_state(slot, FG_BACKEND_FAILED,
                  err.text[0] ? err.text : "the plugin could not be opened and does not say why");
}

/* ---- the end of an instance --------------------------------------------------------------------
 */

static void close_instance(struct fg_backend_slot *slot)
{
    pthread_mutex_lock(&slot->lock);
    const struct fg_plugin *table = slot->table;
    struct fg_backend *instance = slot->instance;
    slot->table = NULL;
    slot->instance = NULL;
    while (slot->visitors)
        pthread_cond_wait(&slot->left, &slot->lock);
    pthread_mutex_unlock(&slot->lock);
    if (table)
        table->close(instance);
}

/* [the instance's own thread] Nobody may start anything there from now on; the rest follows on the
 * control thread. */
static void on_gone(void *ctx, const char *reason)
{
    struct fg_backend_slot *slot = ctx;
    pthread_mutex_lock(&slot->lock);
    slot->is_gone = true;
    set_state_locked(slot, FG_BACKEND_DOWN, reason);
    pthread_mutex_unlock(&slot->lock);
    (void)fg_control_post(slot->control, &slot->gone_task);
}

static void run_gone(struct fg_task *task)
{
    struct fg_backend_slot *slot = FG_CONTAINER(task, struct fg_backend_slot, gone_task);
    struct fg_backend_status status;
    if (slot->closing)
        return;
    fg_backend_get_status(slot, &status);
    close_instance(slot);
    note_death(slot, status.reason);
}

static void run_close(struct fg_task *task)
{
    struct fg_backend_slot *slot = FG_CONTAINER(task, struct fg_backend_slot, close_task);
    slot->closing = true;
    close_instance(slot);
    pthread_mutex_lock(&slot->lock);
    set_state_locked(slot, FG_BACKEND_DOWN, "shutting down");
    pthread_mutex_unlock(&slot->lock);
}

bool fg_backend_restart(struct fg_backend_slot *slot, const char *reason)
{
    pthread_mutex_lock(&slot->lock);
    bool can = slot->isolate && slot->status.state == FG_BACKEND_UP && slot->instance;
    struct fg_backend *instance = slot->instance;
    slot->visitors += can;
    pthread_mutex_unlock(&slot->lock);
    if (!can)
        return false;
    fg_remote_kill(instance, reason);
    pthread_mutex_lock(&slot->lock);
    slot->visitors--;
    pthread_cond_broadcast(&slot->left);
    pthread_mutex_unlock(&slot->lock);
    return true;
}

void fg_backend_metrics(struct fg_backend_slot *slot, fg_metric_visit *visit, void *ctx)
{
    pthread_mutex_lock(&slot->lock);
    const struct fg_plugin *table = slot->status.state == FG_BACKEND_UP ? slot->table : NULL;
    struct fg_backend *instance = slot->instance;
    slot->visitors += table != NULL;
    pthread_mutex_unlock(&slot->lock);
    if (!table)
        return;
    table->metrics(instance, visit, ctx);
    pthread_mutex_lock(&slot->lock);
    slot->visitors--;
    pthread_cond_broadcast(&slot->left);
    pthread_mutex_unlock(&slot->lock);
}

/* ---- life --------------------------------------------------------------------------------------
 */

/* A module name becomes a file of plugin_dir; only a path may have a slash. */
static char *path_of(const struct fg_conf *conf, const char *plugin)
{
    char *path = NULL;
    int n = strchr(plugin, '/')
                ? asprintf(&path, "%s", plugin)
                : asprintf(&path, "%s/%s.so", conf->plugin_dir ? conf->plugin_dir : ".", plugin);
    return n < 0 ? NULL : path;
}

int32_t fg_slot_init(struct fg_backend_slot *slot, const struct fg_conf *conf,
                     const struct fg_conf_backend *b, const char *host_path, struct fg_error *err)
{
    slot->isolate = b->isolate;
    slot->load_timeout_ns = conf->queue.load_timeout_ms * FG_NS_PER_MS;
    slot->name = strdup(b->name ? b->name : "");
    slot->config_json = strdup(b->config_json ? b->config_json : "{}");
    slot->host_path = strdup(host_path);
    slot->path = path_of(conf, b->plugin ? b->plugin : "");
    pthread_mutex_init(&slot->lock, NULL);
    pthread_cond_init(&slot->left, NULL);
    slot->open_task.run = run_open;
    slot->gone_task.run = run_gone;
    slot->close_task.run = run_close;
    slot->device_task.run = run_device;
    slot->host = (struct fg_host){
        .size = sizeof slot->host,
        .abi = FG_ABI,
        .ctx = slot,
        .emit = fg_stream_emit,
        .log = host_log,
        .device_changed = host_device_changed,
        .extension = host_extension,
    };
    if (!slot->name || !slot->config_json || !slot->host_path || !slot->path)
        return fg_fail(err, FG_NO_MEMORY, "no memory for backend \"%.64s\"", b->name);
    set_state_locked(slot, FG_BACKEND_STARTING, "starting");
    return fg_control_open(slot->name, &slot->control, err);
}

void fg_slot_start(struct fg_backend_slot *slot)
{
    (void)fg_control_post(slot->control, &slot->open_task);
}

void fg_slot_done(struct fg_backend_slot *slot)
{
    if (slot->control) {
        (void)fg_control_post(slot->control, &slot->close_task);
        fg_control_close(slot->control);
    }
    pthread_cond_destroy(&slot->left);
    pthread_mutex_destroy(&slot->lock);
    free(slot->name);
    free(slot->path);
    free(slot->config_json);
    free(slot->host_path);
}
