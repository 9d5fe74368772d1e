/*
 * engine/sched/sched.h - one loaded model at work: takes requests, batches them, emits events.
 *
 * One engine thread a model runs the network; two prep threads render templates and tokenise
 * (short and long texts apart), so that no running stream waits for a long prompt's tokens. The
 * functions about a job are [worker] functions of the contract and return at once.
 */
#ifndef FG_ENGINE_SCHED_H
#define FG_ENGINE_SCHED_H

#include <fluxgate/plugin.h>

#include "engine/chat/template.h"
#include "engine/model/net.h"
#include "engine/sched/turn.h"
#include "engine/token/vocab.h"

struct fg_sched;

enum fg_pooling { FG_POOL_MEAN = 1, FG_POOL_CLS = 2, FG_POOL_LAST = 3 };

struct fg_sched_parts { /* all borrowed until close */
    const struct fg_host *host;
    struct fg_net *net; /* with its KV open: pages of page_tokens */
    const struct fg_vocab *vocab;
    const struct fg_template *chat; /* NULL: chat_error says why */
    const char *chat_error;
    struct fg_turn *turn; /* one step at a time on one machine */
    struct fg_sampling defaults;
    uint32_t context;                /* tokens a job may have */
    uint32_t max_running;            /* jobs that generate or embed */
    uint32_t pages, page_tokens;     /* pages * page_tokens >= context */
    uint32_t max_cached;             /* pages kept for later prompts */
    uint32_t chunk_idle, chunk_busy; /* prefill rows a step: alone, and beside running streams */
    uint32_t inter_token_ms;         /* what a step with prefill beside streams may take; 0: any */
    int32_t pooling;                 /* enum fg_pooling */
};

int32_t fg_sched_open(const struct fg_sched_parts *, struct fg_sched **, struct fg_error *);
void fg_sched_close(struct fg_sched *); /* [control] no job unreleased; joins the threads */

/* FG_BUSY beyond max_running. What the request asks is checked by the caller (engine/job.h). */
int32_t fg_sched_submit(struct fg_sched *, const struct fg_request *, struct fg_stream *,
                        struct fg_job **, struct fg_error *);
void fg_sched_resume(struct fg_job *);
void fg_sched_cancel(struct fg_job *);
void fg_sched_release(struct fg_job *);

struct fg_sched_stats {
    uint64_t prompt_tokens, cached_tokens, output_tokens; /* cached: not computed again */
    uint64_t steps, rows, decode_rows, aborted_steps, preemptions, failed_steps;
    uint32_t active, waiting, running_jobs; /* sequences; jobs unreleased */
    uint32_t pages_total, pages_free, pages_cached, pages_touched;
};
void fg_sched_stats(struct fg_sched *, struct fg_sched_stats *); /* [any] */

#endif
