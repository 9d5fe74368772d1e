/* See fakes.h. */
#include "fakes.h"

#include <fluxgate/ext/inspect.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "obs/log.h"
#include "obs/metrics.h"
#include "util/error.h"

struct fake fake;

/* ---- obs ---- */
void fg_log(int32_t level, const char *event, const char *format, ...)
{
    (void)level;
    (void)event;
    (void)format;
}
const char *fg_log_quote(struct fg_str text, char *out, size_t room)
{
    snprintf(out, room, "%.*s", FG_STR_ARG(text));
    return out;
}
int32_t fg_log_level(void)
{
    return FG_LOG_INFO;
}
struct fg_metric *fg_metric(enum fg_metric_kind kind, const char *name, const char *help,
                            const char *labels, const double *bounds, uint32_t bound_count)
{
    (void)kind, (void)name, (void)help, (void)labels, (void)bounds, (void)bound_count;
    return NULL;
}
void fg_metric_add(struct fg_metric *m, double v)
{
    (void)m, (void)v;
}
void fg_metric_set(struct fg_metric *m, double v)
{
    (void)m, (void)v;
}
void fg_metric_observe(struct fg_metric *m, double v)
{
    (void)m, (void)v;
}

/* ---- loop ---- */
struct fg_worker {
    struct fg_mailbox box;
    struct event_base *base;
};
struct fg_control {
    struct fg_mailbox box;
};
static struct fg_worker worker;
static struct fg_control control;

uint32_t fg_worker_index(const struct fg_worker *w)
{
    (void)w;
    return 0;
}
struct event_base *fg_worker_base(struct fg_worker *w)
{
    return w->base;
}
bool fg_worker_post(struct fg_worker *w, struct fg_task *task)
{
    return fg_mailbox_post(&w->box, task);
}
bool fg_control_post(struct fg_control *c, struct fg_task *task)
{
    return fg_mailbox_post(&c->box, task);
}

/* ---- stream: copies kind, text, code and usage; wakes the consumer by a task ---- */
struct item {
    struct fg_list node;
    struct fg_event ev;
    struct fg_usage usage;
    char text[64];
    int32_t tokens[4];
};
struct fg_stream {
    struct fg_task task;
    struct fg_list items;
    struct item *current;
    void (*ready)(void *);
    void *ctx;
    bool posted, stopped, over, closed;
};

static void on_task(struct fg_task *task)
{
    struct fg_stream *s = FG_CONTAINER(task, struct fg_stream, task);
    s->posted = false;
    if (s->closed)
        free(s);
    else
        s->ready(s->ctx);
}
int32_t fg_stream_open(struct fg_worker *w, void (*ready)(void *), void *ctx,
                       struct fg_stream **out, struct fg_error *err)
{
    (void)w, (void)err;
    struct fg_stream *s = calloc(1, sizeof *s);
    if (!s)
        return FG_NO_MEMORY;
    fg_list_init(&s->items);
    s->task.run = on_task;
    s->ready = ready;
    s->ctx = ctx;
    *out = s;
    return FG_OK;
}
int32_t fg_stream_emit(struct fg_stream *s, const struct fg_event *ev)
{
    struct item *i = calloc(1, sizeof *i);
    if (!i)
        abort(); /* of the test */
    i->ev = *ev;
    if (ev->usage) {
        i->usage = *ev->usage;
        i->ev.usage = &i->usage;
    }
    for (uint32_t t = 0; t < ev->token_count && t < 4; t++)
        i->tokens[t] = ev->tokens[t];
    i->ev.tokens = ev->token_count ? i->tokens : NULL;
    snprintf(i->text, sizeof i->text, "%.*s", FG_STR_ARG(ev->text));
    i->ev.text = fg_str_of(i->text);
    fg_list_push(&s->items, &i->node);
    if (!s->posted)
        fg_mailbox_post(&worker.box, &s->task);
    s->posted = true;
    return s->stopped ? FG_FLOW_STOP : FG_FLOW_GO;
}
const struct fg_event *fg_stream_next(struct fg_stream *s, bool *resume)
{
    *resume = false;
    free(s->current);
    s->current = NULL;
    struct fg_list *node = fg_list_pop(&s->items);
    if (!node)
        return NULL;
    s->current = FG_CONTAINER(node, struct item, node);
    s->over = s->current->ev.kind == FG_EV_DONE || s->current->ev.kind == FG_EV_FAILED;
    return &s->current->ev;
}
void fg_stream_stop(struct fg_stream *s)
{
    s->stopped = true;
}
bool fg_stream_is_over(struct fg_stream *s)
{
    return s->over;
}
void fg_stream_close(struct fg_stream *s)
{
    struct fg_list *node;
    while ((node = fg_list_pop(&s->items)))
        free(FG_CONTAINER(node, struct item, node));
    free(s->current);
    s->current = NULL;
    s->closed = true;
    if (!s->posted)
        free(s);
}

