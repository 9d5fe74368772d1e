/* Who comes, waits, pauses, leaves and fails: every job ends exactly once, whatever races. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/sample/rng.h"
#include "toy.h"
#include "util/clock.h"
#include "util/error.h"

/* Instrumented builds on a shared machine are slow; the real bound is checked where time is ours
 * to give: a step lasts far longer than this. */
#define SOON_NS (50 * FG_NS_PER_MS)

static void pause_ms(long ms)
{
    const struct timespec t = {0, ms * 1000000};
    nanosleep(&t, NULL);
}

static struct fg_str letters(char *room, size_t len, int first)
{
    for (size_t i = 0; i < len; i++)
        room[i] = (char)('a' + ((size_t)first * 7 + i * i) % 26);
    return (struct fg_str){room, len};
}

static void assert_is_greedy(const struct toy_stream *s, const struct toy_ask *ask)
{
    struct fg_buf want = {0};
    toy_expect(&want, ask->input, true, ask->req.max_tokens);
    assert_int_equal(s->text[0].len, want.len);
    assert_memory_equal(s->text[0].ptr, want.ptr, want.len);
    fg_buf_done(&want);
}

static void assert_cancelled_soon(struct toy_stream *s, struct fg_job *job)
{
    const uint64_t begin = fg_clock_ns();
    fg_sched_cancel(job);
    fg_sched_cancel(job);
    toy_wait(s);
    assert_false(s->failed);
    assert_int_equal(s->code, FG_END_CANCELLED);
    if (s->over_ns - begin >= SOON_NS)
        fail_msg("cancelled after %llu us", (unsigned long long)(s->over_ns - begin) / 1000);
    fg_sched_release(job);
}

static void a_cancel_in_prefill_is_quick_and_harms_nobody(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask mine, other;
    struct toy_stream s, t;
    static char prompt[500];
    toy_open(&b, (struct toy_size){0});
    toy.row_us = 500; /* a prompt of 500 takes 250 ms, a layer of a whole step 31 */
    toy_ask(&other, FG_STR("me too"), 3);
    toy_ask(&mine, letters(prompt, 500, 3), 10);
    toy_stream_init(&s);
    toy_stream_init(&t);
    struct fg_job *a = toy_submit(&b, &s, &mine.req);
    struct fg_job *c = toy_submit(&b, &t, &other.req);
    toy_wait_events(&s, 1);
    pause_ms(40);
    assert_cancelled_soon(&s, a);
    toy.row_us = 0;
    toy_wait(&t);
    fg_sched_release(c);
    assert_is_greedy(&t, &other);
    toy_stream_done(&s);
    toy_stream_done(&t);
    toy_close(&b);
}

static void a_cancel_while_decoding_is_quick(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    toy_open(&b, (struct toy_size){0});
    toy.layer_us = 5000; /* a step takes 40 ms */
    toy_ask(&ask, FG_STR("abc"), 500);
    toy_stream_init(&s);
    struct fg_job *job = toy_submit(&b, &s, &ask.req);
    toy_wait_events(&s, 3);
    assert_cancelled_soon(&s, job);
    toy_stream_done(&s);
    toy_close(&b);
}

static void a_cancel_before_its_turn_is_quick(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask first, second;
    struct toy_stream s, t;
    static char prompt[200];
    toy_open(&b, (struct toy_size){.context = 256, .slots = 4, .pages = 8});
    toy.layer_us = 1000;
    toy_ask(&first, letters(prompt, 200, 1), 40);
    toy_ask(&second, letters(prompt, 199, 1), 40); /* no pages left for it */
    second.req.cache_scope = FG_STR("elsewhere");
    toy_stream_init(&s);
    toy_stream_init(&t);
    struct fg_job *a = toy_submit(&b, &s, &first.req);
    toy_wait_events(&s, 2);
    struct fg_job *c = toy_submit(&b, &t, &second.req);
    pause_ms(30);
    assert_int_equal(toy_events(&t), 0);
    assert_cancelled_soon(&t, c);
    toy_wait(&s);
    fg_sched_release(a);
    assert_is_greedy(&s, &first);
    toy_stream_done(&s);
    toy_stream_done(&t);
    toy_close(&b);
}

