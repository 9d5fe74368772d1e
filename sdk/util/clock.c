/* See clock.h. */
#include "util/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t now(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * FG_NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t fg_clock_ns(void)
{
    return now(CLOCK_MONOTONIC);
}

uint64_t fg_clock_wall_ns(void)
{
    return now(CLOCK_REALTIME);
}

size_t fg_clock_rfc3339(uint64_t wall_ns, char *out, size_t room)
{
    time_t s = (time_t)(wall_ns / FG_NS_PER_S);
    struct tm tm;
    if (room < 40 || !gmtime_r(&s, &tm))
        return 0;
    size_t n = strftime(out, room, "%Y-%m-%dT%H:%M:%S", &tm);
    unsigned ns = (unsigned)(wall_ns % FG_NS_PER_S);
    if (ns) {
        n += (size_t)snprintf(out + n, room - n, ".%09u", ns);
        while (out[n - 1] == '0')
            n--;
    }
    out[n++] = 'Z';
    out[n] = '\0';
    return n;
}