/* ---- the scripted plugin ---- */
struct fg_job {
    uint32_t number;
};
static void emit(uint32_t job, int32_t kind, const char *text, int32_t code)
{
    struct fg_usage usage = {.size = sizeof usage, .prompt_tokens = 7, .output_tokens = 3};
    struct fg_event ev = {.size = sizeof ev,
                          .kind = kind,
                          .text = fg_str_of(text),
                          .code = code,
                          .usage = kind == FG_EV_TEXT ? NULL : &usage};
    static const int32_t prompt[] = {7, 8, 9};
    if (kind == FG_EV_STARTED) {
        ev.tokens = prompt;
        ev.token_count = 3;
    }
    fg_stream_emit(fake.streams[job], &ev);
}
void fake_text(uint32_t job, const char *text)
{
    emit(job, FG_EV_TEXT, text, 0);
}
void fake_started(uint32_t job)
{
    emit(job, FG_EV_STARTED, "", 0);
}
void fake_done(uint32_t job)
{
    emit(job, FG_EV_DONE, "", FG_END_STOP);
}
void fake_failed(uint32_t job, int32_t status, const char *text)
{
    emit(job, FG_EV_FAILED, text, status);
}
static int32_t p_list(struct fg_backend *b, fg_model_visit *visit, void *ctx, struct fg_error *err)
{
    static const char *const bad[] = {"", "two words", "../up", "x:cloud"};
    (void)b, (void)err;
    fake.lists++;
    struct fg_model_info info = {.size = sizeof info,
                                 .can = FG_CAN_CHAT,
                                 .family = FG_STR("toy\xFF"),
                                 .parameters = 9,
                                 .context = 77};
    for (size_t i = 0; fake.own_model && i < sizeof bad / sizeof *bad; i++) {
        info.name = fg_str_of(bad[i]);
        visit(ctx, &info);
    }
    info.name = fg_str_of(fake.own_model);
    if (fake.own_model)
        visit(ctx, &info);
    return FG_OK;
}
static int32_t p_load(struct fg_backend *b, const struct fg_model_spec *spec, struct fg_model **out,
                      struct fg_error *err)
{
    fake.loads++;
    fake.loaded_on = b == (struct fg_backend *)&fake ? "toy" : "spare";
    fake.last_context = spec->context;
    snprintf(fake.loaded_name, sizeof fake.loaded_name, "%.*s", FG_STR_ARG(spec->name));
    snprintf(fake.loaded_path, sizeof fake.loaded_path, "%.*s", FG_STR_ARG(spec->path));
    if (fake.load_status != FG_OK)
        return fg_fail(err, fake.load_status, "tensor blk.0: bad offset");
    fake.live_models++;
    *out = (struct fg_model *)&fake;
    return FG_OK;
}
static void p_info(struct fg_model *m, fg_model_visit *visit, void *ctx)
{
    (void)m;
    struct fg_model_info info = {.size = sizeof info,
                                 .can = FG_CAN_CHAT | FG_CAN_COMPLETE,
                                 .context = fake.last_context ? fake.last_context : 4096,
                                 .max_running = fake.max_running,
                                 .memory_bytes = fake.is_weightless ? 0 : 4096,
                                 .device = FG_STR("toy")};
    visit(ctx, &info);
}
static void p_unload(struct fg_model *m)
{
    (void)m;
    fake.unloads++;
    fake.live_models--;
}
static int32_t p_submit(struct fg_model *m, const struct fg_request *r, struct fg_stream *s,
                        struct fg_job **out, struct fg_error *err)
{
    (void)m, (void)r;
    if (fake.submit_status != FG_OK)
        return fg_fail(err, fake.submit_status, "not so");
    struct fg_job *job = calloc(1, sizeof *job);
    if (!job)
        return FG_NO_MEMORY;
    job->number = fake.submits++;
    fake.streams[job->number] = s;
    fake.live_jobs++;
    *out = job;
    return FG_OK;
}
static void p_resume(struct fg_job *job)
{
    (void)job;
    fake.resumes++;
}
static void p_cancel(struct fg_job *job)
{
    fake.cancels++;
    if (fake.cancel_ends)
        emit(job->number, FG_EV_DONE, "", FG_END_CANCELLED);
}
static void p_release(struct fg_job *job)
{
    fake.releases++;
    fake.live_jobs--;
    free(job);
}
static int32_t p_inspect(struct fg_backend *b, struct fg_str path, uint32_t flags,
                         fg_inspect_visit *visit, void *ctx, struct fg_error *err)
{
    (void)b, (void)flags;
    fake.inspects++;
    if (fg_str_ends(path, FG_STR("other.gguf")))
        return fg_fail(err, FG_INVALID, "magic: not a GGUF file");
    visit(ctx, fg_str_of(fake.inspect_json));
    return FG_OK;
}
static const void *p_extension(struct fg_backend *b, const char *id)
{
    static const struct fg_inspect inspect = {sizeof inspect, p_inspect};
    (void)b;
    return fake.inspect_json && strcmp(id, FG_EXT_INSPECT) == 0 ? &inspect : NULL;
}
static const struct fg_plugin plugin = {
    .size = sizeof plugin,
    .abi = FG_ABI,
    .name = "toy",
    .version = "1",
    .list = p_list,
    .load = p_load,
    .info = p_info,
    .unload = p_unload,
    .submit = p_submit,
    .resume = p_resume,
    .cancel = p_cancel,
    .release = p_release,
    .extension = p_extension,
};

