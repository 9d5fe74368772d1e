/*
 * What a request will be answered, worked out whole when it comes: the tokens and how many of them,
 * where a stop string cuts them, the text of a rendering, how long the prompt is. say.c only walks
 * along it. Runs on a worker, so what takes long is bounded: prompts beyond 4 KiB are estimated.
 */
#include "fake/fake.h"

#include <stdlib.h>
#include <string.h>

#include "util/error.h"

enum { ROLE_TOKENS = 3 /* around each message */, MAX_STOP_TEXT = 16 << 20 };

static int32_t no_memory(struct fg_error *err)
{
    return fg_fail(err, FG_NO_MEMORY, "fake: no memory for a job");
}

/* ---- embeddings ------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t x) /* splitmix64 */
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static void add_word(struct fg_str word, float *values, uint32_t count)
{
    uint64_t state = fg_str_hash(word);
    for (uint32_t i = 0; i < count; i++) {
        state = mix(state);
        values[i] += (float)((double)(state >> 11) / 9007199254740992.0 * 2 - 1);
    }
}

void fg_fake_embed(struct fg_str text, float *values, uint32_t count)
{
    memset(values, 0, count * sizeof *values);
    size_t at = 0;
    for (uint32_t words = 0; at < text.len && words < 256; words++) {
        size_t end = at;
        while (end < text.len && text.ptr[end] != ' ')
            end++;
        add_word((struct fg_str){text.ptr + at, end - at}, values, count);
        at = end + 1;
    }
    if (!text.len)
        add_word(text, values, count);
}

/* ---- the prompt ------------------------------------------------------------------------------ */

static const char *role_name(int32_t role)
{
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    return role >= 0 && role < 4 ? names[role] : "other";
}

static bool render(const struct fg_request *r, struct fg_buf *to)
{
    for (uint32_t i = 0; i < r->message_count; i++) {
        const struct fg_message *m = &r->messages[i];
        fg_buf_printf(to, "<|%s|>\n", role_name(m->role));
        for (uint32_t p = 0; p < m->part_count; p++)
            if (m->parts[p].kind == FG_PART_TEXT)
                fg_buf_add(to, m->parts[p].data);
        const bool is_last = i + 1 == r->message_count;
        if (!is_last || m->role != FG_ROLE_ASSISTANT)
            fg_buf_addc(to, '\n');
        if (is_last && m->role != FG_ROLE_ASSISTANT)
            fg_buf_printf(to, "<|assistant|>\n");
    }
    return !to->failed;
}

static uint32_t prompt_tokens(const struct fg_job *job)
{
    const struct fg_request *r = job->request;
    const struct fg_fake_vocab *v = job->model->vocab;
    uint64_t n = r->op <= FG_OP_COMPLETE ? r->input_token_count : 0;
    for (uint32_t i = 0; i < r->message_count; i++) {
        n += ROLE_TOKENS;
        for (uint32_t p = 0; p < r->messages[i].part_count; p++)
            n += fg_fake_count(v, r->messages[i].parts[p].data);
    }
    for (uint32_t i = 0; i < r->input_count; i++)
        n += fg_fake_count(v, r->inputs[i]);
    return n < UINT32_MAX / 2 ? (uint32_t)n : UINT32_MAX / 2;
}

/* What the last user said, or the prompt. */
static void add_asked(struct fg_job *job)
{
    const struct fg_request *r = job->request;
    const struct fg_fake_vocab *v = job->model->vocab;
    uint32_t last = r->message_count;
    if (r->op == FG_OP_COMPLETE && r->input_count)
        fg_fake_tokenize(v, r->inputs[0], &job->own);
    while (last > 0 && r->messages[last - 1].role != FG_ROLE_USER)
        last--;
    for (uint32_t p = 0; last > 0 && p < r->messages[last - 1].part_count; p++)
        if (r->messages[last - 1].parts[p].kind == FG_PART_TEXT)
            fg_fake_tokenize(v, r->messages[last - 1].parts[p].data, &job->own);
}

/* As tokens; the rest of a prompt that is given in tokens comes behind them. */
static bool fill_prompt_ids(struct fg_job *job)
{
    const struct fg_request *r = job->request;
    const struct fg_fake_vocab *v = job->model->vocab;
    struct fg_buf text = {.limit = MAX_STOP_TEXT};
    for (uint32_t i = 0; i < r->input_token_count; i++)
        fg_fake_ids_add(&job->prompt, r->input_tokens[i]);
    if (r->op == FG_OP_COMPLETE && r->input_count)
        fg_fake_tokenize(v, r->inputs[0], &job->prompt);
    else if (render(r, &text))
        fg_fake_tokenize(v, fg_buf_str(&text), &job->prompt);
    const bool failed = job->prompt.failed || text.failed;
    fg_buf_done(&text);
    return !failed;
}

/* ---- generating ------------------------------------------------------------------------------ */

