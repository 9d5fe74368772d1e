/*
 * The cpu device: opening, buffers, rotary tables, and the table of operations (engine/device.h).
 *
 * Configuration: {"threads": n}; by default one thread a core that this process may use.
 * FLUXGATE_CPU_EXACT=1 computes everything in float, which is slow: for comparing with references.
 */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "util/error.h"

enum { THREADS_MOST = 256 };

void *fg_scratch_need(struct fg_dev *dev, struct fg_scratch *s, size_t bytes)
{
    if (s->bytes >= bytes)
        return s->ptr;
    bytes = (bytes + bytes / 4 + 63) / 64 * 64;
    free(s->ptr);
    s->ptr = aligned_alloc(64, bytes);
    s->bytes = s->ptr ? bytes : 0;
    if (!s->ptr)
        dev->failed = true;
    return s->ptr;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* A container's share of the machine, rounded up; `most` when there is no limit to read. */
static uint32_t quota(uint32_t most)
{
    long long limit, period;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!f)
        return most;
    const int got = fscanf(f, "%lld %lld", &limit, &period);
    fclose(f);
    if (got != 2 || limit <= 0 || period <= 0)
        return most;
    const long long cores = (limit + period - 1) / period;
    return cores < (long long)most ? (uint32_t)cores : most;
}

/* Siblings of a core share what the kernels live on: one thread a core. */
static uint32_t cores_of(const cpu_set_t *set)
{
    uint32_t cores = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        char path[96];
        int first = cpu;
        if (!CPU_ISSET(cpu, set))
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                 cpu);
        FILE *f = fopen(path, "re");
        if (f && fscanf(f, "%d", &first) != 1)
            first = cpu;
        if (f)
            fclose(f);
        cores += first == cpu || first < 0 || first >= CPU_SETSIZE || !CPU_ISSET(first, set);
    }
    return cores;
}

static uint32_t default_threads(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    const uint32_t n = quota(cores_of(&set));
    return n < 1 ? 1 : n > THREADS_MOST ? THREADS_MOST : n;
}

static int32_t read_threads(json_t *config, uint32_t *out, struct fg_error *err)
{
    const json_t *value = config ? json_object_get(config, "threads") : NULL;
    if (!value || json_is_null(value) || (json_is_integer(value) && !json_integer_value(value))) {
        *out = default_threads();
        return FG_OK;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 1 ||
        json_integer_value(value) > THREADS_MOST)
        return fg_fail(err, FG_INVALID, "threads must be a number from 1 to %d, or 0 for all",
                       THREADS_MOST);
    *out = (uint32_t)json_integer_value(value);
    return FG_OK;
}

int32_t fg_cpu_open(json_t *config, struct fg_dev **out, struct fg_error *err)
{
    uint32_t threads = 1;
    int32_t rc = read_threads(config, &threads, err);
    if (rc != FG_OK)
        return rc;
    struct fg_dev *dev = calloc(1, sizeof *dev);
    if (!dev)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a device");
    const char *exact = getenv("FLUXGATE_CPU_EXACT");
    dev->isa = fg_isa_detect();
    dev->exact = exact && strcmp(exact, "1") == 0;
    dev->simd = fg_simd_for(dev->isa);
    snprintf(dev->text, sizeof dev->text, "%s%s, %u thread%s", fg_isa_name(dev->isa),
             dev->exact ? " exact" : "", threads, threads == 1 ? "" : "s");
    dev->own = calloc(threads, sizeof *dev->own);
    rc = dev->own ? fg_pool_open(threads, &dev->pool, err)
                  : fg_fail(err, FG_NO_MEMORY, "no memory for %u threads", threads);
    if (rc == FG_OK)
        rc = fg_heap_open(&dev->weights, err);
    if (rc == FG_OK)
        rc = fg_heap_open(&dev->buffers, err);
    if (rc != FG_OK) {
        fg_cpu_close(dev);
        return rc;
    }
    *out = dev;
    return FG_OK;
}

void fg_cpu_close(struct fg_dev *dev)
{
    if (!dev)
        return;
    struct fg_scratch *all[] = {&dev->normed, &dev->product, &dev->partial, &dev->runs};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]->ptr);
    for (uint32_t i = 0; i < FG_CPU_KINDS; i++)
        free(dev->acts[i].ptr);
    for (uint32_t i = 0; dev->pool && i < fg_pool_threads(dev->pool); i++)
        free(dev->own[i].ptr);
    fg_pool_close(dev->pool);
    free(dev->own);
    fg_heap_close(dev->weights);
    fg_heap_close(dev->buffers);
    free(dev);
}

/* ---- describing ------------------------------------------------------------------------------ */

static uint64_t meminfo(const char *key)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), ": %llu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib << 10;
}

static void cpu_name(char *out, size_t room)
{
    char line[256];
    snprintf(out, room, "CPU");
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon || colon[1] == '\0')
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, room, "%s", colon + 2);
        break;
    }
    if (f)
        fclose(f);
}

void fg_cpu_describe(struct fg_dev *dev, struct fg_device *out)
{
    (void)dev;
    out->state = FG_DEVICE_READY;
    cpu_name(out->name, sizeof out->name);
    snprintf(out->id, sizeof out->id, "cpu");
    out->reason[0] = '\0';
    out->memory_total = meminfo("MemTotal");
    out->memory_free = meminfo("MemAvailable");
    out->busy = out->celsius = out->watts = NAN;
    out->faults = 0;
}

const char *fg_cpu_text(struct fg_dev *dev)
{
    return dev->text;
}

