/*
 * Asking a backend what a model file says (ext/inspect.h): for the catalog, one file at a time in
 * the background so that a load never waits behind more than one; and for a front end that wants
 * the whole of it now. The gateway itself never parses model files.
 */
#include <fluxgate/ext/inspect.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/inner.h"
#include "obs/log.h"
#include "util/error.h"

enum { MAX_JSON = 64 << 20, WAIT_MS = 2000 /* after a scan */ };

/* ---- in the background ----------------------------------------------------------------------- */

struct look {
    struct fg_task task;
    struct fg_hub *hub;
    struct fg_backend_slot *slot;
    uint32_t slot_index;
    char *path;
    uint64_t file_bytes, modified_ns;
    struct fg_facts *facts;
    bool unsupported, lost;
};

static int32_t ask(struct fg_backend_slot *slot, struct fg_str path, uint32_t flags,
                   fg_inspect_visit *visit, void *ctx, struct fg_error *err)
{
    struct fg_backend_status status;
    fg_backend_get_status(slot, &status);
    const struct fg_plugin *table = fg_backend_table(slot);
    if (status.state != FG_BACKEND_UP || !table)
        return fg_fail(err, FG_DEVICE_LOST, "backend \"%s\" is not up", fg_backend_name(slot));
    struct fg_backend *instance = fg_backend_instance(slot);
    const struct fg_inspect *ext = table->extension(instance, FG_EXT_INSPECT);
    if (!ext || !FG_HAS(struct fg_inspect, ext, inspect))
        return fg_fail(err, FG_UNSUPPORTED, "backend \"%s\" cannot look into model files",
                       fg_backend_name(slot));
    return ext->inspect(instance, path, flags, visit, ctx, err);
}

static void on_facts(void *ctx, struct fg_str json)
{
    struct look *look = ctx;
    if (!look->facts)
        look->facts =
            fg_facts_new(fg_str_of(look->path), look->file_bytes, look->modified_ns, json, NULL);
}

static void run_look(struct fg_task *task)
{
    struct look *look = FG_CONTAINER(task, struct look, task);
    struct fg_hub *hub = look->hub;
    struct fg_error err = {0};
    int32_t rc = ask(look->slot, fg_str_of(look->path), 0, on_facts, look, &err);
    look->unsupported = rc == FG_UNSUPPORTED && !look->facts;
    look->lost = rc == FG_DEVICE_LOST && !look->facts;
    if (rc != FG_OK && !look->facts && !look->unsupported && !look->lost)
        look->facts = fg_facts_new(fg_str_of(look->path), look->file_bytes, look->modified_ns,
                                   FG_STR(""), err.text);
    pthread_mutex_lock(&hub->lock);
    fg_list_push(&hub->facts_done, &look->task.node);
    hub->inspect_over = true;
    pthread_mutex_unlock(&hub->lock);
    fg_hub_poke(hub);
}

struct fg_facts *fg_inspect_known(const struct fg_hub *hub, const struct fg_store_model *m)
{
    FG_LIST_EACH (node, next, &hub->facts) {
        struct fg_facts *f = FG_CONTAINER(node, struct fg_facts, node);
        if (f->file_bytes == m->file_bytes && f->file_modified_ns == m->file_modified_ns &&
            fg_str_is(m->path, f->path))
            return f;
    }
    return NULL;
}

static bool is_listed(const struct fg_hub *hub, const struct fg_facts *f)
{
    for (uint32_t i = 0; i < hub->list.count; i++) {
        const struct fg_store_model *m = &hub->list.items[i];
        if (f->file_bytes == m->file_bytes && f->file_modified_ns == m->file_modified_ns &&
            fg_str_is(m->path, f->path))
            return true;
    }
    return false;
}

