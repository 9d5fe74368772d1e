/* Backends and models: opening, closing, two at once, what they tell of themselves. */
#include "check/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"

/* ---- open and close -------------------------------------------------------------------------- */

static void opens_and_closes_again(struct bench *b)
{
    for (int i = 0; i < 3; i++)
        backend_close(b, backend_open(b));
}

static void two_instances_live_at_once(struct bench *b)
{
    struct fg_backend *one = backend_open(b), *two = backend_open(b);
    if (one == two)
        broken(b, "open() gives the same backend twice: two instances may live at once");
    struct fg_device device = {.size = sizeof device};
    backend_close(b, one);
    step(b, "device() of the instance that is left");
    (void)b->plugin->device(two, 0, &device);
    struct fg_backend *three = backend_open(b);
    backend_close(b, two);
    backend_close(b, three);
}

static void judge_failure(struct bench *b, const char *call, int32_t rc, const struct fg_error *err)
{
    bool is_broken = false;
    const struct fg_str text = {err->text, strnlen(err->text, sizeof err->text)};
    if (rc < FG_OK || rc > FG_TOO_LONG)
        broken(b, "%s answers %d: that is not of enum fg_status", call, rc);
    if (text.len == sizeof err->text)
        broken(b, "%s: the error text does not end within its %zu bytes", call, sizeof err->text);
    if (rc != FG_OK && !text.len)
        broken(b, "%s fails with %s and says nothing", call, status_name(rc));
    if (fg_utf8_valid(text, &is_broken) != text.len)
        broken(b, "%s: the error text is no UTF-8", call);
}

/* A plugin may look at its options or not; what it must not do is fall over them. */
static void bad_options_do_no_harm(struct bench *b)
{
    static const char *const bad[] = {"{", "[]", "null", "{\"no such key\": [1, {}]}", "\xFF\xFE"};
    module_open(b);
    for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
        const bool empty = i == sizeof bad / sizeof *bad;
        struct fg_backend *mark = (struct fg_backend *)(void *)b, *backend = mark;
        struct fg_error err = {0};
        const struct fg_str text = empty ? (struct fg_str){NULL, 0} : fg_str_of(bad[i]);
        step(b, empty ? "open() with NULL options" : "open() with bad options");
        const int32_t rc = b->plugin->open(&b->host, text, &backend, &err);
        if (rc == FG_OK)
            backend_close(b, backend);
        else if (backend != mark)
            broken(b, "open() fails and still sets the backend");
        judge_failure(b, "open()", rc, &err);
        step(b, "open() without an error to fill");
        if (b->plugin->open(&b->host, text, &backend, NULL) == FG_OK)
            backend_close(b, backend);
    }
}

/* ---- what it tells --------------------------------------------------------------------------- */

static bool ends(const char *text, size_t room)
{
    return strnlen(text, room) < room;
}

static void devices_answer_from_what_is_known(struct bench *b)
{
    struct fg_backend *backend = backend_open(b);
    const struct fg_device blank = {.size = sizeof blank};
    for (uint32_t i = 0; i < 64; i++) {
        struct fg_device *d = guarded(b, &blank, sizeof blank);
        step(b, "device()");
        const int32_t rc = b->plugin->device(backend, i, d);
        if (rc == FG_NOT_FOUND)
            break;
        if (rc != FG_OK)
            broken(b, "device(%u) answers %s: FG_OK, or FG_NOT_FOUND past the last", i,
                   status_name(rc));
        if (d->size != sizeof *d)
            broken(b, "device() changed size, which is the caller's");
        if (!ends(d->name, sizeof d->name) || !ends(d->id, sizeof d->id) ||
            !ends(d->reason, sizeof d->reason))
            broken(b, "device(%u): a text is not terminated", i);
        if (d->state < FG_DEVICE_READY || d->state > FG_DEVICE_DOWN)
            broken(b, "device(%u) has the state %d", i, d->state);
        if (d->state == FG_DEVICE_READY && d->memory_free > d->memory_total)
            broken(b, "device(%u) has more memory free than there is", i);
        if (d->busy < 0 || d->busy > 1)
            broken(b, "device(%u) is busy by %g: 0..1, or NaN when not known", i, (double)d->busy);
    }
    struct fg_device far_away = blank;
    step(b, "device(UINT32_MAX)");
    if (b->plugin->device(backend, UINT32_MAX, &far_away) != FG_NOT_FOUND)
        broken(b, "device() past the last must answer FG_NOT_FOUND");
    backend_close(b, backend);
}

