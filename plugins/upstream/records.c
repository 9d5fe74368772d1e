/*
 * See records.h. Lines are found with memchr and cost a copy only where the input cuts them; the
 * data of an event costs one only when it has several lines, or its empty line has not come yet.
 */
#include "upstream/records.h"

#include <stdio.h>
#include <string.h>

void fg_lines_init(struct fg_lines *l, size_t limit)
{
    *l = (struct fg_lines){.limit = limit, .part.limit = limit + 64};
}

void fg_lines_done(struct fg_lines *l)
{
    fg_buf_done(&l->part);
}

/* Where the line ends in *in; SIZE_MAX: not here. */
static size_t line_end(struct fg_str in)
{
    const char *lf = memchr(in.ptr, '\n', in.len);
    const size_t most = lf ? (size_t)(lf - in.ptr) : in.len;
    const char *cr = most ? memchr(in.ptr, '\r', most) : NULL;
    return cr ? (size_t)(cr - in.ptr) : lf ? most : SIZE_MAX;
}

static int32_t too_much(struct fg_lines *l)
{
    l->is_bad = true;
    return FG_RECORD_BAD;
}

int32_t fg_lines_next(struct fg_lines *l, struct fg_str *in, struct fg_str *line)
{
    if (l->is_bad)
        return FG_RECORD_BAD;
    if (l->is_whole)
        l->part.len = 0;
    l->is_whole = false;
    if (l->skips_lf && in->len) {
        l->skips_lf = false;
        if (in->ptr[0] == '\n')
            *in = fg_str_from(*in, 1);
    }
    if (!in->len)
        return FG_RECORD_MORE;
    const size_t end = line_end(*in);
    const size_t n = end == SIZE_MAX ? in->len : end;
    if (l->part.len + n > l->limit)
        return too_much(l);
    *line = (struct fg_str){in->ptr, n};
    if (end == SIZE_MAX || l->part.len) {
        if (n && !fg_buf_add(&l->part, *line))
            return too_much(l);
        *line = fg_buf_str(&l->part);
    }
    if (end == SIZE_MAX) {
        *in = (struct fg_str){0};
        return FG_RECORD_MORE;
    }
    l->is_whole = true;
    l->skips_lf = in->ptr[n] == '\r';
    *in = fg_str_from(*in, n + 1);
    return FG_RECORD_READY;
}

/* ---- server-sent events ---------------------------------------------------------------------- */

void fg_sse_init(struct fg_sse *s, size_t limit)
{
    *s = (struct fg_sse){.data.limit = limit};
    fg_lines_init(&s->lines, limit);
}

void fg_sse_done(struct fg_sse *s)
{
    fg_lines_done(&s->lines);
    fg_buf_done(&s->data);
}

static void set_name(struct fg_sse *s, struct fg_str value)
{
    snprintf(s->name, sizeof s->name, "%.*s", (int)(value.len < 31 ? value.len : 31),
             value.ptr ? value.ptr : "");
}

/* The value of a field, if the line is that field: "name: value", one blank is not part of it. */
static bool field(struct fg_str line, const char *name, size_t len, struct fg_str *value)
{
    if (line.len < len || memcmp(line.ptr, name, len) != 0 ||
        (line.len > len && line.ptr[len] != ':'))
        return false;
    *value = fg_str_from(line, len + 1);
    if (value->len && value->ptr[0] == ' ')
        *value = fg_str_from(*value, 1);
    return true;
}

/* Does the empty line that ends the event lie right here? Then it is taken. */
static bool takes_end(struct fg_sse *s, struct fg_str *in)
{
    struct fg_str at = *in;
    if (s->lines.skips_lf && at.len && at.ptr[0] == '\n')
        at = fg_str_from(at, 1);
    if (!at.len || (at.ptr[0] != '\n' && at.ptr[0] != '\r'))
        return false;
    s->lines.skips_lf = at.ptr[0] == '\r';
    *in = fg_str_from(at, 1);
    return true;
}

static bool keep(struct fg_sse *s, struct fg_str value)
{
    if (s->has_data && !fg_buf_addc(&s->data, '\n'))
        return false;
    s->has_data = true;
    return !value.len || fg_buf_add(&s->data, value);
}

static void give(struct fg_sse *s, struct fg_str data, struct fg_sse_event *ev)
{
    ev->name = fg_str_of(s->name);
    ev->data = data;
    s->is_given = true;
}

static void begin(struct fg_sse *s) /* the next event */
{
    s->is_given = s->has_data = false;
    s->data.len = 0;
    s->name[0] = '\0';
}

/* True: the event is whole. */
static bool take_line(struct fg_sse *s, struct fg_str line, struct fg_str *in,
                      struct fg_sse_event *ev)
{
    struct fg_str value;
    if (line.len == 0) {
        if (s->has_data)
            give(s, fg_buf_str(&s->data), ev);
        else
            begin(s); /* a name without data is no event */
        return s->is_given;
    }
    bool is_data = field(line, "data", 4, &value);
    if (!is_data && field(line, "error", 5, &value)) {
        is_data = true;
        set_name(s, FG_STR("error"));
    }
    if (!is_data) {
        if (field(line, "event", 5, &value))
            set_name(s, value);
        return false; /* id, retry, comments, what nobody knows */
    }
    if (!s->has_data && takes_end(s, in)) {
        give(s, value, ev);
        return true;
    }
    if (!keep(s, value))
        s->lines.is_bad = true;
    return false;
}

int32_t fg_sse_next(struct fg_sse *s, struct fg_str *in, struct fg_sse_event *ev)
{
    struct fg_str line;
    int32_t rc;
    if (s->is_given)
        begin(s);
    while ((rc = fg_lines_next(&s->lines, in, &line)) == FG_RECORD_READY) {
        if (!s->count && line.len >= 3 && memcmp(line.ptr, "\xEF\xBB\xBF", 3) == 0)
            line = fg_str_from(line, 3);
        s->count++;
        if (take_line(s, line, in, ev))
            return FG_RECORD_READY;
    }
    return rc;
}

bool fg_sse_last(struct fg_sse *s, struct fg_sse_event *ev)
{
    struct fg_str end = FG_STR("\n\n");
    if (s->lines.is_bad)
        return false;
    if (s->is_given)
        begin(s);
    s->lines.skips_lf = false;
    return fg_sse_next(s, &end, ev) == FG_RECORD_READY;
}

/* ---- NDJSON ---------------------------------------------------------------------------------- */

int32_t fg_ndjson_next(struct fg_lines *l, struct fg_str *in, struct fg_str *json)
{
    struct fg_str line;
    int32_t rc;
    while ((rc = fg_lines_next(l, in, &line)) == FG_RECORD_READY) {
        *json = fg_str_trim(line);
        if (json->len)
            break;
    }
    return rc;
}

bool fg_ndjson_last(struct fg_lines *l, struct fg_str *json)
{
    struct fg_str end = FG_STR("\n");
    l->skips_lf = false;
    return !l->is_bad && fg_ndjson_next(l, &end, json) == FG_RECORD_READY;
}
