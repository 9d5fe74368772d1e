/* What comes out: texts, ids, ends, embeddings, tokens; alone, batched, cached and squeezed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "toy.h"

static void assert_text(const struct fg_buf *got, const struct fg_buf *want)
{
    if (got->len != want->len ||
        memcmp(got->ptr ? got->ptr : "", want->ptr ? want->ptr : "", got->len) != 0)
        fail_msg("got \"%.*s\" (%zu), want \"%.*s\" (%zu)", FG_STR_ARG(fg_buf_str(got)), got->len,
                 FG_STR_ARG(fg_buf_str(want)), want->len);
}

static struct fg_str long_text(char *room, size_t len, char first)
{
    for (size_t i = 0; i < len; i++)
        room[i] = (char)('a' + (first + i * i) % 26);
    return (struct fg_str){room, len};
}

static void greedy_text_is_the_networks(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    struct fg_buf want = {0};
    toy_open(&b, (struct toy_size){0});
    toy_ask(&ask, FG_STR("hello"), 70);
    ask.req.flags |= FG_REQ_TOKENS;
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    toy_expect(&want, ask.input, true, 70);
    assert_text(&s.text[0], &want);
    assert_false(s.failed);
    assert_int_equal(s.code, FG_END_LENGTH);
    assert_int_equal(s.started, 1);
    assert_int_equal(s.ids[0].len, 70);
    assert_int_equal(s.usage.prompt_tokens, 6);
    assert_int_equal(s.usage.output_tokens, 70);
    assert_int_equal(s.usage.cached_tokens, 0);
    assert_true(s.usage.prompt_ns > 0 && s.usage.output_ns > 0);
    fg_buf_done(&want);
    toy_stream_done(&s);
    toy_close(&b);
}

static void an_answer_ends_by_itself(void **state)
{
    (void)state;
    struct toy_bench b;
    toy_open(&b, (struct toy_size){0});
    toy.eos = true;
    int ended = 0;
    for (int i = 0; i < 20; i++) {
        struct toy_ask ask;
        struct toy_stream s;
        struct fg_buf want = {0};
        char prompt[8];
        snprintf(prompt, sizeof prompt, "p%d", i);
        toy_ask(&ask, fg_str_of(prompt), 100);
        toy_stream_init(&s);
        toy_run(&b, &s, &ask.req);
        toy_expect(&want, ask.input, true, 100);
        assert_text(&s.text[0], &want);
        ended += s.code == FG_END_STOP;
        if (i == 0) { /* the same, told not to end */
            toy_stream_done(&s);
            toy_stream_init(&s);
            ask.req.flags |= FG_REQ_IGNORE_EOS | FG_REQ_TOKENS;
            toy_run(&b, &s, &ask.req);
            assert_int_equal(s.code, FG_END_LENGTH);
            assert_int_equal(s.ids[0].len, 100);
        }
        fg_buf_done(&want);
        toy_stream_done(&s);
    }
    assert_true(ended > 3);
    toy_close(&b);
}

static void batched_texts_are_those_of_alone(void **state)
{
    (void)state;
    enum { JOBS = 8 };
    struct toy_bench b;
    struct toy_ask ask[JOBS];
    struct toy_stream s[JOBS];
    struct fg_job *job[JOBS];
    static char prompt[JOBS][700];
    toy_open(&b, (struct toy_size){.context = 1024});
    toy.layer_us = 100;
    for (int i = 0; i < JOBS; i++) {
        toy_ask(&ask[i], long_text(prompt[i], 5 + (size_t)i * 90, (char)i), 60 + (uint32_t)i);
        toy_stream_init(&s[i]);
        job[i] = toy_submit(&b, &s[i], &ask[i].req);
    }
    for (int i = 0; i < JOBS; i++) {
        struct fg_buf want = {0};
        toy_wait(&s[i]);
        fg_sched_release(job[i]);
        toy_expect(&want, ask[i].input, true, 60 + (uint32_t)i);
        assert_text(&s[i].text[0], &want);
        fg_buf_done(&want);
        toy_stream_done(&s[i]);
    }
    assert_int_equal(toy.most_sequences, JOBS);
    struct fg_sched_stats st;
    fg_sched_stats(b.sched, &st);
    assert_true(st.decode_rows > 4 * st.steps); /* they really ran together */
    toy_close(&b);
}

