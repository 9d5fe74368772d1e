/*
 * A snapshot of the models there are (hub.h, catalog.h). Entries are in one array, newest first;
 * two sorted indexes (full names, file names) make a look-up a few comparisons. No lock: a snapshot
 * never changes.
 */
#include "flow/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "store/name.h"
#include "util/error.h"

struct fg_catalog {
    uint32_t refs; /* atomic */
    struct fg_arena *arena;
    struct fg_model_entry *entries;
    struct fg_facts **facts; /* retained */
    uint32_t count;
    const struct fg_model_entry **by_name;
    struct alias {
        struct fg_str alias;
        const struct fg_model_entry *entry;
    } * by_alias;
    uint32_t alias_count;
};

static int compare_text(struct fg_str a, struct fg_str b) /* ASCII case apart */
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? strncasecmp(a.ptr, b.ptr, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int by_name(const void *a, const void *b)
{
    const struct fg_model_entry *const *x = a, *const *y = b;
    return compare_text((*x)->full_name, (*y)->full_name);
}

static int by_alias(const void *a, const void *b)
{
    const struct alias *x = a, *y = b;
    return compare_text(x->alias, y->alias);
}

static int by_age(const void *a, const void *b)
{
    const struct fg_store_model *const *x = a, *const *y = b;
    if ((*x)->modified_ns != (*y)->modified_ns)
        return (*x)->modified_ns > (*y)->modified_ns ? -1 : 1;
    return compare_text((*x)->full_name, (*y)->full_name);
}

static bool copy(struct fg_arena *arena, struct fg_str from, struct fg_str *to)
{
    if (!from.len) {
        *to = FG_STR("");
        return true;
    }
    *to = fg_arena_str(arena, from);
    return to->ptr != NULL;
}

static bool fill_entry(struct fg_catalog *c, struct fg_model_entry *e,
                       const struct fg_store_model *m, const struct fg_facts *f)
{
    struct fg_str error = m->error;
    if (!error.len && f)
        error = fg_str_of(f->error);
    e->size_bytes = m->size_bytes;
    e->modified_wall_ns = m->modified_ns;
    if (f) {
        e->parameters = f->parameters;
        e->context = f->context;
        e->embedding = f->embedding;
        e->can = f->can;
        e->chat_template = f->chat_template;
        e->metadata = f->metadata;
    }
    struct fg_arena *a = c->arena;
    return copy(a, m->name, &e->name) && copy(a, m->full_name, &e->full_name) &&
           copy(a, m->path, &e->path) && copy(a, m->digest, &e->digest) &&
           copy(a, f && f->family.len ? f->family : m->family, &e->family) &&
           copy(a, f && f->quantization.len ? f->quantization : m->quantization,
                &e->quantization) &&
           copy(a, fg_str_of(f ? f->backend : NULL), &e->backend) &&
           copy(a, fg_str_of(f ? f->own_name : NULL), &e->own_name) &&
           copy(a, error, &e->error) && copy(a, m->system, &e->system) &&
           copy(a, m->license, &e->license) && copy(a, m->template_go, &e->template_go) &&
           copy(a, m->params_json, &e->params_json) && copy(a, m->from, &e->modelfile_from) &&
           copy(a, m->messages_json, &e->messages_json);
}

static bool fill(struct fg_catalog *c, const struct fg_store_list *list,
                 struct fg_facts *const *facts, const struct fg_store_model **order)
{
    for (uint32_t i = 0; i < list->count; i++)
        order[i] = &list->items[i];
    if (list->count)
        qsort(order, list->count, sizeof *order, by_age);
    for (uint32_t i = 0; i < list->count; i++) {
        struct fg_facts *f = facts ? facts[order[i] - list->items] : NULL;
        struct fg_model_entry *e = &c->entries[i];
        c->facts[i] = fg_facts_retain(f);
        c->count = i + 1;
        if (!fill_entry(c, e, order[i], f))
            return false;
        c->by_name[i] = e;
        if (!order[i]->alias.len)
            continue;
        struct alias *alias = &c->by_alias[c->alias_count++];
        alias->entry = e;
        if (!copy(c->arena, order[i]->alias, &alias->alias))
            return false;
    }
    if (c->count)
        qsort(c->by_name, c->count, sizeof *c->by_name, by_name);
    if (c->alias_count)
        qsort(c->by_alias, c->alias_count, sizeof *c->by_alias, by_alias);
    return true;
}

int32_t fg_catalog_new(const struct fg_store_list *list, struct fg_facts *const *facts,
                       const struct fg_catalog **out, struct fg_error *err)
{
    size_t n = list->count ? list->count : 1;
    const struct fg_store_model **order = calloc(n, sizeof *order);
    struct fg_catalog *c = calloc(1, sizeof *c);
    bool ok = order && c;
    if (ok) {
        c->refs = 1;
        c->arena = fg_arena_open(4096, (size_t)256 << 20);
        c->entries = calloc(n, sizeof *c->entries);
        c->facts = calloc(n, sizeof *c->facts);
        c->by_name = calloc(n, sizeof *c->by_name);
        c->by_alias = calloc(n, sizeof *c->by_alias);
        ok = c->arena && c->entries && c->facts && c->by_name && c->by_alias &&
             fill(c, list, facts, order);
    }
    free(order);
    if (!ok) {
        fg_catalog_release(c);
        return fg_fail(err, FG_NO_MEMORY, "no memory for the list of models");
    }
    *out = c;
    return FG_OK;
}

int32_t fg_catalog_add_aliases(const struct fg_catalog *fresh, const struct fg_conf_alias *aliases,
                               uint32_t count, struct fg_error *err)
{
    struct fg_catalog *c = (struct fg_catalog *)fresh; /* nobody shares it yet */
    size_t most = (size_t)c->alias_count + count;
    struct alias *more = most ? realloc(c->by_alias, most * sizeof *more) : c->by_alias;
    if (!more)
        return fg_fail(err, FG_NO_MEMORY, "no memory for other names of models");
    c->by_alias = more;
    uint32_t before = c->alias_count, added = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct fg_model_entry *e = fg_catalog_find(c, fg_str_of(aliases[i].model), NULL);
        struct alias *to = &c->by_alias[before + added];
        if (!e)
            continue;
        to->entry = e;
        if (!copy(c->arena, fg_str_of(aliases[i].name), &to->alias))
            break;
        added++;
    }
    c->alias_count = before + added;
    if (c->alias_count)
        qsort(c->by_alias, c->alias_count, sizeof *c->by_alias, by_alias);
    return FG_OK;
}

