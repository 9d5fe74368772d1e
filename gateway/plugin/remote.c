/*
 * See remote.h. An instance's life, and the calls of its control thread: each sends one frame and
 * waits for its REPLY, for the child's end, or for its time to run out, which ends the child.
 */
#include "plugin/remote.h"

#include <errno.h>
#include <fluxgate/ext/inspect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "plugin/remote_inner.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/str.h"

enum { LOAD_S = 300, CALL_S = 60, CLOSE_S = 10, HANG_S = 60, WRITE_S = 5 };

/* ---- life --------------------------------------------------------------------------------------
 */

static void free_visits(struct fg_list *visits)
{
    struct fg_list *node;
    while ((node = fg_list_pop(visits)))
        free(FG_CONTAINER(node, struct fg_remote_visit, node));
}

void fg_remote_numbers_drop(struct fg_remote_numbers *n)
{
    if (!n || __atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL))
        return;
    fg_arena_close(n->arena);
    free(n);
}

static void drop(struct fg_backend *r)
{
    if (__atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL))
        return;
    fg_remote_numbers_drop(r->numbers);
    free_visits(&r->call.visits);
    fg_wire_sender_done(&r->out);
    fg_wire_reader_done(&r->in);
    fg_child_close(&r->child);
    if (r->wake_fd >= 0)
        close(r->wake_fd);
    fg_arena_close(r->arena);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r->jobs);
    free(r);
}

static struct fg_backend *make(const struct fg_remote_ask *ask)
{
    pthread_condattr_t attr;
    struct fg_backend *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->ask = *ask;
    r->refs = 1;
    r->child = (struct fg_child){.socket = -1, .output = -1, .pidfd = -1};
    r->ask.load_timeout_ns = ask->load_timeout_ns ? ask->load_timeout_ns : LOAD_S * FG_NS_PER_S;
    r->ask.call_timeout_ns = ask->call_timeout_ns ? ask->call_timeout_ns : CALL_S * FG_NS_PER_S;
    r->ask.hang_ns = ask->hang_ns ? ask->hang_ns : HANG_S * FG_NS_PER_S;
    r->ask.write_ns = ask->write_ns ? ask->write_ns : WRITE_S * FG_NS_PER_S;
    r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->arena = fg_arena_open(0, FG_WIRE_MOST);
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attr);
    pthread_condattr_destroy(&attr);
    fg_list_init(&r->call.visits);
    fg_wire_sender_init(&r->out, -1);
    if (r->wake_fd < 0 || !r->arena) {
        drop(r);
        return NULL;
    }
    return r;
}

static int32_t start(struct fg_backend *r, int32_t *pid, struct fg_error *err)
{
    int32_t rc = fg_child_start(r->ask.host_path, r->ask.name, &r->child, err);
    if (rc != FG_OK)
        return rc;
    char how[64];
    *pid = r->child.pid; /* before its thread may reap it */
    r->out.fd = r->child.socket;
    r->output.fd = r->child.output;
    rc = fg_wire_reader_init(&r->in, r->child.socket);
    int failed = rc == FG_OK ? pthread_create(&r->thread, NULL, fg_remote_run, r) : ENOMEM;
    if (failed) {
        fg_child_end(&r->child, 0, how, sizeof how);
        return fg_fail(err, FG_DEVICE_LOST, "no thread for the child of \"%.64s\": %s", r->ask.name,
                       strerror(failed));
    }
    char name[16];
    snprintf(name, sizeof name, "%.8s-child", r->ask.name);
    (void)pthread_setname_np(r->thread, name);
    r->has_thread = true;
    return FG_OK;
}

/* ---- one call ----------------------------------------------------------------------------------
 */