static void a_cached_prompt_costs_one_row(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    static char prompt[512];
    toy_open(&b, (struct toy_size){0});
    struct fg_buf want = {0};
    toy_ask(&ask, long_text(prompt, 511, 3), 1);
    toy_expect(&want, ask.input, true, 1);
    for (int round = 0; round < 2; round++) {
        struct toy_stream s;
        toy_stream_init(&s);
        const uint64_t rows = toy.rows;
        toy_run(&b, &s, &ask.req);
        assert_text(&s.text[0], &want);
        assert_int_equal(s.usage.prompt_tokens, 512);
        assert_int_equal(s.usage.cached_tokens, round ? 511 : 0);
        assert_int_equal(s.start_usage.cached_tokens, round ? 511 : 0);
        assert_int_equal(toy.rows - rows, round ? 1 : 512);
        toy_stream_done(&s);
    }
    /* Another scope, and a request that wants nothing of others, compute all of it. */
    for (int round = 0; round < 2; round++) {
        struct toy_stream s;
        toy_stream_init(&s);
        if (round == 0)
            ask.req.cache_scope = FG_STR("other tenant");
        else
            ask.req.flags |= FG_REQ_NO_CACHE;
        toy_run(&b, &s, &ask.req);
        assert_text(&s.text[0], &want);
        assert_int_equal(s.usage.cached_tokens, 0);
        toy_stream_done(&s);
        ask.req.cache_scope = FG_STR("");
    }
    fg_buf_done(&want);
    toy_close(&b);
}

static void a_conversation_goes_on_from_its_own_output(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    static char prompt[400];
    toy_open(&b, (struct toy_size){0});
    toy_ask(&ask, long_text(prompt, 50, 1), 40);
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    /* Bytes become other tokens than those drawn where a word or a split character came, so only
     * up to there the second turn is known. */
    struct fg_buf second = {0};
    fg_buf_add(&second, ask.input);
    fg_buf_add(&second, fg_buf_str(&s.text[0]));
    toy_stream_done(&s);
    struct fg_buf want = {0};
    toy_ask(&ask, fg_buf_str(&second), 20);
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    toy_expect(&want, ask.input, true, 20);
    assert_text(&s.text[0], &want);
    assert_true(s.usage.cached_tokens >= 51);
    toy_stream_done(&s);
    fg_buf_done(&want);
    fg_buf_done(&second);
    toy_close(&b);
}

static void pages_running_out_changes_no_text(void **state)
{
    (void)state;
    enum { JOBS = 6 };
    struct toy_bench b;
    struct toy_ask ask[JOBS];
    struct toy_stream s[JOBS];
    struct fg_job *job[JOBS];
    static char prompt[JOBS][100];
    toy_open(&b, (struct toy_size){.context = 384, .pages = 14}); /* 448 tokens; wanted: 6 * 250 */
    for (int i = 0; i < JOBS; i++) {
        toy_ask(&ask[i], long_text(prompt[i], 40 + (size_t)i, (char)i), 200);
        toy_stream_init(&s[i]);
        job[i] = toy_submit(&b, &s[i], &ask[i].req);
    }
    for (int i = 0; i < JOBS; i++) {
        struct fg_buf want = {0};
        toy_wait(&s[i]);
        fg_sched_release(job[i]);
        toy_expect(&want, ask[i].input, true, 200);
        assert_text(&s[i].text[0], &want);
        fg_buf_done(&want);
        toy_stream_done(&s[i]);
    }
    struct fg_sched_stats st;
    fg_sched_stats(b.sched, &st);
    assert_true(st.preemptions > 0);
    toy_close(&b);
}

