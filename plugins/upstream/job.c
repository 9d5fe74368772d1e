/*
 * A job: an fg_request goes out through an exchange, its reply comes back as events. See site.h.
 *
 *   submit()  [worker] the body is written there, on the worker's own time, and sent if a
 *             connection is kept; all the rest is [io]
 *   on_head() what kind of reply it is: records, one JSON value, an error
 *   on_body() records -> reader -> say() -> emit(), as long as nobody asks for a pause
 *   conclude() the verdict for the breaker, the slot, the last event
 *
 * Two owners: the client's thread until the last event was emitted, the worker until release().
 * A poke (cancel or resume on its way to the thread) is a third one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "upstream/held.h"
#include "upstream/site.h"
#include "util/clock.h"
#include "util/error.h"

enum {
    WHOLE_BYTES = 16 << 20,
    EMBED_BYTES = 64 << 20,
    FAULT_BYTES = 64 << 10,
    MOVED_BYTES = 256 << 10, /* of a value that is not whole yet: so much is a sign of life */
    REQUEST_BYTES = 128 << 20,
    BUSY_MS = 1000, /* when a busy server does not say how long */
};
enum mode { MODE_STREAM = 0, MODE_WHOLE = 1, MODE_FAULT = 2 };

struct fg_job {
    struct fg_exchange ex;
    struct fg_site *site;
    struct fg_model *model; /* not touched after the last event; NULL: a probe */
    struct fg_stream *stream;
    struct fg_buf request;
    uint64_t submit_ns, first_ns;
    uint32_t owners, poked, cancelled, resumes; /* atomic */
    struct fg_task poke;

    /* [io] */
    struct fg_reader reader;
    int32_t mode, http_status;
    uint64_t retry_after_ms;
    bool has_retry_after;
    struct fg_sse sse;
    struct fg_lines lines;
    struct fg_buf body; /* WHOLE, FAULT */
    struct fg_list held;
    uint32_t paused_at;         /* of resumes: a poke of an earlier one does not end this pause */
    bool is_paused, is_stopped; /* stopped: emit() answered STOP */
    bool is_ending;    /* the last record was read: what else came is only looked through */
    bool is_concluded; /* nothing of the reply counts any more */
    bool is_over;      /* the last event is out */
};

/* ---- owners ---------------------------------------------------------------------------------- */

static void hold(struct fg_job *job)
{
    __atomic_add_fetch(&job->owners, 1, __ATOMIC_RELAXED);
}

static void let_go(struct fg_job *job)
{
    if (__atomic_sub_fetch(&job->owners, 1, __ATOMIC_ACQ_REL))
        return;
    fg_reader_done(&job->reader);
    fg_sse_done(&job->sse);
    fg_lines_done(&job->lines);
    fg_held_drop(&job->held);
    fg_buf_done(&job->request);
    fg_buf_done(&job->body);
    free(job);
}

static struct fg_job *job_of(struct fg_exchange *ex)
{
    return FG_CONTAINER(ex, struct fg_job, ex);
}

static void on_hold(struct fg_exchange *ex)
{
    hold(job_of(ex));
}

static void on_let_go(struct fg_exchange *ex)
{
    let_go(job_of(ex));
}

/* ---- events ---------------------------------------------------------------------------------- */

static void fill_usage(struct fg_job *job, struct fg_usage *u)
{
    const struct fg_reader *r = &job->reader;
    const uint64_t now = fg_clock_ns(), first = job->first_ns ? job->first_ns : now;
    const uint64_t most = (uint64_t)r->max_tokens * r->choices;
    *u = r->usage;
    if (!r->has_usage && r->op != FG_OP_EMBED) /* it does not tell: a piece is a token, mostly */
        u->output_tokens = most && r->pieces > most ? (uint32_t)most : r->pieces;
    u->prompt_ns = first - job->submit_ns;
    u->output_ns = now - first;
}

/* The slot is free before the last event, so that who sees it may submit again at once. After the
 * emit() neither model nor request is there for sure. */
static void emit_last(struct fg_job *job, struct fg_event *ev)
{
    struct fg_usage usage;
    fill_usage(job, &usage);
    ev->size = sizeof *ev;
    ev->usage = &usage;
    job->is_over = true;
    __atomic_sub_fetch(&job->site->running, 1, __ATOMIC_RELAXED);
    if (job->model) {
        __atomic_sub_fetch(&job->model->running, 1, __ATOMIC_ACQ_REL);
        const struct fg_host *host = job->site->config.host;
        (void)host->emit(job->stream, ev);
    }
    let_go(job);
}

