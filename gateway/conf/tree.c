/*
 * From libyaml's events to the tree of tree.h. The tree is built without recursion; writing JSON
 * recurses, at most FG_TREE_MAX_DEPTH deep.
 */
#include "conf/tree.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "util/error.h"
#include "util/json.h"

struct reader {
    const char *file;
    struct fg_str yaml;
    struct fg_arena *arena;
    struct fg_tree *root, *open; /* open: the innermost container */
    struct fg_str key;           /* of the value to come */
    bool has_key;
    uint32_t nodes, depth, documents;
    struct fg_error *err;
};

/* ---- paths ------------------------------------------------------------------------------- */

static size_t path_add(struct fg_path *p, struct fg_str text)
{
    bool broken;
    size_t before = p->len, room = sizeof p->text - 1 - p->len;
    if (text.len > room)
        text.len = room;
    text.len = fg_utf8_valid(text, &broken);
    for (size_t i = 0; i < text.len; i++) {
        bool control = (unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f;
        p->text[p->len++] = control ? '?' : text.ptr[i];
    }
    p->text[p->len] = '\0';
    return before;
}

size_t fg_path_key(struct fg_path *p, struct fg_str key)
{
    size_t before = p->len;
    if (p->len)
        path_add(p, FG_STR("."));
    path_add(p, (struct fg_str){key.ptr, key.len > 64 ? 64 : key.len});
    return before;
}

size_t fg_path_index(struct fg_path *p, uint32_t index)
{
    char text[16];
    snprintf(text, sizeof text, "[%u]", index);
    return path_add(p, fg_str_of(text));
}

size_t fg_path_any(struct fg_path *p)
{
    return path_add(p, FG_STR("[]"));
}

void fg_path_cut(struct fg_path *p, size_t len)
{
    p->len = len;
    p->text[len] = '\0';
}

static void path_of(const struct fg_tree *node, struct fg_path *out)
{
    const struct fg_tree *up[FG_TREE_MAX_DEPTH + 1];
    size_t n = 0;
    for (; node && node->parent && n < FG_TREE_MAX_DEPTH; node = node->parent)
        up[n++] = node;
    *out = (struct fg_path){.len = 0};
    while (n--) {
        if (up[n]->parent->kind == FG_TREE_MAP) {
            fg_path_key(out, up[n]->key);
            continue;
        }
        uint32_t index = 0;
        for (const struct fg_tree *c = up[n]->parent->first; c != up[n]; c = c->next)
            index++;
        fg_path_index(out, index);
    }
}

/* ---- reading ----------------------------------------------------------------------------- */

static bool refuse(struct reader *r, const yaml_event_t *e, const char *why)
{
    struct fg_path path = {.len = 0};
    if (r->open)
        path_of(r->open, &path);
    if (r->has_key)
        fg_path_key(&path, r->key);
    fg_fail(r->err, FG_INVALID, "%.100s:%zu: %s%s%s", r->file, e->start_mark.line + 1, path.text,
            path.len ? ": " : "", why);
    return false;
}

static bool take_key(struct reader *r, const yaml_event_t *e)
{
    if (e->type != YAML_SCALAR_EVENT)
        return refuse(r, e, "a key must be a plain word");
    struct fg_str key = {(const char *)e->data.scalar.value, e->data.scalar.length};
    r->key = fg_arena_str(r->arena, key);
    if (!r->key.ptr) {
        fg_fail(r->err, FG_NO_MEMORY, "%.100s: no memory", r->file);
        return false;
    }
    r->has_key = true;
    for (const struct fg_tree *c = r->open->first; c; c = c->next)
        if (fg_str_eq(c->key, key))
            return refuse(r, e, "the key stands twice");
    return true;
}

static struct fg_tree *new_node(struct reader *r, const yaml_event_t *e, int32_t kind)
{
    if (++r->nodes > FG_TREE_MAX_NODES || r->depth > FG_TREE_MAX_DEPTH) {
        refuse(r, e, r->nodes > FG_TREE_MAX_NODES ? "too many values" : "nested too deep");
        return NULL;
    }
    struct fg_tree *node = fg_arena_zalloc(r->arena, 1, sizeof *node);
    if (!node) {
        fg_fail(r->err, FG_NO_MEMORY, "%.100s: no memory", r->file);
        return NULL;
    }
    node->kind = kind;
    node->line = (uint32_t)e->start_mark.line + 1;
    node->key = r->has_key ? r->key : (struct fg_str){"", 0};
    node->text = (struct fg_str){"", 0};
    r->has_key = false;
    node->parent = r->open;
    if (!r->open) {
        r->root = node;
        return node;
    }
    if (r->open->last)
        r->open->last->next = node;
    else
        r->open->first = node;
    r->open->last = node;
    r->open->count++;
    return node;
}

static bool take_scalar(struct reader *r, const yaml_event_t *e)
{
    if (r->open && r->open->kind == FG_TREE_MAP && !r->has_key)
        return take_key(r, e);
    struct fg_str text = {(const char *)e->data.scalar.value, e->data.scalar.length};
    if (memchr(text.ptr, 0, text.len))
        return refuse(r, e, "a NUL character");
    struct fg_tree *node = new_node(r, e, FG_TREE_SCALAR);
    if (!node)
        return false;
    node->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text = fg_arena_str(r->arena, text);
    if (node->text.ptr)
        return true;
    fg_fail(r->err, FG_NO_MEMORY, "%.100s: no memory", r->file);
    return false;
}

static bool take_container(struct reader *r, const yaml_event_t *e, int32_t kind)
{
    if (r->open && r->open->kind == FG_TREE_MAP && !r->has_key)
        return take_key(r, e); /* a map or list as a key: refused there */
    r->depth++;
    struct fg_tree *node = new_node(r, e, kind);
    if (node)
        r->open = node;
    return node != NULL;
}

static bool has_extras(const yaml_event_t *e)
{
    if (e->type == YAML_SCALAR_EVENT)
        return e->data.scalar.anchor || e->data.scalar.tag;
    if (e->type == YAML_SEQUENCE_START_EVENT)
        return e->data.sequence_start.anchor || e->data.sequence_start.tag;
    return e->type == YAML_MAPPING_START_EVENT &&
           (e->data.mapping_start.anchor || e->data.mapping_start.tag);
}

static bool take(struct reader *r, const yaml_event_t *e)
{
    if (has_extras(e) || e->type == YAML_ALIAS_EVENT)
        return refuse(r, e, "anchors, aliases and tags are not used here");
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return r->documents++ == 0 || refuse(r, e, "a second document");
    case YAML_SCALAR_EVENT:
        return take_scalar(r, e);
    case YAML_SEQUENCE_START_EVENT:
        return take_container(r, e, FG_TREE_LIST);
    case YAML_MAPPING_START_EVENT:
        return take_container(r, e, FG_TREE_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        r->open = r->open->parent;
        r->depth--;
        return true;
    default:
        return true;
    }
}

/* Bytes that are no text are found ahead of the place where the parser is. */
static size_t line_of(struct fg_str yaml, const yaml_parser_t *p)
{
    size_t line = 0;
    if (p->error != YAML_READER_ERROR)
        return p->problem_mark.line ? p->problem_mark.line : p->mark.line;
    for (size_t i = 0; i < yaml.len && i < p->problem_offset; i++)
        line += yaml.ptr[i] == '\n';
    return line;
}

static void tell_syntax(struct reader *r, const yaml_parser_t *p)
{
    size_t line = line_of(r->yaml, p);
    if (p->error == YAML_MEMORY_ERROR)
        fg_fail(r->err, FG_NO_MEMORY, "%.100s: no memory", r->file);
    else
        fg_fail(r->err, FG_INVALID, "%.100s:%zu: not YAML: %.100s", r->file, line + 1,
                p->problem ? p->problem : "syntax error");
}

static bool read_all(struct reader *r, yaml_parser_t *p)
{
    for (bool over = false; !over;) {
        yaml_event_t e;
        if (!yaml_parser_parse(p, &e)) {
            tell_syntax(r, p);
            return false;
        }
        over = e.type == YAML_STREAM_END_EVENT;
        bool ok = take(r, &e);
        yaml_event_delete(&e);
        if (!ok)
            return false;
    }
    return true;
}

int32_t fg_tree_read(const char *file, struct fg_str yaml, struct fg_arena *arena,
                     struct fg_tree **out, struct fg_error *err)
{
    struct fg_error local = {0};
    struct reader r = {.file = file, .yaml = yaml, .arena = arena, .err = err ? err : &local};
    yaml_parser_t p;
    if (!yaml_parser_initialize(&p))
        return fg_fail(err, FG_NO_MEMORY, "%.100s: no memory", file);
    yaml_parser_set_input_string(&p, (const unsigned char *)yaml.ptr, yaml.len);
    bool ok = read_all(&r, &p);
    yaml_parser_delete(&p);
    if (!ok)
        return r.err->status;
    if (!r.root || fg_tree_is_null(r.root)) {
        r.root = fg_arena_zalloc(arena, 1, sizeof *r.root);
        if (!r.root)
            return fg_fail(err, FG_NO_MEMORY, "%.100s: no memory", file);
        r.root->kind = FG_TREE_MAP;
        r.root->line = 1;
    }
    *out = r.root;
    return FG_OK;
}

/* ---- use --------------------------------------------------------------------------------- */

bool fg_tree_is_null(const struct fg_tree *t)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (t->kind != FG_TREE_SCALAR || !t->plain)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (fg_str_is(t->text, words[i]))
            return true;
    return false;
}

