/* One job at a time: what may be asked in which shape, and that it ends once. */
#include "check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"

struct world {
    struct fg_backend *backend;
    struct fg_model *model;
};

static struct world open_world(struct bench *b)
{
    struct world w = {.backend = backend_open(b)};
    w.model = model_load(b, w.backend);
    return w;
}

static void close_world(struct bench *b, struct world *w)
{
    model_unload(b, w->model);
    backend_close(b, w->backend);
}

static void a_job_ends_with_one_last_event(struct bench *b)
{
    struct world w = open_world(b);
    struct ask a;
    struct fg_stream s;
    ask_init(b, &a, 8, 16);
    for (int i = 0; i < 3; i++) {
        job_run(b, w.model, &a.request, &s, ALWAYS_GO);
        if (!s.outputs)
            broken(b, "a prompt of 8 words and 16 tokens to say, and no output came");
        if (!s.usage.prompt_tokens)
            broken(b, "usage of the last event: prompt_tokens is 0");
        stream_done(&s);
    }
    close_world(b, &w);
}

static void a_request_of_the_least_size_is_enough(struct bench *b)
{
    struct world w = open_world(b);
    struct ask a;
    struct fg_stream s;
    ask_init(b, &a, 8, 8);
    a.request.sampling = guarded(b, &a.sampling, sizeof a.sampling);
    const struct fg_request *edge = guarded(b, &a.request, sizeof a.request);
    job_run(b, w.model, edge, &s, ALWAYS_GO);
    stream_done(&s);
    close_world(b, &w);
}

static void a_larger_request_is_read_as_far_as_known(struct bench *b)
{
    struct world w = open_world(b);
    struct ask a;
    struct fg_stream s;
    struct {
        struct fg_request request;
        unsigned char later[128];
    } larger;
    ask_init(b, &a, 8, 8);
    memset(larger.later, 0xA5, sizeof larger.later);
    larger.request = a.request;
    larger.request.size = sizeof larger;
    job_run(b, w.model, &larger.request, &s, ALWAYS_GO);
    stream_done(&s);
    close_world(b, &w);
}

static void what_is_optional_may_be_left_out(struct bench *b)
{
    struct world w = open_world(b);
    struct ask a;
    struct fg_stream s;
    struct fg_job *job = NULL;
    ask_init(b, &a, 4, 4);
    a.request.flags = 0;
    a.request.sampling = NULL;
    a.request.id = (struct fg_str){NULL, 0};
    stream_init(&s, &a.request, ALWAYS_GO);
    step(b, "submit() without sampling, id and error");
    if (b->plugin->submit(w.model, &a.request, &s, &job, NULL) != FG_OK)
        broken(b, "submit() fails where sampling, id and error are NULL");
    wait_over(b, &s, b->patience_ms, "after submit()");
    job_release(b, job);
    stream_done(&s);
    close_world(b, &w);
}

/* Refused: a status, a text, no event, no job. */
static void expect_refusal(struct bench *b, struct fg_model *model, const struct fg_request *r,
                           const char *what)
{
    struct fg_stream s;
    struct fg_error err = {0};
    struct fg_job *mark = (struct fg_job *)(void *)b, *job = mark;
    stream_init(&s, r, ALWAYS_GO);
    step(b, "submit() of what it cannot do");
    const int32_t rc = b->plugin->submit(model, r, &s, &job, &err);
    if (rc == FG_OK) { /* it may also fail as a job */
        if (job == mark)
            broken(b, "submit() answers OK and gives no job");
        wait_over(b, &s, b->patience_ms, "after submit()");
        if (s.last_kind != FG_EV_FAILED)
            broken(b, "%s is answered as if it were nothing: what cannot be done is refused",
                   what);
        job_release(b, job);
    } else {
        if (s.events)
            broken(b, "submit() fails and an event came: on failure none does");
        if (!err.text[0])
            broken(b, "submit() refuses %s with %s and says nothing", what, status_name(rc));
        if (job != mark)
            broken(b, "submit() fails and still sets the job");
    }
    step(b, "submit() of what it cannot do, without an error to fill");
    struct fg_job *again = NULL;
    if (rc != FG_OK && b->plugin->submit(model, r, &s, &again, NULL) == FG_OK)
        broken(b, "submit() refuses %s once and then takes it", what);
    stream_done(&s);
}

