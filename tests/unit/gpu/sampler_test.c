/*
 * Turns of the sampler over scripted cards: what is published, and what follows from events. Most
 * tests turn it by hand at times of their own; the last ones let its threads run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/inner.h"
#include "obs/log.h"
#include "play.h"
#include "util/clock.h"

static struct fg_gpu *g;
static uint64_t clock_ns;
static const struct fg_conf_gpu conf = {
    .enable = true, .library = (char *)FAKE("new"), .interval_ms = 1000, .history = 4};

static int make(void **state)
{
    (void)state;
    if (fake_open(FAKE("new")) != 0 || fg_gpu_make(&conf, "/nowhere", NULL, &g, NULL) != FG_OK)
        return -1;
    clock_ns = fg_clock_ns();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    fg_gpu_free(g);
    g = NULL;
    return 0;
}

/* One turn after so many seconds. */
static bool turn(double seconds)
{
    clock_ns += (uint64_t)(seconds * 1e9);
    return fg_gpu_turn(g, clock_ns);
}

/* What the watcher does, without waiting. */
static void fetch_events(void)
{
    struct fg_nvml_event e;
    while (g->has_events && fg_nvml_wait(g->nvml, 0, &e))
        g->events[g->event_count++] = e;
}

static const struct fg_gpu_card *card(uint32_t index)
{
    return &g->snapshot->cards[index]; /* one thread: it stays until the next turn */
}

static void is_state(uint32_t index, int32_t state, const char *reason)
{
    assert_string_equal(fg_gpu_state_name(card(index)->state), fg_gpu_state_name(state));
    assert_string_equal(card(index)->reason, reason);
}

static void cards_are_there_after_the_first_turn(void **state)
{
    (void)state;
    const struct fg_gpus *s = fg_gpu_snapshot(g);
    assert_int_equal(s->count, 0);
    assert_string_equal(s->why, "not looked yet");
    fg_gpus_release(s);
    play("cards 2");
    play("1 name Tesla K80");
    play("1 cc 3 7");
    assert_true(turn(0));
    s = fg_gpu_snapshot(g);
    assert_int_equal(s->count, 2);
    assert_string_equal(s->why, "");
    assert_string_equal(s->driver, "580.65.06");
    assert_string_equal(s->cuda, "13.0");
    is_state(0, FG_GPU_READY, "");
    assert_string_equal(card(0)->card->name, "P40");
    assert_string_equal(card(1)->card->name, "K80");
    assert_string_equal(card(1)->note, "driver branch 470 and CUDA 11.8 are the last that know it");
    assert_true(card(0)->weight == 1 && card(0)->admission == 1);
    assert_false(turn(1)); /* nothing new */
    fg_gpus_release(s);    /* held over a turn: still good */
}

static void figures_that_change_seldom_are_read_seldom(void **state)
{
    (void)state;
    turn(0);
    unsigned quick = fake_calls("nvmlDeviceGetPowerUsage"),
             slow = fake_calls("nvmlDeviceGetEccMode");
    for (int i = 0; i < 10; i++)
        turn(1);
    assert_int_equal(fake_calls("nvmlDeviceGetPowerUsage"), quick + 10);
    assert_int_equal(fake_calls("nvmlDeviceGetEccMode"), slow + 2);
    assert_true(card(0)->values[FG_GPU_ECC_ON] == 1);
}

static void a_card_that_heats_up_takes_less_before_it_slows_down(void **state)
{
    (void)state;
    turn(0);
    bool told = false;
    for (int i = 0; i < 60; i++) {
        char line[40];
        snprintf(line, sizeof line, "0 temp %d", 50 + i * 3 / 4);
        play(line);
        told = turn(1) || told;
    }
    assert_true(told);
    assert_true(card(0)->admission <= 0.3F);
    assert_int_equal(card(0)->state, FG_GPU_READY);
    play("0 throttle 0x48");
    for (int i = 0; i < 31; i++)
        turn(1);
    is_state(0, FG_GPU_DEGRADED, "clocks held down by heat");
}

