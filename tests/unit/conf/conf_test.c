/* Where each key's value comes from: the file, else the environment, else the default. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "conf/conf.h"
#include "place.h"

static struct fg_conf *load(const char *yaml)
{
    struct fg_conf *conf = NULL;
    struct fg_error err = {0};
    if (yaml)
        write_file(yaml, strlen(yaml));
    int32_t rc = fg_conf_load(yaml ? file : NULL, &conf, &err);
    if (rc != FG_OK)
        fail_msg("%s", err.text);
    return conf;
}

static void fails(const char *text)
{
    struct fg_conf *conf = NULL;
    struct fg_error err = {0};
    assert_int_not_equal(fg_conf_load(NULL, &conf, &err), FG_OK);
    assert_null(conf);
    assert_string_equal(err.text, text);
}

static void without_a_file_everything_has_its_default(void **state)
{
    (void)state;
    char path[160];
    struct fg_conf *c = load(NULL);
    assert_int_equal(c->listen_count, 1);
    assert_string_equal(c->listen[0].address, "127.0.0.1");
    assert_int_equal(c->listen[0].port, 11434);
    assert_int_equal(c->workers, 0);
    assert_null(c->log_path);
    assert_int_equal(c->log_level, FG_LOG_INFO);
    assert_false(c->log_prompts);
    assert_int_equal(c->origin_count, 0);
    assert_int_equal(c->drain_ms, 30000);
    const struct fg_conf_limits *l = &c->limits;
    assert_int_equal(l->connections, 4096);
    assert_int_equal(l->connections_per_address, 1024);
    assert_int_equal(l->head_bytes, 32 << 10);
    assert_int_equal(l->request_line_bytes, 8 << 10);
    assert_int_equal(l->header_count, 100);
    assert_int_equal(l->body_bytes, 32 << 20);
    assert_int_equal(l->head_timeout_ms, 10000);
    assert_int_equal(l->idle_timeout_ms, 60000);
    assert_int_equal(l->body_idle_timeout_ms, 20000);
    assert_int_equal(l->write_timeout_ms, 20000);
    assert_int_equal(l->unsent_bytes, 1 << 20);
    assert_int_equal(c->queue.max_waiting, 512);
    assert_int_equal(c->queue.deadline_ms, 60000);
    assert_int_equal(c->queue.first_token_ms, 600000);
    assert_int_equal(c->queue.request_ms, 3600000);
    assert_int_equal(c->queue.load_timeout_ms, 300000);
    const struct fg_conf_models *m = &c->models;
    snprintf(path, sizeof path, "%s/.local/share/fluxgate/models", place);
    assert_int_equal(m->directory_count, 1);
    assert_string_equal(m->directories[0], path);
    assert_int_equal(m->store_count, 0);
    assert_null(m->default_model);
    assert_int_equal(m->preload_count, 0);
    assert_true(m->keep_alive_ns == 300000000000);
    assert_int_equal(m->context, 0);
    assert_int_equal(m->parallel, 0);
    assert_int_equal(m->max_loaded, 0);
    assert_int_equal(c->backend_count, 1);
    assert_string_equal(c->backends[0].name, "cpu");
    assert_string_equal(c->backends[0].plugin, "cpu");
    assert_true(c->backends[0].isolate);
    assert_string_equal(c->backends[0].config_json, "{}");
    fg_conf_free(c);
    fg_conf_free(NULL);
}

static void plugins_are_looked_up_beside_the_program(void **state)
{
    (void)state;
    struct fg_conf *c = load(NULL); /* this test stands in BUILD/tests */
    assert_string_equal(c->plugin_dir, FG_TEST_BIN "/lib/fluxgate");
    fg_conf_free(c);
    setenv("FLUXGATE_PLUGIN_DIR", "/opt/plugins", 1);
    c = load(NULL);
    assert_string_equal(c->plugin_dir, "/opt/plugins");
    fg_conf_free(c);
    c = load("plugin_dir: /srv/plugins\n");
    assert_string_equal(c->plugin_dir, "/srv/plugins");
    fg_conf_free(c);
}

