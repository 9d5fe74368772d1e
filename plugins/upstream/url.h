/*
 * upstream/url.h - the address of a server, from a configuration. It comes from the operator only:
 * nothing in a request ever names a host. Any thread.
 */
#ifndef FG_UPSTREAM_URL_H
#define FG_UPSTREAM_URL_H

#include <stdbool.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

struct fg_url {
    bool is_tls, is_literal; /* literal: host is an IP address */
    uint16_t port;
    char host[256];      /* lower case, without brackets */
    char authority[272]; /* for Host: and for people; the port when it is not the scheme's */
    char path[256];      /* "/v1": begins with a slash, ends without one; may be "" */
};

/* http://host[:port][/path] or https://...; no user, query or fragment. What is refused is not
 * repeated in the message: it may hold a password. */
int32_t fg_url_parse(struct fg_str, struct fg_url *, struct fg_error *);

#endif
