/*
 * The gateway's end of a job: events copied from the plugin's threads, read in bursts by the
 * worker.
 *
 * Two queues that change places: the plugin fills `in` under the lock; when the worker has emptied
 * `out` it takes all of `in` at once, so that an event stays in place while it is looked at and the
 * lock is held for one swap a burst. A queue is a ring with a limit, and behind it a list of
 * single blocks for what does not fit (a large event, a plugin that has not yet seen its PAUSE).
 *
 * The last event needs no memory: when there is none it is kept in the stream itself, its text cut.
 * A stream that had to drop an event ends with FAILED, whatever the plugin says.
 */
#include "plugin/stream.h"

#include <stdlib.h>
#include <string.h>

#include "plugin/event.h"
#include "util/error.h"
#include "util/ring.h"
#include "util/str.h"

enum {
    RING_LIMIT = 256 << 10,
    HIGH = 64 << 10, /* bytes waiting: PAUSE */
    LOW = 16 << 10,  /* resume() */
    MOST = 64 << 20, /* a plugin that knows no PAUSE */
    LAST_TEXT = 252,
};

struct queue {
    struct fg_ring ring;
    struct fg_list more; /* struct block: newer than all of the ring */
    size_t bytes;
};
struct block {
    struct fg_list node;
    size_t len;
    max_align_t data[];
};

struct fg_stream {
    struct fg_worker *worker;
    void (*ready)(void *ctx);
    void *ctx;
    struct fg_task task;

    pthread_mutex_t lock;
    struct queue in; /* [lock] */
    int32_t broken;  /* [lock] an event was dropped: why */
    bool ended;      /* [lock] the last event came */
    bool stopped;    /* [lock] */
    bool armed;      /* [lock] the consumer knows that there is something */
    bool posted;     /* [lock] the task is on its way: it may be run yet */
    bool closed;     /* [lock] the task frees the stream */
    bool reserve;    /* [lock] the last event waits in `last` */
    uint32_t paused; /* written under the lock, looked at without */
    struct fg_event last;
    struct fg_usage last_usage;
    char last_text[LAST_TEXT];

    struct queue out; /* the worker's, as what follows */
    bool is_looking;  /* the front of out was handed out */
    bool over;
};

/* ---- a queue of copied events ------------------------------------------------------------------
 */

static void queue_init(struct queue *q)
{
    fg_ring_init(&q->ring, RING_LIMIT);
    fg_list_init(&q->more);
    q->bytes = 0;
}

static void queue_done(struct queue *q)
{
    struct fg_list *node;
    while ((node = fg_list_pop(&q->more)))
        free(FG_CONTAINER(node, struct block, node));
    fg_ring_done(&q->ring);
}

static bool queue_is_empty(const struct queue *q)
{
    return q->ring.count == 0 && fg_list_empty(&q->more);
}

static bool queue_push(struct queue *q, const struct fg_event *ev, size_t len)
{
    void *to = fg_list_empty(&q->more) ? fg_ring_push(&q->ring, len) : NULL;
    if (!to) {
        struct block *b = malloc(sizeof *b + len);
        if (!b)
            return false;
        b->len = len;
        fg_list_push(&q->more, &b->node);
        to = b->data;
    }
    fg_event_pack(ev, to);
    q->bytes += len;
    return true;
}

static void *queue_front(struct queue *q, size_t *len)
{
    if (q->ring.count)
        return fg_ring_peek(&q->ring, len);
    struct block *b = FG_CONTAINER(q->more.next, struct block, node);
    *len = b->len;
    return b->data;
}

static void queue_pop(struct queue *q)
{
    size_t len;
    (void)queue_front(q, &len);
    if (q->ring.count)
        fg_ring_pop(&q->ring);
    else
        free(FG_CONTAINER(fg_list_pop(&q->more), struct block, node));
    q->bytes -= len;
}

static void queue_swap(struct queue *a, struct queue *b)
{
    struct fg_list list;
    fg_list_init(&list);
    fg_list_take(&list, &a->more);
    fg_list_take(&a->more, &b->more);
    fg_list_take(&b->more, &list);
    struct fg_ring ring = a->ring;
    a->ring = b->ring;
    b->ring = ring;
    size_t bytes = a->bytes;
    a->bytes = b->bytes;
    b->bytes = bytes;
}

/* ---- life --------------------------------------------------------------------------------------
 */

