/* A deep copy of what flow/ uses of the configuration, so that a reload can free the old one. */
#include <stdlib.h>
#include <string.h>

#include "flow/inner.h"
#include "util/error.h"

static bool copy_list(char *const *from, uint32_t count, char ***to, uint32_t *to_count)
{
    if (!count)
        return true;
    *to = calloc(count, sizeof **to);
    if (!*to)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        (*to)[i] = strdup(from[i]);
        if (!(*to)[i])
            return false;
        *to_count = i + 1;
    }
    return true;
}

static bool copy_text(const char *from, char **to)
{
    *to = strdup(from);
    return *to != NULL;
}

static bool copy_routes(const struct fg_conf_models *m, struct fg_settings *s)
{
    s->routes = m->route_count ? calloc(m->route_count, sizeof *s->routes) : NULL;
    s->aliases = m->alias_count ? calloc(m->alias_count, sizeof *s->aliases) : NULL;
    bool ok = (s->routes || !m->route_count) && (s->aliases || !m->alias_count);
    for (uint32_t i = 0; ok && i < m->route_count; i++) {
        struct fg_conf_route *to = &s->routes[s->route_count++];
        to->policy = m->routes[i].policy;
        ok = copy_text(m->routes[i].model, &to->model) &&
             copy_list(m->routes[i].backends, m->routes[i].backend_count, &to->backends,
                       &to->backend_count);
    }
    for (uint32_t i = 0; ok && i < m->alias_count; i++) {
        struct fg_conf_alias *to = &s->aliases[s->alias_count++];
        ok = copy_text(m->aliases[i].name, &to->name) && copy_text(m->aliases[i].model, &to->model);
    }
    return ok;
}

static void free_list(char **list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(list[i]);
    free(list);
}

int32_t fg_settings_copy(const struct fg_conf *conf, struct fg_settings *out, struct fg_error *err)
{
    const struct fg_conf_models *m = &conf->models;
    const struct fg_conf_queue *q = &conf->queue;
    struct fg_settings s = {
        .keep_alive_ns = m->keep_alive_ns,
        .context = m->context,
        .parallel = m->parallel,
        .max_loaded = m->max_loaded ? m->max_loaded : FG_DEFAULT_LOADED,
        .max_waiting = q->max_waiting,
        .deadline_ns = q->deadline_ms * FG_NS_PER_MS,
        .first_token_ns = q->first_token_ms * FG_NS_PER_MS,
        .request_ns = q->request_ms * FG_NS_PER_MS,
        .load_timeout_ns = q->load_timeout_ms * FG_NS_PER_MS,
        .policy = m->policy,
    };
    bool ok = copy_list(m->directories, m->directory_count, &s.directories, &s.directory_count) &&
              copy_list(m->stores, m->store_count, &s.stores, &s.store_count) &&
              copy_list(m->preload, m->preload_count, &s.preload, &s.preload_count) &&
              copy_routes(m, &s);
    if (ok && m->default_model) {
        s.default_model = strdup(m->default_model);
        ok = s.default_model != NULL;
    }
    if (!ok) {
        fg_settings_done(&s);
        return fg_fail(err, FG_NO_MEMORY, "no memory for the settings");
    }
    *out = s;
    return FG_OK;
}

void fg_settings_done(struct fg_settings *s)
{
    free_list(s->directories, s->directory_count);
    free_list(s->stores, s->store_count);
    free_list(s->preload, s->preload_count);
    for (uint32_t i = 0; i < s->route_count; i++) {
        free(s->routes[i].model);
        free_list(s->routes[i].backends, s->routes[i].backend_count);
    }
    for (uint32_t i = 0; i < s->alias_count; i++) {
        free(s->aliases[i].name);
        free(s->aliases[i].model);
    }
    free(s->routes);
    free(s->aliases);
    free(s->default_model);
    *s = (struct fg_settings){0};
}
