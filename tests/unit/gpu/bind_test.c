/* Which cards the entries of `gpus` mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/gpu.h"

static struct fg_gpus *rack(void)
{
    static const struct {
        const char *name, *uuid, *pci;
        int major, minor;
    } rows[] = {
        {"Tesla K80", "GPU-aaaa0001", "0000:05:00.0", 3, 7},
        {"Tesla K80", "GPU-aaaa0002", "0000:06:00.0", 3, 7},
        {"Tesla P40", "GPU-bbbb0001", "0000:3b:00.0", 6, 1},
        {"NVIDIA GeForce GTX 1080", "", "0001:3b:00.0", 6, 1},
    };
    struct fg_gpus *g = calloc(1, sizeof *g + 4 * sizeof g->cards[0]);
    assert_non_null(g);
    g->count = 4;
    for (uint32_t i = 0; i < 4; i++) {
        g->cards[i].index = i;
        snprintf(g->cards[i].name, sizeof g->cards[i].name, "%s", rows[i].name);
        snprintf(g->cards[i].uuid, sizeof g->cards[i].uuid, "%s", rows[i].uuid);
        snprintf(g->cards[i].pci, sizeof g->cards[i].pci, "%s", rows[i].pci);
        g->cards[i].major = rows[i].major;
        g->cards[i].minor = rows[i].minor;
    }
    return g;
}

static void means(const struct fg_gpus *g, const char *text, uint32_t bits)
{
    char *list[] = {(char *)text};
    const char *missing;
    uint32_t got = fg_gpus_match(g, list, 1, &missing);
    if (got != bits)
        fail_msg("\"%s\" means %x", text, got);
    assert_int_equal(missing != NULL, bits == 0);
}

static void every_way_to_name_a_card_works(void **state)
{
    (void)state;
    struct fg_gpus *g = rack();
    means(g, "0", 1);
    means(g, "3", 8);
    means(g, "7", 0);
    means(g, "all", 15);
    means(g, "GPU-aaaa0002", 2);
    means(g, "gpu-AAAA", 3);
    means(g, "GPU-aaaa0002-longer", 0);
    means(g, "GPU-", 0); /* the beginning of all of them is no choice */
    means(g, "0000:3b:00.0", 4);
    means(g, "00000000:3B:00.0", 4);
    means(g, "3b:00.0", 12); /* in any domain */
    means(g, "b:00.0", 0);
    means(g, "K80", 3);
    means(g, "Tesla P40", 4);
    means(g, "6.1", 12);
    means(g, "61", 12);
    means(g, "sm_37", 3);
    means(g, "kepler", 3);
    means(g, "H100", 0);
    means(g, "", 0);
    char *two[] = {(char *)"P40", (char *)"0", (char *)"T4"};
    const char *missing;
    assert_int_equal(fg_gpus_match(g, two, 3, &missing), 5);
    assert_string_equal(missing, "T4");
    assert_int_equal(fg_gpus_match(g, two, 0, &missing), 0);
    assert_null(missing);
    free(g);
}

static void what_is_no_spelling_is_told_before_the_start(void **state)
{
    (void)state;
    char *good[] = {(char *)"0", (char *)"GPU-12", (char *)"3b:00.0", (char *)"sm_61",
                    (char *)"all"};
    char *bad[] = {(char *)"0", (char *)"P41"}, *worse[] = {(char *)"gtx"}, *far[] = {(char *)"16"};
    struct fg_conf_backend b[] = {{.gpus = good, .gpu_count = 5}, {.gpus = bad, .gpu_count = 2}};
    struct fg_conf conf = {.backends = b, .backend_count = 1};
    struct fg_error err = {0};
    assert_int_equal(fg_gpus_check(&conf, &err), FG_OK);
    conf.backend_count = 2;
    assert_int_equal(fg_gpus_check(&conf, &err), FG_INVALID);
    assert_string_equal(err.text,
                        "backends[1].gpus[1]: no card is spelled \"P41\"; is it P4, P40?");
    b[1] = (struct fg_conf_backend){.gpus = worse, .gpu_count = 1};
    assert_int_equal(fg_gpus_check(&conf, &err), FG_INVALID);
    assert_non_null(strstr(err.text, "GPU-UUID"));
    b[1] = (struct fg_conf_backend){.gpus = far, .gpu_count = 1}; /* neither index nor capability */
    assert_int_equal(fg_gpus_check(&conf, &err), FG_INVALID);
}

static void energy_goes_on_between_two_readings(void **state)
{
    (void)state;
    struct fg_gpus *g = rack();
    g->at_ns = 1000000000;
    g->cards[0].values[FG_GPU_JOULES] = 100;
    g->cards[0].values[FG_GPU_WATTS] = 50;
    assert_true(fabs(fg_gpus_joules(g, 0, 1500000000) - 125) < 1e-6);
    assert_true(fg_gpus_joules(g, 0, 500000000) == 100); /* the clock's small print */
    assert_true(fabs(fg_gpus_joules(g, 0, 900000000000) - 3100) <
                1e-6); /* stalled: a minute at most */
    g->cards[0].values[FG_GPU_WATTS] = NAN;
    assert_true(fg_gpus_joules(g, 0, 1500000000) == 100);
    g->cards[0].values[FG_GPU_JOULES] = NAN;
    assert_true(isnan(fg_gpus_joules(g, 0, 1500000000)));
    assert_true(isnan(fg_gpus_joules(g, 9, 1500000000)));
    free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_name_a_card_works),
        cmocka_unit_test(what_is_no_spelling_is_told_before_the_start),
        cmocka_unit_test(energy_goes_on_between_two_readings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
