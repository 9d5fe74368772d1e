/* Says its last word twice. Caught by: a job ends with exactly one last event. */
#include "breaks.h"

static int32_t emit(struct fg_stream *stream, const struct fg_event *ev)
{
    const int32_t flow = real_emit(stream, ev);
    return ev->kind == FG_EV_DONE ? real_emit(stream, ev) : flow;
}

void breaks(struct breaks *b)
{
    b->emit = emit;
}
