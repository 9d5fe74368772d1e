/*
 * The keeper: one thread that sleeps until it is poked or a model's keep_alive ends. It scans the
 * disk, has files inspected and backends list what they have, makes the snapshots of the catalog
 * and lets models expire. It is the only one that waits on the disk, and it never calls a plugin
 * itself.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "flow/inner.h"
#include "obs/log.h"
#include "store/name.h"
#include "util/error.h"

/* For an unknown name they are looked at sooner, but a flood of them costs one look. */
enum { UNKNOWN_MS = 100 };

void fg_hub_poke(struct fg_hub *hub)
{
    uint64_t one = 1;
    if (write(hub->poke_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        fg_log(FG_LOG_WARN, "poke_failed", "errno=%d", errno);
}

static bool aliases_of(struct fg_hub *hub, struct fg_settings *copy)
{
    struct fg_conf conf = {0};
    pthread_mutex_lock(&hub->lock);
    conf.models.aliases = hub->set.aliases;
    conf.models.alias_count = hub->set.alias_count;
    int32_t rc = fg_settings_copy(&conf, copy, NULL);
    pthread_mutex_unlock(&hub->lock);
    return rc == FG_OK;
}

static void publish(struct fg_hub *hub)
{
    struct fg_store_list all;
    struct fg_facts **facts;
    struct fg_settings copy = {0};
    const struct fg_catalog *fresh = NULL;
    if (fg_listed_merge(hub, &all, &facts) &&
        fg_catalog_new(&all, facts, &fresh, NULL) == FG_OK) {
        if (aliases_of(hub, &copy))
            (void)fg_catalog_add_aliases(fresh, copy.aliases, copy.alias_count, NULL);
        pthread_mutex_lock(&hub->lock);
        const struct fg_catalog *old = hub->catalog;
        hub->catalog = fresh;
        pthread_mutex_unlock(&hub->lock);
        fg_catalog_release(old);
    }
    fg_settings_done(&copy);
    free(all.items);
    free(facts);
}

/* A copy, because a reload may replace the settings while the disk is read. */
static bool places_of(struct fg_hub *hub, struct fg_settings *copy, struct fg_store_places *places)
{
    struct fg_conf conf = {0};
    pthread_mutex_lock(&hub->lock);
    conf.models.directories = hub->set.directories;
    conf.models.directory_count = hub->set.directory_count;
    conf.models.stores = hub->set.stores;
    conf.models.store_count = hub->set.store_count;
    int32_t rc = fg_settings_copy(&conf, copy, NULL);
    pthread_mutex_unlock(&hub->lock);
    *places = (struct fg_store_places){copy->directories, copy->directory_count, copy->stores,
                                       copy->store_count};
    return rc == FG_OK;
}

static void scan(struct fg_hub *hub, bool forced)
{
    struct fg_settings copy = {0};
    struct fg_store_places places;
    struct fg_store_list list = {0};
    if (!places_of(hub, &copy, &places))
        return;
    uint64_t stamp = fg_store_stamp(&places);
    const uint64_t now = fg_clock_ns();
    __atomic_store_n(&hub->checked_ns, now, __ATOMIC_RELAXED);
    if ((forced || stamp != hub->stamp || !hub->scanned_ns) &&
        fg_store_scan(&places, &list, NULL) == FG_OK) {
        fg_store_list_done(&hub->list);
        hub->list = list;
        hub->stamp = stamp;
        hub->scanned_ns = now;
        publish(hub);
        fg_log(FG_LOG_INFO, "models_listed", "models=%u skipped=%u", list.count, list.refused);
    }
    fg_settings_done(&copy);
}

struct looker {
    struct fg_task task;
    struct fg_worker *worker;
    struct fg_hub *hub;
    void (*done)(void *ctx);
    void *ctx;
};

static void looked(struct fg_task *task)
{
    struct looker *l = FG_CONTAINER(task, struct looker, task);
    l->done(l->ctx);
    __atomic_sub_fetch(&l->hub->running, 1, __ATOMIC_ACQ_REL);
    free(l);
}

void fg_hub_look(struct fg_hub *hub, struct fg_worker *worker, void (*done)(void *ctx), void *ctx)
{
    struct looker *l = calloc(1, sizeof *l);
    if (!l) {
        done(ctx); /* what is known will have to do */
        return;
    }
    *l = (struct looker){
        .task.run = looked, .worker = worker, .hub = hub, .done = done, .ctx = ctx};
    __atomic_add_fetch(&hub->running, 1, __ATOMIC_ACQ_REL);
    pthread_mutex_lock(&hub->lock);
    fg_list_push(&hub->lookers, &l->task.node);
    pthread_mutex_unlock(&hub->lock);
    fg_hub_poke(hub);
}

static struct fg_list *take_lookers(struct fg_hub *hub, struct fg_list *to)
{
    fg_list_init(to);
    pthread_mutex_lock(&hub->lock);
    fg_list_take(to, &hub->lookers);
    pthread_mutex_unlock(&hub->lock);
    return to;
}

static void wake_lookers(struct fg_hub *hub)
{
    struct fg_list all, *node;
    take_lookers(hub, &all);
    while ((node = fg_list_pop(&all))) {
        struct looker *l = FG_CONTAINER(node, struct looker, task.node);
        (void)fg_worker_post(l->worker, &l->task);
    }
}

void fg_lookers_done(struct fg_hub *hub)
{
    struct fg_list all, *node;
    take_lookers(hub, &all);
    while ((node = fg_list_pop(&all)))
        looked(FG_CONTAINER(node, struct fg_task, node));
}

static void wake_scanners(struct fg_hub *hub)
{
    struct fg_after after;
    struct fg_list *node;
    fg_after_init(&after);
    pthread_mutex_lock(&hub->lock);
    while ((node = fg_list_pop(&hub->scanners))) {
        struct fg_wait *w = FG_CONTAINER(node, struct fg_wait, node);
        struct fg_hub_job *job = FG_CONTAINER(w, struct fg_hub_job, wait);
        job->place = FG_PLACE_COMING;
        job->outcome = FG_WAKE_AGAIN;
        fg_list_push(&after.wakes, &w->node);
    }
    pthread_mutex_unlock(&hub->lock);
    fg_after_run(hub, &after);
}

/* Each name once, as soon as it is known and a backend is up. */
static void preload(struct fg_hub *hub)
{
    char name[FG_NAME_ROOM];
    bool up = false;
    for (uint32_t i = 0; i < fg_registry_count(hub->registry); i++) {
        struct fg_backend_status status;
        fg_backend_get_status(fg_registry_at(hub->registry, i), &status);
        up = up || status.state == FG_BACKEND_UP;
    }
    while (up) {
        pthread_mutex_lock(&hub->lock);
        bool more = hub->preloaded < hub->set.preload_count;
        strncpy(name, more ? hub->set.preload[hub->preloaded] : "", sizeof name - 1);
        pthread_mutex_unlock(&hub->lock);
        name[sizeof name - 1] = '\0';
        if (!more)
            return;
        hub->preloaded++;
        const struct fg_catalog *catalog = fg_hub_snapshot(hub);
        const struct fg_model_entry *e = fg_catalog_find(catalog, fg_str_of(name), NULL);
        if (e)
            fg_live_preload(hub, catalog, e);
        else
            fg_log(FG_LOG_WARN, "preload_unknown", "model=%s",
                   fg_log_quote(fg_str_of(name), (char[300]){0}, 300));
        fg_catalog_release(catalog);
    }
}

/* Returns when it wants to be called again. */
static uint64_t turn(struct fg_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    bool forced = hub->scan_forced;
    bool asked = !fg_list_empty(&hub->scanners) || !fg_list_empty(&hub->lookers);
    bool facts = hub->inspect_over;
    hub->scan_forced = hub->inspect_over = false;
    pthread_mutex_unlock(&hub->lock);
    if (facts)
        fg_inspect_collect(hub);
    if (fg_listed_collect(hub) || facts)
        publish(hub);
    fg_listed_next(hub, forced);
    const uint64_t old_ns = asked ? UNKNOWN_MS * FG_NS_PER_MS : FG_CHECK_NS;
    if (forced || !hub->scanned_ns || fg_clock_ns() - hub->checked_ns > old_ns)
        scan(hub, forced);
    fg_inspect_next(hub);
    const uint64_t listed_ns = fg_listed_wait_until(hub, fg_clock_ns());
    const uint64_t inspected_ns = asked ? fg_inspect_wait_until(hub, fg_clock_ns()) : 0;
    if (asked && !listed_ns)
        wake_scanners(hub);
    if (asked && !listed_ns && !inspected_ns)
        wake_lookers(hub);
    if (!listed_ns)
        preload(hub);
    const uint64_t again = listed_ns ? listed_ns : inspected_ns;
    return again ? again : FG_NEVER;
}

static void wait_for_work(struct fg_hub *hub, uint64_t next_ns)
{
    struct pollfd p = {.fd = hub->poke_fd, .events = POLLIN};
    uint64_t now = fg_clock_ns(), ms = 0;
    if (next_ns > now)
        ms = (next_ns - now) / FG_NS_PER_MS + 1;
    int timeout = next_ns == FG_NEVER ? -1 : ms > 3600000 ? 3600000 : (int)ms;
    uint64_t count;
    if (poll(&p, 1, timeout) > 0 && read(hub->poke_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        fg_log(FG_LOG_WARN, "keeper_read_failed", "errno=%d", errno);
}

static void *run(void *arg)
{
    struct fg_hub *hub = arg;
    pthread_setname_np(pthread_self(), "fg-keeper");
    for (;;) {
        pthread_mutex_lock(&hub->lock);
        bool stopping = hub->stopping;
        pthread_mutex_unlock(&hub->lock);
        if (stopping)
            return NULL;
        const uint64_t again = turn(hub), expiry = fg_live_sweep(hub, fg_clock_ns());
        wait_for_work(hub, again < expiry ? again : expiry);
    }
}

int32_t fg_keeper_start(struct fg_hub *hub, struct fg_error *err)
{
    int rc = pthread_create(&hub->keeper, NULL, run, hub);
    if (rc)
        return fg_fail(err, FG_INTERNAL, "cannot start a thread: errno %d", rc);
    hub->keeper_runs = true;
    return FG_OK;
}

void fg_keeper_stop(struct fg_hub *hub)
{
    if (!hub->keeper_runs)
        return;
    pthread_mutex_lock(&hub->lock);
    hub->stopping = true;
    pthread_mutex_unlock(&hub->lock);
    fg_hub_poke(hub);
    pthread_join(hub->keeper, NULL);
    hub->keeper_runs = false;
}
