/*
 * cli/cli.h - every command but `serve`: small clients of the HTTP API, as anybody could write.
 */
#ifndef FG_CLI_CLI_H
#define FG_CLI_CLI_H

/* argv[1] is the command. Returns the exit code: 0 good, 1 the server said no, 2 wrong use,
 * 3 no server answers, 4 there is no card. */
int fg_cli_main(int argc, char **argv);

#endif
