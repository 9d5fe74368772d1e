/*
 * The check behind /ready: a real token from a real model, at most every 30 s; whoever asks
 * meanwhile waits for the same one. A request that ended well lately counts as a check.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/inner.h"

enum { FRESH_S = 30 };

struct fg_ready_wait {
    struct fg_task task;
    struct fg_list node;
    struct fg_worker *worker;
    void (*done)(void *ctx, bool ready, struct fg_str why);
    void *ctx;
    bool is_good;
    char why[160];
};

struct probe { /* in its job's arena */
    struct fg_hub *hub;
    struct fg_request request;
    struct fg_str input;
    uint32_t outputs;
};

static void answer(struct fg_task *task)
{
    struct fg_ready_wait *w = FG_CONTAINER(task, struct fg_ready_wait, task);
    w->done(w->ctx, w->is_good, fg_str_of(w->why));
    free(w);
}

static void conclude(struct fg_hub *hub, bool good, struct fg_str why)
{
    struct fg_list waiters, *node;
    fg_list_init(&waiters);
    pthread_mutex_lock(&hub->lock);
    hub->ready.is_running = false;
    hub->ready.is_good = good;
    hub->ready.checked_ns = fg_clock_ns();
    snprintf(hub->ready.why, sizeof hub->ready.why, "%.*s", (int)(why.len < 159 ? why.len : 159),
             why.ptr ? why.ptr : "");
    fg_list_take(&waiters, &hub->ready.waiters);
    char text[160];
    memcpy(text, hub->ready.why, sizeof text);
    pthread_mutex_unlock(&hub->lock);
    while ((node = fg_list_pop(&waiters))) {
        struct fg_ready_wait *w = FG_CONTAINER(node, struct fg_ready_wait, node);
        w->is_good = good;
        memcpy(w->why, text, sizeof w->why);
        (void)fg_worker_post(w->worker, &w->task);
    }
}

static void probe_started(void *ctx, const struct fg_served *served)
{
    (void)ctx;
    (void)served;
}

static void probe_event(void *ctx, const struct fg_event *ev)
{
    struct probe *p = ctx;
    if (ev->kind == FG_EV_TEXT || ev->kind == FG_EV_THINKING || ev->kind == FG_EV_EMBEDDING)
        p->outputs++;
    if (ev->kind == FG_EV_DONE && ev->usage)
        p->outputs += ev->usage->output_tokens;
}

static void probe_over(void *ctx, const struct fg_job_end *end)
{
    struct probe *p = ctx;
    bool good = end->reason == FG_JOB_OK && p->outputs > 0;
    conclude(p->hub, good, good ? FG_STR("") : end->text.len ? end->text : FG_STR("no output"));
}

static const struct fg_job_sink probe_sink = {
    .started = probe_started, .event = probe_event, .over = probe_over};

/* The default model, else the newest one that a backend can run. */
static const struct fg_model_entry *pick(struct fg_hub *hub, const struct fg_catalog *catalog)
{
    char name[300] = "";
    pthread_mutex_lock(&hub->lock);
    if (hub->set.default_model)
        snprintf(name, sizeof name, "%s", hub->set.default_model);
    const struct fg_model_entry *e = NULL;
    FG_LIST_EACH (node, next, &hub->lives) {
        const struct fg_live *live = FG_CONTAINER(node, struct fg_live, node);
        if (live->state == FG_LIVE_READY && !live->retiring && !name[0])
            snprintf(name, sizeof name, "%.*s", FG_STR_ARG(live->entry->full_name));
    }
    pthread_mutex_unlock(&hub->lock);
    if (name[0])
        e = fg_catalog_find(catalog, fg_str_of(name), NULL);
    for (uint32_t i = 0; !e && i < fg_catalog_count(catalog); i++) {
        const struct fg_model_entry *c = fg_catalog_at(catalog, i);
        if (!c->error.len &&
            (fg_model_entry_is_bare(c) || c->can & (FG_CAN_COMPLETE | FG_CAN_EMBED)))
            e = c;
    }
    return e;
}

static bool probe(struct fg_hub *hub, struct fg_worker *worker)
{
    const struct fg_catalog *catalog = fg_hub_snapshot(hub);
    const struct fg_model_entry *e = pick(hub, catalog);
    struct fg_arena *arena = e ? fg_arena_open(0, 65536) : NULL;
    struct probe *p = arena ? fg_arena_zalloc(arena, 1, sizeof *p) : NULL;
    struct fg_str name = p ? fg_arena_str(arena, e->full_name) : (struct fg_str){0};
    bool embeds = e && !(e->can & FG_CAN_COMPLETE) && e->can & FG_CAN_EMBED;
    fg_catalog_release(catalog);
    if (!name.ptr) {
        fg_arena_close(arena);
        return false;
    }
    p->hub = hub;
    p->input = FG_STR("Hello");
    p->request = (struct fg_request){
        .size = sizeof p->request,
        .op = embeds ? FG_OP_EMBED : FG_OP_COMPLETE,
        .flags = FG_REQ_BOS | FG_REQ_IGNORE_EOS,
        .id = FG_STR("ready"),
        .inputs = &p->input,
        .input_count = 1,
        .max_tokens = 1,
    };
    struct fg_job_ask ask = {
        .model = name, .request = &p->request, .arena = arena, .sink = &probe_sink, .ctx = p};
    (void)fg_job_start(hub, worker, &ask);
    return true;
}

void fg_hub_ready(struct fg_hub *hub, struct fg_worker *worker,
                  void (*done)(void *ctx, bool ready, struct fg_str why), void *ctx)
{
    char why[160];
    uint64_t now = fg_clock_ns(), fresh = FRESH_S * FG_NS_PER_S;
    uint64_t good_ns = __atomic_load_n(&hub->last_good_ns, __ATOMIC_RELAXED);
    struct fg_ready_wait *w = calloc(1, sizeof *w);
    pthread_mutex_lock(&hub->lock);
    bool known = hub->ready.checked_ns && now - hub->ready.checked_ns < fresh;
    bool good = good_ns > hub->ready.checked_ns && now - good_ns < fresh;
    /* A bad answer is kept for 2 s only: the cause may be gone. */
    if (known && !hub->ready.is_good && now - hub->ready.checked_ns > 2 * FG_NS_PER_S)
        known = false;
    bool at_once = known || good || !w;
    good = good || (known && hub->ready.is_good);
    memcpy(why, hub->ready.why, sizeof why);
    bool run = !at_once && !hub->ready.is_running;
    if (!at_once) {
        *w = (struct fg_ready_wait){.task.run = answer, .worker = worker, .done = done, .ctx = ctx};
        fg_list_push(&hub->ready.waiters, &w->node);
        hub->ready.is_running = true;
    }
    pthread_mutex_unlock(&hub->lock);
    if (at_once) {
        free(w);
        done(ctx, good, good ? FG_STR("") : fg_str_of(why));
    } else if (run && !probe(hub, worker)) {
        conclude(hub, false, FG_STR("there is no model"));
    }
}