static void ollamas_store_is_taken_when_it_is_there(void **state)
{
    (void)state;
    char path[160];
    snprintf(path, sizeof path, "%s/.ollama", place);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/.ollama/models", place);
    assert_int_equal(mkdir(path, 0700), 0);
    struct fg_conf *c = load(NULL);
    assert_int_equal(c->models.store_count, 1);
    assert_string_equal(c->models.stores[0], path);
    fg_conf_free(c);
    c = load("models: {stores: []}\n");
    assert_int_equal(c->models.store_count, 0);
    fg_conf_free(c);
}

static void the_file_sets_every_key(void **state)
{
    (void)state;
    struct fg_conf *c = load(
        "listen: [{address: localhost, port: 1}, {address: '::1'}]\n"
        "workers: 3\ndrain_ms: 5\nlog_path: /l\nlog_level: debug\nlog_prompts: true\n"
        "plugin_dir: /p\norigins: ['http://*.lan', b]\n"
        "limits: {connections: 11, connections_per_address: 12, head_bytes: 2000,\n"
        "  request_line_bytes: 1000, header_count: 15, body_bytes: 1616, head_timeout_ms: 117,\n"
        "  idle_timeout_ms: 118, body_idle_timeout_ms: 119, write_timeout_ms: 120, unsent_bytes: "
        "5000}\n"
        "queue: {max_waiting: 22, deadline_ms: 23, first_token_ms: 24, request_ms: 25,\n"
        "  load_timeout_ms: 260}\n"
        "models: {directories: [/a, /b], stores: [/c], default_model: m, preload: [x, y, z],\n"
        "  keep_alive: 1h30m, context: 27, parallel: 28, max_loaded: 29}\n"
        "backends: [{name: one, plugin: /x/y.so, isolate: false, options: {a: 1}}, {name: two},\n"
        "  {name: far, plugin: openai}]\n");
    assert_int_equal(c->listen_count, 2);
    assert_string_equal(c->listen[0].address, "localhost");
    assert_int_equal(c->listen[0].port, 1);
    assert_string_equal(c->listen[1].address, "::1");
    assert_int_equal(c->listen[1].port, 11434);
    assert_int_equal(c->workers, 3);
    assert_int_equal(c->drain_ms, 5);
    assert_string_equal(c->log_path, "/l");
    assert_int_equal(c->log_level, FG_LOG_DEBUG);
    assert_true(c->log_prompts);
    assert_string_equal(c->plugin_dir, "/p");
    assert_int_equal(c->origin_count, 2);
    assert_string_equal(c->origins[0], "http://*.lan");
    const struct fg_conf_limits *l = &c->limits;
    assert_int_equal(l->connections, 11);
    assert_int_equal(l->connections_per_address, 12);
    assert_int_equal(l->head_bytes, 2000);
    assert_int_equal(l->request_line_bytes, 1000);
    assert_int_equal(l->header_count, 15);
    assert_int_equal(l->body_bytes, 1616);
    assert_int_equal(l->head_timeout_ms, 117);
    assert_int_equal(l->idle_timeout_ms, 118);
    assert_int_equal(l->body_idle_timeout_ms, 119);
    assert_int_equal(l->write_timeout_ms, 120);
    assert_int_equal(l->unsent_bytes, 5000);
    assert_int_equal(c->queue.max_waiting, 22);
    assert_int_equal(c->queue.deadline_ms, 23);
    assert_int_equal(c->queue.first_token_ms, 24);
    assert_int_equal(c->queue.request_ms, 25);
    assert_int_equal(c->queue.load_timeout_ms, 260);
    const struct fg_conf_models *m = &c->models;
    assert_int_equal(m->directory_count, 2);
    assert_string_equal(m->directories[1], "/b");
    assert_int_equal(m->store_count, 1);
    assert_string_equal(m->stores[0], "/c");
    assert_string_equal(m->default_model, "m");
    assert_int_equal(m->preload_count, 3);
    assert_string_equal(m->preload[2], "z");
    assert_true(m->keep_alive_ns == 5400000000000);
    assert_int_equal(m->context, 27);
    assert_int_equal(m->parallel, 28);
    assert_int_equal(m->max_loaded, 29);
    assert_int_equal(c->backend_count, 3);
    assert_string_equal(c->backends[0].plugin, "/x/y.so");
    assert_false(c->backends[0].isolate);
    assert_string_equal(c->backends[0].config_json, "{\"a\":1}");
    assert_string_equal(c->backends[1].plugin, "two");
    assert_true(c->backends[1].isolate);
    assert_string_equal(c->backends[1].config_json, "{}");
    assert_false(c->backends[2].isolate);
    fg_conf_free(c);
}

