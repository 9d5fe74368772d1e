/*
 * fg-plugin-check: loads a module and walks the contract of fluxgate/plugin.h with it, in good and
 * in bad orders. Prints TAP, one line a check, and under a failed one which rule was broken and
 * where. Exit code: 0 all kept, 1 a rule was broken, 2 it could not be run.
 */
#include "check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char usage[] =
    "usage: fg-plugin-check MODULE.so [options]\n"
    "  --config JSON   what open() gets (the `options` of the gateway's configuration)\n"
    "  --model MODEL   a model file, or the name of a model that the plugin lists (default: the\n"
    "                  first one it lists; without any, checks that need a model are skipped)\n"
    "  --timeout S     for each check (default 60)\n"
    "  --rounds N      of what is a matter of luck, such as cancel against end (default 100)\n"
    "  --only WORDS    only checks whose name contains this\n"
    "  --list          only print the names of the checks\n"
    "  --verbose       show what the plugin logs\n";

static const struct check *const groups[] = {
    checks_module, checks_life, checks_jobs, checks_credit, checks_cancel, checks_crowd, checks_ops,
};

static bool number(const char *text, uint32_t most, uint32_t *out)
{
    uint64_t value;
    if (!text || !fg_str_u64(fg_str_of(text), &value) || value < 1 || value > most)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool parse(int argc, char **argv, struct options *o)
{
    uint32_t seconds = 60;
    o->rounds = 100;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(arg, "--list") == 0)
            o->is_list = true;
        else if (strcmp(arg, "--verbose") == 0)
            o->is_verbose = true;
        else if (arg[0] != '-' && !o->module)
            o->module = arg;
        else if (!value)
            return false;
        else if (strcmp(arg, "--config") == 0)
            o->config = fg_str_of(argv[++i]);
        else if (strcmp(arg, "--model") == 0)
            o->model = argv[++i];
        else if (strcmp(arg, "--only") == 0)
            o->only = argv[++i];
        else if (strcmp(arg, "--timeout") == 0 && number(value, 86400, &seconds))
            i++;
        else if (strcmp(arg, "--rounds") == 0 && number(value, 1000000, &o->rounds))
            i++;
        else
            return false;
    }
    o->timeout_ms = seconds * 1000;
    return o->module || o->is_list;
}

static void print_notes(const char *text)
{
    while (*text) {
        const size_t n = strcspn(text, "\n");
        printf("#   %.*s\n", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static int run_all(const struct options *o, struct notes *notes)
{
    uint32_t at = 0, failed = 0, skips = 0;
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        for (const struct check *c = groups[g]; c->name; c++) {
            if (o->only && !strstr(c->name, o->only))
                continue;
            if (o->is_list) {
                printf("%s\n", c->name);
                continue;
            }
            const enum verdict v = run_check(o, c, notes);
            at++;
            failed += v == BROKEN;
            skips += v == SKIPPED;
            if (v == SKIPPED)
                printf("skip: %s: %s\n", c->name, notes->text);
            printf("%s %u - %s%s\n", v == BROKEN ? "not ok" : "ok", at, c->name,
                   v == SKIPPED ? " # SKIP" : "");
            if (v == BROKEN)
                print_notes(notes->text);
            fflush(stdout);
        }
    }
    if (o->is_list)
        return 0;
    printf("1..%u\n# %u kept, %u broken, %u skipped\n", at, at - failed - skips, failed, skips);
    return failed ? 1 : at ? 0 : 2;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    if (!parse(argc, argv, &o)) {
        fputs(usage, stderr);
        return 2;
    }
    /* With a slash in it: dlopen() looks for a bare name in the folders of libraries. */
    char *module = o.module ? realpath(o.module, NULL) : NULL;
    if (o.module && (!module || access(module, R_OK) != 0)) {
        fprintf(stderr, "fg-plugin-check: %s cannot be read\n", o.module);
        free(module);
        return 2;
    }
    o.module = module;
    struct notes *notes = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (notes == MAP_FAILED) {
        fputs("fg-plugin-check: no memory\n", stderr);
        return 2;
    }
    const int code = run_all(&o, notes);
    free(module);
    return code;
}
