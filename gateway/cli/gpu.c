/* See gpu.h. What is not known is shown as "-". */
#include "cli/gpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "util/str.h"

enum { NO_CARD = 4, WATCH_S = 1 };

/* Without control characters: a server must not steer a terminal. Good for the next 7 calls. */
static const char *text_of(const json_t *o, const char *key)
{
    static char rooms[8][256];
    static unsigned turn;
    const char *text = json_string_value(json_object_get(o, key));
    char *out = rooms[turn++ % 8];
    snprintf(out, sizeof rooms[0], "%s", text ? text : "-");
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    return out;
}

static double figure(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

/* A figure with its unit, or "-". */
static const char *shown(double value, int decimals, const char *unit, char *out, size_t room)
{
    if (isnan(value))
        snprintf(out, room, "-");
    else
        snprintf(out, room, "%.*f%s", decimals, value, unit);
    return out;
}
#define SHOWN(value, decimals, unit) shown(value, decimals, unit, (char[32]){0}, 32)

static void print_json(const json_t *answer)
{
    char *text = json_dumps(answer, JSON_INDENT(2));
    puts(text ? text : "{}");
    free(text);
}

/* ---- gpu --------------------------------------------------------------------------------------
 */

static void print_unusable(const json_t *answer)
{
    size_t i;
    const json_t *bare;
    json_array_foreach(json_object_get(answer, "unusable"), i, bare)
    {
        const char *card = text_of(bare, "card");
        printf("%s %s (%s): ", text_of(bare, "pci"),
               strcmp(card, "-") == 0 ? "an NVIDIA chip that is not in the table" : card,
               text_of(bare, "device_id"));
        fputs(text_of(bare, "why"), stdout);
        putchar('\n');
    }
}

static int say_none(const json_t *answer)
{
    printf("no NVIDIA card is in use on the server's machine: ");
    fputs(text_of(answer, "why"), stdout);
    putchar('\n');
    print_unusable(answer);
    return NO_CARD;
}

static void print_table(const json_t *answer)
{
    size_t i;
    const json_t *c;
    printf("%-3s %-24s %-14s %5s %12s %5s %17s %9s %6s %5s\n", "GPU", "NAME", "STATE", "TEMP",
           "POWER", "BUSY", "MEMORY", "CLOCK", "LINK", "SLOTS");
    json_array_foreach(json_object_get(answer, "gpus"), i, c)
    {
        char memory[40], power[40], link[40];
        snprintf(memory, sizeof memory, "%s/%s GiB",
                 SHOWN(figure(c, "memory_used_bytes") / 1073741824, 1, ""),
                 SHOWN(figure(c, "memory_total_bytes") / 1073741824, 1, ""));
        snprintf(power, sizeof power, "%s/%s W", SHOWN(figure(c, "watts"), 0, ""),
                 SHOWN(figure(c, "limit_watts"), 0, ""));
        snprintf(link, sizeof link, "%s x%s", SHOWN(figure(c, "link_generation"), 0, ""),
                 SHOWN(figure(c, "link_width"), 0, ""));
        printf("%-3s %-24.24s %-14s %5s %12s %5s %17s %9s %6s %5s\n",
               SHOWN(figure(c, "index"), 0, ""), text_of(c, "name"), text_of(c, "state"),
               SHOWN(figure(c, "celsius"), 0, " C"), power,
               SHOWN(figure(c, "busy_ratio") * 100, 0, " %"), memory,
               SHOWN(figure(c, "sm_mhz"), 0, " MHz"), link,
               SHOWN(figure(c, "admission") * 100, 0, " %"));
        if (json_is_string(json_object_get(c, "reason"))) {
            printf("    since %.19s: ", text_of(c, "since"));
            fputs(text_of(c, "reason"), stdout);
            putchar('\n');
        }
    }
    print_unusable(answer);
}

static void print_info(const json_t *answer)
{
    size_t i;
    const json_t *c;
    printf("driver %s, CUDA %s, %s\n", text_of(answer, "driver"), text_of(answer, "cuda"),
           text_of(answer, "library"));
    json_array_foreach(json_object_get(answer, "gpus"), i, c)
    {
        const char *key;
        json_t *v;
        printf("\n");
        json_object_foreach((json_t *)c, key, v)
        {
            char *text = json_is_string(v) || json_is_null(v)
                             ? strdup(text_of(c, key))
                             : json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
            printf("%-28s ", key);
            fg_client_print(fg_str_of(text ? text : "-"));
            putchar('\n');
            free(text);
        }
    }
    print_unusable(answer);
}

static void print_processes(const json_t *answer)
{
    size_t i, j;
    const json_t *c, *p;
    printf("%-3s %8s %-24s %12s %s\n", "GPU", "PID", "NAME", "MEMORY", "OURS");
    json_array_foreach(json_object_get(answer, "gpus"), i, c)
    {
        json_array_foreach(json_object_get(c, "processes"), j, p)
        {
            printf("%-3s %8s ", SHOWN(figure(c, "index"), 0, ""), SHOWN(figure(p, "pid"), 0, ""));
            printf("%-24s %12s %s\n", text_of(p, "name"),
                   SHOWN(figure(p, "memory_bytes") / 1048576, 0, " MiB"),
                   json_is_true(json_object_get(p, "ours")) ? "yes" : "no");
        }
    }
}

static int ask_and_print(void (*print)(const json_t *))
{
    json_t *answer = NULL;
    int code = fg_client_get("/api/fluxgate/gpus", &answer);
    if (code)
        return code;
    code = json_array_size(json_object_get(answer, "gpus")) ? 0 : NO_CARD;
    if (code && print != print_json)
        say_none(answer);
    else
        print(answer);
    json_decref(answer);
    return code;
}

static int watch(void)
{
    for (bool again = false;; again = true) {
        if (again)
            sleep(WATCH_S);
        if (isatty(1))
            printf("\033[H\033[2J");
        int code = ask_and_print(print_table);
        if (fflush(stdout) != 0 || code)
            return code;
    }
}

int fg_cli_gpu(int argc, char **argv)
{
    static const struct {
        const char *word;
        void (*print)(const json_t *);
    } words[] = {{"info", print_info}, {"processes", print_processes}};
    void (*print)(const json_t *) = print_table;
    bool json = false, watches = false;
    for (int i = 2; i < argc; i++) {
        bool known = strcmp(argv[i], "--json") == 0;
        json = json || known;
        for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
            if (strcmp(argv[i], words[w].word) != 0)
                continue;
            known = true;
            print = words[w].print;
        }
        if (strcmp(argv[i], "watch") == 0 || strcmp(argv[i], "top") == 0)
            known = watches = true;
        if (!known) {
            fprintf(stderr, "fluxgate: gpu: unknown word \"%.40s\"\n", argv[i]);
            return 2;
        }
    }
    return watches && !json ? watch() : ask_and_print(json ? print_json : print);
}

