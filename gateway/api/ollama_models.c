/*
 * api/ollama_models.c - what there is: version, tags, ps, show. Everything comes from a snapshot
 * of the catalog; show also asks a backend what the file says of itself.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fluxgate/ext/inspect.h>

#include "api/openai_write.h"
#include "api/parse.h"
#include "util/clock.h"

void fg_ollama_root(struct fg_call *call)
{
    fg_call_reply(call, 200, "text/plain; charset=utf-8", FG_STR("Ollama is running"));
}

void fg_ollama_version(struct fg_call *call)
{
    fg_call_reply(call, 200, fg_json_type(FG_DIALECT_OLLAMA),
                  FG_STR("{\"version\":\"" FG_OLLAMA_API_VERSION "\"}"));
}

void fg_ollama_status(struct fg_call *call)
{
    fg_call_reply(call, 200, fg_json_type(FG_DIALECT_OLLAMA),
                  FG_STR("{\"cloud\":{\"disabled\":true,\"source\":\"config\"}}"));
}

void fg_ollama_account(struct fg_call *call)
{
    fg_call_reply(call, 401, fg_json_type(FG_DIALECT_OLLAMA), FG_STR("{\"error\":\"unauthorized\"}"));
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* "134.52M", "7.2B", as the reference writes it. */
static void put_size(struct fg_buf *b, uint64_t n)
{
    char text[32];
    double x = (double)n;
    if (n >= 1000000000)
        snprintf(text, sizeof(text), x / 1e9 == floor(x / 1e9) ? "%.0fB" : "%.1fB", x / 1e9);
    else if (n >= 1000000)
        snprintf(text, sizeof(text), x / 1e6 == floor(x / 1e6) ? "%.0fM" : "%.2fM", x / 1e6);
    else if (n >= 1000)
        snprintf(text, sizeof(text), "%.0fK", x / 1e3);
    else
        snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
    fg_json_put_str(b, fg_str_of(text));
}

