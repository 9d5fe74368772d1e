/*
 * The file against the schema. Runs before libcyaml loads, is stricter than it (a bool is true or
 * false, a number is decimal and within its bounds) and knows the path and the line of everything
 * it refuses. What passes here, libcyaml takes.
 */
#include <stdio.h>
#include <string.h>

#include "conf/inner.h"
#include "util/error.h"

enum { ECHO_BYTES = 64 };

struct walk {
    const char *file;
    struct fg_path path; /* "backends[1].name" */
    struct fg_path rule; /* "backends[].name" */
    struct fg_error *err;
};

static int32_t refuse(struct walk *w, uint32_t line, const char *why)
{
    return fg_fail(w->err, FG_INVALID, "%.100s:%u: %s%s%s", w->file, line, w->path.text,
                   w->path.len ? ": " : "", why);
}

static const char *shown(const struct fg_tree *t, char *out, size_t room)
{
    bool broken;
    struct fg_str s = {t->text.ptr, t->text.len < ECHO_BYTES ? t->text.len : ECHO_BYTES};
    s.len = fg_utf8_valid(s, &broken);
    if (t->kind != FG_TREE_SCALAR)
        return t->kind == FG_TREE_LIST ? "a list" : "a map";
    snprintf(out, room, "\"%.*s\"", (int)s.len, s.ptr);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    return out;
}

static int32_t expected(struct walk *w, const struct fg_tree *t, const char *what)
{
    char text[ECHO_BYTES + 4], why[200];
    snprintf(why, sizeof why, "%s is expected, not %s", what, shown(t, text, sizeof text));
    return refuse(w, t->line, why);
}

/* ---- scalars ----------------------------------------------------------------------------- */

static int32_t check_number(struct walk *w, const struct fg_tree *t)
{
    const struct fg_conf_bounds *b = fg_conf_bounds_of(w->rule.text);
    char what[100];
    uint64_t n;
    uint64_t least = b ? b->least : 0, most = b ? b->most : UINT64_MAX;
    snprintf(what, sizeof what, "a whole number from %llu to %llu", (unsigned long long)least,
             (unsigned long long)most);
    bool octal = t->text.len > 1 && t->text.ptr[0] == '0'; /* would be read as one */
    if (!t->plain || octal || !fg_str_u64(t->text, &n) || n < least || n > most)
        return expected(w, t, what);
    return FG_OK;
}

static int32_t check_enum(struct walk *w, const struct fg_tree *t,
                          const struct cyaml_schema_value *s)
{
    char what[100] = "one of";
    for (uint32_t i = 0; i < s->enumeration.count; i++) {
        const char *name = s->enumeration.strings[i].str;
        if (fg_str_is(t->text, name))
            return FG_OK;
        size_t n = strlen(what);
        snprintf(what + n, sizeof what - n, "%s %s", i ? "," : "", name);
    }
    return expected(w, t, what);
}

static int32_t check_text(struct walk *w, const struct fg_tree *t,
                          const struct cyaml_schema_value *s)
{
    char why[200];
    if (t->text.len < s->string.min || t->text.len > s->string.max) {
        snprintf(why, sizeof why, "a text of %u to %u bytes is expected, not of %zu", s->string.min,
                 s->string.max, t->text.len);
        return refuse(w, t->line, why);
    }
    const char *fault = fg_conf_judge(w->rule.text, t->text, why, sizeof why);
    return fault ? refuse(w, t->line, fault) : FG_OK;
}

static int32_t check_scalar(struct walk *w, const struct fg_tree *t,
                            const struct cyaml_schema_value *s)
{
    static const char *const names[] = {[CYAML_UINT] = "a whole number",
                                        [CYAML_BOOL] = "a bool",
                                        [CYAML_ENUM] = "a word",
                                        [CYAML_STRING] = "a text"};
    if (t->kind != FG_TREE_SCALAR || fg_tree_is_null(t))
        return expected(w, t, names[s->type]);
    if (s->type == CYAML_UINT)
        return check_number(w, t);
    if (s->type == CYAML_ENUM)
        return check_enum(w, t, s);
    if (s->type == CYAML_STRING)
        return check_text(w, t, s);
    if (!t->plain || (!fg_str_is(t->text, "true") && !fg_str_is(t->text, "false")))
        return expected(w, t, "true or false");
    return FG_OK;
}

/* ---- maps and lists: one level of recursion a level of the schema -------------------------- */

static int32_t check_value(struct walk *w, const struct fg_tree *t,
                           const struct cyaml_schema_value *s);

