/* Says again what was answered with PAUSE, though it was taken.
 * Caught by: no text is lost or doubled by pauses. */
#include "breaks.h"

static bool again;

static int32_t emit(struct fg_stream *stream, const struct fg_event *ev)
{
    if (__atomic_exchange_n(&again, false, __ATOMIC_SEQ_CST)) { /* the client has it already */
        const struct fg_event once_more = {
            .size = sizeof once_more, .kind = FG_EV_TEXT, .text = {"again", 5}};
        (void)real_emit(stream, &once_more);
    }
    return real_emit(stream, ev);
}

static void resume(struct fg_job *job)
{
    __atomic_store_n(&again, true, __ATOMIC_SEQ_CST);
    kept->resume(job);
}

void breaks(struct breaks *b)
{
    b->emit = emit;
    b->table.resume = resume;
}