static void what_it_cannot_do_is_refused(struct bench *b)
{
    static const struct {
        int32_t op;
        uint32_t can;
        const char *name;
    } ops[] = {
        {FG_OP_CHAT, FG_CAN_CHAT, "CHAT"},
        {FG_OP_COMPLETE, FG_CAN_COMPLETE, "COMPLETE"},
        {FG_OP_EMBED, FG_CAN_EMBED, "EMBED"},
        {FG_OP_RERANK, FG_CAN_RERANK, "RERANK"},
        {FG_OP_TOKENIZE, FG_CAN_TOKENIZE, "TOKENIZE"},
        {FG_OP_DETOKENIZE, FG_CAN_TOKENIZE, "DETOKENIZE"},
        {FG_OP_RENDER, FG_CAN_TOKENIZE, "RENDER"},
        {99, 0, "operation 99"},
        {-1, 0, "operation -1"},
    };
    struct world w = open_world(b);
    struct ask a;
    struct fg_stream s;
    const int32_t id = 1;
    ask_init(b, &a, 4, 4);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (ops[i].can && b->can & ops[i].can)
            continue;
        struct fg_request r = a.request;
        r.op = ops[i].op;
        r.messages = &a.message;
        r.message_count = 1;
        r.inputs = &a.input;
        r.input_count = 1;
        r.input_tokens = &id;
        r.input_token_count = r.op == FG_OP_DETOKENIZE;
        expect_refusal(b, w.model, &r, ops[i].name);
    }
    job_run(b, w.model, &a.request, &s, ALWAYS_GO); /* and it goes on working */
    stream_done(&s);
    close_world(b, &w);
}

static void what_the_model_has_not_is_refused(struct bench *b)
{
    static const struct fg_tool tool = {.name = {"f", 1}, .schema_json = {"{}", 2}};
    struct world w = open_world(b);
    struct ask a;
    ask_init(b, &a, 4, 4);
    if (!(b->can & FG_CAN_TOOLS) && b->can & FG_CAN_CHAT) {
        struct fg_request r = a.request;
        r.op = FG_OP_CHAT;
        r.inputs = NULL;
        r.input_count = 0;
        r.messages = &a.message;
        r.message_count = 1;
        r.tools = &tool;
        r.tool_count = 1;
        expect_refusal(b, w.model, &r, "a tool, by a model without FG_CAN_TOOLS,");
    }
    if (!(b->can & FG_CAN_SCHEMA)) {
        struct fg_request r = a.request;
        r.schema_json = FG_STR("{}");
        expect_refusal(b, w.model, &r, "a schema, by a model without FG_CAN_SCHEMA,");
    }
    if (!(b->can & FG_CAN_LOGPROBS)) {
        struct fg_request r = a.request;
        r.logprobs = 1;
        expect_refusal(b, w.model, &r, "logprobs, by a model without FG_CAN_LOGPROBS,");
    }
    close_world(b, &w);
}

static void max_tokens_is_kept(struct bench *b)
{
    struct world w = open_world(b);
    struct ask a;
    struct fg_stream s;
    for (uint32_t most = 1; most <= 16; most *= 4) {
        ask_init(b, &a, 64, most);
        job_run(b, w.model, &a.request, &s, ALWAYS_GO); /* host.c compares with usage */
        if (s.last_code != FG_END_LENGTH)
            broken(b, "a prompt of 64 words, max_tokens %u, told to go on: it ends with code %d, "
                      "not with LENGTH", most, s.last_code);
        stream_done(&s);
    }
    close_world(b, &w);
}