static void cards_and_routes_are_read(void **state)
{
    (void)state;
    struct fg_conf *c =
        load("gpu: {enable: false, library: nvml.so, interval_ms: 250, history: 9}\n"
             "models:\n  policy: cheapest\n"
             "  routes:\n    - {model: 'a*', backends: [y, x], policy: coolest}\n"
             "    - {model: b}\n"
             "  aliases: [{name: n, model: m}]\n"
             "backends: [{name: x, gpus: [0, GPU-1, sm_61]}, {name: y}]\n");
    char library[120];
    snprintf(library, sizeof library, "%s/nvml.so", place);
    assert_false(c->gpu.enable);
    assert_string_equal(c->gpu.library, library);
    assert_int_equal(c->gpu.interval_ms, 250);
    assert_int_equal(c->gpu.history, 9);
    assert_int_equal(c->models.policy, FG_POLICY_CHEAPEST);
    assert_int_equal(c->models.route_count, 2);
    assert_string_equal(c->models.routes[0].model, "a*");
    assert_int_equal(c->models.routes[0].backend_count, 2);
    assert_string_equal(c->models.routes[0].backends[1], "x");
    assert_int_equal(c->models.routes[0].policy, FG_POLICY_COOLEST);
    assert_int_equal(c->models.routes[1].policy, -1);
    assert_string_equal(c->models.aliases[0].name, "n");
    assert_string_equal(c->models.aliases[0].model, "m");
    assert_int_equal(c->backends[0].gpu_count, 3);
    assert_string_equal(c->backends[0].gpus[0], "0");
    assert_int_equal(c->backends[1].gpu_count, 0);
    fg_conf_free(c);
}

static void null_is_the_same_as_left_out(void **state)
{
    (void)state;
    struct fg_conf *c =
        load("listen: null\nworkers: ~\nlog_path: null\nlog_level:\nlog_prompts: null\n"
             "plugin_dir: null\norigins:\nlimits:\nqueue: {deadline_ms: null}\n"
             "models: {directories: null, keep_alive: ~, context: null}\n"
             "backends: null\n");
    assert_int_equal(c->listen[0].port, 11434);
    assert_null(c->log_path);
    assert_int_equal(c->limits.connections, 4096);
    assert_int_equal(c->queue.deadline_ms, 60000);
    assert_int_equal(c->models.directory_count, 1);
    assert_true(c->models.keep_alive_ns == 300000000000);
    assert_string_equal(c->backends[0].name, "cpu");
    fg_conf_free(c);
    c = load("backends: [{name: cpu, plugin: null, isolate: null, options: null}]\n");
    assert_string_equal(c->backends[0].plugin, "cpu");
    assert_string_equal(c->backends[0].config_json, "{}");
    fg_conf_free(c);
}

static void an_empty_file_is_a_good_one(void **state)
{
    (void)state;
    static const char *const files[] = {"", "\n\n", "# nothing\n", "---\n", "{}\n", "null\n"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct fg_conf *c = load(files[i]);
        assert_int_equal(c->limits.connections, 4096);
        fg_conf_free(c);
    }
}

static void paths_are_below_the_home_or_the_file(void **state)
{
    (void)state;
    char path[160];
    struct fg_conf *c =
        load("models: {directories: [~/gguf, models/small, /abs]}\nlog_path: l.txt\n");
    snprintf(path, sizeof path, "%s/gguf", place);
    assert_string_equal(c->models.directories[0], path);
    snprintf(path, sizeof path, "%s/models/small", place);
    assert_string_equal(c->models.directories[1], path);
    assert_string_equal(c->models.directories[2], "/abs");
    snprintf(path, sizeof path, "%s/l.txt", place);
    assert_string_equal(c->log_path, path);
    fg_conf_free(c);
}

