/*
 * Chunks of /chat/completions and /completions, and whole replies of these and of /embeddings, told
 * to the reader. A whole reply is read like one chunk: `message` is a `delta` that says everything.
 *
 * Keys that nobody here knows are skipped. The members of a choice come in any order, so they are
 * collected and told together: thinking, text with its logprobs, calls, the end.
 */
#include <math.h>
#include <string.h>

#include "upstream/openai.h"
#include "util/json.h"

struct call {
    struct call *next;
    int64_t theirs;
    struct fg_str id, name, args;
};
struct choice {
    uint32_t index;
    struct fg_str text, thinking, reason;
    struct call *calls, **last;
    uint32_t call_count;
    struct fg_logprob *logprobs;
    uint32_t logprob_count, logprob_room;
};
struct scan {
    struct fg_reader *r;
    struct fg_json json;
};

/* ---- small readers --------------------------------------------------------------------------- */

static bool broken(struct scan *s)
{
    if (s->json.status == FG_NO_MEMORY)
        return fg_reader_fail(s->r, FG_NO_MEMORY, "no memory for its answer");
    return fg_reader_fail(s->r, FG_DEVICE_LOST, "it sends JSON that is none: %s",
                          s->json.status ? s->json.error : "of another shape");
}

/* A string as it is; anything else leaves *out alone. */
static void take_str(struct scan *s, struct fg_str *out)
{
    struct fg_json_value v;
    if (fg_json_read(&s->json, &v) == FG_JSON_STRING)
        *out = v.text;
    fg_json_skip(&s->json, &v);
}

static void take_u32(struct scan *s, uint32_t *out)
{
    struct fg_json_value v;
    const int32_t kind = fg_json_read(&s->json, &v);
    if (kind == FG_JSON_INT && !v.is_big && v.integer >= 0 && v.integer <= UINT32_MAX)
        *out = (uint32_t)v.integer;
    fg_json_skip(&s->json, &v);
}

static struct fg_str join(struct scan *s, struct fg_str a, struct fg_str b)
{
    if (!a.len || !b.len)
        return a.len ? a : b;
    char *both = fg_arena_alloc(s->r->arena, a.len + b.len);
    if (!both)
        return a;
    memcpy(both, a.ptr, a.len);
    memcpy(both + a.len, b.ptr, b.len);
    return (struct fg_str){both, a.len + b.len};
}

