/* The toy model; see toy.h. Defines the functions of model/net.h, token/vocab.h, chat/template.h.
 */
#include "toy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/sched/text.h"
#include "util/clock.h"
#include "util/error.h"

struct toy toy;
static char byte_text[256]; /* filled by toy_open() */

static void sleep_us(uint64_t us)
{
    const struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    if (us)
        nanosleep(&t, NULL);
}

/* ---- network --------------------------------------------------------------------------------- */

struct fg_net {
    struct fg_net_info info;
    uint32_t page_tokens, pages;
    int32_t *kv; /* the token at each position of each page */
};

static uint64_t mix(uint64_t h, int32_t token)
{
    h = (h ^ (uint64_t)(uint32_t)token) * 0x9e3779b97f4a7c15ull;
    return h ^ (h >> 29);
}

/* Mostly letters; a three-byte character in two tokens; a word; the end. */
static int32_t next_of(uint64_t h, int32_t last)
{
    if (last == TOY_EURO_HEAD)
        return TOY_EURO_TAIL;
    const uint32_t r = (uint32_t)(h >> 20) % 64;
    if (toy.eos && r == 63)
        return TOY_EOS;
    return r < 4 ? TOY_EURO_HEAD : r < 10 ? TOY_WORD : 'a' + (int32_t)(r % 26);
}

struct fg_net *toy_net_open(void)
{
    struct fg_net *n = calloc(1, sizeof *n);
    assert_non_null(n);
    n->info = (struct fg_net_info){.architecture = "toy",
                                   .layers = TOY_LAYERS,
                                   .width = TOY_WIDTH,
                                   .vocab = TOY_VOCAB,
                                   .context_train = 2048,
                                   .parameters = 192,
                                   .weight_bytes = 1000,
                                   .kv_bytes_per_token = 4};
    return n;
}

const struct fg_net_info *fg_net_info(const struct fg_net *n)
{
    return &n->info;
}

uint32_t fg_net_max_rows(const struct fg_net *n)
{
    (void)n;
    return 512;
}

int32_t fg_net_kv_open(struct fg_net *n, uint32_t page_tokens, uint32_t pages, struct fg_error *err)
{
    (void)err;
    n->page_tokens = page_tokens;
    n->pages = pages;
    n->kv = malloc((size_t)page_tokens * pages * sizeof *n->kv);
    assert_non_null(n->kv);
    memset(n->kv, 0xee, (size_t)page_tokens * pages * sizeof *n->kv);
    return FG_OK;
}

void fg_net_close(struct fg_net *n)
{
    free(n->kv);
    free(n);
}

void fg_net_kv_copy(struct fg_net *n, uint32_t from, uint32_t to, uint32_t tokens)
{
    assert_true(from < n->pages && to < n->pages && tokens <= n->page_tokens && from != to);
    memcpy(n->kv + (size_t)to * n->page_tokens, n->kv + (size_t)from * n->page_tokens,
           tokens * sizeof *n->kv);
}

static int32_t *slot(struct fg_net *n, const struct fg_rows *rows, uint32_t row, uint32_t position)
{
    const uint32_t page = rows->page_table[rows->sequence[row]][position / n->page_tokens];
    assert_true(page < n->pages);
    return &n->kv[(size_t)page * n->page_tokens + position % n->page_tokens];
}

static void fill_logits(float *logits, uint64_t h, int32_t last)
{
    for (int i = 0; i < TOY_VOCAB; i++)
        logits[i] = (float)((h >> (i % 40)) & 7) * 0.25f - (i >= TOY_BOS ? 8.0f : 0.0f);
    logits[next_of(h, last)] = 6.0f;
    if (toy.not_finite)
        logits[3] = NAN;
}

