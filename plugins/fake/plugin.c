/*
 * fake.so: the table. A backend that computes nothing and follows a script instead (README.md has
 * the options): for tests of everything around an engine, for benches of the gateway alone, and for
 * whoever writes a plugin and wants to see one that can be told to misbehave.
 */
#include "fake/fake.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"

static void fake_close(struct fg_backend *b)
{
    fg_fake_driver_stop(&b->driver);
    fg_fake_config_done(&b->config);
    free(b);
}

static int32_t fake_open(const struct fg_host *host, struct fg_str options,
                         struct fg_backend **out, struct fg_error *err)
{
    struct fg_backend *b = calloc(1, sizeof *b);
    if (!b)
        return fg_fail(err, FG_NO_MEMORY, "fake: no memory for a backend");
    b->host = host;
    int32_t rc = fg_fake_driver_start(&b->driver, err);
    if (rc == FG_OK)
        rc = fg_fake_config_parse(options, &b->config, err);
    if (rc != FG_OK) {
        fake_close(b);
        return rc;
    }
    *out = b;
    return FG_OK;
}

static int32_t fake_device(struct fg_backend *b, uint32_t index, struct fg_device *out)
{
    (void)b;
    if (index > 0)
        return FG_NOT_FOUND;
    out->state = FG_DEVICE_READY;
    snprintf(out->name, sizeof out->name, "fake device");
    snprintf(out->id, sizeof out->id, "fake-0");
    out->reason[0] = '\0';
    out->memory_total = (uint64_t)1 << 30;
    out->memory_free = (uint64_t)1 << 29;
    out->busy = 0;
    out->celsius = out->watts = NAN;
    out->faults = 0;
    return FG_OK;
}

static struct fg_model_info describe(const struct fg_fake_script *s, const char *name)
{
    return (struct fg_model_info){
        .size = sizeof(struct fg_model_info),
        .can = (uint32_t)s->can,
        .name = fg_str_of(name),
        .family = FG_STR("fake"),
        .quantization = FG_STR("none"),
        .parameters = 1000,
        .context = (uint32_t)s->context,
        .embedding = (uint32_t)s->embedding,
        .max_running = (uint32_t)s->max_running,
        .device = FG_STR("fake device"),
    };
}

static int32_t fake_list(struct fg_backend *b, fg_model_visit *visit, void *ctx,
                         struct fg_error *err)
{
    (void)err;
    for (uint32_t i = 0; i < b->config.count; i++) {
        const struct fg_model_info info = describe(&b->config.models[i], b->config.models[i].name);
        visit(ctx, &info);
    }
    return FG_OK;
}

/* ---- loading --------------------------------------------------------------------------------- */

static const struct fg_fake_script *find_script(const struct fg_backend *b,
                                                const struct fg_model_spec *spec)
{
    for (uint32_t i = 0; i < b->config.count && !spec->path.len; i++)
        if (fg_str_is(spec->name, b->config.models[i].name))
            return &b->config.models[i];
    if (!b->config.files || !spec->path.len)
        return NULL;
    char *path = strndup(spec->path.ptr, spec->path.len);
    const bool is_there = path && access(path, R_OK) == 0;
    free(path);
    return is_there ? &b->config.defaults : NULL;
}

static void wait_for_load(const struct fg_fake_script *s, const struct fg_model_spec *spec)
{
    enum { STEPS = 50 };
    for (int i = 1; i <= STEPS && s->load_ms; i++) {
        usleep((useconds_t)(s->load_ms * 1000 / STEPS));
        if (spec->progress)
            spec->progress(spec->progress_ctx, (float)i / STEPS);
    }
}

/* model="name" for metrics; quotes, backslashes and control characters do not get through. */
static char *label_of(struct fg_str name)
{
    struct fg_buf b = {.limit = 1024};
    fg_buf_add(&b, FG_STR("model=\""));
    for (size_t i = 0; i < name.len && i < 256; i++)
        fg_buf_addc(&b, name.ptr[i] == '"' || name.ptr[i] == '\\' ||
                                (unsigned char)name.ptr[i] < 0x20
                            ? '_'
                            : name.ptr[i]);
    fg_buf_add(&b, FG_STR("\""));
    fg_buf_addc(&b, '\0');
    if (b.failed)
        fg_buf_done(&b);
    return b.ptr; /* given */
}

static void free_model(struct fg_model *m)
{
    fg_fake_vocab_close(m->vocab);
    free(m->answer.ids);
    free(m->name);
    free(m->label);
    free(m);
}

