/*
 * From a request to token ids, on a prep thread: templates, tokenizing, fitting into the context.
 *
 * Texts are bounded in ids before they are bounded in bytes: encoding stops soon after the context
 * is passed, so a 30 MB prompt costs little more than one that fits. Two threads a model, because
 * a long text would keep short ones waiting: a lane each.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "engine/sched/inner.h"
#include "util/arena.h"
#include "util/error.h"

enum {
    SHORT_TEXT = 64 << 10,
    ARENA_MOST = 256 << 20,
    TOKENIZE_MOST = 2 << 20, /* ids: about a second of work */
};
#define CPU_MOST_NS 2000000000ull

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static size_t text_bytes(const struct fg_request *req)
{
    size_t sum = (size_t)req->input_token_count * sizeof(int32_t);
    for (uint32_t i = 0; i < req->input_count; i++)
        sum += req->inputs[i].len;
    for (uint32_t i = 0; i < req->message_count; i++)
        for (uint32_t j = 0; j < req->messages[i].part_count; j++)
            sum += req->messages[i].parts[j].data.len;
    return sum;
}

uint32_t fg_prep_lane(const struct fg_request *req)
{
    return text_bytes(req) > SHORT_TEXT ? 1 : 0;
}

/* Ids beyond which a text is not counted further: far above any prompt that could be cut to fit,
 * and small enough to stay within the CPU limit. */
static size_t count_limit(const struct fg_sched *s)
{
    return (size_t)s->p.context * 8 + 16384;
}

static int32_t too_long(struct fg_job *job, size_t tokens, bool exact, struct fg_error *err)
{
    job->prompt_tokens = (uint32_t)tokens;
    return fg_fail(err, FG_TOO_LONG, "the prompt has %s%zu tokens, the context is %u",
                   exact ? "" : "more than ", tokens, job->sched->p.context);
}

static int32_t encode(struct fg_job *job, const struct fg_piece *pieces, size_t count, bool bos,
                      struct fg_ids *out, struct fg_error *err)
{
    const size_t limit = count_limit(job->sched);
    int32_t rc = fg_vocab_encode(job->sched->p.vocab, pieces, count, bos, limit, out, err);
    if (rc == FG_TOO_LONG)
        rc = too_long(job, limit, false, err);
    return rc;
}

/* ---- CHAT ------------------------------------------------------------------------------------ */

static int32_t need_template(const struct fg_sched *s, struct fg_error *err)
{
    if (s->p.chat)
        return FG_OK;
    return fg_fail(err, FG_INVALID, "chat template failed: %s", s->p.chat_error);
}

static int32_t render(struct fg_job *job, const struct fg_message *messages, uint32_t count,
                      struct fg_arena *arena, struct fg_template_output *out, struct fg_error *err)
{
    const struct fg_sched *s = job->sched;
    const struct fg_vocab *v = s->p.vocab;
    const struct fg_template_input in = {
        .messages = messages,
        .message_count = count,
        .add_generation_prompt = !count || messages[count - 1].role != FG_ROLE_ASSISTANT,
        .bos = fg_vocab_piece(v, fg_vocab_bos(v), true),
        .eos = fg_vocab_piece(v, fg_vocab_eos(v), true),
        .thinking = job->req->thinking,
    };
    struct fg_error why = {0};
    const int32_t rc = fg_template_render(s->p.chat, &in, arena, out, &why);
    if (rc == FG_OK)
        return FG_OK;
    return fg_fail(err, rc, "chat template failed: %.*s", (int)strnlen(why.text, sizeof why.text),
                   why.text);
}

/* The template often writes BOS itself: then none is added. */
static int32_t encode_chat(struct fg_job *job, const struct fg_message *messages, uint32_t count,
                           struct fg_ids *out, struct fg_error *err)
{
    const struct fg_vocab *v = job->sched->p.vocab;
    struct fg_arena *arena = fg_arena_open(0, ARENA_MOST);
    if (!arena)
        return fg_fail(err, FG_NO_MEMORY, "no memory to render the chat template");
    struct fg_template_output text = {0};
    int32_t rc = render(job, messages, count, arena, &text, err);
    out->len = 0;
    if (rc == FG_OK && fg_vocab_adds_bos(v) && fg_vocab_bos(v) >= 0 &&
        !fg_ids_add(out, fg_vocab_bos(v)))
        rc = fg_fail(err, FG_NO_MEMORY, "no memory for a prompt");
    const size_t own = out->len;
    if (rc == FG_OK)
        rc = encode(job, text.pieces, text.count, false, out, err);
    if (rc == FG_OK && own && out->len > own && out->ptr[own] == out->ptr[0]) {
        memmove(out->ptr, out->ptr + own, (out->len - own) * sizeof *out->ptr);
        out->len -= own;
    }
    fg_arena_close(arena);
    return rc;
}

