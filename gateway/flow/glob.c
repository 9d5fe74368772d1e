/* See glob.h. Only the last '*' is ever tried again, so it cannot explode. */
#include "flow/glob.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool fg_glob_fits(struct fg_str p, struct fg_str s)
{
    size_t i = 0, j = 0, star = SIZE_MAX, from = 0;
    while (j < s.len) {
        if (i < p.len && p.ptr[i] == '*') {
            star = i++;
            from = j;
        } else if (i < p.len && (p.ptr[i] == '?' || lower(p.ptr[i]) == lower(s.ptr[j]))) {
            i++;
            j++;
        } else if (star != SIZE_MAX) {
            i = star + 1;
            j = ++from;
        } else {
            return false;
        }
    }
    while (i < p.len && p.ptr[i] == '*')
        i++;
    return i == p.len;
}
