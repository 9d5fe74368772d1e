/*
 * The contract on top of a device: instances, models, and the way to the scheduler.
 *
 * Each model has a device instance of its own (threads, activations), so that loading one does not
 * stop another; a turn makes their steps follow one another. The backend keeps one more instance
 * to answer device().
 *
 * Keys of the configuration, beside the device's own: context (tokens a job, default: what the
 * model was trained for, at most 4096), slots (jobs at once, 8), cache_mib (KV kept for later
 * prompts, default 256 or one context), chunk (prefill rows a step, 512), chunk_busy (beside
 * running streams, 256), inter_token_ms (a step with prefill beside streams, 200).
 */
#include "engine/plugin.h"

#include <stdlib.h>
#include <string.h>

#include "engine/inspect.h"
#include "engine/job.h"
#include "engine/sched/sched.h"
#include "util/error.h"
#include "util/list.h"
#include "util/str.h"

enum {
    PAGE_TOKENS = 32,
    CONTEXT_DEFAULT = 4096,
    CONTEXT_MOST = 1 << 20,
    SLOTS_DEFAULT = 8,
    SLOTS_MOST = 1024,
    PAGES_MOST = 1 << 22,
    CACHE_DEFAULT = 256 << 20,
};

struct fg_backend {
    const struct fg_host *host;
    json_t *config;
    struct fg_dev *device; /* answers device() and text() */
    struct fg_turn turn;
    uint32_t context, slots, chunk_idle, chunk_busy, inter_token_ms; /* context 0: the model's */
    int64_t cache_bytes;  /* negative: CACHE_DEFAULT, but at least one context */
    pthread_mutex_t lock; /* models: control changes it, metrics reads it */
    struct fg_list models;
};

struct fg_model {
    struct fg_list node;
    struct fg_backend *backend;
    struct fg_dev *device;
    struct fg_vocab *vocab;
    struct fg_template *chat;
    struct fg_error chat_error;
    struct fg_net *net;
    struct fg_sched *sched;
    char *name, *label;
    const char *quantization;
    uint64_t file_bytes;
    uint32_t context, slots;
};

/* ---- configuration --------------------------------------------------------------------------- */

static int32_t read_number(const json_t *config, const char *key, json_int_t least, json_int_t most,
                           json_int_t *out, struct fg_error *err)
{
    const json_t *value = json_object_get(config, key);
    if (!value || json_is_null(value))
        return FG_OK;
    const json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < least || n > most)
        return fg_fail(err, FG_INVALID, "%s must be a number from %lld to %lld", key,
                       (long long)least, (long long)most);
    *out = n;
    return FG_OK;
}

static int32_t configure(struct fg_backend *b, struct fg_error *err)
{
    static const struct {
        const char *key;
        json_int_t least, most, fallback;
    } keys[] = {
        {"context", 0, CONTEXT_MOST, 0},  {"slots", 1, SLOTS_MOST, SLOTS_DEFAULT},
        {"cache_mib", 0, 1 << 20, -1},    {"chunk", 16, 1 << 16, 512},
        {"chunk_busy", 16, 1 << 16, 256}, {"inter_token_ms", 0, 60000, 200},
    };
    json_int_t value[sizeof keys / sizeof *keys];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        value[i] = keys[i].fallback;
        const int32_t rc =
            read_number(b->config, keys[i].key, keys[i].least, keys[i].most, &value[i], err);
        if (rc != FG_OK)
            return rc;
    }
    b->context = (uint32_t)value[0];
    b->slots = (uint32_t)value[1];
    b->cache_bytes = value[2] < 0 ? -1 : (int64_t)value[2] << 20;
    b->chunk_idle = (uint32_t)value[3];
    b->chunk_busy = (uint32_t)value[4];
    b->inter_token_ms = (uint32_t)value[5];
    return FG_OK;
}

static int32_t parse_config(struct fg_str text, json_t **out, struct fg_error *err)
{
    json_error_t why;
    if (text.len == 0) {
        *out = json_object();
        return *out ? FG_OK : fg_fail(err, FG_NO_MEMORY, "no memory for the configuration");
    }
    *out = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &why);
    if (!*out)
        return fg_fail(err, FG_INVALID, "the configuration is no JSON: %s", why.text);
    if (!json_is_object(*out))
        return fg_fail(err, FG_INVALID, "the configuration is no JSON object");
    return FG_OK;
}

/* ---- the backend ----------------------------------------------------------------------------- */

