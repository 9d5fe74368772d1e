/*
 * What happens to models and jobs when the cards' health changes: two backends that follow a
 * script ("toy" on card 0, "spare" on card 1), and cards that are what the test says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fakes.h"
#include "util/clock.h"

struct client {
    uint32_t started, overs;
    int32_t reason;
    char backend[16], skipped[200], text[200];
    bool has_joules;
    double joules;
    struct fg_request request;
    struct fg_hub_job *job;
};

static char root[64];
static char *directory = root;
static struct fg_hub *hub;
static struct fg_conf conf;
static struct fg_conf_backend backends[2];
static char *card_0[] = {(char *)"0"}, *card_1[] = {(char *)"1"};

static void on_started(void *ctx, const struct fg_served *served)
{
    struct client *c = ctx;
    c->started++;
    snprintf(c->backend, sizeof c->backend, "%.*s", FG_STR_ARG(served->backend));
    snprintf(c->skipped, sizeof c->skipped, "%.*s", FG_STR_ARG(served->skipped));
}
static void on_event(void *ctx, const struct fg_event *ev)
{
    (void)ctx, (void)ev;
}
static void on_over(void *ctx, const struct fg_job_end *end)
{
    struct client *c = ctx;
    c->overs++;
    c->reason = end->reason;
    c->has_joules = end->has_joules;
    c->joules = end->joules;
    snprintf(c->text, sizeof c->text, "%.*s", FG_STR_ARG(end->text));
}
static const struct fg_job_sink sink = {on_started, on_event, on_over, NULL};

static void ask_for(struct client *c, const char *model)
{
    *c = (struct client){.request = {.size = sizeof c->request, .op = FG_OP_CHAT}};
    struct fg_job_ask ask = {.model = fg_str_of(model),
                             .request = &c->request,
                             .arena = fg_arena_open(0, 4096),
                             .sink = &sink,
                             .ctx = c};
    c->job = fg_job_start(hub, fake_worker(), &ask);
}

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

static int setup(void **state)
{
    (void)state;
    fake_reset();
    fake.backends = 2;
    fake.spare_state = FG_BACKEND_UP;
    snprintf(root, sizeof root, "/tmp/fg-flow-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    put("toy.gguf");
    put("other.gguf");
    backends[0] = (struct fg_conf_backend){.gpus = card_0, .gpu_count = 1};
    backends[1] = (struct fg_conf_backend){.gpus = card_1, .gpu_count = 1};
    conf = (struct fg_conf){
        .models = {.directories = &directory,
                   .directory_count = 1,
                   .max_loaded = 1,
                   .keep_alive_ns = 60000000000},
        .queue = {.max_waiting = 8, .deadline_ms = 3000, .load_timeout_ms = 3000},
        .backends = backends,
        .backend_count = 2,
    };
    return 0;
}

static void open_hub(void)
{
    fake_cards(2);
    assert_int_equal(fg_hub_open(&conf, fake_registry(), &hub, NULL), FG_OK);
    fg_hub_attach_gpu(hub, fake_gpu());
}

static void nothing(void *ctx, bool found)
{
    (void)ctx, (void)found;
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
    until(&fake.lists, 1);
    turns(5);
    fg_hub_unload(hub, fake_worker(), FG_STR("toy"), nothing, NULL);
    fg_hub_unload(hub, fake_worker(), FG_STR("other"), nothing, NULL);
    for (int i = 0; i < 200 && fake.live_models; i++) {
        fake_turn();
        usleep(1000);
    }
    assert_int_equal(fake.live_models, 0);
    fg_hub_close(hub);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void card_is(uint32_t index, int32_t state, int32_t cause, const char *reason)
{
    struct fg_gpu_card *c = &fake.gpus->cards[index];
    c->state = state;
    c->cause = cause;
    c->weight = fg_health_may_serve(state) ? 1 : 0;
    snprintf(c->reason, sizeof c->reason, "%s", reason);
}

static void ends_well(struct client *c, uint32_t job)
{
    fake_text(job, "x");
    fake_done(job);
    until(&c->overs, 1);
    assert_int_equal(c->reason, FG_JOB_OK);
}

static void a_sick_card_is_passed_over_and_it_is_said(void **state)
{
    (void)state;
    struct client c;
    open_hub();
    card_is(0, FG_GPU_LOST, FG_CAUSE_LOST, "XID 79: it has fallen off the bus");
    ask_for(&c, "toy");
    until(&fake.submits, 1);
    ends_well(&c, 0);
    assert_string_equal(c.backend, "spare");
    assert_string_equal(c.skipped, "toy: gpu 0 lost: XID 79: it has fallen off the bus");
    json_t *health = fg_hub_health(hub);
    assert_string_equal(json_string_value(json_object_get(health, "status")), "degraded");
    assert_string_equal(json_string_value(json_array_get(json_object_get(health, "reasons"), 0)),
                        "gpu 0 (Tesla P40): lost: XID 79: it has fallen off the bus");
    const json_t *gpu = json_array_get(json_object_get(health, "gpus"), 0);
    assert_string_equal(json_string_value(json_array_get(json_object_get(gpu, "backends"), 0)),
                        "toy");
    json_decref(health);
}

static void a_draining_card_lets_run_and_takes_nobody(void **state)
{
    (void)state;
    struct client a, b;
    open_hub();
    ask_for(&a, "toy");
    until(&fake.submits, 1);
    fake_text(0, "x");
    until(&a.started, 1);
    card_is(0, FG_GPU_DRAINING, FG_CAUSE_MEMORY_FAULT, "XID 48: double bit ECC error");
    fake_cards_changed();
    ask_for(&b,
            "toy"); /* the same model: it is loaded elsewhere, though one may be loaded at once */
    until(&fake.submits, 2);
    assert_string_equal(fake.loaded_on, "spare");
    assert_int_equal(fake.restarts, 0); /* not while somebody is on it */
    assert_int_equal(a.overs, 0);
    fake_done(0);
    until(&a.overs, 1);
    assert_int_equal(a.reason, FG_JOB_OK);
    assert_string_equal(a.backend, "toy");
    until(&fake.unloads, 1);
    turns(3);
    assert_int_equal(fake.restarts, 1); /* it is empty: a new process, a new context */
    fg_hub_backend_changed(hub, fake_slot());
    assert_int_equal(fake.gpu_restarts, 1);
    ends_well(&b, 1);
}

