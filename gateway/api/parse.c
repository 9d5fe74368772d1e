/*
 * api/parse.c - the table-driven walk over a body. See parse.h; the meaning of single fields is in
 * parse_fields.c and in the dialects.
 */
#include "api/parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool fg_parse_fault(struct fg_parse *p, const char *param, const char *format, ...)
{
    if (p->fault.status)
        return false;
    char text[sizeof(p->fault.text)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fg_fault_set(&p->fault, 400, "invalid_request_error", NULL, param, "%s", text);
    return false;
}

bool fg_parse_memory(struct fg_parse *p)
{
    if (!p->fault.status)
        fg_fault_set(&p->fault, 413, "invalid_request_error", "request_too_large", NULL,
                     "the request is too large");
    return false;
}

static const char *go_kind(int32_t kind)
{
    static const char *const names[] = {"nothing", "null",   "bool",  "number",
                                        "number",  "string", "array", "object"};
    return kind >= 0 && kind <= FG_JSON_OBJECT ? names[kind] : "nothing";
}

bool fg_parse_type(struct fg_parse *p, const char *param, const struct fg_json_value *v,
                   const char *wanted)
{
    if (v->kind == FG_JSON_NONE)
        return false; /* the reader knows why */
    if (p->call->route->dialect == FG_DIALECT_OLLAMA)
        return fg_parse_fault(p, param,
                              "json: cannot unmarshal %s into Go struct field %s.%s of type %s",
                              go_kind(v->kind), p->go_name, param, wanted);
    return fg_parse_fault(p, param, "Invalid type for '%s': expected %s, but got %s instead.", param,
                          wanted, fg_json_kind_name(v->kind));
}

void *fg_parse_grow(struct fg_parse *p, void *items, uint32_t count, size_t size)
{
    if (count & (count - 1))
        return items; /* between powers of two there is room */
    if (count == 1)
        return items; /* the first step makes room for two */
    uint32_t room = count ? count * 2 : 2;
    char *grown = fg_arena_zalloc(p->arena, room, size);
    if (!grown) {
        fg_parse_memory(p);
        return NULL;
    }
    if (count)
        memcpy(grown, items, count * size);
    return grown;
}

static bool is_ollama(const struct fg_parse *p)
{
    return p->call->route->dialect == FG_DIALECT_OLLAMA;
}

static bool take_plain(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    char *base = (char *)p->ask + f->offset;
    if (f->kind == FG_FIELD_FLAG) {
        if (v->kind != FG_JSON_BOOL)
            return fg_parse_type(p, f->name, v, is_ollama(p) ? "bool" : "a boolean");
        *(int8_t *)base = v->boolean ? FG_FLAG_TRUE : FG_FLAG_FALSE;
        return true;
    }
    if (f->kind == FG_FIELD_STR) {
        if (v->kind != FG_JSON_STRING)
            return fg_parse_type(p, f->name, v, is_ollama(p) ? "string" : "a string");
        *(struct fg_str *)(void *)base = v->text;
        return true;
    }
    if (v->kind != FG_JSON_INT)
        return fg_parse_type(p, f->name, v, is_ollama(p) ? "int" : "an integer");
    int64_t value = v->is_big ? INT64_MAX : v->integer;
    if ((f->least || f->most) && (value < f->least || value > f->most))
        return fg_parse_fault(p, f->name, "Invalid value for '%s': expected %lld to %lld.", f->name,
                              (long long)f->least, (long long)f->most);
    *(struct fg_ask_int *)(void *)base = (struct fg_ask_int){true, value};
    return true;
}

static const struct fg_field *find_field(const struct fg_parse *p, const struct fg_field *fields,
                                         size_t count, struct fg_str key)
{
    for (size_t i = 0; i < count; i++)
        if (p->folds_case ? fg_str_ieq(key, fg_str_of(fields[i].name))
                          : fg_str_is(key, fields[i].name))
            return &fields[i];
    return NULL;
}

bool fg_parse_object(struct fg_parse *p, const struct fg_field *fields, size_t count)
{
    uint64_t seen = 0;
    struct fg_str key;
    while (fg_json_next(&p->json, &key)) {
        const struct fg_field *f = find_field(p, fields, count, key);
        if (!f)
            continue;
        uint64_t bit = 1ull << ((size_t)(f - fields) & 63);
        if (seen & bit) /* "Model" beside "model": nobody may read the other one */
            return fg_parse_fault(p, f->name, "duplicate field '%s'", f->name);
        seen |= bit;
        struct fg_json_value v;
        if (fg_json_read(&p->json, &v) == FG_JSON_NULL)
            continue;
        if (v.kind == FG_JSON_NONE || !(f->take ? f->take(p, &v, f) : take_plain(p, &v, f)))
            return false;
    }
    return p->json.status == FG_OK;
}

bool fg_parse_ids(struct fg_parse *p, const char *param, struct fg_ids *out)
{
    *out = (struct fg_ids){0};
    struct fg_json_value v;
    while (fg_json_next(&p->json, NULL)) {
        if (fg_json_read(&p->json, &v) != FG_JSON_INT)
            return fg_parse_type(p, param, &v, is_ollama(p) ? "int" : "a token id");
        if (v.is_big || v.integer < 0 || v.integer > INT32_MAX)
            return fg_parse_fault(p, param, "'%s' holds a number that is no token id", param);
        int32_t *ids = fg_parse_grow(p, out->ids, out->count, sizeof(*ids));
        if (!ids)
            return false;
        out->ids = ids;
        out->ids[out->count++] = (int32_t)v.integer;
    }
    return p->json.status == FG_OK;
}

static void json_fault(struct fg_parse *p)
{
    if (p->fault.status)
        return;
    if (p->json.status == FG_NO_MEMORY)
        fg_parse_memory(p);
    else if (is_ollama(p) || p->json.status == FG_OK)
        fg_parse_fault(p, NULL, "%s", p->json.status ? p->json.error : "the body is not an object");
    else
        fg_parse_fault(p, NULL, "We could not parse the JSON body of your request: %s",
                       p->json.error);
}

bool fg_parse_body(struct fg_call *call, const struct fg_field *fields, size_t count,
                   const char *go_name)
{
    struct fg_str body = call->http->body;
    struct fg_parse p = {.call = call, .go_name = go_name};
    p.folds_case = is_ollama(&p);
    call->arena = fg_arena_open(0, body.len * 8 + (1u << 20));
    call->ask = call->arena ? fg_arena_zalloc(call->arena, 1, sizeof(*call->ask)) : NULL;
    if (!call->ask) {
        fg_fault_set(&p.fault, 503, "unavailable_error", "overloaded", NULL, "out of memory");
        p.fault.retry_after_s = 1;
        fg_call_fail(call, &p.fault);
        return false;
    }
    p.ask = call->ask;
    p.arena = call->arena;
    p.options = &p.ask->given;
    if (fg_str_trim(body).len == 0) {
        fg_fault_set(&p.fault, 400, "invalid_request_error", NULL, NULL, "missing request body");
        fg_call_fail(call, &p.fault);
        return false;
    }
    struct fg_json_value v;
    fg_json_init(&p.json, body, call->arena, p.folds_case ? FG_JSON_TRAILING : 0);
    bool good = fg_json_read(&p.json, &v) == FG_JSON_OBJECT && fg_parse_object(&p, fields, count) &&
                fg_json_end(&p.json) == FG_OK;
    if (!good)
        json_fault(&p);
    fg_json_done(&p.json);
    if (!good)
        fg_call_fail(call, &p.fault);
    return good;
}