static void judge_info(struct bench *b, const char *call, const struct fg_model_info *info)
{
    const struct fg_str texts[] = {info->name, info->family, info->quantization, info->digest};
    if (info->size < offsetof(struct fg_model_info, device))
        broken(b, "%s: info->size is %u", call, info->size);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bool is_broken = false;
        if (texts[i].len && !texts[i].ptr)
            broken(b, "%s: a text is at NULL", call);
        if (texts[i].len && fg_utf8_valid(texts[i], &is_broken) != texts[i].len)
            broken(b, "%s: a text is no UTF-8", call);
    }
    if (!info->can)
        broken(b, "%s: a model that can do nothing (can is 0)", call);
}

struct visits {
    struct bench *b;
    const char *call;
    uint32_t count;
};
static void on_visit(void *ctx, const struct fg_model_info *info)
{
    struct visits *v = ctx;
    v->count++;
    judge_info(v->b, v->call, info);
    if (strcmp(v->call, "list()") == 0 && !info->name.len)
        broken(v->b, "list() tells of a model without a name");
}

static void lists_the_same_models_twice(struct bench *b)
{
    struct fg_backend *backend = backend_open(b);
    struct visits first = {b, "list()", 0}, second = {b, "list()", 0};
    struct fg_error err = {0};
    step(b, "list()");
    const int32_t rc = b->plugin->list(backend, on_visit, &first, &err);
    judge_failure(b, "list()", rc, &err);
    (void)b->plugin->list(backend, on_visit, &second, NULL);
    if (first.count != second.count)
        broken(b, "list() told of %u models, then of %u", first.count, second.count);
    backend_close(b, backend);
}