/* Room for the call's payload; NULL: the child is gone or memory is. */
static void *begin(struct fg_backend *r, uint8_t type, size_t len, struct fg_error *err)
{
    char reason[sizeof r->reason] = "no memory for a message to its process";
    pthread_mutex_lock(&r->lock);
    bool gone = r->gone;
    if (gone) {
        memcpy(reason, r->reason, sizeof reason);
    } else {
        free_visits(&r->call.visits);
        r->call = (struct fg_remote_call){.id = ++r->last_call};
        fg_list_init(&r->call.visits);
    }
    pthread_mutex_unlock(&r->lock);
    void *payload = gone ? NULL : fg_wire_begin(&r->out, type, r->last_call, len, 0);
    if (!payload)
        fg_fail(err, FG_DEVICE_LOST, "backend \"%.64s\": %.150s", r->ask.name, reason);
    return payload;
}

static bool wait_locked(struct fg_backend *r, uint64_t until_ns)
{
    struct timespec at = {.tv_sec = (time_t)(until_ns / FG_NS_PER_S),
                          .tv_nsec = (long)(until_ns % FG_NS_PER_S)};
    return pthread_cond_timedwait(&r->changed, &r->lock, &at) != ETIMEDOUT;
}

/* Until the reply; time without any progress is limited. The call's err says how it ended. */
static int32_t wait_for(struct fg_backend *r, uint64_t limit_ns, void (*progress)(void *, float),
                        void *ctx, struct fg_error *err)
{
    uint64_t until = fg_clock_ns() + limit_ns;
    bool late = false;
    struct fg_remote_call *c = &r->call;
    pthread_mutex_lock(&r->lock);
    while (!c->done && !r->gone) {
        if (c->moved) {
            float fraction = c->fraction;
            c->moved = false;
            until = fg_clock_ns() + limit_ns;
            pthread_mutex_unlock(&r->lock);
            if (progress)
                progress(ctx, fraction);
            pthread_mutex_lock(&r->lock);
        } else if (!wait_locked(r, until) && !late && !c->done && !c->moved && !r->gone) {
            late = true;
            until = UINT64_MAX / 2;
            pthread_mutex_unlock(&r->lock);
            fg_remote_kill(r, "did not answer a call in time");
            pthread_mutex_lock(&r->lock);
        }
    }
    struct fg_error end = c->err;
    if (!c->done) {
        char reason[sizeof r->reason];
        snprintf(reason, sizeof reason, "%s", r->reason);
        fg_fail(&end, late ? FG_TIMEOUT : FG_DEVICE_LOST, "backend \"%.64s\": %.150s", r->ask.name,
                reason);
    }
    c->id = 0;
    pthread_mutex_unlock(&r->lock);
    if (end.status != FG_OK && err)
        *err = end;
    return end.status;
}

static int32_t finish(struct fg_backend *r, void *payload, uint64_t limit_ns, struct fg_error *err)
{
    fg_wire_end(&r->out, payload);
    fg_remote_flush(r);
    return wait_for(r, limit_ns, NULL, NULL, err);
}

static int32_t call_model(struct fg_model *m, uint8_t type, struct fg_error *err)
{
    struct fg_backend *r = m->remote;
    void *payload = begin(r, type, sizeof m->id, err);
    if (!payload)
        return FG_DEVICE_LOST;
    memcpy(payload, &m->id, sizeof m->id);
    return finish(r, payload, r->ask.call_timeout_ns, err);
}

/* What the child wanted visited, in its order. */
static void visit_models(struct fg_backend *r, fg_model_visit *visit, void *ctx)
{
    struct fg_list *node;
    while ((node = fg_list_pop(&r->call.visits))) {
        struct fg_remote_visit *one = FG_CONTAINER(node, struct fg_remote_visit, node);
        struct fg_view v = {.base = one->data, .len = one->len};
        struct fg_model_info info;
        if (one->type == FG_MSG_MODEL && fg_info_view(&v, &info))
            visit(ctx, &info);
        free(one);
    }
}

/* ---- the table --------------------------------------------------------------------------------
 */

