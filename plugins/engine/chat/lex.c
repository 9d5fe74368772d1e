/*
 * From source to tokens. Follows jinja2's lexer in what decides the output: which white space a
 * tag takes with it, and that an end of tag inside open brackets is none. See lex.h.
 */
#include "engine/chat/lex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"

enum { BRACKETS_MOST = 256 };

struct lexer {
    struct fg_str src;
    size_t at;
    uint32_t line;
    bool fresh; /* what comes next stands at the beginning of a line, as jinja2 sees it */
    struct fg_arena *arena;
    struct fg_token *tokens;
    size_t count, capacity;
    char open[BRACKETS_MOST];
    size_t depth;
    int32_t status;
    struct fg_error *err;
};

static bool fail(struct lexer *x, const char *what)
{
    if (x->status == FG_OK)
        x->status = fg_fail(x->err, FG_INVALID, "line %u: %s", x->line, what);
    return false;
}

static bool no_memory(struct lexer *x)
{
    if (x->status == FG_OK)
        x->status = fg_fail(x->err, FG_NO_MEMORY, "no memory to compile a chat template");
    return false;
}

static char peek(const struct lexer *x, size_t ahead)
{
    return x->at + ahead < x->src.len ? x->src.ptr[x->at + ahead] : '\0';
}

static bool starts(const struct lexer *x, size_t at, const char *what)
{
    return fg_str_starts(fg_str_from(x->src, at), fg_str_of(what));
}

static void advance(struct lexer *x, size_t to)
{
    for (; x->at < to; x->at++)
        x->line += x->src.ptr[x->at] == '\n';
}

static struct fg_token *add(struct lexer *x, enum fg_token_kind kind)
{
    if (x->count == x->capacity) {
        const size_t capacity = x->capacity ? x->capacity * 2 : 256;
        struct fg_token *t = fg_arena_zalloc(x->arena, capacity, sizeof *t);
        if (!t) {
            no_memory(x);
            return NULL;
        }
        if (x->count)
            memcpy(t, x->tokens, x->count * sizeof *t);
        x->tokens = t;
        x->capacity = capacity;
    }
    struct fg_token *token = &x->tokens[x->count++];
    *token = (struct fg_token){.kind = (uint8_t)kind, .line = x->line};
    return token;
}

/* ---- between tags ---------------------------------------------------------------------------- */

static bool blank(char c)
{
    return c == ' ' || (c >= 9 && c <= 13);
}

/* Where the next tag begins; src.len when there is none. */
static size_t next_tag(const struct lexer *x)
{
    for (size_t i = x->at; i + 1 < x->src.len; i++)
        if (x->src.ptr[i] == '{' && strchr("{%#", x->src.ptr[i + 1]))
            return i;
    return x->src.len;
}

/* The text in front of a tag: a minus takes all white space before it, lstrip_blocks the blanks
 * between the beginning of the line and a tag that prints nothing. */
static size_t data_end(const struct lexer *x, size_t tag)
{
    const char kind = x->src.ptr[tag + 1], sign = tag + 2 < x->src.len ? x->src.ptr[tag + 2] : 0;
    size_t end = tag;
    if (sign == '-') {
        const struct fg_str text = {x->src.ptr + x->at, end - x->at};
        return x->at + fg_tagged_strip(fg_tagged_of(text, 0), NULL, FG_STRIP_RIGHT).len;
    }
    if (sign == '+' || kind == '{')
        return end;
    while (end > x->at && blank(x->src.ptr[end - 1]) && x->src.ptr[end - 1] != '\n')
        end--;
    const bool whole = end > x->at ? x->src.ptr[end - 1] == '\n' : x->fresh;
    return whole ? end : tag;
}

static bool put_data(struct lexer *x, size_t end)
{
    if (end == x->at)
        return true;
    struct fg_token *t = add(x, FG_TOKEN_DATA);
    if (!t)
        return false;
    t->text = (struct fg_str){x->src.ptr + x->at, end - x->at};
    return true;
}

