/*
 * All configured backends, in the order of the configuration, and one thread that starts children
 * again when their pause is over (a control thread must not sleep: models of a dead child are
 * given back on it meanwhile).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "plugin/inner.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/str.h"

struct fg_registry {
    struct fg_backend_slot *slots;
    uint32_t count; /* initialised ones */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closing; /* [lock] */
    pthread_t thread;
    bool has_thread;
};

void fg_registry_schedule(struct fg_backend_slot *slot, uint64_t at_ns)
{
    struct fg_registry *r = slot->registry;
    pthread_mutex_lock(&r->lock);
    slot->due_ns = at_ns;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* One slot that is due, or NULL and when the next will be. */
static struct fg_backend_slot *due_locked(struct fg_registry *r, uint64_t *next_ns)
{
    uint64_t now = fg_clock_ns();
    *next_ns = UINT64_MAX;
    for (uint32_t i = 0; i < r->count; i++) {
        struct fg_backend_slot *slot = &r->slots[i];
        if (slot->due_ns && slot->due_ns <= now) {
            slot->due_ns = 0;
            return slot;
        }
        if (slot->due_ns && slot->due_ns < *next_ns)
            *next_ns = slot->due_ns;
    }
    return NULL;
}

static void *supervise(void *ctx)
{
    struct fg_registry *r = ctx;
    pthread_mutex_lock(&r->lock);
    while (!r->closing) {
        uint64_t next;
        struct fg_backend_slot *slot = due_locked(r, &next);
        if (slot) {
            pthread_mutex_unlock(&r->lock);
            fg_slot_start(slot);
            pthread_mutex_lock(&r->lock);
        } else if (next == UINT64_MAX) {
            pthread_cond_wait(&r->changed, &r->lock);
        } else {
            struct timespec at = {.tv_sec = (time_t)(next / FG_NS_PER_S),
                                  .tv_nsec = (long)(next % FG_NS_PER_S)};
            pthread_cond_timedwait(&r->changed, &r->lock, &at);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static int32_t start_supervisor(struct fg_registry *r, struct fg_error *err)
{
    int failed = pthread_create(&r->thread, NULL, supervise, r);
    if (failed)
        return fg_fail(err, FG_NO_MEMORY, "no thread for the backends: %s", strerror(failed));
    r->has_thread = true;
    (void)pthread_setname_np(r->thread, "fg-restarts");
    return FG_OK;
}

/* fg-plugin-host lies beside this program. */
static char *host_beside_us(void)
{
    char self[4096], *path = NULL;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return strdup("fg-plugin-host");
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    return asprintf(&path, "%s/fg-plugin-host", self) < 0 ? NULL : path;
}

static int32_t open_slots(struct fg_registry *r, const struct fg_conf *conf, const char *host_path,
                          const struct fg_registry_events *events, struct fg_error *err)
{
    r->slots = calloc(conf->backend_count ? conf->backend_count : 1, sizeof *r->slots);
    if (!r->slots)
        return fg_fail(err, FG_NO_MEMORY, "no memory for the backends");
    for (uint32_t i = 0; i < conf->backend_count; i++) {
        struct fg_backend_slot *slot = &r->slots[r->count++];
        slot->registry = r;
        if (events)
            slot->events = *events;
        int32_t rc = fg_slot_init(slot, conf, &conf->backends[i], host_path, err);
        if (rc != FG_OK)
            return rc;
    }
    return FG_OK;
}

int32_t fg_registry_open(const struct fg_conf *conf, const char *host_path,
                         const struct fg_registry_events *events, struct fg_registry **out,
                         struct fg_error *err)
{
    pthread_condattr_t attr;
    struct fg_registry *r = calloc(1, sizeof *r);
    if (!r)
        return fg_fail(err, FG_NO_MEMORY, "no memory for the backends");
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attr);
    pthread_condattr_destroy(&attr);
    char *host = host_path ? strdup(host_path) : host_beside_us();
    int32_t rc = host ? open_slots(r, conf, host, events, err)
                      : fg_fail(err, FG_NO_MEMORY, "no memory for the backends");
    free(host);
    if (rc == FG_OK)
        rc = start_supervisor(r, err);
    if (rc != FG_OK) {
        fg_registry_close(r);
        return rc;
    }
    for (uint32_t i = 0; i < r->count; i++)
        fg_slot_start(&r->slots[i]);
    *out = r;
    return FG_OK;
}

void fg_registry_close(struct fg_registry *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
    if (r->has_thread)
        pthread_join(r->thread, NULL);
    for (uint32_t i = 0; i < r->count; i++)
        fg_slot_done(&r->slots[i]);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r->slots);
    free(r);
}

uint32_t fg_registry_count(const struct fg_registry *r)
{
    return r->count;
}

struct fg_backend_slot *fg_registry_at(const struct fg_registry *r, uint32_t index)
{
    return index < r->count ? &r->slots[index] : NULL;
}

struct fg_backend_slot *fg_registry_find(const struct fg_registry *r, struct fg_str name)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (fg_str_is(name, r->slots[i].name))
            return &r->slots[i];
    return NULL;
}
