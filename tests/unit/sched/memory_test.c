/*
 * Memory failing: the n-th allocation of a whole life (open, a request, close) fails, for every n.
 * Each time the scheduler refuses to open, or the request is refused, or it ends with one last
 * event; nothing is lost (AddressSanitizer's leak check sees the rest).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "toy.h"

static _Atomic int64_t countdown; /* 0: nothing fails; 1: the next one does */
static _Atomic bool failed;

static bool fails(void)
{
    if (countdown == 0 || atomic_fetch_sub(&countdown, 1) != 1)
        return false;
    failed = true;
    return true;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}
void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}
void *__wrap_realloc(void *old, size_t bytes)
{
    return fails() ? NULL : __real_realloc(old, bytes);
}

/* A stream that allocates nothing itself. */
struct plain_stream {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int last;
    int32_t kind, code;
};

static int32_t emit(struct fg_stream *stream, const struct fg_event *ev)
{
    struct plain_stream *s = (struct plain_stream *)(void *)stream;
    if (ev->kind != FG_EV_DONE && ev->kind != FG_EV_FAILED)
        return FG_FLOW_GO;
    pthread_mutex_lock(&s->lock);
    s->last++;
    s->kind = ev->kind;
    s->code = ev->code;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return FG_FLOW_GO;
}

static void quiet(const struct fg_host *host, int32_t level, struct fg_str text)
{
    (void)host;
    (void)level;
    (void)text;
}

static void one_request(struct fg_sched *sched, const struct fg_request *req)
{
    struct plain_stream s = {.lock = PTHREAD_MUTEX_INITIALIZER,
                             .changed = PTHREAD_COND_INITIALIZER};
    struct fg_job *job = NULL;
    const int32_t rc = fg_sched_submit(sched, req, (struct fg_stream *)(void *)&s, &job, NULL);
    if (rc != FG_OK) {
        assert_int_equal(rc, FG_NO_MEMORY);
        assert_null(job);
        return;
    }
    pthread_mutex_lock(&s.lock);
    while (!s.last)
        pthread_cond_wait(&s.changed, &s.lock);
    pthread_mutex_unlock(&s.lock);
    fg_sched_release(job);
    assert_int_equal(s.last, 1);
    if (s.kind == FG_EV_FAILED)
        assert_int_equal(s.code, FG_NO_MEMORY);
}

static void every_life_survives(const struct fg_request *req)
{
    const struct fg_host host = {.size = sizeof host, .abi = FG_ABI, .emit = emit, .log = quiet};
    struct fg_turn turn;
    uint32_t lives = 0;
    toy_reset();
    fg_turn_init(&turn);
    do {
        struct fg_net *net = toy_net_open();
        struct fg_sched *sched = NULL;
        assert_int_equal(fg_net_kv_open(net, 32, 32, NULL), FG_OK);
        const struct fg_sched_parts parts = {.host = &host,
                                             .net = net,
                                             .chat = (const struct fg_template *)net,
                                             .turn = &turn,
                                             .defaults = {.size = sizeof parts.defaults,
                                                          .temperature = 1,
                                                          .top_p = 0.9f,
                                                          .typical_p = 1,
                                                          .repeat_penalty = 1.1f,
                                                          .repeat_last_n = 64},
                                             .context = 512,
                                             .max_running = 2,
                                             .pages = 32,
                                             .page_tokens = 32,
                                             .max_cached = UINT32_MAX,
                                             .chunk_idle = 512,
                                             .chunk_busy = 256,
                                             .pooling = FG_POOL_MEAN};
        failed = false;
        countdown = ++lives;
        const int32_t rc = fg_sched_open(&parts, &sched, NULL);
        if (rc == FG_OK) {
            one_request(sched, req);
            one_request(sched, req);
        } else {
            assert_int_equal(rc, FG_NO_MEMORY);
        }
        countdown = 0;
        fg_sched_close(sched);
        fg_net_close(net);
    } while (failed && lives < 5000);
    assert_true(lives > 10 && lives < 5000);
    print_message("%u allocations\n", lives - 1);
    fg_turn_done(&turn);
}

static void an_answer_survives_each(void **state)
{
    (void)state;
    struct toy_ask ask;
    const struct fg_str stop = FG_STR("never in the text");
    toy_ask(&ask, FG_STR("A prompt that is a little longer than one page of thirty-two"), 40);
    ask.req.stops = &stop;
    ask.req.stop_count = 1;
    ask.req.logprobs = 1;
    ask.req.top_logprobs = 2;
    ask.req.choices = 2;
    ask.req.sampling = NULL;
    every_life_survives(&ask.req);
}

static void a_chat_survives_each(void **state)
{
    (void)state;
    const struct fg_part part = {.data = FG_STR("hello")};
    const struct fg_message message = {FG_ROLE_USER, 1, &part};
    const struct fg_request req = {.size = sizeof req,
                                   .op = FG_OP_CHAT,
                                   .messages = &message,
                                   .message_count = 1,
                                   .max_tokens = 5};
    every_life_survives(&req);
}

static void embeddings_and_tokens_survive_each(void **state)
{
    (void)state;
    const struct fg_str inputs[] = {FG_STR("one"), FG_STR("two")};
    struct fg_request req = {
        .size = sizeof req, .op = FG_OP_EMBED, .inputs = inputs, .input_count = 2};
    every_life_survives(&req);
    req.op = FG_OP_TOKENIZE;
    req.input_count = 1;
    every_life_survives(&req);
    const int32_t ids[] = {'a', TOY_WORD};
    req.op = FG_OP_DETOKENIZE;
    req.input_tokens = ids;
    req.input_token_count = 2;
    every_life_survives(&req);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_survives_each),
        cmocka_unit_test(a_chat_survives_each),
        cmocka_unit_test(embeddings_and_tokens_survive_each),
    };
    return cmocka_run_group_tests_name("sched/memory", tests, NULL, NULL);
}
