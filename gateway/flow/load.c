/*
 * Loading and unloading a model, on its backend's control thread (tasks run in order there, so an
 * unload that makes room is through before the load that needs it). The result goes to everybody
 * who waits in the model's line.
 */
#include <stdio.h>
#include <string.h>

#include "flow/inner.h"
#include "obs/log.h"
#include "obs/metrics.h"
#include "util/error.h"

static void on_progress(void *ctx, float fraction)
{
    struct fg_live *live = ctx;
    uint32_t permille = fraction > 0 ? fraction >= 1 ? 1000 : (uint32_t)(fraction * 1000) : 0;
    if (__atomic_exchange_n(&live->progress_permille, permille, __ATOMIC_RELAXED) != permille)
        __atomic_store_n(&live->progress_ns, fg_clock_ns(), __ATOMIC_RELAXED);
}

static void copy_text(struct fg_str from, char *to, size_t room)
{
    bool broken = false;
    struct fg_str cut = {from.ptr, from.len < room - 1 ? from.len : room - 1};
    size_t n = from.ptr ? fg_utf8_valid(cut, &broken) : 0;
    if (n)
        memcpy(to, from.ptr, n);
    to[n] = '\0';
}

struct loaded {
    uint32_t context, max_running, can;
    uint64_t memory_bytes;
    char device[128], quantization[32];
};

static void on_info(void *ctx, const struct fg_model_info *info)
{
    struct loaded *to = ctx;
    to->context = info->context;
    to->max_running = info->max_running;
    to->can = info->can;
    to->memory_bytes = info->memory_bytes;
    copy_text(info->quantization, to->quantization, sizeof to->quantization);
    if (FG_HAS(struct fg_model_info, info, device))
        copy_text(info->device, to->device, sizeof to->device);
}

static int32_t load(struct fg_live *live, struct loaded *got, struct fg_error *err)
{
    struct fg_backend_status status;
    fg_backend_get_status(live->slot, &status);
    if (status.state != FG_BACKEND_UP)
        return fg_fail(err, FG_DEVICE_LOST, "backend \"%s\" is not up", live->backend);
    live->generation = status.generation;
    live->table = fg_backend_table(live->slot);
    struct fg_backend *instance = fg_backend_instance(live->slot);
    if (!live->table)
        return fg_fail(err, FG_DEVICE_LOST, "backend \"%s\" is not up", live->backend);
    struct fg_model_spec spec = {
        .size = sizeof spec,
        .name = live->entry->own_name.len ? live->entry->own_name : live->entry->name,
        .path = live->entry->path,
        .context = live->asked_context,
        .max_running = live->parallel,
        .options_json = FG_STR(""),
        .progress = on_progress,
        .progress_ctx = live,
    };
    int32_t rc = live->table->load(instance, &spec, &live->model, err);
    if (rc == FG_OK)
        live->table->info(live->model, on_info, got);
    return rc;
}

static void ready_locked(struct fg_live *live, const struct loaded *got)
{
    uint64_t now = fg_clock_ns();
    int64_t keep = live->hub->set.keep_alive_ns;
    live->state = FG_LIVE_READY;
    fg_metric_add(live->hub->loaded, 1);
    live->context = got->context;
    live->can = got->can;
    live->memory_bytes = got->memory_bytes;
    live->slots_full = live->queue.slots = got->max_running ? got->max_running : 1;
    fg_measured_loaded(&live->hub->measured, fg_measured_key(live->entry->full_name),
                       live->slot_index, got->memory_bytes);
    live->ready_ns = live->used_ns = now;
    live->expires_ns = keep < 0 ? FG_NEVER : now + (uint64_t)keep;
    memcpy(live->device, got->device, sizeof live->device);
    memcpy(live->quantization, got->quantization, sizeof live->quantization);
    snprintf(live->engine, sizeof live->engine, "%s %s", live->table->name, live->table->version);
}