static void choices_share_the_prompt(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s, again;
    static char prompt[300];
    toy_open(&b, (struct toy_size){0});
    toy_ask(&ask, long_text(prompt, 299, 5), 12);
    ask.req.choices = 5;
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    struct fg_buf want = {0};
    toy_expect(&want, ask.input, true, 12);
    for (int i = 0; i < 5; i++) { /* greedy: all alike */
        assert_text(&s.text[i], &want);
        assert_int_equal(s.finish[i], FG_END_LENGTH);
    }
    assert_int_equal(s.finishes, 5);
    assert_int_equal(s.usage.output_tokens, 60);
    assert_int_equal(s.usage.prompt_tokens, 300);
    assert_true(toy.rows <= 300 + 5 * 12); /* the prompt ran once */
    toy_stream_done(&s);
    /* Drawn: they differ, and a seed repeats all of them. */
    ask.sampling.set = FG_SET_TEMPERATURE | FG_SET_SEED;
    ask.sampling.temperature = 3;
    ask.sampling.seed = 9;
    ask.req.flags |= FG_REQ_NO_CACHE;
    toy_stream_init(&s);
    toy_stream_init(&again);
    toy_run(&b, &s, &ask.req);
    toy_run(&b, &again, &ask.req);
    for (int i = 0; i < 5; i++)
        assert_text(&again.text[i], &s.text[i]);
    assert_false(s.text[0].len == s.text[1].len &&
                 memcmp(s.text[0].ptr, s.text[1].ptr, s.text[0].len) == 0);
    toy_stream_done(&s);
    toy_stream_done(&again);
    fg_buf_done(&want);
    toy_close(&b);
}

static void a_stop_string_ends_the_answer(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    struct fg_buf want = {0};
    toy_open(&b, (struct toy_size){0});
    toy_expect(&want, FG_STR("stop me"), true, 60);
    struct fg_str stop = {want.ptr + 25, 6}; /* six bytes of the answer, over several tokens */
    while (((unsigned char)stop.ptr[0] & 0xc0) == 0x80)
        stop.ptr++;
    const char *hit = memmem(want.ptr, want.len, stop.ptr, stop.len);
    want.len = (size_t)(hit - want.ptr);
    toy_ask(&ask, FG_STR("stop me"), 60);
    ask.req.stops = &stop;
    ask.req.stop_count = 1;
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    assert_text(&s.text[0], &want);
    assert_int_equal(s.code, FG_END_STOP);
    assert_true(fg_str_eq(fg_buf_str(&s.finish_stop), stop));
    toy_stream_done(&s);
    fg_buf_done(&want);
    toy_close(&b);
}

static void a_full_context_ends_or_slides(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    struct fg_buf want = {0};
    toy_open(&b, (struct toy_size){.context = 64});
    toy_ask(&ask, FG_STR("0123456789"), 0);
    ask.req.flags |= FG_REQ_TOKENS;
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    toy_expect(&want, ask.input, true, 64 - 11);
    assert_text(&s.text[0], &want);
    assert_int_equal(s.code, FG_END_LENGTH);
    toy_stream_done(&s);
    toy_stream_init(&s);
    ask.req.flags |= FG_REQ_SHIFT;
    ask.req.max_tokens = 300;
    toy_run(&b, &s, &ask.req);
    assert_int_equal(s.code, FG_END_LENGTH);
    assert_int_equal(s.ids[0].len, 300);
    assert_true(s.text[0].len > want.len);
    assert_memory_equal(s.text[0].ptr, want.ptr, want.len); /* the same until it slides */
    toy_stream_done(&s);
    fg_buf_done(&want);
    toy_close(&b);
}

static void an_answer_is_continued_where_it_broke_off(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream whole, rest;
    toy_open(&b, (struct toy_size){0});
    toy_ask(&ask, FG_STR("go on"), 50);
    ask.req.flags |= FG_REQ_TOKENS;
    toy_stream_init(&whole);
    toy_run(&b, &whole, &ask.req);
    for (uint32_t at = 1; at < 50; at++) {
        if (whole.ids[0].ptr[at - 1] == TOY_EURO_HEAD)
            continue; /* an id is delivered with its text: never half a character */
        struct fg_buf text = {0};
        for (uint32_t i = 0; i < at; i++)
            fg_buf_add(&text, fg_vocab_piece(NULL, whole.ids[0].ptr[i], false));
        ask.req.resume_tokens = whole.ids[0].ptr;
        ask.req.resume_count = at;
        toy_stream_init(&rest);
        toy_run(&b, &rest, &ask.req);
        fg_buf_add(&text, fg_buf_str(&rest.text[0]));
        assert_text(&text, &whole.text[0]);
        assert_int_equal(rest.usage.output_tokens, 50);
        assert_int_equal(rest.usage.prompt_tokens, 6);
        assert_int_equal(rest.code, FG_END_LENGTH);
        toy_stream_done(&rest);
        fg_buf_done(&text);
    }
    ask.req.resume_count = 50; /* it was complete: only its end is told */
    toy_stream_init(&rest);
    toy_run(&b, &rest, &ask.req);
    assert_int_equal(rest.text[0].len, 0);
    assert_int_equal(rest.started, 1);
    assert_int_equal(rest.code, FG_END_LENGTH);
    toy_stream_done(&rest);
    const int32_t wrong = TOY_VOCAB;
    ask.req.resume_tokens = &wrong;
    ask.req.resume_count = 1;
    toy_stream_init(&rest);
    toy_run(&b, &rest, &ask.req);
    assert_true(rest.failed);
    assert_int_equal(rest.code, FG_INVALID);
    toy_stream_done(&rest);
    toy_stream_done(&whole);
    toy_close(&b);
}

