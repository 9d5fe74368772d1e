/*
 * api/api.h - the front ends: HTTP requests of each dialect in, jobs for flow/hub.h out, events
 * back into the dialect. One handler for the HTTP server; its callbacks run on the workers.
 */
#ifndef FG_API_API_H
#define FG_API_API_H

#include "conf/conf.h"
#include "flow/hub.h"
#include "http/http.h"

struct fg_api;

/* conf is read now, the hub is borrowed until close. */
int32_t fg_api_open(const struct fg_conf *, struct fg_hub *, struct fg_api **, struct fg_error *);
const struct fg_http_handler *fg_api_handler(struct fg_api *); /* borrowed until close */
/* The server whose exchanges this serves; for the health report. */
void fg_api_attach(struct fg_api *, struct fg_http_server *);
void fg_api_close(struct fg_api *); /* after the server is closed */

#endif