/* A file that ended the child twice is not asked about again. */
static void note_lost(struct fg_hub *hub, struct look *look)
{
    bool again = hub->lost_path && strcmp(hub->lost_path, look->path) == 0;
    hub->lost_count = again ? hub->lost_count + 1 : 1;
    free(hub->lost_path);
    hub->lost_path = look->path;
    look->path = NULL;
    if (hub->lost_count >= 2)
        look->facts = fg_facts_new(fg_str_of(hub->lost_path), look->file_bytes, look->modified_ns,
                                   FG_STR(""), "the engine ended while it read this file");
}

void fg_inspect_collect(struct fg_hub *hub)
{
    struct fg_list done, *node;
    fg_list_init(&done);
    pthread_mutex_lock(&hub->lock);
    fg_list_take(&done, &hub->facts_done);
    pthread_mutex_unlock(&hub->lock);
    while ((node = fg_list_pop(&done))) {
        struct look *look = FG_CONTAINER(node, struct look, task.node);
        hub->inspecting = false;
        if (look->unsupported)
            hub->no_inspect |= 1u << look->slot_index;
        if (look->lost)
            note_lost(hub, look);
        if (look->facts && is_listed(hub, look->facts))
            fg_list_push(&hub->facts, &look->facts->node);
        else
            fg_facts_release(look->facts);
        free(look->path);
        free(look);
    }
    FG_LIST_EACH (item, safe, &hub->facts) {
        struct fg_facts *f = FG_CONTAINER(item, struct fg_facts, node);
        if (!is_listed(hub, f)) {
            fg_list_remove(&f->node);
            fg_facts_release(f);
        }
    }
}

static int32_t usable_slot(const struct fg_hub *hub, uint32_t refused)
{
    uint32_t count = fg_registry_count(hub->registry);
    for (uint32_t i = 0; i < count && i < FG_ROUTE_MAX; i++) {
        struct fg_backend_status status;
        fg_backend_get_status(fg_registry_at(hub->registry, i), &status);
        if (status.state == FG_BACKEND_UP && !(refused >> i & 1))
            return (int32_t)i;
    }
    return -1;
}

uint64_t fg_inspect_wait_until(const struct fg_hub *hub, uint64_t now_ns)
{
    const uint64_t end = hub->scanned_ns + WAIT_MS * FG_NS_PER_MS;
    if (end <= now_ns || (!hub->inspecting && usable_slot(hub, hub->no_inspect) < 0))
        return 0;
    for (uint32_t i = 0; i < hub->list.count; i++) {
        const struct fg_store_model *m = &hub->list.items[i];
        if (!m->error.len && m->path.len && !fg_inspect_known(hub, m))
            return end;
    }
    return 0;
}

void fg_inspect_next(struct fg_hub *hub)
{
    int32_t at = hub->inspecting ? -1 : usable_slot(hub, hub->no_inspect);
    if (at < 0)
        return;
    for (uint32_t i = 0; i < hub->list.count; i++) {
        const struct fg_store_model *m = &hub->list.items[i];
        if (m->error.len || !m->path.len || fg_inspect_known(hub, m))
            continue;
        struct look *look = calloc(1, sizeof *look);
        if (look)
            look->path = strndup(m->path.ptr, m->path.len);
        if (!look || !look->path) {
            free(look);
            return;
        }
        look->task.run = run_look;
        look->hub = hub;
        look->slot = fg_registry_at(hub->registry, (uint32_t)at);
        look->slot_index = (uint32_t)at;
        look->file_bytes = m->file_bytes;
        look->modified_ns = m->file_modified_ns;
        hub->inspecting = fg_control_post(fg_backend_control(look->slot), &look->task);
        if (!hub->inspecting) {
            free(look->path);
            free(look);
        }
        return;
    }
}

/* ---- for a front end --------------------------------------------------------------------------
 */

