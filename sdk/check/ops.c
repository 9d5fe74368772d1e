/* What a model can besides generating, each where its bits say so. */
#include "check/check.h"

#include <stdlib.h>
#include <string.h>

struct world {
    struct fg_backend *backend;
    struct fg_model *model;
};
static struct world open_world(struct bench *b, uint32_t can, const char *what)
{
    struct world w = {.backend = backend_open(b)};
    w.model = model_load(b, w.backend);
    if ((b->can & can) != can)
        skipped(b, "the model has no %s", what);
    return w;
}
static void close_world(struct bench *b, struct world *w)
{
    model_unload(b, w->model);
    backend_close(b, w->backend);
}

static void each_input_has_one_embedding(struct bench *b)
{
    static const struct fg_str inputs[] = {{"one", 3}, {"two words", 9}, {"one", 3}};
    struct world w = open_world(b, FG_CAN_EMBED, "embeddings");
    struct fg_stream s;
    const struct fg_request r = {.size = sizeof r,
                                 .op = FG_OP_EMBED,
                                 .flags = FG_REQ_BOS,
                                 .inputs = inputs,
                                 .input_count = 3};
    job_run(b, w.model, &r, &s, ALWAYS_GO);
    if (s.embeddings != 3)
        broken(b, "EMBED of 3 inputs gives %u EMBEDDING events", s.embeddings);
    stream_done(&s);
    close_world(b, &w);
}

static void tokens_give_the_text_back(struct bench *b)
{
    static const char sample[] = "The quick brown fox, 42 jumps; gr\xC3\xBC\xC3\x9F"
                                 "e \xF0\x9F\x98\x80!";
    struct world w = open_world(b, FG_CAN_TOKENIZE, "tokenizer");
    struct fg_stream s, back;
    const struct fg_str input = {sample, sizeof sample - 1};
    struct fg_request r = {
        .size = sizeof r, .op = FG_OP_TOKENIZE, .inputs = &input, .input_count = 1};
    job_run(b, w.model, &r, &s, ALWAYS_GO);
    if (!s.id_count)
        broken(b, "TOKENIZE gives no ids");
    if (s.text.len)
        broken(b, "TOKENIZE without PIECES: the text is empty, the tokens are the ids");
    const struct fg_request d = {.size = sizeof d,
                                 .op = FG_OP_DETOKENIZE,
                                 .input_tokens = s.ids,
                                 .input_token_count = s.id_count};
    job_run(b, w.model, &d, &back, ALWAYS_GO);
    const struct fg_str text = fg_buf_str(&back.text);
    if (!fg_str_ends(text, input) || text.len > input.len + 1) /* SentencePiece adds a blank */
        broken(b, "DETOKENIZE of TOKENIZE gives %zu bytes of other text, not the %zu that went in",
               text.len, input.len);
    stream_done(&back);
    const uint32_t count = s.id_count;
    stream_done(&s);
    r.flags = FG_REQ_PIECES;
    job_run(b, w.model, &r, &s, ALWAYS_GO);
    if (s.outputs != count || s.id_count != count)
        broken(b, "TOKENIZE with PIECES gives %u events of %u ids: one event a token", s.outputs,
               count);
    stream_done(&s);
    close_world(b, &w);
}

static void a_chat_is_rendered(struct bench *b)
{
    struct world w = open_world(b, FG_CAN_TOKENIZE | FG_CAN_CHAT, "chat template");
    struct fg_stream s;
    const struct fg_part part = {.kind = FG_PART_TEXT, .data = FG_STR("xyzzy plugh")};
    const struct fg_message message = {.role = FG_ROLE_USER, .part_count = 1, .parts = &part};
    const struct fg_request r = {
        .size = sizeof r, .op = FG_OP_RENDER, .messages = &message, .message_count = 1};
    job_run(b, w.model, &r, &s, ALWAYS_GO);
    if (!s.text.len || !memmem(s.text.ptr, s.text.len, "xyzzy plugh", 11))
        broken(b, "RENDER gives a text without what the user said");
    stream_done(&s);
    close_world(b, &w);
}

static void logprobs_belong_to_tokens(struct bench *b)
{
    struct world w = open_world(b, FG_CAN_LOGPROBS, "logprobs");
    struct ask a;
    struct fg_stream s;
    ask_init(b, &a, 8, 8);
    a.request.flags |= FG_REQ_TOKENS;
    a.request.logprobs = 1;
    a.request.top_logprobs = 3;
    job_run(b, w.model, &a.request, &s, ALWAYS_GO);
    if (!s.logprobs)
        broken(b, "logprobs were asked for and none came");
    if (s.id_count && s.logprobs != s.id_count)
        broken(b, "%u logprobs came with %u tokens", s.logprobs, s.id_count);
    stream_done(&s);
    close_world(b, &w);
}

static void several_choices_end_each(struct bench *b)
{
    struct world w = open_world(b, 0, "");
    struct ask a;
    struct fg_stream s;
    struct fg_job *job = NULL;
    struct fg_error err = {0};
    ask_init(b, &a, 8, 8);
    a.request.choices = 3;
    stream_init(&s, &a.request, ALWAYS_GO);
    step(b, "submit() of three choices");
    const int32_t rc = b->plugin->submit(w.model, &a.request, &s, &job, &err);
    if (rc == FG_OK) {
        wait_over(b, &s, b->patience_ms, "after submit()");
        job_release(b, job);
        if (s.last_kind == FG_EV_DONE && s.finishes != 3)
            broken(b, "of 3 choices %u ended with FINISH", s.finishes);
    } else if (rc != FG_UNSUPPORTED && rc != FG_INVALID) {
        broken(b, "three choices are refused with %s: FG_UNSUPPORTED is meant", status_name(rc));
    }
    stream_done(&s);
    close_world(b, &w);
}

static void an_answer_goes_on_after_its_first_tokens(struct bench *b)
{
    struct world w = open_world(b, FG_CAN_RESUME, "continuation");
    struct ask a;
    struct fg_stream whole, rest;
    ask_init(b, &a, 8, 16);
    a.request.flags |= FG_REQ_TOKENS;
    job_run(b, w.model, &a.request, &whole, ALWAYS_GO);
    if (whole.id_count < 8)
        skipped(b, "the answer is too short");
    a.request.resume_tokens = whole.ids;
    a.request.resume_count = whole.id_count / 2;
    job_run(b, w.model, &a.request, &rest, ALWAYS_GO);
    if (!rest.text.len || rest.text.len >= whole.text.len)
        broken(b, "after %u of %u tokens %zu bytes came, of the whole answer's %zu: what was "
                  "delivered must not come again", a.request.resume_count, whole.id_count,
               rest.text.len, whole.text.len);
    stream_done(&whole);
    stream_done(&rest);
    close_world(b, &w);
}

const struct check checks_ops[] = {
    {"each input has one embedding of the told width", each_input_has_one_embedding, NEEDS_MODEL},
    {"tokens give back the text they were made of", tokens_give_the_text_back, NEEDS_MODEL},
    {"a chat is rendered with what was said", a_chat_is_rendered, NEEDS_MODEL},
    {"logprobs come with their tokens", logprobs_belong_to_tokens, NEEDS_TEXT},
    {"of several choices each is finished, or they are refused", several_choices_end_each,
     NEEDS_TEXT},
    {"an answer goes on after tokens that were delivered", an_answer_goes_on_after_its_first_tokens,
     NEEDS_TEXT},
    {NULL, NULL, 0},
};