/* Opens a container of that kind; anything else is skipped, which is no error: null, mostly. */
static bool opens(struct scan *s, int32_t kind)
{
    struct fg_json_value v;
    if (fg_json_read(&s->json, &v) == kind)
        return true;
    fg_json_skip(&s->json, &v);
    return false;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Some send content as parts: [{"type": "text", "text": ...}]. */
static void take_content(struct scan *s, struct choice *c)
{
    struct fg_json_value v;
    struct fg_str key;
    const int32_t kind = fg_json_read(&s->json, &v);
    if (kind == FG_JSON_STRING)
        c->text = join(s, c->text, v.text);
    if (kind != FG_JSON_ARRAY) {
        fg_json_skip(&s->json, &v);
        return;
    }
    while (fg_json_next(&s->json, NULL)) {
        if (!opens(s, FG_JSON_OBJECT))
            continue;
        while (fg_json_next(&s->json, &key)) {
            struct fg_str text = {0};
            if (!fg_str_is(key, "text"))
                continue;
            take_str(s, &text);
            c->text = join(s, c->text, text);
        }
    }
}

/* ---- tool calls ------------------------------------------------------------------------------ */

static void take_function(struct scan *s, struct call *call)
{
    struct fg_json_value v;
    struct fg_str key;
    if (!opens(s, FG_JSON_OBJECT))
        return;
    while (fg_json_next(&s->json, &key)) {
        if (fg_str_is(key, "name"))
            take_str(s, &call->name);
        if (!fg_str_is(key, "arguments"))
            continue;
        const int32_t kind = fg_json_read(&s->json, &v);
        if (kind == FG_JSON_STRING)
            call->args = v.text;
        else if (kind == FG_JSON_OBJECT) /* not said twice in text, as it should be */
            call->args = fg_json_raw(&s->json, &v);
        else
            fg_json_skip(&s->json, &v);
    }
}

static void take_call(struct scan *s, struct choice *c)
{
    struct fg_json_value v;
    struct fg_str key;
    struct call *call = fg_arena_zalloc(s->r->arena, 1, sizeof *call);
    if (!call) {
        fg_json_fail(&s->json, FG_NO_MEMORY, "memory");
        return;
    }
    call->theirs = c->call_count; /* without an index: where it stands */
    while (fg_json_next(&s->json, &key)) {
        if (fg_str_is(key, "index")) {
            if (fg_json_read(&s->json, &v) == FG_JSON_INT)
                call->theirs = v.integer;
            fg_json_skip(&s->json, &v);
        } else if (fg_str_is(key, "id")) {
            take_str(s, &call->id);
        } else if (fg_str_is(key, "function")) {
            take_function(s, call);
        }
    }
    *c->last = call;
    c->last = &call->next;
    c->call_count++;
}

static void take_calls(struct scan *s, struct choice *c)
{
    if (!opens(s, FG_JSON_ARRAY))
        return;
    while (fg_json_next(&s->json, NULL))
        if (opens(s, FG_JSON_OBJECT))
            take_call(s, c);
}

/* `reasoning` and `reasoning_content` say the same where both are there. */
static void take_delta(struct scan *s, struct choice *c)
{
    struct fg_str key, refusal = {0}, reasoning = {0};
    if (!opens(s, FG_JSON_OBJECT))
        return;
    while (fg_json_next(&s->json, &key)) {
        if (fg_str_is(key, "content"))
            take_content(s, c);
        else if (fg_str_is(key, "reasoning_content"))
            take_str(s, &c->thinking);
        else if (fg_str_is(key, "reasoning"))
            take_str(s, &reasoning);
        else if (fg_str_is(key, "refusal"))
            take_str(s, &refusal);
        else if (fg_str_is(key, "tool_calls"))
            take_calls(s, c);
    }
    if (!c->thinking.len)
        c->thinking = reasoning;
    c->text = join(s, c->text, refusal);
}

/* ---- logprobs -------------------------------------------------------------------------------- */

static float bounded(double logprob)
{
    return !isfinite(logprob) || logprob < -9999 ? -9999.0f : logprob > 0 ? 0.0f : (float)logprob;
}

static struct fg_logprob *more_logprobs(struct scan *s, struct choice *c)
{
    if (c->logprob_count == c->logprob_room) {
        const uint32_t room = c->logprob_room ? c->logprob_room * 2 : 8;
        struct fg_logprob *list = fg_arena_zalloc(s->r->arena, room, sizeof *list);
        if (!list) {
            fg_json_fail(&s->json, FG_NO_MEMORY, "memory");
            return NULL;
        }
        if (c->logprob_count)
            memcpy(list, c->logprobs, c->logprob_count * sizeof *list);
        c->logprobs = list;
        c->logprob_room = room;
    }
    c->logprobs[c->logprob_count] = (struct fg_logprob){.token = -1};
    return &c->logprobs[c->logprob_count++];
}

static void take_bytes(struct scan *s, struct fg_str *out)
{
    struct fg_json_value v;
    struct fg_buf bytes = {.limit = 4096};
    if (!opens(s, FG_JSON_ARRAY))
        return;
    while (fg_json_next(&s->json, NULL)) {
        if (fg_json_read(&s->json, &v) == FG_JSON_INT)
            fg_buf_addc(&bytes, (char)(unsigned char)v.integer);
        fg_json_skip(&s->json, &v);
    }
    if (bytes.len)
        *out = fg_arena_str(s->r->arena, fg_buf_str(&bytes));
    fg_buf_done(&bytes);
}

enum { TOP_MAX = 32 };

static void insert_top(struct fg_logprob *top, uint32_t *count, struct fg_logprob one)
{
    if (*count == TOP_MAX)
        return;
    uint32_t at = (*count)++;
    for (; at && top[at - 1].logprob < one.logprob; at--)
        top[at] = top[at - 1];
    top[at] = one;
}

/* One {"token", "logprob", "bytes", "top_logprobs"}; is_top: of an alternative. */
static void take_logprob(struct scan *s, struct fg_logprob *out, bool is_top)
{
    struct fg_json_value v;
    struct fg_str key, token = {0}, bytes = {0};
    *out = (struct fg_logprob){.token = -1, .logprob = -9999.0f};
    while (fg_json_next(&s->json, &key)) {
        if (fg_str_is(key, "token")) {
            take_str(s, &token);
        } else if (fg_str_is(key, "bytes")) {
            take_bytes(s, &bytes);
        } else if (fg_str_is(key, "id")) { /* llama-server tells it */
            if (fg_json_read(&s->json, &v) == FG_JSON_INT && v.integer >= 0 &&
                v.integer <= INT32_MAX)
                out->token = (int32_t)v.integer;
            fg_json_skip(&s->json, &v);
        } else if (fg_str_is(key, "logprob")) {
            const int32_t kind = fg_json_read(&s->json, &v);
            if (kind == FG_JSON_INT || kind == FG_JSON_REAL)
                out->logprob = bounded(v.real);
            fg_json_skip(&s->json, &v);
        } else if (fg_str_is(key, "top_logprobs") && !is_top && opens(s, FG_JSON_ARRAY)) {
            struct fg_logprob *top = fg_arena_zalloc(s->r->arena, TOP_MAX, sizeof *top), one;
            while (fg_json_next(&s->json, NULL)) {
                if (!opens(s, FG_JSON_OBJECT))
                    continue;
                take_logprob(s, &one, true);
                if (top)
                    insert_top(top, &out->top_count, one);
            }
            out->top = out->top_count ? top : NULL;
        }
    }
    out->bytes = bytes.len ? bytes : token;
}

/* The old shape of /completions: four arrays beside each other. */
static void take_old_array(struct scan *s, struct choice *c, struct fg_str key)
{
    struct fg_json_value v;
    const bool is_token = fg_str_is(key, "tokens");
    if (!opens(s, FG_JSON_ARRAY))
        return;
    for (uint32_t at = 0; fg_json_next(&s->json, NULL); at++) {
        struct fg_logprob *l = at < c->logprob_count ? &c->logprobs[at] : more_logprobs(s, c);
        const int32_t kind = fg_json_read(&s->json, &v);
        if (l && is_token && kind == FG_JSON_STRING)
            l->bytes = v.text;
        if (l && !is_token && (kind == FG_JSON_INT || kind == FG_JSON_REAL))
            l->logprob = bounded(v.real);
        fg_json_skip(&s->json, &v);
    }
}

static void take_old_tops(struct scan *s, struct choice *c)
{
    struct fg_json_value v;
    struct fg_str key;
    if (!opens(s, FG_JSON_ARRAY))
        return;
    for (uint32_t at = 0; fg_json_next(&s->json, NULL); at++) {
        struct fg_logprob *l = at < c->logprob_count ? &c->logprobs[at] : more_logprobs(s, c);
        struct fg_logprob *top = l ? fg_arena_zalloc(s->r->arena, TOP_MAX, sizeof *top) : NULL;
        if (!opens(s, FG_JSON_OBJECT))
            continue;
        while (fg_json_next(&s->json, &key)) {
            const int32_t kind = fg_json_read(&s->json, &v);
            if (top && (kind == FG_JSON_INT || kind == FG_JSON_REAL))
                insert_top(
                    top, &l->top_count,
                    (struct fg_logprob){.token = -1, .logprob = bounded(v.real), .bytes = key});
            fg_json_skip(&s->json, &v);
        }
        if (top)
            l->top = l->top_count ? top : NULL;
    }
}

static void take_logprobs(struct scan *s, struct choice *c)
{
    struct fg_str key;
    if (!opens(s, FG_JSON_OBJECT))
        return;
    while (fg_json_next(&s->json, &key)) {
        if (fg_str_is(key, "tokens") || fg_str_is(key, "token_logprobs")) {
            take_old_array(s, c, key);
        } else if (fg_str_is(key, "top_logprobs")) {
            take_old_tops(s, c);
        } else if (fg_str_is(key, "content") && opens(s, FG_JSON_ARRAY)) {
            while (fg_json_next(&s->json, NULL)) {
                struct fg_logprob *l = NULL;
                if (opens(s, FG_JSON_OBJECT) && (l = more_logprobs(s, c)))
                    take_logprob(s, l, false);
            }
        }
    }
}

/* ---- choices --------------------------------------------------------------------------------- */

static bool finish(struct fg_reader *r, uint32_t index, struct fg_str reason)
{
    static const struct {
        const char *name;
        int32_t code;
    } codes[] = {{"stop", FG_END_STOP},         {"length", FG_END_LENGTH},
                 {"tool_calls", FG_END_TOOL},   {"function_call", FG_END_TOOL},
                 {"max_tokens", FG_END_LENGTH}, {"abort", FG_END_CANCELLED}};
    if (!reason.len)
        return true;
    if (fg_str_is(reason, "error"))
        return fg_reader_fail(r, FG_DEVICE_LOST, "it ended its answer with an error");
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (fg_str_is(reason, codes[i].name))
            return fg_reader_finish(r, index, codes[i].code);
    return fg_reader_finish(r, index, FG_END_STOP); /* content_filter, eos, stop_sequence, ... */
}

static bool tell(struct fg_reader *r, const struct choice *c)
{
    if (!fg_reader_thinking(r, c->index, c->thinking) ||
        !fg_reader_text(r, c->index, c->text, c->logprobs, c->logprob_count))
        return false;
    for (const struct call *call = c->calls; call; call = call->next)
        if (!fg_reader_tool(r, c->index, call->theirs, call->id, call->name, call->args))
            return false;
    return finish(r, c->index, c->reason);
}

static bool take_choice(struct scan *s)
{
    struct choice c = {0};
    struct fg_str key;
    c.last = &c.calls;
    while (fg_json_next(&s->json, &key)) {
        if (fg_str_is(key, "delta") || fg_str_is(key, "message"))
            take_delta(s, &c);
        else if (fg_str_is(key, "text"))
            take_str(s, &c.text);
        else if (fg_str_is(key, "index"))
            take_u32(s, &c.index);
        else if (fg_str_is(key, "finish_reason"))
            take_str(s, &c.reason);
        else if (fg_str_is(key, "logprobs"))
            take_logprobs(s, &c);
    }
    return s->json.status ? broken(s) : tell(s->r, &c);
}

static bool take_choices(struct scan *s)
{
    if (!opens(s, FG_JSON_ARRAY))
        return true;
    while (fg_json_next(&s->json, NULL)) {
        if (!opens(s, FG_JSON_OBJECT))
            return broken(s);
        if (!take_choice(s))
            return false;
    }
    return true;
}

/* ---- embeddings ------------------------------------------------------------------------------ */

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Little-endian floats; 0: it is none. */
static uint32_t decode(struct fg_str text, float *out)
{
    size_t n = 0;
    uint32_t bits = 0, count = 0;
    unsigned char *to = (unsigned char *)out;
    while (text.len && text.ptr[text.len - 1] == '=')
        text.len--;
    for (size_t i = 0; i < text.len; i++) {
        const int v = value_of(text.ptr[i]);
        if (v < 0)
            return 0;
        bits = bits << 6 | (uint32_t)v;
        count += 6;
        if (count >= 8) {
            count -= 8;
            to[n++] = (unsigned char)(bits >> count);
        }
    }
    return n % sizeof *out ? 0 : (uint32_t)(n / sizeof *out);
}

static uint32_t take_floats(struct scan *s, float **values)
{
    struct fg_json_value v;
    struct fg_buf b = {.limit = (size_t)16 << 20};
    uint32_t count = 0;
    while (fg_json_next(&s->json, NULL)) {
        const int32_t kind = fg_json_read(&s->json, &v);
        const float f = (float)v.real;
        if ((kind == FG_JSON_INT || kind == FG_JSON_REAL) &&
            fg_buf_add(&b, (struct fg_str){(const char *)&f, sizeof f}))
            count++;
        else
            fg_json_fail(&s->json, FG_INVALID, "an embedding has values that are no numbers");
        fg_json_skip(&s->json, &v);
    }
    *values = count ? fg_arena_alloc(s->r->arena, b.len) : NULL;
    if (*values)
        memcpy(*values, b.ptr, b.len);
    fg_buf_done(&b);
    return *values ? count : 0;
}

static uint32_t take_values(struct scan *s, float **values)
{
    struct fg_json_value v;
    const int32_t kind = fg_json_read(&s->json, &v);
    if (kind == FG_JSON_ARRAY)
        return take_floats(s, values);
    fg_json_skip(&s->json, &v);
    if (kind != FG_JSON_STRING)
        return 0;
    *values = fg_arena_alloc(s->r->arena, v.text.len + sizeof(float));
    return *values ? decode(v.text, *values) : 0;
}

static bool is_finite(const float *values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return false;
    return count > 0;
}

static bool take_embedding(struct scan *s, uint32_t at)
{
    struct fg_str key;
    uint32_t index = at, count = 0;
    float *values = NULL;
    while (fg_json_next(&s->json, &key)) {
        if (fg_str_is(key, "index"))
            take_u32(s, &index);
        else if (fg_str_is(key, "embedding"))
            count = take_values(s, &values);
    }
    if (s->json.status)
        return broken(s);
    if (!is_finite(values, count))
        return fg_reader_fail(s->r, FG_DEVICE_LOST, "it sends an embedding that is none");
    return fg_reader_embedding(s->r, index, values, count);
}

static bool take_data(struct scan *s)
{
    if (s->r->op != FG_OP_EMBED || !opens(s, FG_JSON_ARRAY))
        return true;
    for (uint32_t at = 0; fg_json_next(&s->json, NULL); at++) {
        if (!opens(s, FG_JSON_OBJECT))
            return broken(s);
        if (!take_embedding(s, at))
            return false;
    }
    return true;
}

/* ---- usage, errors, the whole ---------------------------------------------------------------- */

static void take_details(struct scan *s, struct fg_usage *u)
{
    struct fg_str key;
    if (!opens(s, FG_JSON_OBJECT))
        return;
    while (fg_json_next(&s->json, &key))
        if (fg_str_is(key, "cached_tokens"))
            take_u32(s, &u->cached_tokens);
}

static void take_usage(struct scan *s)
{
    struct fg_usage *u = &s->r->usage;
    struct fg_str key;
    if (!opens(s, FG_JSON_OBJECT))
        return;
    s->r->has_usage = true;
    while (fg_json_next(&s->json, &key)) {
        if (fg_str_is(key, "prompt_tokens"))
            take_u32(s, &u->prompt_tokens);
        else if (fg_str_is(key, "completion_tokens"))
            take_u32(s, &u->output_tokens);
        else if (fg_str_is(key, "prompt_tokens_details"))
            take_details(s, u);
    }
}

static bool take_error(struct scan *s)
{
    struct fg_json_value v;
    struct fg_str key, message = {0}, type = {0}, code = {0};
    struct fg_fault fault = {0};
    int32_t number = 0;
    const int32_t kind = fg_json_read(&s->json, &v);
    if (kind == FG_JSON_STRING)
        message = v.text;
    if (kind == FG_JSON_OBJECT)
        while (fg_json_next(&s->json, &key)) {
            if (fg_str_is(key, "message"))
                take_str(s, &message);
            else if (fg_str_is(key, "type"))
                take_str(s, &type);
            else if (fg_str_is(key, "code")) {
                const int32_t k = fg_json_read(&s->json, &v);
                if (k == FG_JSON_STRING)
                    code = v.text;
                if (k == FG_JSON_INT && v.integer >= 400 && v.integer < 600)
                    number = (int32_t)v.integer;
                fg_json_skip(&s->json, &v);
            }
        }
    else
        fg_json_skip(&s->json, &v);
    if (s->json.status)
        return broken(s);
    if (kind != FG_JSON_STRING && kind != FG_JSON_OBJECT)
        return true; /* "error": null */
    fg_openai_classify(number, message, type, code, &fault);
    s->r->usage.prompt_tokens =
        fault.prompt_tokens ? fault.prompt_tokens : s->r->usage.prompt_tokens;
    return fg_reader_fail(s->r, fault.status, "%s", fault.text);
}

static bool take_root(struct scan *s)
{
    struct fg_str key;
    bool good = true;
    if (!opens(s, FG_JSON_OBJECT))
        return broken(s);
    while (good && fg_json_next(&s->json, &key)) {
        if (fg_str_is(key, "choices"))
            good = take_choices(s);
        else if (fg_str_is(key, "usage"))
            take_usage(s);
        else if (fg_str_is(key, "data"))
            good = take_data(s);
        else if (fg_str_is(key, "error"))
            good = take_error(s);
    }
    if (good && fg_json_end(&s->json) != FG_OK)
        return broken(s);
    return good;
}

/* llama-server's old form of an error: the error object alone. */
static bool take_bare_error(struct fg_reader *r, struct fg_str record)
{
    struct fg_fault fault = {0};
    fg_openai_fault(0, record, &fault);
    return fg_reader_fail(r, fault.status, "%s", fault.text);
}

bool fg_openai_read(struct fg_reader *r, struct fg_str name, struct fg_str record)
{
    struct scan s = {.r = r};
    record = fg_str_trim(record);
    if (fg_str_is(record, "[DONE]")) {
        r->is_over = true;
        return true;
    }
    if (!record.len)
        return true;
    if (fg_str_is(name, "error"))
        return take_bare_error(r, record);
    fg_json_init(&s.json, record, r->arena, 0);
    const bool good = take_root(&s);
    fg_json_done(&s.json);
    if (good)
        fg_reader_started(r);
    return good;
}
