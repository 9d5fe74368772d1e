/*
 * The engine thread: takes jobs from the inbox, admits sequences while there are pages, runs step
 * after step, sends what came of it; sleeps when nothing can be done.
 *
 * Order is by age throughout. The oldest sequence always advances: when pages run out the youngest
 * goes back to waiting (its pages stay cached, so that coming back costs little unless they were
 * needed), and a context fits into the pages by construction.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "engine/sched/inner.h"
#include "util/clock.h"
#include "util/error.h"

enum { LIGHT_SHARE = 256 }; /* events of one text answer between two steps */

/* ---- sequences between lists ----------------------------------------------------------------- */

static bool older(const struct fg_seq *a, const struct fg_seq *b)
{
    return a->job->number < b->job->number ||
           (a->job->number == b->job->number && a->index < b->index);
}

static void insert_by_age(struct fg_list *list, struct fg_seq *seq)
{
    struct fg_list *after = list->prev;
    while (after != list && older(seq, FG_CONTAINER(after, struct fg_seq, node)))
        after = after->prev;
    fg_list_push_front(after, &seq->node);
}

void fg_seq_wait(struct fg_sched *s, struct fg_seq *seq)
{
    seq->state = FG_SEQ_WAITING;
    insert_by_age(&s->waiting, seq);
    s->waiting_count++;
}

/* Out of whichever list, pages back. */
static void leave(struct fg_sched *s, struct fg_seq *seq)
{
    if (seq->state == FG_SEQ_ACTIVE) {
        s->active_count--;
        fg_chain_end(&seq->chain, seq->ids.ptr, seq->done);
        seq->done = 0;
    } else if (seq->state == FG_SEQ_WAITING) {
        s->waiting_count--;
    }
    fg_list_remove(&seq->node);
}

void fg_seq_preempt(struct fg_sched *s, struct fg_seq *seq)
{
    leave(s, seq);
    fg_seq_wait(s, seq);
    s->stats.preemptions++;
}

/* Recomputing is the simple way that is also exact: positions begin at 0 again. BOS stays. */
void fg_seq_slide(struct fg_sched *s, struct fg_seq *seq)
{
    leave(s, seq); /* with the old ids: what is computed of them stays cached */
    const int32_t bos = fg_vocab_bos(s->p.vocab);
    const size_t head = bos >= 0 && seq->ids.ptr[0] == bos && s->p.context > 4 ? 1 : 0;
    const size_t keep = s->p.context / 2;
    if (seq->ids.len > head + keep) {
        memmove(seq->ids.ptr + head, seq->ids.ptr + seq->ids.len - keep,
                keep * sizeof *seq->ids.ptr);
        seq->ids.len = head + keep;
    }
    fg_seq_wait(s, seq);
}

void fg_seq_finish(struct fg_sched *s, struct fg_seq *seq, int32_t finish)
{
    leave(s, seq);
    seq->state = FG_SEQ_FINISHED;
    seq->finish = finish;
    seq->text.over = true;
}

/* ---- admission ------------------------------------------------------------------------------- */

static bool is_paused(struct fg_job *job)
{
    if (job->paused && atomic_load(&job->resumes) != job->pause_mark)
        job->paused = false;
    return job->paused;
}

/* Without memory for its bookkeeping a sequence may wait for others to end; alone it would wait for
 * ever. */
static bool no_memory(struct fg_sched *s, struct fg_seq *seq)
{
    if (s->active_count == 0) {
        const struct fg_error err = {FG_NO_MEMORY, "no memory for a sequence"};
        fg_job_fail(seq->job, &err);
        s->look = true;
    }
    return false;
}

/* Pages for the whole prompt are taken at once, beside one for each running sequence, so that a
 * newcomer does not push out who is at work. */
