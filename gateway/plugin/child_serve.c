/*
 * The main thread of fg-plugin-host: one poll() on the socket and a bell. What comes is either a
 * word about a job, acted on here at once, or a call, left to the control thread. What the plugin
 * emits is gathered by the sender and written here, a burst at a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "plugin/child.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/str.h"

enum {
    TICK_BUSY_MS = 1000, /* numbers, while something happens */
    TICK_IDLE_MS = 10000,
    DEVICES_MOST = 64,
    METRICS_MOST = 4096,
    NUMBERS_BYTES = 4 << 20,
    LOG_WAITING = 256 << 10, /* beyond it log lines are dropped */
    LOG_BYTES = 4 << 10,
};

void fg_child_wake(struct fg_served *s)
{
    ssize_t n = write(s->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)n; /* EAGAIN: it is awake */
}

/* ---- what the plugin may ask of its host ------------------------------------------------------
 */

static void host_log(const struct fg_host *host, int32_t level, struct fg_str text)
{
    struct fg_served *s = host->ctx;
    if (level < FG_LOG_ERROR || level > FG_LOG_DEBUG || fg_wire_waiting(&s->out) > LOG_WAITING)
        return;
    size_t len = text.len < LOG_BYTES ? text.len : LOG_BYTES;
    (void)fg_wire_send(&s->out, FG_MSG_LOG, (uint64_t)level, text.ptr, len);
    fg_child_wake(s);
}

static void host_device_changed(const struct fg_host *host, uint32_t device)
{
    struct fg_served *s = host->ctx;
    (void)device; /* all of them are sent */
    __atomic_store_n(&s->device_changed, 1, __ATOMIC_RELEASE);
    fg_child_wake(s);
}

