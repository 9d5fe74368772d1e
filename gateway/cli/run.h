/* cli/run.h - `fluxgate run`: one prompt, or a conversation when it stands at a terminal. */
#ifndef FG_CLI_RUN_H
#define FG_CLI_RUN_H

int fg_cli_run(int argc, char **argv);

#endif
