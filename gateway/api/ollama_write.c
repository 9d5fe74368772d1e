/*
 * api/ollama_write.c - answers in Ollama's dialect: lines of a stream, whole objects, vectors.
 * Counts and durations that are zero are left out, as the reference leaves them out.
 */
#include <string.h>

#include "api/openai_write.h"
#include "util/clock.h"

static bool is_chat(const struct fg_call *call)
{
    return call->shape == &fg_ollama_chat_shape;
}

/* {"model":…,"created_at":… */
static void put_head(struct fg_call *call, struct fg_buf *b)
{
    char at[40];
    size_t len = fg_clock_rfc3339(fg_clock_wall_ns(), at, sizeof(at));
    fg_json_put_open(b, '{');
    fg_json_put_name(b, "model");
    fg_json_put_str(b, call->ask->model);
    fg_json_put_name(b, "created_at");
    fg_json_put_str(b, (struct fg_str){at, len});
}

static void put_text(struct fg_call *call, struct fg_buf *b, struct fg_str text,
                     struct fg_str thinking)
{
    if (is_chat(call))
        fg_buf_add(b, FG_STR(",\"message\":{\"role\":\"assistant\",\"content\":"));
    else
        fg_buf_add(b, FG_STR(",\"response\":"));
    fg_json_put_str(b, text);
    if (thinking.len) {
        fg_json_put_name(b, "thinking");
        fg_json_put_str(b, thinking);
    }
    if (is_chat(call))
        fg_json_put_close(b, '}');
}

static void put_count(struct fg_buf *b, const char *name, uint64_t value)
{
    if (!value)
        return;
    fg_json_put_name(b, name);
    fg_json_put_u64(b, value);
}

static void put_logs(struct fg_buf *b, const struct fg_buf *logs)
{
    if (!logs->len)
        return;
    fg_json_put_name(b, "logprobs");
    fg_json_put_open(b, '[');
    fg_buf_add(b, fg_buf_str(logs));
    fg_json_put_close(b, ']');
}

static void put_times(struct fg_call *call, struct fg_buf *b)
{
    const struct fg_usage *u = &call->usage;
    put_count(b, "total_duration", fg_clock_ns() - call->http->started_ns);
    put_count(b, "load_duration", u->load_ns > call->load_ns ? u->load_ns : call->load_ns);
    put_count(b, "prompt_eval_count", u->prompt_tokens);
    put_count(b, "prompt_eval_duration", u->prompt_ns);
    put_count(b, "eval_count", u->output_tokens);
    put_count(b, "eval_duration", u->output_ns);
}

/* Ids of the whole talk so far: those given, and those of this prompt and answer when the engine
 * told them. Without the prompt's ids the list would be wrong, so then there is none. */
static void put_context(struct fg_call *call, struct fg_buf *b)
{
    if (!(call->ask->flags & FG_REQ_TOKENS) || !call->has_prompt_ids)
        return;
    fg_json_put_name(b, "context");
    fg_json_put_open(b, '[');
    for (uint32_t i = 0; i < call->token_count; i++)
        fg_json_put_i64(b, call->tokens[i]);
    fg_json_put_close(b, ']');
}

static void put_end(struct fg_call *call, struct fg_buf *b)
{
    fg_buf_add(b, FG_STR(",\"done\":true,\"done_reason\":"));
    fg_json_put_str(b, call->choices[0].finish == FG_END_LENGTH ? FG_STR("length")
                                                                : FG_STR("stop"));
    put_context(call, b);
    put_times(call, b);
    fg_json_put_close(b, '}');
}

static void logprobs(struct fg_call *call, const struct fg_event *ev, struct fg_buf parts[4],
                     uint32_t *chars)
{
    (void)chars;
    fg_openai_put_logprobs(&parts[0], ev, call->ask->top_logprobs.value > 0);
}

