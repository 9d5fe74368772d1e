/* The contract's table over toy parts: opening, loading, sharing a machine, giving all back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fluxgate/ext/inspect.h>

#include "../sched/toy.h"
#include "engine/plugin.h"
#include "toy_parts.h"

static const struct fg_plugin *const plugin = &fg_engine_plugin_table;

static void quiet(const struct fg_host *host, int32_t level, struct fg_str text)
{
    (void)host;
    (void)level;
    (void)text;
}
static const struct fg_host host = {
    .size = sizeof host, .abi = FG_ABI, .emit = toy_emit, .log = quiet};

static struct fg_backend *open_backend(const char *config)
{
    struct fg_backend *b = NULL;
    struct fg_error err = {0};
    toy_reset();
    if (plugin->open(&host, fg_str_of(config), &b, &err) != FG_OK)
        fail_msg("open: %s", err.text);
    return b;
}

static void close_backend(struct fg_backend *b)
{
    plugin->close(b);
    assert_int_equal(toy_parts.devices, 0);
    assert_int_equal(toy_parts.files, 0);
    assert_int_equal(toy_parts.vocabs, 0);
    assert_int_equal(toy_parts.templates, 0);
}

static float last_progress;
static void on_progress(void *ctx, float fraction)
{
    *(float *)ctx = fraction;
}

static struct fg_model *load(struct fg_backend *b, const char *path, uint32_t context,
                             uint32_t slots)
{
    struct fg_model *m = NULL;
    struct fg_error err = {0};
    const struct fg_model_spec spec = {.size = sizeof spec,
                                       .name = fg_str_of(path),
                                       .path = fg_str_of(path),
                                       .context = context,
                                       .max_running = slots,
                                       .progress = on_progress,
                                       .progress_ctx = &last_progress};
    if (plugin->load(b, &spec, &m, &err) != FG_OK)
        fail_msg("load: %s", err.text);
    return m;
}

static void keep_info(void *ctx, const struct fg_model_info *info)
{
    *(struct fg_model_info *)ctx = *info;
}

static struct fg_model_info info_of(struct fg_model *m)
{
    struct fg_model_info info = {0};
    plugin->info(m, keep_info, &info);
    return info;
}

static void no_function_is_missing(void **state)
{
    (void)state;
    assert_int_equal(plugin->size, sizeof *plugin);
    assert_int_equal(plugin->abi, FG_ABI);
    assert_true(plugin->open && plugin->close && plugin->device && plugin->list && plugin->load &&
                plugin->info && plugin->unload && plugin->submit && plugin->resume &&
                plugin->cancel && plugin->release && plugin->metrics && plugin->extension);
}

static void sizes_come_from_spec_then_config_then_model(void **state)
{
    (void)state;
    struct fg_backend *b = open_backend("");
    struct fg_model *m = load(b, "toy", 0, 0);
    struct fg_model_info info = info_of(m);
    assert_int_equal(info.context, 2048); /* of training, below the default of 4096 */
    assert_int_equal(info.max_running, 8);
    assert_int_equal(info.embedding, TOY_WIDTH);
    assert_int_equal(info.memory_bytes, 1000);
    assert_true(fg_str_is(info.quantization, "Q8_0"));
    assert_true(fg_str_is(info.family, "toy"));
    assert_true(fg_str_is(info.device, "toy device"));
    assert_true(last_progress == 0.5f);
    plugin->unload(m);
    close_backend(b);
    b = open_backend("{\"context\":300,\"slots\":2,\"threads\":1}");
    m = load(b, "toy", 0, 0);
    info = info_of(m);
    assert_int_equal(info.context, 300);
    assert_int_equal(info.max_running, 2);
    plugin->unload(m);
    m = load(b, "toy", 100000, 3); /* more than the model can: what it can */
    info = info_of(m);
    assert_int_equal(info.context, 2048);
    assert_int_equal(info.max_running, 3);
    plugin->unload(m);
    close_backend(b);
}

static void a_failed_load_leaves_nothing(void **state)
{
    (void)state;
    struct fg_backend *b = open_backend("{}");
    static const struct {
        const char *path, *options, *naming;
        int32_t status;
    } bad[] = {
        {"other", "", "other", FG_NOT_FOUND},
        {"toy-badvocab", "", "toy2", FG_UNSUPPORTED},
        {"toy-badnet", "", "architecture", FG_UNSUPPORTED},
        {"toy", "{\"gpu_layers\":3}", "gpu_layers", FG_UNSUPPORTED},
        {"toy", "[", "JSON", FG_INVALID},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fg_model *m = NULL;
        struct fg_error err = {0};
        const struct fg_model_spec spec = {.size = sizeof spec,
                                           .name = FG_STR("x"),
                                           .path = fg_str_of(bad[i].path),
                                           .options_json = fg_str_of(bad[i].options)};
        assert_int_equal(plugin->load(b, &spec, &m, &err), bad[i].status);
        assert_null(m);
        if (!strstr(err.text, bad[i].naming))
            fail_msg("\"%s\" does not name \"%s\"", err.text, bad[i].naming);
        assert_int_equal(toy_parts.devices, 1);
        assert_int_equal(toy_parts.files, 0);
    }
    close_backend(b);
    struct fg_backend *none = NULL;
    assert_int_equal(plugin->open(&host, FG_STR("{\"broken\":true}"), &none, NULL), FG_DEVICE_LOST);
    assert_null(none);
}

