/*
 * The scripted world: every function of http/http.h and flow/hub.h that the front ends call. The
 * functions of obs and conf are weak, so that the real ones serve where they are linked.
 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "obs/log.h"
#include "obs/metrics.h"
#include "util/error.h"

struct world world;
struct fg_catalog {
    int unused;
};
struct fg_hub_job {
    int unused;
};
struct fg_hub_inspect {
    int unused;
};
static struct fg_catalog the_catalog;
static struct fg_hub_job the_job;

/* ---- obs, conf ---- */
__attribute__((weak)) struct fg_metric *fg_metric(enum fg_metric_kind kind, const char *name,
                                                  const char *help, const char *labels,
                                                  const double *bounds, uint32_t count)
{
    (void)kind, (void)name, (void)help, (void)labels, (void)bounds, (void)count;
    return NULL;
}
__attribute__((weak)) void fg_metric_add(struct fg_metric *m, double by)
{
    (void)m, (void)by;
}
__attribute__((weak)) bool fg_metrics_write(struct fg_buf *b)
{
    return fg_buf_add(b, FG_STR("fluxgate_up 1\n"));
}
__attribute__((weak)) void fg_log(int32_t level, const char *event, const char *format, ...)
{
    (void)level, (void)event, (void)format;
}
__attribute__((weak)) const char *fg_log_quote(struct fg_str text, char *out, size_t room)
{
    snprintf(out, room, "%.*s", FG_STR_ARG(text));
    return out;
}
/* Enough of Go's durations for these tests; conf/ has the whole. */
__attribute__((weak)) int32_t fg_conf_duration(struct fg_str text, int64_t *ns, struct fg_error *err)
{
    char copy[32], unit[4] = "";
    double number = 0;
    snprintf(copy, sizeof(copy), "%.*s", FG_STR_ARG(text));
    if (sscanf(copy, "%lf%3s", &number, unit) != 2)
        return fg_fail(err, FG_INVALID, "time: invalid duration \"%s\"", copy);
    *ns = (int64_t)(number * (unit[0] == 'h' ? 3600e9 : unit[0] == 'm' ? 60e9 : 1e9));
    return FG_OK;
}

/* ---- http ---- */
const struct fg_http_request *fg_exchange_request(const struct fg_exchange *x)
{
    return &x->request;
}
struct fg_str fg_exchange_header(const struct fg_exchange *x, const char *name)
{
    for (uint32_t i = 0; i < x->header_count; i++)
        if (fg_str_ieq(x->headers[i].name, fg_str_of(name)))
            return x->headers[i].value;
    return (struct fg_str){0};
}
struct fg_worker *fg_exchange_worker(const struct fg_exchange *x)
{
    (void)x;
    return NULL;
}
void fg_exchange_set_user(struct fg_exchange *x, void *user)
{
    x->user = user;
}
void *fg_exchange_user(const struct fg_exchange *x)
{
    return x->user;
}
void fg_exchange_set_header(struct fg_exchange *x, const char *name, struct fg_str value)
{
    fg_buf_printf(&x->reply_headers, "%s: %.*s\n", name, FG_STR_ARG(value));
}
static void start_reply(struct fg_exchange *x, int status, const char *type)
{
    if (x->begun) {
        fprintf(stderr, "a second reply was begun\n");
        abort();
    }
    x->begun = true;
    x->status = status;
    snprintf(x->type, sizeof(x->type), "%s", type ? type : "");
}
void fg_exchange_reply(struct fg_exchange *x, int status, const char *type, struct fg_str body)
{
    start_reply(x, status, type);
    fg_buf_add(&x->body, body);
    x->ended = true;
}
void fg_exchange_begin(struct fg_exchange *x, int status, const char *type)
{
    start_reply(x, status, type);
}
int32_t fg_exchange_write(struct fg_exchange *x, struct fg_str data)
{
    x->writes++;
    fg_buf_add(&x->body, data);
    if (x->over_during_write)
        world_leave();
    return x->flow;
}
void fg_exchange_end(struct fg_exchange *x)
{
    x->ended = true;
}
void fg_exchange_abort(struct fg_exchange *x)
{
    x->aborted = true;
}
bool fg_exchange_begun(const struct fg_exchange *x)
{
    return x->begun;
}
uint32_t fg_http_active(const struct fg_http_server *s)
{
    (void)s;
    return 1;
}
uint32_t fg_http_connections(const struct fg_http_server *s)
{
    (void)s;
    return 1;
}

