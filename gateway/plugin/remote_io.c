/*
 * The thread of one child: reads its socket and its output, writes what workers had to leave,
 * watches over it, and buries it. One poll() with four descriptors; a burst of frames is read with
 * one call and each event goes to its job's stream at once, which wakes the worker once.
 *
 * Nothing here believes the child: what cannot be understood ends it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "obs/log.h"
#include "plugin/remote_inner.h"
#include "util/clock.h"
#include "util/str.h"

enum {
    TICK_BUSY_MS = 1000,
    TICK_IDLE_MS = 5000,
    PING_AFTER_S = 5,
    PONG_WITHIN_S = 15,
    GRACE_MS = 1000,
    VISITS_MOST = 64 << 20,
    DEVICES_MOST = 64,
    METRICS_MOST = 4096,
};

void fg_remote_wake(struct fg_backend *r)
{
    ssize_t n = write(r->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)n; /* EAGAIN: it is awake */
}

static void must_end(struct fg_backend *r, const char *reason)
{
    pthread_mutex_lock(&r->lock);
    if (!r->must_end && !r->gone) {
        snprintf(r->reason, sizeof r->reason, "%s", reason);
        r->must_end = true;
    }
    pthread_mutex_unlock(&r->lock);
}

void fg_remote_kill(struct fg_backend *r, const char *reason)
{
    must_end(r, reason);
    fg_remote_wake(r);
}

void fg_remote_flush(struct fg_backend *r)
{
    int32_t rc = fg_wire_flush(&r->out, false);
    if (rc == FG_WIRE_BLOCKED && !__atomic_exchange_n(&r->is_blocked, 1, __ATOMIC_ACQ_REL))
        fg_remote_wake(r);
}

/* ---- frames -----------------------------------------------------------------------------------
 */

static void copy_name(char *to, size_t room, struct fg_str from)
{
    size_t n = 0;
    for (; n < from.len && n < room - 1 && from.ptr[n] > ' ' && from.ptr[n] < 0x7f; n++)
        to[n] = from.ptr[n];
    to[n] = '\0';
}

