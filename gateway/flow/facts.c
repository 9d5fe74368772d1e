/* See facts.h. */
#include "flow/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_JSON = 32 << 20 };

static struct fg_str text_of(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return (struct fg_str){json_string_value(v), json_string_length(v)};
}

static uint64_t count_of(const json_t *object, const char *key, uint64_t max)
{
    json_int_t v = json_integer_value(json_object_get(object, key));
    return v < 0 ? 0 : (uint64_t)v > max ? max : (uint64_t)v;
}

static void read_fields(struct fg_facts *f)
{
    const json_t *info = json_object_get(f->root, "info");
    f->family = text_of(info, "architecture");
    f->quantization = text_of(info, "quantization");
    f->parameters = count_of(info, "parameters", UINT64_MAX >> 1);
    f->context = (uint32_t)count_of(info, "context", UINT32_MAX);
    f->embedding = (uint32_t)count_of(info, "embedding", UINT32_MAX);
    f->can = (uint32_t)count_of(f->root, "can", UINT32_MAX);
    f->chat_template = text_of(f->root, "chat_template");
    f->metadata = json_object_get(f->root, "metadata");
    if (!json_is_object(f->metadata))
        f->metadata = NULL;
    struct fg_str why = text_of(f->root, "why");
    if (why.len)
        snprintf(f->error, sizeof f->error, "%.*s", (int)(why.len < 250 ? why.len : 250), why.ptr);
}

struct fg_facts *fg_facts_new(struct fg_str path, uint64_t file_bytes, uint64_t modified_ns,
                              struct fg_str json, const char *error)
{
    struct fg_facts *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    fg_list_init(&f->node);
    f->refs = 1;
    f->file_bytes = file_bytes;
    f->file_modified_ns = modified_ns;
    f->path = strndup(path.ptr ? path.ptr : "", path.len);
    if (!f->path) {
        free(f);
        return NULL;
    }
    if (json.len && json.len <= MAX_JSON)
        f->root = json_loadb(json.ptr, json.len, 0, NULL);
    if (json_is_object(f->root))
        read_fields(f);
    else
        snprintf(f->error, sizeof f->error, "%s",
                 error && *error ? error : "the backend's answer about this file cannot be read");
    return f;
}

/* Only what is UTF-8 and of a sane length: it may come from another machine. */
static json_t *text_json(struct fg_str s)
{
    bool broken = false;
    const struct fg_str cut = {s.ptr, s.len < 256 ? s.len : 256};
    return json_stringn(s.ptr ? s.ptr : "", s.ptr ? fg_utf8_valid(cut, &broken) : 0);
}

static void put_number(json_t *metadata, struct fg_str family, const char *key, uint64_t value)
{
    char name[80];
    const int room = family.len < 32 ? (int)family.len : 32;
    if (family.ptr)
        snprintf(name, sizeof name, "%.*s.%s", room, family.ptr, key);
    else
        snprintf(name, sizeof name, "%s", key);
    if (value)
        json_object_set_new(metadata, name,
                            json_integer((json_int_t)(value < INT64_MAX ? value : INT64_MAX)));
}

static json_t *own_json(const struct fg_model_info *i)
{
    json_t *info = json_object(), *metadata = json_object(), *root = json_object();
    json_object_set_new(info, "architecture", text_json(i->family));
    json_object_set_new(info, "quantization", text_json(i->quantization));
    put_number(info, (struct fg_str){0}, "parameters", i->parameters);
    put_number(info, (struct fg_str){0}, "context", i->context);
    put_number(info, (struct fg_str){0}, "embedding", i->embedding);
    json_object_set_new(metadata, "general.architecture", text_json(i->family));
    put_number(metadata, FG_STR("general"), "parameter_count", i->parameters);
    put_number(metadata, i->family, "context_length", i->context);
    put_number(metadata, i->family, "embedding_length", i->embedding);
    json_object_set_new(root, "info", info);
    json_object_set_new(root, "metadata", metadata);
    json_object_set_new(root, "can", json_integer(i->can));
    return root;
}

struct fg_facts *fg_facts_own(const char *backend, const struct fg_model_info *info)
{
    struct fg_facts *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    fg_list_init(&f->node);
    f->refs = 1;
    f->path = strdup("");
    f->backend = strdup(backend);
    f->own_name = strndup(info->name.ptr ? info->name.ptr : "", info->name.len);
    f->root = own_json(info);
    if (f->path && f->backend && f->own_name && f->root) {
        read_fields(f);
        return f;
    }
    fg_facts_release(f);
    return NULL;
}

struct fg_facts *fg_facts_retain(struct fg_facts *f)
{
    if (f)
        __atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
    return f;
}

void fg_facts_release(struct fg_facts *f)
{
    if (!f || __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    json_decref(f->root);
    free(f->path);
    free(f->backend);
    free(f->own_name);
    free(f);
}
