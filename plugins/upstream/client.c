/*
 * The loop of a client: sockets, tasks, clocks, tick. See client.h and conn.h.
 *
 * Sockets are looked at before tasks, so that a kept connection which its server closed is found
 * out before a request is put on it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "upstream/conn.h"
#include "util/clock.h"
#include "util/error.h"

enum {
    TURN = 64,     /* events of one look */
    TRY_MS = 2000, /* one address, while there are others */
    DRAIN_MS = 1000,
    LOOK_MS = 1000, /* a worker may have started a clock since */
};

const char *fg_trouble_name(int32_t trouble)
{
    static const char *const names[FG_TROUBLES] = {"none",    "dns",   "connect",  "tls",
                                                   "timeout", "reset", "protocol", "status"};
    return trouble >= 0 && trouble < FG_TROUBLES ? names[trouble] : "none";
}

uint64_t fg_client_now(const struct fg_client *c)
{
    return c->now_ns;
}

/* ---- clocks ---------------------------------------------------------------------------------- */

/* A connection of ours is in FIRST or KEEP only while it is busy or idle, and then the lists
 * around it are a worker's too: so every move of it is made under the lock. */
void fg_clock_clear(struct fg_conn *conn)
{
    struct fg_client *c = conn->client;
    pthread_mutex_lock(&c->lock);
    fg_list_remove(&conn->clock);
    pthread_mutex_unlock(&c->lock);
}

void fg_clock_set(struct fg_conn *conn, int32_t clock)
{
    struct fg_client *c = conn->client;
    pthread_mutex_lock(&c->lock);
    fg_list_remove(&conn->clock);
    conn->due_ns = c->now_ns + c->spans_ns[clock];
    fg_list_push(&c->clocks[clock], &conn->clock);
    pthread_mutex_unlock(&c->lock);
}

/* The first of a list whose time is over; when not, *next is moved to its time. */
static struct fg_conn *late(struct fg_client *c, int32_t clock, uint64_t *next)
{
    struct fg_conn *conn = NULL;
    pthread_mutex_lock(&c->lock);
    if (!fg_list_empty(&c->clocks[clock])) {
        conn = FG_CONTAINER(c->clocks[clock].next, struct fg_conn, clock);
        if (conn->due_ns > c->now_ns) {
            *next = conn->due_ns < *next ? conn->due_ns : *next;
            conn = NULL;
        } else {
            fg_list_remove(&conn->clock);
            if (conn->state == FG_CONN_IDLE) {
                c->idle--;
                conn->state = FG_CONN_DRAINING; /* no worker finds it any more */
            }
        }
    }
    pthread_mutex_unlock(&c->lock);
    return conn;
}

static uint64_t run_clocks(struct fg_client *c)
{
    uint64_t next = UINT64_MAX;
    for (int32_t clock = 0; clock < FG_CLOCKS; clock++) {
        struct fg_conn *conn;
        while ((conn = late(c, clock, &next)))
            fg_conn_late(conn);
    }
    pthread_mutex_lock(&c->lock);
    const bool has_idle = c->idle > 0;
    pthread_mutex_unlock(&c->lock);
    if (has_idle && next > c->now_ns + LOOK_MS * FG_NS_PER_MS)
        next = c->now_ns + LOOK_MS * FG_NS_PER_MS;
    return next;
}

/* ---- the pool -------------------------------------------------------------------------------- */

static bool put_locked(struct fg_conn *conn, uint64_t now_ns)
{
    struct fg_client *c = conn->client;
    if (c->idle >= c->config.keep_max)
        return false;
    fg_list_remove(&conn->clock);
    conn->settles = false;
    conn->state = FG_CONN_IDLE;
    conn->due_ns = now_ns + c->spans_ns[FG_CLOCK_KEEP];
    fg_list_push(&c->clocks[FG_CLOCK_KEEP], &conn->clock);
    c->idle++;
    return true;
}