static int32_t find_stop(struct fg_job *job, struct fg_error *err)
{
    const struct fg_request *r = job->request;
    struct fg_buf all = {.limit = MAX_STOP_TEXT};
    size_t best = SIZE_MAX;
    for (uint32_t i = job->at; i < job->length; i++)
        if (!fg_buf_add(&all, fg_fake_vocab_piece(job->model->vocab, job->ids[i % job->id_count])))
            break;
    for (uint32_t i = 0; i < r->stop_count && all.len; i++) {
        const struct fg_str s = r->stops[i];
        const char *hit = s.len ? memmem(all.ptr, all.len, s.ptr, s.len) : NULL;
        if (hit && (size_t)(hit - all.ptr) < best) {
            best = (size_t)(hit - all.ptr);
            job->stop = s;
        }
    }
    const bool failed = all.failed;
    fg_buf_done(&all);
    job->byte_limit = best;
    return failed ? no_memory(err) : FG_OK;
}

static int32_t choose_ids(struct fg_job *job, struct fg_error *err)
{
    job->ids = job->model->answer.ids;
    job->id_count = job->model->answer.count;
    if (!job->model->script->echo)
        return FG_OK;
    add_asked(job);
    job->ids = job->own.ids;
    job->id_count = job->own.count;
    return job->own.failed ? no_memory(err) : FG_OK;
}

static void choose_length(struct fg_job *job)
{
    const struct fg_request *r = job->request;
    const struct fg_fake_script *s = job->model->script;
    const uint32_t prompt = job->usage.prompt_tokens;
    const uint32_t room = job->model->context > prompt ? job->model->context - prompt : 0;
    const bool endless = r->flags & FG_REQ_IGNORE_EOS;
    const uint32_t whole = endless ? UINT32_MAX : s->tokens ? (uint32_t)s->tokens : job->id_count;
    const uint32_t skip = r->resume_count; /* were delivered before, and count */
    job->end_code = FG_END_STOP;
    job->length = whole;
    if (r->max_tokens && r->max_tokens < job->length) {
        job->length = r->max_tokens;
        job->end_code = FG_END_LENGTH;
    }
    if (room < job->length && !(r->flags & FG_REQ_SHIFT)) {
        job->length = room;
        job->end_code = FG_END_LENGTH;
    }
    if (!job->id_count)
        job->length = 0;
    job->at = skip < job->length ? skip : job->length;
    job->usage.output_tokens = job->resumed = job->at;
}

/* For load tools that measure how long a chunk is under way: the request says how many chunks, and
 * as its seed how many microseconds apart. */
static void choose_stamps(struct fg_job *job)
{
    enum { CHUNKS = 64, MOST_US = 60000000 };
    const struct fg_request *r = job->request;
    if (!job->model->script->stamps || !r->sampling || !(r->sampling->set & FG_SET_SEED))
        return;
    const uint64_t us = r->sampling->seed < MOST_US ? r->sampling->seed : MOST_US;
    job->stamps = true;
    job->pace_ns = (double)us * 1000;
    job->length = r->max_tokens ? r->max_tokens : CHUNKS;
    job->end_code = FG_END_STOP;
}

static int32_t make_room(struct fg_job *job, struct fg_error *err)
{
    const struct fg_request *r = job->request;
    if (!r->logprobs)
        return FG_OK;
    const size_t each = 1 + (size_t)r->top_logprobs;
    /* A character may need up to three tokens more than the chunk. */
    job->logprobs = calloc((size_t)job->model->script->chunk + 4, each * sizeof *job->logprobs);
    return job->logprobs ? FG_OK : no_memory(err);
}

static int32_t generate(struct fg_job *job, struct fg_error *err)
{
    const struct fg_request *r = job->request;
    int32_t rc = choose_ids(job, err);
    if (rc != FG_OK)
        return rc;
    if (r->flags & FG_REQ_PROMPT_IDS && !fill_prompt_ids(job))
        return no_memory(err);
    job->pace_ns =
        job->model->script->tokens_per_s > 0 ? 1e9 / job->model->script->tokens_per_s : 0;
    choose_length(job);
    choose_stamps(job);
    job->choices = r->choices ? r->choices : 1;
    if (r->stop_count)
        rc = find_stop(job, err);
    return rc == FG_OK ? make_room(job, err) : rc;
}

/* ---- the other operations -------------------------------------------------------------------- */

static int32_t embed(struct fg_job *job, struct fg_error *err)
{
    job->values = calloc((size_t)job->model->script->embedding, sizeof *job->values);
    job->length = job->request->input_count;
    return job->values ? FG_OK : no_memory(err);
}

static int32_t tokenize(struct fg_job *job, struct fg_error *err)
{
    const struct fg_request *r = job->request;
    if (r->input_count)
        fg_fake_tokenize(job->model->vocab, r->inputs[0], &job->own);
    job->ids = job->own.ids;
    job->length = job->id_count = job->own.count;
    return job->own.failed ? no_memory(err) : FG_OK;
}