/* ---- hub ---- */
const struct fg_catalog *fg_hub_catalog(struct fg_hub *hub)
{
    (void)hub;
    return &the_catalog;
}
void fg_catalog_release(const struct fg_catalog *c)
{
    (void)c;
}
uint32_t fg_catalog_count(const struct fg_catalog *c)
{
    (void)c;
    return 3;
}
const struct fg_model_entry *fg_catalog_at(const struct fg_catalog *c, uint32_t index)
{
    (void)c;
    return &world.models[index];
}
const struct fg_model_entry *fg_catalog_find(const struct fg_catalog *c, struct fg_str name,
                                             bool *invalid)
{
    (void)c;
    if (invalid)
        *invalid = memchr(name.ptr, '\\', name.len) != NULL;
    for (int i = 0; i < (world.comes_late && !world.looks ? 2 : 3); i++) {
        struct fg_str own = world.models[i].name, bare = own;
        bare.len = (size_t)((char *)memchr(own.ptr, ':', own.len) - own.ptr);
        if (fg_str_ieq(name, own) || (i == 1 && fg_str_ieq(name, bare)))
            return &world.models[i];
    }
    return NULL;
}

static void finish(const struct fg_job_end *end)
{
    const struct fg_job_sink *sink = world.ask.sink;
    void *ctx = world.ask.ctx;
    struct fg_arena *arena = world.arena;
    world.ask.request = NULL;
    world.arena = NULL;
    sink->over(ctx, end);
    fg_arena_close(arena);
}

void world_play(void)
{
    struct fg_served served = {.backend = FG_STR("cpu"), .engine = FG_STR("cpu"),
                               .quantization = FG_STR("Q4_1"), .queue_ns = 3000000};
    uint32_t cancels = world.cancels;
    for (uint32_t i = 0; i < world.pings; i++)
        world.ask.sink->waiting(world.ask.ctx, 0, "load", 0.5f);
    if (world.end.reason == FG_JOB_OK || world.event_count)
        world.ask.sink->started(world.ask.ctx, &served);
    for (uint32_t i = 0; i < world.event_count && world.cancels == cancels; i++)
        world.ask.sink->event(world.ask.ctx, &world.events[i]);
}

void world_finish(void)
{
    finish(&world.end);
}

struct fg_hub_job *fg_job_start(struct fg_hub *hub, struct fg_worker *w, const struct fg_job_ask *ask)
{
    (void)hub, (void)w;
    world.ask = *ask;
    world.arena = ask->arena;
    world.jobs++;
    snprintf(world.asked_model, sizeof(world.asked_model), "%.*s", FG_STR_ARG(ask->model));
    if (world.is_deferred)
        return &the_job;
    uint32_t cancels = world.cancels;
    world_play();
    if (world.cancels == cancels)
        world_finish();
    return NULL;
}
void fg_job_cancel(struct fg_hub_job *job)
{
    (void)job;
    world.cancels++;
    fg_arena_close(world.arena);
    world.arena = NULL;
    world.ask.request = NULL;
}
void fg_job_pause(struct fg_hub_job *job)
{
    (void)job;
    world.pauses++;
}
void fg_job_unpause(struct fg_hub_job *job)
{
    (void)job;
    world.unpauses++;
}
void fg_hub_loaded(struct fg_hub *hub, void (*visit)(void *, const struct fg_loaded *), void *ctx)
{
    (void)hub;
    struct fg_loaded a = {.model = &world.models[0], .memory_bytes = 100, .context = 4096,
                          .expires_wall_ns = 1800000000000000000};
    struct fg_loaded b = {.model = &world.models[1], .memory_bytes = 50, .device_bytes = 50,
                          .context = 512, .expires_wall_ns = INT64_MAX};
    visit(ctx, &a);
    visit(ctx, &b);
}
void fg_hub_unload(struct fg_hub *hub, struct fg_worker *w, struct fg_str name,
                   void (*done)(void *, bool), void *ctx)
{
    (void)hub, (void)w, (void)name;
    world.unloads++;
    done(ctx, true);
}
struct fg_hub_inspect *fg_hub_inspect(struct fg_hub *hub, struct fg_worker *w, struct fg_str name,
                                      uint32_t flags,
                                      void (*done)(void *, const json_t *, const struct fg_error *),
                                      void *ctx)
{
    (void)hub, (void)w, (void)name, (void)flags;
    json_t *json = json_pack("{s:{s:s,s:i,s:s,s:s}}", "metadata", "general.architecture", "llama",
                             "llama.context_length", 2048, "general.name", "hidden",
                             "tokenizer.chat_template", "hidden");
    done(ctx, json, NULL);
    json_decref(json);
    return NULL;
}
void fg_hub_inspect_cancel(struct fg_hub_inspect *i)
{
    (void)i;
}
bool fg_hub_figures(struct fg_hub *hub, struct fg_buf *out)
{
    (void)hub;
    return fg_buf_printf(out, "fluxgate_plugin_x{backend=\"toy\"} 1\n");
}

json_t *fg_hub_health(struct fg_hub *hub)
{
    (void)hub;
    return json_pack("{s:s,s:[]}", "status", "ok", "reasons");
}
struct fg_gpu *fg_hub_gpu(struct fg_hub *hub)
{
    (void)hub;
    return NULL;
}
json_t *fg_hub_explain(struct fg_hub *hub, struct fg_str name, bool *invalid)
{
    (void)hub, (void)invalid;
    return json_pack("{s:s%}", "model", name.ptr, name.len);
}
static void (*look_done)(void *ctx);
static void *look_ctx;
void world_look(void)
{
    void (*done)(void *) = look_done;
    look_done = NULL;
    world.looks++;
    done(look_ctx);
}
void fg_hub_look(struct fg_hub *hub, struct fg_worker *w, void (*done)(void *ctx), void *ctx)
{
    (void)hub, (void)w;
    look_done = done;
    look_ctx = ctx;
    if (!world.look_is_deferred)
        world_look();
}
void fg_hub_ready(struct fg_hub *hub, struct fg_worker *w,
                  void (*done)(void *, bool, struct fg_str), void *ctx)
{
    (void)hub, (void)w;
    done(ctx, false, FG_STR("no model"));
}

