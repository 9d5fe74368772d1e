/* See tls.h. */
#include "upstream/tls.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "util/error.h"

struct fg_tls {
    SSL_CTX *ctx;
    struct fg_url url;
    bool verify;
};
struct fg_tls_conn {
    SSL *ssl;
};

static void last_error(char *text, size_t room)
{
    const unsigned long code = ERR_get_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    snprintf(text, room, "%s", reason ? reason : "no reason was given");
    ERR_clear_error();
}

static bool is_set_up(SSL_CTX *ctx, bool verify)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(ctx, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1;
}

int32_t fg_tls_open(const struct fg_url *url, const char *ca_file, bool verify, struct fg_tls **out,
                    struct fg_error *err)
{
    char why[100];
    struct fg_tls *t = calloc(1, sizeof *t);
    ERR_clear_error();
    if (t)
        t->ctx = SSL_CTX_new(TLS_client_method());
    if (!t || !t->ctx || !is_set_up(t->ctx, verify)) {
        fg_tls_close(t);
        return fg_fail(err, FG_NO_MEMORY, "no memory for TLS");
    }
    t->url = *url;
    t->verify = verify;
    const int good = ca_file ? SSL_CTX_load_verify_locations(t->ctx, ca_file, NULL)
                             : SSL_CTX_set_default_verify_paths(t->ctx);
    if (good != 1) {
        last_error(why, sizeof why);
        fg_tls_close(t);
        return fg_fail(err, FG_INVALID,
                       "ca_file \"%.100s\" has no certificates that can be used: %s",
                       ca_file ? ca_file : "of the system", why);
    }
    *out = t;
    return FG_OK;
}

void fg_tls_close(struct fg_tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    free(t);
}

/* Whose certificate it has to be. A literal address has no SNI (RFC 6066 3). */
static bool is_named(SSL *ssl, const struct fg_url *url)
{
    if (url->is_literal)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), url->host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, url->host) == 1 && SSL_set_tlsext_host_name(ssl, url->host) == 1;
}

struct fg_tls_conn *fg_tls_conn_open(struct fg_tls *t, int fd)
{
    struct fg_tls_conn *c = calloc(1, sizeof *c);
    ERR_clear_error();
    if (c)
        c->ssl = SSL_new(t->ctx);
    if (!c || !c->ssl || SSL_set_fd(c->ssl, fd) != 1 || !is_named(c->ssl, &t->url)) {
        fg_tls_conn_close(c);
        return NULL;
    }
    SSL_set_connect_state(c->ssl);
    return c;
}

void fg_tls_conn_close(struct fg_tls_conn *c)
{
    if (!c)
        return;
    if (c->ssl && SSL_is_init_finished(c->ssl))
        (void)SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    ERR_clear_error();
    free(c);
}

static int32_t wait_of(SSL *ssl, int rc)
{
    const int why = SSL_get_error(ssl, rc);
    if (why == SSL_ERROR_WANT_READ)
        return FG_TLS_READ;
    if (why == SSL_ERROR_WANT_WRITE)
        return FG_TLS_WRITE;
    return why == SSL_ERROR_ZERO_RETURN ? 0 : FG_TLS_FAILED;
}

int32_t fg_tls_handshake(struct fg_tls_conn *c, char *text, size_t room)
{
    ERR_clear_error();
    const int rc = SSL_do_handshake(c->ssl);
    if (rc == 1)
        return 1;
    const int32_t wait = wait_of(c->ssl, rc);
    if (wait == FG_TLS_READ || wait == FG_TLS_WRITE)
        return wait;
    const long verdict = SSL_get_verify_result(c->ssl);
    if (verdict != X509_V_OK)
        snprintf(text, room, "its certificate is not trusted: %s",
                 X509_verify_cert_error_string(verdict));
    else if (ERR_peek_error() == 0)
        snprintf(text, room, "it closed the connection within the TLS handshake");
    else
        last_error(text, room);
    ERR_clear_error();
    return FG_TLS_FAILED;
}

/* An end without the goodbye of TLS is FAILED as well: the framing of HTTP tells whether it cut
 * something off, but a body that ends with the connection could not tell. */
ptrdiff_t fg_tls_read(struct fg_tls_conn *c, void *to, size_t room)
{
    ERR_clear_error();
    const int rc = SSL_read(c->ssl, to, room > INT_MAX ? INT_MAX : (int)room);
    return rc > 0 ? rc : wait_of(c->ssl, rc);
}

ptrdiff_t fg_tls_write(struct fg_tls_conn *c, const void *from, size_t len)
{
    ERR_clear_error();
    const int rc = SSL_write(c->ssl, from, len > INT_MAX ? INT_MAX : (int)len);
    const ptrdiff_t n = rc > 0 ? rc : wait_of(c->ssl, rc);
    return n == 0 ? FG_TLS_FAILED : n;
}