/* Without the `drop` oldest messages; system messages and the last one stay. */
static uint32_t without_oldest(const struct fg_request *req, uint32_t drop, struct fg_message *to)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < req->message_count; i++) {
        const bool stays = req->messages[i].role == FG_ROLE_SYSTEM || i + 1 == req->message_count;
        if (!stays && drop) {
            drop--;
            continue;
        }
        to[count++] = req->messages[i];
    }
    return count;
}

/* How few messages must go: looked for by halving, as each look renders and tokenises anew. A
 * template that refuses a remainder (roles must alternate) counts as one that is too long. Finds
 * nothing: *out stays. */
static int32_t fit_chat(struct fg_job *job, size_t limit, struct fg_ids *out, struct fg_error *err)
{
    const struct fg_request *req = job->req;
    struct fg_message *some = malloc(req->message_count * sizeof *some);
    if (!some)
        return fg_fail(err, FG_NO_MEMORY, "no memory for %u messages", req->message_count);
    uint32_t low = 1, high = 0; /* the answer is in low..high, if there is one */
    for (uint32_t i = 0; i + 1 < req->message_count; i++)
        high += req->messages[i].role != FG_ROLE_SYSTEM;
    struct fg_ids now = {0};
    int32_t rc = FG_OK;
    bool found = false;
    const uint64_t since = cpu_ns();
    while (low <= high && rc != FG_NO_MEMORY) {
        if (atomic_load(&job->cancelled) || cpu_ns() - since > CPU_MOST_NS)
            break;
        const uint32_t middle = low + (high - low) / 2;
        rc = encode_chat(job, some, without_oldest(req, middle, some), &now, err);
        if (rc == FG_OK && now.len <= limit) {
            const struct fg_ids swap = *out;
            *out = now;
            now = swap;
            found = true;
            high = middle - 1;
        } else {
            low = middle + 1;
        }
    }
    free(some);
    fg_ids_done(&now);
    return found ? FG_OK : rc == FG_NO_MEMORY ? rc : FG_TOO_LONG;
}

static int32_t prepare_messages(struct fg_job *job, struct fg_ids *out, struct fg_error *err)
{
    const struct fg_request *req = job->req;
    const size_t limit = job->sched->p.context - 1;
    int32_t rc = need_template(job->sched, err);
    if (rc == FG_OK)
        rc = encode_chat(job, req->messages, req->message_count, out, err);
    const bool exact = rc == FG_OK;
    if ((rc == FG_OK && out->len <= limit) || (rc != FG_OK && rc != FG_TOO_LONG))
        return rc;
    const size_t tokens = exact ? out->len : count_limit(job->sched);
    if (!(req->flags & FG_REQ_TRUNCATE))
        return too_long(job, tokens, exact, err);
    rc = fit_chat(job, limit, out, err);
    return rc == FG_TOO_LONG ? too_long(job, tokens, exact, err) : rc;
}

static int32_t add_given(const struct fg_job *job, uint32_t from, struct fg_ids *out,
                         struct fg_error *err)
{
    const struct fg_request *req = job->req;
    for (uint32_t i = from; i < req->input_token_count; i++) {
        const int32_t id = req->input_tokens[i];
        if (id < 0 || (uint32_t)id >= fg_vocab_size(job->sched->p.vocab))
            return fg_fail(err, FG_INVALID, "token %d is not in the vocabulary", id);
        if (!fg_ids_add(out, id))
            return fg_fail(err, FG_NO_MEMORY, "no memory for a prompt");
    }
    return FG_OK;
}

/* Given ids are an earlier conversation: they stand in front, the oldest go when there are too
 * many. A BOS that was added before the messages would stand in the middle then. */
static int32_t prepare_chat(struct fg_job *job, struct fg_ids *out, struct fg_error *err)
{
    const struct fg_request *req = job->req;
    const size_t limit = job->sched->p.context - 1;
    const int32_t rc = prepare_messages(job, out, err);
    if (rc != FG_OK || !req->input_token_count)
        return rc;
    const struct fg_vocab *v = job->sched->p.vocab;
    const size_t skip = fg_vocab_adds_bos(v) && out->len && out->ptr[0] == fg_vocab_bos(v);
    const size_t whole = req->input_token_count + out->len - skip;
    if (whole > limit && !(req->flags & FG_REQ_TRUNCATE))
        return too_long(job, whole, true, err);
    const uint32_t from = whole > limit ? (uint32_t)(whole - limit) : 0;
    struct fg_ids all = {0};
    int32_t given = add_given(job, from, &all, err);
    for (size_t i = skip; i < out->len && given == FG_OK; i++)
        if (!fg_ids_add(&all, out->ptr[i]))
            given = fg_fail(err, FG_NO_MEMORY, "no memory for a prompt");
    const struct fg_ids swap = *out;
    *out = all;
    all = swap;
    fg_ids_done(&all);
    return given;
}

