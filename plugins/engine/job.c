/*
 * Which requests this engine takes. Nothing is ignored silently: what is not there yet is refused
 * by name.
 */
#include "engine/job.h"

#include <jansson.h>

#include "util/error.h"
#include "util/str.h"

enum { CHOICES_MOST = 128, LOGPROBS_MOST = 128, STOPS_MOST = 256, STOP_BYTES_MOST = 64 << 10 };

static int32_t refuse(struct fg_error *err, const char *what)
{
    return fg_fail(err, FG_UNSUPPORTED, "%s not supported by this engine", what);
}

static int32_t check_messages(const struct fg_request *req, struct fg_error *err)
{
    if (req->message_count == 0)
        return fg_fail(err, FG_INVALID, "there are no messages");
    for (uint32_t i = 0; i < req->message_count; i++) {
        const struct fg_message *m = &req->messages[i];
        if (m->role < FG_ROLE_SYSTEM || m->role > FG_ROLE_TOOL)
            return fg_fail(err, FG_INVALID, "message %u: role %d is not known", i, m->role);
        for (uint32_t j = 0; j < m->part_count; j++)
            switch (m->parts[j].kind) {
            case FG_PART_TEXT:
            case FG_PART_THINKING:
                break;
            case FG_PART_IMAGE:
                return refuse(err, "images are");
            case FG_PART_TOOL_CALL:
            case FG_PART_TOOL_RESULT:
                return refuse(err, "tool calls are");
            default:
                return fg_fail(err, FG_INVALID, "message %u: part kind %d is not known", i,
                               m->parts[j].kind);
            }
    }
    return FG_OK;
}

static int32_t check_op(const struct fg_request *req, struct fg_error *err)
{
    switch (req->op) {
    case FG_OP_CHAT:
    case FG_OP_RENDER:
        return check_messages(req, err);
    case FG_OP_COMPLETE:
        return req->input_count > 1 ? refuse(err, "a suffix (infill) is") : FG_OK;
    case FG_OP_EMBED:
        return req->input_count ? FG_OK : fg_fail(err, FG_INVALID, "there are no inputs");
    case FG_OP_TOKENIZE:
        return req->input_count == 1
                   ? FG_OK
                   : fg_fail(err, FG_INVALID, "tokenize takes one input, not %u", req->input_count);
    case FG_OP_DETOKENIZE:
        return FG_OK;
    case FG_OP_RERANK:
        return refuse(err, "rerank is");
    default:
        return fg_fail(err, FG_UNSUPPORTED, "operation %d is not known", req->op);
    }
}

/* Keys only a backend understands: this one has none yet, so any key is a mistake. */
static int32_t check_options(struct fg_str json, struct fg_error *err)
{
    if (json.len == 0)
        return FG_OK;
    json_t *options = json_loadb(json.ptr, json.len, JSON_REJECT_DUPLICATES, NULL);
    int32_t rc = FG_OK;
    const char *key;
    json_t *value;
    if (!json_is_object(options))
        rc = fg_fail(err, FG_INVALID, "options are no JSON object");
    json_object_foreach(options, key, value)
    {
        rc = fg_fail(err, FG_UNSUPPORTED, "option \"%.64s\" is not supported by this engine", key);
        break;
    }
    json_decref(options);
    return rc;
}

static int32_t check_stops(const struct fg_request *req, struct fg_error *err)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < req->stop_count && i < STOPS_MOST; i++)
        bytes += req->stops[i].len;
    if (req->stop_count > STOPS_MOST || bytes > STOP_BYTES_MOST)
        return fg_fail(err, FG_INVALID, "the stop strings are too many or too long");
    return FG_OK;
}

int32_t fg_engine_check_request(const struct fg_request *req, struct fg_error *err)
{
    if (!FG_HAS(struct fg_request, req, cache_scope))
        return fg_fail(err, FG_INVALID, "the request's size %u is too small", req->size);
    int32_t rc = check_op(req, err);
    if (rc != FG_OK)
        return rc;
    if (req->tool_count || !(req->tool_choice.len == 0 || fg_str_is(req->tool_choice, "auto") ||
                             fg_str_is(req->tool_choice, "none")))
        return refuse(err, "tools are");
    if (req->schema_json.len)
        return refuse(err, "constrained output (a JSON schema) is");
    if (req->thinking.len && !fg_str_is(req->thinking, "off"))
        return refuse(err, "thinking is");
    if (req->choices > CHOICES_MOST)
        return fg_fail(err, FG_INVALID, "%u choices are more than %d", req->choices, CHOICES_MOST);
    if (req->choices > 1 && req->resume_count)
        return refuse(err, "going on with several choices is");
    if (req->top_logprobs > LOGPROBS_MOST)
        return fg_fail(err, FG_INVALID, "%u logprobs are more than %d", req->top_logprobs,
                       LOGPROBS_MOST);
    rc = check_stops(req, err);
    return rc != FG_OK ? rc : check_options(req->options_json, err);
}
