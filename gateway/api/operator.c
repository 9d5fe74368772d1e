/*
 * api/operator.c - what an operator asks: the cards of this machine, and why a model runs where it
 * does. Read only.
 */
#include <stdlib.h>

#include "api/inner.h"
#include "gpu/gpu.h"

enum { HISTORY_MOST = 3600 };

/* ---- the query --------------------------------------------------------------------------------
 */

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "%3A" and "+" of a form; what is no escape stays as it is. */
static struct fg_str decode(struct fg_str raw, char *to, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < raw.len && n < room; i++) {
        int high = raw.ptr[i] == '%' && i + 2 < raw.len ? hex_of(raw.ptr[i + 1]) : -1;
        int low = high >= 0 ? hex_of(raw.ptr[i + 2]) : -1;
        to[n++] = low >= 0 ? (char)(high * 16 + low) : raw.ptr[i] == '+' ? ' ' : raw.ptr[i];
        i += low >= 0 ? 2 : 0;
    }
    return (struct fg_str){to, n};
}

/* The value of a key of the query, decoded (what is too long is cut); empty when it is not there.
 */
static struct fg_str query_value(const struct fg_call *call, const char *key, char *to, size_t room)
{
    struct fg_str rest = call->http->query;
    while (rest.len) {
        size_t end = 0, equals = 0;
        while (end < rest.len && rest.ptr[end] != '&')
            end++;
        while (equals < end && rest.ptr[equals] != '=')
            equals++;
        if (fg_str_is((struct fg_str){rest.ptr, equals}, key) && equals < end)
            return decode((struct fg_str){rest.ptr + equals + 1, end - equals - 1}, to, room);
        rest = fg_str_from(rest, end + 1);
    }
    return FG_STR("");
}

/* ---- routes -----------------------------------------------------------------------------------
 */

void fg_operator_gpus(struct fg_call *call)
{
    struct fg_gpu *gpu = fg_hub_gpu(call->api->hub);
    const struct fg_gpus *cards = gpu ? fg_gpu_snapshot(gpu) : NULL;
    struct fg_buf b = {0};
    char number[16];
    uint64_t points = 0;
    if (!fg_str_u64(query_value(call, "history", number, sizeof(number)), &points))
        points = 0;
    if (cards)
        fg_gpus_write(cards, gpu, points < HISTORY_MOST ? (uint32_t)points : HISTORY_MOST, &b);
    else
        fg_buf_add(&b, FG_STR("{\"why\":\"not looked\",\"gpus\":[],\"unusable\":[]}"));
    fg_gpus_release(cards);
    fg_call_reply_json(call, &b);
}

/* False: there is no such model now. */
static bool explain(struct fg_call *call, struct fg_str model)
{
    json_t *answer = fg_hub_explain(call->api->hub, model, NULL);
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    struct fg_buf b = {0};
    json_decref(answer);
    if (!text)
        return false;
    fg_buf_add(&b, fg_str_of(text));
    free(text);
    fg_call_reply_json(call, &b);
    return true;
}

void fg_operator_explain(struct fg_call *call)
{
    char name[300];
    struct fg_ask ask = {.model = query_value(call, "model", name, sizeof(name))};
    struct fg_fault f;
    if (!ask.model.len || fg_utf8_valid(ask.model, NULL) != ask.model.len) {
        fg_fault_set(&f, 400, "invalid_request_error", NULL, "model", "'model' is required");
        fg_call_fail(call, &f);
        return;
    }
    call->ask = &ask;
    if (fg_call_find(call, ask.model) && !explain(call, ask.model)) {
        fg_fault_unknown_model(call, false, &f); /* it went between the two looks */
        fg_call_fail(call, &f);
    }
    call->ask = NULL;
}