static void run_with(struct fg_model *m, struct toy_stream *s, const struct fg_request *req)
{
    struct fg_job *job = NULL;
    struct fg_error err = {0};
    if (plugin->submit(m, req, (struct fg_stream *)(void *)s, &job, &err) != FG_OK)
        fail_msg("submit: %s", err.text);
    toy_wait(s);
    plugin->release(job);
}

static void submit_refuses_at_once(void **state)
{
    (void)state;
    struct fg_backend *b = open_backend("{\"slots\":1}");
    struct fg_model *m = load(b, "toy", 256, 0);
    struct toy_ask ask;
    struct toy_stream s;
    struct fg_job *job = NULL, *other = NULL;
    toy_ask(&ask, FG_STR("x"), 5);
    toy_stream_init(&s);
    ask.req.schema_json = FG_STR("{}");
    assert_int_equal(plugin->submit(m, &ask.req, (struct fg_stream *)(void *)&s, &job, NULL),
                     FG_UNSUPPORTED);
    assert_null(job);
    ask.req.schema_json = FG_STR("");
    toy.layer_us = 2000;
    assert_int_equal(plugin->submit(m, &ask.req, (struct fg_stream *)(void *)&s, &job, NULL),
                     FG_OK);
    assert_int_equal(plugin->submit(m, &ask.req, (struct fg_stream *)(void *)&s, &other, NULL),
                     FG_BUSY);
    toy_wait(&s);
    plugin->release(job);
    toy_stream_done(&s);
    plugin->unload(m);
    close_backend(b);
}

static void the_models_own_defaults_apply(void **state)
{
    (void)state;
    struct fg_backend *b = open_backend("{}");
    struct fg_model *m = load(b, "toy-greedy", 256, 0);
    struct toy_ask ask;
    struct toy_stream s;
    struct fg_buf want = {0};
    toy_ask(&ask, FG_STR("default"), 40);
    ask.req.sampling = NULL; /* general.sampling.temp of the file is 0 */
    toy_stream_init(&s);
    run_with(m, &s, &ask.req);
    toy_expect(&want, ask.input, true, 40);
    assert_int_equal(s.text[0].len, want.len);
    assert_memory_equal(s.text[0].ptr, want.ptr, want.len);
    fg_buf_done(&want);
    toy_stream_done(&s);
    plugin->unload(m);
    close_backend(b);
}

static void pooling_is_the_files(void **state)
{
    (void)state;
    struct fg_backend *b = open_backend("{}");
    struct fg_model *m = load(b, "toy-last", 256, 0);
    const struct fg_str input = FG_STR("abc");
    const struct fg_request req = {
        .size = sizeof req, .op = FG_OP_EMBED, .inputs = &input, .input_count = 1};
    struct toy_stream s;
    toy_stream_init(&s);
    run_with(m, &s, &req);
    assert_true(s.values[0][1] == 'c' + 2.0f); /* the last position's state alone */
    toy_stream_done(&s);
    plugin->unload(m);
    close_backend(b);
}

static void a_template_that_does_not_compile_fails_chats_only(void **state)
{
    (void)state;
    struct fg_backend *b = open_backend("{}");
    struct fg_model *m = load(b, "toy-badtemplate", 256, 0);
    const struct fg_part part = {.data = FG_STR("hi")};
    const struct fg_message message = {FG_ROLE_USER, 1, &part};
    const struct fg_request chat = {
        .size = sizeof chat, .op = FG_OP_CHAT, .messages = &message, .message_count = 1};
    struct toy_stream s;
    struct toy_ask ask;
    toy_stream_init(&s);
    run_with(m, &s, &chat);
    assert_int_equal(s.code, FG_INVALID);
    assert_string_equal(s.reason, "chat template failed: line 1: unexpected end");
    toy_stream_done(&s);
    toy_ask(&ask, FG_STR("x"), 3);
    toy_stream_init(&s);
    run_with(m, &s, &ask.req);
    assert_false(s.failed);
    toy_stream_done(&s);
    plugin->unload(m);
    close_backend(b);
}

