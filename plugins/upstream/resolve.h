/*
 * upstream/resolve.h - the addresses of one host. A literal is known at once; a name is looked up
 * on a thread of its own, because the system's resolver may wait for a minute. What was found is
 * used for a while, and while it is asked for again: a name server that is down does no harm.
 */
#ifndef FG_UPSTREAM_RESOLVE_H
#define FG_UPSTREAM_RESOLVE_H

#include <sys/socket.h>

#include "upstream/url.h"

enum { FG_ADDRESSES_MAX = 8 };
struct fg_address {
    struct sockaddr_storage at;
    socklen_t len;
};
struct fg_addresses {
    uint32_t count;
    struct fg_address list[FG_ADDRESSES_MAX];
    char error[96]; /* count 0: why */
};
struct fg_resolver;

/* found: [the resolver's thread] the addresses may be taken now. */
int32_t fg_resolver_open(const struct fg_url *, void (*found)(void *ctx), void *ctx,
                         struct fg_resolver **, struct fg_error *);
/* A lookup that is under way goes on without its owner, and found() is not called any more. */
void fg_resolver_close(struct fg_resolver *);
/* [owner] FG_OK: known, now_ns decides whether to ask again as well. FG_BUSY: found() will be
 * called. FG_NOT_FOUND: the last lookup failed less than a second ago; out->error says how. */
int32_t fg_resolver_get(struct fg_resolver *, uint64_t now_ns, struct fg_addresses *out);

#endif
