/*
 * Events of a job: text with its ids, finishes, the last word. Runs on the engine thread.
 *
 * Credit: an event is always taken; when the answer is PAUSE, what follows stays in the sequence
 * until resume(). A resume() may overtake the PAUSE it answers, so resumes are counted, and only
 * one that came after we looked counts as missing.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/sched/inner.h"
#include "util/clock.h"

enum { TEXT_MOST = 32 << 10, IDS_MOST = 1024, PROMPT_IDS_MOST = 16 << 10 };

static void send(struct fg_job *job, struct fg_event *ev)
{
    const struct fg_host *host = job->sched->p.host;
    const uint32_t mark = atomic_load(&job->resumes);
    ev->size = sizeof *ev;
    const int32_t flow = host->emit(job->stream, ev);
    if (flow == FG_FLOW_STOP) {
        atomic_store(&job->cancelled, true);
        job->sched->look = true;
    } else if (flow == FG_FLOW_PAUSE) {
        job->pause_mark = mark;
        job->paused = atomic_load(&job->resumes) == mark;
    }
}

static bool may_send(struct fg_job *job)
{
    if (job->paused && atomic_load(&job->resumes) != job->pause_mark)
        job->paused = false;
    return !job->paused && !atomic_load(&job->cancelled);
}

static struct fg_usage usage_of(const struct fg_job *job)
{
    struct fg_usage u = {
        .size = sizeof u, .prompt_tokens = job->prompt_tokens, .cached_tokens = job->cached_tokens};
    for (uint32_t i = 0; i < job->seq_count && job->req->op != FG_OP_EMBED; i++)
        u.output_tokens += job->seqs[i].outputs;
    if (job->admit_ns) {
        const uint64_t end = job->end_ns ? job->end_ns : fg_clock_ns();
        const uint64_t first = job->first_ns ? job->first_ns : end;
        u.queue_ns = job->admit_ns - job->submit_ns;
        u.prompt_ns = first - job->admit_ns;
        u.output_ns = end > first ? end - first : 0;
    }
    return u;
}

void fg_job_start_event(struct fg_job *job)
{
    struct fg_usage usage = usage_of(job);
    struct fg_event ev = {.kind = FG_EV_STARTED, .usage = &usage};
    const uint32_t prompt = job->prompt_tokens;
    if ((job->req->flags & FG_REQ_PROMPT_IDS) && job->req->op != FG_OP_EMBED && job->seq_count &&
        prompt <= PROMPT_IDS_MOST && prompt <= job->seqs[0].ids.len) {
        ev.tokens = job->seqs[0].ids.ptr;
        ev.token_count = prompt;
    }
    send(job, &ev);
}

void fg_job_progress_event(struct fg_job *job, float fraction)
{
    if (!may_send(job))
        return;
    struct fg_event ev = {.kind = FG_EV_PROGRESS, .values = &fraction, .value_count = 1};
    send(job, &ev);
}

void fg_job_fail(struct fg_job *job, const struct fg_error *err)
{
    if (job->failed)
        return;
    job->failed = true;
    job->error = *err;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Everything the job holds of the engine goes before the last event, so that whoever sees it finds
 * the pages free. */
static void let_go(struct fg_job *job)
{
    struct fg_sched *s = job->sched;
    for (uint32_t i = 0; i < job->seq_count; i++) {
        struct fg_seq *seq = &job->seqs[i];
        if (seq->state == FG_SEQ_WAITING || seq->state == FG_SEQ_ACTIVE)
            fg_seq_finish(s, seq, FG_END_CANCELLED);
    }
    fg_list_remove(&job->node);
    job->is_over = true;
    job->end_ns = fg_clock_ns();
}

static void send_last(struct fg_job *job, struct fg_event *ev)
{
    let_go(job);
    struct fg_usage usage = usage_of(job);
    ev->size = sizeof *ev;
    ev->usage = &usage;
    (void)job->sched->p.host->emit(job->stream, ev);
    fg_job_drop(job);
}

static void send_failed(struct fg_job *job, const struct fg_error *err)
{
    struct fg_event ev = {.kind = FG_EV_FAILED,
                          .text = {err->text, strnlen(err->text, sizeof err->text)},
                          .code = err->status ? err->status : FG_INTERNAL};
    send_last(job, &ev);
}

