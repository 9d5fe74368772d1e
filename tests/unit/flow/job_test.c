/* The road of a job over a scripted backend: every stage, every way out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fakes.h"
#include "util/clock.h"

struct client {
    uint32_t started, events, overs;
    int32_t reason, status;
    uint32_t retry_after_s, prompt_tokens;
    char text[300], said[256], skipped[128];
    int32_t prompt[4]; /* ids that STARTED told */
    uint32_t prompt_count;
    struct fg_request request;
    struct fg_hub_job *job;
    bool cancel_at_text;
    uint64_t load_ns;
};

static char root[64];
static char *directory = root;
static struct fg_hub *hub;
static struct fg_conf conf;

static void on_started(void *ctx, const struct fg_served *served)
{
    struct client *c = ctx;
    c->started++;
    c->load_ns = served->load_ns;
    assert_true(fg_str_is(served->backend, "toy"));
    assert_true(fg_str_is(served->engine, "toy 1"));
    assert_int_equal(c->events, 0);
}
static void on_event(void *ctx, const struct fg_event *ev)
{
    struct client *c = ctx;
    c->events++;
    assert_int_equal(c->started, 1);
    if (ev->kind == FG_EV_STARTED) {
        c->prompt_count = ev->token_count;
        memcpy(c->prompt, ev->tokens, ev->token_count * sizeof *ev->tokens);
    }
    if (ev->kind == FG_EV_TEXT) {
        strncat(c->said, ev->text.ptr, sizeof c->said - strlen(c->said) - 1);
        if (c->cancel_at_text)
            fg_job_cancel(c->job);
    }
}
static void on_over(void *ctx, const struct fg_job_end *end)
{
    struct client *c = ctx;
    c->overs++;
    c->reason = end->reason;
    c->status = end->status;
    c->retry_after_s = end->retry_after_s;
    c->prompt_tokens = end->prompt_tokens;
    snprintf(c->text, sizeof c->text, "%.*s", FG_STR_ARG(end->text));
}
static const struct fg_job_sink sink = {on_started, on_event, on_over, NULL};

static void ask_for(struct client *c, const char *model, uint32_t context, bool load_only)
{
    c->request = (struct fg_request){.size = sizeof c->request, .op = FG_OP_CHAT};
    struct fg_job_ask ask = {.model = fg_str_of(model),
                             .request = load_only ? NULL : &c->request,
                             .arena = fg_arena_open(0, 4096),
                             .sink = &sink,
                             .ctx = c,
                             .context = context};
    c->job = fg_job_start(hub, fake_worker(), &ask);
}
static void ask(struct client *c)
{
    ask_for(c, "toy", 0, false);
}

/* Turns the world until *value is at least wanted; at most 5 s. */
static void until(const uint32_t *value, uint32_t wanted)
{
    uint64_t end = fg_clock_ns() + 5 * FG_NS_PER_S;
    while (__atomic_load_n(value, __ATOMIC_ACQUIRE) < wanted && fg_clock_ns() < end) {
        fake_turn();
        usleep(500);
    }
    assert_true(*value >= wanted);
}
static void turns(int n)
{
    while (n--)
        fake_turn();
}

static void put(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("GGUF", f);
    fclose(f);
}

static void nothing(void *ctx, bool found)
{
    (void)ctx;
    (void)found;
}

