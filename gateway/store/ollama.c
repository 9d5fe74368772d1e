/*
 * Ollama's on-disk store: manifests/<host>/<namespace>/<model>/<tag> and blobs/sha256-<hex>. A
 * manifest comes from a network registry, so a digest in it is checked as a whole before it becomes
 * a file name, and sizes in it are not believed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "obs/log.h"
#include "store/inner.h"
#include "store/name.h"

struct walk {
    const char *root;
    int blobs;
    struct fg_str parts[4]; /* host, namespace, model, tag */
    struct fg_store_list *list;
};

#define LAYER "application/vnd.ollama.image."

static struct fg_str json_text(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return (struct fg_str){json_string_value(v), json_string_length(v)};
}

/* Opens the blob of a digest; hex gets its digits. */
static int open_blob(const struct walk *w, struct fg_str digest, struct fg_str *hex,
                     struct stat *st)
{
    char name[80] = "sha256-";
    if (!digest.ptr || !fg_digest_parse(digest, hex))
        return -1;
    memcpy(name + 7, hex->ptr, 64);
    name[71] = '\0';
    return fg_store_open_file(w->blobs, name, st);
}

static bool read_blob(const struct walk *w, struct fg_str digest, size_t limit, struct fg_buf *text)
{
    struct stat st;
    struct fg_str hex;
    int fd = open_blob(w, digest, &hex, &st);
    if (fd < 0)
        return false;
    bool ok = fg_store_read(fd, limit, text);
    close(fd);
    bool broken = false;
    return ok && fg_utf8_valid(fg_buf_str(text), &broken) == text->len;
}

static bool text_layer(const struct walk *w, struct fg_str digest, struct fg_str *to)
{
    struct fg_buf text = {0};
    bool ok = read_blob(w, digest, FG_STORE_MAX_TEXT, &text);
    if (ok && to->len) { /* several licenses */
        struct fg_str both = fg_arena_printf(w->list->arena, "%.*s\n%.*s", FG_STR_ARG(*to),
                                             FG_STR_ARG(fg_buf_str(&text)));
        ok = both.ptr != NULL;
        if (ok)
            *to = both;
    } else if (ok) {
        struct fg_str copy = fg_arena_str(w->list->arena, fg_buf_str(&text));
        ok = copy.ptr != NULL;
        if (ok)
            *to = copy;
    }
    fg_buf_done(&text);
    return ok;
}

/* A JSON layer: kept as text once it is known to be JSON of that kind. */
static bool json_layer(const struct walk *w, struct fg_str digest, bool array, struct fg_str *to)
{
    if (!text_layer(w, digest, to))
        return false;
    json_t *v = json_loadb(to->ptr, to->len, JSON_REJECT_DUPLICATES, NULL);
    bool ok = array ? json_is_array(v) : json_is_object(v);
    json_decref(v);
    if (!ok)
        *to = (struct fg_str){0};
    return ok;
}

static bool model_layer(const struct walk *w, const json_t *layer, struct fg_store_model *m)
{
    struct stat st;
    struct fg_str hex;
    int fd = open_blob(w, json_text(layer, "digest"), &hex, &st);
    if (fd < 0)
        return false;
    close(fd);
    m->path = fg_arena_printf(w->list->arena, "%s/blobs/sha256-%.*s", w->root, FG_STR_ARG(hex));
    m->file_bytes = (uint64_t)st.st_size;
    m->file_modified_ns = fg_store_mtime_ns(&st);
    struct fg_str from = json_text(layer, "from");
    if (from.len)
        m->from = fg_arena_str(w->list->arena, from);
    return m->path.ptr != NULL;
}

static bool read_layer(const struct walk *w, const json_t *layer, struct fg_store_model *m)
{
    struct fg_str type = json_text(layer, "mediaType"), digest = json_text(layer, "digest"), hex;
    if (!digest.ptr || !fg_digest_parse(digest, &hex))
        return false;
    json_int_t size = json_integer_value(json_object_get(layer, "size"));
    if (size > 0 && __builtin_add_overflow(m->size_bytes, (uint64_t)size, &m->size_bytes))
        return false;
    if (fg_str_is(type, LAYER "model"))
        return m->path.len ? true : model_layer(w, layer, m);
    if (fg_str_is(type, LAYER "template"))
        return text_layer(w, digest, &m->template_go);
    if (fg_str_is(type, LAYER "system"))
        return text_layer(w, digest, &m->system);
    if (fg_str_is(type, LAYER "license"))
        return text_layer(w, digest, &m->license);
    if (fg_str_is(type, LAYER "params"))
        return json_layer(w, digest, false, &m->params_json);
    if (fg_str_is(type, LAYER "messages"))
        return json_layer(w, digest, true, &m->messages_json);
    if (fg_str_is(type, LAYER "adapter"))
        m->error = FG_STR("adapters are not supported");
    if (fg_str_is(type, LAYER "tensor"))
        m->error = FG_STR("safetensors models are not supported, only GGUF");
    return true; /* projectors and what newer releases add: the text model is served without */
}

