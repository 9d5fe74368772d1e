/* Bad files: one message each, with file, line, path, and what was expected. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "conf/conf.h"
#include "conf/tree.h"
#include "place.h"

/* expected: what stands behind "<file>:" */
static void refused_n(const char *yaml, size_t len, const char *expected)
{
    struct fg_conf *conf = NULL;
    struct fg_error err = {0};
    char text[400];
    write_file(yaml, len);
    snprintf(text, sizeof text, "%s:%s", file, expected);
    assert_int_equal(fg_conf_load(file, &conf, &err), FG_INVALID);
    assert_null(conf);
    assert_string_equal(err.text, text);
}

static void refused(const char *yaml, const char *expected)
{
    refused_n(yaml, strlen(yaml), expected);
}

static void unknown_keys_are_refused_and_the_likely_one_is_named(void **state)
{
    (void)state;
    refused("workers: 1\ncolour: red\n", "2: colour: unknown key");
    refused("limits:\n  conections: 5\n",
            "2: limits.conections: unknown key; is \"connections\" meant?");
    refused("backends: [{name: a, isolated: true}]\n",
            "1: backends[0].isolated: unknown key; is \"isolate\" meant?");
    refused("Workers: 1\n", "1: Workers: unknown key; is \"workers\" meant?");
}

static void a_whole_number_is_decimal_and_plain(void **state)
{
    (void)state;
    static const char *const bad[] = {"abc", "1.5", "-1",    "+1",   "0x10",
                                      "010", "1e3", "1_000", "true", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char yaml[80], expected[160];
        snprintf(yaml, sizeof yaml, "queue:\n  max_waiting: %s\n", bad[i]);
        snprintf(expected, sizeof expected,
                 "2: queue.max_waiting: a whole number from 0 to 65536 is expected, not \"%s\"",
                 bad[i]);
        refused(yaml, expected);
    }
    refused("workers: \"4\"\n", "1: workers: a whole number from 0 to 256 is expected, not \"4\"");
    refused("workers: [4]\n", "1: workers: a whole number is expected, not a list");
    refused("workers: {a: 4}\n", "1: workers: a whole number is expected, not a map");
}

static void every_number_has_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *section, *key;
        unsigned long long least, most;
    } rows[] = {
        {"", "workers", 0, 256},
        {"", "drain_ms", 0, 600000},
        {"limits", "connections", 1, 65536},
        {"limits", "connections_per_address", 1, 65536},
        {"limits", "head_bytes", 1024, 262144},
        {"limits", "request_line_bytes", 256, 65536},
        {"limits", "header_count", 4, 1000},
        {"limits", "body_bytes", 1024, 268435456},
        {"limits", "head_timeout_ms", 50, 120000},
        {"limits", "idle_timeout_ms", 50, 3600000},
        {"limits", "body_idle_timeout_ms", 50, 600000},
        {"limits", "write_timeout_ms", 50, 600000},
        {"limits", "unsent_bytes", 4096, 67108864},
        {"queue", "max_waiting", 0, 65536},
        {"queue", "deadline_ms", 10, 3600000},
        {"queue", "first_token_ms", 0, 86400000},
        {"queue", "request_ms", 0, 86400000},
        {"queue", "load_timeout_ms", 100, 3600000},
        {"models", "context", 0, 16777216},
        {"models", "parallel", 0, 256},
        {"models", "max_loaded", 0, 64},
        {"gpu", "interval_ms", 100, 60000},
        {"gpu", "history", 0, 86400},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool top = !*rows[i].section;
        for (int above = 0; above < 2; above++) {
            unsigned long long good = above ? rows[i].most : rows[i].least;
            unsigned long long bad = above ? good + 1 : good - 1;
            char yaml[120], expected[240];
            struct fg_conf *conf = NULL;
            snprintf(yaml, sizeof yaml, top ? "%s%s: %llu\n" : "%s: {%s: %llu}\n", rows[i].section,
                     rows[i].key, good);
            write_file(yaml, strlen(yaml));
            assert_int_equal(fg_conf_load(file, &conf, NULL), FG_OK);
            fg_conf_free(conf);
            if (!above && !good)
                continue; /* there is nothing below zero but "-1" */
            snprintf(yaml, sizeof yaml, top ? "%s%s: %llu\n" : "%s: {%s: %llu}\n", rows[i].section,
                     rows[i].key, bad);
            snprintf(expected, sizeof expected,
                     "1: %s%s%s: a whole number from %llu to %llu is expected, not \"%llu\"",
                     rows[i].section, top ? "" : ".", rows[i].key, rows[i].least, rows[i].most,
                     bad);
            refused(yaml, expected);
        }
    }
    refused("listen: [{port: 65536}]\n",
            "1: listen[0].port: a whole number from 0 to 65535 is expected, not \"65536\"");
}