static void stream_chunk(struct fg_call *call, const struct fg_event *ev)
{
    struct fg_buf logs[4] = {{0}};
    if ((ev->kind != FG_EV_TEXT && ev->kind != FG_EV_THINKING) || ev->choice ||
        (!ev->text.len && !ev->logprob_count))
        return; /* the last line says how it ended */
    if (ev->logprob_count)
        logprobs(call, ev, logs, NULL);
    bool thinks = ev->kind == FG_EV_THINKING;
    put_head(call, &call->out);
    put_text(call, &call->out, thinks ? FG_STR("") : ev->text, thinks ? ev->text : FG_STR(""));
    fg_buf_add(&call->out, FG_STR(",\"done\":false"));
    put_logs(&call->out, &logs[0]);
    fg_buf_add(&call->out, FG_STR("}\n"));
    call->out.failed |= logs[0].failed;
    fg_buf_done(&logs[0]);
}

static void stream_end(struct fg_call *call)
{
    put_head(call, &call->out);
    put_text(call, &call->out, FG_STR(""), FG_STR(""));
    put_end(call, &call->out);
    fg_buf_addc(&call->out, '\n');
}

void fg_ollama_put_load(struct fg_call *call, const char *reason)
{
    struct fg_buf b = {0};
    put_head(call, &b);
    put_text(call, &b, FG_STR(""), FG_STR(""));
    fg_buf_add(&b, FG_STR(",\"done\":true,\"done_reason\":"));
    fg_json_put_str(&b, fg_str_of(reason));
    fg_json_put_close(&b, '}');
    fg_call_reply_json(call, &b);
}

static void whole_reply(struct fg_call *call)
{
    struct fg_choice *c = &call->choices[0];
    struct fg_buf b = {0};
    if (call->ask->op == FG_ASK_LOAD) {
        fg_ollama_put_load(call, "load");
        return;
    }
    put_head(call, &b);
    if (call->ask->op == FG_OP_RENDER) {
        fg_buf_add(&b, FG_STR(",\"_debug_info\":{\"rendered_template\":"));
        fg_json_put_str(&b, fg_buf_str(&c->text));
        fg_buf_add(&b, FG_STR("}}"));
    } else {
        put_text(call, &b, fg_buf_str(&c->text), fg_buf_str(&c->thinking));
        put_logs(&b, &c->logs[0]);
        put_end(call, &b);
    }
    fg_call_reply_json(call, &b);
}

static void whole_embed(struct fg_call *call)
{
    struct fg_ask *a = call->ask;
    struct fg_buf b = {.limit = (size_t)512 << 20};
    fg_json_put_open(&b, '{');
    fg_json_put_name(&b, "model");
    fg_json_put_str(&b, a->model);
    fg_json_put_name(&b, "embeddings");
    fg_json_put_open(&b, '[');
    for (uint32_t i = 0; i < call->vector_count; i++) {
        fg_fold_normalise(&call->vectors[i], a->dimensions.is_set ? (uint32_t)a->dimensions.value : 0);
        fg_put_vector(&b, &call->vectors[i]);
    }
    fg_json_put_close(&b, ']');
    put_count(&b, "total_duration", fg_clock_ns() - call->http->started_ns);
    put_count(&b, "load_duration",
              call->usage.load_ns > call->load_ns ? call->usage.load_ns : call->load_ns);
    put_count(&b, "prompt_eval_count", call->usage.prompt_tokens);
    fg_json_put_close(&b, '}');
    fg_call_reply_json(call, &b);
}

static void whole_embeddings(struct fg_call *call)
{
    struct fg_buf b = {0};
    fg_buf_add(&b, FG_STR("{\"embedding\":"));
    fg_put_vector(&b, call->vector_count ? &call->vectors[0] : &(struct fg_vector){0});
    fg_json_put_close(&b, '}');
    fg_call_reply_json(call, &b);
}

const struct fg_shape fg_ollama_chat_shape = {.stream_type = "application/x-ndjson",
                                              .chunk = stream_chunk,
                                              .end = stream_end,
                                              .whole = whole_reply,
                                              .logprobs = logprobs};
const struct fg_shape fg_ollama_generate_shape = {.stream_type = "application/x-ndjson",
                                                  .chunk = stream_chunk,
                                                  .end = stream_end,
                                                  .whole = whole_reply,
                                                  .logprobs = logprobs};
const struct fg_shape fg_ollama_embed_shape = {.whole = whole_embed};
const struct fg_shape fg_ollama_embeddings_shape = {.whole = whole_embeddings};