static void who_waits_for_a_lost_card_goes_elsewhere(void **state)
{
    (void)state;
    struct client a, b;
    open_hub();
    ask_for(&a, "toy");
    until(&fake.submits, 1);
    ask_for(&b, "toy");
    turns(5);
    assert_int_equal(fake.submits, 1);
    card_is(0, FG_GPU_LOST, FG_CAUSE_LOST, "gone");
    fake_cards_changed();
    assert_int_equal(fake.restarts, 1); /* what runs there cannot end well */
    until(&fake.submits, 2);
    ends_well(&b, 1);
    assert_string_equal(b.backend, "spare");
    fake_failed(0, FG_DEVICE_LOST, "its process was ended"); /* nothing was said yet: once more */
    until(&fake.submits, 3);
    ends_well(&a, 2);
    assert_string_equal(a.backend, "spare");
}

static void no_card_for_now_is_waited_for_and_none_at_all_is_not(void **state)
{
    (void)state;
    struct client a, b;
    open_hub();
    card_is(0, FG_GPU_FAILED_RESTART, FG_CAUSE_CONTEXT, "XID 13");
    card_is(1, FG_GPU_LOST, FG_CAUSE_LOST, "gone");
    ask_for(&a, "toy");
    for (int i = 0; i < 30; i++) {
        fake_turn();
        usleep(2000);
    }
    assert_int_equal(a.overs, 0);
    card_is(0, FG_GPU_READY, FG_CAUSE_NONE, "");
    fake_cards_changed();
    until(&fake.submits, 1);
    ends_well(&a, 0);
    card_is(0, FG_GPU_LOST, FG_CAUSE_LOST, "gone");
    fake_cards_changed();
    ask_for(&b, "toy");
    until(&b.overs, 1);
    assert_int_equal(b.reason, FG_JOB_NO_BACKEND);
    assert_string_equal(b.text, "gpu 0 lost: gone");
}