static void a_bool_is_true_or_false(void **state)
{
    (void)state;
    refused("log_prompts: yes\n", "1: log_prompts: true or false is expected, not \"yes\"");
    refused("log_prompts: \"true\"\n", "1: log_prompts: true or false is expected, not \"true\"");
    refused("log_prompts: 1\n", "1: log_prompts: true or false is expected, not \"1\"");
    refused("log_prompts: []\n", "1: log_prompts: a bool is expected, not a list");
}

static void a_level_is_one_of_four(void **state)
{
    (void)state;
    refused("log_level: verbose\n",
            "1: log_level: one of error, warn, info, debug is expected, not \"verbose\"");
    refused("log_level: 2\n",
            "1: log_level: one of error, warn, info, debug is expected, not \"2\"");
    refused("log_level: {}\n", "1: log_level: a word is expected, not a map");
}

static void containers_are_not_mixed_up(void **state)
{
    (void)state;
    refused("limits: []\n", "1: limits: a map is expected, not a list");
    refused("limits: 5\n", "1: limits: a map is expected, not \"5\"");
    refused("origins: a\n", "1: origins: a list is expected, not \"a\"");
    refused("origins: [[a]]\n", "1: origins[0]: a text is expected, not a list");
    refused("origins: [a, null]\n", "1: origins[1]: a text is expected, not \"null\"");
    refused("backends: {cpu: {}}\n", "1: backends: a list is expected, not a map");
    refused("backends: [cpu]\n", "1: backends[0]: a map is expected, not \"cpu\"");
    refused("backends: [{name: a, options: [1]}]\n",
            "1: backends[0].options: a map is expected, not a list");
    refused("- a\n", "1: a map is expected, not a list");
    refused("text\n", "1: a map is expected, not \"text\"");
}

static void lists_have_a_length(void **state)
{
    (void)state;
    char yaml[1024] = "models: {preload: [a";
    refused("listen: []\n", "1: listen: a list of 1 to 16 is expected, not of 0");
    refused("backends: []\n", "1: backends: a list of 1 to 16 is expected, not of 0");
    for (int i = 0; i < 64; i++)
        strncat(yaml, ", a", sizeof yaml - strlen(yaml) - 1);
    strncat(yaml, "]}\n", sizeof yaml - strlen(yaml) - 1);
    refused(yaml, "1: models.preload: a list of 0 to 64 is expected, not of 65");
}

static void texts_have_a_length(void **state)
{
    (void)state;
    char yaml[1200];
    refused("log_path: \"\"\n", "1: log_path: a text of 1 to 1024 bytes is expected, not of 0");
    int n = snprintf(yaml, sizeof yaml, "log_path: ");
    memset(yaml + n, 'a', 1025);
    memcpy(yaml + n + 1025, "\n", 2);
    refused(yaml, "1: log_path: a text of 1 to 1024 bytes is expected, not of 1025");
}