static void put_details(struct fg_buf *b, const struct fg_model_entry *e)
{
    struct fg_str family = e->family.len ? e->family : FG_STR("unknown");
    fg_buf_add(b, FG_STR(",\"details\":{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":"));
    fg_json_put_str(b, family);
    fg_json_put_name(b, "families");
    fg_json_put_open(b, '[');
    fg_json_put_str(b, family);
    fg_json_put_close(b, ']');
    fg_json_put_name(b, "parameter_size");
    put_size(b, e->parameters);
    fg_json_put_name(b, "quantization_level");
    fg_json_put_str(b, e->quantization);
    fg_json_put_name(b, "context_length");
    fg_json_put_u64(b, e->context);
    fg_json_put_name(b, "embedding_length");
    fg_json_put_u64(b, e->embedding);
    fg_json_put_close(b, '}');
}

void fg_ollama_put_capabilities(struct fg_buf *b, const struct fg_model_entry *e)
{
    static const struct {
        uint32_t bit;
        const char *word;
    } words[] = {{FG_CAN_CHAT | FG_CAN_COMPLETE, "completion"}, {FG_CAN_TOOLS, "tools"},
                 {FG_CAN_INFILL, "insert"},                     {FG_CAN_SEE, "vision"},
                 {FG_CAN_THINK, "thinking"}};
    bool generates = e->can & (FG_CAN_CHAT | FG_CAN_COMPLETE);
    fg_json_put_name(b, "capabilities");
    fg_json_put_open(b, '[');
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (e->can & words[i].bit)
            fg_json_put_str(b, fg_str_of(words[i].word));
    if ((e->can & FG_CAN_EMBED) && !generates)
        fg_json_put_str(b, FG_STR("embedding"));
    fg_json_put_close(b, ']');
}

static void put_time(struct fg_buf *b, const char *name, uint64_t wall_ns)
{
    char at[40];
    size_t len = fg_clock_rfc3339(wall_ns, at, sizeof(at));
    fg_json_put_name(b, name);
    fg_json_put_str(b, (struct fg_str){at, len});
}

static void put_names(struct fg_buf *b, const struct fg_model_entry *e)
{
    fg_json_put_name(b, "name");
    fg_json_put_str(b, e->name);
    fg_json_put_name(b, "model");
    fg_json_put_str(b, e->name);
}

void fg_ollama_tags(struct fg_call *call)
{
    struct fg_buf b = {0};
    if (fg_call_look(call))
        return;
    call->catalog = fg_hub_catalog(call->api->hub);
    fg_buf_add(&b, FG_STR("{\"models\":["));
    for (uint32_t i = 0; call->catalog && i < fg_catalog_count(call->catalog); i++) {
        const struct fg_model_entry *e = fg_catalog_at(call->catalog, i);
        fg_json_put_open(&b, '{');
        put_names(&b, e);
        put_time(&b, "modified_at", e->modified_wall_ns);
        fg_json_put_name(&b, "size");
        fg_json_put_u64(&b, e->size_bytes);
        fg_json_put_name(&b, "digest");
        fg_json_put_str(&b, e->digest);
        put_details(&b, e);
        fg_ollama_put_capabilities(&b, e);
        fg_json_put_close(&b, '}');
    }
    fg_buf_add(&b, FG_STR("]}"));
    fg_call_reply_json(call, &b);
}

/* ---- ps -------------------------------------------------------------------------------------- */

struct loaded_line {
    int64_t expires;
    struct fg_buf text;
};
struct loaded_list {
    struct loaded_line *lines;
    uint32_t count, room;
    uint64_t now;
};

static void on_loaded(void *ctx, const struct fg_loaded *l)
{
    struct loaded_list *list = ctx;
    if (list->count == list->room) {
        uint32_t room = list->room ? list->room * 2 : 8;
        struct loaded_line *grown = realloc(list->lines, room * sizeof(*grown));
        if (!grown)
            return;
        list->lines = grown;
        list->room = room;
    }
    struct loaded_line *line = &list->lines[list->count++];
    *line = (struct loaded_line){.expires = l->expires_wall_ns};
    struct fg_buf *b = &line->text;
    /* For ever is shown as the longest duration of Go from now: the year 2319. */
    uint64_t expires = l->expires_wall_ns == INT64_MAX ? list->now + (uint64_t)INT64_MAX
                                                       : (uint64_t)l->expires_wall_ns;
    fg_json_put_open(b, '{');
    put_names(b, l->model);
    fg_json_put_name(b, "size");
    fg_json_put_u64(b, l->memory_bytes);
    fg_json_put_name(b, "digest");
    fg_json_put_str(b, l->model->digest);
    put_details(b, l->model);
    put_time(b, "expires_at", expires);
    fg_json_put_name(b, "size_vram");
    fg_json_put_u64(b, l->device_bytes);
    fg_json_put_name(b, "context_length");
    fg_json_put_u64(b, l->context);
    fg_json_put_close(b, '}');
}

static int longest_first(const void *a, const void *b)
{
    int64_t x = ((const struct loaded_line *)a)->expires, y = ((const struct loaded_line *)b)->expires;
    return x < y ? 1 : x > y ? -1 : 0;
}

void fg_ollama_ps(struct fg_call *call)
{
    struct loaded_list list = {.now = fg_clock_wall_ns()};
    struct fg_buf b = {0};
    fg_hub_loaded(call->api->hub, on_loaded, &list);
    if (list.count)
        qsort(list.lines, list.count, sizeof(*list.lines), longest_first);
    fg_buf_add(&b, FG_STR("{\"models\":["));
    for (uint32_t i = 0; i < list.count; i++) {
        fg_json_put_raw(&b, fg_buf_str(&list.lines[i].text));
        b.failed |= list.lines[i].text.failed;
        fg_buf_done(&list.lines[i].text);
    }
    free(list.lines);
    fg_buf_add(&b, FG_STR("]}"));
    fg_call_reply_json(call, &b);
}

/* ---- show ------------------------------------------------------------------------------------ */

static const struct fg_field show_fields[] = {
    FG_TAKE("model", fg_take_model), FG_TAKE("name", fg_take_model), FG_FLAG("verbose", verbose),
    FG_TEXT("system", system),       FG_TEXT("template", template_text),
};

static void put_json(struct fg_buf *b, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text)
        fg_json_put_raw(b, fg_str_of(text));
    else
        fg_json_put_null(b);
    free(text);
}

static void parameter_line(struct fg_buf *b, struct fg_str key, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text)
        fg_buf_printf(b, "%s%-30.*s %s", b->len ? "\n" : "", FG_STR_ARG(key), text);
    free(text);
}

/* The params layer as text: key padded to 30 columns, one line for each stop. */
static void parameters_text(struct fg_buf *b, const struct fg_model_entry *e)
{
    json_t *params = e->params_json.len ? json_loadb(e->params_json.ptr, e->params_json.len, 0, NULL)
                                        : NULL;
    const char *key;
    json_t *value, *item;
    size_t i;
    json_object_foreach(params, key, value)
    {
        if (json_is_array(value)) {
            json_array_foreach(value, i, item) parameter_line(b, fg_str_of(key), item);
        } else {
            parameter_line(b, fg_str_of(key), value);
        }
    }
    json_decref(params);
}

static void put_modelfile(struct fg_buf *b, const struct fg_model_entry *e,
                          struct fg_str template_text)
{
    struct fg_buf t = {0};
    fg_buf_add(&t, FG_STR("# Modelfile generated by \"fluxgate show\"\n\nFROM "));
    fg_buf_add(&t, e->modelfile_from.len ? e->modelfile_from : e->name);
    fg_buf_add(&t, FG_STR("\nTEMPLATE \"\"\""));
    fg_buf_add(&t, template_text);
    fg_buf_add(&t, FG_STR("\"\"\"\n"));
    if (e->system.len) {
        fg_buf_add(&t, FG_STR("SYSTEM \"\"\""));
        fg_buf_add(&t, e->system);
        fg_buf_add(&t, FG_STR("\"\"\"\n"));
    }
    fg_json_put_name(b, "modelfile");
    fg_json_put_str(b, fg_buf_str(&t));
    b->failed |= t.failed;
    fg_buf_done(&t);
}

