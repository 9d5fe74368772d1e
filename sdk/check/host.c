/*
 * The gateway's side. emit() judges each event against the rules of the header and keeps the first
 * one that was broken; the check's main thread reports it. It never trusts what it is given further
 * than the contract lets it: a wild pointer ends the process, which is a failed check as well.
 */
#include "check/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/error.h"

enum { MAGIC = 0x46474348, SLOW_US = 3000, OVERTAKE_MS = 50 };

void stream_init(struct fg_stream *s, const struct fg_request *r, int32_t policy)
{
    memset(s, 0, sizeof *s);
    s->magic = MAGIC;
    s->policy = policy;
    s->choices = r->choices ? r->choices : 1;
    s->inputs = r->op == FG_OP_EMBED ? r->input_count : 0;
    s->max_tokens = r->max_tokens;
    s->pieces = r->op == FG_OP_TOKENIZE && r->flags & FG_REQ_PIECES;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
}

void stream_done(struct fg_stream *s)
{
    s->magic = 0;
    fg_buf_done(&s->text);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
}

static bool rule(struct fg_stream *s, bool kept, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool rule(struct fg_stream *s, bool kept, const char *format, ...)
{
    va_list args;
    if (kept || s->broken[0])
        return kept;
    va_start(args, format);
    vsnprintf(s->broken, sizeof s->broken, format, args);
    va_end(args);
    return false;
}

static const char *kind_name(int32_t kind)
{
    static const char *const names[] = {"STARTED",   "TEXT",     "THINKING", "TOOL_BEGIN",
                                        "TOOL_ARGS", "EMBEDDING", "PROGRESS", "DONE",
                                        "FAILED",    "FINISH"};
    return kind >= 0 && kind <= FG_EV_FINISH ? names[kind] : "an unknown kind";
}

static bool is_last(int32_t kind)
{
    return kind == FG_EV_DONE || kind == FG_EV_FAILED;
}
static bool is_output(int32_t kind)
{
    return kind == FG_EV_TEXT || kind == FG_EV_THINKING || kind == FG_EV_TOOL_BEGIN ||
           kind == FG_EV_TOOL_ARGS || kind == FG_EV_EMBEDDING;
}

/* ---- the rules of one event ------------------------------------------------------------------ */

static void judge_text(struct fg_stream *s, const char *what, struct fg_str t, bool whole)
{
    bool is_broken = false;
    if (!rule(s, t.ptr || !t.len, "%s has %zu bytes at NULL", what, t.len) || !t.len || !whole)
        return;
    const size_t good = fg_utf8_valid(t, &is_broken);
    rule(s, good == t.len,
         "%s is %s at byte %zu of %zu: an event has whole UTF-8 characters only", what,
         is_broken ? "no UTF-8" : "cut within a character", good, t.len);
}

static void judge_usage(struct fg_stream *s, const struct fg_event *ev)
{
    const bool needed = ev->kind == FG_EV_STARTED || ev->kind == FG_EV_DONE ||
                        (ev->kind == FG_EV_FAILED && ev->code == FG_TOO_LONG);
    if (!rule(s, ev->usage || !needed, "%s has no usage", kind_name(ev->kind)) || !ev->usage)
        return;
    rule(s, ev->usage->size >= sizeof *ev->usage, "usage->size is %u, at least %zu is due",
         ev->usage->size, sizeof *ev->usage);
    s->usage = *ev->usage;
    s->has_usage = true;
    const uint64_t most = (uint64_t)s->max_tokens * s->choices;
    rule(s, !s->max_tokens || ev->usage->output_tokens <= most,
         "usage tells of %u output tokens, max_tokens was %u", ev->usage->output_tokens,
         s->max_tokens);
}

static void judge_logprobs(struct fg_stream *s, const struct fg_event *ev)
{
    if (!rule(s, ev->logprobs || !ev->logprob_count, "%u logprobs at NULL", ev->logprob_count))
        return;
    for (uint32_t i = 0; i < ev->logprob_count; i++) {
        const struct fg_logprob *l = &ev->logprobs[i];
        rule(s, isfinite(l->logprob) && l->logprob <= 1e-4f,
             "a logprob is %g: it is the logarithm of a probability", (double)l->logprob);
        for (uint32_t t = 0; t < l->top_count; t++) {
            rule(s, !l->top[t].top, "logprobs: top of an alternative must be NULL");
            rule(s, t == 0 || l->top[t].logprob <= l->top[t - 1].logprob,
                 "logprobs: the alternatives are not in order, best first");
        }
    }
    s->logprobs += ev->logprob_count;
}

static void judge_values(struct fg_stream *s, const struct fg_event *ev)
{
    if (ev->kind == FG_EV_PROGRESS)
        rule(s, ev->value_count == 1 && ev->values && ev->values[0] >= 0 && ev->values[0] <= 1,
             "PROGRESS has one value within 0..1");
    if (ev->kind != FG_EV_EMBEDDING ||
        !rule(s, ev->values && ev->value_count, "EMBEDDING has no values"))
        return;
    rule(s, ev->index < s->inputs, "EMBEDDING tells of input %u of %u", ev->index, s->inputs);
    rule(s, !s->embedding || ev->value_count == s->embedding,
         "EMBEDDING has %u values, info() said %u", ev->value_count, s->embedding);
    for (uint32_t i = 0; i < ev->value_count; i++)
        if (!rule(s, isfinite(ev->values[i]), "EMBEDDING value %u is not finite", i))
            return;
    s->first_value = ev->values[0];
    s->embeddings++;
}

static void judge_parts(struct fg_stream *s, const struct fg_event *ev)
{
    rule(s, ev->kind >= 0 && ev->kind <= FG_EV_FINISH, "an event has the unknown kind %d",
         ev->kind);
    rule(s, ev->choice < s->choices, "an event is of choice %u, %u were asked for", ev->choice,
         s->choices);
    judge_text(s, "text", ev->text, !s->pieces);
    judge_text(s, "name", ev->name, true);
    judge_text(s, "id", ev->id, true);
    rule(s, ev->tokens || !ev->token_count, "%u tokens at NULL", ev->token_count);
    judge_usage(s, ev);
    judge_logprobs(s, ev);
    judge_values(s, ev);
    if (ev->kind == FG_EV_DONE || ev->kind == FG_EV_FINISH)
        rule(s, ev->code >= FG_END_STOP && ev->code <= FG_END_CANCELLED,
             "%s has the code %d: enum fg_finish is meant", kind_name(ev->kind), ev->code);
    if (ev->kind == FG_EV_FAILED)
        rule(s, ev->code > FG_OK && ev->code <= FG_TOO_LONG,
             "FAILED has the code %d: an error of enum fg_status is meant", ev->code);
}

/* ---- the rules of order ---------------------------------------------------------------------- */

static void judge_order(struct fg_stream *s, const struct fg_event *ev)
{
    const char *kind = kind_name(ev->kind);
    const bool last = is_last(ev->kind);
    rule(s, !s->is_over, "%s came after the last event (%s): there is exactly one last event",
         kind, kind_name(s->last_kind));
    rule(s, !s->is_paused || (last && (s->is_cancelled || ev->kind == FG_EV_FAILED)),
         "%s came after emit() answered PAUSE: nothing more until resume()", kind);
    rule(s, !s->is_stopped || last, "%s came after emit() answered STOP: only the end is due",
         kind);
    rule(s, !s->is_stopped || ev->kind != FG_EV_DONE || ev->code == FG_END_CANCELLED,
         "emit() answered STOP: the job ends with DONE/CANCELLED, not with code %d", ev->code);
    if (ev->kind == FG_EV_STARTED) {
        rule(s, !s->is_started, "STARTED came twice");
        rule(s, !s->outputs, "STARTED came after output");
    }
    rule(s, ev->kind != FG_EV_DONE || s->is_cancelled || s->is_stopped || s->choices == 1 ||
                s->finishes == s->choices,
         "DONE came after %u of %u choices were told to be complete (FINISH)", s->finishes,
         s->choices);
}

static void keep(struct fg_stream *s, const struct fg_event *ev)
{
    s->events++;
    s->is_started = s->is_started || ev->kind == FG_EV_STARTED;
    s->outputs += is_output(ev->kind);
    s->finishes += ev->kind == FG_EV_FINISH;
    if (ev->kind == FG_EV_TEXT && ev->choice == 0)
        fg_buf_add(&s->text, ev->text);
    for (uint32_t i = 0; i < ev->token_count && ev->choice == 0; i++)
        if (s->id_count < sizeof s->ids / sizeof *s->ids)
            s->ids[s->id_count++] = ev->tokens[i];
    if (!is_last(ev->kind))
        return;
    s->is_over = true;
    s->last_kind = ev->kind;
    s->last_code = ev->code;
    if (ev->kind == FG_EV_FAILED)
        snprintf(s->reason, sizeof s->reason, "%.*s", FG_STR_ARG(ev->text));
}

/* ---- emit ------------------------------------------------------------------------------------ */

static int32_t answer(struct fg_stream *s, const struct fg_event *ev)
{
    if (is_last(ev->kind) || !is_output(ev->kind))
        return s->is_stopped ? FG_FLOW_STOP : FG_FLOW_GO;
    switch (s->policy) {
    case STOP_ONCE:
        s->is_stopped = true;
        return FG_FLOW_STOP;
    case PAUSE_ONCE:
        if (s->pauses)
            return FG_FLOW_GO;
        break;
    case PAUSE_EACH:
    case OVERTAKE:
        break;
    default:
        return FG_FLOW_GO;
    }
    s->is_paused = true;
    s->pauses++;
    return FG_FLOW_PAUSE;
}

/* [lock] Comes back once resume() was called, or after a while: a plugin may hold a lock of its own
 * here that resume() wants too. */
static void wait_for_resume(struct fg_stream *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += OVERTAKE_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    int rc = 0;
    s->wants_resume = true;
    pthread_cond_broadcast(&s->changed);
    while (s->wants_resume && rc == 0)
        rc = pthread_cond_timedwait(&s->changed, &s->lock, &until);
    s->wants_resume = false;
}

int32_t host_emit(struct fg_stream *s, const struct fg_event *ev)
{
    if (!s || s->magic != MAGIC) {
        fprintf(stderr, "emit() was called for a stream that is no more, or never was\n");
        abort();
    }
    pthread_mutex_lock(&s->lock);
    rule(s, !s->is_inside, "two threads call emit() for one job at once");
    s->is_inside = true;
    int32_t flow = FG_FLOW_GO;
    if (rule(s, ev != NULL, "emit() was given no event") &&
        rule(s, ev->size >= sizeof *ev, "event->size is %u, at least %zu is due",
             ev ? ev->size : 0, sizeof *ev)) {
        judge_order(s, ev);
        judge_parts(s, ev);
        flow = answer(s, ev);
        keep(s, ev);
    }
    const bool is_same = s->is_submitting && pthread_equal(pthread_self(), s->submitter);
    const bool is_slow = s->policy == SLOW_LAST && s->is_over && !is_same;
    if (s->policy == OVERTAKE && flow == FG_FLOW_PAUSE && !is_same)
        wait_for_resume(s);
    s->is_inside = false;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (is_slow)
        usleep(SLOW_US); /* the stream may be gone by now: it is not touched any more */
    return flow;
}

static void host_log(const struct fg_host *host, int32_t level, struct fg_str text)
{
    const struct bench *b = host->ctx;
    if (b->options->is_verbose)
        fprintf(stderr, "# log %d: %.*s\n", level, FG_STR_ARG(text));
}
static void host_device_changed(const struct fg_host *host, uint32_t device)
{
    (void)host;
    (void)device;
}
static const void *host_extension(const struct fg_host *host, const char *id)
{
    (void)host;
    (void)id;
    return NULL;
}

void host_init(struct bench *b)
{
    b->host = (struct fg_host){
        .size = sizeof b->host,
        .abi = FG_ABI,
        .ctx = b,
        .emit = host_emit,
        .log = host_log,
        .device_changed = host_device_changed,
        .extension = host_extension,
    };
}