static void a_stop_string_ends_the_text_before_it(struct bench *b)
{
    struct world w = open_world(b);
    struct ask a;
    struct fg_stream s;
    char stop[9];
    ask_init(b, &a, 64, 32);
    job_run(b, w.model, &a.request, &s, ALWAYS_GO);
    if (s.text.len < 40)
        skipped(b, "the model says too little");
    /* Nine bytes from the middle, from the start of a character on. */
    size_t at = s.text.len / 2;
    while (at > 1 && (s.text.ptr[at] & 0xC0) == 0x80)
        at--;
    size_t len = 8;
    while (len > 1 && (s.text.ptr[at + len] & 0xC0) == 0x80)
        len--;
    memcpy(stop, s.text.ptr + at, len);
    const char *hit = memmem(s.text.ptr, s.text.len, stop, len);
    const size_t want = (size_t)(hit - s.text.ptr);
    const struct fg_str list[] = {{"never said, never", 17}, {stop, len}};
    stream_done(&s);
    a.request.stops = list;
    a.request.stop_count = 2;
    job_run(b, w.model, &a.request, &s, ALWAYS_GO);
    if (memmem(s.text.ptr ? s.text.ptr : "", s.text.len, stop, len))
        broken(b, "the text goes on through a stop string");
    if (s.text.len == want && s.last_code != FG_END_STOP)
        broken(b, "a stop string was hit and the code is %d, not STOP", s.last_code);
    stream_done(&s);
    close_world(b, &w);
}

static void a_long_prompt_is_refused_with_its_length(struct bench *b)
{
    struct world w = open_world(b);
    struct ask a;
    struct fg_stream s;
    struct fg_job *job = NULL;
    struct fg_error err = {0};
    struct fg_buf text = {0};
    ask_init(b, &a, 4, 4);
    if (b->context > 1 << 16)
        skipped(b, "a context of %u tokens is too long for this", b->context);
    for (uint32_t i = 0; i < b->context + 16; i++)
        fg_buf_add(&text, FG_STR("x y z "));
    a.part.data = a.input = fg_buf_str(&text);
    stream_init(&s, &a.request, ALWAYS_GO);
    step(b, "submit() of a prompt that does not fit");
    int32_t rc = b->plugin->submit(w.model, &a.request, &s, &job, &err);
    if (rc == FG_OK) {
        wait_over(b, &s, b->patience_ms, "after submit()");
        job_release(b, job);
        rc = s.last_kind == FG_EV_FAILED ? s.last_code : FG_OK;
    }
    if (rc != FG_TOO_LONG)
        broken(b, "three words for each token of the context end with %s, not with FG_TOO_LONG",
               status_name(rc));
    if (s.events && s.usage.prompt_tokens < b->context)
        broken(b, "FG_TOO_LONG: usage tells of %u prompt tokens, the context has %u",
               s.usage.prompt_tokens, b->context);
    fg_buf_done(&text);
    stream_done(&s);
    close_world(b, &w);
}

const struct check checks_jobs[] = {
    {"a job ends with exactly one last event", a_job_ends_with_one_last_event, NEEDS_TEXT},
    {"a request of the least size is enough", a_request_of_the_least_size_is_enough, NEEDS_TEXT},
    {"a request larger than known is read as far as it is",
     a_larger_request_is_read_as_far_as_known, NEEDS_TEXT},
    {"what is optional may be NULL", what_is_optional_may_be_left_out, NEEDS_TEXT},
    {"operations it cannot do are refused without an event", what_it_cannot_do_is_refused,
     NEEDS_TEXT},
    {"features the model has not are refused, not ignored", what_the_model_has_not_is_refused,
     NEEDS_TEXT},
    {"max_tokens is kept and told as LENGTH", max_tokens_is_kept, NEEDS_TEXT},
    {"a stop string ends the text before it", a_stop_string_ends_the_text_before_it, NEEDS_TEXT},
    {"a prompt that does not fit fails with FG_TOO_LONG and its length",
     a_long_prompt_is_refused_with_its_length, NEEDS_TEXT},
    {NULL, NULL, 0},
};
