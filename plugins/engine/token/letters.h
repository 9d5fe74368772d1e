/*
 * engine/token/letters.h - GPT-2's alphabet: how byte-level vocabularies write bytes as printable
 * letters. Bytes that print in Latin-1 stand for themselves; the rest, in order, for U+0100 and
 * on (a blank is U+0120, a newline U+010A). Any thread.
 */
#ifndef FG_ENGINE_TOKEN_LETTERS_H
#define FG_ENGINE_TOKEN_LETTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/str.h"

/* The letter of a byte, and back: -1 for a letter outside the alphabet. */
static inline bool fg_letters_is_plain(uint32_t c)
{
    return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255);
}
static inline int32_t fg_letters_byte(uint32_t letter)
{
    if (letter < 256)
        return fg_letters_is_plain(letter) ? (int32_t)letter : -1;
    if (letter < 256 + 33) /* 0..32 */
        return (int32_t)letter - 256;
    if (letter < 256 + 33 + 34) /* 127..160 */
        return (int32_t)letter - 256 - 33 + 127;
    return letter == 256 + 67 ? 173 : -1;
}

/* The bytes that letters stand for, at most as many as text has; false: other letters. */
static inline bool fg_letters_decode(struct fg_str text, char *out, size_t *len)
{
    size_t n = 0;
    while (text.len) {
        uint32_t letter;
        const size_t step = fg_utf8_get(text, &letter);
        const int32_t byte = step ? fg_letters_byte(letter) : -1;
        if (byte < 0)
            return false;
        out[n++] = (char)byte;
        text = fg_str_from(text, step);
    }
    *len = n;
    return true;
}

#endif
