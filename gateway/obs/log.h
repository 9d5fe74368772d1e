/*
 * obs/log.h - one line an event, key=value, escaped; any thread, never blocks on a slow sink for
 * long (a bounded queue drops and counts).
 *
 *   fg_log(FG_LOG_INFO, "model_loaded", "model=%s ms=%llu", ...)  ->
 *   ts=2026-11-24T10:00:00.123Z level=info event=model_loaded model=smol ms=120
 *
 * Values with blanks, quotes, '=' or control characters go through fg_log_quote(). No prompts, no
 * keys.
 */
#ifndef FG_OBS_LOG_H
#define FG_OBS_LOG_H

#include <fluxgate/plugin.h>

int32_t fg_log_open(const char *path, int32_t level, struct fg_error *); /* NULL: stderr */
void fg_log_close(void);
int32_t fg_log_reopen(void); /* after log rotation */
void fg_log_set_level(int32_t level);
int32_t fg_log_level(void);
uint64_t fg_log_dropped(void);
void fg_log(int32_t level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* text as a quoted, JSON-escaped value (cut at 1 KiB) in out; returns out. */
const char *fg_log_quote(struct fg_str text, char *out, size_t room);

#endif
