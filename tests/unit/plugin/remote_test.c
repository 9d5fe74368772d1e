/* A plugin in a child: the whole contract crosses, and no end of the child loses a job. */
#include <errno.h>
#include <fluxgate/ext/inspect.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../abi/wicked/digest.h"
#include "rig.h"
#include "util/clock.h"
#include "util/str.h"

static struct rig *open_child(void)
{
    struct rig *r = calloc(1, sizeof *r);
    struct fg_error err = {0};
    if (rig_open(r, NULL, "wicked", "{}", 0, &err) != FG_OK)
        fail_msg("%s", err.text);
    rig_load(r);
    return r;
}

static void close_child(struct rig *r)
{
    rig_close(r);
    free(r);
}

static void a_job_runs_in_a_child(void **state)
{
    struct rig *r = open_child();
    struct rig_job j = {0};
    (void)state;
    assert_true(r->pid > 0 && r->pid != getpid());
    rig_start(r, &j, "say 100");
    assert_true(rig_wait(&j, 10));
    assert_int_equal(j.submitted, FG_OK);
    assert_int_equal(j.texts, 100);
    assert_int_equal(j.out_of_order, 0);
    assert_int_equal(j.lasts, 1);
    assert_int_equal(j.last_kind, FG_EV_DONE);
    assert_int_equal(j.last_code, FG_END_STOP);
    assert_int_equal(j.prompt_tokens, 5);
    assert_string_equal(r->table->name, "wicked");
    assert_string_equal(r->table->version, "6.6.6");
    int32_t pid = r->pid;
    close_child(r);
    assert_int_equal(kill(pid, 0), -1); /* reaped */
    assert_int_equal(errno, ESRCH);
}

static void fill_request(struct fg_request *q)
{
    static char large[300000];
    static struct fg_part parts[] = {
        {.kind = FG_PART_TEXT, .data = FG_STR("hello")},
        {.kind = FG_PART_IMAGE, .data = {large, sizeof large}, .name = FG_STR("image/png")},
        {.kind = FG_PART_TOOL_CALL, .data = FG_STR("{}"), .name = FG_STR("f"), .id = FG_STR("1")}};
    static const struct fg_message messages[] = {
        {.role = FG_ROLE_SYSTEM, .part_count = 1, .parts = parts},
        {.role = FG_ROLE_USER, .part_count = 0},
        {.role = FG_ROLE_ASSISTANT, .part_count = 3, .parts = parts}};
    static const struct fg_tool tools[] = {{FG_STR("f"), FG_STR("about f"), FG_STR("{\"a\":1}")},
                                           {FG_STR("g"), FG_STR(""), FG_STR("{}")}};
    static const struct fg_bias bias[] = {{5, 0.5f}, {6, -100}};
    static const struct fg_sampling sampling = {.size = sizeof sampling,
                                                .set = FG_SET_SEED | FG_SET_TOP_K,
                                                .temperature = 0.3f,
                                                .top_k = 40,
                                                .seed = 1ull << 60,
                                                .bias = bias,
                                                .bias_count = 2};
    static const int32_t tokens[] = {1, 2, 3, -4}, resumed[] = {9};
    static const struct fg_str stops[] = {FG_STR("\n"), FG_STR(""), FG_STR("END")};
    memset(large, 'z', sizeof large);
    *q = (struct fg_request){
        .size = sizeof *q,
        .op = FG_OP_CHAT,
        .flags = FG_REQ_TOKENS | FG_REQ_SHIFT,
        .id = FG_STR("req-1"),
        .messages = messages,
        .message_count = 3,
        .tools = tools,
        .tool_count = 2,
        .tool_choice = FG_STR("auto"),
        .input_tokens = tokens,
        .input_token_count = 4,
        .stops = stops,
        .stop_count = 3,
        .sampling = &sampling,
        .max_tokens = 17,
        .choices = 2,
        .top_logprobs = 5,
        .logprobs = 1,
        .schema_json = FG_STR("{\"type\":\"object\"}"),
        .thinking = FG_STR("low"),
        .options_json = FG_STR("{\"x\":[1]}"),
        .resume_tokens = resumed,
        .resume_count = 1,
        .cache_scope = FG_STR("key-1"),
    };
}

