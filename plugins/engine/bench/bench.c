/*
 * fg-bench: prefill and decode of a model file, without a server. Prints lines like
 *   pp512 threads=2 ms=480.1 tokens_per_s=1066.4
 * Options: -m FILE, -p TOKENS (prefill), -n TOKENS (decode), -t THREADS, -b STREAMS (decoded at
 * once), -d TOKENS (depth: context before the decode), -r REPEATS (the median is printed).
 * Built once for each native device: fg-cpu-bench, fg-tesla-bench. threads=0 is the device's choice.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/model/net.h"
#include "engine/plugin.h"
#include "util/clock.h"

enum { PAGE = 32, STREAMS_MOST = 64, REPEATS_MOST = 64 };

struct bench {
    struct fg_net *net;
    uint32_t *tables[STREAMS_MOST];
    uint32_t pages, streams; /* pages of a stream */
    float *logits;
};

static int32_t token_at(const struct bench *b, uint32_t position, uint32_t stream)
{
    return (int32_t)((position * 7919u + stream * 104729u + 13) % fg_net_info(b->net)->vocab);
}

/* One step of `count` positions of each of the streams, from `from` on. */
static bool step(struct bench *b, uint32_t streams, uint32_t from, uint32_t count, bool want)
{
    enum { ROWS = 4096 };
    static int32_t tokens[ROWS];
    static uint32_t position[ROWS], sequence[ROWS];
    static uint8_t wanted[ROWS];
    uint32_t n = 0;
    for (uint32_t s = 0; s < streams; s++)
        for (uint32_t i = 0; i < count; i++, n++) {
            tokens[n] = token_at(b, from + i, s);
            position[n] = from + i;
            sequence[n] = s;
            wanted[n] = want && i + 1 == count;
        }
    const struct fg_rows rows = {.count = n,
                                 .tokens = tokens,
                                 .position = position,
                                 .sequence = sequence,
                                 .page_table = (const uint32_t *const *)b->tables};
    struct fg_error err = {0};
    if (fg_net_forward(b->net, &rows, wanted, b->logits, NULL, NULL, NULL, &err) == FG_OK)
        return true;
    fprintf(stderr, "fg-bench: %s\n", err.text);
    return false;
}

