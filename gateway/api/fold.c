/*
 * api/fold.c - a stream of events gathered into whole answers: text and log probabilities of each
 * choice, vectors of each input, token ids, usage. A streamed call uses the counters only.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/inner.h"

bool fg_fold_open(struct fg_call *call, uint32_t choices, uint32_t vectors)
{
    call->choices = calloc(choices ? choices : 1, sizeof(*call->choices));
    call->vectors = calloc(vectors ? vectors : 1, sizeof(*call->vectors));
    call->choice_count = choices;
    call->vector_count = vectors;
    return call->choices && call->vectors;
}

void fg_fold_close(struct fg_call *call)
{
    for (uint32_t i = 0; call->choices && i < call->choice_count; i++) {
        fg_buf_done(&call->choices[i].text);
        fg_buf_done(&call->choices[i].thinking);
        for (int k = 0; k < 4; k++)
            fg_buf_done(&call->choices[i].logs[k]);
    }
    for (uint32_t i = 0; call->vectors && i < call->vector_count; i++)
        free(call->vectors[i].values);
    free(call->choices);
    free(call->vectors);
    free(call->tokens);
    call->choices = NULL;
    call->vectors = NULL;
    call->tokens = NULL;
}

uint32_t fg_fold_index(const struct fg_call *call, const struct fg_event *ev)
{
    return call->pick * fg_ask_choices(call->ask) + ev->choice;
}

struct fg_choice *fg_fold_choice(struct fg_call *call, const struct fg_event *ev)
{
    uint32_t index = fg_fold_index(call, ev);
    return ev->choice < fg_ask_choices(call->ask) && index < call->choice_count
               ? &call->choices[index]
               : NULL;
}

void fg_fold_add_tokens(struct fg_call *call, const int32_t *ids, uint32_t count)
{
    if (count > UINT32_MAX / 16 - call->token_count) {
        call->no_memory = true;
        return;
    }
    if (call->token_count + count > call->token_room) {
        uint32_t room = (call->token_count + count) * 2;
        int32_t *grown = realloc(call->tokens, (size_t)room * sizeof(*grown));
        if (!grown) {
            call->no_memory = true;
            return;
        }
        call->tokens = grown;
        call->token_room = room;
    }
    if (count)
        memcpy(call->tokens + call->token_count, ids, count * sizeof(*ids));
    call->token_count += count;
}

static void take_vector(struct fg_call *call, const struct fg_event *ev)
{
    if (ev->index >= call->vector_count || call->vectors[ev->index].values)
        return;
    float *copy = malloc((ev->value_count ? ev->value_count : 1) * sizeof(*copy));
    if (!copy) {
        call->no_memory = true;
        return;
    }
    memcpy(copy, ev->values, ev->value_count * sizeof(*copy));
    call->vectors[ev->index] = (struct fg_vector){copy, ev->value_count};
}

void fg_fold_event(struct fg_call *call, const struct fg_event *ev)
{
    if (ev->kind == FG_EV_EMBEDDING) {
        take_vector(call, ev);
        return;
    }
    struct fg_choice *c = fg_fold_choice(call, ev);
    if (!c)
        return;
    if (ev->kind == FG_EV_TEXT)
        fg_buf_add(&c->text, ev->text);
    else if (ev->kind == FG_EV_THINKING)
        fg_buf_add(&c->thinking, ev->text);
    bool pieces = call->ask->with_pieces == FG_FLAG_TRUE && ev->token_count;
    if ((ev->logprob_count || pieces) && call->shape->logprobs)
        call->shape->logprobs(call, ev, c->logs, &c->chars);
    bool failed = c->text.failed || c->thinking.failed;
    for (int k = 0; k < 4; k++)
        failed |= c->logs[k].failed;
    call->no_memory |= failed;
}

void fg_fold_normalise(struct fg_vector *v, uint32_t n)
{
    if (n && n < v->count)
        v->count = n;
    double sum = 0;
    for (uint32_t i = 0; i < v->count; i++)
        sum += (double)v->values[i] * v->values[i];
    if (!(sum > 0) || !isfinite(sum))
        return;
    double scale = 1 / sqrt(sum);
    for (uint32_t i = 0; i < v->count; i++)
        v->values[i] = (float)(v->values[i] * scale);
}