void fg_job_end_cancelled(struct fg_job *job)
{
    struct fg_event ev = {.kind = FG_EV_DONE, .code = FG_END_CANCELLED};
    send_last(job, &ev);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void name_bytes(const struct fg_job *job, struct fg_text_part *part)
{
    const struct fg_vocab *vocab = job->sched->p.vocab;
    struct fg_logprob *list = (struct fg_logprob *)part->logprobs;
    for (uint32_t i = 0; i < part->count; i++) {
        list[i].bytes = fg_vocab_piece(vocab, list[i].token, true);
        struct fg_logprob *top = (struct fg_logprob *)list[i].top;
        for (uint32_t j = 0; j < list[i].top_count; j++)
            top[j].bytes = fg_vocab_piece(vocab, top[j].token, true);
    }
}

static void send_text(struct fg_job *job, struct fg_seq *seq)
{
    const struct fg_request *req = job->req;
    struct fg_text_part part;
    if (!fg_text_take(&seq->text, &part)) {
        const struct fg_error err = {FG_NO_MEMORY, "no memory for the answer's text"};
        if (seq->text.failed)
            fg_job_fail(job, &err);
        return;
    }
    const bool ids = (req->flags & FG_REQ_TOKENS) || req->logprobs;
    if (part.text.len == 0 && !ids)
        return;
    struct fg_event ev = {.kind = FG_EV_TEXT, .choice = seq->index, .text = part.text};
    if (ids) {
        ev.tokens = part.ids;
        ev.token_count = part.count;
    }
    if (req->logprobs) {
        name_bytes(job, &part);
        ev.logprobs = part.logprobs;
        ev.logprob_count = part.count;
    }
    send(job, &ev);
}

static void send_embedding(struct fg_job *job, struct fg_seq *seq)
{
    struct fg_event ev = {.kind = FG_EV_EMBEDDING,
                          .index = seq->index,
                          .values = seq->values,
                          .value_count = job->sched->width};
    send(job, &ev);
    free(seq->values);
    seq->values = NULL;
}

static void report(struct fg_job *job, struct fg_seq *seq)
{
    seq->state = FG_SEQ_REPORTED;
    job->unreported--;
    if (job->req->op == FG_OP_EMBED) {
        send_embedding(job, seq);
    } else if (job->seq_count > 1) {
        struct fg_event ev = {.kind = FG_EV_FINISH,
                              .choice = seq->index,
                              .code = seq->finish,
                              .text = seq->text.stop};
        send(job, &ev);
    }
}

static void send_done(struct fg_job *job)
{
    struct fg_event ev = {.kind = FG_EV_DONE, .code = FG_END_STOP};
    if (job->seq_count == 1 && job->req->op != FG_OP_EMBED) {
        ev.code = job->seqs[0].finish;
        ev.text = job->seqs[0].text.stop;
    }
    for (uint32_t i = 0; i < job->seq_count && job->seq_count > 1; i++)
        if (job->seqs[i].finish == FG_END_LENGTH)
            ev.code = FG_END_LENGTH;
    send_last(job, &ev);
}

bool fg_job_flush(struct fg_job *job)
{
    for (uint32_t i = 0; i < job->seq_count && !job->failed && may_send(job); i++) {
        struct fg_seq *seq = &job->seqs[i];
        if (seq->state == FG_SEQ_REPORTED)
            continue;
        if (job->req->op != FG_OP_EMBED)
            send_text(job, seq);
        if (seq->state == FG_SEQ_FINISHED && !job->failed && may_send(job))
            report(job, seq);
    }
    if (atomic_load(&job->cancelled)) {
        fg_job_end_cancelled(job);
        return true;
    }
    if (!may_send(job))
        return false;
    if (job->failed) {
        const struct fg_error err = job->error;
        send_failed(job, &err);
        return true;
    }
    if (job->unreported)
        return false;
    send_done(job);
    return true;
}

/* ---- answers without the network: ids, texts ------------------------------------------------- */

static bool send_share(struct fg_job *job)
{
    struct fg_event ev = {.kind = FG_EV_TEXT};
    const struct fg_vocab *vocab = job->sched->p.vocab;
    if (job->req->op == FG_OP_TOKENIZE) {
        const size_t left = job->tokens.len - job->delivered;
        if (left == 0)
            return false;
        const size_t most = (job->req->flags & FG_REQ_PIECES) ? 1 : IDS_MOST;
        ev.tokens = job->tokens.ptr + job->delivered;
        ev.token_count = (uint32_t)(left < most ? left : most);
        if (job->req->flags & FG_REQ_PIECES)
            ev.text = fg_vocab_piece(vocab, ev.tokens[0], true);
        job->delivered += ev.token_count;
    } else {
        struct fg_str rest = fg_str_from(fg_buf_str(&job->output), job->delivered);
        if (rest.len == 0)
            return false;
        if (rest.len > TEXT_MOST) {
            bool broken;
            rest.len = fg_utf8_valid((struct fg_str){rest.ptr, TEXT_MOST}, &broken);
        }
        ev.text = rest;
        job->delivered += rest.len;
    }
    send(job, &ev);
    return true;
}

bool fg_job_light_flush(struct fg_job *job, uint32_t share, bool *more)
{
    bool left = true;
    *more = false;
    while (share-- && left && !job->failed && may_send(job))
        left = send_share(job);
    if (atomic_load(&job->cancelled)) {
        fg_job_end_cancelled(job);
        return true;
    }
    if (!may_send(job))
        return false;
    if (job->failed || !left) {
        const struct fg_error err = job->error;
        struct fg_event ev = {.kind = FG_EV_DONE, .code = FG_END_STOP};
        if (job->failed)
            send_failed(job, &err);
        else
            send_last(job, &ev);
        return true;
    }
    *more = true;
    return false;
}