static void a_hot_card_serves_fewer_at_once(void **state)
{
    (void)state;
    struct client c[4];
    fake.max_running = 4;
    open_hub();
    fake.gpus->cards[0].admission = 0.5F;
    fake_cards_changed();
    for (int i = 0; i < 4; i++)
        ask_for(&c[i], "toy");
    until(&fake.submits, 2);
    turns(5);
    assert_int_equal(fake.submits, 2);
    fake.gpus->cards[0].admission = 0.25F;
    fake_cards_changed();
    ends_well(&c[0], 0);
    turns(5);
    assert_int_equal(fake.submits, 2); /* one runs, one slot is left */
    fake.gpus->cards[0].admission = 1;
    fake_cards_changed();
    until(&fake.submits, 4);
    for (uint32_t i = 1; i < 4; i++)
        ends_well(&c[i], i);
}

static void the_coolest_card_gets_the_model_when_it_is_asked_for(void **state)
{
    (void)state;
    struct client c;
    conf.models.policy = FG_POLICY_COOLEST;
    open_hub();
    fake.gpus->cards[0].values[FG_GPU_CELSIUS] = 70;
    ask_for(&c, "toy");
    until(&fake.submits, 1);
    ends_well(&c, 0);
    assert_string_equal(c.backend, "spare");
    assert_string_equal(c.skipped, ""); /* a choice, not a loss */
}

static void a_model_without_room_goes_where_there_is_some(void **state)
{
    (void)state;
    struct client c;
    open_hub();
    fake.gpus->cards[0].values[FG_GPU_MEMORY_FREE] = 3; /* bytes: the file has four */
    ask_for(&c, "toy");
    until(&fake.submits, 1);
    ends_well(&c, 0);
    assert_string_equal(c.backend, "spare");
}

static void routes_and_other_names_lead_to_their_backend(void **state)
{
    (void)state;
    struct client c;
    char *only_spare[] = {(char *)"spare"};
    struct fg_conf_route routes[] = {
        {.model = (char *)"Other", .backends = only_spare, .backend_count = 1, .policy = -1},
        {.model = (char *)"*", .policy = FG_POLICY_CHEAPEST}};
    struct fg_conf_alias aliases[] = {{(char *)"gpt-4o", (char *)"other"},
                                      {(char *)"ghost", (char *)"not-there"}};
    conf.models.routes = routes;
    conf.models.route_count = 2;
    conf.models.aliases = aliases;
    conf.models.alias_count = 2;
    open_hub();
    ask_for(&c, "gpt-4o:latest");
    until(&fake.submits, 1);
    ends_well(&c, 0);
    assert_string_equal(c.backend, "spare");
    assert_string_equal(c.skipped, ""); /* toy is not of its route */
    bool invalid;
    json_t *why = fg_hub_explain(hub, FG_STR("GPT-4o"), &invalid);
    assert_string_equal(json_string_value(json_object_get(why, "model")), "other:latest");
    assert_string_equal(json_string_value(json_object_get(why, "route")), "Other");
    assert_string_equal(json_string_value(json_object_get(why, "policy")), "prefer");
    assert_int_equal(json_array_size(json_object_get(why, "candidates")), 1);
    assert_int_equal(json_array_size(json_object_get(why, "loaded")), 1);
    const json_t *no = json_array_get(json_object_get(why, "rejected"), 0);
    assert_string_equal(json_string_value(json_object_get(no, "backend")), "toy");
    assert_string_equal(json_string_value(json_object_get(no, "reason")),
                        "the model's route does not name it");
    json_decref(why);
    why = fg_hub_explain(hub, FG_STR("toy"), &invalid);
    assert_string_equal(json_string_value(json_object_get(why, "policy")), "cheapest");
    assert_int_equal(json_array_size(json_object_get(why, "candidates")), 2);
    json_decref(why);
    assert_null(fg_hub_explain(hub, FG_STR("ghost"), &invalid));
    assert_false(invalid);
    assert_null(fg_hub_explain(hub, FG_STR("../x"), &invalid));
    assert_true(invalid);
}

static void a_card_that_is_not_there_bars_and_no_library_does_not(void **state)
{
    (void)state;
    struct client c, d;
    char *k80[] = {(char *)"K80"};
    backends[0].gpus = k80;
    open_hub();
    ask_for(&c, "toy");
    until(&fake.submits, 1);
    ends_well(&c, 0);
    assert_string_equal(c.backend, "spare");
    assert_string_equal(c.skipped, "toy: no card is \"K80\"");
    fg_hub_unload(hub, fake_worker(), FG_STR("toy"), nothing, NULL);
    until(&fake.unloads, 1);
    fake_cards(0)->has_library = false;
    snprintf(fake.gpus->why, sizeof fake.gpus->why, "no NVML");
    fake_cards_changed();
    ask_for(&d, "toy");
    until(&fake.submits, 2);
    ends_well(&d, 1);
    assert_string_equal(d.backend, "toy");
    json_t *health = fg_hub_health(hub);
    assert_string_equal(json_string_value(json_object_get(health, "status")), "degraded");
    assert_string_equal(json_string_value(json_array_get(json_object_get(health, "reasons"), 0)),
                        "backend toy: health of its cards is not known: no NVML");
    json_decref(health);
}

