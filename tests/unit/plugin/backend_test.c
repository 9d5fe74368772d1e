/* Configured backends: what is refused and how it is told, restarts, crash loops, reloading. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "plugin/backend.h"
#include "plugin/loader.h"
#include "rig.h"
#include "util/clock.h"
#include "util/str.h"

struct set {
    struct fg_registry *registry;
    struct fg_backend_slot *slot;
    atomic_int changes;
};

static void on_changed(void *ctx, struct fg_backend_slot *slot)
{
    struct set *s = ctx;
    (void)slot;
    s->changes++;
}

static void open_set(struct set *s, const char *plugin, bool isolate, const char *config,
                     const char *host)
{
    struct fg_conf_backend backend = {
        .name = "one", .plugin = (char *)plugin, .isolate = isolate, .config_json = (char *)config};
    char folder[512];
    struct fg_conf conf = {.backends = &backend,
                           .backend_count = 1,
                           .plugin_dir = (char *)rig_file(folder, sizeof folder, ""),
                           .queue = {.load_timeout_ms = 10000}};
    const struct fg_registry_events events = {.ctx = s, .changed = on_changed};
    struct fg_error err = {0};
    memset(s, 0, sizeof *s);
    if (fg_registry_open(&conf, host ? host : rig_host(), &events, &s->registry, &err) != FG_OK)
        fail_msg("%s", err.text);
    s->slot = fg_registry_at(s->registry, 0);
}

static bool reaches(struct set *s, int32_t state, int seconds, struct fg_backend_status *status)
{
    for (int i = 0; i < seconds * 1000; i++) {
        fg_backend_get_status(s->slot, status);
        if (status->state == state)
            return true;
        usleep(1000);
    }
    return false;
}

/* Both ways: a wrong plugin is one message, whether it is loaded here or in a child. */
static void a_wrong_plugin_is_one_clear_message(void **state)
{
    static const struct {
        const char *plugin, *text;
    } cases[] = {
        {"major", "made for ABI 9.3, this gateway has 1.0"},
        {"nothing", "not a plugin, it has no fg_plugin_entry()"},
        {"hole", "close() is missing in its table"},
        {"refuses", "does not serve a gateway of ABI 1.0"},
        {"absent", "No such file"},
        {"/etc/passwd", "cannot be loaded"},
        {"/etc", "not a regular file"},
    };
    (void)state;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        struct set s;
        struct fg_backend_status status;
        open_set(&s, cases[i / 2].plugin, i % 2, "{}", NULL);
        assert_true(reaches(&s, FG_BACKEND_FAILED, 10, &status));
        if (!strstr(status.reason, cases[i / 2].text))
            fail_msg("%s: %s", cases[i / 2].plugin, status.reason);
        assert_true(rig_until(&s.changes, 1, 5));
        assert_null(fg_backend_table(s.slot));
        fg_registry_close(s.registry);
    }
}

static void a_refused_configuration_is_final(void **state)
{
    (void)state;
    for (int isolate = 0; isolate < 2; isolate++) {
        struct set s;
        struct fg_backend_status status;
        open_set(&s, "wicked", isolate, "refuse", NULL);
        assert_true(reaches(&s, FG_BACKEND_FAILED, 10, &status));
        assert_string_equal(status.reason, "configuration: key \"do\" is not known");
        assert_int_equal(status.generation, 0);
        fg_registry_close(s.registry);
    }
}

static void a_plugin_others_can_write_is_not_trusted(void **state)
{
    char folder[] = "/tmp/fg-trust-XXXXXX", path[64];
    struct fg_error err = {0};
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/p.so", folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    close(fd);
    assert_int_equal(fg_loader_trust(path, &err), FG_OK);
    chmod(path, 0666);
    assert_int_equal(fg_loader_trust(path, &err), FG_INVALID);
    assert_non_null(strstr(err.text, "can be written by others"));
    chmod(path, 0644);
    chmod(folder, 0777);
    assert_int_equal(fg_loader_trust(path, &err), FG_INVALID);
    unlink(path);
    rmdir(folder);
}

static void a_backend_in_this_process_is_up(void **state)
{
    struct set s;
    struct fg_backend_status status;
    (void)state;
    open_set(&s, "wicked", false, "{}", NULL);
    assert_true(reaches(&s, FG_BACKEND_UP, 10, &status));
    assert_int_equal(status.generation, 1);
    assert_int_equal(status.pid, 0);
    assert_int_equal(status.restarts, 0);
    assert_string_equal(fg_backend_table(s.slot)->name, "wicked");
    assert_string_equal(fg_backend_name(s.slot), "one");
    assert_ptr_equal(fg_registry_find(s.registry, FG_STR("one")), s.slot);
    assert_null(fg_registry_find(s.registry, FG_STR("two")));
    fg_registry_close(s.registry);
}

