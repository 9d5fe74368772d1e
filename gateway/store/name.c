/*
 * The grammar of model names (see name.h). The last part of a path holds ":tag"; a ':' in the host
 * is a port. Anything with "..", '@', blanks, control characters or too many parts is no name.
 */
#include "store/name.h"

#include <stdio.h>
#include <string.h>

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static const struct {
    size_t max;
    const char *more; /* allowed behind the first character, beside letters, digits and '_' */
} rules[] = {
    [FG_NAME_HOST] = {350, "-.:"},
    [FG_NAME_SPACE] = {80, "-"},
    [FG_NAME_MODEL] = {80, "-."},
    [FG_NAME_TAG] = {80, "-."},
};

bool fg_name_part_ok(int32_t part, struct fg_str text)
{
    if (part < 0 || part > FG_NAME_TAG || !text.len || text.len > rules[part].max)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (is_alnum(c) || c == '_')
            continue;
        if (i == 0 || c == '\0' || !strchr(rules[part].more, c))
            return false;
        if (c == '.' && text.ptr[i - 1] == '.')
            return false;
    }
    return true;
}

static struct fg_str cut_scheme(struct fg_str text)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        struct fg_str s = fg_str_of(schemes[i]);
        if (text.len >= s.len && fg_str_ieq((struct fg_str){text.ptr, s.len}, s))
            return fg_str_from(text, s.len);
    }
    return text;
}

bool fg_name_parse(struct fg_str text, struct fg_name *out)
{
    if (!text.len || text.len > FG_NAME_MAX)
        return false;
    text = cut_scheme(text);
    if (!text.len)
        return false;
    struct fg_str parts[3];
    size_t count = 0, from = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.ptr[i] != '/')
            continue;
        if (count == 3)
            return false;
        parts[count++] = (struct fg_str){text.ptr + from, i - from};
        from = i + 1;
    }
    struct fg_name name = {.host = FG_STR("registry.ollama.ai"),
                           .space = FG_STR("library"),
                           .model = parts[count - 1],
                           .tag = FG_STR("latest")};
    const char *colon = memchr(name.model.ptr, ':', name.model.len);
    if (colon) {
        size_t at = (size_t)(colon - name.model.ptr);
        name.tag = fg_str_from(name.model, at + 1);
        name.model.len = at;
    }
    if (count >= 2)
        name.space = parts[count - 2];
    if (count == 3)
        name.host = parts[0];
    if (!fg_name_part_ok(FG_NAME_HOST, name.host) || !fg_name_part_ok(FG_NAME_SPACE, name.space) ||
        !fg_name_part_ok(FG_NAME_MODEL, name.model) || !fg_name_part_ok(FG_NAME_TAG, name.tag))
        return false;
    *out = name;
    return true;
}

static size_t fitted(int n, size_t room)
{
    return n < 0 || (size_t)n >= room ? 0 : (size_t)n;
}

size_t fg_name_full(const struct fg_name *n, char *out, size_t room)
{
    return fitted(snprintf(out, room, "%.*s/%.*s/%.*s:%.*s", FG_STR_ARG(n->host),
                           FG_STR_ARG(n->space), FG_STR_ARG(n->model), FG_STR_ARG(n->tag)),
                  room);
}

size_t fg_name_short(const struct fg_name *n, char *out, size_t room)
{
    if (!fg_str_ieq(n->host, FG_STR("registry.ollama.ai")))
        return fg_name_full(n, out, room);
    if (!fg_str_ieq(n->space, FG_STR("library")))
        return fitted(snprintf(out, room, "%.*s/%.*s:%.*s", FG_STR_ARG(n->space),
                               FG_STR_ARG(n->model), FG_STR_ARG(n->tag)),
                      room);
    return fitted(snprintf(out, room, "%.*s:%.*s", FG_STR_ARG(n->model), FG_STR_ARG(n->tag)), room);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* q4_1, q4_k_m, iq4_nl, tq1_0, f16, bf16, f32, fp16, mxfp4; lower case. */
static bool is_quant(struct fg_str s)
{
    static const char *const whole[] = {"f16", "bf16", "f32", "fp16", "fp32", "mxfp4"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (fg_str_is(s, whole[i]))
            return true;
    size_t at = s.len && (s.ptr[0] == 'i' || s.ptr[0] == 't') ? 1 : 0;
    if (at + 1 >= s.len || s.ptr[at] != 'q' || !is_digit(s.ptr[at + 1]))
        return false;
    for (at += 2; at < s.len; at++)
        if (!is_alnum(s.ptr[at]) && s.ptr[at] != '_')
            return false;
    return true;
}

size_t fg_name_of_file(struct fg_str file, char *out, size_t room)
{
    if (file.len > 5 && fg_str_ieq(fg_str_from(file, file.len - 5), FG_STR(".gguf")))
        file.len -= 5;
    char text[FG_NAME_MAX];
    size_t len = 0;
    for (size_t i = 0; i < file.len && len < sizeof text; i++) {
        char c = lower(file.ptr[i]);
        bool good = is_alnum(c) || c == '_' || c == '-' || c == '.';
        if (!good || (c == '.' && len && text[len - 1] == '.'))
            c = '-';
        if (len == 0 && !is_alnum(c) && c != '_')
            continue; /* the first one must be a letter, a digit or '_' */
        text[len++] = c;
    }
    struct fg_name name = {.model = {text, len}, .tag = FG_STR("latest")};
    for (size_t i = len; i-- > 1;) {
        if (text[i] != '.' && text[i] != '-')
            continue;
        struct fg_str last = {text + i + 1, len - i - 1};
        if (is_quant(last)) {
            name.tag = last;
            name.model.len = i;
        }
        break;
    }
    if (!fg_name_part_ok(FG_NAME_MODEL, name.model) || !fg_name_part_ok(FG_NAME_TAG, name.tag))
        return 0;
    return fitted(snprintf(out, room, "%.*s:%.*s", FG_STR_ARG(name.model), FG_STR_ARG(name.tag)),
                  room);
}

bool fg_name_is_cloud(const struct fg_name *n)
{
    struct fg_str tag = n->tag;
    if (fg_str_ieq(tag, FG_STR("cloud")))
        return true;
    return tag.len > 6 && fg_str_ieq(fg_str_from(tag, tag.len - 6), FG_STR("-cloud"));
}

bool fg_digest_parse(struct fg_str text, struct fg_str *hex)
{
    if (text.len != 71 || memcmp(text.ptr, "sha256", 6) != 0 ||
        (text.ptr[6] != ':' && text.ptr[6] != '-'))
        return false;
    for (size_t i = 7; i < 71; i++)
        if (!is_digit(text.ptr[i]) && (text.ptr[i] < 'a' || text.ptr[i] > 'f'))
            return false;
    *hex = fg_str_from(text, 7);
    return true;
}
