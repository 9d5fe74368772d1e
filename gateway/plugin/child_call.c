/*
 * The control thread of fg-plugin-host: calls that may take minutes, in the order in which they
 * came. Each ends with one REPLY; what the plugin wants visited is sent before it.
 */
#include <fluxgate/ext/inspect.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/child.h"
#include "plugin/loader.h"
#include "util/error.h"
#include "util/str.h"

struct calling { /* the call under way, for what it visits */
    struct fg_served *served;
    uint64_t id;
    uint32_t permille; /* atomic */
};

bool fg_child_post(struct fg_served *s, const struct fg_wire_frame *f)
{
    struct fg_child_task *t = malloc(sizeof *t + f->len);
    if (!t)
        return false;
    t->type = f->type;
    t->id = f->id;
    t->len = f->len;
    memcpy(t->data, f->data, f->len);
    pthread_mutex_lock(&s->lock);
    fg_list_push(&s->tasks, &t->node);
    pthread_cond_signal(&s->posted);
    pthread_mutex_unlock(&s->lock);
    return true;
}

/* ---- what is visited --------------------------------------------------------------------------
 */

static void on_progress(void *ctx, float fraction)
{
    struct calling *c = ctx;
    if (!(fraction >= 0 && fraction <= 1))
        return;
    uint32_t permille = (uint32_t)(fraction * 1000);
    if (__atomic_exchange_n(&c->permille, permille, __ATOMIC_RELAXED) == permille)
        return;
    (void)fg_wire_send(&c->served->out, FG_MSG_PROGRESS, c->id, &fraction, sizeof fraction);
    fg_child_wake(c->served);
}

static void on_model(void *ctx, const struct fg_model_info *info)
{
    struct calling *c = ctx;
    void *payload =
        fg_wire_begin(&c->served->out, FG_MSG_MODEL, c->id, fg_info_pack(info, NULL), 0);
    if (!payload)
        return;
    fg_info_pack(info, payload);
    fg_wire_end(&c->served->out, payload);
}

static void on_json(void *ctx, struct fg_str json)
{
    struct calling *c = ctx;
    (void)fg_wire_send(&c->served->out, FG_MSG_JSON, c->id, json.ptr, json.len);
}

/* ---- the calls --------------------------------------------------------------------------------
 */

static int32_t broken(struct fg_error *err)
{
    return fg_fail(err, FG_INTERNAL, "fg-plugin-host does not understand the gateway");
}

static int32_t call_open(struct calling *c, struct fg_view *v, struct fg_msg_reply *reply,
                         struct fg_error *err)
{
    struct fg_served *s = c->served;
    struct fg_msg_open m;
    if (s->table || !fg_open_view(v, &m))
        return broken(err);
    struct fg_str path = fg_arena_str(v->arena, m.path);
    if (!path.ptr)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a plugin");
    const struct fg_plugin *table;
    int32_t rc = fg_loader_open(path.ptr, &table, err);
    if (rc == FG_OK)
        rc = table->open(&s->host, m.config_json, &s->instance, err);
    if (rc != FG_OK)
        return rc;
    s->table = table;
    const struct fg_inspect *inspect = table->extension(s->instance, FG_EXT_INSPECT);
    reply->can_inspect = inspect && FG_HAS(struct fg_inspect, inspect, inspect);
    reply->name = fg_str_of(table->name);
    reply->version = fg_str_of(table->version);
    fg_child_send_numbers(s);
    __atomic_store_n(&s->is_open, 1, __ATOMIC_RELEASE);
    return FG_OK;
}

static int32_t call_list(struct calling *c, struct fg_view *v, struct fg_msg_reply *reply,
                         struct fg_error *err)
{
    (void)v;
    (void)reply;
    return c->served->table->list(c->served->instance, on_model, c, err);
}

