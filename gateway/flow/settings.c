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
    };
    bool ok = copy_list(m->directories, m->directory_count, &s.directories, &s.directory_count) &&
              copy_list(m->stores, m->store_count, &s.stores, &s.store_count) &&
              copy_list(m->preload, m->preload_count, &s.preload, &s.preload_count);
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
    free(s->default_model);
    *s = (struct fg_settings){0};
}