static void on_metric(void *ctx, const char *name, const char *labels, double value)
{
    struct bench *b = ctx;
    const char *first = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:";
    if (!name || !labels)
        broken(b, "metrics(): name or labels are NULL");
    if (!*name || !strchr(first, *name) || strspn(name, "abcdefghijklmnopqrstuvwxyz"
                                                        "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                        "_:0123456789") != strlen(name))
        broken(b, "metrics(): \"%.80s\" is no name of a metric", name);
    if (*labels && !strstr(labels, "=\""))
        broken(b, "metrics(): labels are key=\"value\", not \"%.80s\"", labels);
    if (strchr(labels, '\n') || strchr(labels, '{'))
        broken(b, "metrics(): labels come without braces, on one line");
    if (!isfinite(value))
        broken(b, "metrics(): %.80s is not finite", name);
}

static void metrics_are_well_formed(struct bench *b)
{
    struct fg_backend *backend = backend_open(b);
    step(b, "metrics() without a model");
    b->plugin->metrics(backend, on_metric, b);
    struct fg_model *model = model_load(b, backend);
    step(b, "metrics() with a model");
    b->plugin->metrics(backend, on_metric, b);
    model_unload(b, model);
    step(b, "metrics() after unload()");
    b->plugin->metrics(backend, on_metric, b);
    backend_close(b, backend);
}

static void unknown_extensions_are_null(struct bench *b)
{
    struct fg_backend *backend = backend_open(b);
    step(b, "extension()");
    if (b->plugin->extension(backend, "fluxgate.there-is-no-such/9") ||
        b->plugin->extension(backend, ""))
        broken(b, "extension() of an unknown id must be NULL");
    backend_close(b, backend);
}

/* ---- models ---------------------------------------------------------------------------------- */

static void an_unknown_model_is_refused(struct bench *b)
{
    static const char *const paths[] = {"/nonexistent/model.gguf", "/", ""};
    struct fg_backend *backend = backend_open(b);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const struct fg_model_spec spec = {.size = sizeof spec,
                                           .name = FG_STR("no-such-model-xyzzy"),
                                           .path = fg_str_of(paths[i])};
        struct fg_model *mark = (struct fg_model *)(void *)b, *model = mark;
        struct fg_error err = {0};
        step(b, "load() of a model that is not there");
        const int32_t rc = b->plugin->load(backend, &spec, &model, &err);
        if (rc == FG_OK)
            broken(b, "load() of path \"%s\" answers OK", paths[i]);
        if (model != mark)
            broken(b, "load() fails and still sets the model");
        judge_failure(b, "load()", rc, &err);
        step(b, "load() without an error to fill");
        if (b->plugin->load(backend, &spec, &model, NULL) == FG_OK)
            broken(b, "load() answers OK the second time");
    }
    backend_close(b, backend);
}

struct progress {
    float last;
    char broken[120];
};
static void on_progress(void *ctx, float fraction)
{
    struct progress *p = ctx;
    if (!(fraction >= 0 && fraction <= 1))
        snprintf(p->broken, sizeof p->broken, "progress tells %g: 0..1", (double)fraction);
    else if (fraction < p->last)
        snprintf(p->broken, sizeof p->broken, "progress goes back from %g to %g", (double)p->last,
                 (double)fraction);
    p->last = fraction;
}

struct name {
    char text[256];
};
static void on_name(void *ctx, const struct fg_model_info *info)
{
    struct name *n = ctx;
    if (!n->text[0] && info->name.len < sizeof n->text)
        snprintf(n->text, sizeof n->text, "%.*s", FG_STR_ARG(info->name));
}

static void loads_with_progress_and_a_larger_spec(struct bench *b)
{
    struct fg_backend *backend = backend_open(b);
    model_unload(b, model_load(b, backend)); /* skips without a model */
    struct progress p = {0};
    struct name name = {0};
    struct {
        struct fg_model_spec spec;
        unsigned char later[64];
    } larger = {.spec = {.size = sizeof larger, .context = 256, .max_running = 1,
                         .progress = on_progress, .progress_ctx = &p}};
    memset(larger.later, 0xA5, sizeof larger.later);
    (void)b->plugin->list(backend, on_name, &name, NULL);
    larger.spec.name = fg_str_of(b->options->model ? b->options->model : name.text);
    if (b->options->model && strchr(b->options->model, '/'))
        larger.spec.path = larger.spec.name;
    struct fg_model *model = NULL;
    struct fg_error err = {0};
    step(b, "load() with a spec that is larger than known");
    const int32_t rc = b->plugin->load(backend, &larger.spec, &model, &err);
    if (rc != FG_OK)
        broken(b, "load() with a larger spec fails with %s: %.252s", status_name(rc), err.text);
    if (p.broken[0])
        broken(b, "load(): %s", p.broken);
    model_unload(b, model);
    backend_close(b, backend);
}

static void info_visits_once(struct bench *b)
{
    struct fg_backend *backend = backend_open(b);
    struct fg_model *model = model_load(b, backend);
    struct visits v = {b, "info()", 0};
    step(b, "info()");
    b->plugin->info(model, on_visit, &v);
    if (v.count != 1)
        broken(b, "info() visits %u times, not once", v.count);
    if (!b->max_running)
        broken(b, "info() of a loaded model: max_running is 0");
    if (b->can & (FG_CAN_CHAT | FG_CAN_COMPLETE) && !b->context)
        broken(b, "info() of a loaded model: context is 0");
    model_unload(b, model);
    backend_close(b, backend);
}

static void loads_and_unloads_again(struct bench *b)
{
    struct fg_backend *backend = backend_open(b);
    for (int i = 0; i < 3; i++)
        model_unload(b, model_load(b, backend));
    struct fg_model *one = model_load(b, backend), *two = model_load(b, backend);
    if (one == two)
        broken(b, "load() gives the same model twice");
    model_unload(b, one);
    model_unload(b, two);
    backend_close(b, backend);
}

const struct check checks_life[] = {
    {"it opens and closes, again and again", opens_and_closes_again, NEEDS_NOTHING},
    {"two instances live at once", two_instances_live_at_once, NEEDS_NOTHING},
    {"bad options do no harm", bad_options_do_no_harm, NEEDS_NOTHING},
    {"devices are told until FG_NOT_FOUND", devices_answer_from_what_is_known, NEEDS_NOTHING},
    {"it lists the same models twice", lists_the_same_models_twice, NEEDS_NOTHING},
    {"metrics have names, labels and finite values", metrics_are_well_formed, NEEDS_MODEL},
    {"an unknown extension is NULL", unknown_extensions_are_null, NEEDS_NOTHING},
    {"a model that is not there is refused with a text", an_unknown_model_is_refused,
     NEEDS_NOTHING},
    {"a model loads from a spec larger than known, with progress",
     loads_with_progress_and_a_larger_spec, NEEDS_MODEL},
    {"info visits once and tells what the model can", info_visits_once, NEEDS_MODEL},
    {"models load and unload again, two at once", loads_and_unloads_again, NEEDS_MODEL},
    {NULL, NULL, 0},
};