/* Letters to change, add or drop between two short words; 9 when too many to be a slip. */
static unsigned distance(struct fg_str a, const char *b)
{
    unsigned row[33], n = (unsigned)strlen(b);
    if (a.len > 32 || n > 32)
        return 9;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned corner = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= n; j++) {
            unsigned change = corner + (a.ptr[i - 1] != b[j - 1]);
            unsigned least = row[j] < row[j - 1] ? row[j] : row[j - 1];
            corner = row[j];
            row[j] = change < least + 1 ? change : least + 1;
        }
    }
    return row[n];
}

static int32_t unknown_key(struct walk *w, const struct fg_tree *t,
                           const struct cyaml_schema_field *fields)
{
    char why[100] = "unknown key";
    unsigned best = 3;
    for (const struct cyaml_schema_field *f = fields; f->key; f++) {
        unsigned d = distance(t->key, f->key);
        if (d < best) {
            best = d;
            snprintf(why, sizeof why, "unknown key; is \"%s\" meant?", f->key);
        }
    }
    return refuse(w, t->line, why);
}

static int32_t check_map(struct walk *w, const struct fg_tree *t,
                         const struct cyaml_schema_value *s)
{
    if (t->kind != FG_TREE_MAP)
        return expected(w, t, "a map");
    for (const struct fg_tree *c = t->first; c; c = c->next) {
        size_t path = fg_path_key(&w->path, c->key), rule = fg_path_key(&w->rule, c->key);
        const struct cyaml_schema_field *f = s->mapping.fields;
        while (f->key && !fg_str_is(c->key, f->key))
            f++;
        int32_t rc = FG_OK;
        if (!f->key)
            rc = unknown_key(w, c, s->mapping.fields);
        else if (!fg_tree_is_null(c) || !(f->value.flags & CYAML_FLAG_OPTIONAL))
            rc = check_value(w, c, &f->value);
        if (rc != FG_OK)
            return rc;
        fg_path_cut(&w->path, path);
        fg_path_cut(&w->rule, rule);
    }
    for (const struct cyaml_schema_field *f = s->mapping.fields; f->key; f++) {
        if ((f->value.flags & CYAML_FLAG_OPTIONAL) || fg_tree_get(t, f->key))
            continue;
        char why[80];
        snprintf(why, sizeof why, "\"%s\" is missing", f->key);
        return refuse(w, t->line, why);
    }
    return FG_OK;
}

static int32_t check_list(struct walk *w, const struct fg_tree *t,
                          const struct cyaml_schema_value *s)
{
    char why[100];
    uint32_t index = 0;
    if (t->kind != FG_TREE_LIST)
        return expected(w, t, "a list");
    if (t->count < s->sequence.min || t->count > s->sequence.max) {
        snprintf(why, sizeof why, "a list of %u to %u is expected, not of %u", s->sequence.min,
                 s->sequence.max, t->count);
        return refuse(w, t->line, why);
    }
    for (const struct fg_tree *c = t->first; c; c = c->next) {
        size_t path = fg_path_index(&w->path, index++), rule = fg_path_any(&w->rule);
        int32_t rc = check_value(w, c, s->sequence.entry);
        if (rc != FG_OK)
            return rc;
        fg_path_cut(&w->path, path);
        fg_path_cut(&w->rule, rule);
    }
    return FG_OK;
}

static int32_t check_value(struct walk *w, const struct fg_tree *t,
                           const struct cyaml_schema_value *s)
{
    switch (s->type) {
    case CYAML_MAPPING:
        return check_map(w, t, s);
    case CYAML_SEQUENCE:
        return check_list(w, t, s);
    case CYAML_IGNORE: /* backends[].options */
        return t->kind == FG_TREE_MAP || fg_tree_is_null(t) ? FG_OK : expected(w, t, "a map");
    default:
        return check_scalar(w, t, s);
    }
}

/* ---- what single texts must look like ------------------------------------------------------ */

static const char *judge_address(struct fg_str text, char *out, size_t room)
{
    if (fg_conf_is_loopback(text))
        return NULL;
    snprintf(out, room,
             "\"%.*s\" is not a loopback address; without API keys Fluxgate serves this "
             "machine only: 127.0.0.1, ::1 or localhost",
             text.len > 64 ? 64 : (int)text.len, text.ptr);
    return out;
}