static void what_is_continued_may_be_longer_than_the_context(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    static int32_t given[500];
    for (int i = 0; i < 500; i++)
        given[i] = 'a' + i % 26;
    toy_open(&b, (struct toy_size){.context = 64});
    toy_ask(&ask, FG_STR("x"), 510);
    ask.req.resume_tokens = given;
    ask.req.resume_count = 500;
    ask.req.flags |= FG_REQ_TOKENS;
    for (int slide = 0; slide < 2; slide++) {
        toy_stream_init(&s);
        toy_run(&b, &s, &ask.req);
        assert_int_equal(s.code, FG_END_LENGTH);
        assert_int_equal(s.ids[0].len, slide ? 10 : 0);
        toy_stream_done(&s);
        ask.req.flags |= FG_REQ_SHIFT;
    }
    toy_close(&b);
}

static void logprobs_cover_exactly_their_tokens(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    toy_open(&b, (struct toy_size){0});
    toy_ask(&ask, FG_STR("logprobs"), 60);
    ask.req.logprobs = 1;
    ask.req.top_logprobs = 3;
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    assert_int_equal(s.ids[0].len, 60);
    assert_int_equal(s.top.len, 60);
    for (size_t i = 0; i < 60; i++) /* greedy: the best alternative is the token */
        assert_int_equal(s.top.ptr[i], s.ids[0].ptr[i]);
    if (s.ids[0].ptr[59] != TOY_EURO_HEAD)
        assert_text(&s.bytes, &s.text[0]);
    toy_stream_done(&s);
    toy_close(&b);
}

static void chats_go_through_the_template(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_stream s;
    struct fg_buf want = {0};
    const struct fg_part parts[] = {{.data = FG_STR("be brief")},
                                    {.data = FG_STR("<s>hi")},
                                    {.data = FG_STR("Sure, ")},
                                    {.data = FG_STR("raise")}};
    const struct fg_message messages[] = {{FG_ROLE_SYSTEM, 1, &parts[0]},
                                          {FG_ROLE_USER, 1, &parts[1]},
                                          {FG_ROLE_ASSISTANT, 1, &parts[2]},
                                          {FG_ROLE_USER, 1, &parts[3]}};
    const struct fg_sampling greedy = {.size = sizeof greedy, .set = FG_SET_TEMPERATURE};
    struct fg_request req = {.size = sizeof req,
                             .op = FG_OP_CHAT,
                             .messages = messages,
                             .message_count = 2,
                             .sampling = &greedy,
                             .max_tokens = 10};
    toy_open(&b, (struct toy_size){0});
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    /* One BOS, and what the user wrote stays text. */
    toy_expect(&want, FG_STR("system:be brief\nuser:<s>hi\nassistant:"), true, 10);
    assert_text(&s.text[0], &want);
    toy_stream_done(&s);

    req.message_count = 3; /* the assistant's own beginning is continued */
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    want.len = 0;
    toy_expect(&want, FG_STR("system:be brief\nuser:<s>hi\nassistant:Sure, "), true, 10);
    assert_text(&s.text[0], &want);
    toy_stream_done(&s);

    req.op = FG_OP_RENDER;
    req.message_count = 2;
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    want.len = 0;
    fg_buf_add(&want, FG_STR("<s>system:be brief\nuser:<s>hi\nassistant:"));
    assert_text(&s.text[0], &want);
    toy_stream_done(&s);

    req.op = FG_OP_CHAT;
    req.messages = &messages[3];
    req.message_count = 1;
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    assert_true(s.failed);
    assert_int_equal(s.code, FG_INVALID);
    assert_string_equal(s.reason, "chat template failed: roles must alternate");
    toy_stream_done(&s);
    fg_buf_done(&want);
    toy_close(&b);
}

