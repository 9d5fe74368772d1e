/*
 * cli/client.h - the HTTP client of the commands, on libcurl. One thread.
 *
 * The library is loaded when the first request is made: it brings thirty others with it, and
 * `fluxgate serve`, which is the same program, shall not pay for them.
 */
#ifndef FG_CLI_CLIENT_H
#define FG_CLI_CLIENT_H

#include <jansson.h>

#include "util/str.h"

/* The server that is asked, as fg_conf_env_host() says; NULL: a message is on stderr. */
const char *fg_client_url(void);

/* Where newline-delimited objects of a streamed answer go; false ends the transfer. */
typedef bool fg_client_line(void *ctx, json_t *object);

/* Both hand the answer over as one object in *answer (new reference), the second one line by line
 * instead when `line` is not NULL. On failure a message is on stderr and the exit code comes back
 * (see cli.h); 0 is good. The body is given; NULL (json_pack() of what is not UTF-8) is an error.
 */
int fg_client_get(const char *path, json_t **answer);
int fg_client_post(const char *path, json_t *body, fg_client_line *line, void *ctx,
                   json_t **answer);

/* [any, a signal handler too] Ends the transfer that runs; it then counts as good. */
void fg_client_interrupt(void);

/* Text of a server for a terminal: control characters but the line end and the tab become '?'. */
void fg_client_print(struct fg_str text);

#endif