static void a_card_that_falls_off_the_bus_is_lost_and_may_come_back(void **state)
{
    (void)state;
    play("cards 2");
    turn(0);
    play("0 xid 79");
    play("0 lost 1");
    fetch_events();
    assert_true(turn(1));
    is_state(0, FG_GPU_LOST, "XID 79: it has fallen off the bus");
    is_state(1, FG_GPU_READY, "");
    assert_true(isnan(card(0)->values[FG_GPU_CELSIUS]));
    assert_int_equal(card(0)->last_xid, 79);
    assert_int_equal(card(0)->xid_count, 1);
    play("0 unlisted 1"); /* the other one is number 0 of the library now; not so here */
    turn(61);
    is_state(0, FG_GPU_LOST, "XID 79: it has fallen off the bus");
    is_state(1, FG_GPU_READY, "");
    assert_true(card(1)->values[FG_GPU_CELSIUS] == 35);
    play("0 unlisted 0");
    play("0 lost 0");
    turn(61); /* the pauses grow: not yet */
    assert_int_equal(card(0)->state, FG_GPU_LOST);
    assert_true(turn(61));
    is_state(0, FG_GPU_READY, "");
    assert_int_equal(g->snapshot->count, 2);
    assert_true(g->open_at_ns == UINT64_MAX);
}

static void a_card_that_says_it_is_lost_needs_no_event(void **state)
{
    (void)state;
    turn(0);
    play("0 lost 1");
    assert_true(turn(1));
    is_state(0, FG_GPU_LOST, "it is not there any more");
    turn(1);
}

static void a_dead_context_closes_the_card_until_the_process_is_new(void **state)
{
    (void)state;
    turn(0);
    play("0 xid 31");
    fetch_events();
    assert_true(turn(1));
    is_state(0, FG_GPU_FAILED_RESTART, "XID 31: memory page fault");
    assert_true(card(0)->weight == 0);
    fg_gpu_restarted(g, 1);
    assert_true(turn(1));
    is_state(0, FG_GPU_READY, "");
    play("0 ecc");
    fetch_events();
    turn(1);
    is_state(0, FG_GPU_DRAINING, "uncorrectable memory error");
    fg_gpu_restarted(g, 2); /* another card's */
    turn(1);
    assert_int_equal(card(0)->state, FG_GPU_DRAINING);
}

static void an_operators_word_ends_the_wait_for_a_reset(void **state)
{
    (void)state;
    turn(0);
    play("0 xid 95");
    fetch_events();
    turn(1);
    is_state(0, FG_GPU_FAILED_RESET, "XID 95: uncontained memory error");
    turn(5000);
    assert_int_equal(card(0)->state, FG_GPU_FAILED_RESET);
    fg_gpu_look_again(g);
    assert_true(turn(1));
    is_state(0, FG_GPU_READY, "");
}

static void whose_memory_it_is_is_known(void **state)
{
    (void)state;
    char line[60];
    snprintf(line, sizeof line, "0 process %d 1000", (int)getpid());
    play(line);
    snprintf(line, sizeof line, "0 process %d 3000", (int)getppid());
    play(line);
    turn(0);
    assert_int_equal(card(0)->process_count, 2);
    assert_true(card(0)->processes[0].is_ours);
    assert_string_equal(card(0)->processes[0].name, "gpu_sampler_tes"); /* as the kernel cuts it */
    assert_false(card(0)->processes[1].is_ours);
    assert_true(card(0)->values[FG_GPU_MEMORY_OTHERS] == 3000 * 1048576.0);
    play("0 process 0");
    play("0 process 4194399 5"); /* gone since */
    turn(6);
    assert_string_equal(card(0)->processes[0].name, "?");
    play("result nvmlDeviceGetComputeRunningProcesses_v3 3");
    turn(6);
    assert_true(isnan(card(0)->values[FG_GPU_MEMORY_OTHERS]));
    assert_int_equal(card(0)->process_count, 0);
}