static void every_field_of_a_request_crosses(void **state)
{
    struct rig *r = open_child();
    struct rig_job j = {0};
    struct digest d;
    (void)state;
    fill_request(&j.request);
    digest_request(&d, &j.request);
    rig_start_request(r, &j);
    assert_true(rig_wait(&j, 10));
    assert_string_equal(j.text, d.text);
    close_child(r);
}

static void look_at_probs(struct rig_job *j, const struct fg_event *ev)
{
    if (ev->kind != FG_EV_TEXT) {
        j->out_of_order += ev->code != FG_END_LENGTH || !fg_str_is(ev->text, "stop");
        return;
    }
    bool good = fg_str_is(ev->text, "ad") && fg_str_is(ev->name, "name") &&
                fg_str_is(ev->id, "id") && ev->token_count == 2 && ev->tokens[1] == 8 &&
                ev->value_count == 1 && ev->values[0] == 0.25f && ev->code == 3 &&
                ev->usage->cached_tokens == 77 && ev->logprob_count == 2 &&
                ev->logprobs[0].top_count == 2 && ev->logprobs[0].top[1].token == 9 &&
                fg_str_is(ev->logprobs[0].top[1].bytes, "bc") &&
                fg_str_is(ev->logprobs[1].bytes, "d") && !ev->logprobs[1].top;
    j->out_of_order += !good;
}

static void every_field_of_an_event_crosses(void **state)
{
    struct rig *r = open_child();
    struct rig_job j = {.look = look_at_probs};
    (void)state;
    rig_start(r, &j, "probs");
    assert_true(rig_wait(&j, 10));
    assert_int_equal(j.out_of_order, 0);
    assert_int_equal(j.texts, 1);
    close_child(r);
}

static void large_payloads_cross(void **state)
{
    struct rig *r = open_child();
    struct rig_job e = {0}, t = {0}, big = {0};
    char *words = malloc(20 << 20);
    (void)state;
    rig_start(r, &e, "embed 200000");
    rig_start(r, &t, "text 5000000");
    assert_true(rig_wait(&e, 10));
    assert_true(rig_wait(&t, 10));
    assert_int_equal(e.values, 200000);
    assert_true(e.last_value == 199999);
    assert_int_equal(t.text_bytes, 5000000);
    memset(words, ' ', 20 << 20);
    memcpy(words, "say 3", 5);
    words[(20 << 20) - 1] = '\0';
    rig_start(r, &big, words);
    assert_true(rig_wait(&big, 20));
    assert_int_equal(big.texts, 3);
    free(words);
    close_child(r);
}

static void a_request_beyond_all_measure_is_refused(void **state)
{
    struct rig *r = open_child();
    struct rig_job j = {0};
    char *words = malloc(70 << 20);
    (void)state;
    memset(words, ' ', 70 << 20);
    words[(70 << 20) - 1] = '\0';
    rig_start(r, &j, words);
    assert_true(rig_wait(&j, 10));
    assert_int_equal(j.submitted, FG_INVALID);
    free(words);
    close_child(r);
}

/* ---- calls ---- */

struct seen {
    int count;
    char names[64];
    struct fg_model_info info;
    size_t bytes;
};

static void on_model(void *ctx, const struct fg_model_info *info)
{
    struct seen *s = ctx;
    s->count++;
    s->info = *info;
    size_t n = strlen(s->names);
    snprintf(s->names + n, sizeof s->names - n, "%.*s,", FG_STR_ARG(info->name));
    s->info.device = fg_str_is(info->device, "a card") ? FG_STR("right") : FG_STR("wrong");
}