bool fg_pool_put(struct fg_conn *conn)
{
    struct fg_client *c = conn->client;
    pthread_mutex_lock(&c->lock);
    const bool is_kept = put_locked(conn, c->now_ns);
    pthread_mutex_unlock(&c->lock);
    return is_kept;
}

void fg_pool_settle(struct fg_conn *conn)
{
    struct fg_client *c = conn->client;
    pthread_mutex_lock(&c->lock);
    fg_list_remove(&conn->clock);
    conn->state = FG_CONN_SETTLING;
    conn->settles = true;
    fg_list_push(&c->settling, &conn->clock);
    pthread_mutex_unlock(&c->lock);
}

/* Those whose worker came back before it could see them here, or could not send all. */
static bool settle(struct fg_client *c)
{
    struct fg_conn *ended = NULL;
    pthread_mutex_lock(&c->lock);
    FG_LIST_EACH (node, next, &c->settling) {
        struct fg_conn *conn = FG_CONTAINER(node, struct fg_conn, clock);
        if (conn->is_lent)
            continue;
        if (conn->sent >= conn->length && put_locked(conn, c->now_ns))
            continue;
        fg_list_remove(node);
        conn->settles = false;
        conn->state = FG_CONN_DRAINING;
        ended = conn;
        break;
    }
    const bool is_empty = fg_list_empty(&c->settling);
    pthread_mutex_unlock(&c->lock);
    if (ended)
        fg_conn_end(ended);
    return is_empty;
}

/* The connection that was used last, now busy with this exchange; NULL: none is kept. */
static struct fg_conn *pool_take(struct fg_client *c, struct fg_exchange *ex, uint64_t now_ns,
                                 bool is_lent)
{
    struct fg_conn *conn = NULL;
    pthread_mutex_lock(&c->lock);
    if (!fg_list_empty(&c->clocks[FG_CLOCK_KEEP])) {
        conn = FG_CONTAINER(c->clocks[FG_CLOCK_KEEP].prev, struct fg_conn, clock);
        fg_list_remove(&conn->clock);
        c->idle--;
        conn->state = FG_CONN_BUSY;
        conn->is_reused = true;
        conn->ex = ex;
        ex->conn = conn;
        conn->due_ns = now_ns + c->spans_ns[FG_CLOCK_FIRST];
        fg_list_push(&c->clocks[FG_CLOCK_FIRST], &conn->clock);
        conn->sent = 0;
        conn->length = ex->request.len;
        conn->is_lent = is_lent;
    }
    pthread_mutex_unlock(&c->lock);
    if (conn)
        __atomic_fetch_add(&c->reused, 1, __ATOMIC_RELAXED);
    return conn;
}

/* ---- sending --------------------------------------------------------------------------------- */

static void run_start(struct fg_task *task)
{
    struct fg_exchange *ex = FG_CONTAINER(task, struct fg_exchange, task);
    struct fg_client *c = ex->client;
    struct fg_conn *conn = pool_take(c, ex, c->now_ns, false);
    if (conn)
        fg_conn_write(conn);
    else
        fg_conn_start(c, ex);
}

/* What a worker could not write. The exchange may be over by now. */
static void run_rest(struct fg_task *task)
{
    struct fg_exchange *ex = FG_CONTAINER(task, struct fg_exchange, task);
    if (ex->conn)
        fg_conn_write(ex->conn);
    ex->handler->let_go(ex);
}

/* [worker] On a kept connection, without the other thread. While is_lent the socket is not closed
 * and the connection not freed; the reply may be here, and even over, before send() comes back. */
static bool send_here(struct fg_client *c, struct fg_exchange *ex)
{
    const struct fg_str request = ex->request;
    struct fg_conn *conn = pool_take(c, ex, fg_clock_ns(), true);
    if (!conn)
        return false;
    const ssize_t n = send(conn->fd, request.ptr, request.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0)
        __atomic_fetch_add(&c->bytes_out, (uint64_t)n, __ATOMIC_RELAXED);
    pthread_mutex_lock(&c->lock);
    conn->is_lent = false;
    conn->sent = n > 0 ? (size_t)n : 0;
    if (conn->settles && conn->sent == request.len)
        (void)put_locked(conn, fg_clock_ns()); /* its whole reply was here before us */
    pthread_mutex_unlock(&c->lock);
    if (n == (ssize_t)request.len)
        return true;
    ex->handler->hold(ex);
    ex->task.run = run_rest;
    if (!fg_mailbox_post(&c->mailbox, &ex->task))
        ex->handler->let_go(ex);
    return true;
}

