/*
 * api/messages.c - lists of messages. Texts only for now: parts of other kinds, tool calls and
 * their results are refused by name, never dropped. Earlier reasoning of the assistant
 * (`thinking`, `reasoning`) is accepted and left out, as templates leave it out.
 */
#include "api/messages.h"

#include <stdio.h>
#include <string.h>

enum { MAX_MESSAGES = 4096, MAX_PARTS = 1024 };

struct message_state { /* of the message being read */
    uint32_t index;
    int32_t role;
    bool has_role, has_content, is_function;
    struct fg_part *parts;
    uint32_t part_count;
};

/* Made for every member of every message, to be there when one is at fault: so without printf,
 * which was an eighth of a large request. members are short constants. */
static const char *path(char out[64], uint32_t index, const char *member)
{
    char text[64] = "messages[";
    size_t n = sizeof text, len = 9, member_len = strlen(member);
    char digits[sizeof text];
    do
        digits[--n] = (char)('0' + index % 10);
    while (index /= 10);
    memcpy(text + len, digits + n, sizeof digits - n);
    len += sizeof digits - n;
    memcpy(text + len, "].", 2);
    len += 2;
    if (member_len > sizeof text - 1 - len)
        member_len = sizeof text - 1 - len;
    memcpy(text + len, member, member_len);
    text[len + member_len] = '\0';
    return memcpy(out, text, sizeof text);
}

static bool add_part(struct fg_parse *p, struct message_state *m, struct fg_str text)
{
    char at[64];
    if (m->part_count == MAX_PARTS)
        return fg_parse_fault(p, path(at, m->index, "content"), "at most %d parts in one message",
                              MAX_PARTS);
    struct fg_part *parts = fg_parse_grow(p, m->parts, m->part_count, sizeof(*parts));
    if (!parts)
        return false;
    m->parts = parts;
    m->parts[m->part_count++] = (struct fg_part){.kind = FG_PART_TEXT, .data = text};
    return true;
}

static bool add_message(struct fg_parse *p, int32_t role, const struct fg_part *parts,
                        uint32_t part_count)
{
    struct fg_ask *a = p->ask;
    if (a->message_count == MAX_MESSAGES)
        return fg_parse_fault(p, "messages", "at most %d messages", MAX_MESSAGES);
    struct fg_message *items = fg_parse_grow(p, a->messages, a->message_count, sizeof(*items));
    if (!items)
        return false;
    a->messages = items;
    a->messages[a->message_count++] = (struct fg_message){role, part_count, parts};
    return true;
}

bool fg_messages_add(struct fg_parse *p, int32_t role, struct fg_str text, uint32_t index)
{
    struct fg_ask *a = p->ask;
    struct fg_part *part = fg_arena_zalloc(p->arena, 1, sizeof(*part));
    if (!part)
        return fg_parse_memory(p);
    *part = (struct fg_part){.kind = FG_PART_TEXT, .data = text};
    if (!add_message(p, role, part, 1))
        return false;
    if (index < a->message_count - 1) {
        struct fg_message last = a->messages[a->message_count - 1];
        memmove(&a->messages[index + 1], &a->messages[index],
                (a->message_count - 1 - index) * sizeof(last));
        a->messages[index] = last;
    }
    return true;
}

static bool take_role(struct fg_parse *p, const struct fg_json_value *v, struct message_state *m)
{
    static const struct {
        const char *word;
        int32_t role;
    } roles[] = {{"system", FG_ROLE_SYSTEM},       {"developer", FG_ROLE_SYSTEM},
                 {"user", FG_ROLE_USER},           {"assistant", FG_ROLE_ASSISTANT},
                 {"tool", FG_ROLE_TOOL},           {"function", FG_ROLE_TOOL}};
    char at[64];
    bool folds = p->folds_case;
    path(at, m->index, "role");
    if (v->kind != FG_JSON_STRING)
        return fg_parse_type(p, folds ? "messages.role" : at, v, folds ? "string" : "a string");
    for (size_t i = 0; i < sizeof(roles) / sizeof(*roles); i++)
        if (folds ? fg_str_ieq(v->text, fg_str_of(roles[i].word))
                  : fg_str_is(v->text, roles[i].word)) {
            m->role = roles[i].role;
            m->has_role = true;
            if (m->role == FG_ROLE_TOOL)
                return fg_parse_fault(p, at, "%s: role 'tool': tools are not supported", at);
            return true;
        }
    struct fg_str word = fg_cut64(v->text);
    return fg_parse_fault(p, at, "Invalid value for '%s': unknown role '%.*s'", at,
                          FG_STR_ARG(word));
}