static void a_long_text_keeps_no_short_one_waiting(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask small;
    struct toy_stream s[3];
    static char text[100000];
    const struct fg_str input = letters(text, sizeof text, 1);
    const struct fg_request large = {
        .size = sizeof large, .op = FG_OP_TOKENIZE, .inputs = &input, .input_count = 1};
    toy_open(&b, (struct toy_size){0});
    toy.encode_ms = 400;
    for (int i = 0; i < 3; i++)
        toy_stream_init(&s[i]);
    struct fg_job *first = toy_submit(&b, &s[0], &large);
    struct fg_job *behind = toy_submit(&b, &s[1], &large);
    pause_ms(20);
    toy_ask(&small, FG_STR("quick"), 3);
    toy_run(&b, &s[2], &small.req);
    assert_is_greedy(&s[2], &small);
    assert_cancelled_soon(&s[1], behind); /* not begun yet: leaves at once */
    assert_false(toy_is_over(&s[0]));
    toy_wait(&s[0]);
    assert_int_equal(s[0].ids[0].len, sizeof text);
    fg_sched_release(first);
    for (int i = 0; i < 3; i++)
        toy_stream_done(&s[i]);
    toy_close(&b);
}

static void slots_are_limited_and_come_back(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s[3];
    struct fg_job *job[3], *none = NULL;
    struct fg_error err;
    toy_open(&b, (struct toy_size){.slots = 2});
    toy_ask(&ask, FG_STR("x"), 20);
    for (int i = 0; i < 3; i++)
        toy_stream_init(&s[i]);
    job[0] = toy_submit(&b, &s[0], &ask.req);
    job[1] = toy_submit(&b, &s[1], &ask.req);
    assert_int_equal(
        fg_sched_submit(b.sched, &ask.req, (struct fg_stream *)(void *)&s[2], &none, &err),
        FG_BUSY);
    assert_null(none);
    toy_wait(&s[0]);
    fg_sched_release(job[0]); /* the slot is back as soon as release() returned */
    job[2] = toy_submit(&b, &s[2], &ask.req);
    for (int i = 1; i < 3; i++) {
        toy_wait(&s[i]);
        fg_sched_release(job[i]);
    }
    for (int i = 0; i < 3; i++)
        toy_stream_done(&s[i]);
    toy_close(&b);
}

static void a_paused_job_takes_no_rows_and_loses_nothing(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    toy_open(&b, (struct toy_size){0});
    toy_ask(&ask, FG_STR("slow client"), 60);
    toy_stream_init(&s);
    s.pause_every = 5;
    struct fg_job *job = toy_submit(&b, &s, &ask.req);
    toy_wait_events(&s, 5);
    pause_ms(30);
    assert_int_equal(toy_events(&s), 5);
    const uint64_t rows = toy.rows;
    pause_ms(30);
    assert_int_equal(toy.rows, rows);
    while (!toy_is_over(&s)) {
        toy_unpause(&s, job);
        pause_ms(1);
    }
    assert_int_equal(s.after_pause, 0);
    assert_is_greedy(&s, &ask);
    fg_sched_release(job);
    toy_stream_done(&s);
    toy_close(&b);
}

static void a_paused_job_can_be_cancelled(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    toy_open(&b, (struct toy_size){0});
    toy_ask(&ask, FG_STR("gone"), 60);
    toy_stream_init(&s);
    s.pause_every = 2;
    struct fg_job *job = toy_submit(&b, &s, &ask.req);
    toy_wait_events(&s, 2);
    assert_cancelled_soon(&s, job);
    toy_stream_done(&s);
    toy_close(&b);
}

static void sleepers_make_room_for_who_can_run(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask first, second;
    struct toy_stream s, t;
    static char prompt[2][200];
    toy_open(&b, (struct toy_size){.context = 256, .slots = 4, .pages = 8});
    toy_ask(&first, letters(prompt[0], 200, 1), 20);
    toy_ask(&second, letters(prompt[1], 200, 2), 20);
    toy_stream_init(&s);
    toy_stream_init(&t);
    s.pause_every = 3;
    struct fg_job *a = toy_submit(&b, &s, &first.req);
    toy_wait_events(&s, 3);
    toy_run(&b, &t, &second.req);
    assert_is_greedy(&t, &second);
    while (!toy_is_over(&s)) {
        toy_unpause(&s, a);
        pause_ms(1);
    }
    assert_is_greedy(&s, &first);
    fg_sched_release(a);
    toy_stream_done(&s);
    toy_stream_done(&t);
    toy_close(&b);
}

