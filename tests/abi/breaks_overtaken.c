/* Forgets a resume() that comes while emit() is still under way, and so waits for ever.
 * Caught by: a resume may overtake the PAUSE it answers. */
#include "breaks.h"

static int inside;

static int32_t emit(struct fg_stream *stream, const struct fg_event *ev)
{
    __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    const int32_t flow = real_emit(stream, ev);
    __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    return flow;
}

static void forget(struct fg_job *job)
{
    if (!__atomic_load_n(&inside, __ATOMIC_SEQ_CST))
        kept->resume(job);
}

void breaks(struct breaks *b)
{
    b->emit = emit;
    b->table.resume = forget;
}