static void read_config(const struct walk *w, const json_t *manifest, struct fg_store_model *m)
{
    struct fg_buf text = {0};
    const json_t *config = json_object_get(manifest, "config");
    json_int_t size = json_integer_value(json_object_get(config, "size"));
    if (size > 0)
        m->size_bytes += (uint64_t)size & UINT32_MAX;
    json_t *v = NULL;
    if (read_blob(w, json_text(config, "digest"), FG_STORE_MAX_MANIFEST, &text))
        v = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, NULL);
    struct fg_str family = json_text(v, "model_family"), quant = json_text(v, "file_type");
    if (family.len && family.len <= 64)
        m->family = fg_arena_str(w->list->arena, family);
    if (quant.len && quant.len <= 32)
        m->quantization = fg_arena_str(w->list->arena, quant);
    json_decref(v);
    fg_buf_done(&text);
}

static bool read_layers(const struct walk *w, const json_t *manifest, struct fg_store_model *m)
{
    const json_t *layers = json_object_get(manifest, "layers");
    size_t count = json_array_size(layers);
    if (!count || count > 10000)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!read_layer(w, json_array_get(layers, i), m))
            return false;
    if (!m->path.len && !m->error.len)
        return false;
    read_config(w, manifest, m);
    return true;
}

static bool name_model(const struct walk *w, struct fg_store_model *m)
{
    struct fg_name name = {w->parts[0], w->parts[1], w->parts[2], w->parts[3]};
    char text[FG_NAME_ROOM];
    size_t len = fg_name_full(&name, text, sizeof text);
    if (!len || len > FG_NAME_MAX || fg_store_has(w->list, (struct fg_str){text, len}))
        return false;
    m->full_name = fg_arena_str(w->list->arena, (struct fg_str){text, len});
    len = fg_name_short(&name, text, sizeof text);
    m->name = fg_arena_str(w->list->arena, (struct fg_str){text, len});
    return m->full_name.ptr && m->name.ptr;
}

static bool read_manifest(const struct walk *w, int dir, const char *file)
{
    struct stat st;
    struct fg_buf text = {0};
    struct fg_store_model m = {0};
    json_t *manifest = NULL;
    int fd = fg_store_open_file(dir, file, &st);
    bool ok = fd >= 0 && fg_store_read(fd, FG_STORE_MAX_MANIFEST, &text) && text.len;
    if (fd >= 0)
        close(fd);
    if (ok)
        manifest = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    ok = ok && json_is_object(manifest) && name_model(w, &m) && read_layers(w, manifest, &m);
    if (ok) {
        char digest[65];
        fg_store_sha256_hex(fg_buf_str(&text), digest);
        m.digest = fg_arena_str(w->list->arena, (struct fg_str){digest, 64});
        m.modified_ns = fg_store_mtime_ns(&st);
        struct fg_store_model *to = m.digest.ptr ? fg_store_add(w->list) : NULL;
        ok = to != NULL;
        if (to)
            *to = m;
    }
    json_decref(manifest);
    fg_buf_done(&text);
    return ok;
}

/* level 0: hosts, 1: namespaces, 2: models, 3: tags (files). Takes fd. */
static void walk_level(struct walk *w, int fd, int level)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return;
    }
    struct dirent *e;
    while ((e = readdir(dir)) && w->list->count < FG_STORE_MAX_MODELS) {
        if (e->d_name[0] == '.')
            continue;
        w->parts[level] = fg_str_of(e->d_name);
        bool good = fg_name_part_ok(level, w->parts[level]);
        if (good && level < 3) {
            int sub = fg_store_open_dir(fd, e->d_name);
            if (sub >= 0)
                walk_level(w, sub, level + 1);
            continue;
        }
        if (!good || !read_manifest(w, fd, e->d_name)) {
            char quoted[300];
            w->list->refused++;
            fg_log(FG_LOG_WARN, "manifest_skipped", "file=%s level=%d",
                   fg_log_quote(fg_str_of(e->d_name), quoted, sizeof quoted), level);
        }
    }
    closedir(dir);
}

void fg_store_scan_ollama(const char *root, struct fg_store_list *list)
{
    char quoted[300];
    struct walk w = {.root = root, .blobs = -1, .list = list};
    int manifests = -1;
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        w.blobs = fg_store_open_dir(fd, "blobs");
        manifests = fg_store_open_dir(fd, "manifests");
        close(fd);
    }
    if (w.blobs >= 0 && manifests >= 0) {
        walk_level(&w, manifests, 0);
        manifests = -1;
    } else {
        fg_log(FG_LOG_INFO, "model_store_unreadable", "path=%s errno=%d",
               fg_log_quote(fg_str_of(root), quoted, sizeof quoted), errno);
    }
    if (manifests >= 0)
        close(manifests);
    if (w.blobs >= 0)
        close(w.blobs);
}