/* Now, not behind a pause. */
static void emit_one(struct fg_job *job, const struct fg_event *ev)
{
    const uint32_t mark = __atomic_load_n(&job->resumes, __ATOMIC_ACQUIRE);
    const int32_t flow = job->model ? job->site->config.host->emit(job->stream, ev) : FG_FLOW_GO;
    if (flow == FG_FLOW_STOP)
        job->is_stopped = true;
    else if (flow == FG_FLOW_PAUSE)
        job->is_paused = __atomic_load_n(&job->resumes, __ATOMIC_ACQUIRE) == mark;
    job->paused_at = mark;
}

/* The reader's. */
static int32_t say(void *ctx, struct fg_event *ev)
{
    struct fg_job *job = ctx;
    if (!job->first_ns && ev->kind != FG_EV_STARTED)
        job->first_ns = fg_clock_ns();
    if (job->is_stopped)
        return FG_FLOW_STOP;
    if (!job->is_paused && fg_list_empty(&job->held)) {
        emit_one(job, ev);
        return FG_FLOW_GO;
    }
    struct fg_held *h = fg_held_copy(ev);
    if (h)
        fg_list_push(&job->held, &h->node);
    else
        (void)fg_reader_fail(&job->reader, FG_NO_MEMORY, "no memory for an event");
    return FG_FLOW_PAUSE;
}