/* Behind a tag: `-` takes all white space, `+` nothing, else trim_blocks one line end. */
static void after_tag(struct lexer *x, char sign, bool trims)
{
    size_t to = x->at;
    if (sign == '-')
        to = x->src.len -
             fg_tagged_strip(fg_tagged_of(fg_str_from(x->src, to), 0), NULL, FG_STRIP_LEFT).len;
    else if (sign != '+' && trims && peek(x, 0) == '\n')
        to++;
    x->fresh = to > x->at && x->src.ptr[to - 1] == '\n';
    advance(x, to);
}

static bool comment(struct lexer *x)
{
    const size_t body = x->at + (peek(x, 2) == '-' || peek(x, 2) == '+' ? 3 : 2);
    size_t end = body;
    while (end < x->src.len && !starts(x, end, "#}"))
        end++;
    if (end >= x->src.len)
        return fail(x, "a comment without an end");
    const char sign = end > body ? x->src.ptr[end - 1] : 0;
    advance(x, end + 2);
    after_tag(x, sign, true);
    return true;
}

/* `{%- raw -%}`: gives the offset behind it, and the sign at its end; 0: another tag. */
static size_t word_tag(const struct lexer *x, size_t at, const char *word, char *sign)
{
    size_t i = at + 2;
    if (i < x->src.len && (x->src.ptr[i] == '-' || x->src.ptr[i] == '+'))
        i++;
    while (i < x->src.len && blank(x->src.ptr[i]))
        i++;
    if (!starts(x, i, word))
        return 0;
    i += strlen(word);
    while (i < x->src.len && blank(x->src.ptr[i]))
        i++;
    *sign = 0;
    if (i < x->src.len && (x->src.ptr[i] == '-' || x->src.ptr[i] == '+'))
        *sign = x->src.ptr[i++];
    return starts(x, i, "%}") ? i + 2 : 0;
}

static bool raw(struct lexer *x, size_t body, char sign)
{
    const uint32_t began = x->line;
    char last = 0;
    size_t end, behind = 0;
    advance(x, body);
    after_tag(x, sign, false);
    for (end = x->at; end < x->src.len; end++)
        if (starts(x, end, "{%") && (behind = word_tag(x, end, "endraw", &last)))
            break;
    if (!behind) {
        x->line = began;
        return fail(x, "a raw block without an end");
    }
    if (!put_data(x, data_end(x, end)))
        return false;
    advance(x, behind);
    after_tag(x, last, true);
    return true;
}

/* ---- inside tags ----------------------------------------------------------------------------- */

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool name(struct lexer *x)
{
    size_t end = x->at;
    while (end < x->src.len && (name_start(x->src.ptr[end]) || digit(x->src.ptr[end])))
        end++;
    struct fg_token *t = add(x, FG_TOKEN_NAME);
    if (!t)
        return false;
    t->text = (struct fg_str){x->src.ptr + x->at, end - x->at};
    x->at = end;
    return true;
}