static bool admit(struct fg_sched *s, struct fg_seq *seq)
{
    struct fg_job *job = seq->job;
    struct fg_kv_copy copy;
    uint32_t reused;
    const bool alone = (job->req->flags & FG_REQ_NO_CACHE) || job->req->op == FG_OP_EMBED;
    /* Embeddings want every position's hidden state, so nothing of theirs may be reused: each
     * input has a scope of its own. */
    const uint64_t own[2] = {job->number, job->req->op == FG_OP_EMBED ? seq->index + 1u : 0};
    const struct fg_str scope =
        alone ? (struct fg_str){(const char *)own, sizeof own} : job->req->cache_scope;
    const uint32_t len = (uint32_t)seq->ids.len;
    if (fg_chain_start(&seq->chain, s->pages, scope, alone, seq->ids.ptr, len, &copy, &reused) !=
        FG_OK)
        return no_memory(s, seq);
    const struct fg_pages_count have = fg_pages_count(s->pages);
    const uint32_t missing = fg_chain_missing(&seq->chain, len);
    if (missing + s->active_count > have.free + have.cached && s->active_count) {
        fg_chain_end(&seq->chain, seq->ids.ptr, seq->chain.published * s->p.page_tokens);
        return false;
    }
    /* A further choice: the first one's last page is nobody's to find yet, but has the prompt. */
    const struct fg_seq *first = &job->seqs[0];
    if (seq->index && first->state == FG_SEQ_ACTIVE && seq->outputs == 0 && len > 1 &&
        first->done >= len - 1 && reused < len - 1 && job->req->op != FG_OP_EMBED &&
        memcmp(first->ids.ptr, seq->ids.ptr, (len - 1) * sizeof *seq->ids.ptr) == 0 &&
        fg_chain_follow(&seq->chain, &first->chain, len - 1, &copy))
        reused = len - 1;
    if (copy.tokens)
        fg_net_kv_copy(s->p.net, copy.from, copy.to, copy.tokens);
    if (!fg_chain_reserve(&seq->chain, len)) {
        fg_chain_end(&seq->chain, seq->ids.ptr, seq->chain.published * s->p.page_tokens);
        return no_memory(s, seq);
    }
    fg_list_remove(&seq->node);
    s->waiting_count--;
    seq->state = FG_SEQ_ACTIVE;
    seq->done = reused;
    insert_by_age(&s->active, seq);
    s->active_count++;
    s->stats.cached_tokens += reused;
    if (!job->started) {
        job->started = true;
        job->admit_ns = fg_clock_ns();
        job->cached_tokens = reused < seq->prompt ? reused : seq->prompt;
        fg_job_start_event(job);
    }
    return true;
}

bool fg_engine_admit(struct fg_sched *s)
{
    bool any = false;
    FG_LIST_EACH (node, safe, &s->waiting) {
        struct fg_seq *seq = FG_CONTAINER(node, struct fg_seq, node);
        if (s->active_count >= FG_MOST_ACTIVE)
            break;
        if (is_paused(seq->job) || atomic_load(&seq->job->cancelled) || seq->job->failed)
            continue;
        if (!admit(s, seq))
            break; /* first come, first served: who is behind waits too */
        any = true;
    }
    return any;
}

/* Everybody with pages is paused and somebody without could run: the youngest sleeper makes room.
 */