/* ---- OpenAI --------------------------------------------------------------------------------- */

static bool refuse_part(struct fg_parse *p, struct message_state *m, uint32_t k, struct fg_str type,
                        struct fg_str url)
{
    char at[64];
    snprintf(at, sizeof(at), "messages[%u].content[%u]", m->index, k);
    if (fg_str_is(type, "image_url") &&
        (fg_str_starts(url, FG_STR("http:")) || fg_str_starts(url, FG_STR("https:"))))
        return fg_parse_fault(p, at, "image URLs are not currently supported, please use base64 "
                                     "encoded data instead");
    if (fg_str_is(type, "image_url"))
        return fg_parse_fault(p, at, "%s: this model does not support image input", at);
    if (fg_str_is(type, "input_audio"))
        return fg_parse_fault(p, at, "%s: this model does not support audio input", at);
    struct fg_str word = fg_cut64(type);
    return fg_parse_fault(p, at, "%s: unknown content part type '%.*s'", at, FG_STR_ARG(word));
}

static bool read_url(struct fg_parse *p, const struct fg_json_value *v, struct fg_str *url)
{
    struct fg_json_value item;
    struct fg_str key;
    if (v->kind == FG_JSON_STRING)
        *url = v->text;
    if (v->kind != FG_JSON_OBJECT) {
        fg_json_skip(&p->json, v);
        return true;
    }
    while (fg_json_next(&p->json, &key)) {
        fg_json_read(&p->json, &item);
        if (fg_str_is(key, "url") && item.kind == FG_JSON_STRING)
            *url = item.text;
        fg_json_skip(&p->json, &item);
    }
    return p->json.status == FG_OK;
}

static bool take_part(struct fg_parse *p, struct message_state *m, uint32_t k)
{
    struct fg_json_value v;
    struct fg_str key, type = {0}, text = {0}, url = {0};
    char at[64];
    snprintf(at, sizeof(at), "messages[%u].content[%u]", m->index, k);
    while (fg_json_next(&p->json, &key)) {
        fg_json_read(&p->json, &v);
        bool is_text = fg_str_is(key, "text"), is_type = fg_str_is(key, "type");
        if ((is_text || is_type) && v.kind != FG_JSON_STRING)
            return fg_parse_type(p, at, &v, "a string");
        if (is_text)
            text = v.text;
        else if (is_type)
            type = v.text;
        else if (fg_str_is(key, "image_url")) {
            if (!read_url(p, &v, &url))
                return false;
        } else
            fg_json_skip(&p->json, &v);
    }
    if (p->json.status)
        return false;
    if (fg_str_is(type, "text") && text.ptr)
        return add_part(p, m, text);
    if (fg_str_is(type, "text"))
        return fg_parse_fault(p, at, "%s: a text part needs 'text'", at);
    return refuse_part(p, m, k, type, url);
}

static bool take_content(struct fg_parse *p, const struct fg_json_value *v, struct message_state *m)
{
    char at[64];
    path(at, m->index, "content");
    m->has_content = true;
    if (v->kind == FG_JSON_STRING)
        return add_part(p, m, v->text);
    if (v->kind != FG_JSON_ARRAY)
        return fg_parse_type(p, at, v, "a string or an array of parts");
    struct fg_json_value item;
    for (uint32_t k = 0; fg_json_next(&p->json, NULL); k++) {
        if (fg_json_read(&p->json, &item) != FG_JSON_OBJECT)
            return fg_parse_type(p, at, &item, "parts that are objects");
        if (!take_part(p, m, k))
            return false;
    }
    return p->json.status == FG_OK;
}

/* An empty list or null is absent; anything in it is refused by name. */
static bool take_unsupported_list(struct fg_parse *p, const struct fg_json_value *v,
                                  struct message_state *m, const char *member, const char *what)
{
    char at[64];
    path(at, m->index, member);
    if (v->kind == FG_JSON_NULL)
        return true;
    bool some = v->kind != FG_JSON_ARRAY || fg_json_next(&p->json, NULL);
    return some && !p->json.status ? fg_parse_fault(p, at, "%s: %s", at, what) : !p->json.status;
}