/* What waited, until it is asked to wait again. True: nothing is held any more. */
static bool say_held(struct fg_job *job)
{
    struct fg_list *node;
    while (!job->is_paused && !job->is_stopped && (node = fg_list_pop(&job->held))) {
        struct fg_held *h = FG_CONTAINER(node, struct fg_held, node);
        const int32_t kind = h->event.kind;
        if (kind == FG_EV_DONE || kind == FG_EV_FAILED)
            emit_last(job, &h->event); /* it keeps its own copy of nothing: h is freed below */
        else
            emit_one(job, &h->event);
        free(h);
        if (kind == FG_EV_DONE || kind == FG_EV_FAILED)
            return false;
    }
    return fg_list_empty(&job->held);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Behind what is held, if anything is. */
static void end_with(struct fg_job *job, struct fg_event *ev)
{
    ev->size = sizeof *ev;
    job->is_concluded = true;
    if (fg_list_empty(&job->held) && !job->is_paused) {
        emit_last(job, ev);
        return;
    }
    struct fg_held *h = fg_held_copy(ev);
    if (h) {
        fg_list_push(&job->held, &h->node);
        return;
    }
    fg_held_drop(&job->held); /* an end there must be: the failure does not wait */
    struct fg_event failed = {
        .kind = FG_EV_FAILED, .code = FG_NO_MEMORY, .text = FG_STR("no memory for an event")};
    emit_last(job, &failed);
}

static void report(struct fg_job *job, int32_t verdict, int32_t trouble, const char *text)
{
    struct fg_site *site = job->site;
    if (!job->model && site->probe == job)
        site->probe = NULL;
    fg_site_report(site, !job->model, verdict, trouble, text);
}

static void cancel_now(struct fg_job *job)
{
    struct fg_event ev = {.kind = FG_EV_DONE, .code = FG_END_CANCELLED};
    fg_exchange_stop(&job->ex);
    fg_held_drop(&job->held);
    job->is_concluded = true;
    __atomic_fetch_add(&job->site->cancelled, 1, __ATOMIC_RELAXED);
    emit_last(job, &ev);
}

static void fail(struct fg_job *job, int32_t status, const char *text)
{
    char line[252];
    const bool is_theirs = status == FG_INVALID || status == FG_TOO_LONG;
    const bool is_server = !is_theirs && status != FG_NO_MEMORY;
    snprintf(line, sizeof line, "%s%s", is_server ? "the remote server: " : "", text);
    fg_site_scrub(job->site, line);
    const size_t len = strlen(line);
    bool broken = false;
    struct fg_event ev = {.kind = FG_EV_FAILED, .code = status};
    ev.text = (struct fg_str){line, fg_utf8_valid((struct fg_str){line, len}, &broken)};
    end_with(job, &ev);
}

static void done(struct fg_job *job)
{
    struct fg_event ev = {.kind = FG_EV_DONE, .code = fg_reader_code(&job->reader)};
    report(job, FG_VERDICT_GOOD, FG_TROUBLE_NONE, "");
    fg_site_key_refused(job->site, false);
    __atomic_fetch_add(&job->site->done, 1, __ATOMIC_RELAXED);
    end_with(job, &ev);
}

/* The reader refused something, or the server told of an error within its answer. */
static void fail_reading(struct fg_job *job)
{
    const struct fg_error *err = &job->reader.error;
    const bool is_bad = err->status == FG_DEVICE_LOST;
    report(job, is_bad ? FG_VERDICT_BAD : FG_VERDICT_NONE, FG_TROUBLE_PROTOCOL, err->text);
    fail(job, err->status, err->text);
}

static void conclude(struct fg_job *job)
{
    struct fg_reader *r = &job->reader;
    if (!r->error.status && fg_reader_is_whole(r)) {
        done(job);
        return;
    }
    (void)fg_reader_fail(r, FG_DEVICE_LOST,
                         r->op == FG_OP_EMBED ? "it answered with %u embeddings less than asked for"
                                              : "it ended its answer without a finish_reason",
                         r->inputs - r->embedded);
    fail_reading(job);
}

/* ---- an answer that is an error -------------------------------------------------------------- */

static void be_busy(struct fg_job *job)
{
    const uint64_t ms = job->has_retry_after ? job->retry_after_ms : BUSY_MS;
    __atomic_fetch_add(&job->site->busy, 1, __ATOMIC_RELAXED);
    if (job->model) /* others need not ask before that */
        __atomic_store_n(&job->model->wait_until_ns, fg_clock_ns() + ms * FG_NS_PER_MS,
                         __ATOMIC_RELAXED);
}

static void fail_http(struct fg_job *job)
{
    struct fg_fault f = {0};
    const int32_t http = job->http_status;
    job->site->config.dialect->fault(http, fg_buf_str(&job->body), &f);
    if (http == 503 && job->has_retry_after) { /* it knows what it does, and when it is back */
        f.status = FG_BUSY;
        f.wants_pause = true;
        f.is_server = false;
    }
    if (f.wants_pause)
        be_busy(job);
    if (http == 401 || http == 403)
        fg_site_key_refused(job->site, true);
    if (f.prompt_tokens)
        job->reader.usage.prompt_tokens = f.prompt_tokens;
    report(job,
           f.is_server     ? FG_VERDICT_BAD
           : f.wants_pause ? FG_VERDICT_NONE
                           : FG_VERDICT_GOOD,
           FG_TROUBLE_STATUS, f.text);
    fail(job, f.status, f.text);
}

/* ---- the reply ------------------------------------------------------------------------------- */

static void give_up(struct fg_job *job, int32_t trouble, const char *text)
{
    fg_exchange_stop(&job->ex);
    report(job, FG_VERDICT_BAD, trouble, text);
    fail(job, FG_DEVICE_LOST, text);
}

static void on_head(struct fg_exchange *ex, const struct fg_reply *reply)
{
    struct fg_job *job = job_of(ex);
    job->http_status = reply->status;
    job->has_retry_after = reply->has_retry_after;
    job->retry_after_ms = reply->retry_after_ms;
    const bool is_good = reply->status >= 200 && reply->status < 300;
    if (!is_good)
        job->mode = MODE_FAULT;
    else if (reply->type == FG_TYPE_HTML)
        give_up(job, FG_TROUBLE_PROTOCOL,
                "it answers with a web page (HTML): is the base_url that of the API?");
    else if (reply->type == FG_TYPE_JSON ||
             (reply->type == FG_TYPE_OTHER && job->reader.op == FG_OP_EMBED))
        job->mode = MODE_WHOLE;
    else
        job->mode = MODE_STREAM;
}

static bool read_record(struct fg_job *job, struct fg_str name, struct fg_str record)
{
    struct fg_site *site = job->site;
    const bool good = site->config.dialect->read(&job->reader, name, record);
    fg_arena_reset(site->arena);
    return good && !job->reader.error.status;
}

/* The next record of a stream; false: there is none in *in. */
static bool next_record(struct fg_job *job, struct fg_str *in, struct fg_sse_event *ev,
                        int32_t *step)
{
    ev->name = FG_STR("");
    *step = job->site->config.dialect->is_lines ? fg_ndjson_next(&job->lines, in, &ev->data)
                                                : fg_sse_next(&job->sse, in, ev);
    return *step == FG_RECORD_READY;
}

/* True: the job goes on reading. */
static bool after_record(struct fg_job *job, bool good)
{
    if (job->is_stopped) {
        cancel_now(job);
    } else if (!good) {
        fg_exchange_stop(&job->ex);
        fail_reading(job);
    } else if (job->reader.is_over) {
        job->is_ending = true; /* the formal end is here as well, mostly: see on_more() */
    } else if (job->is_paused) {
        fg_exchange_pause(&job->ex);
    } else {
        return true;
    }
    return false;
}

static size_t take_stream(struct fg_job *job, struct fg_str piece)
{
    struct fg_str in = piece;
    struct fg_sse_event ev;
    int32_t step;
    const uint32_t lines = job->sse.count;
    bool any = false;
    while (next_record(job, &in, &ev, &step)) {
        any = true;
        if (!after_record(job, read_record(job, ev.name, ev.data)))
            return piece.len - in.len; /* job may be gone */
    }
    if (step == FG_RECORD_BAD)
        give_up(job, FG_TROUBLE_PROTOCOL, "one line of its answer is longer than allowed");
    else if (any || job->sse.count != lines)
        fg_exchange_moved(&job->ex);
    return piece.len;
}

static size_t on_body(struct fg_exchange *ex, struct fg_str piece)
{
    struct fg_job *job = job_of(ex);
    const size_t len = piece.len;
    if (job->is_ending)
        return len;
    if (job->mode == MODE_STREAM)
        return take_stream(job, piece);
    if (job->mode == MODE_FAULT && piece.len > FAULT_BYTES - job->body.len)
        piece.len = FAULT_BYTES - job->body.len;
    job->body.limit = job->reader.op == FG_OP_EMBED ? EMBED_BYTES : WHOLE_BYTES;
    const size_t before = job->body.len;
    if (piece.len && !fg_buf_add(&job->body, piece)) {
        give_up(job, FG_TROUBLE_PROTOCOL, "its answer is larger than allowed");
    } else if (piece.len < len) { /* enough of an error: the rest is not waited for */
        fg_exchange_stop(&job->ex);
        fail_http(job);
    } else if (job->body.len / MOVED_BYTES != before / MOVED_BYTES) {
        fg_exchange_moved(&job->ex);
    }
    return len;
}

/* The server said that this was all, and its connection was looked through as far as it came: the
 * client waits no longer. When the reply's end was there the connection is in the pool by now, so
 * that the next request finds it. */
static void on_more(struct fg_exchange *ex)
{
    struct fg_job *job = job_of(ex);
    if (!job->is_ending)
        return;
    fg_exchange_detach(ex);
    conclude(job);
}

/* The reply is whole: the last record, then the verdict. */
static void on_whole(struct fg_job *job)
{
    struct fg_sse_event ev = {.name = FG_STR("")};
    bool good = true;
    if (job->is_ending) {
        conclude(job);
        return;
    }
    if (job->mode == MODE_FAULT) {
        fail_http(job);
        return;
    }
    if (job->mode == MODE_WHOLE)
        good = read_record(job, ev.name, fg_buf_str(&job->body));
    else if (job->site->config.dialect->is_lines ? fg_ndjson_last(&job->lines, &ev.data)
                                                 : fg_sse_last(&job->sse, &ev))
        good = read_record(job, ev.name, ev.data);
    if (job->is_stopped)
        cancel_now(job);
    else if (!good)
        fail_reading(job);
    else
        conclude(job);
}

static void on_end(struct fg_exchange *ex, int32_t status, int32_t trouble, const char *text)
{
    struct fg_job *job = job_of(ex);
    if (status == FG_OK) {
        on_whole(job);
        return;
    }
    if (status == FG_CANCELLED) {
        cancel_now(job);
        return;
    }
    if (job->is_ending) {
        conclude(job);
        return;
    }
    if (job->mode == MODE_FAULT && job->http_status) { /* what was said is enough */
        fail_http(job);
        return;
    }
    if (job->http_status && job->mode == MODE_STREAM && fg_reader_is_whole(&job->reader) &&
        job->reader.op != FG_OP_EMBED) { /* only the formal end is missing */
        done(job);
        return;
    }
    report(job, trouble == FG_TROUBLE_NONE ? FG_VERDICT_NONE : FG_VERDICT_BAD, trouble, text);
    fail(job, status, text);
}

static const struct fg_handler handler = {
    .head = on_head,
    .body = on_body,
    .more = on_more,
    .end = on_end,
    .hold = on_hold,
    .let_go = on_let_go,
};

/* ---- pokes ----------------------------------------------------------------------------------- */

static void go_on(struct fg_job *job)
{
    job->is_paused = false;
    const bool is_empty = say_held(job);
    if (job->is_over)
        return;
    if (job->is_stopped)
        cancel_now(job);
    else if (is_empty && !job->is_paused && !job->is_concluded)
        fg_exchange_resume(&job->ex);
}

static void run_poke(struct fg_task *task)
{
    struct fg_job *job = FG_CONTAINER(task, struct fg_job, poke);
    __atomic_store_n(&job->poked, 0, __ATOMIC_RELEASE);
    if (!job->is_over && __atomic_load_n(&job->cancelled, __ATOMIC_ACQUIRE))
        cancel_now(job);
    else if (!job->is_over && job->is_paused &&
             __atomic_load_n(&job->resumes, __ATOMIC_ACQUIRE) != job->paused_at)
        go_on(job);
    let_go(job);
}

static void poke(struct fg_job *job)
{
    if (__atomic_exchange_n(&job->poked, 1, __ATOMIC_ACQ_REL))
        return;
    hold(job);
    if (!fg_client_post(job->site->client, &job->poke))
        let_go(job);
}

void fg_site_resume(struct fg_job *job)
{
    __atomic_add_fetch(&job->resumes, 1, __ATOMIC_ACQ_REL);
    poke(job);
}

void fg_site_cancel(struct fg_job *job)
{
    __atomic_store_n(&job->cancelled, 1, __ATOMIC_RELEASE);
    poke(job);
}

void fg_site_release(struct fg_job *job)
{
    let_go(job);
}

/* ---- submit ---------------------------------------------------------------------------------- */

static bool has_image(const struct fg_request *q)
{
    for (uint32_t i = 0; q->op == FG_OP_CHAT && i < q->message_count; i++)
        for (uint32_t k = 0; k < q->messages[i].part_count; k++)
            if (q->messages[i].parts[k].kind == FG_PART_IMAGE)
                return true;
    return false;
}

static int32_t check_can(const struct fg_model *m, const struct fg_request *q, struct fg_error *err)
{
    static const uint32_t ops[] = {FG_CAN_CHAT,     FG_CAN_COMPLETE, FG_CAN_EMBED,   FG_CAN_RERANK,
                                   FG_CAN_TOKENIZE, FG_CAN_TOKENIZE, FG_CAN_TOKENIZE};
    const bool is_known = q->op >= 0 && (size_t)q->op < sizeof ops / sizeof *ops;
    const struct {
        bool is_asked;
        uint32_t can;
        const char *what;
    } needs[] = {
        {true, is_known ? ops[q->op] : 1u << 31, "this operation"},
        {q->tool_count > 0, FG_CAN_TOOLS, "tools"},
        {q->schema_json.len > 0, FG_CAN_SCHEMA, "a schema"},
        {q->logprobs > 0, FG_CAN_LOGPROBS, "logprobs"},
        {has_image(q), FG_CAN_SEE, "images"},
    };
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (needs[i].is_asked && !(m->can & needs[i].can))
            return fg_fail(err, FG_UNSUPPORTED, "the remote model \"%.80s\" does not do %s",
                           m->ours, needs[i].what);
    return FG_OK;
}

/* Breaker, pause, slots. On FG_OK a slot is held. */
static int32_t admit(struct fg_model *m, int32_t op, struct fg_error *err)
{
    struct fg_site *site = m->site;
    int32_t rc = FG_OK;
    pthread_mutex_lock(&site->lock);
    if (!fg_breaker_lets_pass(&site->breaker))
        rc = fg_fail(err, FG_DEVICE_LOST, "the remote server is left alone after failures: %.150s",
                     site->trouble);
    site->probe_op = op;
    snprintf(site->probe_model, sizeof site->probe_model, "%s", m->theirs);
    pthread_mutex_unlock(&site->lock);
    if (rc != FG_OK)
        return rc;
    if (fg_clock_ns() < __atomic_load_n(&m->wait_until_ns, __ATOMIC_RELAXED))
        return fg_fail(err, FG_BUSY, "the remote server is busy and asked to wait");
    if (__atomic_add_fetch(&m->running, 1, __ATOMIC_ACQ_REL) <= m->max_running)
        return FG_OK;
    __atomic_sub_fetch(&m->running, 1, __ATOMIC_ACQ_REL);
    return fg_fail(err, FG_BUSY, "all %u slots of the remote model are taken", m->max_running);
}

static int32_t write_request(struct fg_job *job, const struct fg_request *q, const char *theirs,
                             struct fg_error *err)
{
    const struct fg_site *site = job->site;
    const struct fg_dialect *d = site->config.dialect;
    const char *path = d->path(q->op);
    const struct fg_ask ask = {
        .request = q, .model = fg_str_of(theirs), .options = site->config.options};
    if (!path)
        return fg_fail(err, FG_UNSUPPORTED, "a remote server cannot be asked for that");
    job->request.limit = REQUEST_BYTES;
    const size_t mark = fg_site_head(
        site, &job->request, "POST", path,
        q->op == FG_OP_EMBED || q->flags & FG_REQ_WHOLE ? "application/json" : d->accept);
    const int32_t rc = d->write(&ask, &job->request, err);
    fg_site_head_end(&job->request, mark);
    if (rc == FG_OK && job->request.failed)
        return fg_fail(err, FG_NO_MEMORY, "no memory for the request");
    return rc;
}

static int32_t prepare(struct fg_site *site, const struct fg_request *q, const char *theirs,
                       struct fg_job **out, struct fg_error *err)
{
    struct fg_job *job = calloc(1, sizeof *job);
    if (!job)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a job");
    job->site = site;
    job->owners = 1;
    job->ex.handler = &handler;
    job->poke.run = run_poke;
    job->submit_ns = fg_clock_ns();
    job->reader.say = say;
    job->reader.ctx = job;
    job->reader.arena = site->arena;
    fg_list_init(&job->held);
    fg_sse_init(&job->sse, site->config.line_bytes);
    fg_lines_init(&job->lines, site->config.line_bytes);
    int32_t rc = fg_reader_init(&job->reader, q, err);
    if (rc == FG_OK)
        rc = write_request(job, q, theirs, err);
    if (rc != FG_OK) {
        let_go(job);
        return rc;
    }
    job->ex.request = fg_buf_str(&job->request);
    *out = job;
    return FG_OK;
}

int32_t fg_site_submit(struct fg_model *m, const struct fg_request *q, struct fg_stream *stream,
                       struct fg_job **out, struct fg_error *err)
{
    struct fg_job *job = NULL;
    struct fg_site *site = m->site;
    int32_t rc = check_can(m, q, err);
    if (rc == FG_OK)
        rc = admit(m, q->op, err);
    if (rc != FG_OK)
        return rc;
    rc = prepare(site, q, m->theirs, &job, err);
    if (rc != FG_OK) {
        __atomic_sub_fetch(&m->running, 1, __ATOMIC_ACQ_REL);
        return rc;
    }
    job->model = m;
    job->stream = stream;
    job->owners = 2;
    __atomic_fetch_add(&site->requests, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&site->running, 1, __ATOMIC_RELAXED);
    *out = job; /* before the first event can come */
    fg_client_send(site->client, &job->ex);
    return FG_OK;
}

/* ---- the probe ------------------------------------------------------------------------------- */

struct fg_job *fg_site_probe(struct fg_site *site)
{
    char model[sizeof site->probe_model];
    struct fg_job *job = NULL;
    const struct fg_part part = {.kind = FG_PART_TEXT, .data = FG_STR("Hi")};
    const struct fg_message message = {.role = FG_ROLE_USER, .part_count = 1, .parts = &part};
    const struct fg_str input = FG_STR("Hi");
    pthread_mutex_lock(&site->lock);
    const int32_t op = site->probe_op;
    memcpy(model, site->probe_model, sizeof model);
    pthread_mutex_unlock(&site->lock);
    const struct fg_request q = {
        .size = sizeof q,
        .op = op,
        .messages = &message,
        .message_count = op == FG_OP_CHAT,
        .inputs = &input,
        .input_count = op != FG_OP_CHAT,
        .max_tokens = op == FG_OP_EMBED ? 0 : 1,
    };
    if (prepare(site, &q, model, &job, NULL) != FG_OK)
        return NULL;
    __atomic_fetch_add(&site->running, 1, __ATOMIC_RELAXED);
    fg_client_send(site->client, &job->ex);
    return job;
}

void fg_site_probe_stop(struct fg_job *job)
{
    if (!job->is_over)
        cancel_now(job);
}
