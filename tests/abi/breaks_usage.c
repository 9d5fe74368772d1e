/* Tells of more tokens than were allowed. Caught by: max_tokens is kept and told as LENGTH. */
#include "breaks.h"

static int32_t emit(struct fg_stream *stream, const struct fg_event *ev)
{
    struct fg_event more = *ev;
    struct fg_usage usage = {.size = sizeof usage};
    if (ev->kind == FG_EV_DONE) {
        usage = *ev->usage;
        usage.output_tokens++;
        more.usage = &usage;
    }
    return real_emit(stream, &more);
}

void breaks(struct breaks *b)
{
    b->emit = emit;
}
