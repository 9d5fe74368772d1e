/* The table of cards and the spellings; docs/cards.md is the same table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/cards.h"

static void reads(const char *text, int32_t kind, const char *name, int major, int minor)
{
    struct fg_card_spelling s = {0};
    if (!fg_card_read(fg_str_of(text), &s, NULL, 0))
        fail_msg("%s is not read", text);
    assert_int_equal(s.kind, kind);
    assert_string_equal(s.name, name);
    if (kind == FG_SPELL_CAPABILITY) {
        assert_int_equal(s.major, major);
        assert_int_equal(s.minor, minor);
    }
}

static void every_spelling_of_a_card_is_read(void **state)
{
    (void)state;
    static const char *const names[] = {"P40",          "p40",       "Tesla P40",
                                        "tesla-p40",    "tesla_p40", "NVIDIA P40",
                                        "GRID P40-24Q", " P40 ",     "NVIDIA Tesla P40 GPU"};
    static const char *const capabilities[] = {"6.1",   "61",         "sm_61", "SM61",
                                               "sm61a", "compute_61", "cc6.1", "cc 6.1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        reads(names[i], FG_SPELL_NAME, "P40", 0, 0);
    for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++)
        reads(capabilities[i], FG_SPELL_CAPABILITY, "Pascal", 6, 1);
    reads("sm_90a", FG_SPELL_CAPABILITY, "Hopper", 9, 0);
    reads("120", FG_SPELL_CAPABILITY, "Blackwell", 12, 0);
    reads("10.0", FG_SPELL_CAPABILITY, "Blackwell", 10, 0);
    reads("pascal", FG_SPELL_FAMILY, "Pascal", 0, 0);
    reads("K40m", FG_SPELL_NAME, "K40", 0, 0);
    reads("Tesla K20Xm", FG_SPELL_NAME, "K20X", 0, 0);
    reads("K20Xm", FG_SPELL_NAME, "K20X", 0, 0);
    reads("V100S", FG_SPELL_NAME, "V100S", 0, 0);
}

static void what_is_no_card_is_refused_with_names_that_are_near(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",     "P",      "6.",   "6.9",  ".61",  "6.1.1", "sm_",
                                        "sm_6", "sm_61x", "1234", "4090", "0.61", "Tesla", "M2090"};
    struct fg_card_spelling s;
    char nearest[64];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (fg_card_read(fg_str_of(wrong[i]), &s, nearest, sizeof nearest))
            fail_msg("\"%s\" is read", wrong[i]);
    assert_false(fg_card_read(FG_STR("P41"), &s, nearest, sizeof nearest));
    assert_string_equal(nearest, "P4, P40");
    assert_false(fg_card_read(FG_STR("Tesla P1000"), &s, nearest, sizeof nearest));
    assert_string_equal(nearest, "P100");
    assert_false(fg_card_read(FG_STR("\xff\xfe"), &s, nearest, sizeof nearest));
    assert_string_equal(nearest, "");
    assert_false(fg_card_read(FG_STR("P41"), &s, nearest, 3)); /* no room: nothing is cut in half */
}

static void is_card(const char *driver_name, uint64_t gib, const char *name, const char *variant)
{
    const struct fg_card *c = fg_card_of_name(fg_str_of(driver_name), gib << 30);
    if (!c)
        fail_msg("%s is not found", driver_name);
    assert_string_equal(c->name, name);
    assert_string_equal(c->variant, variant);
}

static void names_of_the_driver_find_their_variant(void **state)
{
    (void)state;
    is_card("Tesla P40", 24, "P40", "");
    is_card("Tesla K80", 12, "K80", "");
    is_card("Tesla M40", 12, "M40", "12 GB");
    is_card("Tesla M40 24GB", 24, "M40", "24 GB");
    is_card("Tesla M40", 0, "M40", "24 GB");
    is_card("Tesla P100-PCIE-16GB", 16, "P100", "16 GB");
    is_card("Tesla P100-PCIE-12GB", 12, "P100", "12 GB");
    is_card("Tesla P100-SXM2-16GB", 16, "P100", "16 GB");
    is_card("Tesla V100-SXM2-32GB", 32, "V100", "32 GB");
    is_card("Tesla V100S-PCIE-32GB", 32, "V100S", "");
    is_card("Tesla T4", 15, "T4", "");
    is_card("NVIDIA A100-SXM4-80GB", 80, "A100", "80 GB");
    is_card("NVIDIA A100-PCIE-40GB", 40, "A100", "40 GB");
    is_card("NVIDIA A10", 22, "A10", "");
    is_card("NVIDIA L4", 23, "L4", "");
    is_card("NVIDIA L40S", 45, "L40S", "");
    is_card("NVIDIA H100 80GB HBM3", 80, "H100", "SXM 80 GB");
    is_card("NVIDIA H100 PCIe", 80, "H100", "PCIe 80 GB");
    is_card("NVIDIA H100 NVL", 94, "H100", "NVL 94 GB");
    is_card("NVIDIA H200", 141, "H200", "");
    assert_null(fg_card_of_name(FG_STR("NVIDIA GeForce RTX 4090"), 24ull << 30));
    assert_null(fg_card_of_name(FG_STR(""), 0));
}

