/*
 * A configuration is made in four steps: the file becomes a tree with lines (tree.c), the tree is
 * checked along the schema (check.c), libcyaml loads the same text into the raw structs of
 * schema.h, and here every key gets its value: the file's, else the environment's, else the
 * default. Runs on the main thread, at start and for a reload.
 */
#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/inner.h"
#include "util/error.h"
#include "util/json.h"

struct source {
    char *folder; /* relative paths of the file are below it */
    const struct fg_tree *tree;
    const struct fg_raw *raw; /* never NULL */
    struct fg_error *err;
};

/* ---- the file ---------------------------------------------------------------------------- */

static int32_t read_file(const char *path, struct fg_buf *out, struct fg_error *err)
{
    struct stat st;
    int32_t rc = FG_INVALID;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) != 0) {
        fg_fail(err, rc, "%.120s: cannot be read: %s", path, strerror(errno));
        goto done;
    }
    if (!S_ISREG(st.st_mode)) {
        fg_fail(err, rc, "%.120s: not a regular file", path);
        goto done;
    }
    out->limit = FG_TREE_MAX_BYTES;
    for (ssize_t n = 1; n > 0 && fg_buf_reserve(out, 4096); out->len += n > 0 ? (size_t)n : 0)
        n = read(fd, out->ptr + out->len, 4096);
    if (out->failed)
        fg_fail(err, rc, "%.120s: more than %d KiB", path, FG_TREE_MAX_BYTES >> 10);
    else
        rc = FG_OK;
done:
    if (fd >= 0)
        close(fd);
    return rc;
}

/* Nothing is said on the way: what can be wrong was found before. */
static const cyaml_config_t loader = {
    .mem_fn = cyaml_mem,
    .flags = CYAML_CFG_NO_ALIAS,
};

static int32_t load_raw(const char *file, struct fg_str text, const struct fg_tree *tree,
                        struct fg_raw **raw, struct fg_error *err)
{
    if (!tree->count) { /* nothing but comments */
        *raw = cyaml_mem(NULL, NULL, sizeof **raw);
        if (!*raw)
            return fg_fail(err, FG_NO_MEMORY, "%.120s: no memory", file);
        memset(*raw, 0, sizeof **raw);
        return FG_OK;
    }
    cyaml_err_t e = cyaml_load_data((const uint8_t *)text.ptr, text.len, &loader, &fg_conf_schema,
                                    (cyaml_data_t **)raw, NULL);
    if (e == CYAML_OK)
        return FG_OK;
    return fg_fail(err, e == CYAML_ERR_OOM ? FG_NO_MEMORY : FG_INVALID, "%.120s: %s", file,
                   cyaml_strerror(e));
}

/* ---- single values ------------------------------------------------------------------------ */

static int32_t no_memory(const struct source *s)
{
    return fg_fail(s->err, FG_NO_MEMORY, "no memory for the configuration");
}

static int32_t copy_text(const struct source *s, const char *text, char **out)
{
    *out = text ? strdup(text) : NULL;
    return text && !*out ? no_memory(s) : FG_OK;
}

static int32_t copy_path(const struct source *s, const char *text, char **out)
{
    *out = text ? fg_conf_path(fg_str_of(text), s->folder) : NULL;
    return text && !*out ? no_memory(s) : FG_OK;
}

static int32_t copy_list(const struct source *s, char *const *from, uint32_t from_count,
                         bool are_paths, char ***list, uint32_t *count)
{
    *list = from_count ? calloc(from_count, sizeof **list) : NULL;
    if (from_count && !*list)
        return no_memory(s);
    for (; *count < from_count; ++*count) {
        char **to = *list + *count;
        int32_t rc = are_paths ? copy_path(s, from[*count], to) : copy_text(s, from[*count], to);
        if (rc != FG_OK)
            return rc;
    }
    return FG_OK;
}

/* Takes the only entry of a list; given, NULL: no entry. */
static int32_t one_entry(const struct source *s, char *given, char ***list, uint32_t *count)
{
    if (!given)
        return FG_OK;
    *list = calloc(1, sizeof **list);
    if (!*list) {
        free(given);
        return no_memory(s);
    }
    (*list)[0] = given;
    *count = 1;
    return FG_OK;
}

