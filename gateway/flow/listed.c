/*
 * See listed.h. The answer may come from a child or from another machine: names must fit the
 * grammar, numbers are only told, and there is a limit to how many.
 */
#include "flow/listed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/inner.h"
#include "obs/log.h"
#include "store/name.h"
#include "util/error.h"

enum { MOST = 1024 /* models of one backend */, WAIT_MS = 2000 };

struct fg_listed { /* of one backend */
    struct fg_task task;
    struct fg_hub *hub;
    struct fg_backend_slot *slot;
    uint32_t generation;
    int32_t status;
    uint64_t wall_ns;
    struct fg_arena *arena;
    struct fg_store_model *items;
    struct fg_facts **facts;
    uint32_t count;
};

static void free_listed(struct fg_listed *l)
{
    if (!l)
        return;
    for (uint32_t i = 0; i < l->count; i++)
        fg_facts_release(l->facts[i]);
    fg_arena_close(l->arena);
    free(l->items);
    free(l->facts);
    free(l);
}

/* ---- asking, [control] ----------------------------------------------------------------------- */

/* The backend's own digest if it is one, else of the names: enough to tell models apart. */
static void digest_of(const struct fg_listed *l, const struct fg_model_info *info, char out[65])
{
    struct fg_str hex;
    char key[FG_NAME_ROOM + 160];
    snprintf(key, sizeof key, "sha256:%.*s", FG_STR_ARG(fg_str_from(info->digest, 0)));
    if (info->digest.len <= 64 && fg_digest_parse(fg_str_of(key), &hex)) {
        memcpy(out, hex.ptr, 64);
        out[64] = '\0';
        return;
    }
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "%d\n%s\n%.*s", i, fg_backend_name(l->slot),
                 FG_STR_ARG(info->name));
        snprintf(out + (ptrdiff_t)i * 16, 17, "%016" PRIx64, fg_str_hash(fg_str_of(key)));
    }
}

static bool add(struct fg_listed *l, const struct fg_model_info *info, const struct fg_name *name)
{
    char full[FG_NAME_ROOM], brief[FG_NAME_ROOM], digest[65];
    const size_t full_len = fg_name_full(name, full, sizeof full);
    const size_t brief_len = fg_name_short(name, brief, sizeof brief);
    struct fg_store_model *m = &l->items[l->count];
    if (!full_len || !brief_len)
        return false;
    digest_of(l, info, digest);
    *m = (struct fg_store_model){
        .name = fg_arena_str(l->arena, (struct fg_str){brief, brief_len}),
        .full_name = fg_arena_str(l->arena, (struct fg_str){full, full_len}),
        .alias = fg_arena_str(l->arena, info->name),
        .digest = fg_arena_str(l->arena, (struct fg_str){digest, 64}),
        .size_bytes = info->file_bytes,
        .modified_ns = l->wall_ns,
    };
    l->facts[l->count] = fg_facts_own(fg_backend_name(l->slot), info);
    if (!m->name.ptr || !m->full_name.ptr || !m->alias.ptr || !m->digest.ptr ||
        !l->facts[l->count]) {
        fg_facts_release(l->facts[l->count]);
        return false;
    }
    l->count++;
    return true;
}

static void on_model(void *ctx, const struct fg_model_info *info)
{
    struct fg_listed *l = ctx;
    struct fg_name name;
    if (l->count >= MOST)
        return;
    if (info->name.len > FG_NAME_MAX || !fg_name_parse(info->name, &name) ||
        fg_name_is_cloud(&name)) {
        fg_log(FG_LOG_WARN, "listed_model_skipped", "backend=%s reason=name",
               fg_backend_name(l->slot));
        return;
    }
    if (!add(l, info, &name))
        fg_log(FG_LOG_WARN, "listed_model_skipped", "backend=%s reason=memory",
               fg_backend_name(l->slot));
}

static void run_list(struct fg_task *task)
{
    struct fg_listed *l = FG_CONTAINER(task, struct fg_listed, task);
    struct fg_backend_status status;
    struct fg_error err = {0};
    fg_backend_get_status(l->slot, &status);
    const struct fg_plugin *table = fg_backend_table(l->slot);
    l->generation = status.generation;
    l->wall_ns = fg_clock_wall_ns();
    if (status.state == FG_BACKEND_UP && table)
        l->status = table->list(fg_backend_instance(l->slot), on_model, l, &err);
    else
        l->status = FG_DEVICE_LOST;
    if (l->status != FG_OK)
        fg_log(FG_LOG_WARN, "list_failed", "backend=%s status=%s", fg_backend_name(l->slot),
               fg_status_name(l->status));
    pthread_mutex_lock(&l->hub->lock);
    fg_list_push(&l->hub->listed_done, &l->task.node);
    pthread_mutex_unlock(&l->hub->lock);
    fg_hub_poke(l->hub);
}

/* ---- the keeper's side ----------------------------------------------------------------------- */

