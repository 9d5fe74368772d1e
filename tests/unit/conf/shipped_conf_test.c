/* The files we ship: every example loads, and fluxgate.yaml shows every key with its default. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "conf/inner.h"
#include "place.h"

#define CONF FG_TEST_DATA "/../conf"

static void every_example_loads(void **state)
{
    (void)state;
    DIR *dir = opendir(CONF "/examples");
    int count = 0;
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir));) {
        char path[1024];
        struct fg_conf *conf = NULL;
        struct fg_error err = {0};
        size_t n = strlen(d->d_name);
        if (n < 6 || strcmp(d->d_name + n - 5, ".yaml") != 0)
            continue;
        snprintf(path, sizeof path, CONF "/examples/%s", d->d_name);
        if (fg_conf_load(path, &conf, &err) != FG_OK)
            fail_msg("%s", err.text);
        fg_conf_free(conf);
        count++;
    }
    closedir(dir);
    assert_true(count >= 4);
}

static void same_text(const char *a, const char *b)
{
    assert_string_equal(a ? a : "(none)", b ? b : "(none)");
}

static void same_list(char *const *a, uint32_t a_count, char *const *b, uint32_t b_count)
{
    assert_int_equal(a_count, b_count);
    for (uint32_t i = 0; i < a_count; i++)
        assert_string_equal(a[i], b[i]);
}

static void the_annotated_file_has_the_built_in_defaults(void **state)
{
    (void)state;
    struct fg_conf *a = NULL, *b = NULL;
    struct fg_error err = {0};
    if (fg_conf_load(CONF "/fluxgate.yaml", &a, &err) != FG_OK)
        fail_msg("%s", err.text);
    assert_int_equal(fg_conf_load(NULL, &b, &err), FG_OK);
    assert_int_equal(a->listen_count, b->listen_count);
    same_text(a->listen[0].address, b->listen[0].address);
    assert_int_equal(a->listen[0].port, b->listen[0].port);
    assert_int_equal(a->workers, b->workers);
    same_text(a->log_path, b->log_path);
    assert_int_equal(a->log_level, b->log_level);
    assert_int_equal(a->log_prompts, b->log_prompts);
    same_text(a->plugin_dir, b->plugin_dir);
    same_list(a->origins, a->origin_count, b->origins, b->origin_count);
    assert_int_equal(a->drain_ms, b->drain_ms);
    assert_memory_equal(&a->limits, &b->limits, sizeof a->limits);
    assert_memory_equal(&a->queue, &b->queue, sizeof a->queue);
    same_list(a->models.directories, a->models.directory_count, b->models.directories,
              b->models.directory_count);
    same_list(a->models.stores, a->models.store_count, b->models.stores, b->models.store_count);
    same_list(a->models.preload, a->models.preload_count, b->models.preload,
              b->models.preload_count);
    same_text(a->models.default_model, b->models.default_model);
    assert_true(a->models.keep_alive_ns == b->models.keep_alive_ns);
    assert_int_equal(a->models.context, b->models.context);
    assert_int_equal(a->models.parallel, b->models.parallel);
    assert_int_equal(a->models.max_loaded, b->models.max_loaded);
    assert_int_equal(a->models.policy, b->models.policy);
    assert_int_equal(a->models.route_count, b->models.route_count);
    assert_int_equal(a->models.alias_count, b->models.alias_count);
    assert_int_equal(a->gpu.enable, b->gpu.enable);
    same_text(a->gpu.library, b->gpu.library);
    assert_int_equal(a->gpu.interval_ms, b->gpu.interval_ms);
    assert_int_equal(a->gpu.history, b->gpu.history);
    assert_int_equal(a->backends[0].gpu_count, b->backends[0].gpu_count);
    assert_int_equal(a->backend_count, b->backend_count);
    same_text(a->backends[0].name, b->backends[0].name);
    same_text(a->backends[0].plugin, b->backends[0].plugin);
    same_text(a->backends[0].config_json, b->backends[0].config_json);
    assert_int_equal(a->backends[0].isolate, b->backends[0].isolate);
    fg_conf_free(a);
    fg_conf_free(b);
}

/* Unlike fg_tree_get(), null counts as shown. */
static const struct fg_tree *child(const struct fg_tree *map, const char *key)
{
    for (const struct fg_tree *c = map ? map->first : NULL; c; c = c->next)
        if (fg_str_is(c->key, key))
            return c;
    return NULL;
}

static void shows_every_key(const struct fg_tree *map, const struct cyaml_schema_field *f)
{
    for (; f->key; f++) {
        const struct fg_tree *c = child(map, f->key);
        if (!c)
            fail_msg("fluxgate.yaml does not show %s (in the map at line %u)", f->key, map->line);
        if (f->value.type == CYAML_MAPPING)
            shows_every_key(c, f->value.mapping.fields);
        /* A list that is empty by default shows the keys of its entries in its comment. */
        if (f->value.type == CYAML_SEQUENCE && f->value.sequence.entry->type == CYAML_MAPPING &&
            c->first)
            shows_every_key(c->first, f->value.sequence.entry->mapping.fields);
    }
}

static void the_annotated_file_shows_every_key(void **state)
{
    (void)state;
    static char text[1 << 16];
    struct fg_arena *arena = fg_arena_open(0, 1 << 22);
    struct fg_tree *root = NULL;
    FILE *f = fopen(CONF "/fluxgate.yaml", "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    assert_int_equal(fg_tree_read("fluxgate.yaml", (struct fg_str){text, n}, arena, &root, NULL),
                     FG_OK);
    shows_every_key(root, fg_conf_schema.mapping.fields);
    fg_arena_close(arena);
}

static void every_number_of_the_schema_has_bounds(void **state)
{
    (void)state;
    static const char *const sections[] = {"limits", "queue", "models", "gpu"};
    for (const struct cyaml_schema_field *f = fg_conf_schema.mapping.fields; f->key; f++) {
        if (f->value.type == CYAML_UINT)
            assert_non_null(fg_conf_bounds_of(f->key));
        for (size_t i = 0; i < 4; i++) {
            if (strcmp(f->key, sections[i]) != 0)
                continue;
            for (const struct cyaml_schema_field *g = f->value.mapping.fields; g->key; g++) {
                char path[80];
                snprintf(path, sizeof path, "%s.%s", f->key, g->key);
                if (g->value.type == CYAML_UINT)
                    assert_non_null(fg_conf_bounds_of(path));
            }
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, drop_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_example_loads),
        TEST(the_annotated_file_has_the_built_in_defaults),
        TEST(the_annotated_file_shows_every_key),
        TEST(every_number_of_the_schema_has_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
