/* The driver's library: found or not, new or old, willing or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "gpu/nvml.h"
#include "play.h"

static double v[FG_GPU_VALUES];

static void is(int value, double figure)
{
    if (fabs(v[value] - figure) > 1e-9)
        fail_msg("value %d is %f, not %f", value, v[value], figure);
}

static void is_unknown(int value)
{
    if (!isnan(v[value]))
        fail_msg("value %d is %f, not unknown", value, v[value]);
}

static void everything_a_card_tells_is_read(void **state)
{
    (void)state;
    struct fg_nvml *n = NULL;
    struct fg_error err = {0};
    struct fg_nvml_identity id;
    int32_t answer;
    assert_int_equal(fake_open(FAKE("new")), 0);
    play("cards 2");
    play("1 name Tesla P100-PCIE-16GB");
    play("1 pci 0001:af:00.0");
    play("1 cc 6 0");
    play("1 temp 71");
    play("1 watts 187.5");
    play("1 busy 98");
    play("1 throttle 0x44");
    play("1 single 3");
    play("1 double 70");
    play("1 pending 1");
    play("1 corrected 12");
    play("1 rows 1 2 0 1");
    play("1 link 1 3 8 16");
    assert_int_equal(fg_nvml_open(FAKE("new"), &n, &err), FG_OK);
    assert_non_null(strstr(fg_nvml_path(n), "/new/libnvidia-ml.so.1"));
    assert_string_equal(fg_nvml_driver(n), "580.65.06");
    assert_int_equal(fg_nvml_cuda(n), 13000);
    assert_int_equal(fg_nvml_count(n), 2);
    assert_null(fg_nvml_device(n, 2, &answer));
    assert_int_equal(answer, FG_NVML_UNKNOWN);
    struct fg_nvml_device *d = fg_nvml_device(n, 1, &answer);
    fg_nvml_identify(n, d, &id);
    assert_string_equal(id.name, "Tesla P100-PCIE-16GB");
    assert_string_equal(id.pci, "0001:af:00.0");
    assert_int_equal(id.major, 6);
    assert_int_equal(id.minor, 0);
    assert_int_equal(fg_nvml_read(n, d, true, v), FG_NVML_GOOD);
    is(FG_GPU_CELSIUS, 71);
    is(FG_GPU_SLOWDOWN_CELSIUS, 95);
    is(FG_GPU_WATTS, 187.5);
    is(FG_GPU_LIMIT_WATTS, 250);
    is(FG_GPU_JOULES, 1000);
    is(FG_GPU_BUSY, 0.98);
    is(FG_GPU_MEMORY_TOTAL, 24576.0 * 1048576);
    is(FG_GPU_MEMORY_FREE, 24064.0 * 1048576);
    is(FG_GPU_THROTTLE, 0x44);
    is(FG_GPU_ECC_ON, 1);
    is(FG_GPU_ECC_CORRECTED, 12);
    is(FG_GPU_ECC_UNCORRECTED, 0);
    is(FG_GPU_RETIRED_SINGLE, 3);
    is(FG_GPU_RETIRED_DOUBLE, 70);
    is(FG_GPU_RETIREMENT_PENDING, 1);
    is(FG_GPU_REMAPPED_UNCORRECTABLE, 2);
    is(FG_GPU_REMAP_FAILED, 1);
    is(FG_GPU_LINK_GEN, 1);
    is(FG_GPU_LINK_GEN_MAX, 3);
    is(FG_GPU_LINK_WIDTH, 8);
    is(FG_GPU_SM_MAX_MHZ, 1531);
    fg_nvml_close(n);
}

static void what_is_not_supported_is_unknown_and_never_zero(void **state)
{
    (void)state;
    static const char *const calls[] = {"Temperature",
                                        "TemperatureThreshold",
                                        "FanSpeed",
                                        "PowerUsage",
                                        "EnforcedPowerLimit",
                                        "TotalEnergyConsumption",
                                        "UtilizationRates",
                                        "MemoryInfo",
                                        "PerformanceState",
                                        "ClockInfo",
                                        "MaxClockInfo",
                                        "CurrentClocksEventReasons",
                                        "EccMode",
                                        "TotalEccErrors",
                                        "RetiredPages",
                                        "RetiredPagesPendingStatus",
                                        "RemappedRows",
                                        "CurrPcieLinkGeneration",
                                        "CurrPcieLinkWidth",
                                        "MaxPcieLinkGeneration",
                                        "MaxPcieLinkWidth",
                                        "PcieReplayCounter"};
    struct fg_nvml *n = NULL;
    int32_t answer;
    assert_int_equal(fake_open(FAKE("new")), 0);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        char line[100];
        snprintf(line, sizeof line, "result nvmlDeviceGet%s %d", calls[i], i % 2 ? 3 : 999);
        play(line);
    }
    assert_int_equal(fg_nvml_open(FAKE("new"), &n, NULL), FG_OK);
    struct fg_nvml_device *d = fg_nvml_device(n, 0, &answer);
    memset(v, 0, sizeof v);
    v[FG_GPU_MEMORY_OTHERS] = NAN; /* not of these calls */
    assert_int_equal(fg_nvml_read(n, d, true, v), FG_NVML_GOOD);
    for (int i = 0; i < FG_GPU_VALUES; i++)
        is_unknown(i);
    fg_nvml_close(n);
}

