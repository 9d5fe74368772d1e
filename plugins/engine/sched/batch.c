/*
 * One step of continuous batching: which rows run together, and what becomes of their logits.
 *
 * Every running sequence gives one row; what is left of the step is prefill, in chunks small
 * enough that the running streams still get their next token in time (the time of a prefill row is
 * measured, not assumed). A cancel stops a step between two layers: its rows are simply run again
 * without the one that left.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sched/inner.h"
#include "util/clock.h"
#include "util/error.h"

enum {
    CHUNK_LEAST = 16,   /* rows: below it a step's fixed cost wins */
    CHUNK_FIRST = 128,  /* rows of a first step, before their time is known */
    LAYER_MS = 40,      /* a layer may not take longer: cancels are seen between layers */
    LOST_MOST_MS = 500, /* work lost to cancels before a step may run through */
};

/* ---- choosing rows --------------------------------------------------------------------------- */

static bool can_run(struct fg_seq *seq)
{
    struct fg_job *job = seq->job;
    if (job->paused && atomic_load(&job->resumes) != job->pause_mark)
        job->paused = false;
    return !job->paused && !job->failed && !atomic_load(&job->cancelled);
}

static void add_rows(struct fg_sched *s, struct fg_seq *seq, uint32_t rows)
{
    const uint32_t at = s->batch_count++, first = s->row_count;
    s->batch[at] = seq;
    s->tables[at] = seq->chain.page;
    seq->rows = rows;
    for (uint32_t i = 0; i < rows; i++) {
        s->row_token[first + i] = seq->ids.ptr[seq->done + i];
        s->row_position[first + i] = seq->done + i;
        s->row_sequence[first + i] = at;
        s->row_want[first + i] = 0;
    }
    s->row_count += rows;
    if (seq->done + rows == seq->ids.len && seq->job->req->op != FG_OP_EMBED) {
        s->row_want[s->row_count - 1] = 1;
        s->want_count++;
    }
    s->hidden_wanted |= seq->job->req->op == FG_OP_EMBED;
}

/* A page for the next token; the youngest goes when there is none. false: that was seq itself. */
static bool find_page(struct fg_sched *s, struct fg_seq *seq)
{
    while (!fg_chain_reserve(&seq->chain, (uint32_t)seq->ids.len)) {
        struct fg_seq *victim = FG_CONTAINER(s->active.prev, struct fg_seq, node);
        const bool self = victim == seq;
        fg_seq_preempt(s, victim);
        if (self)
            return false;
    }
    return true;
}

static uint32_t decoding_rows(struct fg_sched *s)
{
    FG_LIST_EACH (node, safe, &s->active) {
        struct fg_seq *seq = FG_CONTAINER(node, struct fg_seq, node);
        seq->rows = 0;
        if (seq->ids.len - seq->done != 1 || !can_run(seq))
            continue;
        /* May preempt behind us, `safe` too: so look again from here. */
        if (!find_page(s, seq))
            break;
        safe = seq->node.next;
        add_rows(s, seq, 1);
        if (s->row_count == s->max_rows)
            break;
    }
    return s->row_count;
}

static uint32_t prefill_budget(const struct fg_sched *s, uint32_t decoding)
{
    uint32_t most = decoding ? s->p.chunk_busy : s->p.chunk_idle;
    double ms = (double)LAYER_MS * fg_net_info(s->p.net)->layers;
    if (decoding && s->p.inter_token_ms && s->p.inter_token_ms < ms)
        ms = s->p.inter_token_ms;
    if (s->ns_a_row > 0) {
        const double rows = ms * 1e6 / s->ns_a_row;
        most = rows < most ? (uint32_t)rows : most;
    } else if (most > CHUNK_FIRST) {
        most = CHUNK_FIRST;
    }
    if (most < CHUNK_LEAST)
        most = CHUNK_LEAST;
    return most < s->max_rows - decoding ? most : s->max_rows - decoding;
}