const struct fg_catalog *fg_catalog_retain(const struct fg_catalog *c)
{
    if (c)
        __atomic_add_fetch(&((struct fg_catalog *)c)->refs, 1, __ATOMIC_RELAXED);
    return c;
}

void fg_catalog_release(const struct fg_catalog *shared)
{
    struct fg_catalog *c = (struct fg_catalog *)shared;
    if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    for (uint32_t i = 0; i < c->count; i++)
        fg_facts_release(c->facts[i]);
    fg_arena_close(c->arena);
    free(c->entries);
    free(c->facts);
    free(c->by_name);
    free(c->by_alias);
    free(c);
}

uint32_t fg_catalog_count(const struct fg_catalog *c)
{
    return c->count;
}

const struct fg_model_entry *fg_catalog_at(const struct fg_catalog *c, uint32_t index)
{
    return index < c->count ? &c->entries[index] : NULL;
}

static const struct fg_model_entry *find_full(const struct fg_catalog *c, struct fg_str full)
{
    struct fg_model_entry probe = {.full_name = full};
    const struct fg_model_entry *key = &probe;
    const struct fg_model_entry **hit =
        bsearch(&key, c->by_name, c->count, sizeof *c->by_name, by_name);
    return hit ? *hit : NULL;
}

static const struct alias *find_alias(const struct fg_catalog *c, struct fg_str text)
{
    struct alias probe = {.alias = text};
    return text.len && text.len <= FG_NAME_MAX && c->alias_count
               ? bsearch(&probe, c->by_alias, c->alias_count, sizeof *c->by_alias, by_alias)
               : NULL;
}

const struct fg_model_entry *fg_catalog_find(const struct fg_catalog *c, struct fg_str text,
                                             bool *invalid)
{
    struct fg_name name;
    char full[FG_NAME_ROOM];
    size_t len = 0;
    bool good = fg_name_parse(text, &name);
    if (invalid)
        *invalid = false;
    if (good && fg_name_is_cloud(&name))
        return NULL;
    if (good)
        len = fg_name_full(&name, full, sizeof full);
    const struct fg_model_entry *e =
        len && c->count ? find_full(c, (struct fg_str){full, len}) : NULL;
    if (e)
        return e;
    const struct alias *hit = find_alias(c, text);
    if (!hit && fg_str_ends(text, FG_STR(":latest"))) /* the tag that clients add */
        hit = find_alias(c, (struct fg_str){text.ptr, text.len - 7});
    if (hit)
        return hit->entry;
    if (invalid)
        *invalid = !good;
    return NULL;
}

bool fg_model_entry_is_bare(const struct fg_model_entry *e)
{
    return !e->error.len && !e->metadata;
}
