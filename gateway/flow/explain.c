/* Why a model would run where it would: the survey and the route of one moment, as JSON. */
#include <math.h>
#include <stdio.h>

#include "flow/inner.h"

static const char *const policy_names[] = {"prefer", "coolest", "fastest", "cheapest"};

static json_t *figure(double value)
{
    return isnan(value) || value == 0 ? json_null() : json_real(value);
}

static json_t *cards_of(uint32_t bits)
{
    json_t *list = json_array();
    for (int i = 0; i < FG_GPU_MOST; i++)
        if (bits >> i & 1)
            json_array_append_new(list, json_integer(i));
    return list;
}

static json_t *backend_json(const struct fg_survey *s, uint32_t i, const char *reason)
{
    static const char *const states[] = {"starting", "up", "down", "failed"};
    const struct fg_route_backend *b = &s->backends[i];
    const struct fg_bound *bound = &s->bound[i];
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:o, s:o}", "backend", b->name, "reason", reason, "state",
                  b->state >= 0 && b->state <= 3 ? states[b->state] : "unknown", "tokens_per_s",
                  figure(b->tokens_per_s), "joules_per_token", figure(b->joules_per_token));
    if (!bound->count)
        return o;
    json_object_set_new(o, "gpus", cards_of(bound->cards));
    json_object_set_new(o, "weight", json_real((double)bound->weight));
    json_object_set_new(o, "admission", json_real((double)bound->admission));
    json_object_set_new(o, "celsius", figure((double)bound->celsius));
    json_object_set_new(o, "needed_bytes", figure(s->needed_bytes[i]));
    json_object_set_new(o, "free_bytes", figure(s->free_bytes[i]));
    if (bound->is_unknown)
        json_object_set_new(o, "note", json_string(bound->why));
    return o;
}

static json_t *rejected(const struct fg_survey *s, const struct fg_model_entry *entry)
{
    json_t *list = json_array();
    char apart[80];
    snprintf(apart, sizeof apart, "the model is of backend %.*s", FG_STR_ARG(entry->backend));
    for (uint32_t i = 0; i < s->route.skipped_count; i++)
        json_array_append_new(
            list, backend_json(s, s->route.skipped[i].index, s->route.skipped[i].reason));
    for (uint32_t i = 0; i < s->count; i++)
        if (s->backends[i].is_apart || s->backends[i].is_unlisted)
            json_array_append_new(list, backend_json(s, i,
                                                     s->backends[i].is_apart
                                                         ? apart
                                                         : "the model's route does not name it"));
    return list;
}

static json_t *loaded(struct fg_hub *hub, const struct fg_model_entry *entry)
{
    static const char *const states[] = {"loading", "ready", "closing"};
    json_t *list = json_array();
    pthread_mutex_lock(&hub->lock);
    FG_LIST_EACH (node, next, &hub->lives) {
        const struct fg_live *live = FG_CONTAINER(node, struct fg_live, node);
        if (!fg_str_eq(live->entry->full_name, entry->full_name))
            continue;
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:b, s:i, s:i, s:i}", "backend", live->backend,
                                        "state", states[live->state], "retiring", live->retiring,
                                        "running", (int)live->queue.running, "waiting",
                                        (int)live->queue.count, "slots", (int)live->queue.slots));
    }
    pthread_mutex_unlock(&hub->lock);
    return list;
}

json_t *fg_hub_explain(struct fg_hub *hub, struct fg_str name, bool *invalid)
{
    const struct fg_catalog *catalog = fg_hub_snapshot(hub);
    const struct fg_model_entry *entry = fg_catalog_find(catalog, name, invalid);
    struct fg_survey s;
    if (!entry) {
        fg_catalog_release(catalog);
        return NULL;
    }
    fg_survey_take(hub, entry, 0, NULL, &s);
    json_t *candidates = json_array();
    for (uint32_t i = 0; i < s.route.candidate_count; i++)
        json_array_append_new(candidates, backend_json(&s, s.route.candidates[i].index,
                                                       s.route.candidates[i].reason));
    json_t *o = json_pack("{s:s%, s:s, s:o, s:o, s:o, s:o, s:b}", "model", entry->name.ptr,
                          entry->name.len, "policy", policy_names[s.policy], "route",
                          s.pattern[0] ? json_string(s.pattern) : json_null(), "loaded",
                          loaded(hub, entry), "candidates", candidates, "rejected",
                          rejected(&s, entry), "may_come_back", s.route.may_come_back);
    if (o && entry->error.len)
        json_object_set_new(o, "error", json_stringn(entry->error.ptr, entry->error.len));
    fg_catalog_release(catalog);
    return o;
}
