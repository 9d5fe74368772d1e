/*
 * What a child process costs: bursts of one event a stream, from the plugin's thread to the worker,
 * in this process and across fg-plugin-host, interleaved.
 *
 *   latency   from the first emit of a burst until the worker has taken its last event
 *   cpu       of everybody, a burst (without the pauses)
 *
 * usage: bench-isolation [BURSTS]     prints a table, asserts nothing
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "plugin/loader.h"
#include "plugin/remote.h"
#include "plugin/stream.h"
#include "util/clock.h"
#include "util/str.h"

enum { STREAMS_MOST = 64, PAUSE_US = 1000 };

struct bench {
    const struct fg_plugin *table;
    struct fg_backend *backend;
    struct fg_model *model;
    struct fg_worker *worker;
    int32_t pid;
    uint32_t streams, over, bursts, seen;
    uint64_t *latency;
    uint32_t *arrived; /* events, by burst */
};
struct voice {
    struct bench *b;
    struct fg_stream *stream;
    struct fg_job *job;
};

static void host_log(const struct fg_host *host, int32_t level, struct fg_str text)
{
    (void)host;
    (void)level;
    fprintf(stderr, "%.*s\n", FG_STR_ARG(text));
}

static void host_device(const struct fg_host *host, uint32_t device)
{
    (void)host;
    (void)device;
}

static const void *host_extension(const struct fg_host *host, const char *id)
{
    (void)host;
    (void)id;
    return NULL;
}

static const struct fg_host host = {.size = sizeof host,
                                    .abi = FG_ABI,
                                    .emit = fg_stream_emit,
                                    .log = host_log,
                                    .device_changed = host_device,
                                    .extension = host_extension};

static void on_gone(void *ctx, const char *reason)
{
    (void)ctx;
    fprintf(stderr, "the child is gone: %s\n", reason);
    _exit(1);
}

/* A burst is over when each stream has its event, whatever of the next came before that. */
static void note(struct bench *b, const struct fg_event *ev)
{
    uint64_t stamp;
    const uint32_t burst = (uint32_t)ev->tokens[2];
    memcpy(&stamp, ev->tokens, sizeof stamp);
    if (burst < b->bursts && ++b->arrived[burst] == b->streams)
        b->latency[b->seen++] = fg_clock_ns() - stamp;
}

static void on_ready(void *ctx)
{
    struct voice *v = ctx;
    const struct fg_event *ev;
    bool resume;
    while ((ev = fg_stream_next(v->stream, &resume))) {
        if (ev->kind == FG_EV_TEXT)
            note(v->b, ev);
        if (!fg_stream_is_over(v->stream))
            continue;
        v->b->table->release(v->job);
        fg_stream_close(v->stream);
        v->b->over++;
        return;
    }
}

static uint64_t clock_of(clockid_t id)
{
    struct timespec t = {0};
    (void)clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * FG_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Of all threads of both processes, also those that ended. */
static uint64_t cpu_ns(int32_t child)
{
    clockid_t id;
    uint64_t ns = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    return child && clock_getcpuclockid(child, &id) == 0 ? ns + clock_of(id) : ns;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

struct result {
    double median_us, p90_us, cpu_us;
};

static int run(struct bench *b, uint32_t streams, uint32_t bursts, struct result *out)
{
    static struct voice voices[STREAMS_MOST];
    const int32_t tokens[] = {(int32_t)bursts, PAUSE_US};
    const struct fg_request r = {.size = sizeof r,
                                 .op = FG_OP_COMPLETE,
                                 .max_tokens = streams,
                                 .input_tokens = tokens,
                                 .input_token_count = 2};
    const struct fg_model_spec spec = {.size = sizeof spec};
    struct fg_error err = {0};
    if (b->table->load(b->backend, &spec, &b->model, &err) != FG_OK)
        return 1;
    b->streams = streams;
    b->bursts = bursts;
    b->seen = b->over = 0;
    memset(b->arrived, 0, bursts * sizeof *b->arrived);
    uint64_t cpu = cpu_ns(b->pid);
    for (uint32_t i = 0; i < streams; i++) {
        voices[i] = (struct voice){.b = b};
        if (fg_stream_open(b->worker, on_ready, &voices[i], &voices[i].stream, &err) != FG_OK ||
            b->table->submit(b->model, &r, voices[i].stream, &voices[i].job, &err) != FG_OK)
            return 1;
    }
    while (b->over < streams)
        event_base_loop(fg_worker_base(b->worker), EVLOOP_ONCE);
    cpu = cpu_ns(b->pid) - cpu;
    b->table->unload(b->model);
    qsort(b->latency, b->seen, sizeof *b->latency, by_value);
    out->median_us = (double)b->latency[b->seen / 2] / 1e3;
    out->p90_us = (double)b->latency[b->seen * 9 / 10] / 1e3;
    out->cpu_us = (double)cpu / 1e3 / bursts;
    return b->seen < bursts;
}

static void print(const char *where, uint32_t streams, const struct result *r)
{
    printf("%-12s %8u %12.1f %12.1f %12.1f\n", where, streams, r->median_us, r->p90_us, r->cpu_us);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1, 8, 64};
    uint64_t bursts = 2000;
    struct fg_error err = {0};
    struct bench here = {0}, child = {0};
    const struct fg_remote_ask ask = {.name = "choir",
                                      .host_path = FG_BENCH_BIN "/bin/fg-plugin-host",
                                      .plugin_path = FG_BENCH_BIN "/tests/wicked/choir.so",
                                      .config_json = "{}",
                                      .host = &host,
                                      .gone = on_gone};
    if (argc > 1 && (!fg_str_u64(fg_str_of(argv[1]), &bursts) || !bursts || bursts > 1000000))
        return 2;
    here.latency = child.latency = calloc(bursts, sizeof *here.latency);
    here.arrived = child.arrived = calloc(bursts, sizeof *here.arrived);
    int32_t rc = fg_worker_open(0, &here.worker, &err);
    child.worker = here.worker;
    if (rc == FG_OK)
        rc = fg_loader_open(ask.plugin_path, &here.table, &err);
    if (rc == FG_OK)
        rc = here.table->open(&host, FG_STR("{}"), &here.backend, &err);
    if (rc == FG_OK)
        rc = fg_remote_open(&ask, &child.table, &child.backend, &child.pid, &err);
    if (rc != FG_OK || !here.latency || !here.arrived) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%-12s %8s %12s %12s %12s\n", "plugin in", "streams", "median us", "p90 us",
           "cpu us/burst");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct result a, b;
        if (run(&here, sizes[i], (uint32_t)bursts, &a) ||
            run(&child, sizes[i], (uint32_t)bursts, &b))
            return 1;
        print("process", sizes[i], &a);
        print("child", sizes[i], &b);
        printf("%-12s %8u %12.1f %12.1f %12.1f\n", "difference", sizes[i],
               b.median_us - a.median_us, b.p90_us - a.p90_us, b.cpu_us - a.cpu_us);
    }
    child.table->close(child.backend);
    here.table->close(here.backend);
    fg_worker_close(here.worker);
    free(here.latency);
    free(here.arrived);
    return 0;
}