/* ---- the registry of one backend, or two ---- */
static char spare; /* its address is the second one */

uint32_t fg_registry_count(const struct fg_registry *r)
{
    (void)r;
    return fake.backends;
}
struct fg_backend_slot *fg_registry_at(const struct fg_registry *r, uint32_t index)
{
    (void)r;
    return index == 0              ? fake_slot()
           : index < fake.backends ? (struct fg_backend_slot *)&spare
                                   : NULL;
}
static bool is_toy(const struct fg_backend_slot *slot)
{
    return slot == fake_slot();
}
const char *fg_backend_name(const struct fg_backend_slot *slot)
{
    return is_toy(slot) ? "toy" : "spare";
}
void fg_backend_get_status(const struct fg_backend_slot *slot, struct fg_backend_status *out)
{
    *out = (struct fg_backend_status){
        .state = is_toy(slot) ? __atomic_load_n(&fake.state, __ATOMIC_ACQUIRE) : fake.spare_state,
        .generation = __atomic_load_n(&fake.generation, __ATOMIC_ACQUIRE),
        .revision = __atomic_load_n(&fake.revision, __ATOMIC_ACQUIRE)};
    snprintf(out->reason, sizeof out->reason, "%s",
             out->state == FG_BACKEND_UP ? "" : "it is away");
}
bool fg_backend_restart(struct fg_backend_slot *slot, const char *reason)
{
    (void)reason;
    fake.restarts |= is_toy(slot) ? 1 : 2;
    return true;
}
struct fg_control *fg_backend_control(struct fg_backend_slot *slot)
{
    (void)slot;
    return &control;
}
const struct fg_plugin *fg_backend_table(const struct fg_backend_slot *slot)
{
    (void)slot;
    return &plugin;
}
struct fg_backend *fg_backend_instance(const struct fg_backend_slot *slot)
{
    return is_toy(slot) ? (struct fg_backend *)&fake : (struct fg_backend *)&spare;
}