static bool on_reply(struct fg_backend *r, const struct fg_wire_frame *f)
{
    struct fg_msg_reply m;
    struct fg_view v = {.base = f->data, .len = f->len, .arena = r->arena};
    if (!fg_reply_view(&v, &m))
        return false;
    pthread_mutex_lock(&r->lock);
    struct fg_remote_call *c = &r->call;
    bool good = c->id == f->id && !c->done; /* else it answers what nobody asked */
    if (good) {
        c->done = true;
        c->reply = m;
        c->err.status = m.status;
        size_t n = m.text.len < sizeof c->err.text ? m.text.len : sizeof c->err.text - 1;
        n = fg_utf8_valid((struct fg_str){m.text.ptr, n}, &(bool){false});
        memcpy(c->err.text, m.text.ptr ? m.text.ptr : "", n);
        c->err.text[n] = '\0';
        copy_name(c->name, sizeof c->name, m.name);
        copy_name(c->version, sizeof c->version, m.version);
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return good;
}

static bool on_progress(struct fg_backend *r, const struct fg_wire_frame *f)
{
    float fraction;
    if (f->len != sizeof fraction)
        return false;
    memcpy(&fraction, f->data, sizeof fraction);
    pthread_mutex_lock(&r->lock);
    if (r->call.id == f->id && fraction >= 0 && fraction <= 1) {
        r->call.fraction = fraction;
        r->call.moved = true;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return true;
}

/* Kept for the control thread, which makes the visits. */
static bool on_visit(struct fg_backend *r, const struct fg_wire_frame *f)
{
    struct fg_remote_visit *visit = malloc(sizeof *visit + f->len);
    if (!visit) {
        must_end(r, "no memory for an answer of it");
        return true;
    }
    visit->type = f->type;
    visit->len = f->len;
    memcpy(visit->data, f->data, f->len);
    pthread_mutex_lock(&r->lock);
    bool good = r->call.id == f->id && !r->call.done &&
                f->len + sizeof *visit <= VISITS_MOST - r->call.visit_bytes;
    if (good) {
        r->call.visit_bytes += f->len + sizeof *visit;
        fg_list_push(&r->call.visits, &visit->node);
    }
    pthread_mutex_unlock(&r->lock);
    if (!good)
        free(visit);
    return good;
}

static bool on_numbers(struct fg_backend *r, const struct fg_wire_frame *f)
{
    struct fg_remote_numbers *n = malloc(sizeof *n + f->len);
    struct fg_arena *arena = fg_arena_open(0, FG_WIRE_MOST);
    if (!n || !arena) { /* the old ones have to do */
        free(n);
        fg_arena_close(arena);
        return true;
    }
    *n = (struct fg_remote_numbers){.refs = 1, .arena = arena};
    memcpy(n->data, f->data, f->len);
    struct fg_view v = {.base = n->data, .len = f->len, .arena = arena};
    if (!fg_numbers_view(&v, &n->all) || n->all.device_count > DEVICES_MOST ||
        n->all.metric_count > METRICS_MOST) {
        fg_remote_numbers_drop(n);
        return v.no_memory;
    }
    pthread_mutex_lock(&r->lock);
    struct fg_remote_numbers *old = r->numbers;
    r->numbers = n;
    pthread_mutex_unlock(&r->lock);
    fg_remote_numbers_drop(old);
    if (f->id)
        r->ask.host->device_changed(r->ask.host, 0);
    return true;
}

static bool on_log(struct fg_backend *r, const struct fg_wire_frame *f)
{
    if (f->id > FG_LOG_DEBUG || !fg_output_allow(&r->logs, f->len, r->ask.name, r->now_ns))
        return f->id <= FG_LOG_DEBUG;
    r->ask.host->log(r->ask.host, (int32_t)f->id, (struct fg_str){f->data, f->len});
    return true;
}

static bool on_hello(struct fg_backend *r, const struct fg_wire_frame *f)
{
    struct fg_msg_hello m;
    struct fg_view v = {.base = f->data, .len = f->len};
    bool good = !r->greeted && fg_hello_view(&v, &m) && m.abi == FG_ABI &&
                m.event_bytes == sizeof(struct fg_event) &&
                m.request_bytes == sizeof(struct fg_request);
    r->greeted = true;
    return good;
}

static bool on_pong(struct fg_backend *r, const struct fg_wire_frame *f)
{
    (void)f;
    r->ping_ns = 0;
    return true;
}

static bool on_frame(struct fg_backend *r, const struct fg_wire_frame *f)
{
    static const struct {
        uint8_t type;
        bool (*take)(struct fg_backend *, const struct fg_wire_frame *);
    } all[] = {
        {FG_MSG_EVENT, fg_remote_event}, {FG_MSG_REPLY, on_reply}, {FG_MSG_PROGRESS, on_progress},
        {FG_MSG_MODEL, on_visit},        {FG_MSG_JSON, on_visit},  {FG_MSG_LOG, on_log},
        {FG_MSG_NUMBERS, on_numbers},    {FG_MSG_PONG, on_pong},
    };
    if (f->type == FG_MSG_HELLO || !r->greeted)
        return f->type == FG_MSG_HELLO && on_hello(r, f);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].type == f->type)
            return all[i].take(r, f);
    return false;
}

/* False: the child closed its end, or has to be ended. */
static bool read_frames(struct fg_backend *r)
{
    struct fg_wire_frame f;
    ssize_t n = fg_wire_read(&r->in);
    int got;
    if (n == -2)
        must_end(r, "broke the protocol: descriptors that no message asked for");
    if (n < 0)
        return false;
    if (n > 0)
        r->heard_ns = r->now_ns;
    while ((got = fg_wire_next(&r->in, &f)) > 0) {
        bool good = on_frame(r, &f);
        fg_arena_reset(r->arena);
        if (!good) {
            char text[96];
            snprintf(text, sizeof text, "broke the protocol: message %u of %zu bytes", f.type,
                     f.len);
            must_end(r,
                     r->greeted && f.type != FG_MSG_HELLO ? text : "is not the host of this build");
            return false;
        }
    }
    if (got < 0)
        must_end(r, "broke the protocol: what it sent is no message");
    return got == 0;
}

/* ---- watching ---------------------------------------------------------------------------------
 */

static bool is_busy(struct fg_backend *r)
{
    pthread_mutex_lock(&r->lock);
    bool busy = r->count || r->call.id;
    pthread_mutex_unlock(&r->lock);
    return busy;
}

static void watch_writing(struct fg_backend *r)
{
    uint64_t written = fg_wire_written(&r->out);
    bool waits = fg_wire_waiting(&r->out) > 0;
    if (written != r->written || !waits) {
        r->written = written;
        r->written_ns = r->now_ns;
    } else if (r->now_ns - r->written_ns > r->ask.write_ns) {
        must_end(r, "took nothing off its socket in time");
    }
}