const struct fg_tree *fg_tree_get(const struct fg_tree *map, const char *key)
{
    if (!map || map->kind != FG_TREE_MAP)
        return NULL;
    for (const struct fg_tree *c = map->first; c; c = c->next)
        if (fg_str_is(c->key, key))
            return fg_tree_is_null(c) ? NULL : c;
    return NULL;
}

static size_t digits(struct fg_str s, size_t at)
{
    size_t n = 0;
    while (at + n < s.len && s.ptr[at + n] >= '0' && s.ptr[at + n] <= '9')
        n++;
    return n;
}

/* RFC 8259: -? int frac? exp?; short enough that every reader takes it */
static bool is_json_number(struct fg_str s)
{
    size_t at = s.len && s.ptr[0] == '-';
    size_t whole = digits(s, at);
    if (!whole || whole > 18 || s.len > 40 || (whole > 1 && s.ptr[at] == '0'))
        return false;
    at += whole;
    if (at < s.len && s.ptr[at] == '.') {
        size_t part = digits(s, at + 1);
        if (!part)
            return false;
        at += 1 + part;
    }
    if (at < s.len && (s.ptr[at] == 'e' || s.ptr[at] == 'E')) {
        at++;
        at += at < s.len && (s.ptr[at] == '+' || s.ptr[at] == '-');
        size_t part = digits(s, at);
        if (!part || part > 2)
            return false;
        at += part;
    }
    return at == s.len;
}

static void put_scalar(const struct fg_tree *t, struct fg_buf *b)
{
    if (fg_tree_is_null(t))
        fg_json_put_null(b);
    else if (t->plain && (fg_str_is(t->text, "true") || fg_str_is(t->text, "false")))
        fg_json_put_bool(b, t->text.ptr[0] == 't');
    else if (t->plain && is_json_number(t->text))
        fg_json_put_raw(b, t->text);
    else
        fg_json_put_str(b, t->text);
}

void fg_tree_json(const struct fg_tree *t, struct fg_buf *b)
{
    if (t->kind == FG_TREE_SCALAR) {
        put_scalar(t, b);
        return;
    }
    bool map = t->kind == FG_TREE_MAP;
    fg_json_put_open(b, map ? '{' : '[');
    for (const struct fg_tree *c = t->first; c; c = c->next) {
        if (map)
            fg_json_put_key(b, c->key);
        fg_tree_json(c, b);
    }
    fg_json_put_close(b, map ? '}' : ']');
}