/* ---- COMPLETE -------------------------------------------------------------------------------- */

/* Of a text too long to tokenise whole: its two ends, enough of each to fill a context. A prompt
 * cut in the middle keeps nothing of what lies between. */
static int32_t encode_ends(struct fg_job *job, struct fg_str text, bool special, bool bos,
                           struct fg_ids *out, struct fg_error *err)
{
    size_t part = (size_t)job->sched->p.context * 16;
    if (part > text.len / 2)
        part = text.len / 2;
    bool broken;
    const size_t head = fg_utf8_valid((struct fg_str){text.ptr, part}, &broken);
    size_t tail = text.len - part;
    while (tail < text.len && ((unsigned char)text.ptr[tail] & 0xc0) == 0x80)
        tail++;
    const struct fg_piece pieces[2] = {
        {{text.ptr, head}, special},
        {{text.ptr + tail, text.len - tail}, special},
    };
    return fg_vocab_encode(job->sched->p.vocab, pieces, 2, bos, 0, out, err);
}

static void cut_middle(struct fg_ids *ids, size_t limit)
{
    const size_t head = limit / 2, tail = limit - head;
    memmove(ids->ptr + head, ids->ptr + ids->len - tail, tail * sizeof *ids->ptr);
    ids->len = limit;
}

static int32_t encode_prompt(struct fg_job *job, struct fg_ids *out, bool *whole,
                             struct fg_error *err)
{
    const struct fg_request *req = job->req;
    const bool special = req->flags & FG_REQ_SPECIAL;
    bool bos = req->flags & FG_REQ_BOS;
    const int32_t given = add_given(job, 0, out, err);
    if (given != FG_OK)
        return given;
    bos = bos && out->len == 0; /* given ids stand in front and are taken as they are */
    const struct fg_piece piece = {req->input_count ? req->inputs[0] : FG_STR(""), special};
    const size_t before = out->len;
    if (piece.text.len == 0 && !bos)
        return FG_OK;
    const int32_t rc = encode(job, &piece, 1, bos, out, err);
    *whole = rc == FG_OK;
    if (rc != FG_TOO_LONG || !(req->flags & FG_REQ_TRUNCATE))
        return rc;
    out->len = before;
    return encode_ends(job, piece.text, special, bos, out, err);
}

static int32_t prepare_prompt(struct fg_job *job, struct fg_ids *out, struct fg_error *err)
{
    const struct fg_request *req = job->req;
    const struct fg_sched *s = job->sched;
    const uint32_t context = s->p.context;
    bool whole = true;
    const int32_t rc = encode_prompt(job, out, &whole, err);
    if (rc != FG_OK)
        return rc;
    if (out->len == 0) { /* nothing to go on from: the model's own start */
        const int32_t start =
            fg_vocab_bos(s->p.vocab) >= 0 ? fg_vocab_bos(s->p.vocab) : fg_vocab_eos(s->p.vocab);
        if (start < 0)
            return fg_fail(err, FG_INVALID, "the prompt is empty");
        return fg_ids_add(out, start) ? FG_OK : fg_fail(err, FG_NO_MEMORY, "no memory");
    }
    if (out->len < context)
        return FG_OK;
    if (!(req->flags & FG_REQ_TRUNCATE))
        return too_long(job, out->len, whole, err);
    /* Without shifting, an answer needs room: an eighth of the context, or what was asked. */
    uint32_t room = 1;
    if (!(req->flags & FG_REQ_SHIFT))
        room = req->max_tokens && req->max_tokens < context / 8 ? req->max_tokens : context / 8;
    cut_middle(out, context - (room ? room : 1));
    return FG_OK;
}

/* ---- sequences ------------------------------------------------------------------------------- */

