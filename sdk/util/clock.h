/*
 * util/clock.h - time that a test can turn. Monotonic time for every deadline, wall time only
 * for what people read. Any thread.
 */
#ifndef FG_UTIL_CLOCK_H
#define FG_UTIL_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define FG_NS_PER_S 1000000000ull
#define FG_NS_PER_MS 1000000ull

uint64_t fg_clock_ns(void);      /* monotonic */
uint64_t fg_clock_wall_ns(void); /* since 1970, UTC */

/* RFC 3339 in UTC with nanoseconds, trailing zeros cut: "2026-11-24T00:17:38.22584469Z".
 * Returns the length; out needs 40 bytes. */
size_t fg_clock_rfc3339(uint64_t wall_ns, char *out, size_t room);

#endif