static void on_json(void *ctx, struct fg_str json)
{
    struct seen *s = ctx;
    s->count++;
    s->bytes = json.len;
}

static void on_metric(void *ctx, const char *name, const char *labels, double value)
{
    struct seen *s = ctx;
    s->count++;
    if (strcmp(name, "wicked_models") == 0)
        s->bytes = strcmp(labels, "model=\"a\",kind=\"b\\\"c\"") == 0 ? (size_t)value : 99;
    if (strcmp(name, "wicked_bad") == 0 || name[0] == '1')
        s->count += 100;
}

static void on_progress(void *ctx, float fraction)
{
    struct seen *s = ctx;
    s->count++;
    s->bytes = (size_t)(fraction * 1000);
}

static void the_calls_of_a_backend_cross(void **state)
{
    struct rig *r = open_child();
    struct seen list = {0}, info = {0}, json = {0};
    struct fg_error err = {0};
    (void)state;
    assert_int_equal(r->table->list(r->backend, on_model, &list, &err), FG_OK);
    assert_string_equal(list.names, "one,two,");
    r->table->info(r->model, on_model, &info);
    assert_int_equal(info.count, 1);
    assert_string_equal(info.names, "m,");
    assert_true(info.info.parameters == 123456789012);
    assert_int_equal(info.info.max_running, 64);
    assert_true(fg_str_is(info.info.device, "right"));
    struct fg_device d = {.size = sizeof d};
    assert_int_equal(r->table->device(r->backend, 1, &d), FG_OK);
    assert_string_equal(d.name, "card 1");
    assert_string_equal(d.reason, "hot");
    assert_int_equal(d.state, FG_DEVICE_DEGRADED);
    assert_int_equal(r->table->device(r->backend, 2, &d), FG_NOT_FOUND);
    const struct fg_inspect *ext = r->table->extension(r->backend, FG_EXT_INSPECT);
    assert_non_null(ext);
    assert_null(r->table->extension(r->backend, "fluxgate.nothing/1"));
    assert_int_equal(ext->inspect(r->backend, FG_STR("1000000"), 1, on_json, &json, &err), FG_OK);
    assert_int_equal(json.count, 1);
    assert_int_equal(json.bytes, 1000001);
    assert_int_equal(ext->inspect(r->backend, FG_STR("fail"), 0, on_json, &json, &err), FG_INVALID);
    assert_string_equal(err.text, "not a model");
    close_child(r);
}

static void metrics_that_are_fit_for_a_page_cross(void **state)
{
    struct rig *r = open_child();
    (void)state;
    struct seen s = {0};
    for (int i = 0; i < 3000 && s.bytes != 1; i++) { /* they come with the next look of the child */
        usleep(1000);
        s = (struct seen){0};
        r->table->metrics(r->backend, on_metric, &s);
    }
    assert_int_equal(s.bytes, 1);
    assert_int_equal(s.count, 3);
    close_child(r);
}

static void loading_tells_progress_and_why_it_failed(void **state)
{
    struct rig *r = open_child();
    struct seen s = {0};
    struct fg_error err = {0};
    struct fg_model *m = NULL;
    struct fg_model_spec spec = {.size = sizeof spec,
                                 .name = FG_STR("n"),
                                 .path = FG_STR("slow"),
                                 .progress = on_progress,
                                 .progress_ctx = &s};
    (void)state;
    assert_int_equal(r->table->load(r->backend, &spec, &m, &err), FG_OK);
    assert_in_range(s.count, 2, 10);
    r->table->unload(m);
    spec.path = FG_STR("fail");
    assert_int_equal(r->table->load(r->backend, &spec, &m, &err), FG_INVALID);
    assert_string_equal(err.text, "fail.gguf: tensor x: type 99 is not supported");
    assert_int_equal(err.status, FG_INVALID);
    close_child(r);
}