static void engine_close(struct fg_backend *b)
{
    if (b->device)
        fg_engine_device.close(b->device);
    json_decref(b->config);
    fg_turn_done(&b->turn);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

static int32_t engine_open(const struct fg_host *host, struct fg_str config,
                           struct fg_backend **out, struct fg_error *err)
{
    struct fg_backend *b = calloc(1, sizeof *b);
    if (!b)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a backend");
    b->host = host;
    fg_turn_init(&b->turn);
    pthread_mutex_init(&b->lock, NULL);
    fg_list_init(&b->models);
    int32_t rc = parse_config(config, &b->config, err);
    if (rc == FG_OK)
        rc = configure(b, err);
    if (rc == FG_OK)
        rc = fg_engine_device.open(b->config, &b->device, err);
    if (rc != FG_OK) {
        engine_close(b);
        return rc;
    }
    *out = b;
    return FG_OK;
}

static int32_t engine_describe(struct fg_backend *b, uint32_t index, struct fg_device *out)
{
    if (index > 0)
        return FG_NOT_FOUND;
    fg_engine_device.describe(b->device, out);
    return FG_OK;
}

static int32_t engine_list(struct fg_backend *b, fg_model_visit *visit, void *ctx,
                           struct fg_error *err)
{
    (void)b; /* models come as files through load(); the engine has none by itself */
    (void)visit;
    (void)ctx;
    (void)err;
    return FG_OK;
}

static const void *engine_extension(struct fg_backend *b, const char *id)
{
    (void)b;
    return strcmp(id, FG_EXT_INSPECT) == 0 ? &fg_engine_inspect : NULL;
}

/* ---- loading --------------------------------------------------------------------------------- */

static uint32_t at_most(uint64_t value, uint32_t most)
{
    return value < most ? (uint32_t)value : most;
}

/* A template that does not compile fails chats only: completions and embeddings need none. */
static int32_t load_template(struct fg_model *m, const struct fg_gguf *g, struct fg_error *err)
{
    struct fg_str source = fg_str_of(fg_template_chatml);
    (void)fg_gguf_str(g, "tokenizer.chat_template", &source, NULL);
    const int32_t rc = fg_template_compile(source, &m->chat, &m->chat_error);
    if (rc == FG_OK)
        return FG_OK;
    m->chat = NULL;
    m->chat_error.text[sizeof m->chat_error.text - 1] = '\0';
    return rc == FG_NO_MEMORY ? fg_fail(err, rc, "%s", m->chat_error.text) : FG_OK;
}

/* What the file recommends, else nothing but the plain softmax: front ends set their own. */
static struct fg_sampling sampling_of(const struct fg_gguf *g)
{
    struct fg_sampling s = {.size = sizeof s,
                            .temperature = 1,
                            .top_p = 1,
                            .typical_p = 1,
                            .repeat_penalty = 1,
                            .repeat_last_n = 64};
    float f;
    uint32_t u;
    if (fg_gguf_f32(g, "general.sampling.temp", &f, NULL) == FG_OK && f >= 0 && f <= 100)
        s.temperature = f;
    if (fg_gguf_f32(g, "general.sampling.top_p", &f, NULL) == FG_OK && f > 0 && f <= 1)
        s.top_p = f;
    if (fg_gguf_f32(g, "general.sampling.min_p", &f, NULL) == FG_OK && f >= 0 && f < 1)
        s.min_p = f;
    if (fg_gguf_u32(g, "general.sampling.top_k", &u, NULL) == FG_OK && u <= 1 << 20)
        s.top_k = (int32_t)u;
    if (fg_gguf_f32(g, "general.sampling.penalty_repeat", &f, NULL) == FG_OK && f > 0 && f <= 10)
        s.repeat_penalty = f;
    if (fg_gguf_u32(g, "general.sampling.penalty_last_n", &u, NULL) == FG_OK && u <= 1 << 20)
        s.repeat_last_n = (int32_t)u;
    return s;
}

static int32_t pooling_of(const struct fg_gguf *g)
{
    const uint32_t kind = fg_engine_number(g, "pooling_type");
    return kind == FG_POOL_CLS || kind == FG_POOL_LAST ? (int32_t)kind : FG_POOL_MEAN;
}

struct progress {
    const struct fg_model_spec *spec;
};
static void on_progress(void *ctx, float fraction)
{
    const struct fg_model_spec *spec = ((struct progress *)ctx)->spec;
    if (spec->progress)
        spec->progress(spec->progress_ctx, fraction);
}

static void choose_sizes(struct fg_model *m, const struct fg_model_spec *spec)
{
    const struct fg_net_info *info = fg_net_info(m->net);
    const uint32_t trained = info->context_train ? info->context_train : CONTEXT_DEFAULT;
    const uint32_t asked = spec->context ? spec->context : m->backend->context;
    m->context = asked ? asked : trained < CONTEXT_DEFAULT ? trained : CONTEXT_DEFAULT;
    m->context = m->context > trained ? trained : m->context;
    if (m->context < 2)
        m->context = 2; /* a prompt of one token and its answer */
    m->slots = spec->max_running ? spec->max_running : m->backend->slots;
    m->slots = m->slots > SLOTS_MOST ? SLOTS_MOST : m->slots;
}

static int32_t start(struct fg_model *m, const struct fg_gguf *g, struct fg_error *err)
{
    const struct fg_backend *b = m->backend;
    const uint64_t job_pages = (m->context + PAGE_TOKENS - 1) / PAGE_TOKENS;
    const uint64_t page_bytes = fg_net_info(m->net)->kv_bytes_per_token * PAGE_TOKENS;
    const uint32_t pages = at_most(job_pages * m->slots, PAGES_MOST);
    const uint64_t cache_bytes = b->cache_bytes < 0 ? CACHE_DEFAULT : (uint64_t)b->cache_bytes;
    uint32_t cached = at_most(page_bytes ? cache_bytes / page_bytes : pages, pages);
    if (b->cache_bytes < 0 && cached < job_pages) /* a conversation finds itself again */
        cached = (uint32_t)job_pages;
    if (job_pages > pages)
        return fg_fail(err, FG_INVALID, "a context of %u tokens is too large", m->context);
    const int32_t rc = fg_net_kv_open(m->net, PAGE_TOKENS, pages, err);
    if (rc != FG_OK)
        return rc;
    const struct fg_sched_parts parts = {
        .host = b->host,
        .net = m->net,
        .vocab = m->vocab,
        .chat = m->chat,
        .chat_error = m->chat_error.text,
        .turn = &m->backend->turn,
        .defaults = sampling_of(g),
        .context = m->context,
        .max_running = m->slots,
        .pages = pages,
        .page_tokens = PAGE_TOKENS,
        .max_cached = cached,
        .chunk_idle = b->chunk_idle,
        .chunk_busy = b->chunk_busy,
        .inter_token_ms = b->inter_token_ms,
        .pooling = pooling_of(g),
    };
    return fg_sched_open(&parts, &m->sched, err);
}

static void free_model(struct fg_model *m)
{
    fg_sched_close(m->sched);
    if (m->net)
        fg_net_close(m->net);
    if (m->chat)
        fg_template_close(m->chat);
    if (m->vocab)
        fg_vocab_close(m->vocab);
    if (m->device)
        fg_engine_device.close(m->device);
    free(m->name);
    free(m->label);
    free(m);
}

/* model="name" for metrics: quotes, backslashes and control characters do not get through. */
static char *label_of(struct fg_str name)
{
    struct fg_buf b = {.limit = 1024};
    fg_buf_add(&b, FG_STR("model=\""));
    for (size_t i = 0; i < name.len && i < 256; i++) {
        const char c = name.ptr[i];
        fg_buf_addc(&b, c == '"' || c == '\\' || (unsigned char)c < 0x20 ? '_' : c);
    }
    fg_buf_addc(&b, '"');
    fg_buf_addc(&b, '\0');
    if (b.failed) {
        fg_buf_done(&b);
        return NULL;
    }
    return b.ptr; /* given: plain malloc memory */
}

static int32_t check_spec_options(struct fg_str json, struct fg_error *err)
{
    json_t *options = NULL;
    const int32_t rc = json.len ? parse_config(json, &options, err) : FG_OK;
    const char *key = options ? json_object_iter_key(json_object_iter(options)) : NULL;
    const int32_t known =
        key ? fg_fail(err, FG_UNSUPPORTED, "load option \"%.64s\" is not supported by this engine",
                      key)
            : FG_OK;
    json_decref(options);
    return rc != FG_OK ? rc : known;
}

static int32_t engine_load(struct fg_backend *b, const struct fg_model_spec *spec,
                           struct fg_model **out, struct fg_error *err)
{
    struct fg_gguf *g = NULL;
    struct progress progress = {spec};
    int32_t rc = check_spec_options(spec->options_json, err);
    if (rc != FG_OK)
        return rc;
    struct fg_model *m = calloc(1, sizeof *m);
    char *path = strndup(spec->path.ptr ? spec->path.ptr : "", spec->path.len);
    if (!m || !path) {
        free(m);
        free(path);
        return fg_fail(err, FG_NO_MEMORY, "no memory for a model");
    }
    m->backend = b;
    m->name = strndup(spec->name.ptr ? spec->name.ptr : "", spec->name.len);
    m->label = label_of(spec->name);
    rc = m->name && m->label ? fg_gguf_open(path, &g, err)
                             : fg_fail(err, FG_NO_MEMORY, "no memory for a model");
    if (rc == FG_OK)
        rc = fg_vocab_open(g, &m->vocab, err);
    if (rc == FG_OK)
        rc = load_template(m, g, err);
    if (rc == FG_OK)
        rc = fg_engine_device.open(b->config, &m->device, err);
    if (rc == FG_OK)
        rc = fg_net_open(g, m->device, on_progress, &progress, &m->net, err);
    if (rc == FG_OK && fg_net_info(m->net)->vocab < fg_vocab_size(m->vocab))
        rc = fg_fail(err, FG_INVALID, "the network has %u output rows for %u tokens",
                     fg_net_info(m->net)->vocab, fg_vocab_size(m->vocab));
    if (rc == FG_OK) {
        m->quantization = fg_engine_quantization(g);
        m->file_bytes = fg_gguf_file_bytes(g);
        choose_sizes(m, spec);
        rc = start(m, g, err);
    }
    fg_gguf_close(g);
    free(path);
    if (rc != FG_OK) {
        free_model(m);
        return rc;
    }
    pthread_mutex_lock(&b->lock);
    fg_list_push(&b->models, &m->node);
    pthread_mutex_unlock(&b->lock);
    *out = m;
    return FG_OK;
}

static void engine_unload(struct fg_model *m)
{
    pthread_mutex_lock(&m->backend->lock);
    fg_list_remove(&m->node);
    pthread_mutex_unlock(&m->backend->lock);
    free_model(m);
}

static void engine_info(struct fg_model *m, fg_model_visit *visit, void *ctx)
{
    const struct fg_net_info *net = fg_net_info(m->net);
    struct fg_sched_stats stats;
    fg_sched_stats(m->sched, &stats);
    const struct fg_model_info info = {
        .size = sizeof info,
        .can = FG_CAN_CHAT | FG_CAN_COMPLETE | FG_CAN_EMBED | FG_CAN_LOGPROBS | FG_CAN_RESUME |
               FG_CAN_TOKENIZE,
        .name = fg_str_of(m->name),
        .family = fg_str_of(net->architecture),
        .quantization = fg_str_of(m->quantization),
        .parameters = net->parameters,
        .file_bytes = m->file_bytes,
        .memory_bytes =
            net->weight_bytes + net->kv_bytes_per_token * PAGE_TOKENS * stats.pages_touched,
        .context = m->context,
        .embedding = net->width,
        .max_running = m->slots,
        .device = fg_str_of(fg_engine_device.text(m->backend->device)),
    };
    visit(ctx, &info);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static int32_t engine_submit(struct fg_model *m, const struct fg_request *req,
                             struct fg_stream *stream, struct fg_job **out, struct fg_error *err)
{
    const int32_t rc = fg_engine_check_request(req, err);
    return rc != FG_OK ? rc : fg_sched_submit(m->sched, req, stream, out, err);
}

static void engine_metrics(struct fg_backend *b, fg_metric_visit *visit, void *ctx)
{
    pthread_mutex_lock(&b->lock);
    FG_LIST_EACH (node, safe, &b->models) {
        const struct fg_model *m = FG_CONTAINER(node, struct fg_model, node);
        struct fg_sched_stats s;
        fg_sched_stats(m->sched, &s);
        const struct {
            const char *name;
            double value;
        } all[] = {
            {"engine_prompt_tokens_total", (double)s.prompt_tokens},
            {"engine_cached_tokens_total", (double)s.cached_tokens},
            {"engine_output_tokens_total", (double)s.output_tokens},
            {"engine_steps_total", (double)s.steps},
            {"engine_rows_total", (double)s.rows},
            {"engine_decode_rows_total", (double)s.decode_rows},
            {"engine_aborted_steps_total", (double)s.aborted_steps},
            {"engine_failed_steps_total", (double)s.failed_steps},
            {"engine_preemptions_total", (double)s.preemptions},
            {"engine_jobs", s.running_jobs},
            {"engine_sequences_active", s.active},
            {"engine_sequences_waiting", s.waiting},
            {"engine_kv_pages", s.pages_total},
            {"engine_kv_pages_free", s.pages_free},
            {"engine_kv_pages_cached", s.pages_cached},
            {"engine_kv_pages_touched", s.pages_touched},
        };
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            visit(ctx, all[i].name, m->label, all[i].value);
    }
    pthread_mutex_unlock(&b->lock);
}

const struct fg_plugin fg_engine_plugin_table = {
    .size = sizeof(struct fg_plugin),
    .abi = FG_ABI,
    .name = "engine",
    .version = "0.1.0",
    .open = engine_open,
    .close = engine_close,
    .device = engine_describe,
    .list = engine_list,
    .load = engine_load,
    .info = engine_info,
    .unload = engine_unload,
    .submit = engine_submit,
    .resume = fg_sched_resume,
    .cancel = fg_sched_cancel,
    .release = fg_sched_release,
    .metrics = engine_metrics,
    .extension = engine_extension,
};
