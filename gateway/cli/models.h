/* cli/models.h - ls, ps, show, tokenize: tables of what the server says. Exit codes as cli.h. */
#ifndef FG_CLI_MODELS_H
#define FG_CLI_MODELS_H

int fg_cli_ls(int argc, char **argv);
int fg_cli_ps(int argc, char **argv);
int fg_cli_show(int argc, char **argv);
int fg_cli_tokenize(int argc, char **argv);

#endif