static void the_plugin_can_log_and_be_loud(void **state)
{
    struct rig r;
    struct fg_error err = {0};
    (void)state;
    assert_int_equal(rig_open(&r, NULL, "wicked", "{\"log\":1,\"noisy\":1}", 0, &err), FG_OK);
    assert_true(rig_until(&r.logs, 1, 5));
    assert_string_equal(r.log, "a line from the plugin");
    rig_close(&r);
}

/* ---- credit ---- */

static void pause_and_resume_cross(void **state)
{
    struct rig *r = open_child();
    struct rig_job j = {0};
    (void)state;
    rig_start_held(r, &j, "polite 20000");
    usleep(200000);
    assert_int_equal(j.texts, 0);
    rig_unhold(&j);
    assert_true(rig_wait(&j, 30));
    assert_int_equal(j.texts, 20000);
    assert_int_equal(j.out_of_order, 0);
    assert_true(strncmp(j.last_text, "pauses=", 7) == 0);
    long pauses = strtol(j.last_text + 7, NULL, 10);
    assert_true(pauses > 0);
    assert_true(j.resumes > 0);
    close_child(r);
}

static void a_held_job_does_not_hold_others(void **state)
{
    struct rig *r = open_child();
    struct rig_job held = {0}, other = {0};
    (void)state;
    rig_start_held(r, &held, "polite 20000");
    usleep(50000);
    rig_start(r, &other, "say 1000");
    assert_true(rig_wait(&other, 10));
    assert_int_equal(other.texts, 1000);
    rig_cancel(&held);
    rig_unhold(&held);
    assert_true(rig_wait(&held, 10));
    assert_int_equal(held.last_code, FG_END_CANCELLED);
    close_child(r);
}

static void a_flood_is_bounded(void **state)
{
    struct rig *r = open_child();
    struct rig_job j = {0};
    (void)state;
    rig_start_held(r, &j, "flood 100 1000000");
    assert_true(rig_until(&r->logs, 1, 60)); /* all of it was sent, and so it was read */
    rig_unhold(&j);
    rig_cancel(&j);
    assert_true(rig_wait(&j, 30));
    assert_int_equal(j.lasts, 1);
    assert_int_equal(j.last_kind, FG_EV_FAILED);
    assert_int_equal(j.last_code, FG_INTERNAL);
    assert_true(j.text_bytes < 80 << 20);
    close_child(r);
}

/* ---- ends ---- */

static void cancel_is_answered_with_one_last_event(void **state)
{
    struct rig *r = open_child();
    struct rig_job wait = {0}, soon = {.want_cancel = 5};
    (void)state;
    rig_start(r, &wait, "wait");
    rig_start(r, &soon, "say 1000000");
    rig_cancel(&wait);
    assert_true(rig_wait(&wait, 10));
    assert_true(rig_wait(&soon, 10));
    assert_int_equal(wait.last_code, FG_END_CANCELLED);
    assert_int_equal(wait.lasts, 1);
    assert_int_equal(soon.lasts, 1);
    assert_true(soon.texts < 1000000);
    close_child(r);
}

static void a_refusal_comes_as_the_last_event(void **state)
{
    struct rig *r = open_child();
    struct rig_job busy = {0}, invalid = {0}, long_one = {0}, strange = {0};
    (void)state;
    rig_start(r, &busy, "refuse 4");
    rig_start(r, &invalid, "refuse 1");
    rig_start(r, &long_one, "toolong");
    rig_start(r, &strange, "refuse 99");
    assert_true(rig_wait(&busy, 5) && rig_wait(&invalid, 5) && rig_wait(&long_one, 5) &&
                rig_wait(&strange, 5));
    assert_int_equal(busy.submitted, FG_OK);
    assert_int_equal(busy.last_code, FG_BUSY);
    assert_int_equal(invalid.last_code, FG_INVALID);
    assert_string_equal(invalid.last_text, "refused as asked");
    assert_int_equal(long_one.last_code, FG_TOO_LONG);
    assert_int_equal(long_one.prompt_tokens, 1234);
    assert_int_equal(strange.last_code, FG_INTERNAL);
    close_child(r);
}