static int32_t env_u32(const struct source *s, const uint64_t *in_file, const char *name,
                       const char *path, uint32_t *out)
{
    uint64_t n;
    bool found = false;
    if (in_file)
        return FG_OK;
    int32_t rc = fg_env_number(name, path, &n, &found, s->err);
    if (rc == FG_OK && found)
        *out = (uint32_t)n;
    return rc;
}

/* Files of the environment are found from the working folder. */
static int32_t env_paths(const struct source *s, const char *name, char separator, char ***list,
                         uint32_t *count)
{
    int32_t rc = fg_env_list(name, separator, list, count, s->err);
    for (uint32_t i = 0; rc == FG_OK && i < *count; i++) {
        char *whole = fg_conf_path(fg_str_of((*list)[i]), NULL);
        if (!whole)
            return no_memory(s);
        free((*list)[i]);
        (*list)[i] = whole;
    }
    return rc;
}

/* ---- sections ------------------------------------------------------------------------------ */

static int32_t one_listen(const struct source *s, struct fg_conf *conf)
{
    struct fg_conf_host host;
    char why[200];
    int32_t rc = fg_conf_env_host(&host, s->err);
    if (rc != FG_OK)
        return rc;
    const char *fault = fg_conf_judge("listen[].address", fg_str_of(host.name), why, sizeof why);
    if (fault)
        return fg_fail(s->err, FG_INVALID, "%s: %s", host.from ? host.from : "listen", fault);
    conf->listen = calloc(1, sizeof *conf->listen);
    if (!conf->listen)
        return no_memory(s);
    conf->listen_count = 1;
    conf->listen[0].port = host.port;
    return copy_text(s, host.name, &conf->listen[0].address);
}

static int32_t fill_listen(const struct source *s, struct fg_conf *conf)
{
    uint64_t port = 11434;
    bool found;
    if (!s->raw->listen_count)
        return one_listen(s, conf);
    int32_t rc = fg_env_number("FLUXGATE_PORT", "listen[].port", &port, &found, s->err);
    conf->listen = rc == FG_OK ? calloc(s->raw->listen_count, sizeof *conf->listen) : NULL;
    if (rc == FG_OK && !conf->listen)
        return no_memory(s);
    for (uint32_t i = 0; rc == FG_OK && i < s->raw->listen_count; i++) {
        const struct fg_raw_listen *from = &s->raw->listen[i];
        conf->listen_count = i + 1;
        conf->listen[i].port = (uint16_t)(from->port ? *from->port : port);
        rc = copy_text(s, from->address ? from->address : "127.0.0.1", &conf->listen[i].address);
    }
    return rc;
}

#define FILL(key, least, most, value) to->key = from->key ? (uint32_t)*from->key : (value);

static int32_t fill_limits(const struct source *s, struct fg_conf *conf)
{
    static const struct fg_raw_limits none;
    const struct fg_raw_limits *from = s->raw->limits ? s->raw->limits : &none;
    struct fg_conf_limits *to = &conf->limits;
    FG_CONF_LIMIT_NUMBERS(FILL)
    return FG_OK;
}

static int32_t fill_queue(const struct source *s, struct fg_conf *conf)
{
    static const struct fg_raw_queue none;
    const struct fg_raw_queue *from = s->raw->queue ? s->raw->queue : &none;
    struct fg_conf_queue *to = &conf->queue;
    FG_CONF_QUEUE_NUMBERS(FILL)
    int32_t rc =
        env_u32(s, from->max_waiting, "OLLAMA_MAX_QUEUE", "queue.max_waiting", &to->max_waiting);
    struct fg_str text = fg_env_get("OLLAMA_LOAD_TIMEOUT");
    struct fg_error why;
    int64_t ns;
    if (rc != FG_OK || from->load_timeout_ms || !text.ptr)
        return rc;
    if (fg_conf_keep_alive(text, &ns, &why) != FG_OK)
        return fg_fail(s->err, FG_INVALID, "OLLAMA_LOAD_TIMEOUT: %s", why.text);
    const struct fg_conf_bounds *b = fg_conf_bounds_of("queue.load_timeout_ms");
    uint64_t ms = ns <= 0 ? b->most : (uint64_t)ns / 1000000; /* Ollama: 0 and less are for ever */
    to->load_timeout_ms = (uint32_t)(ms < b->least ? b->least : ms > b->most ? b->most : ms);
    return FG_OK;
}

