/*
 * The registry of metrics and its page. Families (one name, one kind) hold series (one label set
 * each); both are linked lists that only grow, under one lock that is taken to register and to
 * write the page, never to update: an update is an atomic operation on the series itself.
 */
#include "obs/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/str.h"

enum { MAX_SERIES = 10000 };

struct fg_metric {
    struct fg_metric *next;
    enum fg_metric_kind kind;
    bool nowhere;
    char *labels;   /* NULL: none */
    uint64_t value; /* atomic: bits of a double; a histogram's sum */
    const double *bounds;
    uint32_t bound_count;
    uint64_t buckets[]; /* atomic; bound_count + 1, each counts its own range only */
};
struct family {
    struct family *next;
    enum fg_metric_kind kind;
    const char *name, *help;
    struct fg_metric *first, *last;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct family *first_family, *last_family;
static uint32_t series_count;
static struct fg_metric nowhere = {.nowhere = true};

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static double double_of(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void atomic_add(uint64_t *at, double v)
{
    uint64_t old = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(at, &old, bits_of(double_of(old) + v), true,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

static struct family *family_of(enum fg_metric_kind kind, const char *name, const char *help)
{
    for (struct family *f = first_family; f; f = f->next)
        if (strcmp(f->name, name) == 0)
            return f->kind == kind ? f : NULL;
    struct family *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    *f = (struct family){.kind = kind, .name = name, .help = help ? help : ""};
    if (last_family)
        last_family->next = f;
    else
        first_family = f;
    last_family = f;
    return f;
}

static struct fg_metric *series_in(struct family *f, const char *labels)
{
    for (struct fg_metric *m = f->first; m; m = m->next)
        if (strcmp(m->labels ? m->labels : "", labels ? labels : "") == 0)
            return m;
    return NULL;
}

static struct fg_metric *new_series(struct family *f, const char *labels, const double *bounds,
                                    uint32_t bound_count)
{
    if (series_count == MAX_SERIES)
        return NULL;
    size_t buckets = f->kind == FG_METRIC_HISTOGRAM ? (size_t)bound_count + 1 : 0;
    struct fg_metric *m = calloc(1, sizeof *m + buckets * sizeof m->buckets[0]);
    if (!m)
        return NULL;
    if (labels && *labels && !(m->labels = strdup(labels))) {
        free(m);
        return NULL;
    }
    m->kind = f->kind;
    m->bounds = bounds;
    m->bound_count = buckets ? bound_count : 0;
    if (f->last)
        f->last->next = m;
    else
        f->first = m;
    f->last = m;
    series_count++;
    return m;
}

struct fg_metric *fg_metric(enum fg_metric_kind kind, const char *name, const char *help,
                            const char *labels, const double *bounds, uint32_t bound_count)
{
    pthread_mutex_lock(&lock);
    struct family *f = family_of(kind, name, help);
    struct fg_metric *m = f ? series_in(f, labels) : NULL;
    if (f && !m)
        m = new_series(f, labels, bounds, bound_count);
    pthread_mutex_unlock(&lock);
    return m ? m : &nowhere;
}

void fg_metric_add(struct fg_metric *m, double v)
{
    bool falls = v < 0 && m->kind == FG_METRIC_COUNTER;
    if (!m->nowhere && m->kind != FG_METRIC_HISTOGRAM && !falls && !isnan(v))
        atomic_add(&m->value, v);
}

void fg_metric_set(struct fg_metric *m, double v)
{
    if (!m->nowhere && m->kind == FG_METRIC_GAUGE)
        __atomic_store_n(&m->value, bits_of(v), __ATOMIC_RELAXED);
}

void fg_metric_observe(struct fg_metric *m, double v)
{
    if (m->nowhere || m->kind != FG_METRIC_HISTOGRAM || isnan(v))
        return;
    uint32_t i = 0;
    while (i < m->bound_count && v > m->bounds[i])
        i++;
    __atomic_fetch_add(&m->buckets[i], 1, __ATOMIC_RELAXED);
    atomic_add(&m->value, v);
}

/* ---- the page ---------------------------------------------------------------------------- */

/* The shortest of 15 to 17 digits that reads back as the same number. */
static void put_number(struct fg_buf *b, double v)
{
    char text[40];
    if (isnan(v) || isinf(v)) {
        fg_buf_add(b, isnan(v) ? FG_STR("NaN") : v > 0 ? FG_STR("+Inf") : FG_STR("-Inf"));
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    fg_buf_add(b, fg_str_of(text));
}

static void put_help(struct fg_buf *b, const struct family *f)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    fg_buf_printf(b, "# HELP %s ", f->name);
    for (const char *c = f->help; *c; c++) {
        if (*c == '\\' || *c == '\n')
            fg_buf_add(b, *c == '\n' ? FG_STR("\\n") : FG_STR("\\\\"));
        else
            fg_buf_addc(b, *c);
    }
    fg_buf_printf(b, "\n# TYPE %s %s\n", f->name, kinds[f->kind]);
}

static void put_line(struct fg_buf *b, const struct family *f, const struct fg_metric *m, double v)
{
    fg_buf_add(b, fg_str_of(f->name));
    if (m->labels)
        fg_buf_printf(b, "{%s}", m->labels);
    fg_buf_addc(b, ' ');
    put_number(b, v);
    fg_buf_addc(b, '\n');
}

/* The count is the sum of the buckets as read here, so that a page never contradicts itself. */
static void put_histogram(struct fg_buf *b, const struct family *f, const struct fg_metric *m)
{
    const char *labels = m->labels ? m->labels : "", *comma = m->labels ? "," : "";
    uint64_t sum = 0;
    for (uint32_t i = 0; i <= m->bound_count; i++) {
        sum += __atomic_load_n(&m->buckets[i], __ATOMIC_RELAXED);
        fg_buf_printf(b, "%s_bucket{%s%sle=\"", f->name, labels, comma);
        put_number(b, i < m->bound_count ? m->bounds[i] : (double)INFINITY);
        fg_buf_printf(b, "\"} %llu\n", (unsigned long long)sum);
    }
    const char *open = m->labels ? "{" : "", *shut = m->labels ? "}" : "";
    fg_buf_printf(b, "%s_sum%s%s%s ", f->name, open, labels, shut);
    put_number(b, double_of(__atomic_load_n(&m->value, __ATOMIC_RELAXED)));
    fg_buf_printf(b, "\n%s_count%s%s%s %llu\n", f->name, open, labels, shut,
                  (unsigned long long)sum);
}

static void put_family(struct fg_buf *b, const struct family *f)
{
    if (f->first)
        put_help(b, f);
    for (const struct fg_metric *m = f->first; m; m = m->next) {
        if (f->kind == FG_METRIC_HISTOGRAM)
            put_histogram(b, f, m);
        else
            put_line(b, f, m, double_of(__atomic_load_n(&m->value, __ATOMIC_RELAXED)));
    }
}

bool fg_metrics_write(struct fg_buf *b)
{
    pthread_mutex_lock(&lock);
    for (const struct family *f = first_family; f && !b->failed; f = f->next)
        put_family(b, f);
    pthread_mutex_unlock(&lock);
    return !b->failed;
}

void fg_metrics_done(void)
{
    pthread_mutex_lock(&lock);
    for (struct family *f = first_family; f; f = f->next)
        for (struct fg_metric *m = f->first; m; m = m->next) {
            __atomic_store_n(&m->value, 0, __ATOMIC_RELAXED);
            for (uint32_t i = 0; m->kind == FG_METRIC_HISTOGRAM && i <= m->bound_count; i++)
                __atomic_store_n(&m->buckets[i], 0, __ATOMIC_RELAXED);
        }
    pthread_mutex_unlock(&lock);
}