int32_t fg_net_forward(struct fg_net *n, const struct fg_rows *rows, const uint8_t *want,
                       float *logits, float *hidden, bool (*stop)(void *), void *ctx,
                       struct fg_error *err)
{
    uint64_t sequences = 0;
    assert_in_range(rows->count, 1, 512);
    for (uint32_t i = 0; i < rows->count; i++) {
        *slot(n, rows, i, rows->position[i]) = rows->tokens[i];
        sequences = rows->sequence[i] + 1 > sequences ? rows->sequence[i] + 1 : sequences;
    }
    for (int layer = 0; layer < TOY_LAYERS; layer++) {
        if (stop && stop(ctx)) {
            for (uint32_t i = 0; i < rows->count; i++) /* garbage, as the header says */
                *slot(n, rows, i, rows->position[i]) = -7;
            return FG_CANCELLED;
        }
        sleep_us(toy.layer_us + (uint64_t)toy.row_us * rows->count / TOY_LAYERS);
    }
    toy.steps++;
    toy.rows += rows->count;
    if (sequences > toy.most_sequences)
        toy.most_sequences = sequences;
    if (rows->count > toy.most_rows)
        toy.most_rows = rows->count;
    const int32_t fail = atomic_exchange(&toy.fail_next, 0);
    if (fail)
        return fg_fail(err, fail, "the toy broke");
    for (uint32_t i = 0; i < rows->count; i++) {
        if (hidden)
            for (int j = 0; j < TOY_WIDTH; j++)
                hidden[(size_t)i * TOY_WIDTH + j] =
                    (float)rows->tokens[i] + (float)(rows->position[i] * (uint32_t)j);
        if (!want || !want[i])
            continue;
        uint64_t h = 1;
        for (uint32_t p = 0; p <= rows->position[i]; p++)
            h = mix(h, *slot(n, rows, i, p));
        fill_logits(logits, h, rows->tokens[i]);
        logits += TOY_VOCAB;
    }
    return FG_OK;
}

void toy_expect(struct fg_buf *out, struct fg_str prompt, bool bos, uint32_t tokens)
{
    uint64_t h = 1;
    int32_t last = -1;
    if (bos)
        h = mix(h, last = TOY_BOS);
    for (size_t i = 0; i < prompt.len; i++)
        h = mix(h, last = (unsigned char)prompt.ptr[i]);
    struct fg_buf raw = {0};
    size_t used;
    for (uint32_t i = 0; i < tokens; i++) {
        const int32_t next = next_of(h, last);
        if (next == TOY_EOS)
            break;
        h = mix(h, last = next);
        const struct fg_str piece = fg_vocab_piece(NULL, next, false);
        if (piece.len)
            assert_true(fg_buf_add(&raw, piece));
    }
    assert_true(fg_text_clean(fg_buf_str(&raw), true, out, &used)); /* it may end half-way */
    fg_buf_done(&raw);
}

/* ---- vocabulary ------------------------------------------------------------------------------ */

bool fg_ids_add(struct fg_ids *ids, int32_t id)
{
    if (ids->len == ids->capacity) {
        const size_t capacity = ids->capacity ? ids->capacity * 2 : 16;
        int32_t *grown = realloc(ids->ptr, capacity * sizeof *grown);
        if (!grown)
            return false;
        ids->ptr = grown;
        ids->capacity = capacity;
    }
    ids->ptr[ids->len++] = id;
    return true;
}

void fg_ids_done(struct fg_ids *ids)
{
    free(ids->ptr);
    *ids = (struct fg_ids){0};
}

uint32_t fg_vocab_size(const struct fg_vocab *v)
{
    (void)v;
    return TOY_VOCAB;
}

int32_t fg_vocab_encode(const struct fg_vocab *v, const struct fg_piece *pieces, size_t count,
                        bool bos, size_t max_ids, struct fg_ids *out, struct fg_error *err)
{
    (void)v;
    const size_t before = out->len;
    if (count && pieces[0].text.len > 64 << 10)
        sleep_us(toy.encode_ms * 1000);
    if (bos && !fg_ids_add(out, TOY_BOS))
        return FG_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        struct fg_str s = pieces[i].text;
        while (s.len) {
            const bool special = pieces[i].special && fg_str_starts(s, FG_STR("<s>"));
            if (!fg_ids_add(out, special ? TOY_BOS : (unsigned char)s.ptr[0]))
                return FG_NO_MEMORY;
            s = fg_str_from(s, special ? 3 : 1);
            if (max_ids && out->len - before > max_ids)
                return fg_fail(err, FG_TOO_LONG, "more than %zu", max_ids);
        }
    }
    return FG_OK;
}

