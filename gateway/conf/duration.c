/*
 * Durations as Go writes them, with the messages of Go's time.ParseDuration, because clients of
 * Ollama know them; and keep_alive, which is a duration or a number of seconds.
 */
#include <stdio.h>
#include <string.h>

#include "conf/inner.h"
#include "util/error.h"

#define TOP ((uint64_t)1 << 63) /* one more than the greatest duration: -TOP is allowed */

enum { ECHO_BYTES = 64 };

/* Go's quoting: printable ASCII as it is, all else as \x and two digits. */
static const char *quote(struct fg_str s, char *out, size_t room)
{
    size_t n = 0;
    out[n++] = '"';
    for (size_t i = 0; i < s.len && i < ECHO_BYTES && n + 6 < room; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c < ' ' || c >= 0x7f)
            n += (size_t)snprintf(out + n, room - n, "\\x%02x", c);
        else if (c == '"' || c == '\\')
            n += (size_t)snprintf(out + n, room - n, "\\%c", c);
        else
            out[n++] = (char)c;
    }
    out[n++] = '"';
    out[n] = '\0';
    return out;
}

static uint64_t unit_ns(struct fg_str unit)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {
        {"ns", 1},           {"us", 1000},      {"\xc2\xb5s", 1000}, /* U+00B5, the micro sign */
        {"\xce\xbcs", 1000},                                         /* U+03BC, the Greek letter */
        {"ms", 1000000},     {"s", 1000000000}, {"m", 60000000000},  {"h", 3600000000000},
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (fg_str_is(unit, units[i].name))
            return units[i].ns;
    return 0;
}

static bool is_digit(struct fg_str s, size_t at)
{
    return at < s.len && s.ptr[at] >= '0' && s.ptr[at] <= '9';
}

struct amount { /* of one unit: whole + part / scale */
    uint64_t whole, part;
    double scale;
};

/* [0-9]*(.[0-9]*)? with at least one digit; the place behind it, or 0. */
static size_t read_amount(struct fg_str s, size_t at, struct amount *a)
{
    size_t from = at, seen;
    *a = (struct amount){.scale = 1};
    for (; is_digit(s, at); at++) {
        uint64_t digit = (uint64_t)(s.ptr[at] - '0');
        if (a->whole > (TOP - digit) / 10)
            return 0;
        a->whole = a->whole * 10 + digit;
    }
    seen = at - from;
    if (at < s.len && s.ptr[at] == '.') {
        bool full = false; /* further digits are below a nanosecond's ken */
        for (at++; is_digit(s, at); at++, seen++) {
            uint64_t digit = (uint64_t)(s.ptr[at] - '0');
            full |= a->part > (TOP - 1 - digit) / 10;
            if (full)
                continue;
            a->part = a->part * 10 + digit;
            a->scale *= 10;
        }
    }
    return seen ? at : 0;
}

/* Adds the amount; false on overflow. */
static bool add(uint64_t *sum, const struct amount *a, uint64_t unit)
{
    if (a->whole > TOP / unit)
        return false;
    uint64_t ns = a->whole * unit + (uint64_t)((double)a->part * ((double)unit / a->scale));
    if (ns > TOP || *sum > TOP - ns)
        return false;
    *sum += ns;
    return true;
}

int32_t fg_conf_duration(struct fg_str text, int64_t *ns, struct fg_error *err)
{
    char all[ECHO_BYTES * 4 + 8], word[ECHO_BYTES * 4 + 8];
    size_t at = text.len && (text.ptr[0] == '-' || text.ptr[0] == '+');
    bool negative = at && text.ptr[0] == '-';
    uint64_t sum = 0;
    quote(text, all, sizeof all);
    if (fg_str_is(fg_str_from(text, at), "0")) {
        *ns = 0;
        return FG_OK;
    }
    bool good = at < text.len;
    while (good && at < text.len) {
        struct amount a;
        size_t end = read_amount(text, at, &a);
        if (!(good = end != 0))
            break;
        for (at = end; at < text.len && text.ptr[at] != '.' && !is_digit(text, at);)
            at++;
        struct fg_str name = {text.ptr + end, at - end};
        uint64_t unit = unit_ns(name);
        if (!name.len)
            return fg_fail(err, FG_INVALID, "time: missing unit in duration %s", all);
        if (!unit)
            return fg_fail(err, FG_INVALID, "time: unknown unit %s in duration %s",
                           quote(name, word, sizeof word), all);
        good = add(&sum, &a, unit);
    }
    if (!good || (sum == TOP && !negative))
        return fg_fail(err, FG_INVALID, "time: invalid duration %s", all);
    *ns = negative ? -(int64_t)(sum - (sum == TOP)) - (sum == TOP) : (int64_t)sum;
    return FG_OK;
}

int32_t fg_conf_keep_alive(struct fg_str text, int64_t *ns, struct fg_error *err)
{
    int64_t value, seconds;
    if (fg_str_i64(text, &seconds))
        value = seconds > INT64_MAX / 1000000000 ? -1 : seconds < 0 ? -1 : seconds * 1000000000;
    else if (fg_conf_duration(text, &value, err) != FG_OK)
        return FG_INVALID;
    *ns = value < 0 ? -1 : value;
    return FG_OK;
}
