/* util/json_plain.h - the bytes of strings: what needs no second look, and what letters behind a
 * backslash mean; for json.c and json_write.c only. */
#ifndef FG_UTIL_JSON_PLAIN_H
#define FG_UTIL_JSON_PLAIN_H

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* First byte from p that is not plain: a quote, backslash, control character or not ASCII. */
static inline const unsigned char *fg_json_skip_plain(const unsigned char *p,
                                                      const unsigned char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i blank = _mm_set1_epi8(0x20);
    while (end - p >= 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, slash));
        hit = _mm_or_si128(hit, _mm_cmplt_epi8(x, blank)); /* signed: not ASCII counts as less */
        int mask = _mm_movemask_epi8(hit);
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
        p += 16;
    }
#endif
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* What \\x stands for; 0: nothing. */
static inline char fg_json_unescape(unsigned char x)
{
    switch (x) {
    case '"':
    case '\\':
    case '/':
        return (char)x;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

/* The other way: the letter behind the backslash; 0: there is none. */
static inline char fg_json_escape(unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

#endif
