/* See breaker.h. */
#include "upstream/breaker.h"

void fg_breaker_init(struct fg_breaker *b, uint32_t limit, uint64_t rest_ns)
{
    *b = (struct fg_breaker){.limit = limit, .rest_ns = rest_ns};
}

static void open_it(struct fg_breaker *b, uint64_t now_ns)
{
    b->state = FG_BREAKER_OPEN;
    b->in_a_row = 0;
    b->probe_ns = now_ns + b->rest_ns;
}

void fg_breaker_good(struct fg_breaker *b)
{
    if (b->state == FG_BREAKER_CLOSED)
        b->in_a_row = 0;
}

bool fg_breaker_bad(struct fg_breaker *b, uint64_t now_ns)
{
    if (b->state != FG_BREAKER_CLOSED || ++b->in_a_row < b->limit)
        return false;
    b->opened++;
    open_it(b, now_ns);
    return true;
}

bool fg_breaker_probe(struct fg_breaker *b, uint64_t now_ns)
{
    if (b->state != FG_BREAKER_OPEN || now_ns < b->probe_ns)
        return false;
    b->state = FG_BREAKER_PROBING;
    return true;
}

void fg_breaker_probed(struct fg_breaker *b, bool good, uint64_t now_ns)
{
    if (b->state != FG_BREAKER_PROBING)
        return;
    if (good)
        b->state = FG_BREAKER_CLOSED;
    else
        open_it(b, now_ns);
}

uint64_t fg_breaker_next_ns(const struct fg_breaker *b)
{
    return b->state == FG_BREAKER_OPEN ? b->probe_ns : UINT64_MAX;
}