static void nothing_follows_the_last_event(void **state)
{
    struct rig *r = open_child();
    struct rig_job j = {0}, next = {0};
    (void)state;
    rig_start(r, &j, "twice");
    assert_true(rig_wait(&j, 5));
    rig_start(r, &next, "say 10");
    assert_true(rig_wait(&next, 5));
    assert_int_equal(j.lasts, 1);
    assert_string_equal(j.last_text, "first");
    assert_int_equal(next.texts, 10);
    close_child(r);
}

static void a_crash_gives_each_job_one_failure(void **state)
{
    struct rig *r = open_child();
    struct rig_job jobs[8] = {0}, bad = {0}, after = {0};
    (void)state;
    for (int i = 0; i < 8; i++)
        rig_start(r, &jobs[i], "burst 1000000 1000");
    for (int i = 0; i < 8; i++)
        assert_true(rig_until(&jobs[i].texts, 1, 5));
    rig_start(r, &bad, "exit 3");
    assert_true(rig_wait(&bad, 10));
    assert_int_equal(bad.texts, 3);
    for (int i = 0; i < 8; i++) {
        assert_true(rig_wait(&jobs[i], 10));
        assert_int_equal(jobs[i].lasts, 1);
        assert_int_equal(jobs[i].last_kind, FG_EV_FAILED);
        assert_int_equal(jobs[i].last_code, FG_DEVICE_LOST);
    }
    assert_int_equal(r->gone, 1);
    assert_string_equal(r->reason, "its process ended with exit code 3");
    rig_start(r, &after, "say 1");
    assert_true(rig_wait(&after, 5));
    assert_int_equal(after.submitted, FG_DEVICE_LOST);
    close_child(r);
}

static void kill_nine_during_streams(void **state)
{
    struct rig *r = open_child();
    struct rig_job jobs[8] = {0};
    (void)state;
    for (int i = 0; i < 8; i++)
        rig_start(r, &jobs[i], "burst 1000000 500");
    for (int i = 0; i < 8; i++)
        assert_true(rig_until(&jobs[i].texts, 10, 5));
    uint64_t at = fg_clock_ns();
    kill(r->pid, SIGKILL);
    for (int i = 0; i < 8; i++) {
        assert_true(rig_wait(&jobs[i], 10));
        assert_int_equal(jobs[i].lasts, 1);
        assert_int_equal(jobs[i].last_code, FG_DEVICE_LOST);
    }
    assert_true(fg_clock_ns() - at < FG_NS_PER_S);
    assert_string_equal(r->reason, "its process ended by signal 9 (Killed)");
    close_child(r);
}

static void a_call_ends_with_its_child(void **state)
{
    struct rig *r = open_child();
    struct fg_error err = {0};
    struct fg_model *m = NULL;
    const struct fg_model_spec spec = {
        .size = sizeof spec, .name = FG_STR("n"), .path = FG_STR("crash")};
    (void)state;
    assert_int_equal(r->table->load(r->backend, &spec, &m, &err), FG_DEVICE_LOST);
    assert_true(strstr(err.text, "its process ended") != NULL);
    assert_int_equal(r->table->list(r->backend, on_model, NULL, &err), FG_DEVICE_LOST);
    close_child(r);
}

static void what_hangs_is_ended(void **state)
{
    struct rig r;
    struct fg_error err = {0};
    struct rig_job j = {0};
    struct fg_model *m = NULL;
    const struct fg_model_spec spec = {
        .size = sizeof spec, .name = FG_STR("n"), .path = FG_STR("hang")};
    (void)state;
    assert_int_equal(rig_open(&r, NULL, "wicked", "{}", 500 * FG_NS_PER_MS, &err), FG_OK);
    rig_load(&r);
    assert_int_equal(r.table->load(r.backend, &spec, &m, &err), FG_TIMEOUT);
    assert_true(rig_until(&r.gone, 1, 5));
    rig_close(&r);
    assert_int_equal(rig_open(&r, NULL, "wicked", "{}", 500 * FG_NS_PER_MS, &err), FG_OK);
    rig_load(&r);
    rig_start(&r, &j, "hang");
    assert_true(rig_wait(&j, 10));
    assert_int_equal(j.last_code, FG_DEVICE_LOST);
    assert_string_equal(r.reason, "its jobs did not move for too long");
    rig_close(&r);
}