struct fg_str fg_vocab_piece(const struct fg_vocab *v, int32_t id, bool special)
{
    (void)v;
    if (id >= 0 && id < 256)
        return (struct fg_str){&byte_text[id], 1};
    switch (id) {
    case TOY_BOS:
        return special ? FG_STR("<s>") : FG_STR("");
    case TOY_EOS:
        return special ? FG_STR("</s>") : FG_STR("");
    case TOY_EURO_HEAD:
        return FG_STR("\xe2\x82");
    case TOY_EURO_TAIL:
        return FG_STR("\xac");
    case TOY_WORD:
        return FG_STR(" the");
    default:
        return FG_STR("");
    }
}

bool fg_vocab_strips_first_blank(const struct fg_vocab *v)
{
    (void)v;
    return true;
}
bool fg_vocab_ends(const struct fg_vocab *v, int32_t id)
{
    (void)v;
    return id == TOY_EOS;
}
int32_t fg_vocab_bos(const struct fg_vocab *v)
{
    (void)v;
    return TOY_BOS;
}
int32_t fg_vocab_eos(const struct fg_vocab *v)
{
    (void)v;
    return TOY_EOS;
}
bool fg_vocab_adds_bos(const struct fg_vocab *v)
{
    (void)v;
    return true;
}

/* ---- template -------------------------------------------------------------------------------- */

int32_t fg_template_render(const struct fg_template *t, const struct fg_template_input *in,
                           struct fg_arena *arena, struct fg_template_output *out,
                           struct fg_error *err)
{
    (void)t;
    static const char *const roles[] = {"system:", "user:", "assistant:", "tool:"};
    if (in->message_count && fg_str_is(in->messages[0].parts[0].data, "raise"))
        return fg_fail(err, FG_INVALID, "roles must alternate");
    out->pieces = fg_arena_zalloc(arena, in->message_count * 3 + 2, sizeof *out->pieces);
    if (!out->pieces)
        return FG_NO_MEMORY;
    out->count = 0;
    out->pieces[out->count++] = (struct fg_piece){FG_STR("<s>"), true};
    for (uint32_t i = 0; i < in->message_count; i++) {
        const bool open = i + 1 == in->message_count && !in->add_generation_prompt;
        out->pieces[out->count++] = (struct fg_piece){fg_str_of(roles[in->messages[i].role]), true};
        out->pieces[out->count++] = (struct fg_piece){in->messages[i].parts[0].data, false};
        out->pieces[out->count++] = (struct fg_piece){fg_str_of(open ? "" : "\n"), true};
    }
    if (in->add_generation_prompt)
        out->pieces[out->count++] = (struct fg_piece){FG_STR("assistant:"), true};
    return FG_OK;
}

/* ---- stream ---------------------------------------------------------------------------------- */

void toy_stream_init(struct toy_stream *s)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    for (int i = 0; i < 8; i++)
        s->finish[i] = -1;
}

void toy_stream_done(struct toy_stream *s)
{
    fg_ids_done(&s->prompt);
    for (int i = 0; i < 8; i++) {
        fg_buf_done(&s->text[i]);
        fg_ids_done(&s->ids[i]);
    }
    fg_buf_done(&s->bytes);
    fg_buf_done(&s->finish_stop);
    fg_ids_done(&s->top);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
}