/* ---- cards: a snapshot that the test writes ---- */
static struct fg_gpu_events sink;

const struct fg_gpus *fg_gpu_snapshot(struct fg_gpu *g)
{
    (void)g;
    return fake.gpus;
}
void fg_gpus_release(const struct fg_gpus *g)
{
    (void)g;
}
void fg_gpu_tell(struct fg_gpu *g, const struct fg_gpu_events *events)
{
    (void)g;
    sink = *events;
}
void fg_gpu_restarted(struct fg_gpu *g, uint32_t cards)
{
    (void)g;
    fake.gpu_restarts |= cards;
}
void fg_gpu_look_again(struct fg_gpu *g)
{
    (void)g;
    fake.gpu_looks++;
}
struct fg_gpus *fake_cards(uint32_t count)
{
    free(fake.gpus);
    fake.gpus = calloc(1, sizeof *fake.gpus + count * sizeof fake.gpus->cards[0]);
    if (!fake.gpus)
        abort(); /* of the test */
    fake.gpus->is_enabled = fake.gpus->has_library = true;
    fake.gpus->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct fg_gpu_card *c = &fake.gpus->cards[i];
        *c = (struct fg_gpu_card){
            .index = i, .major = 6, .minor = 1, .state = FG_GPU_READY, .weight = 1, .admission = 1};
        snprintf(c->name, sizeof c->name, "Tesla P40");
        c->values[FG_GPU_MEMORY_FREE] = 24e9;
        c->values[FG_GPU_CELSIUS] = 40;
        c->values[FG_GPU_WATTS] = 0;
    }
    return fake.gpus;
}
struct fg_gpu *fake_gpu(void)
{
    return (struct fg_gpu *)&sink;
}
void fake_cards_changed(void)
{
    sink.changed(sink.ctx);
}

/* ---- the world ---- */
void fake_reset(void)
{
    free(fake.gpus);
    memset(&fake, 0, sizeof fake);
    fake.state = FG_BACKEND_UP;
    fake.generation = 1;
    fake.max_running = 1;
    fake.backends = 1;
    fake.cancel_ends = true;
    if (!worker.base) {
        worker.base = event_base_new();
        if (!worker.base || fg_mailbox_init(&worker.box, NULL) != FG_OK ||
            fg_mailbox_init(&control.box, NULL) != FG_OK)
            abort(); /* of the test */
    }
}
struct fg_worker *fake_worker(void)
{
    return &worker;
}
struct fg_registry *fake_registry(void)
{
    return (struct fg_registry *)&fake;
}
struct fg_backend_slot *fake_slot(void)
{
    return (struct fg_backend_slot *)&fake;
}
void fake_turn(void)
{
    if (!fake.control_stopped)
        fg_mailbox_run(&control.box);
    fg_mailbox_run(&worker.box);
    event_base_loop(worker.base, EVLOOP_NONBLOCK);
}
void fake_done_world(void)
{
    fg_mailbox_done(&worker.box);
    fg_mailbox_done(&control.box);
    event_base_free(worker.base);
    libevent_global_shutdown();
    free(fake.gpus);
    fake.gpus = NULL;
}