static void energy_is_summed_where_the_card_does_not_count(void **state)
{
    (void)state;
    turn(0);
    assert_false(card(0)->joules_are_summed);
    assert_true(card(0)->values[FG_GPU_JOULES] == 1000);
    drop(NULL);
    make(NULL);
    play("result nvmlDeviceGetTotalEnergyConsumption 3");
    play("0 watts 100");
    turn(0);
    turn(1);
    play("0 watts 200");
    turn(2);
    assert_true(card(0)->joules_are_summed);
    assert_true(fabs(card(0)->values[FG_GPU_JOULES] - 400) < 1e-6);
    play("result nvmlDeviceGetPowerUsage 3");
    turn(1);
    assert_true(isnan(card(0)->values[FG_GPU_JOULES]));
    play("result nvmlDeviceGetPowerUsage 0");
    turn(1);
    assert_true(fabs(card(0)->values[FG_GPU_JOULES] - 400) < 1e-6); /* a hole is not guessed */
}

static void the_history_keeps_the_last_readings(void **state)
{
    (void)state;
    struct fg_gpu_point p[8];
    assert_int_equal(fg_gpu_history(g, 0, p, 8), 0);
    for (int i = 0; i < 6; i++) {
        char line[40];
        snprintf(line, sizeof line, "0 temp %d", 40 + i);
        play(line);
        turn(1);
    }
    assert_int_equal(fg_gpu_history(g, 0, p, 8), 4);
    assert_true(p[0].celsius == 42 && p[3].celsius == 45);
    assert_int_equal(fg_gpu_history(g, 0, p, 2), 2);
    assert_true(p[0].celsius == 44);
    assert_int_equal(fg_gpu_history(g, 9, p, 2), 0);
    assert_int_equal(fg_gpu_history(g, 99, p, 2), 0);
}

static void without_a_library_it_says_so_and_tries_again(void **state)
{
    (void)state;
    play("init 9");
    assert_false(turn(0));
    assert_int_equal(g->snapshot->count, 0);
    assert_non_null(strstr(g->snapshot->why, "not loaded"));
    play("init 0");
    turn(1);
    assert_int_equal(g->snapshot->count, 0);
    assert_true(turn(300));
    assert_int_equal(g->snapshot->count, 1);
    assert_string_equal(g->snapshot->why, "");
}

static void a_driver_without_cards_is_let_go(void **state)
{
    (void)state;
    play("cards 0");
    turn(0);
    assert_string_equal(g->snapshot->why, "the driver lists no card");
    assert_null(g->nvml);
}

static void a_card_without_a_driver_is_named(void **state)
{
    (void)state;
    char root[] = "/tmp/fg-bus-XXXXXX", path[128];
    static const char *const files[][2] = {
        {"vendor", "0x10de"}, {"class", "0x030200"}, {"device", "0x102d"}};
    assert_non_null(mkdtemp(root));
    snprintf(path, sizeof path, "%s/0000:05:00.0", root);
    mkdir(path, 0755);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/0000:05:00.0/%s", root, files[i][0]);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(files[i][1], f);
        fclose(f);
    }
    g->pci_folder = root;
    turn(0);
    assert_int_equal(g->snapshot->bare_count, 1);
    assert_string_equal(g->snapshot->bare[0].pci.card->name, "K80");
    assert_string_equal(g->snapshot->bare[0].why,
                        "driver 580 does not know it; branch 470 is the last that knows it");
    play("0 pci 0000:05:00.0"); /* when it is listed it is no such card */
    drop(NULL);
    assert_int_equal(fg_gpu_make(&conf, root, NULL, &g, NULL), FG_OK);
    turn(0);
    assert_int_equal(g->snapshot->bare_count, 0);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", root);
    assert_int_equal(system(command), 0);
}

