/*
 * The scheduler's doors: opening and closing, and what workers may call about a job.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/sched/inner.h"
#include "util/clock.h"
#include "util/error.h"

enum { LIGHT_MOST = 64 }; /* jobs that only ask for tokens or templates, beside max_running */

static bool find_ends(struct fg_sched *s)
{
    const uint32_t count = fg_vocab_size(s->p.vocab);
    for (int pass = 0; pass < 2; pass++) {
        size_t found = 0;
        for (uint32_t i = 0; i < count; i++)
            if (fg_vocab_ends(s->p.vocab, (int32_t)i)) {
                if (s->ends)
                    s->ends[found] = (int32_t)i;
                found++;
            }
        s->end_count = found;
        if (!s->ends && !(s->ends = malloc((found + 1) * sizeof *s->ends)))
            return false;
    }
    return true;
}

static bool start_threads(struct fg_sched *s)
{
    for (uint32_t lane = 0; lane < FG_LANES; lane++) {
        struct fg_prep_arg *arg = malloc(sizeof *arg);
        if (!arg)
            return false;
        *arg = (struct fg_prep_arg){s, lane};
        if (pthread_create(&s->prep[lane], NULL, fg_prep_main, arg) != 0) {
            free(arg);
            return false;
        }
        s->threads++;
    }
    if (pthread_create(&s->engine, NULL, fg_engine_main, s) != 0)
        return false;
    s->threads++;
    return true;
}

int32_t fg_sched_open(const struct fg_sched_parts *parts, struct fg_sched **out,
                      struct fg_error *err)
{
    struct fg_sched *s = calloc(1, sizeof *s);
    if (!s)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a scheduler");
    s->p = *parts;
    const struct fg_net_info *net = fg_net_info(parts->net);
    s->vocab_size = net->vocab;
    s->tokens = fg_vocab_size(parts->vocab);
    if (s->tokens > s->vocab_size)
        s->tokens = s->vocab_size;
    s->width = net->width;
    s->max_rows = fg_net_max_rows(parts->net);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->stats_lock, NULL);
    pthread_cond_init(&s->engine_wake, NULL);
    for (int i = 0; i < FG_LANES; i++) {
        pthread_cond_init(&s->lane_wake[i], NULL);
        fg_list_init(&s->lanes[i]);
    }
    fg_list_init(&s->inbox);
    fg_list_init(&s->jobs);
    fg_list_init(&s->waiting);
    fg_list_init(&s->active);
    int32_t rc = fg_pages_open(parts->page_tokens, parts->pages, parts->max_cached, &s->pages, err);
    s->row_token = calloc(s->max_rows, sizeof *s->row_token);
    s->row_position = calloc(s->max_rows, sizeof *s->row_position);
    s->row_sequence = calloc(s->max_rows, sizeof *s->row_sequence);
    s->row_want = calloc(s->max_rows, sizeof *s->row_want);
    if (rc == FG_OK &&
        (!s->row_token || !s->row_position || !s->row_sequence || !s->row_want || !find_ends(s)))
        rc = fg_fail(err, FG_NO_MEMORY, "no memory for a scheduler");
    if (rc == FG_OK && s->max_rows <= FG_MOST_ACTIVE)
        rc = fg_fail(err, FG_INTERNAL, "a step of %u rows is too small", s->max_rows);
    if (rc == FG_OK && !start_threads(s))
        rc = fg_fail(err, FG_NO_MEMORY, "no threads to be had");
    if (rc != FG_OK) {
        fg_sched_close(s);
        return rc;
    }
    *out = s;
    return FG_OK;
}

