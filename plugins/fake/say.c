/*
 * The next events of a job. fg_fake_say() speaks until it is told to pause, has to wait for its
 * pace, has said a burst (others get their turn), or has said the last word. It touches nothing
 * that needs the lock; who may call it is drive.c's business.
 */
#include "fake/fake.h"

#include <stdio.h>
#include <stdlib.h>

#include "util/clock.h"
#include "util/error.h"

enum { BURST = 32, PIECE_BYTES = 16 << 10, IDS_AN_EVENT = 1024 };

static int32_t emit(struct fg_job *job, struct fg_event *ev, struct fg_fake_turn *turn)
{
    turn->mark = __atomic_load_n(&job->resumes, __ATOMIC_ACQUIRE);
    ev->size = sizeof *ev;
    const int32_t flow = job->model->backend->host->emit(job->stream, ev);
    if (flow == FG_FLOW_STOP)
        __atomic_store_n(&job->cancelled, 1, __ATOMIC_RELEASE);
    return flow;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* The slot is free before the last event, so that who sees it may submit again at once. After the
 * event the job is touched by drive.c only, which knows whether it still exists. */
static struct fg_fake_turn last(struct fg_job *job, struct fg_event *ev)
{
    struct fg_fake_turn turn = {.next = FG_FAKE_OVER};
    struct fg_model *m = job->model;
    const uint64_t now = fg_clock_ns();
    struct fg_usage usage = job->usage;
    const bool twice = m->script->garbage == FG_FAKE_TWO_ENDS;
    const bool talks_on = m->script->garbage == FG_FAKE_TALKS_ON;
    usage.prompt_ns = (job->first_ns ? job->first_ns : now) - job->submit_ns;
    usage.output_ns = job->first_ns ? now - job->first_ns : 0;
    ev->usage = &usage;
    __atomic_sub_fetch(&m->running, 1, __ATOMIC_ACQ_REL);
    __atomic_add_fetch(&m->tokens, usage.output_tokens, __ATOMIC_RELAXED);
    if (twice || talks_on) { /* garbage, on purpose: in a process of its own only */
        struct fg_event more = {.kind = twice ? FG_EV_DONE : FG_EV_TEXT, .text = FG_STR("more")};
        const struct fg_host *host = m->backend->host;
        struct fg_stream *stream = job->stream;
        more.size = sizeof more;
        (void)emit(job, ev, &turn);
        (void)host->emit(stream, &more);
        return turn;
    }
    (void)emit(job, ev, &turn);
    return turn;
}

static struct fg_fake_turn done(struct fg_job *job, int32_t code)
{
    struct fg_event ev = {.kind = FG_EV_DONE, .code = code};
    if (code == FG_END_STOP)
        ev.text = job->stop;
    return last(job, &ev);
}

static struct fg_fake_turn failed(struct fg_job *job, int32_t status, const char *text)
{
    struct fg_event ev = {.kind = FG_EV_FAILED, .code = status, .text = fg_str_of(text)};
    return last(job, &ev);
}

/* ---- one event ------------------------------------------------------------------------------- */

static float logprob_of(int32_t token)
{
    return -0.01f * (float)(1 + token % 50);
}

/* The token itself is always the likeliest; the alternatives are its neighbours. */
static void fill_logprobs(struct fg_job *job, const int32_t *ids, uint32_t count)
{
    const struct fg_fake_vocab *v = job->model->vocab;
    const uint32_t top = job->request->top_logprobs;
    struct fg_logprob *all = job->logprobs + count;
    for (uint32_t i = 0; i < count; i++) {
        struct fg_logprob *mine = all + (size_t)i * top;
        for (uint32_t t = 0; t < top; t++) {
            const int32_t id = (int32_t)(((uint32_t)ids[i] + t) % fg_fake_vocab_size(v));
            mine[t] = (struct fg_logprob){.token = id,
                                          .logprob = logprob_of(ids[i]) - (float)t,
                                          .bytes = fg_fake_vocab_piece(v, id)};
        }
        job->logprobs[i] = (struct fg_logprob){.token = ids[i],
                                               .logprob = logprob_of(ids[i]),
                                               .bytes = fg_fake_vocab_piece(v, ids[i]),
                                               .top = top ? mine : NULL,
                                               .top_count = top};
    }
}

/* Takes a chunk of tokens, and so many more that the text ends with a whole character. */
static uint32_t gather(struct fg_job *job, int32_t *ids, struct fg_str *text)
{
    const uint32_t chunk = (uint32_t)job->model->script->chunk;
    const uint32_t left = job->length - job->at;
    uint32_t n = 0;
    bool broken = false;
    job->text.len = 0;
    for (;;) {
        ids[n] = job->ids[(job->at + n) % job->id_count];
        fg_buf_add(&job->text, fg_fake_vocab_piece(job->model->vocab, ids[n]));
        n++;
        *text = fg_buf_str(&job->text);
        if (n < chunk && n < left)
            continue;
        const size_t whole = fg_utf8_valid(*text, &broken);
        if (whole == text->len || n >= left || n >= chunk + 3) {
            text->len = whole;
            return n;
        }
    }
}

static int32_t say_text(struct fg_job *job, struct fg_fake_turn *turn)
{
    int32_t ids[256 + 4];
    struct fg_str text;
    const uint32_t n = gather(job, ids, &text);
    const struct fg_request *r = job->request;
    if (job->byte_limit - job->bytes <= text.len) { /* a stop string: nothing behind it */
        text.len = job->byte_limit - job->bytes;
        job->length = job->at + n;
        job->end_code = FG_END_STOP;
    }
    job->bytes += text.len;
    job->at += n;
    job->usage.output_tokens += n;
    struct fg_event ev = {.kind = FG_EV_TEXT, .choice = job->choice, .text = text};
    if (r->flags & FG_REQ_TOKENS) {
        ev.tokens = ids;
        ev.token_count = n;
    }
    if (job->logprobs) {
        fill_logprobs(job, ids, n);
        ev.logprobs = job->logprobs;
        ev.logprob_count = n;
    }
    return emit(job, &ev, turn);
}

/* The time, by the clock that a load tool on this machine has as well. */
static int32_t say_stamp(struct fg_job *job, struct fg_fake_turn *turn)
{
    char text[32];
    const int n = snprintf(text, sizeof text, " @%llu ",
                           (unsigned long long)(fg_clock_ns() / 1000));
    job->at++;
    job->usage.output_tokens++;
    struct fg_event ev = {
        .kind = FG_EV_TEXT, .choice = job->choice, .text = {text, (size_t)n}};
    return emit(job, &ev, turn);
}

static int32_t say_ids(struct fg_job *job, struct fg_fake_turn *turn)
{
    const bool pieces = job->request->flags & FG_REQ_PIECES;
    const uint32_t left = job->length - job->at, most = pieces ? 1 : IDS_AN_EVENT;
    struct fg_event ev = {.kind = FG_EV_TEXT,
                          .tokens = job->ids + job->at,
                          .token_count = left < most ? left : most};
    if (pieces)
        ev.text = fg_fake_vocab_piece(job->model->vocab, job->ids[job->at]);
    job->at += ev.token_count;
    return emit(job, &ev, turn);
}

static int32_t say_embedding(struct fg_job *job, struct fg_fake_turn *turn)
{
    const uint32_t count = (uint32_t)job->model->script->embedding;
    fg_fake_embed(job->request->inputs[job->at], job->values, count);
    struct fg_event ev = {
        .kind = FG_EV_EMBEDDING, .index = job->at, .values = job->values, .value_count = count};
    job->at++;
    return emit(job, &ev, turn);
}

static int32_t say_blob(struct fg_job *job, struct fg_fake_turn *turn)
{
    struct fg_str text = fg_str_from(fg_buf_str(&job->text), job->bytes);
    if (text.len > PIECE_BYTES) {
        bool broken = false;
        text.len = PIECE_BYTES;
        text.len = fg_utf8_valid(text, &broken);
    }
    job->bytes += text.len;
    struct fg_event ev = {.kind = FG_EV_TEXT, .text = text};
    return emit(job, &ev, turn);
}

static bool is_blob(const struct fg_job *job)
{
    return job->request->op == FG_OP_RENDER || job->request->op == FG_OP_DETOKENIZE;
}

static bool generates(const struct fg_job *job)
{
    return job->request->op == FG_OP_CHAT || job->request->op == FG_OP_COMPLETE;
}

static bool all_said(const struct fg_job *job)
{
    if (is_blob(job))
        return job->bytes >= job->text.len;
    return job->at >= job->length;
}

static int32_t say_one(struct fg_job *job, struct fg_fake_turn *turn)
{
    switch (job->request->op) {
    case FG_OP_TOKENIZE:
        return say_ids(job, turn);
    case FG_OP_EMBED:
        return say_embedding(job, turn);
    case FG_OP_RENDER:
    case FG_OP_DETOKENIZE:
        return say_blob(job, turn);
    default:
        return job->stamps ? say_stamp(job, turn) : say_text(job, turn);
    }
}

/* ---- the script's surprises ------------------------------------------------------------------ */

static int32_t say_garbage(struct fg_job *job, struct fg_fake_turn *turn)
{
    struct fg_event ev = {.kind = FG_EV_TEXT, .text = FG_STR("\xFF\xC0 broken \xE2\x82")};
    if (job->model->script->garbage == FG_FAKE_BAD_KIND) {
        ev.kind = 99;
        ev.text = FG_STR("");
    }
    return emit(job, &ev, turn);
}

static bool speaks_garbage(const struct fg_job *job)
{
    const struct fg_fake_script *s = job->model->script;
    return (s->garbage == FG_FAKE_BAD_UTF8 || s->garbage == FG_FAKE_BAD_KIND) &&
           (int64_t)job->at >= s->garbage_after;
}

/* True: turn says what became of the job. */
static bool surprise(struct fg_job *job, struct fg_fake_turn *turn)
{
    const struct fg_fake_script *s = job->model->script;
    const int64_t said = job->usage.output_tokens;
    if (said >= s->crash_after)
        abort();
    if (said >= s->hang_after) {
        *turn = (struct fg_fake_turn){.next = FG_FAKE_HUNG};
        return true;
    }
    if (said >= s->fail_after) {
        *turn = failed(job, (int32_t)s->fail_status, s->fail_text);
        return true;
    }
    return false;
}

/* ---- the walk -------------------------------------------------------------------------------- */

static int32_t say_started(struct fg_job *job, struct fg_fake_turn *turn)
{
    struct fg_event ev = {.kind = FG_EV_STARTED,
                          .usage = &job->usage,
                          .tokens = job->prompt.ids,
                          .token_count = job->prompt.count};
    job->started = true;
    job->first_ns = 0;
    return emit(job, &ev, turn);
}

static uint64_t due_of(const struct fg_job *job)
{
    const struct fg_fake_script *s = job->model->script;
    const uint64_t first = job->submit_ns + (uint64_t)s->first_ms * FG_NS_PER_MS;
    return first + (uint64_t)(job->pace_ns * (job->usage.output_tokens - job->resumed));
}

static int32_t finish_choice(struct fg_job *job, struct fg_fake_turn *turn)
{
    struct fg_event ev = {.kind = FG_EV_FINISH,
                          .choice = job->choice,
                          .code = job->end_code,
                          .text = job->end_code == FG_END_STOP ? job->stop : FG_STR("")};
    const uint32_t skip = job->request->resume_count;
    job->choice++;
    job->bytes = 0;
    job->at = skip < job->length ? skip : job->length;
    return emit(job, &ev, turn);
}

static struct fg_fake_turn end(struct fg_job *job)
{
    return done(job, generates(job) ? job->end_code : FG_END_STOP);
}

/* One step: an event, or the reason why there is none. False: turn says what became of it. */
static bool step(struct fg_job *job, struct fg_fake_turn *turn, int32_t *flow)
{
    if (__atomic_load_n(&job->cancelled, __ATOMIC_ACQUIRE) && !job->model->script->deaf) {
        *turn = done(job, FG_END_CANCELLED);
        return false;
    }
    if (job->is_too_long) {
        *turn = failed(job, FG_TOO_LONG, "fake: the prompt does not fit the context");
        return false;
    }
    if (!job->started) {
        *flow = say_started(job, turn);
        return true;
    }
    turn->due_ns = due_of(job);
    const uint64_t now = fg_clock_ns();
    if (turn->due_ns > now) {
        turn->next = FG_FAKE_LATER;
        return false;
    }
    if (!job->first_ns)
        job->first_ns = now;
    if (surprise(job, turn))
        return false;
    if (job->choice < job->choices && !all_said(job)) {
        *flow = speaks_garbage(job) ? say_garbage(job, turn) : say_one(job, turn);
        if (speaks_garbage(job))
            job->at = job->length;
        return true;
    }
    if (job->choices > 1 && job->choice < job->choices) {
        *flow = finish_choice(job, turn);
        return true;
    }
    *turn = end(job);
    return false;
}

struct fg_fake_turn fg_fake_say(struct fg_job *job)
{
    struct fg_fake_turn turn = {.next = FG_FAKE_LATER};
    const bool heeds = job->model->script->garbage != FG_FAKE_IGNORES_PAUSE;
    for (int n = 0; n < BURST; n++) {
        int32_t flow = FG_FLOW_GO;
        if (!step(job, &turn, &flow))
            return turn;
        if (flow == FG_FLOW_PAUSE && heeds) {
            turn.next = FG_FAKE_PAUSED;
            return turn;
        }
    }
    turn.next = FG_FAKE_LATER;
    turn.due_ns = fg_clock_ns();
    return turn;
}