static void keep_text(struct toy_stream *s, const struct fg_event *ev)
{
    assert_in_range(ev->choice, 0, 7);
    if (ev->text.len)
        assert_true(fg_buf_add(&s->text[ev->choice], ev->text));
    for (uint32_t i = 0; i < ev->token_count; i++)
        assert_true(fg_ids_add(&s->ids[ev->choice], ev->tokens[i]));
    for (uint32_t i = 0; i < ev->logprob_count; i++) {
        assert_int_equal(ev->logprobs[i].token, ev->tokens[i]);
        assert_true(ev->logprobs[i].logprob <= 0);
        if (ev->logprobs[i].bytes.len)
            assert_true(fg_buf_add(&s->bytes, ev->logprobs[i].bytes));
        if (ev->logprobs[i].top_count)
            assert_true(fg_ids_add(&s->top, ev->logprobs[i].top[0].token));
    }
}

static void keep_last(struct toy_stream *s, const struct fg_event *ev)
{
    s->over = true;
    s->failed = ev->kind == FG_EV_FAILED;
    s->code = ev->code;
    s->over_ns = fg_clock_ns();
    if (ev->usage)
        s->usage = *ev->usage;
    if (s->failed)
        snprintf(s->reason, sizeof s->reason, "%.*s", FG_STR_ARG(ev->text));
    else if (ev->text.len)
        assert_true(fg_buf_add(&s->finish_stop, ev->text));
}

int32_t toy_emit(struct fg_stream *stream, const struct fg_event *ev)
{
    struct toy_stream *s = (struct toy_stream *)(void *)stream;
    int32_t flow = FG_FLOW_GO;
    pthread_mutex_lock(&s->lock);
    s->late |= s->over;
    s->events++;
    const bool cancelled = ev->kind == FG_EV_DONE && ev->code == FG_END_CANCELLED;
    s->after_pause += s->paused && !cancelled;
    switch (ev->kind) {
    case FG_EV_STARTED:
        s->started++;
        s->start_usage = *ev->usage;
        for (uint32_t i = 0; i < ev->token_count; i++)
            assert_true(fg_ids_add(&s->prompt, ev->tokens[i]));
        break;
    case FG_EV_TEXT:
        keep_text(s, ev);
        break;
    case FG_EV_EMBEDDING:
        assert_int_equal(ev->value_count, TOY_WIDTH);
        assert_in_range(ev->index, 0, 15);
        memcpy(s->values[ev->index], ev->values, sizeof s->values[0]);
        s->embeddings++;
        break;
    case FG_EV_PROGRESS:
        s->progress++;
        break;
    case FG_EV_FINISH:
        s->finish[ev->choice] = ev->code;
        s->finishes++;
        break;
    case FG_EV_DONE:
    case FG_EV_FAILED:
        keep_last(s, ev);
        break;
    default:
        fail_msg("event kind %d", ev->kind);
    }
    if (s->pause_every && s->events % s->pause_every == 0 && !s->over) {
        s->paused = true;
        flow = FG_FLOW_PAUSE;
    }
    if (s->stop_at && s->events >= s->stop_at)
        flow = FG_FLOW_STOP;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return flow;
}

void toy_wait(struct toy_stream *s)
{
    toy_wait_events(s, UINT32_MAX);
}

void toy_wait_events(struct toy_stream *s, uint32_t events)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&s->lock);
    while (!s->over && s->events < events)
        if (pthread_cond_timedwait(&s->changed, &s->lock, &until) != 0)
            fail_msg("no last event within 60 s (%u so far)", s->events);
    pthread_mutex_unlock(&s->lock);
}

bool toy_is_over(struct toy_stream *s)
{
    pthread_mutex_lock(&s->lock);
    const bool over = s->over;
    pthread_mutex_unlock(&s->lock);
    return over;
}

uint32_t toy_events(struct toy_stream *s)
{
    pthread_mutex_lock(&s->lock);
    const uint32_t events = s->events;
    pthread_mutex_unlock(&s->lock);
    return events;
}

void toy_unpause(struct toy_stream *s, struct fg_job *job)
{
    pthread_mutex_lock(&s->lock);
    const bool was = s->paused;
    s->paused = false;
    pthread_mutex_unlock(&s->lock);
    if (was)
        fg_sched_resume(job);
}

