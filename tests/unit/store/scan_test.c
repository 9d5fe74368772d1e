/* Scans of directories and stores that somebody hostile has written to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "obs/log.h"
#include "store/scan.h"

/* The lines of the log are not looked at here. */
void fg_log(int32_t level, const char *event, const char *format, ...)
{
    (void)level;
    (void)event;
    (void)format;
}
const char *fg_log_quote(struct fg_str text, char *out, size_t room)
{
    snprintf(out, room, "%.*s", FG_STR_ARG(text));
    return out;
}

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEX_C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define MODEL                                                                                      \
    "{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:" HEX_A             \
    "\",\"size\":4}"

static char root[64];

static void put(const char *path, const char *text)
{
    char whole[600];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *f = fopen(whole, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "%s/fg-scan-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static struct fg_store_list scan(bool store)
{
    struct fg_store_list list = {0};
    char *place = root;
    struct fg_store_places places = {0};
    if (store) {
        places.stores = &place;
        places.store_count = 1;
    } else {
        places.directories = &place;
        places.directory_count = 1;
    }
    assert_int_equal(fg_store_scan(&places, &list, NULL), FG_OK);
    return list;
}

static void directory_lists_regular_files_only(void **state)
{
    (void)state;
    char path[200];
    put("Smol.Q4_1.gguf", "GGUF");
    put("readme.txt", "no");
    put(".hidden.gguf", "no");
    snprintf(path, sizeof path, "%s/fifo.gguf", root);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(path, sizeof path, "%s/link.gguf", root);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    snprintf(path, sizeof path, "%s/dir.gguf", root);
    assert_int_equal(mkdir(path, 0700), 0);
    struct fg_store_list list = scan(false);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.refused, 3);
    assert_true(fg_str_is(list.items[0].name, "smol:q4_1"));
    assert_true(fg_str_is(list.items[0].alias, "Smol.Q4_1"));
    assert_int_equal(list.items[0].digest.len, 64);
    assert_int_equal(list.items[0].size_bytes, 4);
    fg_store_list_done(&list);
}

static void stamp_changes_with_the_directory(void **state)
{
    (void)state;
    char *place = root;
    struct fg_store_places places = {.directories = &place, .directory_count = 1};
    uint64_t before = fg_store_stamp(&places);
    assert_int_equal(fg_store_stamp(&places), before);
    usleep(20000); /* the file system's clock ticks in jiffies */
    put("new.gguf", "GGUF");
    assert_int_not_equal(fg_store_stamp(&places), before);
}

static void store_gives_its_layers(void **state)
{
    (void)state;
    put("blobs/sha256-" HEX_A, "GGUF");
    put("blobs/sha256-" HEX_B, "You are kind.");
    put("blobs/sha256-" HEX_C, "{\"stop\":[\"x\"]}");
    put("manifests/registry.ollama.ai/library/smol/135m",
        "{\"config\":{\"digest\":\"sha256:" HEX_C "\",\"size\":10},\"layers\":[" MODEL
        ",{\"mediaType\":\"application/vnd.ollama.image.system\",\"digest\":\"sha256:" HEX_B
        "\",\"size\":13},{\"mediaType\":\"application/"
        "vnd.ollama.image.params\",\"digest\":\"sha256:" HEX_C "\",\"size\":15}]}");
    struct fg_store_list list = scan(true);
    assert_int_equal(list.count, 1);
    const struct fg_store_model *m = &list.items[0];
    assert_true(fg_str_is(m->name, "smol:135m"));
    assert_true(fg_str_is(m->full_name, "registry.ollama.ai/library/smol:135m"));
    assert_true(fg_str_is(m->system, "You are kind."));
    assert_true(fg_str_is(m->params_json, "{\"stop\":[\"x\"]}"));
    assert_int_equal(m->size_bytes, 4 + 10 + 13 + 15);
    assert_int_equal(m->file_bytes, 4);
    assert_true(fg_str_ends(m->path, FG_STR("/blobs/sha256-" HEX_A)));
    fg_store_list_done(&list);
}

static void hostile_manifests_are_skipped(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"layers\":[]}",
        "{\"layers\":[1]}",
        "{\"layers\":{}}",
        "not json",
        "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":"
        "\"sha256:../../../../../../../../../../../../../../../../../../../../../../etc/"
        "passwd\"}]}",
        "{\"layers\":[{\"mediaType\":\"application/"
        "vnd.ollama.image.model\",\"digest\":\"sha256:" HEX_B "\"}]}", /* no such blob */
        "{\"layers\":[" MODEL ",{\"mediaType\":\"application/vnd.ollama.image.params\",\"digest\":"
        "\"sha256:" HEX_A "\"}]}", /* params that are no JSON */
        "{\"layers\":[{\"mediaType\":\"application/"
        "vnd.ollama.image.model\",\"digest\":\"sha256:" HEX_C "\"}]}", /* a link */
        "{\"layers\":[" MODEL ",{\"mediaType\":\"x\",\"digest\":5}]}",
    };
    char name[80], path[300];
    put("blobs/sha256-" HEX_A, "GGUF");
    snprintf(path, sizeof path, "%s/blobs/sha256-" HEX_C, root);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    size_t count = sizeof bad / sizeof *bad;
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "manifests/h/n/m/t%zu", i);
        put(name, bad[i]);
    }
    put("manifests/h/n/m/bad name", "{\"layers\":[" MODEL "]}");
    put("manifests/h/n/m/good", "{\"layers\":[" MODEL "]}");
    struct fg_store_list list = scan(true);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.refused, count + 1);
    assert_true(fg_str_is(list.items[0].full_name, "h/n/m:good"));
    fg_store_list_done(&list);
}

static void links_in_the_tree_of_manifests_are_not_followed(void **state)
{
    (void)state;
    char path[300];
    put("blobs/sha256-" HEX_A, "GGUF");
    put("outside/m/t", "{\"layers\":[" MODEL "]}");
    put("manifests/h/x/m/t", "{\"layers\":[" MODEL "]}");
    snprintf(path, sizeof path, "%s/manifests/h/linked", root);
    assert_int_equal(symlink("../../outside", path), 0);
    struct fg_store_list list = scan(true);
    assert_int_equal(list.count, 1);
    fg_store_list_done(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(directory_lists_regular_files_only, setup, teardown),
        cmocka_unit_test_setup_teardown(stamp_changes_with_the_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(store_gives_its_layers, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_manifests_are_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(links_in_the_tree_of_manifests_are_not_followed, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