static void options_become_one_json_object(void **state)
{
    (void)state;
    struct fg_conf *c = load("backends:\n"
                             "  - name: a\n"
                             "    options:\n"
                             "      int: 12\n"
                             "      minus: -3\n"
                             "      real: 1.5e3\n"
                             "      yes: true\n"
                             "      no: null\n"
                             "      text: \"5\"\n"
                             "      word: yes\n"
                             "      octal: 017\n"
                             "      nan: .nan\n"
                             "      quote: 'a \"b\" \\ \xe2\x82\xac'\n"
                             "      list: [1, {x: y}, []]\n"
                             "      map: {}\n");
    assert_string_equal(c->backends[0].config_json,
                        "{\"int\":12,\"minus\":-3,\"real\":1.5e3,\"yes\":true,\"no\":null,"
                        "\"text\":\"5\",\"word\":\"yes\",\"octal\":\"017\",\"nan\":\".nan\","
                        "\"quote\":\"a \\\"b\\\" \\\\ \xe2\x82\xac\",\"list\":[1,{\"x\":\"y\"},[]],"
                        "\"map\":{}}");
    fg_conf_free(c);
}

static void the_environment_fills_what_is_left_out(void **state)
{
    (void)state;
    setenv("OLLAMA_HOST", "http://[::1]:4711/", 1);
    setenv("OLLAMA_MODELS", " \"/store\" ", 1);
    setenv("OLLAMA_KEEP_ALIVE", "-1", 1);
    setenv("OLLAMA_CONTEXT_LENGTH", "2048", 1);
    setenv("OLLAMA_NUM_PARALLEL", "5", 1);
    setenv("OLLAMA_MAX_QUEUE", "6", 1);
    setenv("OLLAMA_MAX_LOADED_MODELS", "7", 1);
    setenv("OLLAMA_LOAD_TIMEOUT", "2m", 1);
    setenv("OLLAMA_ORIGINS", "http://a.b, ,https://*.c", 1);
    setenv("FLUXGATE_MODELS", "/m1:/m2", 1);
    struct fg_conf *c = load("log_level: warn\n");
    assert_string_equal(c->listen[0].address, "::1");
    assert_int_equal(c->listen[0].port, 4711);
    assert_string_equal(c->models.stores[0], "/store");
    assert_true(c->models.keep_alive_ns == -1);
    assert_int_equal(c->models.context, 2048);
    assert_int_equal(c->models.parallel, 5);
    assert_int_equal(c->queue.max_waiting, 6);
    assert_int_equal(c->models.max_loaded, 7);
    assert_int_equal(c->queue.load_timeout_ms, 120000);
    assert_int_equal(c->origin_count, 2);
    assert_string_equal(c->origins[0], "http://a.b");
    assert_string_equal(c->origins[1], "https://*.c");
    assert_int_equal(c->models.directory_count, 2);
    assert_string_equal(c->models.directories[1], "/m2");
    fg_conf_free(c);
    setenv("FLUXGATE_HOST", "localhost", 1);
    setenv("FLUXGATE_PORT", "4712", 1);
    c = load(NULL);
    assert_string_equal(c->listen[0].address, "localhost");
    assert_int_equal(c->listen[0].port, 4712);
    fg_conf_free(c);
}

