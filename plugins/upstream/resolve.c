/*
 * See resolve.h. The thread exists for one lookup at a time and has half of the struct: it, or the
 * owner, whoever is last, frees it. getaddrinfo() cannot be called back.
 */
#include "upstream/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/clock.h"
#include "util/error.h"

enum { FRESH_S = 30, AGAIN_S = 1 };

struct fg_resolver {
    struct fg_url url;
    void (*found)(void *ctx);
    void *ctx;
    pthread_mutex_t lock;
    bool is_asking, is_left;   /* [lock] left: the owner is gone */
    uint64_t done_ns;          /* [lock] when the last lookup ended; 0: none yet */
    struct fg_addresses known; /* [lock] the last good ones, or why there are none */
};

static void destroy(struct fg_resolver *r)
{
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void set_port(struct fg_address *a, uint16_t port)
{
    if (a->at.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)&a->at)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)(void *)&a->at)->sin_port = htons(port);
}

static void take_literal(struct fg_resolver *r)
{
    struct fg_address *a = &r->known.list[0];
    struct sockaddr_in *four = (struct sockaddr_in *)(void *)&a->at;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)&a->at;
    a->at.ss_family = AF_INET;
    a->len = sizeof *four;
    if (inet_pton(AF_INET, r->url.host, &four->sin_addr) != 1) {
        a->at.ss_family = AF_INET6;
        a->len = sizeof *six;
        (void)inet_pton(AF_INET6, r->url.host, &six->sin6_addr);
    }
    set_port(a, r->url.port);
    r->known.count = 1;
}

static void take_list(const struct addrinfo *list, uint16_t port, struct fg_addresses *out)
{
    for (const struct addrinfo *i = list; i && out->count < FG_ADDRESSES_MAX; i = i->ai_next) {
        struct fg_address *a = &out->list[out->count];
        if ((i->ai_family != AF_INET && i->ai_family != AF_INET6) || i->ai_addrlen > sizeof a->at)
            continue;
        memcpy(&a->at, i->ai_addr, i->ai_addrlen);
        a->len = i->ai_addrlen;
        set_port(a, port);
        out->count++;
    }
    if (!out->count)
        snprintf(out->error, sizeof out->error, "the name has no address");
}

static void *look_up(void *arg)
{
    struct fg_resolver *r = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
    struct fg_addresses got = {0};
    pthread_setname_np(pthread_self(), "fg-resolve");
    const int rc = getaddrinfo(r->url.host, NULL, &hints, &list);
    if (rc == 0)
        take_list(list, r->url.port, &got);
    else
        snprintf(got.error, sizeof got.error, "%s", gai_strerror(rc));
    if (list)
        freeaddrinfo(list);
    pthread_mutex_lock(&r->lock);
    const bool is_left = r->is_left;
    r->is_asking = false;
    r->done_ns = fg_clock_ns();
    if (got.count || !r->known.count)
        r->known = got;
    if (!is_left)
        r->found(r->ctx); /* within the lock, so that the owner cannot leave meanwhile */
    pthread_mutex_unlock(&r->lock);
    if (is_left)
        destroy(r);
    return NULL;
}

static bool start_locked(struct fg_resolver *r)
{
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, old;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the gateway's main thread's */
    r->is_asking = pthread_create(&thread, &attr, look_up, r) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return r->is_asking;
}

int32_t fg_resolver_open(const struct fg_url *url, void (*found)(void *ctx), void *ctx,
                         struct fg_resolver **out, struct fg_error *err)
{
    struct fg_resolver *r = calloc(1, sizeof *r);
    if (!r)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a resolver");
    r->url = *url;
    r->found = found;
    r->ctx = ctx;
    pthread_mutex_init(&r->lock, NULL);
    if (url->is_literal)
        take_literal(r);
    *out = r;
    return FG_OK;
}

void fg_resolver_close(struct fg_resolver *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    const bool is_asking = r->is_asking;
    r->is_left = true;
    pthread_mutex_unlock(&r->lock);
    if (!is_asking)
        destroy(r);
}

int32_t fg_resolver_get(struct fg_resolver *r, uint64_t now_ns, struct fg_addresses *out)
{
    int32_t rc = FG_OK;
    pthread_mutex_lock(&r->lock);
    const uint64_t age = r->done_ns && now_ns > r->done_ns ? now_ns - r->done_ns : 0;
    const uint64_t fresh = (r->known.count ? FRESH_S : AGAIN_S) * FG_NS_PER_S;
    const bool is_due = !r->url.is_literal && (!r->done_ns || age >= fresh);
    if (is_due && !r->is_asking && !start_locked(r) && !r->known.count)
        snprintf(r->known.error, sizeof r->known.error, "no thread to look the name up");
    if (!r->known.count)
        rc = r->is_asking ? FG_BUSY : FG_NOT_FOUND;
    *out = r->known;
    pthread_mutex_unlock(&r->lock);
    return rc;
}
