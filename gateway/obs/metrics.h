/*
 * obs/metrics.h - counters, gauges and histograms in Prometheus text; any thread.
 *
 * A metric is registered once (start-up, or first use of a label set) and then updated with
 * atomics. Label values come from fixed sets (configured names), never from a request.
 */
#ifndef FG_OBS_METRICS_H
#define FG_OBS_METRICS_H

#include <stdint.h>

#include "util/str.h"

struct fg_metric;

enum fg_metric_kind { FG_METRIC_COUNTER = 0, FG_METRIC_GAUGE = 1, FG_METRIC_HISTOGRAM = 2 };
/* name and help: string constants; labels: `a="b",c="d"` already escaped, or NULL; copied.
 * bounds: upper bounds of a histogram's buckets (borrowed constant), NULL-terminated by count.
 * The same name and labels give the same metric. NULL never comes back: when memory or the limit
 * of 10 000 series is reached it is a metric that goes nowhere. */
struct fg_metric *fg_metric(enum fg_metric_kind, const char *name, const char *help,
                            const char *labels, const double *bounds, uint32_t bound_count);
void fg_metric_add(struct fg_metric *, double);
void fg_metric_set(struct fg_metric *, double);
void fg_metric_observe(struct fg_metric *, double);
/* Shorthand for a counter without labels: each limit and refusal has one. */
#define FG_COUNT(name, help)                                                                       \
    do {                                                                                           \
        static struct fg_metric *counter_;                                                         \
        struct fg_metric *c_ = __atomic_load_n(&counter_, __ATOMIC_ACQUIRE);                       \
        if (!c_) {                                                                                 \
            c_ = fg_metric(FG_METRIC_COUNTER, (name), (help), NULL, NULL, 0);                      \
            __atomic_store_n(&counter_, c_, __ATOMIC_RELEASE);                                     \
        }                                                                                          \
        fg_metric_add(c_, 1);                                                                      \
    } while (0)
/* The whole page, text format 0.0.4. */
bool fg_metrics_write(struct fg_buf *);
/* At exit, or between two tests: every metric is zero again. Handles stay good for ever (FG_COUNT
 * keeps them in statics), so their memory is kept. */
void fg_metrics_done(void);

#endif