/* Ollama's `context`: an earlier conversation as ids, in front of what is said now. */
static void a_chat_goes_on_after_given_ids(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_stream s;
    struct fg_buf want = {0};
    const int32_t given[] = {TOY_BOS, 'o', 'l', 'd', '\n'};
    const struct fg_part part = {.data = FG_STR("hi")};
    const struct fg_message message = {FG_ROLE_USER, 1, &part};
    const struct fg_sampling greedy = {.size = sizeof greedy, .set = FG_SET_TEMPERATURE};
    struct fg_request req = {.size = sizeof req,
                             .op = FG_OP_CHAT,
                             .flags = FG_REQ_PROMPT_IDS,
                             .messages = &message,
                             .message_count = 1,
                             .input_tokens = given,
                             .input_token_count = 5,
                             .sampling = &greedy,
                             .max_tokens = 10};
    toy_open(&b, (struct toy_size){.context = 64});
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    toy_expect(&want, FG_STR("old\nuser:hi\nassistant:"), true, 10); /* one BOS, in front */
    assert_text(&s.text[0], &want);
    assert_int_equal(s.prompt.len, s.usage.prompt_tokens); /* STARTED told the prompt's ids */
    assert_memory_equal(s.prompt.ptr, given, sizeof given);
    toy_stream_done(&s);

    int32_t many[100];
    for (int i = 0; i < 100; i++)
        many[i] = 'a' + i % 26;
    req.input_tokens = many;
    req.input_token_count = 100;
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    assert_int_equal(s.code, FG_TOO_LONG);
    assert_int_equal(s.usage.prompt_tokens, 100 + strlen("user:hi\nassistant:"));
    toy_stream_done(&s);
    req.flags |= FG_REQ_TRUNCATE; /* the oldest go */
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    assert_false(s.failed);
    assert_int_equal(s.usage.prompt_tokens, 63);
    assert_int_equal(s.prompt.ptr[0], many[100 + strlen("user:hi\nassistant:") - 63]);
    toy_stream_done(&s);

    many[7] = TOY_VOCAB;
    req.input_token_count = 8;
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    assert_int_equal(s.code, FG_INVALID);
    toy_stream_done(&s);
    fg_buf_done(&want);
    toy_close(&b);
}

static void a_broken_template_fails_chats_only(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_stream s;
    struct toy_ask ask;
    const struct fg_part part = {.data = FG_STR("hi")};
    const struct fg_message message = {FG_ROLE_USER, 1, &part};
    const struct fg_request req = {
        .size = sizeof req, .op = FG_OP_CHAT, .messages = &message, .message_count = 1};
    toy_open(&b, (struct toy_size){.no_template = true});
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    assert_true(s.failed);
    assert_int_equal(s.code, FG_INVALID);
    assert_string_equal(s.reason, "chat template failed: line 1: bad");
    toy_stream_done(&s);
    toy_ask(&ask, FG_STR("hi"), 3);
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    assert_false(s.failed);
    toy_stream_done(&s);
    toy_close(&b);
}

