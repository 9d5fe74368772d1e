/* Text that may be sent; see text.h. */
#include "engine/sched/text.h"

#include <stdlib.h>
#include <string.h>

void fg_text_init(struct fg_text *t, const struct fg_str *stops, uint32_t stop_count)
{
    *t = (struct fg_text){.stops = stops, .stop_count = stop_count};
}

static void free_given(struct fg_text *t)
{
    for (size_t i = 0; i < t->given; i++)
        free((void *)t->logprobs[i].top);
    t->given = 0;
}

void fg_text_done(struct fg_text *t)
{
    free_given(t);
    for (size_t i = 0; i < t->token_count; i++)
        free(t->tokens[i].top);
    free(t->tokens);
    free(t->ids);
    free(t->logprobs);
    fg_buf_done(&t->held);
    fg_buf_done(&t->text);
    *t = (struct fg_text){0};
}

/* The stop string that begins first in `held`; the longest of those that begin there. */
static void find_stop(struct fg_text *t)
{
    for (uint32_t i = 0; i < t->stop_count; i++) {
        const struct fg_str stop = t->stops[i];
        if (stop.len == 0 || stop.len > t->held.len)
            continue;
        const char *hit = memmem(t->held.ptr, t->held.len, stop.ptr, stop.len);
        if (!hit)
            continue;
        const size_t at = (size_t)(hit - t->held.ptr);
        if (t->stopped && (at > t->cut || (at == t->cut && stop.len <= t->stop.len)))
            continue;
        t->stopped = true;
        t->stop = stop;
        t->cut = at;
    }
}

bool fg_text_push(struct fg_text *t, int32_t id, struct fg_str bytes, float logprob,
                  struct fg_logprob *top, uint32_t top_count)
{
    if (t->token_count == t->token_room) {
        const size_t room = t->token_room ? t->token_room * 2 : 8;
        struct fg_text_token *grown = realloc(t->tokens, room * sizeof *grown);
        if (!grown)
            goto failed;
        t->tokens = grown;
        t->token_room = room;
    }
    if (bytes.len && !fg_buf_add(&t->held, bytes))
        goto failed;
    t->tokens[t->token_count++] = (struct fg_text_token){
        .id = id, .end = t->held.len, .logprob = logprob, .top = top, .top_count = top_count};
    if (bytes.len && !t->stopped)
        find_stop(t);
    return true;
failed:
    free(top);
    return false;
}

/* Where a stop string might be beginning: the tail of `held` that is a start of one. */
static size_t stop_may_begin(const struct fg_text *t)
{
    size_t first = t->held.len;
    for (uint32_t i = 0; i < t->stop_count; i++) {
        const struct fg_str stop = t->stops[i];
        size_t n = stop.len ? stop.len - 1 : 0;
        if (n > t->held.len)
            n = t->held.len;
        for (; n > t->held.len - first; n--) /* only what would hold back more */
            if (memcmp(t->held.ptr + t->held.len - n, stop.ptr, n) == 0) {
                first = t->held.len - n;
                break;
            }
    }
    return first;
}

/* The next character: bytes used, 0 when it is incomplete. *ok false: those bytes are none, by the
 * rule of the longest start that could have been one (Unicode 15, 3.9). */
static size_t next_char(struct fg_str s, bool final, bool *ok)
{
    uint32_t codepoint;
    const size_t n = fg_utf8_get(s, &codepoint);
    *ok = n > 0;
    if (n)
        return n;
    bool broken = false;
    (void)fg_utf8_valid(s, &broken);
    if (!broken)
        return final ? s.len : 0;
    for (size_t part = s.len < 3 ? s.len : 3; part > 1; part--) {
        bool part_broken = false;
        const size_t valid = fg_utf8_valid((struct fg_str){s.ptr, part}, &part_broken);
        if (valid == 0 && !part_broken)
            return part;
    }
    return 1;
}