static void stop_ends_the_job(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    toy_open(&b, (struct toy_size){0});
    toy_ask(&ask, FG_STR("nobody listens"), 60);
    for (uint32_t at = 1; at < 5; at++) { /* from STARTED on */
        struct toy_stream s;
        toy_stream_init(&s);
        s.stop_at = at;
        toy_run(&b, &s, &ask.req);
        assert_int_equal(s.code, FG_END_CANCELLED);
        assert_int_equal(s.events, at + 1);
        toy_stream_done(&s);
    }
    toy_close(&b);
}

static void a_long_list_of_tokens_waits_for_credit(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_stream s;
    static char text[3000];
    struct fg_str input = letters(text, sizeof text, 1);
    struct fg_request req = {.size = sizeof req,
                             .op = FG_OP_TOKENIZE,
                             .inputs = &input,
                             .input_count = 1,
                             .flags = FG_REQ_PIECES};
    toy_open(&b, (struct toy_size){0});
    toy_stream_init(&s);
    s.pause_every = 100;
    struct fg_job *job = toy_submit(&b, &s, &req);
    while (!toy_is_over(&s)) {
        toy_unpause(&s, job);
        pause_ms(1);
    }
    assert_int_equal(s.after_pause, 0);
    assert_int_equal(s.ids[0].len, sizeof text);
    assert_memory_equal(s.text[0].ptr, text, sizeof text);
    fg_sched_release(job);
    toy_stream_done(&s);
    toy_close(&b);
}

static void a_failed_step_costs_its_jobs_only(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    toy_open(&b, (struct toy_size){0});
    toy_ask(&ask, FG_STR("oops"), 8);
    toy.fail_next = FG_INTERNAL;
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    assert_true(s.failed);
    assert_int_equal(s.code, FG_INTERNAL);
    assert_string_equal(s.reason, "the toy broke");
    toy_stream_done(&s);
    toy.not_finite = true;
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    assert_true(s.failed);
    assert_int_equal(s.code, FG_INTERNAL);
    toy_stream_done(&s);
    toy.not_finite = false;
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    assert_false(s.failed);
    assert_is_greedy(&s, &ask);
    toy_stream_done(&s);
    toy_close(&b);
}

static void a_bad_sampling_value_fails_its_job(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    toy_open(&b, (struct toy_size){0});
    toy_ask(&ask, FG_STR("x"), 8);
    ask.sampling.temperature = -2;
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    assert_int_equal(s.code, FG_INVALID);
    toy_stream_done(&s);
    toy_close(&b);
}

static void running_streams_get_tokens_beside_a_long_prompt(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask stream, prompt;
    struct toy_stream s, t;
    static char text[3900];
    toy_open(&b, (struct toy_size){.context = 4096, .slots = 4});
    toy.row_us = 400; /* the prompt takes 1.6 s in all */
    toy_ask(&stream, FG_STR("run"), 400);
    toy_ask(&prompt, letters(text, sizeof text, 4), 1);
    toy_stream_init(&s);
    toy_stream_init(&t);
    struct fg_job *a = toy_submit(&b, &s, &stream.req);
    toy_wait_events(&s, 5);
    struct fg_job *c = toy_submit(&b, &t, &prompt.req);
    toy_wait_events(&t, 1);
    const uint32_t before = toy_events(&s);
    toy_wait(&t);
    assert_true(toy_events(&s) - before >= 12); /* 3900 rows in chunks of at most 256 */
    assert_true(t.progress >= 12);
    fg_sched_cancel(a);
    toy_wait(&s);
    fg_sched_release(a);
    fg_sched_release(c);
    toy_stream_done(&s);
    toy_stream_done(&t);
    toy_close(&b);
}