static void the_report_is_json_with_null_for_what_is_unknown(void **state)
{
    (void)state;
    play("result nvmlDeviceGetFanSpeed 3");
    play("0 throttle 0x5");
    play("0 process 1 10");
    turn(0);
    turn(1);
    struct fg_buf b = {0};
    fg_gpus_write(g->snapshot, g, 2, &b);
    json_error_t error;
    json_t *root = json_loadb(b.ptr, b.len, 0, &error);
    if (!root)
        fail_msg("%s: %.*s", error.text, (int)b.len, b.ptr);
    const json_t *one = json_array_get(json_object_get(root, "gpus"), 0);
    assert_true(json_is_null(json_object_get(root, "why")));
    assert_string_equal(json_string_value(json_object_get(one, "capability")), "6.1");
    assert_string_equal(json_string_value(json_object_get(one, "state")), "ready");
    assert_true(json_is_null(json_object_get(one, "fan_ratio")));
    assert_true(json_is_null(json_object_get(one, "last_xid")));
    assert_int_equal(json_integer_value(json_object_get(one, "celsius")), 35);
    assert_int_equal(json_array_size(json_object_get(one, "throttle")), 2);
    assert_int_equal(json_array_size(json_object_get(one, "processes")), 1);
    assert_int_equal(json_array_size(json_object_get(one, "history")), 2);
    json_decref(root);
    fg_buf_done(&b);
}

static void metrics_begin_with_the_first_figure(void **state)
{
    (void)state;
    struct fg_buf b = {0};
    play("0 uuid GPU-metrics");
    play("result nvmlDeviceGetFanSpeed 3");
    play("0 xid 13");
    play("0 xid 12345");
    turn(0);
    fetch_events();
    turn(1);
    assert_true(fg_metrics_write(&b) && fg_buf_addc(&b, '\0'));
    assert_non_null(strstr(b.ptr, "fluxgate_gpu_celsius{gpu=\"0\",uuid=\"GPU-metrics\"} 35\n"));
    assert_non_null(strstr(b.ptr, "fluxgate_gpu_state{gpu=\"0\",uuid=\"GPU-metrics\"} 4\n"));
    assert_non_null(strstr(b.ptr, "uuid=\"GPU-metrics\",xid=\"13\"} 1\n"));
    assert_non_null(strstr(b.ptr, "uuid=\"GPU-metrics\",xid=\"other\"} 1\n"));
    assert_null(strstr(b.ptr, "fluxgate_gpu_fan_ratio{gpu=\"0\",uuid=\"GPU-metrics\"}"));
    fg_buf_done(&b);
}

static void a_turn_that_takes_long_is_a_stall(void **state)
{
    (void)state;
    play("cards 2");
    turn(0);
    assert_false(fg_gpu_look_for_stall(g, clock_ns + 100000000000)); /* no turn is under way */
    g->turn_since_ns = clock_ns;
    assert_false(fg_gpu_look_for_stall(g, clock_ns + 4000000000));
    assert_true(fg_gpu_look_for_stall(g, clock_ns + 6000000000));
    is_state(0, FG_GPU_DRAINING, "the driver does not answer");
    is_state(1, FG_GPU_DRAINING, "the driver does not answer");
    assert_false(fg_gpu_look_for_stall(g, clock_ns + 7000000000)); /* told once */
    turn(8);
    is_state(0, FG_GPU_READY, "");
}

/* ---- with its threads -------------------------------------------------------------------------
 */

static uint32_t changes; /* atomic */

static void on_change(void *ctx)
{
    (void)ctx;
    __atomic_add_fetch(&changes, 1, __ATOMIC_RELAXED);
}