void fg_client_send(struct fg_client *c, struct fg_exchange *ex)
{
    ex->client = c;
    ex->conn = NULL;
    if (!c->tls && ex->handler->hold && send_here(c, ex))
        return;
    ex->task.run = run_start;
    (void)fg_mailbox_post(&c->mailbox, &ex->task);
}

bool fg_client_post(struct fg_client *c, struct fg_task *task)
{
    return fg_mailbox_post(&c->mailbox, task);
}

void fg_client_wake(struct fg_client *c)
{
    const uint64_t one = 1;
    const ssize_t n = write(c->mailbox.fd, &one, sizeof one);
    (void)n; /* EAGAIN: it wakes anyway */
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void on_found(void *ctx) /* [resolver's thread] */
{
    struct fg_client *c = ctx;
    __atomic_store_n(&c->resolved, 1, __ATOMIC_RELEASE);
    fg_client_wake(c);
}

static void run_resolved(struct fg_client *c)
{
    if (!__atomic_exchange_n(&c->resolved, 0, __ATOMIC_ACQ_REL))
        return;
    FG_LIST_EACH (node, next, &c->clocks[FG_CLOCK_TRY]) {
        struct fg_conn *conn = FG_CONTAINER(node, struct fg_conn, clock);
        if (conn->state == FG_CONN_RESOLVING)
            fg_conn_resolved(conn);
    }
}

/* A worker may still be sending on a dead one: then it waits for the next turn. */
static void bury(struct fg_client *c)
{
    FG_LIST_EACH (node, next, &c->dead) {
        struct fg_conn *conn = FG_CONTAINER(node, struct fg_conn, all);
        pthread_mutex_lock(&c->lock);
        const bool is_lent = conn->is_lent;
        pthread_mutex_unlock(&c->lock);
        if (is_lent)
            continue;
        fg_list_remove(node);
        fg_conn_free(conn);
    }
}

static int wait_ms(uint64_t next_ns, uint64_t now_ns)
{
    if (next_ns == UINT64_MAX)
        return -1;
    if (next_ns <= now_ns)
        return 0;
    const uint64_t ms = (next_ns - now_ns) / FG_NS_PER_MS + 1;
    return ms > 60000 ? 60000 : (int)ms;
}

static void turn(struct fg_client *c, int wait)
{
    struct epoll_event events[TURN];
    bool has_tasks = false;
    const int n = epoll_wait(c->epoll, events, TURN, wait);
    c->now_ns = fg_clock_ns();
    for (int i = 0; i < n; i++) {
        struct fg_conn *conn = events[i].data.ptr;
        if (conn)
            fg_conn_ready(conn, events[i].events);
        else
            has_tasks = true;
    }
    if (has_tasks)
        (void)fg_mailbox_run(&c->mailbox);
    run_resolved(c);
}

static void end_all(struct fg_client *c)
{
    (void)fg_mailbox_run(&c->mailbox);
    while (!fg_list_empty(&c->conns)) {
        struct fg_conn *conn = FG_CONTAINER(c->conns.next, struct fg_conn, all);
        fg_conn_kill(conn, FG_CANCELLED, FG_TROUBLE_NONE, "the backend is closing");
    }
    while (!fg_list_empty(&c->dead))
        bury(c);
}

static void *run(void *arg)
{
    struct fg_client *c = arg;
    uint64_t next = 0;
    pthread_setname_np(pthread_self(), "fg-upstream");
    while (!__atomic_load_n(&c->closing, __ATOMIC_ACQUIRE)) {
        turn(c, wait_ms(next, c->now_ns));
        const uint64_t tick = c->config.tick(c->config.ctx, c->now_ns);
        next = run_clocks(c);
        next = tick < next ? tick : next;
        const bool is_settled = settle(c);
        bury(c);
        if (!is_settled && next > c->now_ns + FG_NS_PER_MS)
            next = c->now_ns + FG_NS_PER_MS; /* any moment now */
    }
    end_all(c);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int32_t start(struct fg_client *c, struct fg_error *err)
{
    sigset_t all, old;
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll < 0 || epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->mailbox.fd, &ev) != 0)
        return fg_fail(err, FG_INTERNAL, "epoll: %s", strerror(errno));
    sigfillset(&all); /* TLS writes without MSG_NOSIGNAL: a SIGPIPE would be this thread's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    c->runs = pthread_create(&c->thread, NULL, run, c) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return c->runs ? FG_OK : fg_fail(err, FG_INTERNAL, "cannot start a thread");
}

static void set_spans(struct fg_client *c)
{
    const struct fg_client_times *t = &c->config.times;
    const uint32_t ms[FG_CLOCKS] = {
        [FG_CLOCK_TRY] = t->connect < TRY_MS ? t->connect : TRY_MS,
        [FG_CLOCK_FIRST] = t->first_byte,
        [FG_CLOCK_IDLE] = t->idle,
        [FG_CLOCK_DRAIN] = DRAIN_MS,
        [FG_CLOCK_KEEP] = t->keep,
    };
    for (int i = 0; i < FG_CLOCKS; i++) {
        c->spans_ns[i] = ms[i] * FG_NS_PER_MS;
        fg_list_init(&c->clocks[i]);
    }
}

int32_t fg_client_open(const struct fg_client_config *config, struct fg_client **out,
                       struct fg_error *err)
{
    struct fg_client *c = calloc(1, sizeof *c);
    if (!c)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a client");
    c->config = *config;
    c->epoll = -1;
    c->mailbox.fd = -1;
    c->now_ns = fg_clock_ns();
    fg_list_init(&c->conns);
    fg_list_init(&c->dead);
    fg_list_init(&c->settling);
    set_spans(c);
    pthread_mutex_init(&c->lock, NULL);
    int32_t rc = fg_mailbox_init(&c->mailbox, err);
    if (rc == FG_OK && config->url.is_tls)
        rc = fg_tls_open(&config->url, config->ca_file, config->verify, &c->tls, err);
    c->config.ca_file = NULL;
    if (rc == FG_OK)
        rc = fg_resolver_open(&config->url, on_found, c, &c->resolver, err);
    *out = c; /* the first tick may come before this is back */
    if (rc == FG_OK)
        rc = start(c, err);
    if (rc != FG_OK) {
        *out = NULL;
        fg_client_close(c);
    }
    return rc;
}

void fg_client_close(struct fg_client *c)
{
    if (!c)
        return;
    __atomic_store_n(&c->closing, 1, __ATOMIC_RELEASE);
    if (c->runs) {
        fg_mailbox_close(&c->mailbox);
        fg_client_wake(c);
        pthread_join(c->thread, NULL);
    }
    fg_resolver_close(c->resolver);
    fg_tls_close(c->tls);
    if (c->epoll >= 0)
        close(c->epoll);
    if (c->mailbox.fd >= 0)
        fg_mailbox_done(&c->mailbox);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void fg_client_count(struct fg_client *c, struct fg_client_numbers *n)
{
    pthread_mutex_lock(&c->lock);
    n->idle = c->idle;
    pthread_mutex_unlock(&c->lock);
    n->open = __atomic_load_n(&c->open, __ATOMIC_RELAXED);
    n->bytes_in = __atomic_load_n(&c->bytes_in, __ATOMIC_RELAXED);
    n->bytes_out = __atomic_load_n(&c->bytes_out, __ATOMIC_RELAXED);
    n->opened = __atomic_load_n(&c->opened, __ATOMIC_RELAXED);
    n->reused = __atomic_load_n(&c->reused, __ATOMIC_RELAXED);
}
