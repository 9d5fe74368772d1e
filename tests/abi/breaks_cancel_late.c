/* Answers a cancel() after the end with another end.
 * Caught by: cancel may be called again, and after the last event. */
#include "breaks.h"

static struct fg_stream *over;

static int32_t emit(struct fg_stream *stream, const struct fg_event *ev)
{
    __atomic_store_n(&over, ev->kind == FG_EV_DONE ? stream : NULL, __ATOMIC_SEQ_CST);
    return real_emit(stream, ev);
}

static void cancel(struct fg_job *job)
{
    static const struct fg_usage usage = {.size = sizeof usage};
    static const struct fg_event end = {
        .size = sizeof end, .kind = FG_EV_DONE, .code = FG_END_CANCELLED, .usage = &usage};
    struct fg_stream *stream = __atomic_load_n(&over, __ATOMIC_SEQ_CST);
    if (stream)
        (void)real_emit(stream, &end);
    else
        kept->cancel(job);
}

void breaks(struct breaks *b)
{
    b->emit = emit;
    b->table.cancel = cancel;
}