bool fg_text_clean(struct fg_str raw, bool final, struct fg_buf *out, size_t *used)
{
    size_t at = 0;
    while (at < raw.len) {
        bool broken = false, ok;
        const size_t valid = fg_utf8_valid(fg_str_from(raw, at), &broken);
        if (valid && !fg_buf_add(out, (struct fg_str){raw.ptr + at, valid}))
            return false;
        at += valid;
        if (at == raw.len)
            break;
        const size_t n = next_char(fg_str_from(raw, at), final, &ok);
        if (n == 0)
            break;
        if (!fg_buf_add(out, FG_STR("\xef\xbf\xbd")))
            return false;
        at += n;
    }
    *used = at;
    return true;
}

/* The last token's end that is not after `safe` and not inside a character. *tokens: how many
 * tokens end there. */
static size_t last_border(const struct fg_text *t, size_t safe, size_t *tokens)
{
    size_t at = 0, border = 0, i = 0;
    *tokens = 0;
    for (;;) {
        while (i < t->token_count && t->tokens[i].end < at)
            i++; /* ended inside the last character */
        while (i < t->token_count && t->tokens[i].end == at) {
            border = at;
            *tokens = ++i;
        }
        if (at >= safe)
            return border;
        bool ok;
        const size_t n = next_char((struct fg_str){t->held.ptr + at, t->held.len - at}, false, &ok);
        if (n == 0 || at + n > safe)
            return border;
        at += n;
    }
}

static bool give(struct fg_text *t, size_t tokens)
{
    if (tokens > t->given_room) {
        int32_t *ids = realloc(t->ids, tokens * sizeof *ids);
        if (ids)
            t->ids = ids;
        struct fg_logprob *logprobs = realloc(t->logprobs, tokens * sizeof *logprobs);
        if (logprobs)
            t->logprobs = logprobs;
        if (!ids || !logprobs)
            return false;
        t->given_room = tokens;
    }
    for (size_t i = 0; i < tokens; i++) {
        t->ids[i] = t->tokens[i].id;
        t->logprobs[i] = (struct fg_logprob){.token = t->tokens[i].id,
                                             .logprob = t->tokens[i].logprob,
                                             .top = t->tokens[i].top,
                                             .top_count = t->tokens[i].top_count};
    }
    t->given = tokens;
    return true;
}

/* Forgets the first `bytes` and `tokens`. */
static void advance(struct fg_text *t, size_t bytes, size_t tokens)
{
    if (bytes)
        memmove(t->held.ptr, t->held.ptr + bytes, t->held.len - bytes);
    t->held.len -= bytes;
    t->token_count -= tokens;
    memmove(t->tokens, t->tokens + tokens, t->token_count * sizeof *t->tokens);
    for (size_t i = 0; i < t->token_count; i++)
        t->tokens[i].end -= bytes < t->tokens[i].end ? bytes : t->tokens[i].end;
    t->cut -= t->stopped ? bytes : 0;
}

/* The rest, when nothing can follow: up to the stop string, or all. Tokens that gave none of the
 * text before a stop string are not part of the answer. */
static size_t end_of_all(const struct fg_text *t, size_t *tokens)
{
    if (!t->stopped) {
        *tokens = t->token_count;
        return t->held.len;
    }
    size_t count = 0;
    while (count < t->token_count && (count ? t->tokens[count - 1].end : 0) < t->cut)
        count++;
    *tokens = count;
    return t->cut;
}

bool fg_text_take(struct fg_text *t, struct fg_text_part *out)
{
    free_given(t);
    const bool last = t->over || t->stopped;
    size_t tokens, bytes, used;
    if (t->token_count == 0)
        return false;
    if (last)
        bytes = end_of_all(t, &tokens);
    else
        bytes = last_border(t, stop_may_begin(t), &tokens);
    t->text.len = 0;
    if (tokens == 0)
        return false;
    /* give() last: it makes the alternatives ours to free */
    if (!fg_text_clean((struct fg_str){t->held.ptr, bytes}, true, &t->text, &used) ||
        !give(t, tokens)) {
        t->failed = true;
        return false;
    }
    advance(t, bytes, tokens);
    if (last) { /* what follows a stop string is gone */
        for (size_t i = 0; i < t->token_count; i++)
            free(t->tokens[i].top);
        t->token_count = 0;
        t->held.len = 0;
    }
    *out = (struct fg_text_part){.text = fg_buf_str(&t->text),
                                 .ids = t->ids,
                                 .logprobs = t->logprobs,
                                 .count = (uint32_t)tokens};
    return true;
}
