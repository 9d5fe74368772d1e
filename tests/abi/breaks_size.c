/* Leaves event->size 0. Caught by: a job ends with exactly one last event. */
#include "breaks.h"

static int32_t emit(struct fg_stream *stream, const struct fg_event *ev)
{
    struct fg_event bare = *ev;
    bare.size = 0;
    return real_emit(stream, &bare);
}

void breaks(struct breaks *b)
{
    b->emit = emit;
}