static void watch(struct fg_backend *r)
{
    watch_writing(r);
    if (!is_busy(r)) {
        r->ping_ns = 0;
        return;
    }
    if (r->ping_ns && r->now_ns - r->ping_ns > PONG_WITHIN_S * FG_NS_PER_S)
        must_end(r, "does not answer any more");
    if (!r->ping_ns && r->greeted && r->now_ns - r->heard_ns > PING_AFTER_S * FG_NS_PER_S) {
        r->ping_ns = r->now_ns;
        (void)fg_wire_send(&r->out, FG_MSG_PING, 0, NULL, 0);
    }
    if (fg_remote_is_hanging(r, r->ask.hang_ns))
        must_end(r, "its jobs did not move for too long");
}

static bool is_to_end(struct fg_backend *r)
{
    pthread_mutex_lock(&r->lock);
    bool end = r->must_end;
    pthread_mutex_unlock(&r->lock);
    return end;
}

/* ---- the loop ---------------------------------------------------------------------------------
 */

/* What waits goes out; true: the socket is full. */
static bool write_frames(struct fg_backend *r)
{
    __atomic_store_n(&r->is_blocked, 0, __ATOMIC_RELEASE);
    return fg_wire_flush(&r->out, true) == FG_WIRE_BLOCKED;
}

static int wait_ms(const struct fg_backend *r, bool blocked, bool moved)
{
    if (blocked && !moved) /* for a descriptor or memory rather than for the socket */
        return 10;
    return r->ask.hang_ns < FG_NS_PER_S || r->ask.write_ns < FG_NS_PER_S ? 50 : TICK_BUSY_MS;
}

static void turn(struct fg_backend *r)
{
    uint64_t tick_ns = 0, written = 0;
    bool blocked = false, busy = true;
    for (;;) {
        struct pollfd p[] = {
            {.fd = r->child.socket, .events = POLLIN},
            {.fd = r->wake_fd, .events = POLLIN},
            {.fd = r->output.fd, .events = POLLIN},
            {.fd = r->child.pidfd, .events = POLLIN},
        };
        uint64_t now_written = fg_wire_written(&r->out);
        bool moved = now_written != written;
        written = now_written;
        if (blocked && moved)
            p[0].events |= POLLOUT;
        (void)poll(p, 4, busy || blocked ? wait_ms(r, blocked, moved) : TICK_IDLE_MS);
        r->now_ns = fg_clock_ns();
        if (p[1].revents) {
            uint64_t count;
            ssize_t n = read(r->wake_fd, &count, sizeof count);
            (void)n;
        }
        if (p[2].revents && !fg_output_drain(&r->output, r->ask.name, r->now_ns))
            r->output.fd = -1;
        if ((p[0].revents & (POLLIN | POLLHUP | POLLERR)) && !read_frames(r))
            return;
        if (p[3].revents && !(p[0].revents & POLLIN))
            return; /* it has ended and all it said was read */
        blocked = write_frames(r);
        if (r->now_ns - tick_ns > (TICK_BUSY_MS / 4) * FG_NS_PER_MS ||
            r->ask.hang_ns < FG_NS_PER_S) {
            tick_ns = r->now_ns;
            watch(r);
            busy = is_busy(r);
        }
        if (is_to_end(r))
            return;
    }
}

/* Jobs and calls hear of it when the owner already knows, so that a second try goes elsewhere. */
static void bury(struct fg_backend *r)
{
    char how[96], reason[sizeof r->reason];
    fg_child_end(&r->child, is_to_end(r) ? 0 : GRACE_MS, how, sizeof how);
    if (r->output.fd >= 0)
        (void)fg_output_drain(&r->output, r->ask.name, fg_clock_ns());
    (void)shutdown(r->child.socket, SHUT_RDWR);
    pthread_mutex_lock(&r->lock);
    r->gone = true;
    if (!r->must_end)
        snprintf(r->reason, sizeof r->reason, "its process %s", how);
    snprintf(reason, sizeof reason, "%s", r->reason);
    bool tell = r->announced && !r->closing;
    pthread_mutex_unlock(&r->lock);
    if (tell)
        r->ask.gone(r->ask.ctx, reason);
    fg_remote_fail_jobs(r, "the backend's process ended");
    pthread_mutex_lock(&r->lock);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void *fg_remote_run(void *remote)
{
    struct fg_backend *r = remote;
    r->now_ns = r->heard_ns = r->event_ns = r->written_ns = fg_clock_ns();
    turn(r);
    bury(r);
    return NULL;
}
