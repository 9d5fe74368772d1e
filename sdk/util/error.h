/*
 * util/error.h - filling struct fg_error, and names of statuses. Any thread.
 */
#ifndef FG_UTIL_ERROR_H
#define FG_UTIL_ERROR_H

#include <fluxgate/plugin.h>

/* Writes a formatted message (cut to fit, still valid UTF-8) and returns status, so that
 * `return fg_fail(err, FG_INVALID, "...")` is the usual form. err may be NULL. */
int32_t fg_fail(struct fg_error *err, int32_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "ok", "invalid", ... for logs and metrics; never NULL. */
const char *fg_status_name(int32_t status);

#endif