static int setup(void **state)
{
    (void)state;
    fake_reset();
    snprintf(root, sizeof root, "%s/fg-flow-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp");
    if (!mkdtemp(root))
        return -1;
    put("toy.gguf");
    put("other.gguf");
    conf = (struct fg_conf){
        .models = {.directories = &directory,
                   .directory_count = 1,
                   .max_loaded = 1,
                   .keep_alive_ns = 60000000000,
                   .default_model = (char *)"toy"},
        .queue = {.max_waiting = 4, .deadline_ms = 3000, .load_timeout_ms = 3000},
    };
    return fg_hub_open(&conf, fake_registry(), &hub, NULL) == FG_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    for (int i = 0; i < 100 && fg_hub_running(hub); i++) {
        fake_turn();
        usleep(1000);
    }
    assert_int_equal(fg_hub_running(hub), 0);
    assert_int_equal(fake.live_jobs, 0);
    /* Everything idle is told to go; the control thread must turn for it to happen. */
    fake.control_stopped = false;
    until(&fake.lists, fake.state == FG_BACKEND_UP);
    static const char *const names[] = {"toy", "other"};
    for (size_t i = 0; i < 2; i++) {
        fg_hub_unload(hub, fake_worker(), fg_str_of(names[i]), nothing, NULL);
    }
    turns(10);
    assert_int_equal(fake.live_models, 0);
    fg_hub_close(hub);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void job_gets_its_events_and_one_end(void **state)
{
    (void)state;
    struct client c = {0};
    ask(&c);
    until(&fake.submits, 1);
    fake_started(0);
    turns(3);
    assert_int_equal(c.started, 0); /* held back until there is output */
    fake_text(0, "Hel");
    fake_text(0, "lo");
    fake_done(0);
    until(&c.overs, 1);
    assert_string_equal(c.said, "Hello");
    assert_int_equal(c.events, 4);
    assert_int_equal(c.prompt_count, 3);
    assert_int_equal(c.prompt[2], 9);
    assert_int_equal(c.reason, FG_JOB_OK);
    assert_int_equal(fake.releases, 1);
    assert_true(c.load_ns > 0);
}

static void unknown_and_bad_names_end_at_once(void **state)
{
    (void)state;
    struct client c = {0}, d = {0};
    ask_for(&c, "nope", 0, false);
    until(&c.overs, 1);
    assert_int_equal(c.reason, FG_JOB_MODEL_UNKNOWN);
    ask_for(&d, "../etc/passwd", 0, false);
    until(&d.overs, 1);
    assert_int_equal(d.reason, FG_JOB_NAME_INVALID);
    assert_null(d.job);
}

static void file_that_just_came_is_found(void **state)
{
    (void)state;
    struct client c = {0};
    ask_for(&c, "toy", 0, true);
    until(&c.overs, 1);
    usleep(20000);
    put("late.gguf");
    struct client d = {0};
    conf.models.max_loaded = 2;
    assert_int_equal(fg_hub_reload(hub, &conf, NULL), FG_OK);
    ask_for(&d, "late", 0, true);
    until(&d.overs, 1);
    assert_int_equal(d.reason, FG_JOB_OK);
    fg_hub_unload(hub, fake_worker(), FG_STR("late"), nothing, NULL);
}

static void concurrent_asks_share_one_load(void **state)
{
    (void)state;
    struct client c[3] = {{0}, {0}, {0}};
    fake.max_running = 3;
    for (int i = 0; i < 3; i++)
        ask(&c[i]);
    until(&fake.submits, 3);
    assert_int_equal(fake.loads, 1);
    for (uint32_t i = 0; i < 3; i++)
        fake_done(i);
    for (int i = 0; i < 3; i++)
        until(&c[i].overs, 1);
}

static void line_is_bounded_and_in_order(void **state)
{
    (void)state;
    struct client c[6] = {{0}};
    ask(&c[0]);
    until(&fake.submits, 1);
    for (int i = 1; i < 6; i++)
        ask(&c[i]);
    assert_int_equal(c[5].overs, 1);
    assert_int_equal(c[5].reason, FG_JOB_QUEUE_FULL);
    assert_true(c[5].retry_after_s >= 1);
    for (uint32_t i = 0; i < 5; i++) {
        until(&fake.submits, i + 1);
        fake_text(i, "x");
        fake_done(i);
        until(&c[i].overs, 1);
    }
}

static void client_that_leaves_the_line_frees_its_place(void **state)
{
    (void)state;
    struct client c[3] = {{0}};
    ask(&c[0]);
    until(&fake.submits, 1);
    ask(&c[1]);
    ask(&c[2]);
    fg_job_cancel(c[1].job);
    fake_done(0);
    until(&fake.submits, 2);
    fake_done(1);
    until(&c[2].overs, 1);
    assert_int_equal(c[1].overs, 0);
    assert_int_equal(fake.submits, 2);
}

static void client_that_leaves_while_running_frees_its_slot_at_the_last_event(void **state)
{
    (void)state;
    struct client c = {0}, d = {0};
    fake.cancel_ends = false;
    ask(&c);
    until(&fake.submits, 1);
    ask(&d);
    fg_job_cancel(c.job);
    assert_int_equal(fake.cancels, 1);
    turns(5);
    assert_int_equal(fake.submits, 1); /* the slot is still held */
    fake_text(0, "late");
    fake_done(0);
    until(&fake.submits, 2);
    assert_int_equal(c.started + c.events + c.overs, 0);
    fake_done(1);
    until(&d.overs, 1);
}

static void cancel_from_inside_a_callback_is_safe(void **state)
{
    (void)state;
    struct client c = {.cancel_at_text = true};
    ask(&c);
    until(&fake.submits, 1);
    fake_text(0, "a");
    fake_text(0, "b");
    until(&fake.releases, 1);
    assert_string_equal(c.said, "a");
    assert_int_equal(c.overs, 0);
}

static void cancel_while_the_wake_up_is_under_way(void **state)
{
    (void)state;
    struct client c = {0}, d = {0};
    ask(&c);
    until(&fake.submits, 1);
    ask(&d);
    fake_done(0);
    while (!c.overs) /* the end of c grants d, whose task is not yet run */
        fake_turn();
    if (!d.overs && fake.submits == 1)
        fg_job_cancel(d.job);
    turns(5);
    if (fake.submits == 2) {
        fake_done(1);
        turns(5);
    }
    assert_int_equal(fake.live_jobs, 0);
}

static void slow_client_gets_nothing_until_it_reads(void **state)
{
    (void)state;
    struct client c = {0};
    ask(&c);
    until(&fake.submits, 1);
    fake_text(0, "a");
    until(&c.events, 1);
    fg_job_pause(c.job);
    fake_text(0, "b");
    fake_done(0);
    turns(5);
    assert_string_equal(c.said, "a");
    fg_job_unpause(c.job);
    until(&c.overs, 1);
    assert_string_equal(c.said, "ab");
}

static void bad_file_gives_the_engines_words(void **state)
{
    (void)state;
    struct client c = {0};
    fake.load_status = FG_INVALID;
    ask(&c);
    until(&c.overs, 1);
    assert_int_equal(c.reason, FG_JOB_LOAD_FAILED);
    assert_string_equal(c.text, "tensor blk.0: bad offset");
    fake.load_status = FG_OK;
}

static void lost_backend_in_prefill_is_retried_unseen(void **state)
{
    (void)state;
    struct client c = {0};
    ask(&c);
    until(&fake.submits, 1);
    fake_started(0);
    turns(2);
    __atomic_store_n(&fake.state, FG_BACKEND_DOWN, __ATOMIC_RELEASE);
    fake_failed(0, FG_DEVICE_LOST, "gone");
    fg_hub_backend_changed(hub, fake_slot());
    turns(5);
    assert_int_equal(c.overs, 0);
    __atomic_store_n(&fake.generation, 2, __ATOMIC_RELEASE);
    __atomic_store_n(&fake.state, FG_BACKEND_UP, __ATOMIC_RELEASE);
    fg_hub_backend_changed(hub, fake_slot());
    until(&fake.submits, 2);
    assert_int_equal(fake.loads, 2);
    assert_int_equal(fake.unloads, 1);
    fake_text(1, "ok");
    fake_done(1);
    until(&c.overs, 1);
    assert_int_equal(c.reason, FG_JOB_OK);
    assert_string_equal(c.said, "ok");
}

static void lost_backend_after_output_ends_the_job_and_the_next_is_served(void **state)
{
    (void)state;
    struct client c = {0}, d = {0};
    ask(&c);
    until(&fake.submits, 1);
    ask(&d);
    fake_text(0, "a");
    until(&c.events, 1);
    __atomic_store_n(&fake.state, FG_BACKEND_DOWN, __ATOMIC_RELEASE);
    fg_hub_backend_changed(hub, fake_slot());
    fake_failed(0, FG_DEVICE_LOST, "gone");
    until(&c.overs, 1);
    assert_int_equal(c.reason, FG_JOB_BACKEND_LOST);
    __atomic_store_n(&fake.generation, 2, __ATOMIC_RELEASE);
    __atomic_store_n(&fake.state, FG_BACKEND_UP, __ATOMIC_RELEASE);
    fg_hub_backend_changed(hub, fake_slot());
    until(&fake.submits, 2);
    fake_done(1);
    until(&d.overs, 1);
    assert_int_equal(d.reason, FG_JOB_OK);
}

static void remote_model_outlives_the_failure_of_one_job(void **state)
{
    (void)state;
    struct client c = {0}, d = {0}, e = {0};
    fake.is_weightless = true;
    fake.max_running = 4;
    ask(&c);
    until(&fake.submits, 1);
    fake_text(0, "a");
    until(&c.events, 1);
    ask(&d);
    until(&fake.submits, 2);
    fake_failed(1, FG_DEVICE_LOST, "reset");
    until(&fake.submits, 3); /* its second try does not wait for the end of the first stream */
    ask(&e);
    until(&fake.submits, 4); /* nor does who comes anew */
    assert_int_equal(fake.loads, 1);
    for (uint32_t i = 0; i < 4; i++)
        if (i != 1)
            fake_done(i);
    until(&c.overs, 1);
    until(&d.overs, 1);
    until(&e.overs, 1);
    assert_int_equal(d.reason, FG_JOB_OK);
}

static void tries_are_counted(void **state)
{
    (void)state;
    struct client c = {0};
    ask(&c);
    for (uint32_t i = 0; i < 3; i++) {
        until(&fake.submits, i + 1);
        fake_failed(i, FG_DEVICE_LOST, "gone");
    }
    until(&c.overs, 1);
    assert_int_equal(c.reason, FG_JOB_BACKEND_LOST);
    assert_int_equal(fake.submits, 3);
}

static void refused_request_keeps_its_text_and_numbers(void **state)
{
    (void)state;
    struct client c = {0}, d = {0};
    ask(&c);
    until(&fake.submits, 1);
    fake_failed(0, FG_TOO_LONG, "the prompt is too long");
    until(&c.overs, 1);
    assert_int_equal(c.reason, FG_JOB_REFUSED);
    assert_int_equal(c.status, FG_TOO_LONG);
    assert_int_equal(c.prompt_tokens, 7);
    assert_int_equal(c.started, 0);
    fake.submit_status = FG_INVALID;
    ask(&d);
    until(&d.overs, 1);
    assert_int_equal(d.reason, FG_JOB_REFUSED);
    assert_string_equal(d.text, "not so");
}

static void second_model_evicts_the_idle_one(void **state)
{
    (void)state;
    struct client c = {0}, d = {0};
    ask_for(&c, "toy", 0, true);
    until(&c.overs, 1);
    assert_int_equal(c.started, 1);
    ask_for(&d, "other", 0, true);
    until(&d.overs, 1);
    assert_int_equal(d.reason, FG_JOB_OK);
    assert_int_equal(fake.unloads, 1);
    assert_int_equal(fake.live_models, 1);
}

static void second_model_waits_for_the_busy_one(void **state)
{
    (void)state;
    struct client c = {0}, d = {0};
    ask(&c);
    until(&fake.submits, 1);
    ask_for(&d, "other", 0, true);
    turns(5);
    assert_int_equal(fake.loads, 1);
    fake_done(0);
    until(&d.overs, 1);
    assert_int_equal(d.reason, FG_JOB_OK);
    assert_int_equal(fake.live_models, 1);
}

static void larger_context_reloads_once(void **state)
{
    (void)state;
    struct client c = {0}, d = {0}, e = {0};
    ask_for(&c, "toy", 2048, true);
    until(&c.overs, 1);
    ask_for(&d, "toy", 8192, true);
    until(&d.overs, 1);
    assert_int_equal(fake.last_context, 8192);
    ask_for(&e, "toy", 1024, true);
    until(&e.overs, 1);
    assert_int_equal(fake.loads, 2);
}

static void queue_deadline_ends_the_wait(void **state)
{
    (void)state;
    struct client c = {0}, d = {0};
    conf.queue.deadline_ms = 100;
    assert_int_equal(fg_hub_reload(hub, &conf, NULL), FG_OK);
    ask(&c);
    until(&fake.submits, 1);
    ask(&d);
    until(&d.overs, 1);
    assert_int_equal(d.reason, FG_JOB_QUEUE_DEADLINE);
    assert_true(d.retry_after_s >= 1);
    fake_done(0);
    until(&c.overs, 1);
}

static void drain_refuses_new_jobs_and_cancel_all_ends_the_rest(void **state)
{
    (void)state;
    struct client c = {0}, d = {0}, e = {0};
    ask(&c);
    until(&fake.submits, 1);
    ask(&e);
    fg_hub_drain(hub);
    ask(&d);
    assert_int_equal(d.reason, FG_JOB_DRAINING);
    fg_hub_cancel_all(hub);
    until(&c.overs, 1);
    until(&e.overs, 1);
    assert_int_equal(c.reason, FG_JOB_DRAINING);
    until(&fake.releases, 1);
}

static void failed_backend_is_told_at_once(void **state)
{
    (void)state;
    struct client c = {0};
    __atomic_store_n(&fake.state, FG_BACKEND_FAILED, __ATOMIC_RELEASE);
    ask(&c);
    until(&c.overs, 1);
    assert_int_equal(c.reason, FG_JOB_NO_BACKEND);
    assert_string_equal(c.text, "it is away");
}

static void keep_alive_zero_unloads(void **state)
{
    (void)state;
    struct client c = {0};
    struct fg_job_ask a = {.model = FG_STR("toy"),
                           .arena = fg_arena_open(0, 4096),
                           .sink = &sink,
                           .ctx = &c,
                           .keep_alive_set = true,
                           .keep_alive_ns = 0};
    (void)fg_job_start(hub, fake_worker(), &a);
    until(&c.overs, 1);
    until(&fake.unloads, 1);
}

static void model_expires_by_itself(void **state)
{
    (void)state;
    struct client c = {0};
    struct fg_job_ask a = {.model = FG_STR("toy"),
                           .arena = fg_arena_open(0, 4096),
                           .sink = &sink,
                           .ctx = &c,
                           .keep_alive_set = true,
                           .keep_alive_ns = 50000000};
    (void)fg_job_start(hub, fake_worker(), &a);
    until(&c.overs, 1);
    assert_int_equal(fake.unloads, 0);
    until(&fake.unloads, 1);
}

static void ready_answer(void *ctx, bool ready, struct fg_str why)
{
    (void)why;
    *(uint32_t *)ctx = ready ? 2 : 1;
}
static void ready_asks_for_a_real_token(void **state)
{
    (void)state;
    uint32_t answer = 0, second = 0;
    struct client c = {0};
    ask_for(&c, "toy", 0, true); /* the catalog is there after this */
    until(&c.overs, 1);
    fg_hub_ready(hub, fake_worker(), ready_answer, &answer);
    until(&fake.submits, 1);
    assert_int_equal(answer, 0);
    fake_text(0, "x");
    fake_done(0);
    until(&answer, 1);
    assert_int_equal(answer, 2);
    fg_hub_ready(hub, fake_worker(), ready_answer, &second);
    assert_int_equal(second, 2);
    assert_int_equal(fake.submits, 1);
}

static void on_inspected(void *ctx, const json_t *json, const struct fg_error *err)
{
    *(uint32_t *)ctx = json_is_object(json) ? 2 : err ? 1 : 9;
}
/* Turns until the entry was inspected; the snapshot is the caller's. */
static const struct fg_catalog *inspected(const char *name, const struct fg_model_entry **entry)
{
    for (int i = 0; i < 2000; i++) {
        const struct fg_catalog *c = fg_hub_catalog(hub);
        *entry = fg_catalog_find(c, fg_str_of(name), NULL);
        if (*entry && ((*entry)->metadata || (*entry)->error.len))
            return c;
        fg_catalog_release(c);
        fake_turn();
        usleep(1000);
    }
    fail_msg("%s was not inspected", name);
    return NULL;
}
static void catalog_learns_what_the_files_say(void **state)
{
    (void)state;
    const struct fg_model_entry *e;
    struct client c = {0}, d = {0};
    fake.inspect_json = "{\"info\":{\"architecture\":\"llama\",\"parameters\":135,\"context\":2048,"
                        "\"quantization\":\"Q4_1\"},\"can\":4,\"why\":\"\","
                        "\"metadata\":{\"a\":1},\"chat_template\":\"{{x}}\"}";
    const struct fg_catalog *first = inspected("toy", &e);
    assert_true(fg_str_is(e->family, "llama"));
    assert_true(fg_str_is(e->quantization, "Q4_1"));
    assert_true(fg_str_is(e->chat_template, "{{x}}"));
    assert_int_equal(e->context, 2048);
    assert_int_equal(e->can, FG_CAN_EMBED);
    const struct fg_catalog *second = inspected("other", &e);
    assert_true(fg_str_is(e->error, "magic: not a GGUF file"));
    fg_catalog_release(second);
    fg_catalog_release(first);
    ask(&c); /* it can only embed */
    assert_int_equal(c.reason, FG_JOB_CANNOT);
    ask_for(&d, "other", 0, false);
    assert_int_equal(d.reason, FG_JOB_LOAD_FAILED);
    assert_string_equal(d.text, "magic: not a GGUF file");
    assert_int_equal(fake.loads, 0);
    uint32_t answer = 0, cancelled = 0;
    assert_non_null(fg_hub_inspect(hub, fake_worker(), FG_STR("toy"), 0, on_inspected, &answer));
    until(&answer, 1);
    assert_int_equal(answer, 2);
    fg_hub_inspect_cancel(
        fg_hub_inspect(hub, fake_worker(), FG_STR("toy"), 0, on_inspected, &cancelled));
    turns(5);
    assert_int_equal(cancelled, 0);
    assert_null(fg_hub_inspect(hub, fake_worker(), FG_STR("nope"), 0, on_inspected, &answer));
    assert_int_equal(answer, 1);
    assert_int_equal(fake.inspects, 4); /* each file once in the background */
}

static void a_backend_serves_models_that_are_no_files(void **state)
{
    (void)state;
    struct client c = {0}, late = {0};
    fake.own_model = "Mine";
    ask_for(&c, "mine", 0, false); /* waits until the backend has told what it has */
    until(&fake.submits, 1);
    fake_text(0, "x");
    fake_done(0);
    until(&c.overs, 1);
    assert_int_equal(c.reason, FG_JOB_OK);
    assert_string_equal(fake.loaded_name, "Mine"); /* as the backend calls it */
    assert_string_equal(fake.loaded_path, "");
    const struct fg_catalog *catalog = fg_hub_catalog(hub);
    assert_int_equal(fg_catalog_count(catalog), 3); /* two files, and one name that is one */
    const struct fg_model_entry *e = fg_catalog_find(catalog, FG_STR("mine:latest"), NULL);
    assert_non_null(e);
    assert_true(fg_str_is(e->backend, "toy"));
    assert_true(fg_str_is(e->family, "toy")); /* cut where it is no UTF-8 any more */
    assert_int_equal(e->digest.len, 64);
    assert_int_equal(e->context, 77);
    assert_int_equal(e->can, FG_CAN_CHAT);
    fg_catalog_release(catalog);
    fg_hub_unload(hub, fake_worker(), FG_STR("mine"), nothing, NULL);
    until(&fake.unloads, 1);
    fake.own_model = NULL; /* it was taken away there, and the backend says that it changed */
    __atomic_add_fetch(&fake.revision, 1, __ATOMIC_RELEASE);
    fg_hub_backend_changed(hub, fake_slot());
    until(&fake.lists, 2);
    usleep(20000); /* the keeper takes the answer in */
    ask_for(&late, "mine", 0, false);
    until(&late.overs, 1);
    assert_int_equal(late.reason, FG_JOB_MODEL_UNKNOWN);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(job_gets_its_events_and_one_end),
        T(unknown_and_bad_names_end_at_once),
        T(file_that_just_came_is_found),
        T(concurrent_asks_share_one_load),
        T(line_is_bounded_and_in_order),
        T(client_that_leaves_the_line_frees_its_place),
        T(client_that_leaves_while_running_frees_its_slot_at_the_last_event),
        T(cancel_from_inside_a_callback_is_safe),
        T(cancel_while_the_wake_up_is_under_way),
        T(slow_client_gets_nothing_until_it_reads),
        T(bad_file_gives_the_engines_words),
        T(lost_backend_in_prefill_is_retried_unseen),
        T(lost_backend_after_output_ends_the_job_and_the_next_is_served),
        T(remote_model_outlives_the_failure_of_one_job),
        T(tries_are_counted),
        T(refused_request_keeps_its_text_and_numbers),
        T(second_model_evicts_the_idle_one),
        T(second_model_waits_for_the_busy_one),
        T(larger_context_reloads_once),
        T(queue_deadline_ends_the_wait),
        T(drain_refuses_new_jobs_and_cancel_all_ends_the_rest),
        T(failed_backend_is_told_at_once),
        T(keep_alive_zero_unloads),
        T(model_expires_by_itself),
        T(ready_asks_for_a_real_token),
        T(catalog_learns_what_the_files_say),
        T(a_backend_serves_models_that_are_no_files),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    fake_done_world();
    return failures;
}