static int32_t open_sequences(struct fg_job *job, uint32_t count, struct fg_error *err)
{
    job->seqs = calloc(count, sizeof *job->seqs);
    if (!job->seqs)
        return fg_fail(err, FG_NO_MEMORY, "no memory for %u sequences", count);
    job->seq_count = job->unreported = count;
    for (uint32_t i = 0; i < count; i++) {
        struct fg_seq *seq = &job->seqs[i];
        seq->job = job;
        seq->index = i;
        fg_list_init(&seq->node);
        fg_text_init(&seq->text, job->req->stops, job->req->stop_count);
    }
    return FG_OK;
}

/* Output that another backend already delivered: part of the history, its text not sent again. */
static int32_t resume(struct fg_job *job, struct fg_seq *seq, struct fg_error *err)
{
    const struct fg_request *req = job->req;
    const struct fg_vocab *v = job->sched->p.vocab;
    struct fg_text_part part;
    for (uint32_t i = 0; i < req->resume_count; i++) {
        const int32_t id = req->resume_tokens[i];
        if (id < 0 || (uint32_t)id >= fg_vocab_size(v))
            return fg_fail(err, FG_INVALID, "token %d is not in the vocabulary", id);
        if (!fg_ids_add(&seq->ids, id) ||
            !fg_text_push(&seq->text, id, fg_vocab_piece(v, id, false), 0, NULL, 0))
            return fg_fail(err, FG_NO_MEMORY, "no memory for a prompt");
        (void)fg_text_take(&seq->text, &part);
    }
    seq->outputs = req->resume_count;
    return FG_OK;
}

static int32_t prepare_answer(struct fg_job *job, struct fg_error *err)
{
    const struct fg_request *req = job->req;
    const struct fg_sched *s = job->sched;
    int32_t rc = open_sequences(job, req->choices ? req->choices : 1, err);
    if (rc != FG_OK)
        return rc;
    struct fg_seq *seq = &job->seqs[0];
    rc = req->op == FG_OP_CHAT ? prepare_chat(job, &seq->ids, err)
                               : prepare_prompt(job, &seq->ids, err);
    if (rc != FG_OK)
        return rc;
    if (seq->ids.len == 0)
        return fg_fail(err, FG_INVALID, "the prompt is empty");
    seq->prompt = job->prompt_tokens = (uint32_t)seq->ids.len;
    rc = resume(job, seq, err);
    if (rc == FG_OK)
        rc = fg_sampler_open(&s->p.defaults, req->sampling, s->tokens, &seq->sampler, err);
    if (rc != FG_OK)
        return rc;
    if ((req->flags & FG_REQ_IGNORE_EOS) &&
        fg_sampler_forbid(seq->sampler, s->ends, s->end_count) != FG_OK)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a sampler");
    for (size_t i = 0; i < seq->ids.len; i++)
        fg_sampler_accept(seq->sampler, seq->ids.ptr[i]);
    return FG_OK;
}

static int32_t prepare_embedding(struct fg_job *job, struct fg_error *err)
{
    const struct fg_request *req = job->req;
    const uint32_t context = job->sched->p.context;
    const uint64_t since = cpu_ns();
    uint32_t tokens = 0;
    int32_t rc = open_sequences(job, req->input_count, err);
    for (uint32_t i = 0; rc == FG_OK && i < req->input_count; i++) {
        struct fg_seq *seq = &job->seqs[i];
        if (atomic_load(&job->cancelled))
            return FG_CANCELLED;
        if (cpu_ns() - since > CPU_MOST_NS)
            return fg_fail(err, FG_INVALID, "the inputs take too long to tokenise");
        const struct fg_piece piece = {req->inputs[i], req->flags & FG_REQ_SPECIAL};
        rc = encode(job, &piece, 1, req->flags & FG_REQ_BOS, &seq->ids, err);
        const bool cut = rc == FG_TOO_LONG;
        if (cut && (req->flags & FG_REQ_TRUNCATE)) { /* only its beginning counts anyway */
            seq->ids.len = 0;
            bool broken;
            const struct fg_str head = {piece.text.ptr, (size_t)context * 16 < piece.text.len
                                                            ? (size_t)context * 16
                                                            : piece.text.len};
            const struct fg_piece part = {{head.ptr, fg_utf8_valid(head, &broken)}, piece.special};
            rc = fg_vocab_encode(job->sched->p.vocab, &part, 1, req->flags & FG_REQ_BOS, 0,
                                 &seq->ids, err);
        }
        if (rc != FG_OK)
            return rc;
        if (seq->ids.len == 0)
            return fg_fail(err, FG_INVALID, "input %u is empty", i);
        if (seq->ids.len > context && !(req->flags & FG_REQ_TRUNCATE))
            return too_long(job, seq->ids.len, true, err);
        if (seq->ids.len > context)
            seq->ids.len = context;
        seq->prompt = (uint32_t)seq->ids.len;
        tokens += seq->prompt;
    }
    job->prompt_tokens = tokens;
    return rc;
}