static void an_old_library_tells_what_it_can(void **state)
{
    (void)state;
    struct fg_nvml *n = NULL;
    struct fg_nvml_identity id;
    struct fg_nvml_process p[4];
    int32_t answer;
    bool known;
    assert_int_equal(fake_open(FAKE("old")), 0);
    play("0 name Tesla K80");
    play("0 temp 44");
    play("0 process 4711 300");
    play("0 process 4712 20");
    assert_int_equal(fg_nvml_open(FAKE("old"), &n, NULL), FG_OK);
    assert_int_equal(fg_nvml_cuda(n), 0);
    struct fg_nvml_device *d = fg_nvml_device(n, 0, &answer);
    fg_nvml_identify(n, d, &id);
    assert_string_equal(id.name, "Tesla K80");
    assert_string_equal(id.uuid, "");
    assert_string_equal(id.pci, "");
    assert_int_equal(id.major, -1);
    for (int i = 0; i < FG_GPU_VALUES; i++)
        v[i] = NAN;
    assert_int_equal(fg_nvml_read(n, d, true, v), FG_NVML_GOOD);
    is(FG_GPU_CELSIUS, 44);
    is_unknown(FG_GPU_SLOWDOWN_CELSIUS);
    is_unknown(FG_GPU_JOULES);
    is_unknown(FG_GPU_REMAP_PENDING);
    assert_int_equal(fg_nvml_processes(n, d, p, 4, &known), 2); /* the old row has other sizes */
    assert_true(known);
    assert_int_equal(p[1].pid, 4712);
    assert_true(p[1].memory_bytes == 20 * 1048576.0);
    assert_int_equal(fg_nvml_processes(n, d, p, 1, &known), 1);
    assert_false(fg_nvml_watch(n, &d, 1));
    fg_nvml_close(n);
}