static bool fill_model(struct fg_model *m, const struct fg_model_spec *spec)
{
    const struct fg_fake_script *s = m->script;
    const uint32_t slots = (uint32_t)s->max_running, context = (uint32_t)s->context;
    m->max_running = spec->max_running && spec->max_running < slots ? spec->max_running : slots;
    m->context = spec->context && spec->context < context ? spec->context : context;
    m->name = strndup(spec->name.ptr ? spec->name.ptr : "", spec->name.len);
    m->label = label_of(spec->name);
    m->vocab = fg_fake_vocab_open(fg_str_of(s->text));
    if (!m->name || !m->label || !m->vocab)
        return false;
    fg_fake_tokenize(m->vocab, fg_str_of(s->text), &m->answer);
    return !m->answer.failed;
}

static int32_t fake_load(struct fg_backend *b, const struct fg_model_spec *spec,
                         struct fg_model **out, struct fg_error *err)
{
    const struct fg_fake_script *s = find_script(b, spec);
    if (!s && spec->path.len && !b->config.files) /* another backend may */
        return fg_fail(err, FG_UNSUPPORTED, "fake: model files are not read");
    if (!s)
        return fg_fail(err, FG_NOT_FOUND, "fake: no model \"%.*s\" is in the script",
                       (int)(spec->name.len < 100 ? spec->name.len : 100),
                       spec->name.ptr ? spec->name.ptr : "");
    if (spec->options_json.len && !fg_str_is(spec->options_json, "{}"))
        return fg_fail(err, FG_UNSUPPORTED, "fake: there are no options at load time");
    wait_for_load(s, spec);
    if (s->load_crash)
        abort();
    if (s->load_error)
        return fg_fail(err, FG_INVALID, "%s", s->load_error);
    struct fg_model *m = calloc(1, sizeof *m);
    if (!m)
        return fg_fail(err, FG_NO_MEMORY, "fake: no memory for a model");
    m->backend = b;
    m->script = s;
    if (!fill_model(m, spec) || fg_fake_driver_reserve(&b->driver, m->max_running) != FG_OK) {
        free_model(m);
        return fg_fail(err, FG_NO_MEMORY, "fake: no memory for a model");
    }
    pthread_mutex_lock(&b->driver.lock);
    m->next = b->models;
    b->models = m;
    pthread_mutex_unlock(&b->driver.lock);
    *out = m;
    return FG_OK;
}

static void fake_info(struct fg_model *m, fg_model_visit *visit, void *ctx)
{
    struct fg_model_info info = describe(m->script, m->name);
    info.memory_bytes = sizeof *m + m->answer.capacity * sizeof *m->answer.ids;
    info.context = m->context;
    info.max_running = m->max_running;
    visit(ctx, &info);
}

static void fake_unload(struct fg_model *m)
{
    struct fg_backend *b = m->backend;
    pthread_mutex_lock(&b->driver.lock);
    struct fg_model **at = &b->models;
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    pthread_mutex_unlock(&b->driver.lock);
    fg_fake_driver_forget(&b->driver, m->max_running);
    free_model(m);
}

/* ---- figures --------------------------------------------------------------------------------- */

static void fake_metrics(struct fg_backend *b, fg_metric_visit *visit, void *ctx)
{
    pthread_mutex_lock(&b->driver.lock);
    for (struct fg_model *m = b->models; m; m = m->next) {
        visit(ctx, "fake_jobs", m->label, __atomic_load_n(&m->running, __ATOMIC_RELAXED));
        visit(ctx, "fake_submits_total", m->label,
              (double)__atomic_load_n(&m->submitted, __ATOMIC_RELAXED));
        visit(ctx, "fake_tokens_total", m->label,
              (double)__atomic_load_n(&m->tokens, __ATOMIC_RELAXED));
    }
    pthread_mutex_unlock(&b->driver.lock);
}

static const void *fake_extension(struct fg_backend *b, const char *id)
{
    (void)b;
    (void)id;
    return NULL;
}

static const struct fg_plugin table = {
    .size = sizeof table,
    .abi = FG_ABI,
    .name = "fake",
    .version = FLUXGATE_VERSION,
    .open = fake_open,
    .close = fake_close,
    .device = fake_device,
    .list = fake_list,
    .load = fake_load,
    .info = fake_info,
    .unload = fake_unload,
    .submit = fg_fake_submit,
    .resume = fg_fake_resume,
    .cancel = fg_fake_cancel,
    .release = fg_fake_release,
    .metrics = fake_metrics,
    .extension = fake_extension,
};

FG_EXPORT const struct fg_plugin *fg_plugin_entry(uint32_t host_abi)
{
    return host_abi >> 16 == FG_ABI_MAJOR ? &table : NULL;
}