static void many_prompts_are_prefilled_together(void **state)
{
    (void)state;
    enum { JOBS = 8 };
    struct toy_bench b;
    struct toy_ask ask[JOBS + 1];
    struct toy_stream s[JOBS + 1];
    struct fg_job *job[JOBS + 1];
    static char text[JOBS][60];
    toy_open(&b, (struct toy_size){.slots = JOBS + 1});
    toy.layer_us = 5000;
    toy_ask(&ask[JOBS], FG_STR("first"), 2); /* keeps the engine busy until the others are there */
    toy_stream_init(&s[JOBS]);
    job[JOBS] = toy_submit(&b, &s[JOBS], &ask[JOBS].req);
    toy_wait_events(&s[JOBS], 1);
    for (int i = 0; i < JOBS; i++) {
        toy_ask(&ask[i], letters(text[i], 20 + (size_t)i * 5, i), 2);
        toy_stream_init(&s[i]);
        job[i] = toy_submit(&b, &s[i], &ask[i].req);
    }
    for (int i = 0; i <= JOBS; i++) {
        toy_wait(&s[i]);
        fg_sched_release(job[i]);
        assert_is_greedy(&s[i], &ask[i]);
        toy_stream_done(&s[i]);
    }
    assert_true(toy.most_rows >= 100); /* of 308; a first step is short */
    toy_close(&b);
}

/* ---- everything at once ---------------------------------------------------------------------- */

struct worker {
    struct toy_bench *bench;
    uint32_t seed, ended, cancelled, refused, wrong;
};

static void one_job(struct worker *w, struct fg_rng *rng)
{
    struct toy_ask ask;
    struct toy_stream s;
    char prompt[160];
    struct fg_job *job = NULL;
    toy_ask(&ask, letters(prompt, 1 + fg_rng_next(rng) % 150, (int)(fg_rng_next(rng) % 5)),
            1 + (uint32_t)(fg_rng_next(rng) % 50));
    const uint32_t kind = (uint32_t)(fg_rng_next(rng) % 8);
    if (kind == 0)
        ask.req.choices = 3;
    if (kind == 1)
        ask.req.op = FG_OP_EMBED;
    if (kind == 2)
        ask.req.op = FG_OP_TOKENIZE;
    if (kind == 3)
        ask.req.flags |= FG_REQ_NO_CACHE;
    toy_stream_init(&s);
    s.pause_every = kind == 4 ? 3 : 0;
    s.stop_at = kind == 5 ? 1 + (uint32_t)(fg_rng_next(rng) % 20) : 0;
    const bool cancel = fg_rng_next(rng) % 3 == 0;
    if (fg_sched_submit(w->bench->sched, &ask.req, (struct fg_stream *)(void *)&s, &job, NULL) !=
        FG_OK) {
        w->refused++;
        toy_stream_done(&s);
        return;
    }
    if (cancel) {
        pause_ms((long)(fg_rng_next(rng) % 8));
        fg_sched_cancel(job);
    }
    for (;;) {
        if (toy_is_over(&s))
            break;
        toy_unpause(&s, job);
        fg_sched_resume(job); /* also when it is not paused: a no-op */
        pause_ms(1);
    }
    fg_sched_release(job);
    w->ended++;
    w->cancelled += s.code == FG_END_CANCELLED && !s.failed;
    w->wrong += s.late || s.failed;
    if (!s.failed && s.code != FG_END_CANCELLED && ask.req.op == FG_OP_COMPLETE) {
        struct fg_buf want = {0};
        toy_expect(&want, ask.input, true, ask.req.max_tokens);
        w->wrong += s.text[0].len != want.len || memcmp(s.text[0].ptr, want.ptr, want.len) != 0;
        fg_buf_done(&want);
    }
    toy_stream_done(&s);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct fg_rng rng;
    fg_rng_seed(&rng, w->seed, 0);
    for (int i = 0; i < 60; i++)
        one_job(w, &rng);
    return NULL;
}