/* ---- bench ----------------------------------------------------------------------------------- */

static void quiet(const struct fg_host *host, int32_t level, struct fg_str text)
{
    (void)host;
    (void)level;
    (void)text;
}

void toy_reset(void)
{
    for (int i = 0; i < 256; i++)
        byte_text[i] = (char)i;
    toy.layer_us = toy.row_us = toy.encode_ms = 0;
    toy.fail_next = 0;
    toy.not_finite = toy.eos = false;
    toy.rows = toy.steps = toy.most_rows = toy.most_sequences = 0;
}

void toy_open(struct toy_bench *b, struct toy_size size)
{
    toy_reset();
    b->host =
        (struct fg_host){.size = sizeof b->host, .abi = FG_ABI, .emit = toy_emit, .log = quiet};
    fg_turn_init(&b->turn);
    const uint32_t context = size.context ? size.context : 1024;
    const uint32_t slots = size.slots ? size.slots : 8;
    struct fg_net *net = toy_net_open();
    const struct fg_sched_parts parts = {
        .host = &b->host,
        .net = net,
        .vocab = NULL,
        .chat = size.no_template ? NULL : (const struct fg_template *)net, /* never looked into */
        .chat_error = "line 1: bad",
        .turn = &b->turn,
        .defaults = {.size = sizeof parts.defaults,
                     .temperature = 1,
                     .top_p = 1,
                     .typical_p = 1,
                     .repeat_penalty = 1},
        .context = context,
        .max_running = slots,
        .pages = size.pages ? size.pages : (context + 31) / 32 * slots,
        .page_tokens = 32,
        .max_cached = UINT32_MAX,
        .chunk_idle = size.chunk ? size.chunk : 512,
        .chunk_busy = size.chunk ? size.chunk : 256,
        .inter_token_ms = 200,
        .pooling = FG_POOL_MEAN,
    };
    assert_int_equal(fg_net_kv_open(net, 32, parts.pages, NULL), FG_OK);
    assert_int_equal(fg_sched_open(&parts, &b->sched, NULL), FG_OK);
    b->net = net;
}

void toy_close(struct toy_bench *b)
{
    struct fg_sched_stats st;
    for (int i = 0; i < 200; i++) { /* the figures are published after the last event */
        fg_sched_stats(b->sched, &st);
        if (st.pages_free + st.pages_cached == st.pages_total && !st.active && !st.waiting)
            break;
        sleep_us(1000);
    }
    assert_int_equal(st.pages_free + st.pages_cached, st.pages_total);
    assert_int_equal(st.active, 0);
    assert_int_equal(st.waiting, 0);
    assert_int_equal(st.running_jobs, 0);
    fg_sched_close(b->sched);
    fg_net_close(b->net);
    fg_turn_done(&b->turn);
}

struct fg_job *toy_submit(struct toy_bench *b, struct toy_stream *s, const struct fg_request *req)
{
    struct fg_job *job = NULL;
    struct fg_error err = {0};
    const int32_t rc = fg_sched_submit(b->sched, req, (struct fg_stream *)(void *)s, &job, &err);
    if (rc != FG_OK)
        fail_msg("submit: %d %s", rc, err.text);
    return job;
}

void toy_run(struct toy_bench *b, struct toy_stream *s, const struct fg_request *req)
{
    struct fg_job *job = toy_submit(b, s, req);
    toy_wait(s);
    fg_sched_release(job);
}

void toy_ask(struct toy_ask *a, struct fg_str prompt, uint32_t max_tokens)
{
    memset(a, 0, sizeof *a);
    a->input = prompt;
    a->sampling = (struct fg_sampling){.size = sizeof a->sampling, .set = FG_SET_TEMPERATURE};
    a->req = (struct fg_request){.size = sizeof a->req,
                                 .op = FG_OP_COMPLETE,
                                 .flags = FG_REQ_BOS,
                                 .inputs = &a->input,
                                 .input_count = 1,
                                 .sampling = &a->sampling,
                                 .max_tokens = max_tokens};
}
