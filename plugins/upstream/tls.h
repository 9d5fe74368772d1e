/*
 * upstream/tls.h - TLS of the connections to one server: TLS 1.2 or later, the chain and the name
 * verified, the name sent (SNI), no compression, no renegotiation. The socket does not block; each
 * call says what it waits for. One thread a connection; the context is shared and immutable.
 */
#ifndef FG_UPSTREAM_TLS_H
#define FG_UPSTREAM_TLS_H

#include <stddef.h>

#include "upstream/url.h"

struct fg_tls;
struct fg_tls_conn;
enum fg_tls_wait {                    /* what the calls below answer instead of a number of bytes */
                   FG_TLS_READ = -1,  /* again when there is something to read */
                   FG_TLS_WRITE = -2, /* again when there is room */
                   FG_TLS_FAILED = -3,
};

/* ca_file NULL: what the system trusts. verify false: anybody is believed. */
int32_t fg_tls_open(const struct fg_url *, const char *ca_file, bool verify, struct fg_tls **,
                    struct fg_error *);
void fg_tls_close(struct fg_tls *);

struct fg_tls_conn *fg_tls_conn_open(struct fg_tls *, int fd); /* NULL: no memory */
void fg_tls_conn_close(struct fg_tls_conn *); /* says goodbye if it can at once; not the socket */
/* 1: done. FAILED: text says why, in words for people. */
int32_t fg_tls_handshake(struct fg_tls_conn *, char *text, size_t room);
ptrdiff_t fg_tls_read(struct fg_tls_conn *, void *to, size_t room); /* 0: the end */
ptrdiff_t fg_tls_write(struct fg_tls_conn *, const void *from, size_t len);

#endif