static int32_t fill_places(const struct source *s, struct fg_conf *conf)
{
    static const struct fg_raw_models none;
    const struct fg_raw_models *from = s->raw->models ? s->raw->models : &none;
    const struct fg_tree *tree = fg_tree_get(s->tree, "models");
    struct fg_conf_models *to = &conf->models;
    int32_t rc;
    if (fg_tree_get(tree, "directories")) {
        rc = copy_list(s, from->directories, from->directories_count, true, &to->directories,
                       &to->directory_count);
    } else {
        rc = env_paths(s, "FLUXGATE_MODELS", ':', &to->directories, &to->directory_count);
        if (rc == FG_OK && !to->directories)
            rc = one_entry(s, fg_conf_default_directory(), &to->directories, &to->directory_count);
    }
    if (rc != FG_OK)
        return rc;
    if (fg_tree_get(tree, "stores"))
        return copy_list(s, from->stores, from->stores_count, true, &to->stores, &to->store_count);
    struct fg_str store = fg_env_get("OLLAMA_MODELS");
    char *path = store.ptr ? fg_conf_path(store, NULL) : fg_conf_default_store();
    if (store.ptr && !path)
        return no_memory(s);
    return one_entry(s, path, &to->stores, &to->store_count);
}

static int32_t fill_keep_alive(const struct source *s, const char *in_file, int64_t *out)
{
    struct fg_error why;
    struct fg_str text = in_file ? fg_str_of(in_file) : fg_env_get("OLLAMA_KEEP_ALIVE");
    if (fg_conf_keep_alive(text.ptr ? text : FG_STR("5m"), out, &why) == FG_OK)
        return FG_OK;
    return fg_fail(s->err, FG_INVALID, "%s: %s", in_file ? "keep_alive" : "OLLAMA_KEEP_ALIVE",
                   why.text);
}

static int32_t fill_routes(const struct source *s, const struct fg_raw_models *from,
                           struct fg_conf_models *to)
{
    to->routes = from->routes_count ? calloc(from->routes_count, sizeof *to->routes) : NULL;
    if (from->routes_count && !to->routes)
        return no_memory(s);
    int32_t rc = FG_OK;
    for (uint32_t i = 0; rc == FG_OK && i < from->routes_count; i++) {
        struct fg_conf_route *route = &to->routes[i];
        to->route_count = i + 1;
        route->policy = from->routes[i].policy ? *from->routes[i].policy : -1;
        rc = copy_text(s, from->routes[i].model, &route->model);
        if (rc == FG_OK)
            rc = copy_list(s, from->routes[i].backends, from->routes[i].backends_count, false,
                           &route->backends, &route->backend_count);
    }
    return rc;
}

static int32_t fill_aliases(const struct source *s, const struct fg_raw_models *from,
                            struct fg_conf_models *to)
{
    to->aliases = from->aliases_count ? calloc(from->aliases_count, sizeof *to->aliases) : NULL;
    if (from->aliases_count && !to->aliases)
        return no_memory(s);
    int32_t rc = FG_OK;
    for (uint32_t i = 0; rc == FG_OK && i < from->aliases_count; i++) {
        to->alias_count = i + 1;
        rc = copy_text(s, from->aliases[i].name, &to->aliases[i].name);
        if (rc == FG_OK)
            rc = copy_text(s, from->aliases[i].model, &to->aliases[i].model);
    }
    return rc;
}

static int32_t fill_models(const struct source *s, struct fg_conf *conf)
{
    static const struct fg_raw_models none;
    const struct fg_raw_models *from = s->raw->models ? s->raw->models : &none;
    struct fg_conf_models *to = &conf->models;
    FG_CONF_MODEL_NUMBERS(FILL)
    int32_t rc = fill_places(s, conf);
    if (rc == FG_OK)
        rc = copy_text(s, from->default_model, &to->default_model);
    if (rc == FG_OK)
        rc = copy_list(s, from->preload, from->preload_count, false, &to->preload,
                       &to->preload_count);
    to->policy = from->policy ? *from->policy : FG_POLICY_PREFER;
    if (rc == FG_OK)
        rc = fill_routes(s, from, to);
    if (rc == FG_OK)
        rc = fill_aliases(s, from, to);
    if (rc == FG_OK)
        rc = fill_keep_alive(s, from->keep_alive, &to->keep_alive_ns);
    if (rc == FG_OK)
        rc = env_u32(s, from->context, "OLLAMA_CONTEXT_LENGTH", "models.context", &to->context);
    if (rc == FG_OK)
        rc = env_u32(s, from->parallel, "OLLAMA_NUM_PARALLEL", "models.parallel", &to->parallel);
    if (rc == FG_OK)
        rc = env_u32(s, from->max_loaded, "OLLAMA_MAX_LOADED_MODELS", "models.max_loaded",
                     &to->max_loaded);
    return rc;
}

