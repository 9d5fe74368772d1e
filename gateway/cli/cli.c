/* The table of commands; see cli.h. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "cli/cards.h"
#include "cli/client.h"
#include "cli/gpu.h"
#include "cli/models.h"
#include "cli/run.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* NULL: lives in main.c, listed for the help */
    const char *use, *help;
    int least, most; /* of arguments behind the command's name */
};

static const struct command commands[] = {
    {"serve", NULL, "serve [--config FILE] [--port N] [--check]", "run the gateway", 0, 0},
    {"run", fg_cli_run, "run [--verbose] MODEL [PROMPT]", "ask a model, or talk to it", 1, 1 << 20},
    {"ls", fg_cli_ls, "ls", "models there are", 0, 0},
    {"ps", fg_cli_ps, "ps", "models that are loaded", 0, 0},
    {"show", fg_cli_show, "show MODEL", "what a model says of itself", 1, 1},
    {"explain", fg_cli_explain, "explain [--json] MODEL", "where a model runs and why", 1, 2},
    {"gpu", fg_cli_gpu, "gpu [info|processes|watch] [--json]", "cards of the server's machine", 0,
     2},
    {"cards", fg_cli_cards, "cards [--json] [CARD ...]", "the table of cards, or some of them", 0,
     64},
    {"tokenize", fg_cli_tokenize, "tokenize MODEL TEXT", "the tokens of a text", 2, 2},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *to)
{
    fprintf(to, "fluxgate: one gateway for language models on your own machines\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  fluxgate %-43s %s\n", commands[i].use, commands[i].help);
    fprintf(to, "  fluxgate %-43s %s\n  fluxgate %-43s %s\n", "--version", "what this is", "--help",
            "this text");
    fprintf(to,
            "\nThe commands ask the server at FLUXGATE_HOST or OLLAMA_HOST (host, host:port or a "
            "URL) and\nFLUXGATE_PORT; without them at 127.0.0.1:11434. Exit codes: 0 good, 1 the "
            "server said no,\n2 wrong use, 3 no server answers, 4 there is no card.\n");
}

static bool asks_help(const char *arg)
{
    return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
}

static int run_command(const struct command *c, int argc, char **argv)
{
    bool help = argc > 2 && asks_help(argv[2]);
    if (help || argc - 2 < c->least || argc - 2 > c->most) {
        fprintf(help ? stdout : stderr, "usage: fluxgate %s\n", c->use);
        return help ? 0 : 2;
    }
    return c->run(argc, argv);
}

int fg_cli_main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-v") == 0) {
        printf("fluxgate %s (plugin contract %u.%u)\n", FLUXGATE_VERSION, FG_ABI_MAJOR,
               FG_ABI_MINOR);
        return 0;
    }
    if (asks_help(name) || strcmp(name, "help") == 0) {
        print_help(stdout);
        return 0;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].run && strcmp(name, commands[i].name) == 0)
            return run_command(&commands[i], argc, argv);
    if (*name)
        fprintf(stderr, "fluxgate: there is no command \"%.40s\"; `fluxgate --help` lists them\n",
                name);
    else
        print_help(stderr);
    return 2;
}