/* ---- explain ----------------------------------------------------------------------------------
 */

static void print_backend(const json_t *b, const char *mark)
{
    char detail[160] = "";
    const json_t *gpus = json_object_get(b, "gpus");
    size_t at = 0, i;
    const json_t *index;
    json_array_foreach(gpus, i, index)
    {
        int n = snprintf(detail + at, sizeof detail - at, "%s%d", i ? "," : ", gpu ",
                         (int)json_integer_value(index));
        at += n > 0 && (size_t)n < sizeof detail - at ? (size_t)n : 0;
    }
    if (json_is_array(gpus))
        at += (size_t)snprintf(detail + at, sizeof detail - at, ", %s, weight %s",
                               SHOWN(figure(b, "celsius"), 0, " C"),
                               SHOWN(figure(b, "weight"), 2, ""));
    if (at < sizeof detail && !isnan(figure(b, "tokens_per_s")))
        at += (size_t)snprintf(detail + at, sizeof detail - at, ", %s",
                               SHOWN(figure(b, "tokens_per_s"), 1, " tokens/s"));
    if (at < sizeof detail && !isnan(figure(b, "joules_per_token")))
        snprintf(detail + at, sizeof detail - at, ", %s",
                 SHOWN(figure(b, "joules_per_token"), 2, " J/token"));
    printf("  %-3s %-16s ", mark, text_of(b, "backend"));
    fputs(text_of(b, "reason"), stdout);
    fputs(detail, stdout);
    putchar('\n');
}

static int print_explanation(const json_t *answer)
{
    size_t i;
    const json_t *b;
    const json_t *candidates = json_object_get(answer, "candidates");
    printf("%s, policy %s", text_of(answer, "model"), text_of(answer, "policy"));
    if (json_is_string(json_object_get(answer, "route")))
        printf(", route %s", text_of(answer, "route"));
    putchar('\n');
    json_array_foreach(json_object_get(answer, "loaded"), i, b)
        printf("  is %s on %s, %d running, %d waiting, %d slots\n",
               strcmp(text_of(b, "state"), "ready") == 0 ? "loaded" : text_of(b, "state"),
               text_of(b, "backend"), (int)json_integer_value(json_object_get(b, "running")),
               (int)json_integer_value(json_object_get(b, "waiting")),
               (int)json_integer_value(json_object_get(b, "slots")));
    json_array_foreach(candidates, i, b)
    {
        char mark[8];
        snprintf(mark, sizeof mark, "%u.", (unsigned)(i + 1) % 100);
        print_backend(b, mark);
    }
    json_array_foreach(json_object_get(answer, "rejected"), i, b) print_backend(b, "-");
    if (json_array_size(candidates))
        return 0;
    printf("no backend can serve it now%s\n",
           json_is_true(json_object_get(answer, "may_come_back")) ? "; one may be back soon" : "");
    return 1;
}

int fg_cli_explain(int argc, char **argv)
{
    static const char hex[] = "0123456789ABCDEF";
    char path[1024] = "/api/fluxgate/explain?model=";
    size_t at = strlen(path);
    const char *model = NULL;
    bool json = false;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (!model)
            model = argv[i];
        else
            model = "";
    }
    if (!model || !*model || strlen(model) > 300) {
        fprintf(stderr, "usage: fluxgate explain [--json] MODEL\n");
        return 2;
    }
    for (const char *c = model; *c; c++) {
        path[at++] = '%';
        path[at++] = hex[(unsigned char)*c >> 4];
        path[at++] = hex[(unsigned char)*c & 15];
    }
    path[at] = '\0';
    json_t *answer = NULL;
    int code = fg_client_get(path, &answer);
    if (code)
        return code;
    if (json)
        print_json(answer);
    else
        code = print_explanation(answer);
    json_decref(answer);
    return code;
}