static bool ask(struct fg_hub *hub, struct fg_backend_slot *slot)
{
    struct fg_listed *l = calloc(1, sizeof *l);
    if (!l)
        return false;
    l->task.run = run_list;
    l->hub = hub;
    l->slot = slot;
    l->arena = fg_arena_open(0, (size_t)16 << 20);
    l->items = calloc(MOST, sizeof *l->items);
    l->facts = calloc(MOST, sizeof(struct fg_facts *));
    if (l->arena && l->items && l->facts && fg_control_post(fg_backend_control(slot), &l->task))
        return true;
    free_listed(l);
    return false;
}

void fg_listed_next(struct fg_hub *hub, bool again)
{
    for (uint32_t i = 0; i < fg_registry_count(hub->registry) && i < FG_ROUTE_MAX; i++) {
        struct fg_backend_slot *slot = fg_registry_at(hub->registry, i);
        struct fg_listing *at = &hub->listings[i];
        struct fg_backend_status status;
        fg_backend_get_status(slot, &status);
        const bool is_known = at->is_known && at->generation == status.generation &&
                              at->revision == status.revision && !again;
        if (status.state == FG_BACKEND_STARTING && !at->asked_ns)
            at->asked_ns = fg_clock_ns();
        if (status.state != FG_BACKEND_UP || at->is_asked || is_known)
            continue;
        at->is_asked = ask(hub, slot);
        at->asked_ns = fg_clock_ns();
        at->generation = status.generation;
        at->revision = status.revision;
        at->is_known = !at->is_asked; /* without memory: not asked again before its next start */
    }
}

static void take(struct fg_hub *hub, struct fg_listed *l)
{
    for (uint32_t i = 0; i < FG_ROUTE_MAX; i++) {
        struct fg_listing *at = &hub->listings[i];
        if (i >= fg_registry_count(hub->registry) || fg_registry_at(hub->registry, i) != l->slot)
            continue;
        at->is_asked = false;
        at->is_known = true;
        at->generation = l->generation;
        if (l->status != FG_OK) /* what was known before is the better guess */
            break;
        free_listed(at->listed);
        at->listed = l;
        return;
    }
    free_listed(l);
}

bool fg_listed_collect(struct fg_hub *hub)
{
    struct fg_list done, *node;
    bool any = false;
    fg_list_init(&done);
    pthread_mutex_lock(&hub->lock);
    fg_list_take(&done, &hub->listed_done);
    pthread_mutex_unlock(&hub->lock);
    while ((node = fg_list_pop(&done))) {
        take(hub, FG_CONTAINER(node, struct fg_listed, task.node));
        any = true;
    }
    return any;
}

uint64_t fg_listed_wait_until(const struct fg_hub *hub, uint64_t now_ns)
{
    uint64_t until = 0;
    for (uint32_t i = 0; i < fg_registry_count(hub->registry) && i < FG_ROUTE_MAX; i++) {
        const struct fg_listing *at = &hub->listings[i];
        const uint64_t since = at->asked_ns ? at->asked_ns : now_ns;
        const uint64_t end = since + WAIT_MS * FG_NS_PER_MS;
        struct fg_backend_status status;
        fg_backend_get_status(fg_registry_at(hub->registry, i), &status);
        /* UP and not asked: it came up just now, and the keeper is about to be poked for it. */
        const bool is_open = status.state == FG_BACKEND_STARTING || at->is_asked ||
                             (status.state == FG_BACKEND_UP && !at->is_known);
        if (is_open && !at->listed && end > now_ns && end > until)
            until = end;
    }
    return until;
}

bool fg_listed_is_asking(const struct fg_hub *hub)
{
    for (uint32_t i = 0; i < FG_ROUTE_MAX; i++)
        if (hub->listings[i].is_asked)
            return true;
    return false;
}

static bool has(const struct fg_store_list *list, struct fg_str full_name)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (fg_str_ieq(list->items[i].full_name, full_name))
            return true;
    return false;
}

bool fg_listed_merge(struct fg_hub *hub, struct fg_store_list *out, struct fg_facts ***facts)
{
    uint32_t most = hub->list.count;
    for (uint32_t i = 0; i < FG_ROUTE_MAX; i++)
        most += hub->listings[i].listed ? hub->listings[i].listed->count : 0;
    *out = (struct fg_store_list){.items = calloc(most + 1, sizeof *out->items)};
    *facts = calloc(most + 1, sizeof(struct fg_facts *));
    if (!out->items || !*facts)
        return false;
    for (uint32_t i = 0; i < hub->list.count; i++) {
        out->items[i] = hub->list.items[i];
        (*facts)[i] = fg_inspect_known(hub, &hub->list.items[i]);
    }
    out->count = hub->list.count;
    for (uint32_t b = 0; b < FG_ROUTE_MAX; b++) {
        const struct fg_listed *l = hub->listings[b].listed;
        for (uint32_t i = 0; l && i < l->count; i++) {
            if (has(out, l->items[i].full_name))
                continue;
            out->items[out->count] = l->items[i];
            (*facts)[out->count++] = l->facts[i];
        }
    }
    return true;
}

void fg_listed_done(struct fg_hub *hub)
{
    struct fg_list *node;
    while (hub->listed_done.next && (node = fg_list_pop(&hub->listed_done)))
        free_listed(FG_CONTAINER(node, struct fg_listed, task.node));
    for (uint32_t i = 0; i < FG_ROUTE_MAX; i++)
        free_listed(hub->listings[i].listed);
}
