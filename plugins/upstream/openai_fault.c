/*
 * Error answers of this dialect, and of the proxies that stand before such servers: what kind of
 * failure it is, whose fault, and a text that people can act on. What the server says of our key is
 * never repeated: some of them quote it.
 */
#include <stdio.h>
#include <string.h>

#include "upstream/openai.h"
#include "util/json.h"

enum { SAID_MAX = 200 };

/* ---- the text -------------------------------------------------------------------------------- */

static bool has(struct fg_str text, const char *words)
{
    const size_t n = strlen(words);
    for (size_t i = 0; i + n <= text.len; i++)
        if (fg_str_ieq((struct fg_str){text.ptr + i, n}, (struct fg_str){words, n}))
            return true;
    return false;
}

static void set_text(struct fg_fault *f, const char *head, struct fg_str said)
{
    bool broken = false;
    char clean[SAID_MAX + 1];
    if (said.len > SAID_MAX)
        said.len = SAID_MAX;
    said.len = said.len ? fg_utf8_valid(said, &broken) : 0;
    for (size_t i = 0; i < said.len; i++)
        clean[i] = (unsigned char)said.ptr[i] < 0x20 || said.ptr[i] == 0x7f ? ' ' : said.ptr[i];
    clean[said.len] = '\0';
    snprintf(f->text, sizeof f->text, "%s%s%s", head, head[0] && said.len ? ": " : "", clean);
}

/* "... your messages resulted in 9000 tokens", "... request has 9000 input tokens": the largest
 * number before "token" is no less than the prompt; 0: none is told. */
static uint32_t tokens_told(struct fg_str text)
{
    uint64_t most = 0, n;
    for (size_t i = 0; i < text.len;) {
        size_t end = i;
        while (end < text.len && text.ptr[end] >= '0' && text.ptr[end] <= '9')
            end++;
        if (end > i && end - i < 10 && fg_str_u64((struct fg_str){text.ptr + i, end - i}, &n) &&
            n > most)
            most = n;
        i = end > i ? end : i + 1;
    }
    return most <= UINT32_MAX ? (uint32_t)most : 0;
}

/* ---- kinds ----------------------------------------------------------------------------------- */

static bool is_too_long(struct fg_str message, struct fg_str type, struct fg_str code)
{
    return fg_str_is(code, "context_length_exceeded") ||
           fg_str_is(type, "exceed_context_size_error") || has(message, "context length") ||
           has(message, "context size") || has(message, "context window") ||
           has(message, "maximum context") || has(message, "prompt is too long");
}

