/*
 * Walks a document with our reader beside the tree that jansson built of the same bytes.
 * We are meant to differ only where we are stricter (size, depth, key and node limits) or where a
 * number is outside what jansson holds (integers of 64 bits without sign).
 */
#include "json_compare.h"

#include <jansson.h>
#include <string.h>

#include "util/json.h"

static const char *compare_value(struct fg_json *r, const struct fg_json_value *v, json_t *j,
                                 int depth);

static const char *compare_container(struct fg_json *r, const struct fg_json_value *v, json_t *j,
                                     int depth)
{
    size_t count = 0;
    struct fg_str key;
    while (fg_json_next(r, &key)) {
        json_t *child = v->kind == FG_JSON_ARRAY ? json_array_get(j, count)
                                                 : json_object_getn(j, key.ptr, key.len);
        struct fg_json_value inner;
        fg_json_read(r, &inner);
        const char *why = child ? compare_value(r, &inner, child, depth + 1) : "a member is missing";
        if (why)
            return why;
        count++;
    }
    size_t want = v->kind == FG_JSON_ARRAY ? json_array_size(j) : json_object_size(j);
    return r->status || count == want ? NULL : "another number of members";
}

static const char *compare_value(struct fg_json *r, const struct fg_json_value *v, json_t *j,
                                 int depth)
{
    if (depth > FG_JSON_MAX_DEPTH + 1)
        return "too deep";
    switch (v->kind) {
    case FG_JSON_NONE:
        return NULL; /* the status tells */
    case FG_JSON_NULL:
        return json_is_null(j) ? NULL : "null";
    case FG_JSON_BOOL:
        return json_is_boolean(j) && json_is_true(j) == v->boolean ? NULL : "boolean";
    case FG_JSON_INT:
        return json_is_integer(j) && json_integer_value(j) == v->integer ? NULL : "integer";
    case FG_JSON_REAL:
        return json_is_real(j) && json_real_value(j) == v->real ? NULL : "real";
    case FG_JSON_STRING:
        return json_is_string(j) && json_string_length(j) == v->text.len &&
                       memcmp(json_string_value(j), v->text.ptr, v->text.len) == 0
                   ? NULL
                   : "string";
    case FG_JSON_ARRAY:
        return json_is_array(j) ? compare_container(r, v, j, depth) : "array";
    default:
        return json_is_object(j) ? compare_container(r, v, j, depth) : "object";
    }
}

/* Refusals of ours that jansson does not share. */
static bool is_stricter(const char *error)
{
    static const char *const words[] = {"nested too deeply", "too many keys", "too many values",
                                        "number too long", "the request is too large"};
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (strncmp(error, words[i], strlen(words[i])) == 0)
            return true;
    return false;
}

/* Accepted by us, refused by jansson: only integers above INT64_MAX. */
static bool has_big(struct fg_str text)
{
    struct fg_arena *arena = fg_arena_open(0, (size_t)64 << 20);
    struct fg_json r;
    struct fg_json_value v;
    bool big = false;
    fg_json_init(&r, text, arena, 0);
    fg_json_read(&r, &v);
    big |= v.is_big;
    while (!r.status && r.depth) {
        if (!fg_json_next(&r, NULL))
            continue;
        fg_json_read(&r, &v);
        big |= v.is_big;
    }
    fg_json_done(&r);
    fg_arena_close(arena);
    return big;
}

const char *json_compare(struct fg_str text)
{
    struct fg_arena *arena = fg_arena_open(0, (size_t)64 << 20);
    if (!arena)
        return "no memory";
    struct fg_json r;
    struct fg_json_value v;
    const char *why = NULL;
    json_t *tree = json_loadb(text.ptr ? text.ptr : "", text.len,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    fg_json_init(&r, text, arena, 0);
    fg_json_read(&r, &v);
    if (tree)
        why = compare_value(&r, &v, tree, 0);
    else
        fg_json_skip(&r, &v);
    int32_t status = why ? FG_OK : fg_json_end(&r);
    /* jansson takes a NUL behind the document for its end; we refuse it (threats, section 5) */
    bool at_nul = r.at < text.len && text.ptr[r.at] == '\0';
    if (!why && tree && status != FG_OK && !is_stricter(r.error) && !at_nul)
        why = "we refuse what jansson takes";
    if (!why && !tree && status == FG_OK && !has_big(text))
        why = "we take what jansson refuses";
    json_decref(tree);
    fg_json_done(&r);
    fg_arena_close(arena);
    return why;
}

static void put_scalar(struct fg_buf *out, const struct fg_json_value *v)
{
    if (v->kind == FG_JSON_NULL)
        fg_json_put_null(out);
    else if (v->kind == FG_JSON_BOOL)
        fg_json_put_bool(out, v->boolean);
    else if (v->kind == FG_JSON_INT && v->is_big)
        fg_json_put_u64(out, (uint64_t)v->integer);
    else if (v->kind == FG_JSON_INT)
        fg_json_put_i64(out, v->integer);
    else if (v->kind == FG_JSON_STRING)
        fg_json_put_str(out, v->text);
}

bool json_rewrite(struct fg_str text, struct fg_buf *out)
{
    struct fg_arena *arena = fg_arena_open(0, (size_t)64 << 20);
    struct fg_json r;
    struct fg_json_value v;
    char close[FG_JSON_MAX_DEPTH];
    uint32_t depth = 0;
    fg_json_init(&r, text, arena, 0);
    fg_json_read(&r, &v);
    for (bool more = true; more && !r.status;) {
        if (v.kind >= FG_JSON_ARRAY) {
            fg_json_put_open(out, v.kind == FG_JSON_ARRAY ? '[' : '{');
            close[depth++] = v.kind == FG_JSON_ARRAY ? ']' : '}';
        } else if (v.kind == FG_JSON_REAL) {
            size_t at = out->len;
            fg_json_put_f64(out, v.real);
            if (!memchr(out->ptr + at, '.', out->len - at) && !memchr(out->ptr + at, 'e', out->len - at))
                fg_buf_add(out, FG_STR(".0")); /* stays a real for the comparison */
        } else {
            put_scalar(out, &v);
        }
        struct fg_str key = {0};
        while (depth && !fg_json_next(&r, &key) && !r.status)
            fg_json_put_close(out, close[--depth]);
        more = depth > 0 && !r.status;
        if (more) {
            if (close[depth - 1] == '}')
                fg_json_put_key(out, key);
            fg_json_read(&r, &v);
        }
    }
    bool good = fg_json_end(&r) == FG_OK;
    fg_json_done(&r);
    fg_arena_close(arena);
    return good;
}