static int32_t keep_model(struct fg_served *s, struct fg_model *model, uint64_t *id)
{
    int32_t rc = FG_OK;
    pthread_mutex_lock(&s->lock);
    struct fg_model **models = realloc(s->models, (s->model_count + 1) * sizeof *models);
    if (models) {
        s->models = models;
        models[s->model_count++] = model;
        *id = s->model_count;
    } else {
        rc = FG_NO_MEMORY;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int32_t call_load(struct calling *c, struct fg_view *v, struct fg_msg_reply *reply,
                         struct fg_error *err)
{
    struct fg_served *s = c->served;
    struct fg_model_spec spec;
    struct fg_model *model = NULL;
    if (!fg_spec_view(v, &spec))
        return broken(err);
    spec.progress = on_progress;
    spec.progress_ctx = c;
    int32_t rc = s->table->load(s->instance, &spec, &model, err);
    if (rc == FG_OK && keep_model(s, model, &reply->model) != FG_OK) {
        s->table->unload(model);
        rc = fg_fail(err, FG_NO_MEMORY, "no memory for a model");
    }
    __atomic_store_n(&s->numbers_due, 1, __ATOMIC_RELEASE);
    return rc;
}

static struct fg_model *model_of(struct fg_served *s, const struct fg_view *v, bool forget)
{
    uint64_t id;
    struct fg_model *model = NULL;
    if (v->len != sizeof id)
        return NULL;
    memcpy(&id, v->base, sizeof id);
    pthread_mutex_lock(&s->lock);
    if (id && id <= s->model_count) {
        model = s->models[id - 1];
        if (forget)
            s->models[id - 1] = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    return model;
}

static int32_t call_info(struct calling *c, struct fg_view *v, struct fg_msg_reply *reply,
                         struct fg_error *err)
{
    (void)reply;
    struct fg_model *model = model_of(c->served, v, false);
    if (!model)
        return broken(err);
    c->served->table->info(model, on_model, c);
    return FG_OK;
}

static int32_t call_unload(struct calling *c, struct fg_view *v, struct fg_msg_reply *reply,
                           struct fg_error *err)
{
    (void)reply;
    struct fg_model *model = model_of(c->served, v, true);
    if (!model)
        return broken(err);
    c->served->table->unload(model);
    __atomic_store_n(&c->served->numbers_due, 1, __ATOMIC_RELEASE);
    return FG_OK;
}

static int32_t call_inspect(struct calling *c, struct fg_view *v, struct fg_msg_reply *reply,
                            struct fg_error *err)
{
    struct fg_served *s = c->served;
    struct fg_msg_inspect m;
    (void)reply;
    const struct fg_inspect *ext = s->table->extension(s->instance, FG_EXT_INSPECT);
    if (!ext || !fg_inspect_view(v, &m))
        return broken(err);
    return ext->inspect(s->instance, m.path, (uint32_t)m.flags, on_json, c, err);
}

static int32_t call_close(struct calling *c, struct fg_view *v, struct fg_msg_reply *reply,
                          struct fg_error *err)
{
    (void)v;
    (void)reply;
    (void)err;
    struct fg_served *s = c->served;
    __atomic_store_n(&s->is_open, 0, __ATOMIC_RELEASE);
    s->table->close(s->instance);
    return FG_OK;
}

/* ---- one after the other ----------------------------------------------------------------------
 */

static void answer(struct fg_served *s, uint64_t id, struct fg_msg_reply *reply)
{
    void *payload = fg_wire_begin(&s->out, FG_MSG_REPLY, id, fg_reply_pack(reply, NULL), 0);
    if (payload) {
        fg_reply_pack(reply, payload);
        fg_wire_end(&s->out, payload);
    }
    fg_child_wake(s);
}

static void run(struct fg_served *s, const struct fg_child_task *t)
{
    static int32_t (*const calls[])(struct calling *, struct fg_view *, struct fg_msg_reply *,
                                    struct fg_error *) = {
        [FG_MSG_OPEN] = call_open,       [FG_MSG_CLOSE] = call_close, [FG_MSG_LIST] = call_list,
        [FG_MSG_LOAD] = call_load,       [FG_MSG_INFO] = call_info,   [FG_MSG_UNLOAD] = call_unload,
        [FG_MSG_INSPECT] = call_inspect,
    };
    struct calling c = {.served = s, .id = t->id, .permille = UINT32_MAX};
    struct fg_msg_reply reply = {0};
    struct fg_error err = {0};
    struct fg_view v = {.base = t->data, .len = t->len, .arena = fg_arena_open(0, FG_WIRE_MOST)};
    bool known = t->type < sizeof calls / sizeof *calls && calls[t->type] &&
                 (s->table || t->type == FG_MSG_OPEN);
    reply.status = known && v.arena ? calls[t->type](&c, &v, &reply, &err) : broken(&err);
    if (reply.status < FG_OK || reply.status > FG_TOO_LONG)
        reply.status = FG_INTERNAL;
    reply.text = (struct fg_str){err.text, strnlen(err.text, sizeof err.text)};
    answer(s, t->id, &reply);
    fg_arena_close(v.arena);
}

void *fg_child_control(void *served)
{
    struct fg_served *s = served;
    bool closed = false;
    while (!closed) {
        pthread_mutex_lock(&s->lock);
        while (fg_list_empty(&s->tasks))
            pthread_cond_wait(&s->posted, &s->lock);
        struct fg_list *node = fg_list_pop(&s->tasks);
        pthread_mutex_unlock(&s->lock);
        struct fg_child_task *t = FG_CONTAINER(node, struct fg_child_task, node);
        closed = t->type == FG_MSG_CLOSE;
        run(s, t);
        free(t);
    }
    __atomic_store_n(&s->is_closed, 1, __ATOMIC_RELEASE);
    fg_child_wake(s);
    return NULL;
}
