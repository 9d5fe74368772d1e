/* The table of commands; see cli.h. */
#include "cli/cli.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/models.h"
#include "cli/run.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* NULL: lives in main.c, listed for the help */
    const char *use, *help;
};

static const struct command commands[] = {
    {"serve", NULL, "serve [--config FILE] [--port N]", "run the gateway"},
    {"run", fg_cli_run, "run [--verbose] MODEL [PROMPT]", "ask a model, or talk to it"},
    {"ls", fg_cli_ls, "ls", "models there are"},
    {"ps", fg_cli_ps, "ps", "models that are loaded"},
    {"show", fg_cli_show, "show MODEL", "what a model says of itself"},
    {"tokenize", fg_cli_tokenize, "tokenize MODEL TEXT", "the tokens of a text"},
};

static void print_help(FILE *to)
{
    fprintf(to, "fluxgate: one gateway for language models on your own machines\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(to, "  fluxgate %-34s %s\n", commands[i].use, commands[i].help);
    fprintf(to, "  fluxgate %-34s %s\n  fluxgate %-34s %s\n", "--version", "what this is", "--help",
            "this text");
    fprintf(to, "\nThe commands ask the server at %s (FLUXGATE_HOST or OLLAMA_HOST changes it).\n",
            fg_client_url());
}

int fg_cli_main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-v") == 0) {
        printf("fluxgate %s (plugin contract %u.%u)\n", FLUXGATE_VERSION, FG_ABI_MAJOR,
               FG_ABI_MINOR);
        return 0;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(name, commands[i].name) != 0 || !commands[i].run)
            continue;
        curl_global_init(CURL_GLOBAL_DEFAULT);
        int code = commands[i].run(argc, argv);
        curl_global_cleanup();
        return code;
    }
    if (*name)
        fprintf(stderr, "fluxgate: there is no command \"%.40s\"\n\n", name);
    print_help(stderr);
    return 2;
}
