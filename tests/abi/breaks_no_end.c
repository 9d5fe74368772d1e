/* Never says its last word. Caught by: a job ends with exactly one last event. */
#include "breaks.h"

static int32_t emit(struct fg_stream *stream, const struct fg_event *ev)
{
    return ev->kind == FG_EV_DONE ? FG_FLOW_GO : real_emit(stream, ev);
}

void breaks(struct breaks *b)
{
    b->emit = emit;
}
