/* The gateway's end of a job: copies, credit, one wake-up a burst, the last event. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/stream.h"
#include "util/str.h"

/* The linker sends allocations of the code under test through here. */
void *__real_malloc(size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
static long allocations = -1; /* so many more succeed; negative: all */

static bool may_allocate(void)
{
    if (allocations < 0)
        return true;
    return allocations-- > 0 ? true : (allocations = 0, false);
}

void *__wrap_malloc(size_t size)
{
    return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return may_allocate() ? __real_aligned_alloc(align, size) : NULL;
}

struct rig {
    struct fg_worker *worker;
    struct fg_stream *stream;
    int woken;
    bool resume;
};

static void on_ready(void *ctx)
{
    ((struct rig *)ctx)->woken++;
}

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_int_equal(fg_worker_open(0, &r->worker, NULL), FG_OK);
    assert_int_equal(fg_stream_open(r->worker, on_ready, r, &r->stream, NULL), FG_OK);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    if (r->stream)
        fg_stream_close(r->stream);
    fg_worker_close(r->worker);
    free(r);
    return 0;
}

static void turn(struct rig *r) /* the worker's loop, on this thread */
{
    event_base_loop(fg_worker_base(r->worker), EVLOOP_NONBLOCK);
}

static const struct fg_event *next(struct rig *r)
{
    return fg_stream_next(r->stream, &r->resume);
}

static int32_t emit_text(struct rig *r, const char *text)
{
    struct fg_event ev = {.size = sizeof ev, .kind = FG_EV_TEXT, .text = fg_str_of(text)};
    return fg_stream_emit(r->stream, &ev);
}

static int32_t emit_done(struct rig *r, int32_t code)
{
    struct fg_usage usage = {.size = sizeof usage, .prompt_tokens = 7, .output_tokens = 9};
    struct fg_event ev = {
        .size = sizeof ev, .kind = FG_EV_DONE, .code = code, .usage = &usage, .text = FG_STR("!")};
    return fg_stream_emit(r->stream, &ev);
}

static void an_event_is_copied_whole(void **state)
{
    struct rig *r = *state;
    int32_t tokens[] = {1, 2, 3};
    float values[] = {0.5f, -2};
    char name[] = "n", id[] = "i", text[] = "text", a[] = "A", b[] = "BB";
    struct fg_logprob top[] = {{.token = 4, .logprob = -1, .bytes = {a, 1}},
                               {.token = 5, .logprob = -2, .bytes = {b, 2}}};
    struct fg_logprob probs[] = {
        {.token = 4, .logprob = -1, .bytes = {a, 1}, .top = top, .top_count = 2},
        {.token = 6, .logprob = -3, .bytes = {b, 2}}};
    struct fg_usage usage = {.size = sizeof usage, .prompt_tokens = 11, .output_ns = 1ull << 40};
    struct fg_event ev = {
        .size = sizeof ev,
        .kind = FG_EV_TEXT,
        .choice = 2,
        .index = 3,
        .text = {text, 4},
        .name = {name, 1},
        .id = {id, 1},
        .tokens = tokens,
        .token_count = 3,
        .logprobs = probs,
        .logprob_count = 2,
        .values = values,
        .value_count = 2,
        .code = 5,
        .usage = &usage,
    };
    assert_int_equal(fg_stream_emit(r->stream, &ev), FG_FLOW_GO);
    memset(tokens, 0xff, sizeof tokens);
    memset(values, 0xff, sizeof values);
    memset(top, 0xff, sizeof top);
    memset(probs, 0xff, sizeof probs);
    memset(&usage, 0xff, sizeof usage);
    text[0] = a[0] = b[0] = name[0] = id[0] = '?';
    const struct fg_event *got = next(r);
    assert_non_null(got);
    assert_int_equal(got->choice, 2);
    assert_int_equal(got->index, 3);
    assert_true(fg_str_is(got->text, "text"));
    assert_true(fg_str_is(got->name, "n"));
    assert_true(fg_str_is(got->id, "i"));
    assert_int_equal(got->token_count, 3);
    assert_int_equal(got->tokens[2], 3);
    assert_int_equal(got->logprob_count, 2);
    assert_true(fg_str_is(got->logprobs[1].bytes, "BB"));
    assert_null(got->logprobs[1].top);
    assert_int_equal(got->logprobs[0].top_count, 2);
    assert_int_equal(got->logprobs[0].top[1].token, 5);
    assert_true(fg_str_is(got->logprobs[0].top[1].bytes, "BB"));
    assert_true(fg_str_is(got->logprobs[0].top[0].bytes, "A"));
    assert_int_equal(got->value_count, 2);
    assert_true(got->values[1] == -2);
    assert_int_equal(got->usage->prompt_tokens, 11);
    assert_true(got->usage->output_ns == 1ull << 40);
    assert_int_equal(got->code, 5);
    assert_null(next(r));
}

static void an_event_stays_while_others_come(void **state)
{
    struct rig *r = *state;
    emit_text(r, "first");
    const struct fg_event *got = next(r);
    for (int i = 0; i < 1000; i++)
        emit_text(r, "a text that makes the ring grow and grow and grow and grow");
    assert_true(fg_str_is(got->text, "first"));
    for (int i = 0; i < 1000; i++)
        assert_non_null(next(r));
    assert_null(next(r));
}