static void too_long_a_prompt_is_told_with_its_length(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_ask ask;
    struct toy_stream s;
    static char prompt[400000];
    toy_open(&b, (struct toy_size){.context = 256});
    toy_ask(&ask, long_text(prompt, 255, 0), 5); /* 256 with BOS: no room for an answer */
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    assert_true(s.failed);
    assert_int_equal(s.code, FG_TOO_LONG);
    assert_int_equal(s.usage.prompt_tokens, 256);
    assert_int_equal(s.started, 0);
    toy_stream_done(&s);
    ask.input.len = 254;
    toy_stream_init(&s);
    toy_run(&b, &s, &ask.req);
    assert_false(s.failed);
    assert_int_equal(s.usage.output_tokens, 1);
    toy_stream_done(&s);
    for (int cut = 0; cut < 2; cut++) { /* the second is far too long to be counted */
        ask.input = long_text(prompt, cut ? 400000 : 1000, 0);
        ask.req.flags = FG_REQ_BOS | FG_REQ_TRUNCATE;
        toy_stream_init(&s);
        toy_run(&b, &s, &ask.req);
        assert_false(s.failed);
        assert_int_equal(s.usage.prompt_tokens, 256 - 5);
        assert_int_equal(s.usage.output_tokens, 5);
        toy_stream_done(&s);
        ask.req.flags = FG_REQ_BOS;
        toy_stream_init(&s);
        toy_run(&b, &s, &ask.req);
        assert_int_equal(s.code, FG_TOO_LONG);
        assert_true(s.usage.prompt_tokens >= 1001);
        toy_stream_done(&s);
    }
    toy_close(&b);
}

static void a_long_chat_loses_its_oldest_messages(void **state)
{
    (void)state;
    enum { COUNT = 60 };
    struct toy_bench b;
    struct toy_stream s;
    static char text[COUNT][32];
    struct fg_part parts[COUNT];
    struct fg_message messages[COUNT];
    for (int i = 0; i < COUNT; i++) {
        snprintf(text[i], sizeof text[i], "message %02d", i);
        parts[i] = (struct fg_part){.data = fg_str_of(text[i])};
        messages[i] = (struct fg_message){i == 0 ? FG_ROLE_SYSTEM : FG_ROLE_USER, 1, &parts[i]};
    }
    const struct fg_sampling greedy = {.size = sizeof greedy, .set = FG_SET_TEMPERATURE};
    struct fg_request req = {.size = sizeof req,
                             .op = FG_OP_CHAT,
                             .messages = messages,
                             .message_count = COUNT,
                             .sampling = &greedy,
                             .max_tokens = 4,
                             .flags = FG_REQ_TRUNCATE};
    toy_open(&b, (struct toy_size){.context = 256});
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    assert_false(s.failed);
    /* "user:message NN\n" is 16 tokens, the system's 18, BOS 1, the turn 10: 14 users fit. */
    assert_int_equal(s.usage.prompt_tokens, 1 + 18 + 14 * 16 - 16 + 16 + 10);
    struct fg_buf prompt = {0}, want = {0};
    fg_buf_add(&prompt, FG_STR("system:message 00\n"));
    for (int i = COUNT - 14; i < COUNT; i++)
        fg_buf_printf(&prompt, "user:message %02d\n", i);
    fg_buf_add(&prompt, FG_STR("assistant:"));
    toy_expect(&want, fg_buf_str(&prompt), true, 4);
    if (s.usage.output_tokens == 4)
        assert_text(&s.text[0], &want);
    toy_stream_done(&s);
    req.flags = 0;
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    assert_int_equal(s.code, FG_TOO_LONG);
    toy_stream_done(&s);
    fg_buf_done(&prompt);
    fg_buf_done(&want);
    toy_close(&b);
}

static void embeddings_are_the_mean_of_hidden_states(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_stream s;
    static char text[9][700];
    struct fg_str inputs[9];
    for (int i = 0; i < 9; i++)
        inputs[i] = long_text(text[i], 1 + (size_t)i * 80, (char)i);
    struct fg_request req = {
        .size = sizeof req, .op = FG_OP_EMBED, .inputs = inputs, .input_count = 9};
    toy_open(&b, (struct toy_size){.context = 700, .slots = 2, .chunk = 100});
    for (int round = 0; round < 2; round++) { /* the second finds nothing cached: by intent */
        toy_stream_init(&s);
        toy_run(&b, &s, &req);
        assert_false(s.failed);
        assert_int_equal(s.embeddings, 9);
        uint32_t tokens = 0;
        for (int i = 0; i < 9; i++) {
            double sum[TOY_WIDTH] = {0};
            for (size_t t = 0; t < inputs[i].len; t++)
                for (int j = 0; j < TOY_WIDTH; j++)
                    sum[j] += (unsigned char)inputs[i].ptr[t] + (double)t * j;
            for (int j = 0; j < TOY_WIDTH; j++)
                assert_true(fabs((double)s.values[i][j] - sum[j] / (double)inputs[i].len) <
                            1e-3 * (1 + fabs(sum[j])));
            tokens += (uint32_t)inputs[i].len;
        }
        assert_int_equal(s.usage.prompt_tokens, tokens);
        assert_int_equal(s.usage.output_tokens, 0);
        toy_stream_done(&s);
    }
    inputs[0] = FG_STR("");
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    assert_int_equal(s.code, FG_INVALID);
    toy_stream_done(&s);
    static char huge[70000];
    inputs[0] = long_text(huge, sizeof huge, 1);
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    assert_int_equal(s.code, FG_TOO_LONG);
    toy_stream_done(&s);
    req.flags = FG_REQ_TRUNCATE;
    req.input_count = 1;
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    assert_false(s.failed);
    assert_int_equal(s.usage.prompt_tokens, 700);
    toy_stream_done(&s);
    toy_close(&b);
}