static int32_t fill_gpu(const struct source *s, struct fg_conf *conf)
{
    static const struct fg_raw_gpu none;
    const struct fg_raw_gpu *from = s->raw->gpu ? s->raw->gpu : &none;
    struct fg_conf_gpu *to = &conf->gpu;
    FG_CONF_GPU_NUMBERS(FILL)
    to->enable = from->enable ? *from->enable : true;
    return copy_path(s, from->library, &to->library);
}

static int32_t options_of(const struct source *s, uint32_t index, char **out)
{
    struct fg_buf json = {.limit = FG_TREE_MAX_BYTES * 8};
    const struct fg_tree *list = fg_tree_get(s->tree, "backends");
    const struct fg_tree *node = list ? list->first : NULL;
    for (uint32_t i = 0; node && i < index; i++)
        node = node->next;
    const struct fg_tree *options = fg_tree_get(node, "options");
    if (options)
        fg_tree_json(options, &json);
    else
        fg_buf_add(&json, FG_STR("{}"));
    if (!fg_buf_addc(&json, '\0') || json.failed) {
        fg_buf_done(&json);
        return no_memory(s);
    }
    *out = json.ptr;
    return FG_OK;
}

/* Holds no model and reads no file: nothing that would need a process of its own. */
static bool is_light(const char *plugin)
{
    return plugin && strcmp(plugin, "openai") == 0;
}

static int32_t fill_backends(const struct source *s, struct fg_conf *conf)
{
    static char name[] = "cpu";
    static const struct fg_raw_backend cpu = {.name = name};
    uint32_t count = s->raw->backends_count;
    const struct fg_raw_backend *from = s->raw->backends;
    if (!fg_tree_get(s->tree, "backends")) {
        from = &cpu;
        count = 1;
    }
    conf->backends = count ? calloc(count, sizeof *conf->backends) : NULL;
    if (count && !conf->backends)
        return no_memory(s);
    int32_t rc = FG_OK;
    for (uint32_t i = 0; rc == FG_OK && i < count; i++) {
        struct fg_conf_backend *to = &conf->backends[i];
        conf->backend_count = i + 1;
        rc = copy_text(s, from[i].name, &to->name);
        if (rc == FG_OK)
            rc = copy_text(s, from[i].plugin ? from[i].plugin : from[i].name, &to->plugin);
        to->isolate = from[i].isolate ? *from[i].isolate : !is_light(to->plugin);
        if (rc == FG_OK)
            rc = copy_list(s, from[i].gpus, from[i].gpus_count, false, &to->gpus, &to->gpu_count);
        if (rc == FG_OK)
            rc = options_of(s, i, &to->config_json);
    }
    return rc;
}

static int32_t fill_plugin_dir(const struct source *s, struct fg_conf *conf)
{
    struct fg_str env = fg_env_get("FLUXGATE_PLUGIN_DIR");
    if (s->raw->plugin_dir)
        return copy_path(s, s->raw->plugin_dir, &conf->plugin_dir);
    conf->plugin_dir = env.ptr ? fg_conf_path(env, NULL) : fg_conf_default_plugin_dir();
    return conf->plugin_dir ? FG_OK : no_memory(s);
}

static int32_t fill_origins(const struct source *s, struct fg_conf *conf)
{
    char why[200];
    if (fg_tree_get(s->tree, "origins"))
        return copy_list(s, s->raw->origins, s->raw->origins_count, false, &conf->origins,
                         &conf->origin_count);
    int32_t rc = fg_env_list("OLLAMA_ORIGINS", ',', &conf->origins, &conf->origin_count, s->err);
    for (uint32_t i = 0; rc == FG_OK && i < conf->origin_count; i++) {
        const char *fault =
            fg_conf_judge("origins[]", fg_str_of(conf->origins[i]), why, sizeof why);
        if (fault)
            rc = fg_fail(s->err, FG_INVALID, "OLLAMA_ORIGINS: %s", fault);
    }
    return rc;
}

