/*
 * util/str.h - pointer-and-length strings, and a growable buffer with a limit given at birth.
 * Any thread for values; a buffer has one owner.
 */
#ifndef FG_UTIL_STR_H
#define FG_UTIL_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fluxgate/plugin.h>

#define FG_STR(literal) ((struct fg_str){"" literal, sizeof(literal) - 1})
#define FG_STR_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : "" /* for "%.*s"; len must fit an int */

struct fg_str fg_str_of(const char *terminated); /* borrowed; NULL gives an empty string */
bool fg_str_eq(struct fg_str a, struct fg_str b);
bool fg_str_is(struct fg_str a, const char *terminated);
bool fg_str_ieq(struct fg_str a, struct fg_str b); /* ASCII case only */
bool fg_str_starts(struct fg_str s, struct fg_str prefix);
bool fg_str_ends(struct fg_str s, struct fg_str suffix);
struct fg_str fg_str_from(struct fg_str s, size_t at); /* the rest from at; empty past the end */
struct fg_str fg_str_trim(struct fg_str s);            /* ASCII blanks off both ends */
/* Whole string as a decimal number; false on anything else or overflow. */
bool fg_str_u64(struct fg_str s, uint64_t *out);
bool fg_str_i64(struct fg_str s, int64_t *out);
uint64_t fg_str_hash(struct fg_str s); /* FNV-1a 64; not for hostile hash tables */

/* Length of the longest prefix that is whole, valid UTF-8 (RFC 3629: no surrogates, no
 * overlong forms). *broken is set when what follows can never become valid (else it is a
 * character still to be completed). */
size_t fg_utf8_valid(struct fg_str s, bool *broken);
/* Encodes one scalar value (1..4 bytes to out[4]); U+FFFD for what is none. */
size_t fg_utf8_put(char *out, uint32_t codepoint);
/* Decodes one character; 0 on invalid or cut input, else bytes used. */
size_t fg_utf8_get(struct fg_str s, uint32_t *codepoint);

struct fg_buf { /* zero-initialise, then set limit; 0 means 64 MiB */
    char *ptr;
    size_t len, capacity, limit;
    bool failed; /* an append did not fit or memory was gone; contents are what came before */
};
void fg_buf_done(struct fg_buf *);                 /* frees; buffer is empty and usable again */
bool fg_buf_reserve(struct fg_buf *, size_t more); /* room for `more` bytes behind len */
bool fg_buf_add(struct fg_buf *, struct fg_str);
bool fg_buf_addc(struct fg_buf *, char);
bool fg_buf_printf(struct fg_buf *, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline struct fg_str fg_buf_str(const struct fg_buf *b)
{
    return (struct fg_str){b->ptr, b->len};
}

#endif