struct fg_hub_inspect {
    struct fg_task task; /* to the control thread, then back to the worker */
    struct fg_hub *hub;
    struct fg_worker *worker;
    struct fg_backend_slot *slot;
    const struct fg_catalog *catalog;
    const struct fg_model_entry *entry;
    uint32_t flags;
    bool cancelled; /* the worker's */
    json_t *json;
    struct fg_error err;
    void (*done)(void *ctx, const json_t *json, const struct fg_error *err);
    void *ctx;
};

static void on_json(void *ctx, struct fg_str json)
{
    struct fg_hub_inspect *i = ctx;
    if (!i->json && json.len && json.len <= MAX_JSON)
        i->json = json_loadb(json.ptr, json.len, 0, NULL);
}

static void inspect_answer(struct fg_task *task)
{
    struct fg_hub_inspect *i = FG_CONTAINER(task, struct fg_hub_inspect, task);
    if (!i->cancelled)
        i->done(i->ctx, i->json, i->json ? NULL : &i->err);
    json_decref(i->json);
    fg_catalog_release(i->catalog);
    __atomic_sub_fetch(&i->hub->running, 1, __ATOMIC_ACQ_REL);
    free(i);
}

static void inspect_run(struct fg_task *task)
{
    struct fg_hub_inspect *i = FG_CONTAINER(task, struct fg_hub_inspect, task);
    int32_t rc = ask(i->slot, i->entry->path, i->flags, on_json, i, &i->err);
    if (rc != FG_OK)
        i->err.status = rc;
    if (rc != FG_OK && i->json) {
        json_decref(i->json);
        i->json = NULL;
    }
    if (rc == FG_OK && !json_is_object(i->json)) {
        json_decref(i->json);
        i->json = NULL;
        fg_fail(&i->err, FG_INTERNAL, "the backend's answer about this file cannot be read");
    }
    i->task.run = inspect_answer;
    (void)fg_worker_post(i->worker, &i->task);
}

struct fg_hub_inspect *
fg_hub_inspect(struct fg_hub *hub, struct fg_worker *worker, struct fg_str name, uint32_t flags,
               void (*done)(void *ctx, const json_t *json, const struct fg_error *err), void *ctx)
{
    struct fg_error err = {0};
    const struct fg_catalog *catalog = fg_hub_snapshot(hub);
    const struct fg_model_entry *entry = fg_catalog_find(catalog, name, NULL);
    int32_t at = usable_slot(hub, 0);
    struct fg_hub_inspect *i = NULL;
    if (!entry)
        fg_fail(&err, FG_NOT_FOUND, "model not found");
    else if (entry->error.len)
        fg_fail(&err, FG_INVALID, "%.*s", (int)(entry->error.len > 240 ? 240 : entry->error.len),
                entry->error.ptr);
    else if (!entry->path.len)
        fg_fail(&err, FG_UNSUPPORTED, "the model is no file here");
    else if (at < 0)
        fg_fail(&err, FG_DEVICE_LOST, "no backend is up");
    else if (!(i = calloc(1, sizeof *i)))
        fg_fail(&err, FG_NO_MEMORY, "no memory");
    if (i) {
        *i = (struct fg_hub_inspect){.task.run = inspect_run,
                                     .hub = hub,
                                     .worker = worker,
                                     .slot = fg_registry_at(hub->registry, (uint32_t)at),
                                     .catalog = catalog,
                                     .entry = entry,
                                     .flags = flags,
                                     .done = done,
                                     .ctx = ctx};
        __atomic_add_fetch(&hub->running, 1, __ATOMIC_ACQ_REL);
        if (fg_control_post(fg_backend_control(i->slot), &i->task))
            return i;
        __atomic_sub_fetch(&hub->running, 1, __ATOMIC_ACQ_REL);
        free(i);
        fg_fail(&err, FG_DEVICE_LOST, "the backend is closing");
    }
    fg_catalog_release(catalog);
    done(ctx, NULL, &err);
    return NULL;
}

void fg_hub_inspect_cancel(struct fg_hub_inspect *i)
{
    i->cancelled = true;
}
