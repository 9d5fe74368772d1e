/*
 * The log: a line is formatted by the thread that has something to say, put into a buffer of fixed
 * size under a short lock, and written by a thread of its own. When the sink (a pipe nobody reads,
 * a full disk) does not take it, lines are dropped and counted, and a line tells how many as soon
 * as the sink takes lines again. Before fg_log_open() and after fg_log_close() lines go straight to
 * stderr, which then is all there is.
 */
#include "obs/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/str.h"

enum {
    LINE_BYTES = 4096,        /* the longest line, cut beyond */
    QUEUE_BYTES = 128 * 1024, /* twice: one fills while the other is written */
    VALUE_BYTES = 1024,       /* fg_log_quote cuts here */
    STACK_BYTES = 128 * 1024,
    PIECE_BYTES = 4096, /* PIPE_BUF: a pipe that polls writable takes this without waiting */
    LOOK_MS = 100,
    FAREWELL_MS = 1000, /* a stuck sink gets this long when the log is closed */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool open, closing;
    char *path; /* NULL: stderr */
    int fd;     /* the writer's, but for what reopen puts into fresh_fd */
    int fresh_fd;
    char *filling, *writing;
    size_t filled;
    uint64_t untold; /* dropped and not yet told in the log */
    uint64_t dropped;
    uint64_t deadline_ns; /* of the farewell */
    int32_t level;        /* atomic */
} the = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .wake = PTHREAD_COND_INITIALIZER,
    .fd = -1,
    .fresh_fd = -1,
    .level = FG_LOG_INFO,
};

/* ---- the line ---------------------------------------------------------------------------- */

static size_t put_head(char *out, size_t room, int32_t level, const char *event)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    uint64_t now = fg_clock_wall_ns();
    time_t s = (time_t)(now / FG_NS_PER_S);
    struct tm tm;
    char when[32];
    if (!gmtime_r(&s, &tm) || !strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm))
        when[0] = '\0';
    int n = snprintf(out, room, "ts=%s.%03uZ level=%s event=%.64s", when,
                     (unsigned)(now % FG_NS_PER_S / FG_NS_PER_MS),
                     names[level < 0              ? 0
                           : level > FG_LOG_DEBUG ? FG_LOG_DEBUG
                                                  : level],
                     event);
    return n < 0 ? 0 : (size_t)n;
}

/* A value that was not quoted must not make a second line or move a terminal's cursor. */
static void blunt(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
}

/* One whole line with its end in out[LINE_BYTES]; its length. */
__attribute__((format(printf, 4, 0))) static size_t
put_line(char *out, int32_t level, const char *event, const char *format, va_list args)
{
    size_t n = put_head(out, LINE_BYTES, level, event);
    if (format && *format) {
        out[n++] = ' ';
        int more = vsnprintf(out + n, LINE_BYTES - n - 1, format, args);
        size_t room = LINE_BYTES - n - 2;
        size_t kept = more < 0 ? 0 : (size_t)more > room ? room : (size_t)more;
        bool broken;
        if (more > 0 && kept < (size_t)more)
            kept = fg_utf8_valid((struct fg_str){out + n, kept}, &broken);
        n += kept;
    }
    blunt(out, n);
    out[n++] = '\n';
    return n;
}

/* ---- the writer -------------------------------------------------------------------------- */

static bool may_wait(void)
{
    pthread_mutex_lock(&the.lock);
    bool over = the.closing && fg_clock_ns() >= the.deadline_ns;
    pthread_mutex_unlock(&the.lock);
    return !over;
}

/* Writes what the sink takes; the number of bytes it did not take. */
static size_t write_out(int fd, const char *bytes, size_t n)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    while (n) {
        int ready = poll(&p, 1, LOOK_MS);
        if (ready == 0 || (ready < 0 && errno == EINTR)) {
            if (!may_wait())
                return n;
            continue;
        }
        ssize_t wrote = ready < 0 ? -1 : write(fd, bytes, n < PIECE_BYTES ? n : PIECE_BYTES);
        if (wrote < 0 && errno == EAGAIN && may_wait())
            continue;
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return n; /* full disk, closed pipe: this batch is lost, the next one is tried */
        bytes += wrote;
        n -= (size_t)wrote;
    }
    return 0;
}