/* ---- buffers --------------------------------------------------------------------------------- */

static int32_t buffer_open(struct fg_dev *dev, uint32_t rows, uint32_t width,
                           struct fg_buffer **out, struct fg_error *err)
{
    void *data;
    struct fg_buffer *b = calloc(1, sizeof *b);
    if (!b)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a buffer");
    const int32_t rc =
        fg_heap_take(dev->buffers, (size_t)rows * width * sizeof *b->data, &data, err);
    if (rc != FG_OK) {
        free(b);
        return rc;
    }
    *b = (struct fg_buffer){.rows = rows, .width = width, .data = data};
    *out = b;
    return FG_OK;
}

static void buffer_free(struct fg_dev *dev, struct fg_buffer *b)
{
    if (!b)
        return;
    fg_heap_give(dev->buffers, b->data);
    free(b);
}

/* Row i becomes row index[i]. */
static void gather(struct fg_dev *dev, struct fg_buffer *b, const uint32_t *index, uint32_t count)
{
    (void)dev;
    for (uint32_t i = 0; i < count; i++)
        if (index[i] != i)
            memcpy(b->data + (size_t)i * b->width, b->data + (size_t)index[i] * b->width,
                   b->width * sizeof *b->data);
}

static void read_back(struct fg_dev *dev, const struct fg_buffer *b, float *out)
{
    memcpy(out, b->data, (size_t)dev->count * b->width * sizeof *out);
}

/* ---- rotation -------------------------------------------------------------------------------- */

static void rope_free(struct fg_dev *dev, struct fg_rope *r)
{
    if (!r)
        return;
    for (struct fg_rope **at = &dev->ropes; *at; at = &(*at)->next)
        if (*at == r) {
            *at = r->next;
            break;
        }
    free(r->frequency);
    free(r->cosine);
    free(r->sine);
    free(r);
}

static int32_t rope_open(struct fg_dev *dev, const struct fg_rope_spec *spec, uint32_t rows,
                         struct fg_rope **out, struct fg_error *err)
{
    struct fg_rope *r = calloc(1, sizeof *r);
    if (!r)
        return fg_fail(err, FG_NO_MEMORY, "no memory for rotary tables");
    const size_t half = spec->dims / 2;
    *r = (struct fg_rope){.dims = spec->dims,
                          .rows = rows,
                          .halves = spec->halves,
                          .magnitude = spec->magnitude,
                          .frequency = malloc(half * sizeof(float)),
                          .cosine = malloc(rows * half * sizeof(float)),
                          .sine = malloc(rows * half * sizeof(float))};
    if (!r->frequency || !r->cosine || !r->sine) {
        rope_free(dev, r);
        return fg_fail(err, FG_NO_MEMORY, "no memory for rotary tables");
    }
    memcpy(r->frequency, spec->frequency, half * sizeof(float));
    r->next = dev->ropes;
    dev->ropes = r;
    *out = r;
    return FG_OK;
}

/* The angle is reduced in double: at position 100 000 a float product is off by a hundredth. */
static void turn_row(void *arg, uint32_t row, uint32_t worker)
{
    (void)worker;
    const struct fg_dev *dev = arg;
    const double position = dev->rows->position[row];
    for (const struct fg_rope *r = dev->ropes; r; r = r->next) {
        const uint32_t half = r->dims / 2;
        float *cosine = r->cosine + (size_t)row * half, *sine = r->sine + (size_t)row * half;
        for (uint32_t i = 0; i < half; i++) {
            const double angle = position * (double)r->frequency[i];
            const float rest = (float)(angle - 2 * M_PI * rint(angle / (2 * M_PI)));
            cosine[i] = cosf(rest) * r->magnitude;
            sine[i] = sinf(rest) * r->magnitude;
        }
    }
}

/* ---- a step ---------------------------------------------------------------------------------- */

static void begin(struct fg_dev *dev, const struct fg_rows *rows)
{
    dev->rows = rows;
    dev->count = rows->count;
    dev->failed = false;
    fg_pool_begin(dev->pool);
    fg_pool_run(dev->pool, turn_row, dev, rows->count);
}

static void narrow(struct fg_dev *dev, uint32_t rows)
{
    dev->count = rows;
}

static int32_t sync_device(struct fg_dev *dev, struct fg_error *err)
{
    fg_pool_end(dev->pool);
    dev->rows = NULL;
    return dev->failed ? fg_fail(err, FG_NO_MEMORY, "no memory for a step") : FG_OK;
}

const struct fg_device_ops fg_device_ops = {
    .weight_load = fg_cpu_weight_load,
    .weight_free = fg_cpu_weight_free,
    .weight_bytes = fg_cpu_weight_bytes,
    .buffer_open = buffer_open,
    .buffer_free = buffer_free,
    .rope_open = rope_open,
    .rope_free = rope_free,
    .kv_open = fg_cpu_kv_open,
    .kv_free = fg_cpu_kv_free,
    .kv_token_bytes = fg_cpu_kv_token_bytes,
    .kv_copy = fg_cpu_kv_copy,
    .begin = begin,
    .narrow = narrow,
    .embed = fg_cpu_embed,
    .project = fg_cpu_project,
    .project_gated = fg_cpu_project_gated,
    .project_add = fg_cpu_project_add,
    .attend = fg_cpu_attend,
    .norm = fg_cpu_norm,
    .gather = gather,
    .logits = fg_cpu_logits,
    .read = read_back,
    .sync = sync_device,
};
