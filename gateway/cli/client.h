/*
 * cli/client.h - the HTTP client of the commands, on libcurl. One thread.
 */
#ifndef FG_CLI_CLIENT_H
#define FG_CLI_CLIENT_H

#include <jansson.h>

#include "util/str.h"

/* The server asked: FLUXGATE_HOST, else OLLAMA_HOST, else 127.0.0.1 and FLUXGATE_PORT or 11434. */
const char *fg_client_url(void);

/* Where newline-delimited objects of a streamed answer go; false ends the transfer. */
typedef bool fg_client_line(void *ctx, json_t *object);

/*
 * Asks for path with body (NULL: GET; given: the call frees it) and hands the answer over: as one
 * object in *answer when line is NULL (new reference), else line by line. On failure a message is
 * on stderr and the exit code comes back (see cli.h); 0 is good.
 */
int fg_client_ask(const char *path, json_t *body, fg_client_line *line, void *ctx,
                  json_t **answer);

#endif