static int32_t remote_open(const struct fg_host *host, struct fg_str config,
                           struct fg_backend **out, struct fg_error *err)
{
    (void)host; /* fg_remote_open() makes instances */
    (void)config;
    (void)out;
    return fg_fail(err, FG_UNSUPPORTED, "a child is opened by its registry");
}

static void remote_close(struct fg_backend *r)
{
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    bool ask = !r->gone && r->announced;
    pthread_mutex_unlock(&r->lock);
    void *payload = ask ? begin(r, FG_MSG_CLOSE, 0, NULL) : NULL;
    if (payload)
        (void)finish(r, payload, CLOSE_S * FG_NS_PER_S, NULL);
    else
        fg_remote_kill(r, "was told to end");
    if (payload) { /* having answered it ends by itself; else it is helped */
        pthread_mutex_lock(&r->lock);
        uint64_t until = fg_clock_ns() + CLOSE_S * FG_NS_PER_S;
        while (!r->gone && wait_locked(r, until))
            ;
        pthread_mutex_unlock(&r->lock);
        fg_remote_kill(r, "was told to end and did not");
    }
    if (r->has_thread)
        pthread_join(r->thread, NULL);
    drop(r);
}

static int32_t remote_device(struct fg_backend *r, uint32_t index, struct fg_device *out)
{
    int32_t rc = FG_NOT_FOUND;
    pthread_mutex_lock(&r->lock);
    if (r->numbers && index < r->numbers->all.device_count) {
        uint32_t size = out->size < sizeof *out ? out->size : sizeof *out;
        memcpy(out, &r->numbers->all.devices[index], size);
        out->size = size;
        rc = FG_OK;
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

static void remote_metrics(struct fg_backend *r, fg_metric_visit *visit, void *ctx)
{
    pthread_mutex_lock(&r->lock);
    struct fg_remote_numbers *n = r->numbers;
    if (n)
        __atomic_add_fetch(&n->refs, 1, __ATOMIC_ACQ_REL);
    pthread_mutex_unlock(&r->lock);
    for (uint32_t i = 0; n && i < n->all.metric_count; i++)
        visit(ctx, n->all.metrics[i].name.ptr, n->all.metrics[i].labels.ptr,
              n->all.metrics[i].value);
    fg_remote_numbers_drop(n);
}

static int32_t remote_list(struct fg_backend *r, fg_model_visit *visit, void *ctx,
                           struct fg_error *err)
{
    void *payload = begin(r, FG_MSG_LIST, 0, err);
    int32_t rc = payload ? finish(r, payload, r->ask.call_timeout_ns, err) : FG_DEVICE_LOST;
    if (rc == FG_OK)
        visit_models(r, visit, ctx);
    return rc;
}

static int32_t remote_load(struct fg_backend *r, const struct fg_model_spec *spec,
                           struct fg_model **out, struct fg_error *err)
{
    struct fg_model *m = calloc(1, sizeof *m);
    if (!m)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a model");
    void *payload = begin(r, FG_MSG_LOAD, fg_spec_pack(spec, NULL), err);
    int32_t rc = FG_DEVICE_LOST;
    if (payload) {
        fg_spec_pack(spec, payload);
        fg_wire_end(&r->out, payload);
        fg_remote_flush(r);
        rc = wait_for(r, r->ask.load_timeout_ns, spec->progress, spec->progress_ctx, err);
    }
    if (rc != FG_OK) {
        free(m);
        return rc;
    }
    m->remote = r;
    m->id = r->call.reply.model;
    __atomic_add_fetch(&r->refs, 1, __ATOMIC_ACQ_REL);
    *out = m;
    return FG_OK;
}

static void remote_info(struct fg_model *m, fg_model_visit *visit, void *ctx)
{
    if (call_model(m, FG_MSG_INFO, NULL) == FG_OK)
        visit_models(m->remote, visit, ctx);
}

static void remote_unload(struct fg_model *m)
{
    (void)call_model(m, FG_MSG_UNLOAD, NULL);
    drop(m->remote);
    free(m);
}

static int32_t remote_inspect(struct fg_backend *r, struct fg_str path, uint32_t flags,
                              fg_inspect_visit *visit, void *ctx, struct fg_error *err)
{
    const struct fg_msg_inspect m = {.path = path, .flags = flags};
    void *payload = begin(r, FG_MSG_INSPECT, fg_inspect_pack(&m, NULL), err);
    if (!payload)
        return FG_DEVICE_LOST;
    fg_inspect_pack(&m, payload);
    int32_t rc = finish(r, payload, r->ask.call_timeout_ns, err);
    struct fg_list *node;
    while (rc == FG_OK && (node = fg_list_pop(&r->call.visits))) {
        struct fg_remote_visit *one = FG_CONTAINER(node, struct fg_remote_visit, node);
        if (one->type == FG_MSG_JSON)
            visit(ctx, (struct fg_str){one->data, one->len});
        free(one);
    }
    return rc;
}

static const void *remote_extension(struct fg_backend *r, const char *id)
{
    static const struct fg_inspect inspect = {.size = sizeof inspect, .inspect = remote_inspect};
    return r->can_inspect && strcmp(id, FG_EXT_INSPECT) == 0 ? &inspect : NULL;
}

static const struct fg_plugin remote_table = {
    .size = sizeof(struct fg_plugin),
    .abi = FG_ABI,
    .open = remote_open,
    .close = remote_close,
    .device = remote_device,
    .list = remote_list,
    .load = remote_load,
    .info = remote_info,
    .unload = remote_unload,
    .submit = fg_remote_submit,
    .resume = fg_remote_resume,
    .cancel = fg_remote_cancel,
    .release = fg_remote_release,
    .metrics = remote_metrics,
    .extension = remote_extension,
};

/* ---- opening ----------------------------------------------------------------------------------
 */

static int32_t open_plugin(struct fg_backend *r, struct fg_error *err)
{
    const struct fg_msg_open m = {.path = fg_str_of(r->ask.plugin_path),
                                  .config_json = fg_str_of(r->ask.config_json)};
    void *payload = begin(r, FG_MSG_OPEN, fg_open_pack(&m, NULL), err);
    if (!payload)
        return FG_DEVICE_LOST;
    fg_open_pack(&m, payload);
    int32_t rc = finish(r, payload, r->ask.call_timeout_ns, err);
    if (rc == FG_OK) {
        r->can_inspect = r->call.reply.can_inspect;
        memcpy(r->name, r->call.name, sizeof r->name);
        memcpy(r->version, r->call.version, sizeof r->version);
    }
    return rc == FG_TIMEOUT ? FG_DEVICE_LOST : rc; /* perhaps better the next time */
}

int32_t fg_remote_open(const struct fg_remote_ask *ask, const struct fg_plugin **table,
                       struct fg_backend **out, int32_t *pid, struct fg_error *err)
{
    struct fg_error none;
    struct fg_backend *r = make(ask);
    if (!r)
        return fg_fail(err, FG_DEVICE_LOST, "no memory for the child of \"%.64s\"", ask->name);
    err = err ? err : &none;
    int32_t rc = start(r, pid, err);
    if (rc == FG_OK)
        rc = open_plugin(r, err);
    pthread_mutex_lock(&r->lock);
    if (rc == FG_OK && r->gone)
        rc = fg_fail(err, FG_DEVICE_LOST, "backend \"%.64s\": %.150s", ask->name, r->reason);
    r->announced = rc == FG_OK; /* from here on its end is told to the owner */
    pthread_mutex_unlock(&r->lock);
    if (rc != FG_OK) {
        remote_close(r);
        return rc;
    }
    r->table = remote_table;
    r->table.name = r->name;
    r->table.version = r->version;
    *table = &r->table;
    *out = r;
    return FG_OK;
}