static void the_file_is_stronger_than_the_environment(void **state)
{
    (void)state;
    setenv("OLLAMA_HOST", "0.0.0.0:1", 1); /* not even looked at: listen is given */
    setenv("FLUXGATE_PORT", "4713", 1);
    setenv("OLLAMA_MODELS", "/store", 1);
    setenv("OLLAMA_KEEP_ALIVE", "nonsense", 1);
    setenv("OLLAMA_CONTEXT_LENGTH", "2048", 1);
    setenv("OLLAMA_MAX_QUEUE", "6", 1);
    setenv("OLLAMA_ORIGINS", "http://a.b", 1);
    setenv("FLUXGATE_MODELS", "/m1", 1);
    struct fg_conf *c =
        load("listen: [{port: 5}, {address: 127.0.0.2}]\norigins: []\n"
             "queue: {max_waiting: 0}\n"
             "models: {directories: [], stores: [/s], keep_alive: 0, context: 0}\n");
    assert_int_equal(c->listen[0].port, 5);
    assert_int_equal(c->listen[1].port, 4713);
    assert_int_equal(c->origin_count, 0);
    assert_int_equal(c->queue.max_waiting, 0);
    assert_int_equal(c->models.directory_count, 0);
    assert_string_equal(c->models.stores[0], "/s");
    assert_true(c->models.keep_alive_ns == 0);
    assert_int_equal(c->models.context, 0);
    fg_conf_free(c);
}

static void an_empty_variable_is_none(void **state)
{
    (void)state;
    setenv("OLLAMA_HOST", "", 1);
    setenv("FLUXGATE_HOST", "  ", 1);
    setenv("FLUXGATE_PORT", "\"\"", 1);
    setenv("OLLAMA_KEEP_ALIVE", "", 1);
    setenv("FLUXGATE_MODELS", "", 1);
    struct fg_conf *c = load(NULL);
    assert_int_equal(c->listen[0].port, 11434);
    assert_int_equal(c->models.directory_count, 1);
    fg_conf_free(c);
}

static void a_bad_variable_is_named(void **state)
{
    (void)state;
    setenv("OLLAMA_HOST", "0.0.0.0", 1);
    fails(
        "OLLAMA_HOST: \"0.0.0.0\" is not a loopback address; without API keys Fluxgate serves this "
        "machine only: 127.0.0.1, ::1 or localhost");
    setenv("OLLAMA_HOST", "ftp://x", 1);
    fails("OLLAMA_HOST: \"ftp://x\": the scheme must be http or https");
    setenv("OLLAMA_HOST", "127.0.0.1:x", 1);
    fails("OLLAMA_HOST: \"127.0.0.1:x\": the port must be a number from 0 to 65535");
    unsetenv("OLLAMA_HOST");
    setenv("FLUXGATE_PORT", "65536", 1);
    fails("FLUXGATE_PORT: a whole number from 0 to 65535 is expected, not \"65536\"");
    unsetenv("FLUXGATE_PORT");
    setenv("OLLAMA_KEEP_ALIVE", "5x", 1);
    fails("OLLAMA_KEEP_ALIVE: time: unknown unit \"x\" in duration \"5x\"");
    unsetenv("OLLAMA_KEEP_ALIVE");
    setenv("OLLAMA_NUM_PARALLEL", "-1", 1);
    fails("OLLAMA_NUM_PARALLEL: a whole number from 0 to 256 is expected, not \"-1\"");
    unsetenv("OLLAMA_NUM_PARALLEL");
    setenv("OLLAMA_ORIGINS", "http://a b", 1);
    fails("OLLAMA_ORIGINS: an origin has no blanks and no other than ASCII characters");
    unsetenv("OLLAMA_ORIGINS");
    setenv("OLLAMA_LOAD_TIMEOUT", "soon", 1);
    fails("OLLAMA_LOAD_TIMEOUT: time: invalid duration \"soon\"");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, drop_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_file_everything_has_its_default),
        TEST(plugins_are_looked_up_beside_the_program),
        TEST(ollamas_store_is_taken_when_it_is_there),
        TEST(the_file_sets_every_key),
        TEST(cards_and_routes_are_read),
        TEST(null_is_the_same_as_left_out),
        TEST(an_empty_file_is_a_good_one),
        TEST(paths_are_below_the_home_or_the_file),
        TEST(options_become_one_json_object),
        TEST(the_environment_fills_what_is_left_out),
        TEST(the_file_is_stronger_than_the_environment),
        TEST(an_empty_variable_is_none),
        TEST(a_bad_variable_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
