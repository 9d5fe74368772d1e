/* Looks into the request after release().
 * Caught by: release may come before the last emit returns, unload right after. */
#include "breaks.h"

#include <stddef.h>

static const struct fg_request *last;

static int32_t emit(struct fg_stream *stream, const struct fg_event *ev)
{
    const volatile struct fg_request *request = __atomic_load_n(&last, __ATOMIC_SEQ_CST);
    const int32_t flow = real_emit(stream, ev);
    if (ev->kind == FG_EV_DONE && request)
        (void)request->op;
    return flow;
}

static int32_t submit(struct fg_model *m, const struct fg_request *r, struct fg_stream *s,
                      struct fg_job **job, struct fg_error *err)
{
    __atomic_store_n(&last, r, __ATOMIC_SEQ_CST);
    return kept->submit(m, r, s, job, err);
}

void breaks(struct breaks *b)
{
    b->emit = emit;
    b->table.submit = submit;
}