static void a_paused_job_is_no_hang(void **state)
{
    struct rig r;
    struct fg_error err = {0};
    struct rig_job j = {0};
    (void)state;
    assert_int_equal(rig_open(&r, NULL, "wicked", "{}", 500 * FG_NS_PER_MS, &err), FG_OK);
    rig_load(&r);
    rig_start_held(&r, &j, "polite 5000");
    usleep(1500000);
    assert_int_equal(r.gone, 0);
    rig_unhold(&j);
    assert_true(rig_wait(&j, 10));
    assert_int_equal(j.texts, 5000);
    rig_close(&r);
}

static void a_child_that_does_not_read_is_ended(void **state)
{
    struct rig r;
    struct fg_error err = {0};
    enum { JOBS = 16 };
    static struct rig_job jobs[JOBS];
    char *words = malloc(1 << 20);
    (void)state;
    memset(jobs, 0, sizeof jobs);
    memset(words, ' ', 1 << 20);
    memcpy(words, "deaf", 4);
    words[60000] = '\0';
    assert_int_equal(rig_open(&r, NULL, "wicked", "{}", 2 * FG_NS_PER_S, &err), FG_OK);
    rig_load(&r);
    r.host.ctx = &r;
    for (int i = 0; i < JOBS; i++)
        rig_start(&r, &jobs[i], words);
    for (int i = 0; i < JOBS; i++) {
        assert_true(rig_wait(&jobs[i], 10));
        assert_int_equal(jobs[i].last_code, FG_DEVICE_LOST);
    }
    rig_close(&r);
    free(words);
}

/* ---- openings ---- */

static void a_refused_configuration_is_told(void **state)
{
    struct rig r;
    struct fg_error err = {0};
    (void)state;
    assert_int_equal(rig_open(&r, NULL, "wicked", "refuse", 0, &err), FG_INVALID);
    assert_string_equal(err.text, "configuration: key \"do\" is not known");
    assert_int_equal(r.gone, 0);
    rig_close(&r);
}

static void a_crash_while_opening_is_a_lost_child(void **state)
{
    struct rig r;
    struct fg_error err = {0};
    (void)state;
    assert_int_equal(rig_open(&r, NULL, "wicked", "crash", 0, &err), FG_DEVICE_LOST);
    assert_true(strstr(err.text, "its process ended") != NULL);
    rig_close(&r);
    assert_int_equal(rig_open(&r, NULL, "wicked", "hang", FG_NS_PER_S, &err), FG_DEVICE_LOST);
    assert_true(strstr(err.text, "in time") != NULL);
    rig_close(&r);
}

static void a_missing_host_is_one_message(void **state)
{
    struct rig r;
    struct fg_error err = {0};
    (void)state;
    assert_int_equal(rig_open(&r, "/nonexistent/host", "wicked", "{}", 0, &err), FG_INTERNAL);
    assert_true(strstr(err.text, "/nonexistent/host") != NULL);
    rig_close(&r);
}

