/* See reader.h. */
#include "upstream/reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/error.h"

int32_t fg_reader_init(struct fg_reader *r, const struct fg_request *q, struct fg_error *err)
{
    r->op = q->op;
    r->choices = q->op != FG_OP_EMBED && q->choices > 1 ? q->choices : 1;
    r->inputs = q->op == FG_OP_EMBED ? q->input_count : 0;
    r->max_tokens = q->max_tokens;
    r->wants_logprobs = q->logprobs != 0;
    r->usage.size = sizeof r->usage;
    r->all = calloc(r->choices, sizeof *r->all);
    r->seen = calloc(r->inputs + 1, 1);
    if (!r->all || !r->seen)
        return fg_fail(err, FG_NO_MEMORY, "no memory for an answer");
    return FG_OK;
}

void fg_reader_done(struct fg_reader *r)
{
    free(r->all);
    free(r->seen);
    r->all = NULL;
    r->seen = NULL;
}

bool fg_reader_fail(struct fg_reader *r, int32_t status, const char *format, ...)
{
    va_list args;
    char text[sizeof r->error.text];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!r->error.status)
        fg_fail(&r->error, status, "%s", text);
    return false;
}

static void say(struct fg_reader *r, struct fg_event *ev)
{
    ev->size = sizeof *ev;
    (void)r->say(r->ctx, ev);
}

void fg_reader_started(struct fg_reader *r)
{
    struct fg_event ev = {.kind = FG_EV_STARTED, .usage = &r->usage};
    if (r->has_started)
        return;
    r->has_started = true;
    say(r, &ev);
}

/* NULL: there is no such choice. */
static struct fg_reader_choice *choice_at(struct fg_reader *r, uint32_t choice)
{
    if (choice < r->choices && r->op != FG_OP_EMBED)
        return &r->all[choice];
    (void)fg_reader_fail(r, FG_DEVICE_LOST, "it answers with choice %u, %u were asked for", choice,
                         r->choices);
    return NULL;
}

static bool output(struct fg_reader *r, struct fg_event *ev)
{
    fg_reader_started(r);
    r->has_output = true;
    r->pieces++;
    say(r, ev);
    return true;
}

bool fg_reader_text(struct fg_reader *r, uint32_t choice, struct fg_str text,
                    const struct fg_logprob *logprobs, uint32_t logprob_count)
{
    const struct fg_reader_choice *c = choice_at(r, choice);
    if (!c)
        return false;
    if (!r->wants_logprobs)
        logprob_count = 0;
    if (c->is_ended || (!text.len && !logprob_count))
        return true;
    struct fg_event ev = {.kind = FG_EV_TEXT, .choice = choice, .text = text};
    ev.logprobs = logprob_count ? logprobs : NULL;
    ev.logprob_count = logprob_count;
    return output(r, &ev);
}

bool fg_reader_thinking(struct fg_reader *r, uint32_t choice, struct fg_str text)
{
    const struct fg_reader_choice *c = choice_at(r, choice);
    if (!c || c->is_ended || !text.len)
        return c != NULL;
    struct fg_event ev = {.kind = FG_EV_THINKING, .choice = choice, .text = text};
    return output(r, &ev);
}

static bool begin_tool(struct fg_reader *r, uint32_t choice, int64_t theirs, struct fg_str id,
                       struct fg_str name)
{
    struct fg_reader_choice *c = &r->all[choice];
    struct fg_event ev = {
        .kind = FG_EV_TOOL_BEGIN, .choice = choice, .index = c->tools, .name = name, .id = id};
    if (c->tools == FG_READER_TOOLS)
        return fg_reader_fail(r, FG_DEVICE_LOST, "it calls more than %d tools", FG_READER_TOOLS);
    if (!name.len)
        return fg_reader_fail(r, FG_DEVICE_LOST, "it calls a tool without a name");
    c->theirs[c->tools++] = theirs;
    return output(r, &ev);
}

bool fg_reader_tool(struct fg_reader *r, uint32_t choice, int64_t theirs, struct fg_str id,
                    struct fg_str name, struct fg_str args)
{
    uint32_t at = 0;
    const struct fg_reader_choice *c = choice_at(r, choice);
    if (!c || c->is_ended)
        return c != NULL;
    while (at < c->tools && c->theirs[at] != theirs)
        at++;
    if (at == c->tools && !begin_tool(r, choice, theirs, id, name))
        return false;
    if (!args.len)
        return true;
    struct fg_event ev = {.kind = FG_EV_TOOL_ARGS, .choice = choice, .index = at, .text = args};
    return output(r, &ev);
}

bool fg_reader_embedding(struct fg_reader *r, uint32_t index, const float *values, uint32_t count)
{
    if (r->op != FG_OP_EMBED || index >= r->inputs || r->seen[index] || !count)
        return fg_reader_fail(r, FG_DEVICE_LOST, "it answers with embedding %u of %u inputs", index,
                              r->inputs);
    r->seen[index] = 1;
    r->embedded++;
    struct fg_event ev = {
        .kind = FG_EV_EMBEDDING, .index = index, .values = values, .value_count = count};
    return output(r, &ev);
}

bool fg_reader_finish(struct fg_reader *r, uint32_t choice, int32_t code)
{
    struct fg_reader_choice *c = choice_at(r, choice);
    if (!c || c->is_ended)
        return c != NULL;
    fg_reader_started(r);
    c->is_ended = true;
    c->code = c->tools && code == FG_END_STOP ? FG_END_TOOL : code;
    r->ended++;
    if (r->choices > 1) {
        struct fg_event ev = {.kind = FG_EV_FINISH, .choice = choice, .code = c->code};
        say(r, &ev);
    }
    return true;
}

bool fg_reader_is_whole(const struct fg_reader *r)
{
    if (r->op == FG_OP_EMBED)
        return r->embedded == r->inputs;
    return r->ended == r->choices;
}

int32_t fg_reader_code(const struct fg_reader *r)
{
    return r->op == FG_OP_EMBED ? FG_END_STOP : r->all[0].code;
}