static uint64_t count_lines(const char *bytes, size_t n)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += bytes[i] == '\n';
    return lines;
}

static size_t tell_dropped(char *out, size_t room, uint64_t count)
{
    size_t n = put_head(out, room, FG_LOG_WARN, "log_dropped");
    return n + (size_t)snprintf(out + n, room - n, " lines=%llu\n", (unsigned long long)count);
}

static void write_batch(const char *bytes, size_t n, uint64_t untold)
{
    char line[160];
    size_t lost = write_out(the.fd, bytes, n);
    uint64_t lines = lost ? count_lines(bytes + n - lost, lost) : 0;
    if (!lost && untold && write_out(the.fd, line, tell_dropped(line, sizeof line, untold)) == 0)
        untold = 0;
    if (!lines && !untold)
        return;
    pthread_mutex_lock(&the.lock);
    the.untold += lines + untold;
    the.dropped += lines;
    pthread_mutex_unlock(&the.lock);
}

static void *write_all(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&the.lock);
    for (;;) {
        while (!the.filled && !the.closing && the.fresh_fd < 0)
            pthread_cond_wait(&the.wake, &the.lock);
        if (the.fresh_fd >= 0) {
            close(the.fd);
            the.fd = the.fresh_fd;
            the.fresh_fd = -1;
        }
        if (!the.filled && the.closing)
            break;
        char *batch = the.filling;
        size_t n = the.filled;
        uint64_t untold = the.untold;
        the.filling = the.writing;
        the.writing = batch;
        the.filled = 0;
        the.untold = 0;
        pthread_mutex_unlock(&the.lock);
        write_batch(batch, n, untold);
        pthread_mutex_lock(&the.lock);
    }
    pthread_mutex_unlock(&the.lock);
    return NULL;
}

/* ---- opening and closing ----------------------------------------------------------------- */

/* O_NONBLOCK: a FIFO without a reader is an error here and not an endless wait. */
static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
}

static void forget(void)
{
    if (the.path && the.fd >= 0)
        close(the.fd);
    if (the.fresh_fd >= 0)
        close(the.fresh_fd);
    free(the.path);
    free(the.filling);
    free(the.writing);
    the.path = the.filling = the.writing = NULL;
    the.fd = the.fresh_fd = -1;
    the.filled = 0;
    the.untold = 0;
}

/* All signals are the main thread's; SIGPIPE of a dead sink included. */
static int start_writer(void)
{
    sigset_t all, before;
    pthread_attr_t attr;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int rc = pthread_create(&the.thread, &attr, write_all, NULL);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        (void)pthread_setname_np(the.thread, "log");
    return rc;
}

static int32_t prepare(const char *path, struct fg_error *err)
{
    the.filling = malloc(QUEUE_BYTES);
    the.writing = malloc(QUEUE_BYTES);
    if (!the.filling || !the.writing || (path && !(the.path = strdup(path))))
        return fg_fail(err, FG_NO_MEMORY, "no memory for the log");
    the.fd = path ? open_file(path) : STDERR_FILENO;
    if (the.fd < 0)
        return fg_fail(err, FG_INVALID, "log_path \"%.120s\": %s", path, strerror(errno));
    return FG_OK;
}

int32_t fg_log_open(const char *path, int32_t level, struct fg_error *err)
{
    pthread_mutex_lock(&the.lock);
    int32_t rc = the.open ? fg_fail(err, FG_BUSY, "the log is already open") : FG_OK;
    if (rc == FG_OK) {
        the.closing = false;
        rc = prepare(path, err);
        int failed = rc == FG_OK ? start_writer() : 0;
        if (failed)
            rc = fg_fail(err, FG_NO_MEMORY, "no thread for the log: %s", strerror(failed));
        if (rc != FG_OK)
            forget();
        the.open = rc == FG_OK;
    }
    pthread_mutex_unlock(&the.lock);
    if (rc == FG_OK)
        fg_log_set_level(level);
    return rc;
}