static void a_missing_or_foreign_library_is_told(void **state)
{
    (void)state;
    struct fg_nvml *n = NULL;
    struct fg_error err = {0};
    assert_int_equal(fg_nvml_open("/nowhere/libnvidia-ml.so.1", &n, &err), FG_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nowhere/libnvidia-ml.so.1"));
    assert_int_equal(fg_nvml_open(FAKE("empty"), &n, &err), FG_DEVICE_LOST);
    assert_non_null(strstr(err.text, "is not NVML"));
    assert_int_equal(fg_nvml_open("/dev/null", &n, &err), FG_NOT_FOUND);
    assert_null(n);
    int32_t rc = fg_nvml_open(NULL, &n, &err); /* here there may be one, or none */
    assert_true(rc == FG_OK || err.text[0]);
    fg_nvml_close(n);
}

static void a_driver_that_is_not_there_is_told(void **state)
{
    (void)state;
    struct fg_nvml *n = NULL;
    struct fg_error err = {0};
    assert_int_equal(fake_open(FAKE("new")), 0);
    play("init 9");
    assert_int_equal(fg_nvml_open(FAKE("new"), &n, &err), FG_DEVICE_LOST);
    assert_non_null(strstr(err.text, "not loaded"));
    play("init 18");
    assert_int_equal(fg_nvml_open(FAKE("new"), &n, &err), FG_DEVICE_LOST);
    assert_non_null(strstr(err.text, "must boot"));
    play("init 999");
    assert_int_equal(fg_nvml_open(FAKE("new"), &n, &err), FG_DEVICE_LOST);
    assert_non_null(strstr(err.text, "result 999"));
}

static void a_lost_card_and_one_to_be_reset_are_told_apart(void **state)
{
    (void)state;
    struct fg_nvml *n = NULL;
    int32_t answer;
    assert_int_equal(fake_open(FAKE("new")), 0);
    assert_int_equal(fg_nvml_open(FAKE("new"), &n, NULL), FG_OK);
    struct fg_nvml_device *d = fg_nvml_device(n, 0, &answer);
    play("result nvmlDeviceGetPowerUsage 16");
    assert_int_equal(fg_nvml_read(n, d, false, v), FG_NVML_RESET);
    is_unknown(FG_GPU_WATTS);
    play("0 lost 1");
    assert_int_equal(fg_nvml_read(n, d, true, v), FG_NVML_LOST);
    assert_null(fg_nvml_device(n, 0, &answer));
    assert_int_equal(answer, FG_NVML_LOST);
    fg_nvml_close(n);
}

static void bytes_of_a_name_cannot_break_a_log(void **state)
{
    (void)state;
    struct fg_nvml *n = NULL;
    struct fg_nvml_identity id;
    int32_t answer;
    assert_int_equal(fake_open(FAKE("new")), 0);
    play("0 name a\"b\\c\x01\xff");
    assert_int_equal(fg_nvml_open(FAKE("new"), &n, NULL), FG_OK);
    fg_nvml_identify(n, fg_nvml_device(n, 0, &answer), &id);
    assert_string_equal(id.name, "a?b?c??");
    fg_nvml_close(n);
}

static void events_come_with_their_number(void **state)
{
    (void)state;
    struct fg_nvml *n = NULL;
    struct fg_nvml_event e;
    int32_t answer;
    assert_int_equal(fake_open(FAKE("new")), 0);
    assert_int_equal(fg_nvml_open(FAKE("new"), &n, NULL), FG_OK);
    struct fg_nvml_device *d = fg_nvml_device(n, 0, &answer);
    assert_true(fg_nvml_watch(n, &d, 1));
    assert_false(fg_nvml_wait(n, 5, &e));
    play("0 xid 79");
    play("0 ecc");
    assert_true(fg_nvml_wait(n, 5, &e));
    assert_int_equal(e.kind, FG_NVML_EVENT_XID);
    assert_int_equal(e.data, 79);
    assert_ptr_equal(e.device, d);
    assert_true(fg_nvml_wait(n, 5, &e));
    assert_int_equal(e.kind, FG_NVML_EVENT_DOUBLE_BIT);
    fg_nvml_unwatch(n);
    play("result nvmlDeviceRegisterEvents 3");
    assert_false(fg_nvml_watch(n, &d, 1));
    fg_nvml_close(n);
}

static void a_script_file_is_read_on_while_it_grows(void **state)
{
    (void)state;
    struct fg_nvml *n = NULL;
    int32_t answer;
    char path[] = "/tmp/fg-nvml-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    const char begin[] = "0 temp 60\n@1.5 0 temp 70\n0 te"; /* time enough for a slow start */
    assert_true(write(fd, begin, sizeof begin - 1) == (ssize_t)(sizeof begin - 1));
    assert_int_equal(fake_open(FAKE("new")), 0);
    setenv("FG_FAKE_NVML", path, 1);
    assert_int_equal(fg_nvml_open(FAKE("new"), &n, NULL), FG_OK);
    struct fg_nvml_device *d = fg_nvml_device(n, 0, &answer);
    fg_nvml_read(n, d, false, v);
    is(FG_GPU_CELSIUS, 60);
    for (int i = 0; i < 200 && v[FG_GPU_CELSIUS] < 65; i++) {
        usleep(50000);
        fg_nvml_read(n, d, false, v);
    }
    is(FG_GPU_CELSIUS, 70);
    assert_true(write(fd, "mp 80\n", 6) == 6);
    fg_nvml_read(n, d, false, v);
    is(FG_GPU_CELSIUS, 80);
    fg_nvml_close(n);
    unsetenv("FG_FAKE_NVML");
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_a_card_tells_is_read),
        cmocka_unit_test(what_is_not_supported_is_unknown_and_never_zero),
        cmocka_unit_test(an_old_library_tells_what_it_can),
        cmocka_unit_test(a_missing_or_foreign_library_is_told),
        cmocka_unit_test(a_driver_that_is_not_there_is_told),
        cmocka_unit_test(a_lost_card_and_one_to_be_reset_are_told_apart),
        cmocka_unit_test(bytes_of_a_name_cannot_break_a_log),
        cmocka_unit_test(events_come_with_their_number),
        cmocka_unit_test(a_script_file_is_read_on_while_it_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