static bool take_message_openai(struct fg_parse *p, struct message_state *m)
{
    struct fg_json_value v;
    struct fg_str key;
    while (fg_json_next(&p->json, &key)) {
        bool good = true;
        fg_json_read(&p->json, &v);
        if (fg_str_is(key, "role"))
            good = take_role(p, &v, m);
        else if (fg_str_is(key, "content") && v.kind != FG_JSON_NULL)
            good = take_content(p, &v, m);
        else if (fg_str_is(key, "tool_calls"))
            good = take_unsupported_list(p, &v, m, "tool_calls", "tools are not supported");
        else if (fg_str_is(key, "function_call"))
            good = take_unsupported_list(p, &v, m, "function_call", "tools are not supported");
        else
            fg_json_skip(&p->json, &v);
        if (!good)
            return false;
    }
    char at[64];
    if (p->json.status)
        return false;
    if (!m->has_role)
        return fg_parse_fault(p, path(at, m->index, "role"), "'%s' is required", at);
    if (!m->has_content)
        return fg_parse_fault(p, path(at, m->index, "content"),
                              "Invalid value for '%s': expected a string or an array, got null", at);
    return add_message(p, m->role, m->parts, m->part_count);
}

/* ---- Ollama --------------------------------------------------------------------------------- */

static bool take_message_ollama(struct fg_parse *p, struct message_state *m)
{
    struct fg_json_value v;
    struct fg_str key, text = {"", 0};
    while (fg_json_next(&p->json, &key)) {
        bool good = true;
        if (fg_json_read(&p->json, &v) == FG_JSON_NULL)
            continue;
        if (fg_str_ieq(key, FG_STR("role")))
            good = take_role(p, &v, m);
        else if (fg_str_ieq(key, FG_STR("content"))) {
            if (v.kind != FG_JSON_STRING)
                return fg_parse_type(p, "messages.content", &v, "string");
            text = v.text;
        } else if (fg_str_ieq(key, FG_STR("images")))
            good = take_unsupported_list(p, &v, m, "images",
                                         "this model does not support multimodal input");
        else if (fg_str_ieq(key, FG_STR("tool_calls")))
            good = take_unsupported_list(p, &v, m, "tool_calls", "tools are not supported");
        else
            fg_json_skip(&p->json, &v);
        if (!good)
            return false;
    }
    char at[64];
    if (p->json.status)
        return false;
    if (!m->has_role)
        return fg_parse_fault(p, path(at, m->index, "role"), "'%s' is required", at);
    return add_part(p, m, text) && add_message(p, m->role, m->parts, m->part_count);
}

static bool take_messages(struct fg_parse *p, const struct fg_json_value *v,
                          bool (*take)(struct fg_parse *, struct message_state *))
{
    bool ollama = p->folds_case;
    if (v->kind != FG_JSON_ARRAY)
        return fg_parse_type(p, "messages", v, ollama ? "[]api.Message" : "an array");
    struct fg_json_value item;
    for (uint32_t i = 0; fg_json_next(&p->json, NULL); i++) {
        struct message_state m = {.index = i};
        if (fg_json_read(&p->json, &item) != FG_JSON_OBJECT)
            return fg_parse_type(p, "messages", &item,
                                 ollama ? "api.Message" : "messages that are objects");
        if (!take(p, &m))
            return false;
    }
    return p->json.status == FG_OK;
}

bool fg_take_messages_openai(struct fg_parse *p, const struct fg_json_value *v,
                             const struct fg_field *f)
{
    (void)f;
    return take_messages(p, v, take_message_openai);
}

bool fg_take_messages_ollama(struct fg_parse *p, const struct fg_json_value *v,
                             const struct fg_field *f)
{
    (void)f;
    return take_messages(p, v, take_message_ollama);
}

bool fg_messages_prepend_model(struct fg_call *call, struct fg_str system)
{
    const struct fg_model_entry *e = call->entry;
    struct fg_ask *a = call->ask;
    struct fg_message *own = a->messages;
    uint32_t own_count = a->message_count;
    bool has_system = own_count && own[0].role == FG_ROLE_SYSTEM;
    struct fg_parse p = {.call = call, .ask = a, .arena = call->arena, .folds_case = true};
    a->messages = NULL;
    a->message_count = 0;
    if (!has_system && system.len && !fg_messages_add(&p, FG_ROLE_SYSTEM, system, UINT32_MAX))
        return false;
    if (e && e->messages_json.len) {
        struct fg_json_value v;
        fg_json_init(&p.json, e->messages_json, call->arena, 0);
        if (fg_json_read(&p.json, &v) == FG_JSON_ARRAY)
            take_messages(&p, &v, take_message_ollama); /* what it cannot read stays out */
        fg_json_done(&p.json);
        p.fault.status = 0;
    }
    for (uint32_t i = 0; i < own_count; i++)
        if (!add_message(&p, own[i].role, own[i].parts, own[i].part_count))
            return false;
    return true;
}