static void a_child_that_dies_is_started_again(void **state)
{
    struct set s;
    struct fg_backend_status before, status;
    (void)state;
    open_set(&s, "wicked", true, "{}", NULL);
    assert_true(reaches(&s, FG_BACKEND_UP, 10, &before));
    assert_true(before.pid > 0);
    uint64_t at = fg_clock_ns();
    kill(before.pid, SIGKILL);
    assert_true(reaches(&s, FG_BACKEND_DOWN, 5, &status));
    assert_string_equal(status.reason, "its process ended by signal 9 (Killed)");
    assert_true(reaches(&s, FG_BACKEND_UP, 5, &status));
    assert_true(fg_clock_ns() - at < 2 * FG_NS_PER_S);
    assert_int_equal(status.generation, 2);
    assert_int_equal(status.restarts, 1);
    assert_true(status.pid > 0 && status.pid != before.pid);
    assert_true(rig_until(&s.changes, 3, 5)); /* up, down, up */
    fg_registry_close(s.registry);
    assert_int_equal(kill(status.pid, 0), -1);
}

static void a_crash_loop_fails_with_its_reason(void **state)
{
    struct set s;
    struct fg_backend_status status;
    (void)state;
    uint64_t at = fg_clock_ns();
    open_set(&s, "wicked", true, "crash", NULL);
    assert_true(reaches(&s, FG_BACKEND_FAILED, 20, &status));
    assert_true(fg_clock_ns() - at > 5 * FG_NS_PER_S); /* 0.5 + 1 + 2 + 4 s, a fifth less at most */
    assert_non_null(strstr(status.reason, "crash loop"));
    assert_non_null(strstr(status.reason, "its process ended"));
    assert_int_equal(status.generation, 0);
    fg_registry_close(s.registry);
}

/* ---- a held model outlives its child ---- */

struct calls {
    struct fg_task task;
    struct set *s;
    struct fg_model *model;
    const struct fg_plugin *table;
    int32_t rc;
    bool unload;
    atomic_int done;
};

static void run_calls(struct fg_task *task)
{
    struct calls *c = FG_CONTAINER(task, struct calls, task);
    const struct fg_model_spec spec = {
        .size = sizeof spec, .name = FG_STR("m"), .path = FG_STR("/m.gguf")};
    if (c->unload) {
        c->table->unload(c->model);
    } else {
        c->table = fg_backend_table(c->s->slot);
        c->rc = c->table->load(fg_backend_instance(c->s->slot), &spec, &c->model, NULL);
    }
    c->done = 1;
}

static void on_control(struct calls *c)
{
    c->task.run = run_calls;
    c->done = 0;
    assert_true(fg_control_post(fg_backend_control(c->s->slot), &c->task));
    assert_true(rig_until(&c->done, 1, 10));
}

static void a_model_can_be_unloaded_after_its_child_died(void **state)
{
    struct set s;
    struct fg_backend_status first, status;
    (void)state;
    open_set(&s, "wicked", true, "{}", NULL);
    assert_true(reaches(&s, FG_BACKEND_UP, 10, &first));
    struct calls old = {.s = &s}, fresh = {.s = &s};
    on_control(&old);
    assert_int_equal(old.rc, FG_OK);
    kill(first.pid, SIGKILL);
    assert_true(reaches(&s, FG_BACKEND_DOWN, 5, &status));
    assert_true(reaches(&s, FG_BACKEND_UP, 5, &status));
    on_control(&fresh);
    assert_int_equal(fresh.rc, FG_OK);
    assert_string_equal(old.table->name, "wicked"); /* its table is still there */
    old.unload = fresh.unload = true;
    on_control(&old);
    on_control(&fresh);
    fg_registry_close(s.registry);
}

static void closing_during_a_pause_is_quick(void **state)
{
    struct set s;
    struct fg_backend_status status;
    (void)state;
    open_set(&s, "wicked", true, "crash", NULL);
    assert_true(reaches(&s, FG_BACKEND_DOWN, 10, &status));
    uint64_t at = fg_clock_ns();
    fg_registry_close(s.registry);
    assert_true(fg_clock_ns() - at < FG_NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_plugin_is_one_clear_message),
        cmocka_unit_test(a_refused_configuration_is_final),
        cmocka_unit_test(a_plugin_others_can_write_is_not_trusted),
        cmocka_unit_test(a_backend_in_this_process_is_up),
        cmocka_unit_test(a_child_that_dies_is_started_again),
        cmocka_unit_test(a_crash_loop_fails_with_its_reason),
        cmocka_unit_test(a_model_can_be_unloaded_after_its_child_died),
        cmocka_unit_test(closing_during_a_pause_is_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