static void policies_and_routes_name_what_there_is(void **state)
{
    (void)state;
    refused("models: {policy: nicest}\n", "1: models.policy: one of prefer, coolest, fastest, "
                                          "cheapest is expected, not \"nicest\"");
    refused("models: {routes: [{backends: [cpu]}]}\n", "1: models.routes[0]: \"model\" is missing");
    refused(
        "models:\n  routes:\n    - {model: a, backends: [cpu]}\n    - {model: b, backends: [x]}\n",
        "4: models.routes[1].backends: \"x\" is no backend of this file");
    refused("models: {routes: [{model: a, backends: [cpu]}]}\nbackends: [{name: gpu0}]\n",
            "1: models.routes[0].backends: \"cpu\" is no backend of this file");
    refused("models: {aliases: [{name: a}]}\n", "1: models.aliases[0]: \"model\" is missing");
    refused("backends: [{name: a, gpus: 0}]\n",
            "1: backends[0].gpus: a list is expected, not \"0\"");
    refused("gpu: {enable: 1}\n", "1: gpu.enable: true or false is expected, not \"1\"");
}

static void only_loopback_addresses_may_listen(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "0.0.0.0",   "192.168.1.5", "::",    "10.0.0.1",        "example.com",
        "128.0.0.1", "127.0.0.1 ",  "127.1", "::ffff:127.0.0.1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char yaml[100], expected[240];
        snprintf(yaml, sizeof yaml, "listen:\n- port: 1\n- address: \"%s\"\n", bad[i]);
        snprintf(
            expected, sizeof expected,
            "3: listen[1].address: \"%s\" is not a loopback address; without API keys Fluxgate "
            "serves this machine only: 127.0.0.1, ::1 or localhost",
            bad[i]);
        refused(yaml, expected);
    }
}

static void keep_alive_is_a_go_duration(void **state)
{
    (void)state;
    refused("models: {keep_alive: soon}\n",
            "1: models.keep_alive: time: invalid duration \"soon\"");
    refused("models: {keep_alive: 1.5}\n",
            "1: models.keep_alive: time: missing unit in duration \"1.5\"");
}

static void backends_have_names_of_their_own(void **state)
{
    (void)state;
    refused("backends:\n- plugin: cpu\n", "2: backends[0]: \"name\" is missing");
    refused("backends:\n- name: null\n", "2: backends[0].name: a text is expected, not \"null\"");
    refused("backends:\n- name: Cpu\n",
            "2: backends[0].name: only a to z, 0 to 9 and '-' make a name");
    refused("backends:\n- name: a\n- name: a\n",
            "3: backends[1].name: \"a\" is the name of another backend");
    refused(
        "backends:\n- {name: a, plugin: ../x}\n",
        "2: backends[0].plugin: the name of a module or the absolute path of a .so is expected");
    refused(
        "backends:\n- {name: a, plugin: x.so}\n",
        "2: backends[0].plugin: the name of a module or the absolute path of a .so is expected");
}

static void origins_are_plain(void **state)
{
    (void)state;
    refused("origins: [\"http://a b\"]\n",
            "1: origins[0]: an origin has no blanks and no other than ASCII characters");
}

static void keys_stand_once(void **state)
{
    (void)state;
    refused("workers: 1\nworkers: 2\n", "2: workers: the key stands twice");
    refused("queue:\n  deadline_ms: 20\n  \"deadline_ms\": 20\n",
            "3: queue.deadline_ms: the key stands twice");
    refused("backends: [{name: a, options: {x: {y: 1, y: 2}}}]\n",
            "1: backends[0].options.x.y: the key stands twice");
}

static void what_yaml_can_and_we_do_not_is_refused(void **state)
{
    (void)state;
    refused("workers: &a 1\n", "1: workers: anchors, aliases and tags are not used here");
    refused("origins: [&a x, *a]\n", "1: origins: anchors, aliases and tags are not used here");
    refused("workers: !!int 1\n", "1: workers: anchors, aliases and tags are not used here");
    refused("a: {<<: *b}\n", "1: a.<<: anchors, aliases and tags are not used here");
    refused("workers: 1\n---\nworkers: 2\n", "2: a second document");
    refused("? [a]\n: b\n", "1: a key must be a plain word");
    refused("limits: {{a: b}: c}\n", "1: limits: a key must be a plain word");
    refused("log_path: \"a\\0b\"\n", "1: log_path: a NUL character");
}