static void tell(const struct fg_live *live, int32_t rc, const struct fg_error *err)
{
    char name[300], text[400];
    uint64_t ms = (fg_clock_ns() - live->load_started_ns) / FG_NS_PER_MS;
    fg_log_quote(live->entry->name, name, sizeof name);
    if (rc == FG_OK)
        fg_log(live->passed_over ? FG_LOG_WARN : FG_LOG_INFO, "model_loaded",
               "model=%s backend=%s ms=%llu because=%s skipped=%u", name, live->backend,
               (unsigned long long)ms,
               fg_log_quote(fg_str_of(live->placed_because), text, sizeof text), live->passed_over);
    else
        fg_log(FG_LOG_ERROR, "model_load_failed", "model=%s backend=%s ms=%llu status=%s text=%s",
               name, live->backend, (unsigned long long)ms, fg_status_name(rc),
               fg_log_quote(fg_str_of(err->text), text, sizeof text));
}

static void forget_locked(struct fg_live *live, struct fg_after *after)
{
    fg_list_remove(&live->node);
    fg_hub_restart_due_locked(live->hub, after);
    fg_hub_wake_limbo_locked(live->hub, after);
    pthread_cond_broadcast(&live->hub->lives_changed);
}

static void run_load(struct fg_task *task)
{
    struct fg_live *live = FG_CONTAINER(task, struct fg_live, task);
    struct fg_hub *hub = live->hub;
    struct loaded got = {0};
    struct fg_error err = {0};
    struct fg_backend_status status;
    struct fg_after after;
    fg_after_init(&after);
    int32_t rc = load(live, &got, &err);
    if (rc != FG_OK)
        err.status = rc;
    tell(live, rc, &err);
    fg_metric_add(rc == FG_OK ? hub->metrics[live->slot_index].loads
                              : hub->metrics[live->slot_index].load_failures,
                  1);
    fg_backend_get_status(live->slot, &status);
    pthread_mutex_lock(&hub->lock);
    if (rc == FG_OK) {
        ready_locked(live, &got);
        if (status.generation != live->generation || status.state != FG_BACKEND_UP) {
            live->lost = live->retiring = true;
            fg_live_flush_locked(live, FG_WAKE_AGAIN, NULL, &after);
        }
        fg_live_admit_locked(live, &after);
        fg_live_settle_locked(live, &after);
        fg_hub_wake_limbo_locked(hub, &after);
        if (live->expires_ns < hub->keeper_next_ns)
            after.poke = true;
    } else {
        fg_live_flush_locked(live, FG_WAKE_FAILED, &err, &after);
        if (!live->is_barred)
            hub->live_count--;
        forget_locked(live, &after);
    }
    pthread_mutex_unlock(&hub->lock);
    if (rc != FG_OK)
        fg_live_free(live);
    fg_after_run(hub, &after);
}

static void run_unload(struct fg_task *task)
{
    struct fg_live *live = FG_CONTAINER(task, struct fg_live, task);
    struct fg_hub *hub = live->hub;
    struct fg_after after;
    char name[300];
    fg_after_init(&after);
    live->table->unload(live->model);
    fg_metric_add(hub->loaded, -1);
    fg_log(FG_LOG_INFO, "model_unloaded", "model=%s backend=%s",
           fg_log_quote(live->entry->name, name, sizeof name), live->backend);
    pthread_mutex_lock(&hub->lock);
    forget_locked(live, &after);
    pthread_mutex_unlock(&hub->lock);
    fg_live_free(live);
    fg_after_run(hub, &after);
}

void fg_live_load_post(struct fg_live *live)
{
    live->task.run = run_load;
    if (!fg_control_post(fg_backend_control(live->slot), &live->task))
        fg_log(FG_LOG_WARN, "model_load_refused", "backend=%s", live->backend);
}

void fg_live_unload_post(struct fg_live *live)
{
    live->task.run = run_unload;
    if (!fg_control_post(fg_backend_control(live->slot), &live->task))
        fg_log(FG_LOG_WARN, "model_unload_refused", "backend=%s", live->backend);
}