static void spellings_match_the_cards_they_mean(void **state)
{
    (void)state;
    struct fg_card_spelling s;
    assert_true(fg_card_read(FG_STR("P100"), &s, NULL, 0));
    assert_true(fg_card_matches(&s, FG_STR("Tesla P100-PCIE-12GB"), 6, 0));
    assert_false(fg_card_matches(&s, FG_STR("Tesla P40"), 6, 1));
    assert_true(fg_card_read(FG_STR("sm_61"), &s, NULL, 0));
    assert_true(
        fg_card_matches(&s, FG_STR("NVIDIA GeForce GTX 1080"), 6, 1)); /* not in the table */
    assert_true(fg_card_matches(&s, FG_STR("Tesla P40"), -1, -1));     /* not told */
    assert_false(fg_card_matches(&s, FG_STR("Tesla P100-PCIE-12GB"), 6, 0));
    assert_true(fg_card_read(FG_STR("Pascal"), &s, NULL, 0));
    assert_true(fg_card_matches(&s, FG_STR("Tesla P4"), 6, 1));
    assert_true(fg_card_matches(&s, FG_STR("Tesla P100-SXM2-16GB"), 6, 0));
    assert_false(fg_card_matches(&s, FG_STR("Tesla M40"), 5, 2));
    assert_false(fg_card_matches(&s, FG_STR("a slice"), -1, -1));
}

static void the_table_is_consistent(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < fg_card_count(); i++) {
        const struct fg_card *c = fg_card_at(i);
        assert_non_null(fg_card_family_of(c->major, c->minor));
        assert_true(c->dies && c->memory_gib && c->gb_per_s && c->multiprocessors && c->watts);
        for (uint32_t j = 0; j < FG_CARD_PCI && c->pci[j]; j++)
            assert_ptr_equal(fg_card_of_pci(c->pci[j]), c);
    }
    assert_null(fg_card_at(fg_card_count()));
    assert_null(fg_card_of_pci(0));
    assert_null(fg_card_family_of(-1, -1));
    assert_int_equal(fg_card_family_of(3, 7)->last_driver, 470);
    assert_int_equal(fg_card_family_of(6, 1)->last_driver, 580);
    assert_int_equal(fg_card_family_of(9, 0)->last_driver, 0);
}

/* One line of docs/cards.md for each card and each capability, as the table here has it. */
static void docs_show_the_same_table(void **state)
{
    (void)state;
    static char page[1 << 16];
    FILE *f = fopen(FG_TEST_DATA "/../docs/cards.md", "r");
    assert_non_null(f);
    page[fread(page, 1, sizeof page - 1, f)] = '\0';
    fclose(f);
    uint32_t rows = 0;
    for (uint32_t i = 0; i < fg_card_count(); i++) {
        const struct fg_card *c = fg_card_at(i);
        char row[256];
        snprintf(row, sizeof row, "\n| %s%s%s | %d.%d | %u x %u %s | %u | %u | %u |", c->name,
                 c->variant[0] ? " " : "", c->variant, c->major, c->minor, c->dies, c->memory_gib,
                 c->memory, c->gb_per_s, c->multiprocessors, c->watts);
        if (!strstr(page, row))
            fail_msg("docs/cards.md lacks this line:%s", row);
        rows++;
    }
    for (uint32_t i = 0; i < fg_card_family_count(); i++) {
        const struct fg_card_family *m = fg_card_family_at(i);
        char row[256], driver[16] = "-", cuda[16] = "-";
        if (m->last_driver)
            snprintf(driver, sizeof driver, "%u", m->last_driver);
        if (m->last_cuda)
            snprintf(cuda, sizeof cuda, "%u.%u", m->last_cuda / 10, m->last_cuda % 10);
        snprintf(row, sizeof row, "\n| %d.%d | %s | %s | %s |", m->major, m->minor, m->name, driver,
                 cuda);
        if (!strstr(page, row))
            fail_msg("docs/cards.md lacks this line:%s", row);
        rows++;
    }
    uint32_t shown = 0;
    for (const char *at = page; (at = strstr(at, "\n| ")); at++)
        shown += strncmp(at, "\n| card |", 9) != 0 && strncmp(at, "\n| capability |", 15) != 0 &&
                 strncmp(at, "\n| spelling |", 13) != 0 && strncmp(at, "\n| `", 4) != 0;
    assert_int_equal(shown, rows); /* none that is not in the table */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling_of_a_card_is_read),
        cmocka_unit_test(what_is_no_card_is_refused_with_names_that_are_near),
        cmocka_unit_test(names_of_the_driver_find_their_variant),
        cmocka_unit_test(spellings_match_the_cards_they_mean),
        cmocka_unit_test(the_table_is_consistent),
        cmocka_unit_test(docs_show_the_same_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
