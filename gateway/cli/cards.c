/* See cards.h. Cards may be named in every way that the configuration takes. */
#include "cli/cards.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/cards.h"

static bool is_asked(const struct fg_card *c, const struct fg_card_spelling *asked, int count)
{
    for (int i = 0; i < count; i++)
        if (fg_card_matches(&asked[i], fg_str_of(c->name), c->major, c->minor))
            return true;
    return !count;
}

static void print_row(const struct fg_card *c)
{
    const struct fg_card_family *f = fg_card_family_of(c->major, c->minor);
    char name[32], memory[32], driver[16] = "-", cuda[16] = "-";
    snprintf(name, sizeof name, "%s%s%s", c->name, c->variant[0] ? " " : "", c->variant);
    snprintf(memory, sizeof memory, "%u x %u GiB", c->dies, c->memory_gib);
    if (f && f->last_driver)
        snprintf(driver, sizeof driver, "%u", f->last_driver);
    if (f && f->last_cuda)
        snprintf(cuda, sizeof cuda, "%u.%u", f->last_cuda / 10, f->last_cuda % 10);
    printf("%-16s %u.%-4u %-10s %-11s %-7s %5u %5u %5u  %-7s %s\n", name, c->major, c->minor,
           f ? f->name : "-", memory, c->memory, c->gb_per_s, c->multiprocessors, c->watts, driver,
           cuda);
}

static json_t *card_json(const struct fg_card *c)
{
    const struct fg_card_family *f = fg_card_family_of(c->major, c->minor);
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:i, s:i, s:i}", "name", c->name, "variant",
                  c->variant, "family", f ? f->name : "", "memory", c->memory, "dies", (int)c->dies,
                  "memory_gib", (int)c->memory_gib, "sm", "", "gb_per_s", (int)c->gb_per_s,
                  "multiprocessors", (int)c->multiprocessors, "watts", (int)c->watts);
    char text[16];
    snprintf(text, sizeof text, "%u.%u", c->major, c->minor);
    json_object_set_new(o, "capability", json_string(text));
    snprintf(text, sizeof text, "sm_%u%u", c->major, c->minor);
    json_object_set_new(o, "sm", json_string(text));
    json_object_set_new(o, "last_driver_branch",
                        f && f->last_driver ? json_integer(f->last_driver) : json_null());
    snprintf(text, sizeof text, "%u.%u", f ? f->last_cuda / 10 : 0, f ? f->last_cuda % 10 : 0);
    json_object_set_new(o, "last_cuda", f && f->last_cuda ? json_string(text) : json_null());
    return o;
}

static int print_json(const struct fg_card_spelling *asked, int count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < fg_card_count(); i++)
        if (is_asked(fg_card_at(i), asked, count))
            json_array_append_new(list, card_json(fg_card_at(i)));
    char *text = json_dumps(list, JSON_INDENT(2));
    puts(text ? text : "[]");
    free(text);
    json_decref(list);
    return 0;
}

int fg_cli_cards(int argc, char **argv)
{
    struct fg_card_spelling asked[64];
    int count = 0;
    bool json = false;
    for (int i = 2; i < argc && count < 64; i++) {
        char nearest[64] = "";
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (fg_card_read(fg_str_of(argv[i]), &asked[count], nearest, sizeof nearest)) {
            count++;
        } else {
            fprintf(stderr, "fluxgate: no card is spelled \"%.40s\"%s%s%s\n", argv[i],
                    nearest[0] ? "; is it " : "", nearest, nearest[0] ? "?" : "");
            return 2;
        }
    }
    if (json)
        return print_json(asked, count);
    printf("%-16s %-6s %-10s %-11s %-7s %5s %5s %5s  %-7s %s\n", "CARD", "CC", "FAMILY", "MEMORY",
           "KIND", "GB/S", "SMS", "WATTS", "DRIVER", "CUDA");
    for (uint32_t i = 0; i < fg_card_count(); i++)
        if (is_asked(fg_card_at(i), asked, count))
            print_row(fg_card_at(i));
    return 0;
}