static void a_job_knows_its_part_of_the_energy(void **state)
{
    (void)state;
    struct client c, d;
    open_hub();
    fake.gpus->cards[0].values[FG_GPU_JOULES] = 1000;
    ask_for(&c, "toy");
    until(&fake.submits, 1);
    fake.gpus->cards[0].values[FG_GPU_JOULES] = 1060;
    ends_well(&c, 0);
    assert_true(c.has_joules);
    assert_true(fabs(c.joules - 60) < 1e-9);
    fake.gpus->cards[0].values[FG_GPU_JOULES] = NAN;
    ask_for(&d, "toy");
    until(&fake.submits, 2);
    ends_well(&d, 1);
    assert_false(d.has_joules);
}

static void a_reload_looks_at_the_cards_afresh(void **state)
{
    (void)state;
    struct client c;
    open_hub();
    conf.models.policy = FG_POLICY_COOLEST;
    fake.gpus->cards[0].values[FG_GPU_CELSIUS] = 70;
    assert_int_equal(fg_hub_reload(hub, &conf, NULL), FG_OK);
    assert_int_equal(fake.gpu_looks, 1);
    ask_for(&c, "toy");
    until(&fake.submits, 1);
    ends_well(&c, 0);
    assert_string_equal(c.backend, "spare");
}

static void cards_that_come_and_go_end_each_job_once(void **state)
{
    (void)state;
    enum { JOBS = 40 };
    static struct client c[JOBS];
    uint32_t done = 0, seed = 7;
    fake.max_running = 3;
    open_hub();
    for (uint32_t i = 0; i < JOBS; i++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t which = seed >> 16 & 1;
        if (seed >> 20 & 1)
            card_is(which, FG_GPU_DRAINING, FG_CAUSE_MEMORY_FAULT, "ECC");
        else
            card_is(which, FG_GPU_READY, FG_CAUSE_NONE, "");
        fake_cards_changed();
        ask_for(&c[i], seed >> 24 & 1 ? "toy" : "other");
        turns(3);
        for (; done < fake.submits && (seed >> 28 & 1); done++) {
            fake_text(done, "x");
            fake_done(done);
        }
        turns(3);
    }
    card_is(0, FG_GPU_READY, FG_CAUSE_NONE, "");
    card_is(1, FG_GPU_READY, FG_CAUSE_NONE, "");
    fake_cards_changed();
    uint64_t end = fg_clock_ns() + 8 * FG_NS_PER_S;
    uint32_t overs = 0;
    while (overs < JOBS && fg_clock_ns() < end) {
        for (; done < fake.submits; done++) {
            fake_text(done, "x");
            fake_done(done);
        }
        fake_turn();
        usleep(500);
        overs = 0;
        for (uint32_t i = 0; i < JOBS; i++)
            overs += c[i].overs;
    }
    for (uint32_t i = 0; i < JOBS; i++) {
        assert_int_equal(c[i].overs, 1);
        assert_true(c[i].reason == FG_JOB_OK || c[i].reason == FG_JOB_QUEUE_FULL);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sick_card_is_passed_over_and_it_is_said),
        TEST(a_draining_card_lets_run_and_takes_nobody),
        TEST(who_waits_for_a_lost_card_goes_elsewhere),
        TEST(no_card_for_now_is_waited_for_and_none_at_all_is_not),
        TEST(a_hot_card_serves_fewer_at_once),
        TEST(the_coolest_card_gets_the_model_when_it_is_asked_for),
        TEST(a_model_without_room_goes_where_there_is_some),
        TEST(routes_and_other_names_lead_to_their_backend),
        TEST(a_card_that_is_not_there_bars_and_no_library_does_not),
        TEST(a_job_knows_its_part_of_the_energy),
        TEST(a_reload_looks_at_the_cards_afresh),
        TEST(cards_that_come_and_go_end_each_job_once),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fake_done_world();
    return failed;
}