static void tokens_and_back(void **state)
{
    (void)state;
    struct toy_bench b;
    struct toy_stream s;
    static char text[100000];
    struct fg_str input = long_text(text, sizeof text, 7);
    struct fg_request req = {.size = sizeof req,
                             .op = FG_OP_TOKENIZE,
                             .inputs = &input,
                             .input_count = 1,
                             .flags = FG_REQ_BOS};
    toy_open(&b, (struct toy_size){0});
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    assert_int_equal(s.ids[0].len, sizeof text + 1);
    assert_int_equal(s.text[0].len, 0);
    assert_int_equal(s.ids[0].ptr[0], TOY_BOS);
    toy_stream_done(&s);

    req.flags = FG_REQ_PIECES | FG_REQ_SPECIAL;
    input = FG_STR("a<s>\xc3\xa9");
    toy_stream_init(&s);
    toy_run(&b, &s, &req);
    assert_int_equal(s.ids[0].len, 4);
    assert_int_equal(s.events, 5); /* one a token, and the end */
    assert_int_equal(s.text[0].len, 6);
    toy_stream_done(&s);

    const int32_t ids[] = {TOY_BOS, ' ', 'x', TOY_EURO_HEAD, TOY_EURO_TAIL, 0xff, -5, 99999, 'y'};
    struct fg_request back = {
        .size = sizeof back, .op = FG_OP_DETOKENIZE, .input_tokens = ids, .input_token_count = 9};
    toy_stream_init(&s);
    toy_run(&b, &s, &back);
    struct fg_buf want = {0};
    fg_buf_add(&want, FG_STR("<s>x\xe2\x82\xac\xef\xbf\xbdy"));
    assert_text(&s.text[0], &want);
    toy_stream_done(&s);
    fg_buf_done(&want);
    toy_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_text_is_the_networks),
        cmocka_unit_test(an_answer_ends_by_itself),
        cmocka_unit_test(batched_texts_are_those_of_alone),
        cmocka_unit_test(a_cached_prompt_costs_one_row),
        cmocka_unit_test(a_conversation_goes_on_from_its_own_output),
        cmocka_unit_test(pages_running_out_changes_no_text),
        cmocka_unit_test(choices_share_the_prompt),
        cmocka_unit_test(a_stop_string_ends_the_answer),
        cmocka_unit_test(a_full_context_ends_or_slides),
        cmocka_unit_test(an_answer_is_continued_where_it_broke_off),
        cmocka_unit_test(what_is_continued_may_be_longer_than_the_context),
        cmocka_unit_test(logprobs_cover_exactly_their_tokens),
        cmocka_unit_test(chats_go_through_the_template),
        cmocka_unit_test(a_chat_goes_on_after_given_ids),
        cmocka_unit_test(a_broken_template_fails_chats_only),
        cmocka_unit_test(too_long_a_prompt_is_told_with_its_length),
        cmocka_unit_test(a_long_chat_loses_its_oldest_messages),
        cmocka_unit_test(embeddings_are_the_mean_of_hidden_states),
        cmocka_unit_test(tokens_and_back),
    };
    return cmocka_run_group_tests_name("sched/answer", tests, NULL, NULL);
}