static void put_info(struct fg_call *call, struct fg_buf *b, const json_t *metadata)
{
    const char *key;
    json_t *value;
    bool copilot = fg_str_starts(fg_exchange_header(call->exchange, "User-Agent"),
                                 FG_STR("GitHubCopilotChat/"));
    fg_json_put_name(b, "model_info");
    fg_json_put_open(b, '{');
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (strcmp(key, "general.name") == 0 || strcmp(key, "tokenizer.chat_template") == 0 ||
            (copilot && strcmp(key, "general.basename") == 0))
            continue;
        fg_json_put_key(b, fg_str_of(key));
        put_json(b, value);
    }
    if (!json_object_get(metadata, "general.architecture") && call->entry->family.len) {
        fg_json_put_name(b, "general.architecture");
        fg_json_put_str(b, call->entry->family);
    }
    if (!json_object_get(metadata, "general.parameter_count")) {
        fg_json_put_name(b, "general.parameter_count");
        fg_json_put_u64(b, call->entry->parameters);
    }
    if (copilot) {
        fg_json_put_name(b, "general.basename");
        fg_json_put_str(b, call->ask->model);
    }
    fg_json_put_close(b, '}');
}

/* json NULL: no backend could read the file now; the catalog's part is still true. */
static void show_reply(struct fg_call *call, const json_t *json)
{
    const struct fg_model_entry *e = call->entry;
    const json_t *metadata = json ? json_object_get(json, "metadata") : e->metadata;
    const json_t *tensors = json ? json_object_get(json, "tensors") : NULL;
    struct fg_str template_text = e->template_go.len ? e->template_go : e->chat_template;
    struct fg_buf b = {0}, parameters = {0};
    fg_json_put_open(&b, '{');
    if (e->license.len) {
        fg_json_put_name(&b, "license");
        fg_json_put_str(&b, e->license);
    }
    put_modelfile(&b, e, template_text);
    parameters_text(&parameters, e);
    fg_json_put_name(&b, "parameters");
    fg_json_put_str(&b, fg_buf_str(&parameters));
    fg_json_put_name(&b, "template");
    fg_json_put_str(&b, template_text);
    if (e->system.len) {
        fg_json_put_name(&b, "system");
        fg_json_put_str(&b, e->system);
    }
    put_details(&b, e);
    json_t *messages = e->messages_json.len
                           ? json_loadb(e->messages_json.ptr, e->messages_json.len, 0, NULL)
                           : NULL;
    if (json_is_array(messages)) {
        fg_json_put_name(&b, "messages");
        put_json(&b, messages);
    }
    json_decref(messages);
    put_info(call, &b, metadata);
    if (tensors) {
        fg_json_put_name(&b, "tensors");
        put_json(&b, tensors);
    }
    fg_ollama_put_capabilities(&b, e);
    put_time(&b, "modified_at", e->modified_wall_ns);
    fg_json_put_close(&b, '}');
    b.failed |= parameters.failed;
    fg_buf_done(&parameters);
    fg_call_reply_json(call, &b);
}

static void on_inspected(void *ctx, const json_t *json, const struct fg_error *err)
{
    struct fg_call *call = ctx;
    (void)err; /* the reply holds what is known without it */
    fg_call_enter(call);
    call->inspect = NULL;
    if (!call->is_over)
        show_reply(call, json);
    fg_call_leave(call);
}

static bool find_canonical(struct fg_call *call)
{
    struct fg_ask *a = call->ask;
    struct fg_str sent = a->model;
    bool tagged = false;
    for (size_t i = sent.len; i-- > 0 && sent.ptr[i] != '/';)
        tagged |= sent.ptr[i] == ':';
    if (!tagged) /* errors of this route name the tag too */
        a->model = fg_arena_printf(call->arena, "%.*s:latest", FG_STR_ARG(fg_cut64(sent)));
    if (!fg_call_find(call, sent))
        return false; /* the ask may be gone */
    a->model = sent;
    return true;
}

void fg_ollama_show(struct fg_call *call)
{
    if (!fg_parse_body(call, show_fields, sizeof(show_fields) / sizeof(*show_fields), "ShowRequest"))
        return;
    if (call->ask->model.len == 0) {
        struct fg_fault f;
        fg_fault_set(&f, 400, NULL, NULL, NULL, "model is required");
        fg_call_fail(call, &f);
        return;
    }
    if (!find_canonical(call) || (fg_call_is_bare(call) && fg_call_look(call)))
        return;
    bool verbose = call->ask->verbose == FG_FLAG_TRUE;
    struct fg_hub_inspect *handle = fg_hub_inspect(
        call->api->hub, fg_exchange_worker(call->exchange), call->entry->name,
        verbose ? FG_INSPECT_ARRAYS | FG_INSPECT_TENSORS : 0, on_inspected, call);
    if (handle)
        call->inspect = handle;
}