/* Bytes that are no UTF-8 become U+FFFD: an event has whole characters only. */
static bool add_clean(struct fg_buf *to, struct fg_str raw)
{
    while (raw.len) {
        bool broken = false;
        const size_t good = fg_utf8_valid(raw, &broken);
        fg_buf_add(to, (struct fg_str){raw.ptr, good});
        if (good < raw.len)
            fg_buf_add(to, FG_STR("\xEF\xBF\xBD"));
        raw = fg_str_from(raw, good < raw.len ? good + 1 : good);
    }
    return !to->failed;
}

static int32_t detokenize(struct fg_job *job, struct fg_error *err)
{
    const struct fg_request *r = job->request;
    const struct fg_fake_vocab *v = job->model->vocab;
    struct fg_buf raw = {.limit = MAX_STOP_TEXT};
    for (uint32_t i = 0; i < r->input_token_count; i++) {
        fg_buf_add(&raw, fg_fake_vocab_piece(v, r->input_tokens[i]));
    }
    const bool good = !raw.failed && add_clean(&job->text, fg_buf_str(&raw));
    fg_buf_done(&raw);
    return good ? FG_OK : no_memory(err);
}

static bool can(const struct fg_job *job, uint32_t bit)
{
    return (uint32_t)job->model->script->can & bit;
}

static int32_t refuse_parts(const struct fg_job *job, struct fg_error *err)
{
    const struct fg_request *r = job->request;
    if (r->tool_count || r->schema_json.len)
        return fg_fail(err, FG_UNSUPPORTED, "fake: tools and schemas are not supported");
    if (r->logprobs && !can(job, FG_CAN_LOGPROBS))
        return fg_fail(err, FG_UNSUPPORTED, "fake: this model has no logprobs");
    if (r->top_logprobs > 64)
        return fg_fail(err, FG_INVALID, "fake: top_logprobs is above 64");
    if (r->choices > 1024)
        return fg_fail(err, FG_INVALID, "fake: more than 1024 choices");
    for (uint32_t i = 0; i < r->message_count; i++)
        for (uint32_t p = 0; p < r->messages[i].part_count; p++)
            if (r->messages[i].parts[p].kind == FG_PART_IMAGE)
                return fg_fail(err, FG_UNSUPPORTED, "fake: this model cannot see");
    if (r->op == FG_OP_CHAT && !r->message_count)
        return fg_fail(err, FG_INVALID, "fake: a chat needs a message");
    return FG_OK;
}

/* One token of room must be left to answer in; TRUNCATE makes it half the context. */
static void fit_prompt(struct fg_job *job)
{
    const struct fg_request *r = job->request;
    const uint32_t context = job->model->context;
    if (r->op > FG_OP_EMBED || job->usage.prompt_tokens < context)
        return;
    if (r->flags & FG_REQ_TRUNCATE)
        job->usage.prompt_tokens = context / 2;
    else
        job->is_too_long = true;
}

int32_t fg_fake_answer(struct fg_job *job, struct fg_error *err)
{
    const struct fg_request *r = job->request;
    static const uint32_t needs[] = {
        [FG_OP_CHAT] = FG_CAN_CHAT,         [FG_OP_COMPLETE] = FG_CAN_COMPLETE,
        [FG_OP_EMBED] = FG_CAN_EMBED,       [FG_OP_RERANK] = FG_CAN_RERANK,
        [FG_OP_TOKENIZE] = FG_CAN_TOKENIZE, [FG_OP_DETOKENIZE] = FG_CAN_TOKENIZE,
        [FG_OP_RENDER] = FG_CAN_TOKENIZE,
    };
    if (r->op < 0 || (size_t)r->op >= sizeof needs / sizeof *needs || !can(job, needs[r->op]))
        return fg_fail(err, FG_UNSUPPORTED, "fake: this model cannot do operation %d", r->op);
    const int32_t rc = refuse_parts(job, err);
    if (rc != FG_OK)
        return rc;
    for (uint32_t i = 0; i < r->input_token_count; i++)
        if (r->input_tokens[i] < 0 ||
            (uint32_t)r->input_tokens[i] >= fg_fake_vocab_size(job->model->vocab))
            return fg_fail(err, FG_INVALID, "fake: token %d is not in the vocabulary of %u",
                           r->input_tokens[i], fg_fake_vocab_size(job->model->vocab));
    job->text.limit = MAX_STOP_TEXT;
    job->choices = 1;
    job->byte_limit = SIZE_MAX;
    job->usage = (struct fg_usage){.size = sizeof job->usage, .prompt_tokens = prompt_tokens(job)};
    fit_prompt(job);
    switch (r->op) {
    case FG_OP_EMBED:
        return embed(job, err);
    case FG_OP_TOKENIZE:
        return tokenize(job, err);
    case FG_OP_DETOKENIZE:
        return detokenize(job, err);
    case FG_OP_RENDER:
        return render(r, &job->text) ? FG_OK : no_memory(err);
    default:
        return generate(job, err);
    }
}