static bool prefill(struct bench *b, uint32_t stream, uint32_t tokens)
{
    uint32_t *first = b->tables[0];
    bool ok = true;
    b->tables[0] = b->tables[stream];
    for (uint32_t at = 0; at < tokens && ok;) {
        const uint32_t left = tokens - at, most = fg_net_max_rows(b->net);
        const uint32_t n = left < most ? left : most;
        ok = step(b, 1, at, n, at + n == tokens);
        at += n;
    }
    b->tables[0] = first;
    return ok;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print(const char *name, uint32_t tokens, uint32_t threads, double *ms, uint32_t repeats,
                  uint32_t each)
{
    qsort(ms, repeats, sizeof *ms, by_size);
    const double median = ms[repeats / 2];
    printf("%s%u threads=%u ms=%.1f tokens_per_s=%.2f\n", name, each, threads, median,
           tokens / median * 1e3);
    fflush(stdout);
}

static double ms_since(uint64_t begin)
{
    return (double)(fg_clock_ns() - begin) / 1e6;
}

static int fail(const struct fg_error *err)
{
    fprintf(stderr, "fg-bench: %s\n", err->text);
    return 1;
}

struct options {
    const char *model;
    uint32_t prompt, output, threads, streams, depth, repeats;
};

static bool run(struct bench *b, const struct options *o)
{
    double ms[REPEATS_MOST];
    if (o->prompt) {
        if (!prefill(b, 0, o->prompt < 32 ? o->prompt : 32))
            return false;
        for (uint32_t r = 0; r < o->repeats; r++) {
            const uint64_t begin = fg_clock_ns();
            if (!prefill(b, 0, o->prompt))
                return false;
            ms[r] = ms_since(begin);
        }
        print("pp", o->prompt, o->threads, ms, o->repeats, o->prompt);
    }
    for (uint32_t s = 0; o->output && o->depth && s < o->streams; s++)
        if (!prefill(b, s, o->depth))
            return false;
    for (uint32_t r = 0; o->output && r < o->repeats; r++) {
        const uint64_t begin = fg_clock_ns();
        for (uint32_t i = 0; i < o->output; i++)
            if (!step(b, o->streams, o->depth + i, 1, true))
                return false;
        ms[r] = ms_since(begin);
    }
    if (o->output)
        print("tg", o->output * o->streams, o->threads, ms, o->repeats, o->output);
    return true;
}

static bool make_tables(struct bench *b, uint32_t streams, uint32_t tokens)
{
    b->streams = streams;
    b->pages = (tokens + PAGE - 1) / PAGE;
    for (uint32_t s = 0; s < streams; s++) {
        b->tables[s] = calloc(b->pages, sizeof *b->tables[s]);
        for (uint32_t i = 0; b->tables[s] && i < b->pages; i++)
            b->tables[s][i] = s * b->pages + i;
        if (!b->tables[s])
            return false;
    }
    b->logits = malloc((size_t)streams * fg_net_info(b->net)->vocab * sizeof *b->logits);
    return b->logits != NULL;
}

static bool read_options(int argc, char **argv, struct options *o)
{
    for (int c; (c = getopt(argc, argv, "m:p:n:t:b:d:r:")) != -1;) {
        const unsigned long value = c == 'm' || c == '?' ? 0 : strtoul(optarg, NULL, 10);
        const uint32_t number = value > 1 << 20 ? 1 << 20 : (uint32_t)value;
        if (c == 'm')
            o->model = optarg;
        else if (c == '?')
            return false;
        else
            *(c == 'p'   ? &o->prompt
              : c == 'n' ? &o->output
              : c == 't' ? &o->threads
              : c == 'b' ? &o->streams
              : c == 'd' ? &o->depth
                         : &o->repeats) = number;
    }
    return o->model && o->streams >= 1 && o->streams <= STREAMS_MOST && o->repeats >= 1 &&
           o->repeats <= REPEATS_MOST;
}

int main(int argc, char **argv)
{
    struct options o = {.prompt = 512, .output = 128, .streams = 1, .repeats = 1};
    struct fg_error err = {0};
    struct fg_gguf *g = NULL;
    struct fg_dev *dev = NULL;
    struct bench b = {0};
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: fg-cpu-bench|fg-tesla-bench -m FILE [-p 512] [-n 128] [-t THREADS] "
                        "[-b STREAMS] [-d DEPTH] [-r REPEATS]\n");
        return 2;
    }
    json_t *config = json_pack("{s:I}", "threads", (json_int_t)o.threads);
    const uint64_t begin = fg_clock_ns();
    if (fg_gguf_open(o.model, &g, &err) != FG_OK || fg_engine_device.open(config, &dev, &err) != FG_OK ||
        fg_net_open(g, dev, NULL, NULL, &b.net, &err) != FG_OK)
        return fail(&err);
    fg_gguf_close(g);
    json_decref(config);
    printf("load device=\"%s\" ms=%.1f\n", fg_engine_device.text(dev), ms_since(begin));
    const uint32_t need = o.depth + o.output, tokens = need > o.prompt ? need : o.prompt;
    bool ok = make_tables(&b, o.streams, tokens + 1);
    if (ok && fg_net_kv_open(b.net, PAGE, b.pages * o.streams, &err) != FG_OK)
        return fail(&err);
    ok = ok && run(&b, &o);
    fg_net_close(b.net);
    fg_engine_device.close(dev);
    for (uint32_t s = 0; s < o.streams; s++)
        free(b.tables[s]);
    free(b.logits);
    return ok ? 0 : 1;
}