static void a_child_that_is_none_is_ended(void **state)
{
    static const struct {
        const char *how, *reason;
        bool opens;
    } cases[] = {
        {"exit", "ended with exit code 7", false},
        {"silent", "in time", false},
        {"garbage", "is no message", false},
        {"stranger", "not the host of this build", false},
        {"offsets", "broke the protocol", true},
        {"huge", "is no message", true},
        {"unsealed", "is no message", true},
        {"pipe", "is no message", true},
        {"fds", "descriptors", true},
        {"orphan", "ended with exit code 0", true},
    };
    char path[512];
    (void)state;
    rig_file(path, sizeof path, "wicked_child");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;
        struct fg_error err = {0};
        int32_t rc = rig_open(&r, path, cases[i].how, "{}", FG_NS_PER_S, &err);
        if (rc == FG_OK)
            assert_true(rig_until(&r.gone, 1, 5));
        else
            assert_int_equal(rc, FG_DEVICE_LOST);
        const char *why = rc == FG_OK ? r.reason : err.text;
        if (!strstr(why, cases[i].reason))
            fail_msg("%s: %s", cases[i].how, why);
        assert_true(cases[i].opens || rc != FG_OK);
        rig_close(&r);
    }
}

static void an_event_that_may_not_be_ends_the_child(void **state)
{
    static const char *const words[] = {"kind 77", "kind -1", "choice 5"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct rig *r = open_child();
        struct rig_job j = {0};
        rig_start(r, &j, words[i]);
        assert_true(rig_wait(&j, 5));
        assert_int_equal(j.last_code, FG_DEVICE_LOST);
        assert_int_equal(j.lasts, 1);
        assert_true(strstr(r->reason, "broke the protocol") != NULL);
        close_child(r);
    }
}

/* ---- many ---- */

static void sixty_four_streams_at_once(void **state)
{
    enum { STREAMS = 64 };
    struct rig *r = open_child();
    struct rig_job *jobs = calloc(STREAMS, sizeof *jobs);
    (void)state;
    for (int i = 0; i < STREAMS; i++)
        rig_start(r, &jobs[i], "burst 200 500");
    for (int i = 0; i < STREAMS; i++) {
        assert_true(rig_wait(&jobs[i], 60));
        assert_int_equal(jobs[i].texts, 200);
        assert_int_equal(jobs[i].out_of_order, 0);
        assert_int_equal(jobs[i].lasts, 1);
    }
    free(jobs);
    close_child(r);
}

static void cancel_races_with_the_end(void **state)
{
    enum { ROUNDS = 300 };
    struct rig *r = open_child();
    struct rig_job *jobs = calloc(ROUNDS, sizeof *jobs);
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        jobs[i].want_cancel = 1 + i % 20;
        rig_start(r, &jobs[i], i % 2 ? "say 20" : "polite 20");
    }
    for (int i = 0; i < ROUNDS; i++) {
        assert_true(rig_wait(&jobs[i], 30));
        assert_int_equal(jobs[i].lasts, 1);
    }
    free(jobs);
    close_child(r);
}

static void the_end_of_a_child_races_with_new_jobs(void **state)
{
    enum { JOBS = 40 };
    (void)state;
    for (int round = 0; round < 5; round++) {
        struct rig *r = open_child();
        struct rig_job *jobs = calloc(JOBS, sizeof *jobs);
        for (int i = 0; i < JOBS; i++) {
            jobs[i].want_cancel = i % 3 ? -1 : 2;
            rig_start(r, &jobs[i], "burst 100 200");
            if (i == JOBS / 2)
                kill(r->pid, SIGKILL);
        }
        for (int i = 0; i < JOBS; i++) {
            assert_true(rig_wait(&jobs[i], 10));
            assert_int_equal(jobs[i].lasts, jobs[i].submitted == FG_OK);
        }
        free(jobs);
        close_child(r);
    }
}

/* ---- the process ---- */

static void read_file(int pid, const char *what, char *to, size_t room)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(to, 1, room - 1, f) : 0;
    to[n] = '\0';
    if (f)
        fclose(f);
}

