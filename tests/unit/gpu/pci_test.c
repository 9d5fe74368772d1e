/* Cards on the bus, from a folder that looks like sysfs. */
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

#include "gpu/pci.h"

static char root[64];

static void write_file(const char *device, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, device);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/%s/%s", root, device, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void put(const char *address, const char *vendor, const char *class, const char *id,
                const char *driver)
{
    char path[256], target[64];
    write_file(address, "vendor", vendor);
    write_file(address, "class", class);
    write_file(address, "device", id);
    snprintf(path, sizeof path, "%s/%s/driver", root, address);
    snprintf(target, sizeof target, "../../../bus/pci/drivers/%s", driver ? driver : "");
    if (driver)
        assert_int_equal(symlink(target, path), 0);
}

static int make(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/fg-pci-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int drop(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static void only_nvidia_cards_are_found_in_the_order_of_the_bus(void **state)
{
    (void)state;
    struct fg_pci_card cards[FG_PCI_MOST];
    put("0000:3b:00.0", "0x10de\n", "0x030200\n", "0x1b38\n", "nvidia");
    put("0000:05:00.0", "0x10de\n", "0x030200\n", "0x102d\n", NULL);
    put("0000:05:00.1", "0x10de\n", "0x040300\n", "0x10f0\n", "snd_hda_intel"); /* its sound */
    put("0000:06:00.0", "0x10de\n", "0x030000\n", "0xffff\n", "vfio-pci");
    put("0000:00:02.0", "0x8086\n", "0x030000\n", "0x1234\n", "i915");
    put("0000:07:00.0", "nonsense", "0x030000\n", "0x1234\n", NULL);
    put("0000:08:00.0", "0x10de\n", "", "0x1234\n", NULL);
    assert_int_equal(fg_pci_scan(root, cards, FG_PCI_MOST), 3);
    assert_string_equal(cards[0].address, "0000:05:00.0");
    assert_string_equal(cards[0].card->name, "K80");
    assert_string_equal(cards[0].driver, "");
    assert_string_equal(cards[1].driver, "vfio-pci");
    assert_null(cards[1].card);
    assert_string_equal(cards[2].card->name, "P40");
    assert_string_equal(cards[2].driver, "nvidia");
    assert_int_equal(fg_pci_scan(root, cards, 2), 2);
    assert_int_equal(fg_pci_scan("/nowhere", cards, 2), 0);
}

static void why_a_card_is_of_no_use_is_told(void **state)
{
    (void)state;
    char text[160];
    struct fg_pci_card k80 = {.card = fg_card_of_pci(0x102d)},
                       h200 = {.card = fg_card_of_pci(0x2335)};
    fg_pci_tell(&k80, 0, text, sizeof text);
    assert_string_equal(text, "no driver is bound; branch 470 is the last that knows it");
    fg_pci_tell(&k80, 580, text, sizeof text);
    assert_string_equal(text, "driver 580 does not know it; branch 470 is the last that knows it");
    fg_pci_tell(&h200, 0, text, sizeof text);
    assert_string_equal(text, "no driver is bound");
    snprintf(h200.driver, sizeof h200.driver, "nvidia");
    fg_pci_tell(&h200, 0, text, sizeof text);
    assert_non_null(strstr(text, "NVML does not work"));
    fg_pci_tell(&h200, 580, text, sizeof text);
    assert_non_null(strstr(text, "kernel log"));
    snprintf(k80.driver, sizeof k80.driver, "vfio-pci");
    fg_pci_tell(&k80, 470, text, sizeof text);
    assert_non_null(strstr(text, "bound to vfio-pci"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_nvidia_cards_are_found_in_the_order_of_the_bus, make,
                                        drop),
        cmocka_unit_test(why_a_card_is_of_no_use_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