struct metric {
    double rows, output, jobs;
    uint32_t count;
    char labels[64];
};
static void on_metric(void *ctx, const char *name, const char *labels, double value)
{
    struct metric *m = ctx;
    m->count++;
    snprintf(m->labels, sizeof m->labels, "%s", labels);
    if (strcmp(name, "engine_rows_total") == 0)
        m->rows += value;
    if (strcmp(name, "engine_output_tokens_total") == 0)
        m->output += value;
}

static void two_models_and_two_instances_work_side_by_side(void **state)
{
    (void)state;
    struct fg_backend *b[2] = {open_backend("{}"), open_backend("{}")};
    struct fg_model *m[3] = {load(b[0], "toy", 256, 0), load(b[0], "toy-\"two\"", 256, 0),
                             load(b[1], "toy", 256, 0)};
    struct toy_ask ask[3];
    struct toy_stream s[3];
    struct fg_job *job[3];
    for (int i = 0; i < 3; i++) {
        toy_ask(&ask[i], FG_STR("side by side"), 60);
        toy_stream_init(&s[i]);
        assert_int_equal(
            plugin->submit(m[i], &ask[i].req, (struct fg_stream *)(void *)&s[i], &job[i], NULL),
            FG_OK);
    }
    for (int i = 0; i < 3; i++) {
        toy_wait(&s[i]);
        plugin->release(job[i]);
        assert_int_equal(s[i].usage.output_tokens, 60);
        assert_int_equal(s[i].text[0].len, s[0].text[0].len);
        assert_memory_equal(s[i].text[0].ptr, s[0].text[0].ptr, s[0].text[0].len);
    }
    for (int i = 0; i < 3; i++)
        toy_stream_done(&s[i]);
    plugin->unload(m[0]);
    struct metric seen = {0};
    for (int i = 0; i < 500 && seen.output != 60; i++) { /* published just after the last event */
        seen = (struct metric){0};
        plugin->metrics(b[0], on_metric, &seen);
    }
    assert_true(seen.output == 60);
    assert_true(seen.rows >= 72);
    assert_string_equal(seen.labels, "model=\"toy-_two_\"");
    plugin->unload(m[1]);
    plugin->unload(m[2]);
    plugin->close(b[1]);
    close_backend(b[0]);
}

static void keep_json(void *ctx, struct fg_str text)
{
    *(json_t **)ctx = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
}

static void inspect_says_what_it_can_and_why_not(void **state)
{
    (void)state;
    struct fg_backend *b = open_backend("{}");
    const struct fg_inspect *ext = plugin->extension(b, FG_EXT_INSPECT);
    assert_non_null(ext);
    json_t *json = NULL;
    assert_int_equal(ext->inspect(b, FG_STR("toy"), FG_INSPECT_TENSORS, keep_json, &json, NULL),
                     FG_OK);
    assert_true(json_integer_value(json_object_get(json, "can")) & FG_CAN_EMBED);
    const json_t *info = json_object_get(json, "info");
    assert_int_equal(json_integer_value(json_object_get(info, "parameters")), 192);
    assert_int_equal(json_integer_value(json_object_get(info, "embedding")), TOY_WIDTH);
    assert_true(json_is_null(json_object_get(info, "license")));
    assert_int_equal(json_array_size(json_object_get(json, "tensors")), 1);
    assert_true(json_is_false(json_object_get(json_object_get(json, "metadata"), "arrays")));
    json_decref(json);
    json = NULL;
    assert_int_equal(ext->inspect(b, FG_STR("toy-badnet"), 0, keep_json, &json, NULL), FG_OK);
    assert_int_equal(json_integer_value(json_object_get(json, "can")), 0);
    assert_string_equal(json_string_value(json_object_get(json, "why")),
                        "architecture \"x\" is not known");
    assert_null(json_object_get(json, "tensors"));
    json_decref(json);
    assert_int_equal(ext->inspect(b, FG_STR("none"), 0, keep_json, &json, NULL), FG_NOT_FOUND);
    close_backend(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_function_is_missing),
        cmocka_unit_test(sizes_come_from_spec_then_config_then_model),
        cmocka_unit_test(a_failed_load_leaves_nothing),
        cmocka_unit_test(submit_refuses_at_once),
        cmocka_unit_test(the_models_own_defaults_apply),
        cmocka_unit_test(pooling_is_the_files),
        cmocka_unit_test(a_template_that_does_not_compile_fails_chats_only),
        cmocka_unit_test(two_models_and_two_instances_work_side_by_side),
        cmocka_unit_test(inspect_says_what_it_can_and_why_not),
    };
    return cmocka_run_group_tests_name("engine/plugin", tests, NULL, NULL);
}