static void syntax_errors_name_the_line(void **state)
{
    (void)state;
    refused("workers: 1\nlimits: [\n", "3: not YAML: did not find expected node content");
    refused("a: b: c\n", "1: not YAML: mapping values are not allowed in this context");
    refused("workers: 1\n\tqueue: 1\n",
            "2: not YAML: found a tab character that violates indentation");
    refused("log_path: \"open\n", "2: not YAML: found unexpected end of stream");
    refused("log_path: \xff\n", "1: not YAML: invalid leading UTF-8 octet");
    refused_n("workers: 1\n\0\n", 13, "2: not YAML: control characters are not allowed");
}

static void depth_and_number_are_limited(void **state)
{
    (void)state;
    static char yaml[400000];
    size_t n = (size_t)snprintf(yaml, sizeof yaml, "backends: [{name: a, options: {x: ");
    for (int i = 0; i < 20; i++)
        yaml[n++] = '[';
    for (int i = 0; i < 20; i++)
        yaml[n++] = ']';
    yaml[n] = '\0';
    strncat(yaml, "}}]\n", 8);
    write_file(yaml, strlen(yaml));
    struct fg_conf *conf = NULL;
    struct fg_error err;
    assert_int_equal(fg_conf_load(file, &conf, &err), FG_INVALID);
    assert_non_null(strstr(err.text, ": nested too deep"));
    n = (size_t)snprintf(yaml, sizeof yaml, "origins: [");
    for (int i = 0; i < FG_TREE_MAX_NODES; i++) {
        yaml[n++] = 'a';
        yaml[n++] = ',';
    }
    memcpy(yaml + n, "a]\n", 4);
    refused(yaml, "1: origins: too many values");
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    struct fg_conf *conf = NULL;
    struct fg_error err;
    char text[200];
    assert_int_equal(fg_conf_load("/nowhere.yaml", &conf, &err), FG_INVALID);
    assert_string_equal(err.text, "/nowhere.yaml: cannot be read: No such file or directory");
    assert_int_equal(fg_conf_load("/tmp", &conf, &err), FG_INVALID);
    assert_string_equal(err.text, "/tmp: not a regular file");
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_int_equal(fg_conf_load(file, &conf, &err), FG_INVALID);
    snprintf(text, sizeof text, "%s: not a regular file", file);
    assert_string_equal(err.text, text);
    unlink(file);
    static char big[FG_TREE_MAX_BYTES + 2];
    memset(big, '#', sizeof big);
    write_file(big, sizeof big);
    assert_int_equal(fg_conf_load(file, &conf, &err), FG_INVALID);
    snprintf(text, sizeof text, "%s: more than 1024 KiB", file);
    assert_string_equal(err.text, text);
}

static void what_is_echoed_is_short_and_printable(void **state)
{
    (void)state;
    refused("workers: \"a\\e[2J\\n\"\n",
            "1: workers: a whole number from 0 to 256 is expected, not \"a?[2J?\"");
    char yaml[300] = "log_level: ";
    memset(yaml + 11, 'x', 200);
    write_file(yaml, 211);
    struct fg_conf *conf = NULL;
    struct fg_error err;
    assert_int_equal(fg_conf_load(file, &conf, &err), FG_INVALID);
    const char *echoed = strchr(err.text, '"');
    assert_non_null(echoed);
    assert_int_equal(strlen(echoed), 66);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, drop_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unknown_keys_are_refused_and_the_likely_one_is_named),
        TEST(a_whole_number_is_decimal_and_plain),
        TEST(every_number_has_bounds),
        TEST(a_bool_is_true_or_false),
        TEST(a_level_is_one_of_four),
        TEST(containers_are_not_mixed_up),
        TEST(lists_have_a_length),
        TEST(texts_have_a_length),
        TEST(policies_and_routes_name_what_there_is),
        TEST(only_loopback_addresses_may_listen),
        TEST(keep_alive_is_a_go_duration),
        TEST(backends_have_names_of_their_own),
        TEST(origins_are_plain),
        TEST(keys_stand_once),
        TEST(what_yaml_can_and_we_do_not_is_refused),
        TEST(syntax_errors_name_the_line),
        TEST(depth_and_number_are_limited),
        TEST(a_file_that_cannot_be_read_is_named),
        TEST(what_is_echoed_is_short_and_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