static int hex(char c)
{
    if (digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Python's escapes; one without a meaning stays as it is, as in Python. Returns bytes written. */
static size_t escape(struct lexer *x, const char *s, size_t left, size_t *used, char out[4])
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *simple = memchr(from, s[0], sizeof from - 1);
    *used = 1;
    if (simple) {
        out[0] = to[simple - from];
        return 1;
    }
    if (s[0] == '\n')
        return 0;
    size_t digits = s[0] == 'x' ? 2 : s[0] == 'u' ? 4 : s[0] == 'U' ? 8 : 0;
    uint32_t code = 0;
    if (digits) {
        for (size_t i = 1; i <= digits; i++) {
            const int h = i < left ? hex(s[i]) : -1;
            if (h < 0 || code > 0xfffffff) {
                fail(x, "a broken escape in a text");
                return 0;
            }
            code = code * 16 + (uint32_t)h;
        }
        *used = 1 + digits;
        return fg_utf8_put(out, code);
    }
    if (s[0] >= '0' && s[0] <= '7') {
        size_t i = 0;
        for (; i < 3 && i < left && s[i] >= '0' && s[i] <= '7'; i++)
            code = code * 8 + (uint32_t)(s[i] - '0');
        *used = i;
        return fg_utf8_put(out, code);
    }
    out[0] = '\\';
    *used = 0;
    return 1;
}

static bool text(struct lexer *x)
{
    const char quote = peek(x, 0);
    size_t end = x->at + 1;
    while (end < x->src.len && x->src.ptr[end] != quote)
        end += x->src.ptr[end] == '\\' ? 2 : 1;
    if (end >= x->src.len)
        return fail(x, "a text without an end");
    char *out = fg_arena_alloc(x->arena, end - x->at);
    struct fg_token *t = add(x, FG_TOKEN_TEXT);
    if (!out || !t)
        return no_memory(x);
    size_t len = 0;
    for (size_t i = x->at + 1; i < end && x->status == FG_OK;) {
        if (x->src.ptr[i] != '\\') {
            out[len++] = x->src.ptr[i++];
            continue;
        }
        char code[4];
        size_t used;
        const size_t n = escape(x, x->src.ptr + i + 1, end - i - 1, &used, code);
        memcpy(out + len, code, n); /* an escape is never shorter than what it stands for */
        len += n;
        i += 1 + used;
    }
    t->text = (struct fg_str){out, len};
    advance(x, end + 1);
    return x->status == FG_OK;
}

/* Digits with single underscores between them; the value of the digits goes to buf. */
static size_t digits(const struct lexer *x, size_t at, int base, char *buf, size_t *len)
{
    for (; at < x->src.len; at++) {
        const char c = x->src.ptr[at];
        if (c == '_' && at + 1 < x->src.len && hex(x->src.ptr[at + 1]) >= 0 &&
            hex(x->src.ptr[at + 1]) < base && *len)
            continue;
        if (hex(c) < 0 || hex(c) >= base)
            break;
        if (*len < 60)
            buf[(*len)++] = c;
    }
    return at;
}

static bool number(struct lexer *x)
{
    char buf[80];
    size_t len = 0, at = x->at;
    const char mark = (char)(peek(x, 1) | 32);
    const int base = peek(x, 0) != '0' ? 10
                     : mark == 'x'     ? 16
                     : mark == 'o'     ? 8
                     : mark == 'b'     ? 2
                                       : 10;
    at = digits(x, base == 10 ? at : at + 2, base, buf, &len);
    bool real = false;
    const bool indexes = x->at && x->src.ptr[x->at - 1] == '.'; /* x.0.1 is no fraction */
    if (base == 10 && !indexes && at + 1 < x->src.len && x->src.ptr[at] == '.' &&
        digit(x->src.ptr[at + 1])) {
        real = true;
        buf[len++] = '.';
        size_t more = len;
        at = digits(x, at + 1, 10, buf, &more);
        len = more;
    }
    size_t e = at + 1;
    if (e < x->src.len && (x->src.ptr[e] == '+' || x->src.ptr[e] == '-'))
        e++;
    if (base == 10 && at < x->src.len && (x->src.ptr[at] | 32) == 'e' && e < x->src.len &&
        digit(x->src.ptr[e])) {
        real = true;
        buf[len++] = 'e';
        if (e == at + 2)
            buf[len++] = x->src.ptr[at + 1];
        for (at = e; at < x->src.len && digit(x->src.ptr[at]); at++)
            if (len < 70)
                buf[len++] = x->src.ptr[at];
    }
    buf[len] = '\0';
    struct fg_token *t = add(x, real ? FG_TOKEN_FLOAT : FG_TOKEN_INT);
    if (!t)
        return false;
    errno = 0;
    if (real)
        t->real = strtod(buf, NULL);
    else
        t->integer = strtoll(buf, NULL, base);
    if (errno == ERANGE && !real)
        return fail(x, "a number that does not fit 64 bits");
    x->at = at;
    return true;
}

static uint8_t sign_here(const struct lexer *x, size_t *bytes)
{
    static const struct {
        char text[3];
        uint8_t sign;
    } two[] = {
        {"**", FG_SIGN_POWER},   {"//", FG_SIGN_FLOOR},      {"==", FG_SIGN_EQUAL},
        {"!=", FG_SIGN_UNEQUAL}, {"<=", FG_SIGN_LESS_EQUAL}, {">=", FG_SIGN_MORE_EQUAL},
    };
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (starts(x, x->at, two[i].text)) {
            *bytes = 2;
            return two[i].sign;
        }
    const char c = peek(x, 0);
    *bytes = 1;
    return c && strchr("+-*/%.,:|~=<>()[]{}", c) ? (uint8_t)c : 0;
}

static bool sign(struct lexer *x)
{
    size_t bytes;
    const uint8_t s = sign_here(x, &bytes);
    if (!s)
        return fail(x, "a character that means nothing here");
    if (s == '(' || s == '[' || s == '{') {
        if (x->depth == BRACKETS_MOST)
            return fail(x, "brackets nested too deep");
        x->open[x->depth++] = s == '(' ? ')' : s == '[' ? ']' : '}';
    } else if (s == ')' || s == ']' || s == '}') {
        if (!x->depth || x->open[--x->depth] != (char)s)
            return fail(x, "a bracket closed that was not opened");
    }
    struct fg_token *t = add(x, FG_TOKEN_SIGN);
    if (!t)
        return false;
    t->sign = s;
    x->at += bytes;
    return true;
}

/* The end of the tag, with its sign; 0 when it does not stand here. */
static size_t tag_end(const struct lexer *x, bool print, char *mark)
{
    const char c = peek(x, 0);
    const size_t skip = c == '-' || (c == '+' && !print) ? 1 : 0;
    *mark = skip ? c : 0;
    if (x->depth || !starts(x, x->at + skip, print ? "}}" : "%}"))
        return 0;
    return skip + 2;
}

static bool tag(struct lexer *x)
{
    const bool print = peek(x, 1) == '{';
    const uint32_t began = x->line;
    if (!add(x, print ? FG_TOKEN_PRINT_BEGIN : FG_TOKEN_BLOCK_BEGIN))
        return false;
    x->at += 2;
    if (peek(x, 0) == '-' || peek(x, 0) == '+')
        x->at++;
    x->depth = 0;
    while (x->status == FG_OK) {
        char mark;
        while (x->at < x->src.len && blank(peek(x, 0)))
            advance(x, x->at + 1);
        if (x->at >= x->src.len) {
            x->line = began;
            return fail(x, "a tag without an end");
        }
        const size_t end = tag_end(x, print, &mark);
        if (end) {
            if (!add(x, print ? FG_TOKEN_PRINT_END : FG_TOKEN_BLOCK_END))
                return false;
            x->at += end;
            after_tag(x, mark, !print);
            return true;
        }
        const char c = peek(x, 0);
        (void)(c == '\'' || c == '"' ? text(x)
               : digit(c)            ? number(x)
               : name_start(c)       ? name(x)
                                     : sign(x));
    }
    return false;
}

/* Line ends made one, the last one dropped. */
static bool normalize(struct lexer *x, struct fg_str source)
{
    char *out = fg_arena_alloc(x->arena, source.len);
    if (!out)
        return no_memory(x);
    size_t len = 0;
    for (size_t i = 0; i < source.len; i++) {
        const char c = source.ptr[i];
        if (c == '\r' && i + 1 < source.len && source.ptr[i + 1] == '\n')
            continue;
        out[len++] = c == '\r' ? '\n' : c;
    }
    if (len && out[len - 1] == '\n')
        len--;
    x->src = (struct fg_str){out, len};
    return true;
}

int32_t fg_lex(struct fg_str source, struct fg_arena *arena, struct fg_token **tokens,
               size_t *count, struct fg_error *err)
{
    struct lexer x = {.line = 1, .fresh = true, .arena = arena, .err = err};
    if (!normalize(&x, source))
        return x.status;
    while (x.at < x.src.len && x.status == FG_OK) {
        const size_t at = next_tag(&x);
        if (!put_data(&x, at < x.src.len ? data_end(&x, at) : at))
            break;
        x.fresh = false;
        advance(&x, at);
        char mark;
        size_t behind;
        if (at == x.src.len)
            break;
        if (x.src.ptr[at + 1] == '#')
            (void)comment(&x);
        else if (x.src.ptr[at + 1] == '%' && (behind = word_tag(&x, at, "raw", &mark)))
            (void)raw(&x, behind, mark);
        else
            (void)tag(&x);
    }
    if (!add(&x, FG_TOKEN_END) || x.status != FG_OK)
        return x.status;
    *tokens = x.tokens;
    *count = x.count - 1;
    return FG_OK;
}