static const char *judge_keep_alive(struct fg_str text, char *out, size_t room)
{
    struct fg_error err;
    int64_t ns;
    if (fg_conf_keep_alive(text, &ns, &err) == FG_OK)
        return NULL;
    snprintf(out, room, "%s", err.text);
    return out;
}

static bool is_word(struct fg_str s, const char *more)
{
    for (size_t i = 0; i < s.len; i++)
        if (!(s.ptr[i] >= 'a' && s.ptr[i] <= 'z') && !(s.ptr[i] >= '0' && s.ptr[i] <= '9') &&
            !strchr(more, s.ptr[i]))
            return false;
    return s.len > 0;
}

static const char *judge_name(struct fg_str text, char *out, size_t room)
{
    (void)out;
    (void)room;
    return is_word(text, "-") ? NULL : "only a to z, 0 to 9 and '-' make a name";
}

static const char *judge_plugin(struct fg_str text, char *out, size_t room)
{
    (void)out;
    (void)room;
    bool path = text.len && text.ptr[0] == '/';
    return path || is_word(text, "-_") ? NULL
                                       : "the name of a module or the absolute path of a .so is "
                                         "expected";
}

static const char *judge_origin(struct fg_str text, char *out, size_t room)
{
    (void)out;
    (void)room;
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] <= ' ' || (unsigned char)text.ptr[i] >= 0x7f)
            return "an origin has no blanks and no other than ASCII characters";
    return NULL;
}

const char *fg_conf_judge(const char *path, struct fg_str text, char *out, size_t room)
{
    static const struct {
        const char *path;
        const char *(*judge)(struct fg_str, char *, size_t);
    } rows[] = {
        {"listen[].address", judge_address}, {"models.keep_alive", judge_keep_alive},
        {"backends[].name", judge_name},     {"backends[].plugin", judge_plugin},
        {"origins[]", judge_origin},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].path, path) == 0)
            return rows[i].judge(text, out, room);
    return NULL;
}

static int32_t check_names_differ(struct walk *w, const struct fg_tree *root)
{
    const struct fg_tree *list = fg_tree_get(root, "backends");
    uint32_t index = 0;
    for (const struct fg_tree *b = list ? list->first : NULL; b; b = b->next, index++) {
        const struct fg_tree *name = fg_tree_get(b, "name");
        for (const struct fg_tree *a = list->first; a != b; a = a->next) {
            if (!fg_str_eq(fg_tree_get(a, "name")->text, name->text))
                continue;
            char why[80];
            snprintf(why, sizeof why, "\"%.*s\" is the name of another backend",
                     FG_STR_ARG(name->text));
            w->path.len = 0;
            fg_path_key(&w->path, FG_STR("backends"));
            fg_path_index(&w->path, index);
            fg_path_key(&w->path, FG_STR("name"));
            return refuse(w, name->line, why);
        }
    }
    return FG_OK;
}

static bool is_backend(const struct fg_tree *root, struct fg_str name)
{
    const struct fg_tree *list = fg_tree_get(root, "backends");
    if (!list)
        return fg_str_is(name, "cpu"); /* the default */
    for (const struct fg_tree *b = list->first; b; b = b->next)
        if (fg_str_eq(fg_tree_get(b, "name")->text, name))
            return true;
    return false;
}

static int32_t check_routes(struct walk *w, const struct fg_tree *root)
{
    const struct fg_tree *list = fg_tree_get(fg_tree_get(root, "models"), "routes");
    uint32_t index = 0;
    for (const struct fg_tree *r = list ? list->first : NULL; r; r = r->next, index++) {
        const struct fg_tree *names = fg_tree_get(r, "backends");
        for (const struct fg_tree *n = names ? names->first : NULL; n; n = n->next) {
            if (is_backend(root, n->text))
                continue;
            char text[ECHO_BYTES + 4], why[120];
            snprintf(why, sizeof why, "%s is no backend of this file", shown(n, text, sizeof text));
            w->path.len = 0;
            fg_path_key(&w->path, FG_STR("models"));
            fg_path_key(&w->path, FG_STR("routes"));
            fg_path_index(&w->path, index);
            fg_path_key(&w->path, FG_STR("backends"));
            return refuse(w, n->line, why);
        }
    }
    return FG_OK;
}

int32_t fg_conf_check(const char *file, const struct fg_tree *root, struct fg_error *err)
{
    struct walk w = {.file = file, .err = err};
    int32_t rc = check_value(&w, root, &fg_conf_schema);
    if (rc == FG_OK)
        rc = check_names_differ(&w, root);
    return rc == FG_OK ? check_routes(&w, root) : rc;
}