static void every_job_ends_exactly_once(void **state)
{
    (void)state;
    enum { WORKERS = 4 };
    struct toy_bench b;
    struct worker w[WORKERS];
    pthread_t thread[WORKERS];
    toy_open(&b, (struct toy_size){.context = 256, .slots = 3, .pages = 14});
    toy.layer_us = 20;
    for (uint32_t i = 0; i < WORKERS; i++) {
        w[i] = (struct worker){.bench = &b, .seed = i + 1};
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    }
    uint32_t ended = 0, cancelled = 0, wrong = 0;
    for (uint32_t i = 0; i < WORKERS; i++) {
        pthread_join(thread[i], NULL);
        ended += w[i].ended;
        cancelled += w[i].cancelled;
        wrong += w[i].wrong;
    }
    assert_int_equal(wrong, 0);
    assert_true(ended > 60);
    assert_true(cancelled > 5);
    toy_close(&b);
}

static bool always(void *ctx)
{
    (void)ctx;
    return true;
}

struct taker {
    struct fg_turn *turn;
    _Atomic uint32_t *order;
    uint32_t place;
};
static void *take_once(void *arg)
{
    struct taker *t = arg;
    if (fg_turn_take(t->turn, NULL, NULL)) {
        t->place = atomic_fetch_add(t->order, 1);
        fg_turn_leave(t->turn);
    }
    return NULL;
}

static void turns_are_taken_in_order_and_given_up(void **state)
{
    (void)state;
    struct fg_turn turn;
    _Atomic uint32_t order = 0;
    struct taker taker[3];
    pthread_t thread[3];
    fg_turn_init(&turn);
    assert_true(fg_turn_take(&turn, always, NULL)); /* free: nobody is asked */
    for (uint32_t i = 0; i < 3; i++) {
        taker[i] = (struct taker){&turn, &order, 99};
        assert_int_equal(pthread_create(&thread[i], NULL, take_once, &taker[i]), 0);
        pause_ms(20);
    }
    const uint64_t begin = fg_clock_ns();
    assert_false(fg_turn_take(&turn, always, NULL));
    assert_true(fg_clock_ns() - begin < SOON_NS);
    fg_turn_leave(&turn);
    for (uint32_t i = 0; i < 3; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(taker[i].place, i);
    }
    fg_turn_done(&turn);
}

static void a_cancel_does_not_wait_for_another_models_step(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    toy_open(&b, (struct toy_size){0});
    toy_ask(&ask, FG_STR("abc"), 500);
    toy_stream_init(&s);
    assert_true(fg_turn_take(&b.turn, NULL, NULL)); /* the other model is at it, for long */
    struct fg_job *job = toy_submit(&b, &s, &ask.req);
    toy_wait_events(&s, 1);
    pause_ms(10);
    assert_cancelled_soon(&s, job);
    fg_turn_leave(&b.turn);
    toy_stream_done(&s);
    toy_close(&b);
}

static void an_idle_engine_sleeps(void **state)
{
    (void)state;
    struct toy_bench b;
    struct timespec before, after;
    toy_open(&b, (struct toy_size){0});
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    pause_ms(200);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    const long used = (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
    assert_true(used < 20000000); /* a tenth of a core would be spinning */
    toy_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancel_in_prefill_is_quick_and_harms_nobody),
        cmocka_unit_test(a_cancel_while_decoding_is_quick),
        cmocka_unit_test(a_cancel_before_its_turn_is_quick),
        cmocka_unit_test(a_long_text_keeps_no_short_one_waiting),
        cmocka_unit_test(slots_are_limited_and_come_back),
        cmocka_unit_test(a_paused_job_takes_no_rows_and_loses_nothing),
        cmocka_unit_test(a_paused_job_can_be_cancelled),
        cmocka_unit_test(sleepers_make_room_for_who_can_run),
        cmocka_unit_test(stop_ends_the_job),
        cmocka_unit_test(a_long_list_of_tokens_waits_for_credit),
        cmocka_unit_test(a_failed_step_costs_its_jobs_only),
        cmocka_unit_test(a_bad_sampling_value_fails_its_job),
        cmocka_unit_test(running_streams_get_tokens_beside_a_long_prompt),
        cmocka_unit_test(many_prompts_are_prefilled_together),
        cmocka_unit_test(every_job_ends_exactly_once),
        cmocka_unit_test(turns_are_taken_in_order_and_given_up),
        cmocka_unit_test(a_cancel_does_not_wait_for_another_models_step),
        cmocka_unit_test(an_idle_engine_sleeps),
    };
    return cmocka_run_group_tests_name("sched/flow", tests, NULL, NULL);
}