static int32_t fill_top(const struct source *s, struct fg_conf *conf)
{
    const struct fg_raw *from = s->raw;
    struct fg_conf *to = conf;
    FG_CONF_TOP_NUMBERS(FILL)
    conf->log_level = from->log_level ? *from->log_level : FG_LOG_INFO;
    conf->log_prompts = from->log_prompts && *from->log_prompts;
    return copy_path(s, from->log_path, &conf->log_path);
}

static int32_t fill(const struct source *s, struct fg_conf *conf)
{
    static int32_t (*const steps[])(const struct source *, struct fg_conf *) = {
        fill_listen, fill_top,    fill_plugin_dir, fill_origins,  fill_limits,
        fill_queue,  fill_models, fill_gpu,        fill_backends,
    };
    int32_t rc = FG_OK;
    for (size_t i = 0; rc == FG_OK && i < sizeof steps / sizeof *steps; i++)
        rc = steps[i](s, conf);
    return rc;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int32_t build(struct source *s, struct fg_conf **out)
{
    struct fg_conf *conf = calloc(1, sizeof *conf);
    if (!conf)
        return no_memory(s);
    int32_t rc = fill(s, conf);
    if (rc == FG_OK)
        *out = conf;
    else
        fg_conf_free(conf);
    return rc;
}

static int32_t load_file(const char *path, struct fg_conf **out, struct fg_error *err)
{
    struct fg_buf text = {0};
    struct fg_tree *tree = NULL;
    struct fg_raw *raw = NULL;
    struct source s = {.err = err};
    struct fg_arena *arena = fg_arena_open(0, (size_t)16 << 20);
    int32_t rc = arena ? read_file(path, &text, err) : no_memory(&s);
    if (rc == FG_OK)
        rc = fg_tree_read(path, fg_buf_str(&text), arena, &tree, err);
    if (rc == FG_OK)
        rc = fg_conf_check(path, tree, err);
    if (rc == FG_OK)
        rc = load_raw(path, fg_buf_str(&text), tree, &raw, err);
    if (rc != FG_OK)
        goto done;
    const char *slash = strrchr(path, '/');
    s.folder = strndup(slash ? path : ".", slash ? (size_t)(slash - path) + (slash == path) : 1);
    s.tree = tree;
    s.raw = raw;
    rc = s.folder ? build(&s, out) : no_memory(&s);
done:
    free(s.folder);
    if (raw)
        cyaml_free(&loader, &fg_conf_schema, raw, 0);
    fg_arena_close(arena);
    fg_buf_done(&text);
    return rc;
}

int32_t fg_conf_load(const char *path, struct fg_conf **out, struct fg_error *err)
{
    static const struct fg_raw none;
    struct source s = {.raw = &none, .err = err};
    return path ? load_file(path, out, err) : build(&s, out);
}

static void free_list(char **list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(list[i]);
    free(list);
}

void fg_conf_free(struct fg_conf *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->listen_count; i++)
        free(c->listen[i].address);
    free(c->listen);
    for (uint32_t i = 0; i < c->backend_count; i++) {
        free(c->backends[i].name);
        free(c->backends[i].plugin);
        free(c->backends[i].config_json);
        free_list(c->backends[i].gpus, c->backends[i].gpu_count);
    }
    free(c->backends);
    free(c->log_path);
    free(c->plugin_dir);
    free_list(c->origins, c->origin_count);
    free_list(c->models.directories, c->models.directory_count);
    free_list(c->models.stores, c->models.store_count);
    free_list(c->models.preload, c->models.preload_count);
    free(c->models.default_model);
    for (uint32_t i = 0; i < c->models.route_count; i++) {
        free(c->models.routes[i].model);
        free_list(c->models.routes[i].backends, c->models.routes[i].backend_count);
    }
    free(c->models.routes);
    for (uint32_t i = 0; i < c->models.alias_count; i++) {
        free(c->models.aliases[i].name);
        free(c->models.aliases[i].model);
    }
    free(c->models.aliases);
    free(c->gpu.library);
    free(c);
}