/* ---- the tests' side ---- */
static void fresh_exchange(void)
{
    fg_buf_done(&world.x.reply_headers);
    fg_buf_done(&world.x.body);
    bool dies = world.x.over_during_write;
    int32_t flow = world.x.flow;
    uint32_t count = world.x.header_count;
    struct fg_http_header headers[8];
    memcpy(headers, world.x.headers, sizeof(headers));
    world.x = (struct fg_exchange){.over_during_write = dies, .flow = flow, .header_count = count};
    memcpy(world.x.headers, headers, sizeof(headers));
}

int world_open(void **state)
{
    (void)state;
    struct fg_conf conf = {0};
    static char *origins[] = {"https://*.good.example"};
    conf.origins = origins;
    conf.origin_count = 1;
    memset(&world, 0, sizeof(world));
    static const char digest[] = "c1aba333c1aba333c1aba333c1aba333c1aba333c1aba333c1aba333c1aba333";
    world.models[0] = (struct fg_model_entry){
        .name = FG_STR("smol:135m"), .full_name = FG_STR("registry.ollama.ai/library/smol:135m"),
        .digest = fg_str_of(digest), .family = FG_STR("llama"), .quantization = FG_STR("Q4_1"),
        .parameters = 134515008, .context = 2048, .embedding = 576, .size_bytes = 98362749,
        .can = FG_CAN_CHAT | FG_CAN_COMPLETE | FG_CAN_LOGPROBS | FG_CAN_TOKENIZE,
        .params_json = FG_STR("{\"stop\":[\"<|im_end|>\"],\"top_k\":7,\"num_ctx\":1024}"),
        .system = FG_STR("be brief"), .modified_wall_ns = 1795479450000000000ull};
    world.models[1] = (struct fg_model_entry){
        .name = FG_STR("vec:latest"), .full_name = FG_STR("registry.ollama.ai/library/vec:latest"),
        .digest = fg_str_of(digest), .can = FG_CAN_EMBED, .embedding = 2, .parameters = 7241732096};
    world.models[2] = (struct fg_model_entry){
        .name = FG_STR("a/b:c"), .full_name = FG_STR("registry.ollama.ai/a/b:c"),
        .digest = fg_str_of(digest)};
    return fg_api_open(&conf, NULL, &world.api, NULL);
}

int world_close(void **state)
{
    (void)state;
    world_leave();
    fg_buf_done(&world.x.reply_headers);
    fg_buf_done(&world.x.body);
    fg_api_close(world.api);
    return 0;
}

void world_header(const char *name, const char *value)
{
    world.x.headers[world.x.header_count++] =
        (struct fg_http_header){fg_str_of(name), fg_str_of(value)};
}

void world_script(const struct fg_event *events, uint32_t count)
{
    world.events = events;
    world.event_count = count;
}

void world_send(int32_t method, const char *path, const char *body)
{
    const struct fg_http_handler *h = fg_api_handler(world.api);
    world_leave();
    fresh_exchange();
    struct fg_http_request *r = &world.x.request;
    r->method = method;
    const char *mark = strchr(path, '?');
    r->path = r->raw_path = fg_str_of(path);
    r->query = fg_str_of(mark ? mark + 1 : "");
    if (mark)
        r->path.len = r->raw_path.len = (size_t)(mark - path);
    r->body = fg_str_of(body ? body : "");
    r->has_body = body != NULL;
    r->id = FG_STR("req_0123456789abcdef01234567");
    h->head(h->ctx, &world.x);
    if (!world.x.begun)
        h->request(h->ctx, &world.x);
}

void world_leave(void)
{
    const struct fg_http_handler *h = fg_api_handler(world.api);
    if (world.x.user)
        h->over(h->ctx, &world.x, !world.x.ended);
}

const char *world_body(void)
{
    fg_buf_addc(&world.x.body, '\0');
    world.x.body.len--;
    return world.x.body.ptr;
}

const char *world_reply_header(const char *name)
{
    static char value[256];
    char wanted[80];
    snprintf(wanted, sizeof(wanted), "%s: ", name);
    value[0] = '\0';
    fg_buf_addc(&world.x.reply_headers, '\0');
    world.x.reply_headers.len--;
    const char *at = strstr(world.x.reply_headers.ptr, wanted);
    if (at)
        snprintf(value, sizeof(value), "%.*s", (int)strcspn(at + strlen(wanted), "\n"),
                 at + strlen(wanted));
    return value;
}