void fg_log_close(void)
{
    pthread_mutex_lock(&the.lock);
    bool mine = the.open && !the.closing;
    if (mine) {
        the.closing = true;
        the.deadline_ns = fg_clock_ns() + FAREWELL_MS * FG_NS_PER_MS;
        pthread_cond_signal(&the.wake);
    }
    pthread_mutex_unlock(&the.lock);
    if (!mine)
        return;
    pthread_join(the.thread, NULL);
    pthread_mutex_lock(&the.lock);
    the.open = false;
    forget();
    pthread_mutex_unlock(&the.lock);
}

int32_t fg_log_reopen(void)
{
    pthread_mutex_lock(&the.lock);
    int32_t rc = FG_OK;
    if (the.open && !the.closing && the.path) {
        int fd = open_file(the.path);
        if (fd < 0) {
            rc = FG_INVALID;
        } else {
            if (the.fresh_fd >= 0)
                close(the.fresh_fd);
            the.fresh_fd = fd;
            pthread_cond_signal(&the.wake);
        }
    }
    pthread_mutex_unlock(&the.lock);
    return rc;
}

/* ---- use --------------------------------------------------------------------------------- */

void fg_log_set_level(int32_t level)
{
    __atomic_store_n(&the.level, level, __ATOMIC_RELAXED);
}

int32_t fg_log_level(void)
{
    return __atomic_load_n(&the.level, __ATOMIC_RELAXED);
}

uint64_t fg_log_dropped(void)
{
    pthread_mutex_lock(&the.lock);
    uint64_t n = the.dropped;
    pthread_mutex_unlock(&the.lock);
    return n;
}

/* False: the log is not open. */
static bool queue_line(const char *line, size_t n)
{
    pthread_mutex_lock(&the.lock);
    bool open = the.open && !the.closing;
    if (open && the.filled + n <= QUEUE_BYTES) {
        memcpy(the.filling + the.filled, line, n);
        if (!the.filled)
            pthread_cond_signal(&the.wake);
        the.filled += n;
    } else if (open) {
        the.dropped++;
        the.untold++;
    }
    pthread_mutex_unlock(&the.lock);
    return open;
}

void fg_log(int32_t level, const char *event, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;
    if (level > fg_log_level())
        return;
    va_start(args, format);
    size_t n = put_line(line, level, event, format, args);
    va_end(args);
    if (!queue_line(line, n)) {
        ssize_t wrote = write(STDERR_FILENO, line, n);
        (void)wrote; /* nothing is left that could be told */
    }
}

/* The escape of one byte or character that may not stand as it is; 0: it may. */
static size_t escape(char *out, unsigned char c)
{
    static const char shorts[] = "\"\"\\\\\nn\rr\tt\bb\ff";
    for (size_t i = 0; i + 1 < sizeof shorts; i += 2)
        if ((unsigned char)shorts[i] == c) {
            out[0] = '\\';
            out[1] = shorts[i + 1];
            return 2;
        }
    if (c < 0x20 || c == 0x7f)
        return (size_t)snprintf(out, 8, "\\u%04x", c);
    return 0;
}

const char *fg_log_quote(struct fg_str text, char *out, size_t room)
{
    size_t n = 0, at = 0, limit = room < VALUE_BYTES ? room : VALUE_BYTES;
    if (limit < 3) {
        if (room)
            out[0] = '\0';
        return out;
    }
    out[n++] = '"';
    while (at < text.len) {
        char piece[8];
        uint32_t codepoint;
        size_t used = fg_utf8_get(fg_str_from(text, at), &codepoint);
        size_t len = used == 1 ? escape(piece, (unsigned char)text.ptr[at]) : 0;
        if (!used) { /* not UTF-8: a replacement character for each bad byte */
            len = fg_utf8_put(piece, 0xfffd);
            used = 1;
        } else if (codepoint >= 0x80 && codepoint < 0xa0) { /* C1: ESC's relatives */
            len = (size_t)snprintf(piece, sizeof piece, "\\u%04x", (unsigned)codepoint & 0xffu);
        } else if (!len) {
            memcpy(piece, text.ptr + at, used);
            len = used;
        }
        if (n + len + 2 > limit)
            break;
        memcpy(out + n, piece, len);
        n += len;
        at += used;
    }
    out[n++] = '"';
    out[n] = '\0';
    return out;
}