static bool wake_by_preempting(struct fg_sched *s)
{
    bool someone = false;
    FG_LIST_EACH (node, safe, &s->waiting)
        someone |= !is_paused(FG_CONTAINER(node, struct fg_seq, node)->job);
    if (!someone || fg_list_empty(&s->active))
        return false;
    struct fg_seq *youngest = FG_CONTAINER(s->active.prev, struct fg_seq, node);
    if (!is_paused(youngest->job))
        return false;
    fg_seq_preempt(s, youngest);
    return true;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void take(struct fg_sched *s, struct fg_job *job)
{
    fg_list_push(&s->jobs, &job->node);
    if (atomic_load(&job->cancelled)) {
        fg_job_end_cancelled(job);
        return;
    }
    if (job->prep != FG_OK) {
        fg_job_fail(job, &job->prep_error);
        if (!job->light)
            (void)fg_job_flush(job);
        return;
    }
    if (job->light)
        return;
    const uint32_t first = job->req->op == FG_OP_EMBED ? job->seq_count : 1;
    for (uint32_t i = 0; i < first; i++)
        fg_seq_wait(s, &job->seqs[i]);
    /* A resumed answer may have been complete already. */
    struct fg_seq *seq = &job->seqs[0];
    const struct fg_request *req = job->req;
    if (req->op != FG_OP_EMBED && req->resume_count) {
        const bool full = req->max_tokens && seq->outputs >= req->max_tokens;
        const bool beyond = seq->ids.len >= s->p.context;
        if (seq->text.stopped)
            fg_seq_finish(s, seq, FG_END_STOP);
        else if (full || (beyond && !(req->flags & FG_REQ_SHIFT)))
            fg_seq_finish(s, seq, FG_END_LENGTH);
        else if (beyond)
            fg_seq_slide(s, seq);
        if (seq->state == FG_SEQ_FINISHED) {
            job->admit_ns = fg_clock_ns();
            fg_job_start_event(job);
            (void)fg_job_flush(job);
        }
    }
}

/* Waits for something to do when idle; true when cancels or resumes may have come. */
static bool take_inbox(struct fg_sched *s, bool idle, bool *closing)
{
    struct fg_list arrived;
    fg_list_init(&arrived);
    pthread_mutex_lock(&s->lock);
    while (idle && !s->kicked && !s->closing && fg_list_empty(&s->inbox))
        pthread_cond_wait(&s->engine_wake, &s->lock);
    fg_list_take(&arrived, &s->inbox);
    const bool kicked = s->kicked;
    s->kicked = false;
    *closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    for (struct fg_list *node; (node = fg_list_pop(&arrived));)
        take(s, FG_CONTAINER(node, struct fg_job, node));
    return kicked;
}

/* After a kick or a STOP: ends cancelled jobs, lets resumed ones speak. */
static void look_at_all(struct fg_sched *s)
{
    s->look = false;
    FG_LIST_EACH (node, safe, &s->jobs) {
        struct fg_job *job = FG_CONTAINER(node, struct fg_job, node);
        if (!job->light)
            (void)fg_job_flush(job);
        else if (atomic_load(&job->cancelled))
            fg_job_end_cancelled(job);
    }
}

static bool serve_light(struct fg_sched *s)
{
    bool any = false;
    FG_LIST_EACH (node, safe, &s->jobs) {
        struct fg_job *job = FG_CONTAINER(node, struct fg_job, node);
        bool more = false;
        if (job->light && !fg_job_light_flush(job, LIGHT_SHARE, &more))
            any |= more;
    }
    return any;
}

static void publish_stats(struct fg_sched *s)
{
    const struct fg_pages_count pages = fg_pages_count(s->pages);
    pthread_mutex_lock(&s->stats_lock);
    struct fg_sched_stats *st = &s->stats_out;
    *st = s->stats;
    st->active = s->active_count;
    st->waiting = s->waiting_count;
    st->pages_total = pages.total;
    st->pages_free = pages.free;
    st->pages_cached = pages.cached;
    st->pages_touched = pages.touched;
    pthread_mutex_unlock(&s->stats_lock);
}

void *fg_engine_main(void *arg)
{
    struct fg_sched *s = arg;
    bool busy = false, closing = false;
    prctl(PR_SET_NAME, "fg-engine");
    while (!closing) {
        if (take_inbox(s, !busy, &closing) || s->look)
            look_at_all(s);
        busy = serve_light(s);
        busy |= fg_engine_admit(s);
        if (fg_batch_build(s)) {
            if (!fg_batch_run(s))
                look_at_all(s);
            busy = true;
        } else if (wake_by_preempting(s)) {
            busy = true;
        }
        busy |= s->look;
        publish_stats(s);
    }
    return NULL;
}