static void a_burst_wakes_once(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 100; i++)
        emit_text(r, "x");
    turn(r);
    assert_int_equal(r->woken, 1);
    while (next(r))
        ;
    turn(r);
    assert_int_equal(r->woken, 1);
    emit_text(r, "y");
    turn(r);
    assert_int_equal(r->woken, 2);
}

static void a_slow_consumer_pauses_and_resumes(void **state)
{
    struct rig *r = *state;
    uint32_t sent = 0, taken = 0, resumes = 0;
    while (emit_text(r, "0123456789") == FG_FLOW_GO)
        sent++;
    sent++; /* the one that was answered with PAUSE was taken */
    assert_in_range(sent, 100, 2000);
    bool early = false;
    while (next(r)) {
        taken++;
        resumes += r->resume;
        early |= r->resume && taken < sent / 2;
    }
    resumes += r->resume;
    assert_int_equal(taken, sent);
    assert_int_equal(resumes, 1);
    assert_false(early);
    assert_int_equal(emit_text(r, "x"), FG_FLOW_GO);
}

static void nothing_is_resumed_that_was_not_paused(void **state)
{
    struct rig *r = *state;
    emit_text(r, "x");
    assert_non_null(next(r));
    assert_false(r->resume);
    assert_null(next(r));
    assert_false(r->resume);
}

static void the_last_event_comes_after_stop(void **state)
{
    struct rig *r = *state;
    emit_text(r, "before");
    fg_stream_stop(r->stream);
    assert_int_equal(emit_text(r, "dropped"), FG_FLOW_STOP);
    assert_int_equal(emit_done(r, FG_END_CANCELLED), FG_FLOW_STOP);
    assert_true(fg_str_is(next(r)->text, "before"));
    const struct fg_event *last = next(r);
    assert_int_equal(last->kind, FG_EV_DONE);
    assert_int_equal(last->code, FG_END_CANCELLED);
    assert_int_equal(last->usage->output_tokens, 9);
    assert_true(fg_stream_is_over(r->stream));
    assert_null(next(r));
}

static void nothing_follows_the_last_event(void **state)
{
    struct rig *r = *state;
    emit_done(r, FG_END_STOP);
    assert_int_equal(emit_text(r, "late"), FG_FLOW_STOP);
    assert_int_equal(emit_done(r, FG_END_LENGTH), FG_FLOW_STOP);
    assert_false(fg_stream_is_over(r->stream));
    assert_int_equal(next(r)->code, FG_END_STOP);
    assert_null(next(r));
}

static void a_large_event_is_taken(void **state)
{
    struct rig *r = *state;
    enum { FLOATS = 1 << 20 };
    float *values = calloc(FLOATS, sizeof *values);
    values[FLOATS - 1] = 3;
    struct fg_event ev = {
        .size = sizeof ev, .kind = FG_EV_EMBEDDING, .values = values, .value_count = FLOATS};
    emit_text(r, "a");
    assert_int_equal(fg_stream_emit(r->stream, &ev), FG_FLOW_PAUSE);
    emit_text(r, "b");
    free(values);
    assert_true(fg_str_is(next(r)->text, "a"));
    const struct fg_event *got = next(r);
    assert_int_equal(got->value_count, FLOATS);
    assert_true(got->values[FLOATS - 1] == 3);
    assert_true(fg_str_is(next(r)->text, "b"));
    assert_true(r->resume); /* the large one is gone */
    assert_null(next(r));
}

static void a_flood_ends_with_a_failure(void **state)
{
    struct rig *r = *state;
    char *text = malloc(1 << 20);
    memset(text, 'x', 1 << 20);
    struct fg_event ev = {.size = sizeof ev, .kind = FG_EV_TEXT, .text = {text, 1 << 20}};
    int32_t rc = FG_FLOW_GO;
    for (int i = 0; i < 100 && rc != FG_FLOW_STOP; i++)
        rc = fg_stream_emit(r->stream, &ev);
    free(text);
    assert_int_equal(rc, FG_FLOW_STOP);
    emit_done(r, FG_END_STOP);
    const struct fg_event *got, *last = NULL;
    int32_t kind = -1, code = -1, prompt = 0;
    while ((got = next(r))) {
        last = got;
        kind = got->kind;
        code = got->code;
        prompt = got->usage ? (int32_t)got->usage->prompt_tokens : 0;
    }
    assert_null(got);
    assert_non_null(last);
    assert_int_equal(kind, FG_EV_FAILED);
    assert_int_equal(code, FG_INTERNAL);
    assert_int_equal(prompt, 7);
    assert_true(fg_stream_is_over(r->stream));
}

