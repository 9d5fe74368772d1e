/*
 * upstream/breaker.h - a circuit breaker: after a few failures in a row a server is left alone for
 * a while, then one real request tries it. A pure state: time is passed in, the owner has the lock.
 *
 * What counts is the server's doing only. An answer of any kind below 500 is good; a client that
 * leaves, and a server that says it is busy, are neither good nor bad and are not told here.
 */
#ifndef FG_UPSTREAM_BREAKER_H
#define FG_UPSTREAM_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum fg_breaker_state {
    FG_BREAKER_CLOSED = 0, /* requests pass */
    FG_BREAKER_OPEN = 1,   /* none pass until probe_ns */
    FG_BREAKER_PROBING = 2 /* one is under way, by the owner */
};
struct fg_breaker {
    uint32_t limit;   /* failures in a row that open it */
    uint64_t rest_ns; /* how long it stays open */
    int32_t state;
    uint32_t in_a_row;
    uint64_t probe_ns; /* OPEN: when the probe is due */
    uint64_t opened;   /* times */
};

void fg_breaker_init(struct fg_breaker *, uint32_t limit, uint64_t rest_ns);
static inline bool fg_breaker_lets_pass(const struct fg_breaker *b)
{
    return b->state == FG_BREAKER_CLOSED;
}
/* Ends of ordinary requests. They count while it is closed: one that began before it opened says
 * nothing new. true: it opened. */
void fg_breaker_good(struct fg_breaker *);
bool fg_breaker_bad(struct fg_breaker *, uint64_t now_ns);
/* True once when the probe is due: it must be made, and its end told. */
bool fg_breaker_probe(struct fg_breaker *, uint64_t now_ns);
void fg_breaker_probed(struct fg_breaker *, bool good, uint64_t now_ns);
/* When fg_breaker_probe() is worth a call; UINT64_MAX: not by time. */
uint64_t fg_breaker_next_ns(const struct fg_breaker *);

#endif