static int32_t status_of(int32_t http, struct fg_str type, struct fg_str code)
{
    static const struct {
        int32_t http;
        const char *word;
        int32_t status;
    } table[] = {
        {429, "rate_limit", FG_BUSY},           {529, "overloaded", FG_BUSY},
        {404, "not_found", FG_NOT_FOUND},       {501, "not_supported", FG_UNSUPPORTED},
        {400, "invalid_request", FG_INVALID},   {413, "request_too_large", FG_INVALID},
        {415, "unsupported_media", FG_INVALID}, {422, "unprocessable", FG_INVALID},
        {401, "authentication", FG_INTERNAL},   {403, "permission", FG_INTERNAL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (http ? http == table[i].http : has(type, table[i].word) || has(code, table[i].word))
            return table[i].status;
    if (http >= 500 ||
        (!http && (has(type, "server_error") || has(type, "internal") || has(type, "unavailable") ||
                   has(type, "timeout") || has(code, "upstream"))))
        return FG_DEVICE_LOST;
    return FG_INTERNAL;
}

static void say_status(int32_t http, struct fg_str message, struct fg_fault *f)
{
    char head[100];
    if (http == 401 || http == 403) {
        snprintf(head, sizeof head,
                 "it refuses our key (HTTP %d): check api_key, api_key_file or api_key_env", http);
        set_text(f, head, (struct fg_str){0});
    } else if (http == 402) {
        set_text(f, "it wants to be paid first (HTTP 402)", message);
    } else if (http >= 300 && http < 400) {
        snprintf(head, sizeof head,
                 "it redirects (HTTP %d), which is not followed: correct the base_url", http);
        set_text(f, head, (struct fg_str){0});
    } else if (http >= 500 || http == 405 || http == 429) {
        snprintf(head, sizeof head, "it answers HTTP %d", http);
        set_text(f, head, message);
    } else if (message.len) {
        set_text(f, "", message);
    } else {
        snprintf(head, sizeof head, "it answers HTTP %d", http);
        set_text(f, head, message);
    }
}

void fg_openai_classify(int32_t http, struct fg_str message, struct fg_str type, struct fg_str code,
                        struct fg_fault *f)
{
    *f = (struct fg_fault){.status = status_of(http, type, code)};
    if ((http == 0 || http == 400 || http == 413 || http == 422 || http == 500) &&
        is_too_long(message, type, code)) {
        f->status = FG_TOO_LONG;
        f->prompt_tokens = f->prompt_tokens ? f->prompt_tokens : tokens_told(message);
        set_text(f, "", message);
        return;
    }
    if (fg_str_is(code, "insufficient_quota") || fg_str_is(type, "insufficient_quota")) {
        f->status = FG_INTERNAL; /* waiting does not help */
        set_text(f, "its quota for our key is used up", (struct fg_str){0});
        return;
    }
    f->is_server = f->status == FG_DEVICE_LOST;
    f->wants_pause = f->status == FG_BUSY;
    if (f->wants_pause)
        f->is_server = false;
    if (http == 0 && f->status == FG_INTERNAL &&
        (has(type, "authentication") || has(type, "permission")))
        http = 401;
    if (http)
        say_status(http, message, f);
    else
        set_text(f, "it broke off", message);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

struct said {
    struct fg_str message, type, code;
    uint32_t prompt_tokens;
};

static void read_member(struct fg_json *j, struct fg_str key, struct said *said)
{
    struct fg_json_value v;
    const int32_t kind = fg_json_read(j, &v);
    if (kind == FG_JSON_STRING &&
        (fg_str_is(key, "message") || fg_str_is(key, "detail") || fg_str_is(key, "error")))
        said->message = v.text;
    else if (kind == FG_JSON_STRING && fg_str_is(key, "type"))
        said->type = v.text;
    else if (kind == FG_JSON_STRING && fg_str_is(key, "code"))
        said->code = v.text;
    else if (kind == FG_JSON_INT && fg_str_is(key, "n_prompt_tokens") && v.integer > 0 &&
             v.integer < UINT32_MAX)
        said->prompt_tokens = (uint32_t)v.integer;
    else if (kind == FG_JSON_OBJECT && fg_str_is(key, "error")) {
        while (fg_json_next(j, &key)) {
            if (fg_str_is(key, "error")) /* no deeper */
                continue;
            read_member(j, key, said);
        }
        return;
    }
    fg_json_skip(j, &v);
}

/* {"error": {...}}, {"error": "..."}, {"detail": "..."}, or the error object alone. */
static void read_body(struct fg_str body, struct fg_arena *arena, struct said *said)
{
    struct fg_json j;
    struct fg_json_value v;
    struct fg_str key;
    fg_json_init(&j, body, arena, 0);
    if (fg_json_read(&j, &v) == FG_JSON_OBJECT)
        while (fg_json_next(&j, &key))
            read_member(&j, key, said);
    fg_json_done(&j);
}

void fg_openai_fault(int32_t http, struct fg_str body, struct fg_fault *f)
{
    struct said said = {0};
    struct fg_arena *arena = fg_arena_open(0, (size_t)1 << 20);
    body = fg_str_trim(body);
    if (arena && body.len && body.ptr[0] == '{')
        read_body(body, arena, &said);
    fg_openai_classify(http, said.message, said.type, said.code, f);
    if (f->status == FG_TOO_LONG && said.prompt_tokens)
        f->prompt_tokens = said.prompt_tokens;
    fg_arena_close(arena);
}

const struct fg_dialect fg_dialect_openai = {
    .accept = "text/event-stream",
    .is_lines = false,
    .path = fg_openai_path,
    .write = fg_openai_write,
    .read = fg_openai_read,
    .fault = fg_openai_fault,
};
