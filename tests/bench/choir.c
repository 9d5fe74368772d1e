/*
 * A plugin for isolation.c: one thread sings for all jobs, as an engine does after each step. Every
 * burst is one TEXT event for each job; its tokens are the time at which the burst began, in two
 * halves, and the burst's number.
 *
 * A request's max_tokens is the number of jobs to wait for, input_tokens[0] the bursts, [1] the
 * microseconds between them.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <fluxgate/plugin.h>

enum { VOICES = 256 };

struct fg_job {
    struct fg_stream *stream;
};
struct fg_model {
    struct fg_backend *backend;
};
struct fg_backend {
    const struct fg_host *host;
    struct fg_model model;
    struct fg_job voices[VOICES];
    uint32_t count, wanted;
    int32_t bursts, pause_us;
    pthread_t thread;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *sing(void *ctx)
{
    struct fg_backend *b = ctx;
    for (int32_t i = 0; i < b->bursts; i++) {
        int32_t stamp[3] = {[2] = i};
        if (b->pause_us)
            usleep((useconds_t)b->pause_us);
        const uint64_t now = now_ns();
        memcpy(stamp, &now, sizeof now);
        const struct fg_event ev = {.size = sizeof ev,
                                    .kind = FG_EV_TEXT,
                                    .text = {" token", 6},
                                    .tokens = stamp,
                                    .token_count = 3};
        for (uint32_t k = 0; k < b->wanted; k++)
            b->host->emit(b->voices[k].stream, &ev);
    }
    const struct fg_event done = {.size = sizeof done, .kind = FG_EV_DONE};
    for (uint32_t k = 0; k < b->wanted; k++)
        b->host->emit(b->voices[k].stream, &done);
    return NULL;
}

static int32_t c_submit(struct fg_model *m, const struct fg_request *r, struct fg_stream *stream,
                        struct fg_job **out, struct fg_error *err)
{
    struct fg_backend *b = m->backend;
    (void)err;
    if (b->count == VOICES || r->input_token_count < 2)
        return FG_BUSY;
    *out = &b->voices[b->count++];
    (*out)->stream = stream;
    b->wanted = r->max_tokens;
    b->bursts = r->input_tokens[0];
    b->pause_us = r->input_tokens[1];
    if (b->count == b->wanted && pthread_create(&b->thread, NULL, sing, b) == 0)
        b->count = 0;
    return FG_OK;
}

static int32_t c_open(const struct fg_host *host, struct fg_str config, struct fg_backend **out,
                      struct fg_error *err)
{
    (void)config;
    (void)err;
    struct fg_backend *b = calloc(1, sizeof *b);
    if (!b)
        return FG_NO_MEMORY;
    b->host = host;
    b->model.backend = b;
    *out = b;
    return FG_OK;
}

static void c_close(struct fg_backend *b)
{
    free(b);
}

static int32_t c_device(struct fg_backend *b, uint32_t index, struct fg_device *out)
{
    (void)b;
    (void)index;
    (void)out;
    return FG_NOT_FOUND;
}

static int32_t c_list(struct fg_backend *b, fg_model_visit *visit, void *ctx, struct fg_error *err)
{
    (void)b;
    (void)visit;
    (void)ctx;
    (void)err;
    return FG_OK;
}

static int32_t c_load(struct fg_backend *b, const struct fg_model_spec *spec, struct fg_model **out,
                      struct fg_error *err)
{
    (void)spec;
    (void)err;
    *out = &b->model;
    return FG_OK;
}

static void c_info(struct fg_model *m, fg_model_visit *visit, void *ctx)
{
    const struct fg_model_info info = {.size = sizeof info, .max_running = VOICES};
    (void)m;
    visit(ctx, &info);
}

static void c_unload(struct fg_model *m)
{
    pthread_join(m->backend->thread, NULL);
}

static void c_job(struct fg_job *job)
{
    (void)job;
}

static void c_metrics(struct fg_backend *b, fg_metric_visit *visit, void *ctx)
{
    (void)b;
    (void)visit;
    (void)ctx;
}

static const void *c_extension(struct fg_backend *b, const char *id)
{
    (void)b;
    (void)id;
    return NULL;
}

const struct fg_plugin *fg_plugin_entry(uint32_t host_abi)
{
    static const struct fg_plugin table = {
        .size = sizeof table,
        .abi = FG_ABI,
        .name = "choir",
        .version = "1",
        .open = c_open,
        .close = c_close,
        .device = c_device,
        .list = c_list,
        .load = c_load,
        .info = c_info,
        .unload = c_unload,
        .submit = c_submit,
        .resume = c_job,
        .cancel = c_job,
        .release = c_job,
        .metrics = c_metrics,
        .extension = c_extension,
    };
    (void)host_abi;
    return &table;
}
