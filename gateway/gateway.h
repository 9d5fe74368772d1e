/*
 * gateway.h - the composition root: builds every part in order, stops in reverse, reloads.
 * Called by the main thread only.
 */
#ifndef FG_GATEWAY_H
#define FG_GATEWAY_H

#include "conf/conf.h"

struct fg_gateway;

/* What the configuration alone cannot tell: names of cards. */
int32_t fg_gateway_check(const struct fg_conf *, struct fg_error *);
/* conf is given. Listens before it returns; backends, models and scans come up behind. */
int32_t fg_gateway_open(struct fg_conf *conf, struct fg_gateway **, struct fg_error *);
uint16_t fg_gateway_port(const struct fg_gateway *, uint32_t listen_index);
const struct fg_conf *fg_gateway_conf(const struct fg_gateway *);
/* Stops accepting, refuses new jobs; what runs goes on. */
void fg_gateway_drain(struct fg_gateway *);
uint32_t fg_gateway_busy(const struct fg_gateway *); /* jobs and exchanges still open */
void fg_gateway_cancel_all(struct fg_gateway *);     /* what still runs ends with an error event */
/* Applies what can be changed while running and says in the log what was not. */
int32_t fg_gateway_reload(struct fg_gateway *, const char *conf_path, struct fg_error *);
void fg_gateway_close(struct fg_gateway *);

#endif
