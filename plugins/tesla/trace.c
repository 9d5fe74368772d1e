/*
 * tesla/trace.c - where the time of steps goes: counts of graphs, host time, and with
 * FLUXGATE_TESLA_TRACE=2 the card's time for every kind of operation (without graphs, so that
 * events can stand between them). For whoever tunes kernels; off costs nothing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tesla/tesla.h"

static const char *const names[] = {"embed", "prepare", "product", "rope", "attend", "norm",
                                    "add_norm", "gate", "gather", "softcap"};

void fg_tesla_trace_open(struct fg_dev *dev)
{
    const char *wanted = getenv("FLUXGATE_TESLA_TRACE");
    if (!wanted || (wanted[0] != '1' && wanted[0] != '2'))
        return;
    dev->trace = calloc(1, sizeof *dev->trace);
    if (dev->trace)
        dev->trace->times = wanted[0] == '2';
}

void fg_tesla_trace_mark(struct fg_dev *dev, uint32_t index)
{
    struct fg_tesla_trace *t = dev->trace;
    if (!t || !t->times)
        return;
    while (t->event_count <= index) {
        cudaEvent_t *more = realloc(t->events, (t->event_count + 1) * sizeof *more);
        if (!more || cudaEventCreate(&more[t->event_count]) != cudaSuccess) {
            t->events = more ? more : t->events;
            t->times = false;
            return;
        }
        t->events = more;
        t->event_count++;
    }
    (void)cudaEventRecord(t->events[index], dev->stream);
}

void fg_tesla_trace_sum(struct fg_dev *dev)
{
    struct fg_tesla_trace *t = dev->trace;
    if (!t || !t->times)
        return;
    for (uint32_t i = 0; i < dev->op_count && i + 1 < t->event_count; i++) {
        float ms = 0;
        if (cudaEventElapsedTime(&ms, t->events[i], t->events[i + 1]) != cudaSuccess)
            continue;
        t->kind[dev->ops[i].kind].count++;
        t->kind[dev->ops[i].kind].ms += (double)ms;
    }
}

void fg_tesla_trace_close(struct fg_dev *dev)
{
    struct fg_tesla_trace *t = dev->trace;
    if (!t)
        return;
    const double steps = t->steps ? (double)t->steps : 1;
    if (t->steps)
        fprintf(stderr,
                "trace: steps=%llu walked=%llu captured=%llu refused=%llu replayed=%llu; us a step: "
                "write=%.1f start=%.1f wait=%.1f\n",
                (unsigned long long)t->steps, (unsigned long long)t->walked,
                (unsigned long long)t->captured, (unsigned long long)t->refused,
                (unsigned long long)t->replayed, (double)t->write_ns / steps / 1e3,
                (double)t->start_ns / steps / 1e3, (double)t->wait_ns / steps / 1e3);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (t->kind[i].count)
            fprintf(stderr, "trace: %-9s %7.1f us each, %6.1f a step, %8.1f us a step\n", names[i],
                    t->kind[i].ms * 1e3 / (double)t->kind[i].count,
                    (double)t->kind[i].count / steps, t->kind[i].ms * 1e3 / steps);
    for (uint32_t i = 0; i < t->event_count; i++)
        (void)cudaEventDestroy(t->events[i]);
    free(t->events);
    free(t);
    dev->trace = NULL;
}