void fg_sched_close(struct fg_sched *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->engine_wake);
    for (int i = 0; i < FG_LANES; i++)
        pthread_cond_signal(&s->lane_wake[i]);
    pthread_mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < s->threads && i < FG_LANES; i++)
        pthread_join(s->prep[i], NULL);
    if (s->threads > FG_LANES)
        pthread_join(s->engine, NULL);
    fg_pages_close(s->pages);
    free(s->ends);
    free(s->row_token);
    free(s->row_position);
    free(s->row_sequence);
    free(s->row_want);
    free(s->logits);
    free(s->hidden);
    for (int i = 0; i < FG_LANES; i++)
        pthread_cond_destroy(&s->lane_wake[i]);
    pthread_cond_destroy(&s->engine_wake);
    pthread_mutex_destroy(&s->stats_lock);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static bool take_slot(_Atomic uint32_t *count, uint32_t most)
{
    if (atomic_fetch_add(count, 1) < most)
        return true;
    atomic_fetch_sub(count, 1);
    return false;
}

static bool is_light(int32_t op)
{
    return op == FG_OP_TOKENIZE || op == FG_OP_DETOKENIZE || op == FG_OP_RENDER;
}

int32_t fg_sched_submit(struct fg_sched *s, const struct fg_request *req, struct fg_stream *stream,
                        struct fg_job **out, struct fg_error *err)
{
    const bool light = is_light(req->op);
    _Atomic uint32_t *slots = light ? &s->light_running : &s->running;
    const uint32_t most = light ? LIGHT_MOST : s->p.max_running;
    if (!take_slot(slots, most))
        return fg_fail(err, FG_BUSY, "all %u slots are taken", most);
    struct fg_job *job = calloc(1, sizeof *job);
    if (!job) {
        atomic_fetch_sub(slots, 1);
        return fg_fail(err, FG_NO_MEMORY, "no memory for a job");
    }
    fg_list_init(&job->node);
    job->sched = s;
    job->req = req;
    job->stream = stream;
    job->light = light;
    job->number = atomic_fetch_add(&s->numbers, 1);
    job->submit_ns = fg_clock_ns();
    job->lane = fg_prep_lane(req);
    atomic_init(&job->refs, 2);
    *out = job; /* before anything may be emitted */
    pthread_mutex_lock(&s->lock);
    fg_list_push(&s->lanes[job->lane], &job->node);
    pthread_cond_signal(&s->lane_wake[job->lane]);
    pthread_mutex_unlock(&s->lock);
    return FG_OK;
}

static void kick(struct fg_sched *s)
{
    s->kicked = true;
    pthread_cond_signal(&s->engine_wake);
}

void fg_sched_resume(struct fg_job *job)
{
    struct fg_sched *s = job->sched;
    atomic_fetch_add(&job->resumes, 1);
    pthread_mutex_lock(&s->lock);
    kick(s);
    pthread_mutex_unlock(&s->lock);
}

void fg_sched_cancel(struct fg_job *job)
{
    struct fg_sched *s = job->sched;
    atomic_store(&job->cancelled, true);
    pthread_mutex_lock(&s->lock);
    if (job->where == FG_AT_LANE) { /* not begun: need not wait for the text in front of it */
        fg_list_remove(&job->node);
        fg_list_push(&s->inbox, &job->node);
        job->where = FG_AT_ENGINE;
    }
    kick(s);
    pthread_mutex_unlock(&s->lock);
}

void fg_job_drop(struct fg_job *job)
{
    if (atomic_fetch_sub(&job->refs, 1) != 1)
        return;
    for (uint32_t i = 0; i < job->seq_count; i++) {
        struct fg_seq *seq = &job->seqs[i];
        fg_ids_done(&seq->ids);
        fg_sampler_close(seq->sampler);
        fg_text_done(&seq->text);
        free(seq->values);
    }
    free(job->seqs);
    fg_ids_done(&job->tokens);
    fg_buf_done(&job->output);
    free(job);
}

void fg_sched_release(struct fg_job *job)
{
    atomic_fetch_sub(job->light ? &job->sched->light_running : &job->sched->running, 1);
    fg_job_drop(job);
}

void fg_sched_stats(struct fg_sched *s, struct fg_sched_stats *out)
{
    pthread_mutex_lock(&s->stats_lock);
    *out = s->stats_out;
    pthread_mutex_unlock(&s->stats_lock);
    out->running_jobs = atomic_load(&s->running);
}