/* ---- answers without the network ------------------------------------------------------------- */

static int32_t tokenize(struct fg_job *job, struct fg_error *err)
{
    const struct fg_request *req = job->req;
    const struct fg_piece piece = {req->input_count ? req->inputs[0] : FG_STR(""),
                                   req->flags & FG_REQ_SPECIAL};
    int32_t rc = fg_vocab_encode(job->sched->p.vocab, &piece, 1, req->flags & FG_REQ_BOS,
                                 TOKENIZE_MOST, &job->tokens, err);
    if (rc == FG_TOO_LONG)
        rc = fg_fail(err, FG_INVALID, "the text has more than %d tokens", TOKENIZE_MOST);
    job->prompt_tokens = (uint32_t)job->tokens.len;
    return rc;
}

static int32_t detokenize(struct fg_job *job, struct fg_error *err)
{
    const struct fg_request *req = job->req;
    const struct fg_vocab *v = job->sched->p.vocab;
    struct fg_buf raw = {0};
    bool first = fg_vocab_strips_first_blank(v), ok = true;
    for (uint32_t i = 0; ok && i < req->input_token_count; i++) {
        const int32_t id = req->input_tokens[i];
        struct fg_str bytes = fg_vocab_piece(v, id, true);
        if (first && fg_vocab_piece(v, id, false).len) { /* not a control token: the text begins */
            first = false;
            if (bytes.len && bytes.ptr[0] == ' ')
                bytes = fg_str_from(bytes, 1);
        }
        ok = bytes.len == 0 || fg_buf_add(&raw, bytes);
    }
    size_t used;
    ok = ok && fg_text_clean(fg_buf_str(&raw), true, &job->output, &used);
    fg_buf_done(&raw);
    return ok ? FG_OK : fg_fail(err, FG_NO_MEMORY, "the text is too long");
}

static int32_t show_template(struct fg_job *job, struct fg_error *err)
{
    int32_t rc = need_template(job->sched, err);
    if (rc != FG_OK)
        return rc;
    struct fg_arena *arena = fg_arena_open(0, ARENA_MOST);
    if (!arena)
        return fg_fail(err, FG_NO_MEMORY, "no memory to render the chat template");
    struct fg_template_output text = {0};
    rc = render(job, job->req->messages, job->req->message_count, arena, &text, err);
    for (size_t i = 0; rc == FG_OK && i < text.count; i++)
        if (text.pieces[i].text.len && !fg_buf_add(&job->output, text.pieces[i].text))
            rc = fg_fail(err, FG_NO_MEMORY, "no memory for the rendered template");
    fg_arena_close(arena);
    return rc;
}

void fg_prep_job(struct fg_job *job)
{
    struct fg_error *err = &job->prep_error;
    switch (job->req->op) {
    case FG_OP_CHAT:
    case FG_OP_COMPLETE:
        job->prep = prepare_answer(job, err);
        break;
    case FG_OP_EMBED:
        job->prep = prepare_embedding(job, err);
        break;
    case FG_OP_TOKENIZE:
        job->prep = tokenize(job, err);
        break;
    case FG_OP_DETOKENIZE:
        job->prep = detokenize(job, err);
        break;
    case FG_OP_RENDER:
        job->prep = show_template(job, err);
        break;
    default:
        job->prep = fg_fail(err, FG_UNSUPPORTED, "operation %d is not supported", job->req->op);
    }
    err->status = job->prep;
}

void *fg_prep_main(void *arg)
{
    const struct fg_prep_arg given = *(struct fg_prep_arg *)arg;
    struct fg_sched *s = given.sched;
    free(arg);
    prctl(PR_SET_NAME, "fg-prep");
    pthread_mutex_lock(&s->lock);
    for (;;) {
        struct fg_list *node = fg_list_pop(&s->lanes[given.lane]);
        if (!node && s->closing)
            break;
        if (!node) {
            pthread_cond_wait(&s->lane_wake[given.lane], &s->lock);
            continue;
        }
        struct fg_job *job = FG_CONTAINER(node, struct fg_job, node);
        job->where = FG_AT_PREP;
        pthread_mutex_unlock(&s->lock);
        fg_prep_job(job);
        pthread_mutex_lock(&s->lock);
        job->where = FG_AT_ENGINE;
        fg_list_push(&s->inbox, &job->node);
        pthread_cond_signal(&s->engine_wake);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
