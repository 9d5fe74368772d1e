/*
 * plugin/stream.h - the gateway's end of one job: a bounded queue of events with credit.
 *
 * The plugin emits from any thread; the consumer is the job on its worker, woken once a burst.
 * An event is always taken. Above the high mark emit() answers PAUSE; below the low mark the
 * consumer is told to call resume(). After fg_stream_stop() emit() answers STOP and drops all but
 * the last event.
 */
#ifndef FG_PLUGIN_STREAM_H
#define FG_PLUGIN_STREAM_H

#include <fluxgate/plugin.h>

#include "loop/worker.h"

/* ready(): [worker] events wait; take them with fg_stream_next() until it gives NULL. */
int32_t fg_stream_open(struct fg_worker *, void (*ready)(void *ctx), void *ctx, struct fg_stream **,
                       struct fg_error *);
/* [worker] The oldest event, valid until the next call on this stream; NULL: none now.
 * *resume is set when a paused plugin should be resumed. */
const struct fg_event *fg_stream_next(struct fg_stream *, bool *resume);
void fg_stream_stop(struct fg_stream *);    /* [worker] nobody listens any more but for the last */
bool fg_stream_is_over(struct fg_stream *); /* [worker] the last event was taken with next() */
void fg_stream_close(struct fg_stream *);   /* [worker] after release() of its job */
/* fg_host.emit, also used by remote.c. [any] */
int32_t fg_stream_emit(struct fg_stream *, const struct fg_event *);

#endif