static const void *host_extension(const struct fg_host *host, const char *id)
{
    (void)host; /* the gateway offers none yet */
    (void)id;
    return NULL;
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

struct gathered {
    struct fg_arena *arena;
    struct fg_msg_metric *metrics;
    uint32_t count;
};

static void on_metric(void *ctx, const char *name, const char *labels, double value)
{
    struct gathered *g = ctx;
    struct fg_str n = fg_arena_str(g->arena, fg_str_of(name));
    struct fg_str l = fg_arena_str(g->arena, fg_str_of(labels ? labels : ""));
    if (g->count < METRICS_MOST && n.ptr && l.ptr)
        g->metrics[g->count++] = (struct fg_msg_metric){n, l, value};
}

static uint32_t gather_devices(struct fg_served *s, struct fg_device *all)
{
    uint32_t n = 0;
    memset(all, 0, DEVICES_MOST * sizeof *all);
    for (; n < DEVICES_MOST; n++) {
        all[n].size = sizeof *all;
        if (s->table->device(s->instance, n, &all[n]) != FG_OK)
            break;
        all[n].size = sizeof *all;
    }
    return n;
}

void fg_child_send_numbers(struct fg_served *s)
{
    bool changed = __atomic_exchange_n(&s->device_changed, 0, __ATOMIC_ACQ_REL);
    struct gathered g = {.arena = fg_arena_open(64 << 10, NUMBERS_BYTES)};
    struct fg_device *devices = NULL;
    void *block = NULL;
    if (g.arena) {
        devices = fg_arena_zalloc(g.arena, DEVICES_MOST, sizeof *devices);
        g.metrics = fg_arena_zalloc(g.arena, METRICS_MOST, sizeof *g.metrics);
    }
    if (devices && g.metrics) {
        struct fg_msg_numbers m = {.devices = devices};
        m.device_count = gather_devices(s, devices);
        s->table->metrics(s->instance, on_metric, &g);
        m.metrics = g.metrics;
        m.metric_count = g.count;
        size_t len = fg_numbers_pack(&m, NULL);
        block = fg_arena_alloc(g.arena, len);
        if (block) {
            fg_numbers_pack(&m, block);
            uint64_t hash = fg_str_hash((struct fg_str){block, len});
            if (changed || hash != s->numbers_hash)
                (void)fg_wire_send(&s->out, FG_MSG_NUMBERS, changed, block, len);
            s->numbers_hash = hash;
        }
    }
    fg_arena_close(g.arena);
}

/* ---- the loop ---------------------------------------------------------------------------------
 */

static bool on_frame(struct fg_served *s, const struct fg_wire_frame *f)
{
    if (f->type == FG_MSG_PING)
        return fg_wire_send(&s->out, FG_MSG_PONG, 0, NULL, 0);
    if (f->type < FG_MSG_SUBMIT)
        return fg_child_post(s, f);
    return fg_child_job_frame(s, f);
}

/* False: the gateway is gone, or says what we do not understand. */
static bool read_frames(struct fg_served *s)
{
    struct fg_wire_frame f;
    int got;
    if (fg_wire_read(&s->in) < 0)
        return false;
    while ((got = fg_wire_next(&s->in, &f)) > 0)
        if (!on_frame(s, &f))
            return false;
    return got == 0;
}

static void serve_numbers(struct fg_served *s, uint64_t *sent_ns, bool *active)
{
    uint64_t now = fg_clock_ns();
    if (!__atomic_load_n(&s->is_open, __ATOMIC_ACQUIRE) ||
        __atomic_load_n(&s->is_closed, __ATOMIC_ACQUIRE))
        return;
    bool due = __atomic_exchange_n(&s->numbers_due, 0, __ATOMIC_ACQ_REL) |
               __atomic_load_n(&s->device_changed, __ATOMIC_ACQUIRE);
    uint64_t pause = (*active ? TICK_BUSY_MS : TICK_IDLE_MS) * FG_NS_PER_MS;
    if (!due && now - *sent_ns < pause)
        return;
    *active = false;
    *sent_ns = now;
    fg_child_send_numbers(s);
}

static int turn(struct fg_served *s)
{
    uint64_t numbers_ns = 0;
    bool active = false, blocked = false;
    for (;;) {
        struct pollfd p[] = {{.fd = s->in.fd, .events = (short)(POLLIN | (blocked ? POLLOUT : 0))},
                             {.fd = s->wake_fd, .events = POLLIN}};
        int ready = poll(p, 2, active ? TICK_BUSY_MS : TICK_IDLE_MS);
        if (p[1].revents) {
            uint64_t count;
            ssize_t n = read(s->wake_fd, &count, sizeof count);
            (void)n;
        }
        active |= ready > 0;
        if ((p[0].revents & (POLLIN | POLLHUP | POLLERR)) && !read_frames(s))
            return __atomic_load_n(&s->is_closed, __ATOMIC_ACQUIRE) ? 0 : -1;
        serve_numbers(s, &numbers_ns, &active);
        bool closed = __atomic_load_n(&s->is_closed, __ATOMIC_ACQUIRE);
        int32_t rc = fg_wire_flush(&s->out, true);
        blocked = rc == FG_WIRE_BLOCKED;
        if (rc == FG_WIRE_FAILED)
            return -1;
        if (closed && !blocked)
            return 0;
        if (__atomic_load_n(&s->look, __ATOMIC_ACQUIRE))
            fg_child_jobs_look(s);
    }
}

static bool greet(struct fg_served *s)
{
    const struct fg_msg_hello hello = {.magic = FG_MSG_MAGIC,
                                       .abi = FG_ABI,
                                       .event_bytes = sizeof(struct fg_event),
                                       .request_bytes = sizeof(struct fg_request)};
    return fg_wire_send(&s->out, FG_MSG_HELLO, 0, &hello, sizeof hello) &&
           fg_wire_flush(&s->out, true) != FG_WIRE_FAILED;
}

int fg_child_serve(struct fg_served *s, int socket)
{
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    s->host = (struct fg_host){
        .size = sizeof s->host,
        .abi = FG_ABI,
        .ctx = s,
        .emit = fg_child_emit,
        .log = host_log,
        .device_changed = host_device_changed,
        .extension = host_extension,
    };
    fg_list_init(&s->tasks);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->posted, NULL);
    fg_wire_sender_init(&s->out, socket);
    (void)fcntl(socket, F_SETFL, O_NONBLOCK);
    if (s->wake_fd < 0 || fg_wire_reader_init(&s->in, socket) != FG_OK ||
        pthread_create(&s->control, NULL, fg_child_control, s) != 0 || !greet(s)) {
        fprintf(stderr, "fg-plugin-host: no memory to start\n");
        return 1;
    }
    if (turn(s) != 0)
        _exit(0); /* the gateway is gone: nobody is left to tidy up for */
    pthread_join(s->control, NULL);
    free(s->models);
    free(s->jobs);
    fg_wire_sender_done(&s->out);
    fg_wire_reader_done(&s->in);
    return 0;
}
