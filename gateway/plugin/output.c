/* See output.h. */
#include "plugin/output.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "obs/log.h"
#include "util/clock.h"

enum { BYTES_A_SECOND = 1 << 20, READS = 16 /* then others get their turn */ };

bool fg_output_allow(struct fg_output *o, size_t bytes, const char *backend, uint64_t now_ns)
{
    uint64_t second = now_ns / FG_NS_PER_S;
    if (second != o->second) {
        if (o->dropped)
            fg_log(FG_LOG_WARN, "child_output_dropped", "backend=%s bytes=%llu", backend,
                   (unsigned long long)o->dropped);
        o->second = second;
        o->bytes = o->dropped = 0;
    }
    if (bytes > BYTES_A_SECOND - o->bytes) {
        o->dropped += bytes;
        return false;
    }
    o->bytes += bytes;
    return true;
}

static void end_line(struct fg_output *o, const char *backend, uint64_t now_ns)
{
    char quoted[1200];
    struct fg_str text = {o->line, o->len};
    if (o->len && fg_output_allow(o, o->len, backend, now_ns))
        fg_log(FG_LOG_INFO, "child_output", "backend=%s text=%s%s", backend,
               fg_log_quote(text, quoted, sizeof quoted), o->is_cut ? " cut=1" : "");
    o->len = 0;
    o->is_cut = false;
}

static void take(struct fg_output *o, const char *data, size_t len, const char *backend,
                 uint64_t now_ns)
{
    while (len) {
        const char *end = memchr(data, '\n', len);
        size_t n = end ? (size_t)(end - data) : len, room = sizeof o->line - o->len;
        size_t fit = n < room ? n : room;
        memcpy(o->line + o->len, data, fit);
        o->len += fit;
        o->is_cut |= fit < n;
        if (end)
            end_line(o, backend, now_ns);
        data += n + (end != NULL);
        len -= n + (end != NULL);
    }
}

bool fg_output_drain(struct fg_output *o, const char *backend, uint64_t now_ns)
{
    char data[4096];
    for (int i = 0; i < READS; i++) {
        ssize_t n = read(o->fd, data, sizeof data);
        if (n > 0)
            take(o, data, (size_t)n, backend, now_ns);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            end_line(o, backend, now_ns);
            return false;
        } else
            return true;
    }
    return true;
}