/* Whichever allocation fails, the consumer gets the events before it and then one last event. */
static void the_last_event_comes_without_memory(void **state)
{
    (void)state;
    for (long n = 0; n < 12; n++) {
        struct rig r = {0};
        int32_t rc = FG_FLOW_GO;
        uint32_t sent = 0, got = 0;
        assert_int_equal(fg_worker_open(0, &r.worker, NULL), FG_OK);
        assert_int_equal(fg_stream_open(r.worker, on_ready, &r, &r.stream, NULL), FG_OK);
        allocations = n;
        while (sent < 5000 && (rc = emit_text(&r, "0123456789abcdef")) != FG_FLOW_STOP)
            sent++;
        emit_done(&r, FG_END_STOP);
        allocations = -1;
        const struct fg_event *ev, *last = NULL;
        while ((ev = next(&r))) {
            got += ev->kind == FG_EV_TEXT;
            if (fg_stream_is_over(r.stream)) {
                last = ev;
                break;
            }
        }
        assert_non_null(last);
        assert_int_equal(got, sent);
        assert_int_equal(last->kind, rc == FG_FLOW_STOP ? FG_EV_FAILED : FG_EV_DONE);
        if (rc == FG_FLOW_STOP)
            assert_int_equal(last->code, FG_NO_MEMORY);
        assert_int_equal(last->usage->prompt_tokens, 7);
        turn(&r);
        assert_int_equal(r.woken, 1);
        fg_stream_close(r.stream);
        fg_worker_close(r.worker);
    }
}

static void an_older_plugin_has_fewer_fields(void **state)
{
    struct rig *r = *state;
    struct fg_event ev = {.size = offsetof(struct fg_event, code),
                          .kind = FG_EV_TEXT,
                          .text = FG_STR("old"),
                          .code = 77,
                          .usage = (void *)1};
    fg_stream_emit(r->stream, &ev);
    const struct fg_event *got = next(r);
    assert_true(fg_str_is(got->text, "old"));
    assert_int_equal(got->code, 0);
    assert_null(got->usage);
}

static void a_close_with_a_wake_up_under_way_is_safe(void **state)
{
    struct rig *r = *state;
    emit_done(r, FG_END_STOP);
    assert_non_null(next(r)); /* taken before the task has run */
    fg_stream_close(r->stream);
    r->stream = NULL;
    turn(r);
    assert_int_equal(r->woken, 0);
}

/* ---- two threads ---- */

struct race {
    struct rig rig;
    atomic_int resumes;
    uint32_t taken;
    uint64_t sum;
    bool over;
};

static void drain(void *ctx)
{
    struct race *race = ctx;
    const struct fg_event *ev;
    bool resume;
    while ((ev = fg_stream_next(race->rig.stream, &resume))) {
        race->taken++;
        race->sum += ev->index;
        if (resume)
            atomic_fetch_add(&race->resumes, 1);
        if (fg_stream_is_over(race->rig.stream)) {
            fg_stream_close(race->rig.stream);
            race->over = true;
            event_base_loopbreak(fg_worker_base(race->rig.worker));
            return;
        }
    }
    if (resume)
        atomic_fetch_add(&race->resumes, 1);
}

enum { RACE_EVENTS = 20000 };

static void *flood(void *ctx)
{
    struct race *race = ctx;
    int seen = 0;
    for (uint32_t i = 1; i <= RACE_EVENTS; i++) {
        struct fg_event ev = {
            .size = sizeof ev, .kind = FG_EV_TEXT, .index = i, .text = FG_STR("some text")};
        int mark = atomic_load(&race->resumes);
        if (fg_stream_emit(race->rig.stream, &ev) == FG_FLOW_PAUSE && mark == seen) {
            while (atomic_load(&race->resumes) == seen)
                sched_yield();
        }
        seen = atomic_load(&race->resumes);
    }
    struct fg_event last = {.size = sizeof last, .kind = FG_EV_DONE};
    fg_stream_emit(race->rig.stream, &last);
    return NULL;
}

static void nothing_is_lost_between_two_threads(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        struct race race = {0};
        pthread_t thread;
        assert_int_equal(fg_worker_open(0, &race.rig.worker, NULL), FG_OK);
        assert_int_equal(fg_stream_open(race.rig.worker, drain, &race, &race.rig.stream, NULL),
                         FG_OK);
        pthread_create(&thread, NULL, flood, &race);
        while (!race.over)
            event_base_loop(fg_worker_base(race.rig.worker), EVLOOP_ONCE);
        pthread_join(thread, NULL);
        assert_int_equal(race.taken, RACE_EVENTS + 1);
        assert_int_equal(race.sum, (uint64_t)RACE_EVENTS * (RACE_EVENTS + 1) / 2);
        fg_worker_close(race.rig.worker);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_event_is_copied_whole),
        TEST(an_event_stays_while_others_come),
        TEST(a_burst_wakes_once),
        TEST(a_slow_consumer_pauses_and_resumes),
        TEST(nothing_is_resumed_that_was_not_paused),
        TEST(the_last_event_comes_after_stop),
        TEST(nothing_follows_the_last_event),
        TEST(a_large_event_is_taken),
        TEST(a_flood_ends_with_a_failure),
        cmocka_unit_test(the_last_event_comes_without_memory),
        TEST(an_older_plugin_has_fewer_fields),
        TEST(a_close_with_a_wake_up_under_way_is_safe),
        cmocka_unit_test(nothing_is_lost_between_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