static void the_child_has_only_what_it_needs(void **state)
{
    setenv("SECRET_KEY", "hidden", 1);
    struct rig *r = open_child();
    char text[8192];
    (void)state;
    read_file(r->pid, "environ", text, sizeof text);
    assert_null(memmem(text, sizeof text, "hidden", 6));
    read_file(r->pid, "comm", text, sizeof text);
    assert_string_equal(text, "fg-wicked\n");
    read_file(r->pid, "status", text, sizeof text);
    assert_non_null(strstr(text, "NoNewPrivs:\t1"));
    read_file(r->pid, "limits", text, sizeof text);
    const char *core = strstr(text, "Max core file size");
    assert_non_null(core);
    assert_non_null(strstr(core, "0                    0"));
    char own[32], its[32];
    read_file(getpid(), "oom_score_adj", own, sizeof own);
    read_file(r->pid, "oom_score_adj", its, sizeof its);
    assert_true(strtol(its, NULL, 10) > strtol(own, NULL, 10) || strtol(own, NULL, 10) == 1000);
    assert_int_equal(getpgid(r->pid), r->pid);
    unsetenv("SECRET_KEY");
    close_child(r);
}

static void the_child_dies_with_us(void **state)
{
    int fds[2];
    int32_t pid = 0;
    (void)state;
    assert_int_equal(pipe(fds), 0);
    pid_t gateway = fork(); /* no other thread of ours is alive here */
    if (gateway == 0) {
        struct rig *r = calloc(1, sizeof *r);
        if (rig_open(r, NULL, "wicked", "{}", 0, NULL) != FG_OK)
            _exit(1);
        if (write(fds[1], &r->pid, sizeof r->pid) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(fds[0], &pid, sizeof pid), sizeof pid);
    assert_int_equal(kill(pid, 0), 0);
    kill(gateway, SIGKILL);
    waitpid(gateway, NULL, 0);
    char text[1024];
    bool gone = false;
    for (int i = 0; i < 2000 && !gone; i++) {
        usleep(1000);
        read_file(pid, "stat", text, sizeof text);
        gone = !text[0] || strstr(text, ") Z ") != NULL; /* nobody reaps here: a zombie will do */
    }
    close(fds[0]);
    close(fds[1]);
    assert_true(gone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_child_dies_with_us),
        cmocka_unit_test(a_job_runs_in_a_child),
        cmocka_unit_test(every_field_of_a_request_crosses),
        cmocka_unit_test(every_field_of_an_event_crosses),
        cmocka_unit_test(large_payloads_cross),
        cmocka_unit_test(a_request_beyond_all_measure_is_refused),
        cmocka_unit_test(the_calls_of_a_backend_cross),
        cmocka_unit_test(metrics_that_are_fit_for_a_page_cross),
        cmocka_unit_test(loading_tells_progress_and_why_it_failed),
        cmocka_unit_test(the_plugin_can_log_and_be_loud),
        cmocka_unit_test(pause_and_resume_cross),
        cmocka_unit_test(a_held_job_does_not_hold_others),
        cmocka_unit_test(a_flood_is_bounded),
        cmocka_unit_test(cancel_is_answered_with_one_last_event),
        cmocka_unit_test(a_refusal_comes_as_the_last_event),
        cmocka_unit_test(nothing_follows_the_last_event),
        cmocka_unit_test(a_crash_gives_each_job_one_failure),
        cmocka_unit_test(kill_nine_during_streams),
        cmocka_unit_test(a_call_ends_with_its_child),
        cmocka_unit_test(what_hangs_is_ended),
        cmocka_unit_test(a_paused_job_is_no_hang),
        cmocka_unit_test(a_child_that_does_not_read_is_ended),
        cmocka_unit_test(a_refused_configuration_is_told),
        cmocka_unit_test(a_crash_while_opening_is_a_lost_child),
        cmocka_unit_test(a_missing_host_is_one_message),
        cmocka_unit_test(a_child_that_is_none_is_ended),
        cmocka_unit_test(an_event_that_may_not_be_ends_the_child),
        cmocka_unit_test(sixty_four_streams_at_once),
        cmocka_unit_test(cancel_races_with_the_end),
        cmocka_unit_test(the_end_of_a_child_races_with_new_jobs),
        cmocka_unit_test(the_child_has_only_what_it_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