static bool becomes(struct fg_gpu *live, int32_t state, double seconds)
{
    uint64_t until = fg_clock_ns() + (uint64_t)(seconds * 1e9);
    bool is = false;
    while (!is && fg_clock_ns() < until) {
        const struct fg_gpus *s = fg_gpu_snapshot(live);
        is = s->count && s->cards[0].state == state;
        fg_gpus_release(s);
        usleep(2000);
    }
    return is;
}

static void threads_see_an_event_at_once(void **state)
{
    (void)state;
    struct fg_conf whole = {.gpu = conf};
    struct fg_gpu *live = NULL;
    whole.gpu.interval_ms = 60000; /* only the event can bring the next turn */
    assert_int_equal(fake_open(FAKE("new")), 0);
    assert_int_equal(fg_gpu_open(&whole, &live, NULL), FG_OK);
    assert_true(becomes(live, FG_GPU_READY, 0.5));
    changes = 0;
    fg_gpu_tell(live, &(struct fg_gpu_events){.changed = on_change});
    assert_int_equal(changes, 1);
    play("0 xid 94");
    assert_true(becomes(live, FG_GPU_FAILED_RESTART, 10));
    fg_gpu_restarted(live, 1);
    assert_true(becomes(live, FG_GPU_READY, 10));
    fg_gpu_close(live);
    assert_true(changes >= 3);
}

static void a_driver_that_hangs_stops_nobody_else(void **state)
{
    (void)state;
    struct fg_conf whole = {.gpu = conf};
    struct fg_gpu *live = NULL;
    whole.gpu.interval_ms = 100;
    assert_int_equal(fake_open(FAKE("new")), 0);
    assert_int_equal(fg_gpu_open(&whole, &live, NULL), FG_OK);
    assert_true(becomes(live, FG_GPU_READY, 2));
    play("hang nvmlDeviceGetTemperature 7000");
    assert_true(becomes(live, FG_GPU_DRAINING, 12));
    play("hang nvmlDeviceGetTemperature 0");
    assert_true(becomes(live, FG_GPU_READY, 12));
    fg_gpu_close(live);
}

static void switched_off_it_looks_at_nothing(void **state)
{
    (void)state;
    struct fg_conf whole = {.gpu = conf};
    struct fg_gpu *live = NULL;
    whole.gpu.enable = false;
    assert_int_equal(fg_gpu_open(&whole, &live, NULL), FG_OK);
    const struct fg_gpus *s = fg_gpu_snapshot(live);
    assert_int_equal(s->count, 0);
    assert_string_equal(s->why, "gpu.enable is false");
    fg_gpus_release(s);
    fg_gpu_close(live);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    fg_log_set_level(-1);
    const struct CMUnitTest tests[] = {
        TEST(cards_are_there_after_the_first_turn),
        TEST(figures_that_change_seldom_are_read_seldom),
        TEST(a_card_that_heats_up_takes_less_before_it_slows_down),
        TEST(a_card_that_falls_off_the_bus_is_lost_and_may_come_back),
        TEST(a_card_that_says_it_is_lost_needs_no_event),
        TEST(a_dead_context_closes_the_card_until_the_process_is_new),
        TEST(an_operators_word_ends_the_wait_for_a_reset),
        TEST(whose_memory_it_is_is_known),
        TEST(energy_is_summed_where_the_card_does_not_count),
        TEST(the_history_keeps_the_last_readings),
        TEST(without_a_library_it_says_so_and_tries_again),
        TEST(a_driver_without_cards_is_let_go),
        TEST(a_card_without_a_driver_is_named),
        TEST(the_report_is_json_with_null_for_what_is_unknown),
        TEST(metrics_begin_with_the_first_figure),
        TEST(a_turn_that_takes_long_is_a_stall),
        cmocka_unit_test(threads_see_an_event_at_once),
        cmocka_unit_test(a_driver_that_hangs_stops_nobody_else),
        cmocka_unit_test(switched_off_it_looks_at_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