/* The budget is shared evenly first, so that a short prompt does not wait behind a long one; what
 * the short ones leave goes to the oldest. */
static void prefill_rows(struct fg_sched *s, uint32_t budget)
{
    struct fg_seq *list[FG_MOST_ACTIVE];
    uint32_t rows[FG_MOST_ACTIVE], count = 0;
    FG_LIST_EACH (node, safe, &s->active) {
        struct fg_seq *seq = FG_CONTAINER(node, struct fg_seq, node);
        if (seq->ids.len - seq->done > 1 && can_run(seq) && count + s->batch_count < FG_MOST_ACTIVE)
            list[count++] = seq;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t need = (uint32_t)list[i]->ids.len - list[i]->done;
        const uint32_t share = budget / (count - i);
        rows[i] = need < share ? need : share;
        budget -= rows[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t need = (uint32_t)list[i]->ids.len - list[i]->done - rows[i];
        const uint32_t more = need < budget ? need : budget;
        budget -= more;
        if (rows[i] + more)
            add_rows(s, list[i], rows[i] + more);
    }
}

bool fg_batch_build(struct fg_sched *s)
{
    s->batch_count = s->row_count = s->want_count = 0;
    s->hidden_wanted = false;
    s->decode_count = decoding_rows(s);
    prefill_rows(s, prefill_budget(s, s->decode_count));
    return s->row_count > 0;
}

/* ---- a token --------------------------------------------------------------------------------- */

static int32_t keep_token(struct fg_sched *s, struct fg_seq *seq, const struct fg_sampled *got,
                          struct fg_error *err)
{
    const struct fg_request *req = seq->job->req;
    struct fg_logprob *top = NULL;
    uint32_t top_count = 0;
    if (req->logprobs && got->top_count) {
        top = malloc(got->top_count * sizeof *top);
        if (top) {
            memcpy(top, got->top, got->top_count * sizeof *top);
            top_count = got->top_count;
        }
    }
    const struct fg_str bytes = fg_vocab_piece(s->p.vocab, got->token, false);
    if (!fg_text_push(&seq->text, got->token, bytes, got->logprob, top, top_count) ||
        !fg_ids_add(&seq->ids, got->token))
        return fg_fail(err, FG_NO_MEMORY, "no memory for the answer");
    fg_sampler_accept(seq->sampler, got->token);
    return FG_OK;
}

static int32_t next_token(struct fg_sched *s, struct fg_seq *seq, float *logits,
                          struct fg_error *err)
{
    struct fg_job *job = seq->job;
    const struct fg_request *req = job->req;
    struct fg_sampled got;
    int32_t rc = fg_sampler_draw(seq->sampler, logits, req->logprobs, req->top_logprobs, &got, err);
    if (rc != FG_OK)
        return rc;
    if (!job->first_ns)
        job->first_ns = fg_clock_ns();
    seq->outputs++;
    s->stats.output_tokens++;
    if (fg_vocab_ends(s->p.vocab, got.token) && !(req->flags & FG_REQ_IGNORE_EOS)) {
        fg_seq_finish(s, seq, FG_END_STOP);
        return FG_OK;
    }
    rc = keep_token(s, seq, &got, err);
    if (rc != FG_OK)
        return rc;
    if (seq->text.stopped)
        fg_seq_finish(s, seq, FG_END_STOP);
    else if (req->max_tokens && seq->outputs >= req->max_tokens)
        fg_seq_finish(s, seq, FG_END_LENGTH);
    else if (seq->ids.len >= s->p.context && !(req->flags & FG_REQ_SHIFT))
        fg_seq_finish(s, seq, FG_END_LENGTH);
    else if (seq->ids.len >= s->p.context)
        fg_seq_slide(s, seq);
    return FG_OK;
}

/* The other answers of a request start when its prompt is in KV: they find it in the tree, so each
 * recomputes one token. */
static int32_t start_choices(struct fg_sched *s, struct fg_seq *first, struct fg_error *err)
{
    struct fg_job *job = first->job;
    for (uint32_t i = 1; i < job->seq_count; i++) {
        struct fg_seq *seq = &job->seqs[i];
        if (seq->state != FG_SEQ_IDLE)
            continue;
        for (size_t j = 0; j < first->ids.len; j++)
            if (!fg_ids_add(&seq->ids, first->ids.ptr[j]))
                return fg_fail(err, FG_NO_MEMORY, "no memory for choice %u", i);
        seq->prompt = first->prompt;
        if (fg_sampler_fork(first->sampler, i, &seq->sampler) != FG_OK)
            return fg_fail(err, FG_NO_MEMORY, "no memory for choice %u", i);
        fg_seq_wait(s, seq);
    }
    return FG_OK;
}

/* ---- embeddings ------------------------------------------------------------------------------ */

static int32_t pool(struct fg_sched *s, struct fg_seq *seq, const float *hidden, uint32_t rows,
                    struct fg_error *err)
{
    if (!seq->values)
        seq->values = calloc(s->width, sizeof *seq->values);
    if (!seq->values)
        return fg_fail(err, FG_NO_MEMORY, "no memory for an embedding");
    for (uint32_t i = 0; i < rows; i++) {
        const float *row = hidden + (size_t)i * s->width;
        const uint32_t position = seq->done + i;
        const bool last = position + 1 == seq->ids.len;
        if ((s->p.pooling == FG_POOL_CLS && position) || (s->p.pooling == FG_POOL_LAST && !last))
            continue;
        for (uint32_t j = 0; j < s->width; j++)
            seq->values[j] += row[j];
    }
    if (seq->done + rows < seq->ids.len)
        return FG_OK;
    const float scale = s->p.pooling == FG_POOL_MEAN ? 1.0f / (float)seq->ids.len : 1.0f;
    for (uint32_t j = 0; j < s->width; j++) {
        seq->values[j] *= scale;
        if (!isfinite(seq->values[j]))
            return fg_fail(err, FG_INTERNAL, "the model gave an embedding that is not finite");
    }
    return FG_OK;
}

/* ---- the step -------------------------------------------------------------------------------- */

static bool make_room(struct fg_sched *s)
{
    if (s->want_count > s->logits_rows) {
        free(s->logits);
        s->logits = malloc((size_t)s->want_count * s->vocab_size * sizeof *s->logits);
        s->logits_rows = s->logits ? s->want_count : 0;
        if (!s->logits)
            return false;
    }
    if (s->hidden_wanted && !s->hidden)
        s->hidden = malloc((size_t)s->max_rows * s->width * sizeof *s->hidden);
    return !s->hidden_wanted || s->hidden;
}

static bool someone_left(void *ctx)
{
    const struct fg_sched *s = ctx;
    for (uint32_t i = 0; i < s->batch_count; i++)
        if (atomic_load_explicit(&s->batch[i]->job->cancelled, memory_order_relaxed))
            return true;
    return false;
}

static int32_t forward(struct fg_sched *s, struct fg_error *err)
{
    if (!make_room(s))
        return fg_fail(err, FG_NO_MEMORY, "no memory for a step of %u rows", s->row_count);
    const struct fg_rows rows = {.count = s->row_count,
                                 .tokens = s->row_token,
                                 .position = s->row_position,
                                 .sequence = s->row_sequence,
                                 .page_table = s->tables};
    const bool may_stop = s->lost_ns < LOST_MOST_MS * FG_NS_PER_MS;
    if (!fg_turn_take(s->p.turn, may_stop ? someone_left : NULL, s))
        return FG_CANCELLED;
    const uint64_t begin = fg_clock_ns();
    const int32_t rc = fg_net_forward(
        s->p.net, &rows, s->want_count ? s->row_want : NULL, s->want_count ? s->logits : NULL,
        s->hidden_wanted ? s->hidden : NULL, may_stop ? someone_left : NULL, s, err);
    const uint64_t took = fg_clock_ns() - begin;
    fg_turn_leave(s->p.turn);
    if (rc == FG_CANCELLED) {
        s->lost_ns += took;
        return rc;
    }
    s->lost_ns -= s->lost_ns < took / 2 ? s->lost_ns : took / 2;
    if (s->row_count >= CHUNK_LEAST) {
        const double now = (double)took / s->row_count;
        s->ns_a_row = s->ns_a_row > 0 ? 0.7 * s->ns_a_row + 0.3 * now : now;
    }
    return rc;
}

/* One sequence's share of a step that succeeded. */
static int32_t advance(struct fg_sched *s, struct fg_seq *seq, uint32_t first_row, float **logits,
                       struct fg_error *err)
{
    struct fg_job *job = seq->job;
    const bool embed = job->req->op == FG_OP_EMBED;
    int32_t rc = FG_OK;
    if (embed)
        rc = pool(s, seq, s->hidden + (size_t)first_row * s->width, seq->rows, err);
    else if (seq->outputs == 0 || seq->rows > 1)
        s->stats.prompt_tokens += seq->rows;
    seq->done += seq->rows;
    fg_chain_publish(&seq->chain, seq->ids.ptr, seq->done);
    if (rc != FG_OK)
        return rc;
    if (seq->done < seq->ids.len) {
        if (seq->outputs == 0 && job->seq_count == 1)
            fg_job_progress_event(job, (float)seq->done / (float)seq->ids.len);
        return FG_OK;
    }
    if (embed) {
        s->stats.prompt_tokens += seq->ids.len;
        fg_seq_finish(s, seq, FG_END_STOP);
        return FG_OK;
    }
    if (job->seq_count > 1 && seq->index == 0)
        rc = start_choices(s, seq, err);
    if (rc == FG_OK)
        rc = next_token(s, seq, *logits, err);
    *logits += s->vocab_size;
    return rc;
}

static void count_step(struct fg_sched *s, int32_t rc)
{
    if (rc == FG_CANCELLED) {
        s->stats.aborted_steps++;
        return;
    }
    s->stats.failed_steps += rc != FG_OK;
    s->stats.steps++;
    s->stats.rows += s->row_count;
    s->stats.decode_rows += s->decode_count;
}

static void tell(struct fg_sched *s, const struct fg_error *err)
{
    char line[320];
    const int n =
        snprintf(line, sizeof line, "step failed rows=%u status=%d reason=\"%.*s\"", s->row_count,
                 err->status, (int)strnlen(err->text, sizeof err->text), err->text);
    if (n > 0)
        s->p.host->log(
            s->p.host, FG_LOG_ERROR,
            (struct fg_str){line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1});
}

bool fg_batch_run(struct fg_sched *s)
{
    struct fg_error err = {0};
    const int32_t rc = forward(s, &err);
    struct fg_job *jobs[FG_MOST_ACTIVE];
    uint32_t job_count = 0, row = 0;
    float *logits = s->logits;
    count_step(s, rc);
    if (rc == FG_CANCELLED)
        return false;
    if (rc != FG_OK)
        tell(s, &err);
    for (uint32_t i = 0; i < s->batch_count; i++) {
        struct fg_seq *seq = s->batch[i];
        struct fg_error own = err;
        int32_t result = rc;
        if (rc == FG_OK)
            result = advance(s, seq, row, &logits, &own);
        row += seq->rows;
        if (result != FG_OK) {
            own.status = result;
            fg_job_fail(seq->job, &own);
        }
        bool known = false; /* choices of one job may lie apart */
        for (uint32_t j = 0; j < job_count; j++)
            known |= jobs[j] == seq->job;
        if (!known)
            jobs[job_count++] = seq->job;
    }
    for (uint32_t i = 0; i < job_count; i++)
        (void)fg_job_flush(jobs[i]);
    return true;
}