static void destroy(struct fg_stream *s)
{
    queue_done(&s->in);
    queue_done(&s->out);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void on_posted(struct fg_task *task)
{
    struct fg_stream *s = FG_CONTAINER(task, struct fg_stream, task);
    pthread_mutex_lock(&s->lock);
    s->posted = false;
    bool closed = s->closed;
    pthread_mutex_unlock(&s->lock);
    if (closed)
        destroy(s);
    else
        s->ready(s->ctx); /* may close the stream */
}

int32_t fg_stream_open(struct fg_worker *worker, void (*ready)(void *ctx), void *ctx,
                       struct fg_stream **out, struct fg_error *err)
{
    struct fg_stream *s = calloc(1, sizeof *s);
    if (!s)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a stream of events");
    s->worker = worker;
    s->ready = ready;
    s->ctx = ctx;
    s->task.run = on_posted;
    pthread_mutex_init(&s->lock, NULL);
    queue_init(&s->in);
    queue_init(&s->out);
    *out = s;
    return FG_OK;
}

void fg_stream_stop(struct fg_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    pthread_mutex_unlock(&s->lock);
}

bool fg_stream_is_over(struct fg_stream *s)
{
    return s->over;
}

void fg_stream_close(struct fg_stream *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closed = true;
    bool later = s->posted;
    pthread_mutex_unlock(&s->lock);
    if (!later)
        destroy(s);
}

/* ---- from the plugin ---------------------------------------------------------------------------
 */

static void keep_last(struct fg_stream *s, const struct fg_event *ev)
{
    static const char *const why[] = {"the stream of events ran out of memory",
                                      "the backend sent events without end"};
    s->last = (struct fg_event){.size = sizeof s->last, .kind = ev->kind, .code = ev->code};
    struct fg_str text = ev->text;
    if (s->broken) {
        s->last.kind = FG_EV_FAILED;
        s->last.code = s->broken;
        text = fg_str_of(why[s->broken != FG_NO_MEMORY]);
    }
    if (text.len > sizeof s->last_text)
        text.len = fg_utf8_valid((struct fg_str){text.ptr, sizeof s->last_text}, &(bool){false});
    if (text.len)
        memcpy(s->last_text, text.ptr, text.len);
    s->last.text = (struct fg_str){s->last_text, text.len};
    if (ev->usage) {
        s->last_usage = *ev->usage;
        s->last.usage = &s->last_usage;
    }
    s->reserve = true;
}

/* False: nobody wants the event. */
static bool take(struct fg_stream *s, const struct fg_event *ev, size_t len)
{
    bool last = ev->kind == FG_EV_DONE || ev->kind == FG_EV_FAILED;
    if (s->ended)
        return false;
    if (last) {
        s->ended = true;
        if (s->broken || !queue_push(&s->in, ev, len))
            keep_last(s, ev);
        return true;
    }
    if (s->stopped || s->broken)
        return false;
    if (s->in.bytes && len > MOST - s->in.bytes)
        s->broken = FG_INTERNAL;
    else if (!queue_push(&s->in, ev, len))
        s->broken = FG_NO_MEMORY;
    return !s->broken;
}

static int32_t flow(struct fg_stream *s, bool taken)
{
    if (s->stopped || s->broken || !taken)
        return FG_FLOW_STOP;
    if (s->ended || s->in.bytes <= HIGH)
        return FG_FLOW_GO;
    __atomic_store_n(&s->paused, 1, __ATOMIC_RELAXED);
    return FG_FLOW_PAUSE;
}

/* The worker is closed: the task will never run. */
static void unpost(struct fg_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->posted = false;
    bool closed = s->closed;
    pthread_mutex_unlock(&s->lock);
    if (closed)
        destroy(s);
}

int32_t fg_stream_emit(struct fg_stream *s, const struct fg_event *given)
{
    struct fg_event ev;
    struct fg_usage usage;
    fg_event_take(given, &ev, &usage);
    size_t len = fg_event_pack(&ev, NULL);
    bool post = false;
    pthread_mutex_lock(&s->lock);
    bool taken = take(s, &ev, len);
    if (taken && !s->armed) {
        s->armed = true;
        post = !s->posted;
        s->posted = true;
    }
    int32_t rc = flow(s, taken);
    pthread_mutex_unlock(&s->lock);
    /* Once posted the task keeps the stream alive; else it may be gone by now. */
    if (post && !fg_worker_post(s->worker, &s->task))
        unpost(s);
    return rc;
}

/* ---- to the consumer ---------------------------------------------------------------------------
 */

/* What came since; false: nothing, and the next event wakes the worker again. */
static bool refill(struct fg_stream *s)
{
    pthread_mutex_lock(&s->lock);
    bool some = !queue_is_empty(&s->in);
    if (some)
        queue_swap(&s->in, &s->out);
    else if (!s->reserve)
        s->armed = false;
    pthread_mutex_unlock(&s->lock);
    return some;
}

static bool should_resume(struct fg_stream *s)
{
    if (!__atomic_load_n(&s->paused, __ATOMIC_RELAXED) || s->out.bytes > LOW)
        return false;
    pthread_mutex_lock(&s->lock);
    bool resume = s->paused && !s->ended && s->in.bytes + s->out.bytes <= LOW;
    if (resume)
        __atomic_store_n(&s->paused, 0, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&s->lock);
    return resume;
}

static const struct fg_event *take_reserve(struct fg_stream *s)
{
    pthread_mutex_lock(&s->lock);
    bool there = s->reserve;
    s->reserve = false;
    if (there)
        s->armed = false;
    pthread_mutex_unlock(&s->lock);
    s->over |= there;
    return there ? &s->last : NULL;
}

const struct fg_event *fg_stream_next(struct fg_stream *s, bool *resume)
{
    const struct fg_event *ev = NULL;
    if (s->is_looking)
        queue_pop(&s->out);
    s->is_looking = !queue_is_empty(&s->out) || refill(s);
    *resume = should_resume(s);
    if (!s->is_looking)
        return take_reserve(s);
    size_t len;
    ev = fg_event_unpack(queue_front(&s->out, &len));
    s->over |= ev->kind == FG_EV_DONE || ev->kind == FG_EV_FAILED;
    return ev;
}
