/*
 * engine/token/encode.c - text to ids: join the pieces, find special tokens, split what lies
 * between into words, merge each word.
 *
 * Short words are merged in place by looking for the best pair again and again; long ones (a
 * megabyte of one letter is one word) with a heap, so that time is O(n log n) for any text. Words
 * met before in the same call are copied from the output. Scratch belongs to the call.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/token/heap.h"
#include "engine/token/inner.h"
#include "util/error.h"

#define SHORT      32 /* symbols merged without a heap; measured: the two meet near 40 */
#define MAX_TEXT   (256u << 20)
#define CACHE_SIZE 2048 /* words of one call; a power of two */
#define CACHE_WORD 40   /* bytes of a word worth keeping */

struct node { /* a symbol of a long word; len 0: merged into the one before */
    uint32_t prev, next, at, len;
    int32_t id;
};
struct known { /* a word met before: where it stands in the text, and its ids in the output */
    uint32_t hash, at, len, first, count;
};
struct encoder {
    const struct fg_vocab *v;
    const char *text; /* what words are offsets into */
    size_t shift;     /* where the chunk begins that words are told of */
    struct fg_ids *out;
    size_t most; /* length the output may reach */
    int32_t status;
    struct fg_heap heap;
    struct node *nodes;
    size_t node_room;
    struct known *cache;
};

#define NOWHERE UINT32_MAX

static bool fail(struct encoder *e, int32_t status)
{
    if (e->status == FG_OK)
        e->status = status;
    return false;
}

static bool emit(struct encoder *e, int32_t id)
{
    if (e->out->len >= e->most)
        return fail(e, FG_TOO_LONG);
    return fg_ids_add(e->out, id) || fail(e, FG_NO_MEMORY);
}

/* A symbol that stayed: its token, or tokens of its bytes, or the unknown one. */
static bool emit_symbol(struct encoder *e, int32_t id, const char *text, uint32_t len)
{
    const struct fg_vocab *v = e->v;
    if (id >= 0 && (uint32_t)id < v->count)
        return emit(e, id);
    for (uint32_t i = 0; i < len; i++) {
        const int32_t byte = v->byte_token[(unsigned char)text[i]];
        if (byte < 0 && v->unk >= 0)
            return emit(e, v->unk);
        if (byte >= 0 && !emit(e, byte))
            return false;
    }
    return true;
}

/* ---- what merges ----------------------------------------------------------------------------- */

/* A pair's claim: smaller goes first. false: the two do not merge. */
static bool claim(const struct fg_vocab *v, const char *text, uint32_t len, int32_t left,
                  int32_t right, uint32_t *order, int32_t *to)
{
    if (v->kind == KIND_SPM) {
        const int32_t id = len <= v->longest ? key_find(v, (struct fg_str){text, len}) : -1;
        if (id < 0)
            return false;
        uint32_t bits; /* floats in ascending order of their bits, then turned round */
        memcpy(&bits, &v->tokens[id].score, sizeof bits);
        *order = bits >> 31 ? bits : ~(bits | 0x80000000u);
        *to = id;
        return true;
    }
    const struct merge *m = merge_find(v, left, right);
    if (!m)
        return false;
    *order = m->rank;
    *to = m->to;
    return true;
}

/* The symbol that a byte or character begins as; -1: none. Its length in *len. */
static int32_t first_symbol(const struct fg_vocab *v, const char *text, uint32_t left,
                            uint32_t *len)
{
    if (v->kind == KIND_BYTES) {
        *len = 1;
        return v->byte_token[(unsigned char)*text];
    }
    *len = char_bytes(*text);
    if (*len > left)
        *len = left;
    return symbol_find(v, (struct fg_str){text, *len});
}

/* ---- short words ----------------------------------------------------------------------------- */

struct part {
    uint32_t at, len, order;
    int32_t id, to; /* with the one behind it; to < 0: does not merge */
};

static void look(const struct encoder *e, const char *word, struct part *p, const struct part *next)
{
    if (!claim(e->v, word + p->at, p->len + next->len, p->id, next->id, &p->order, &p->to))
        p->to = -1;
}

static bool merge_short(struct encoder *e, const char *word, struct part *parts, uint32_t count)
{
    for (uint32_t i = 0; i + 1 < count; i++)
        look(e, word, &parts[i], &parts[i + 1]);
    parts[count - 1].to = -1;
    for (;;) {
        uint32_t best = NOWHERE;
        for (uint32_t i = 0; i + 1 < count; i++)
            if (parts[i].to >= 0 && (best == NOWHERE || parts[i].order < parts[best].order))
                best = i;
        if (best == NOWHERE)
            break;
        struct part *p = &parts[best];
        p->id = p->to;
        p->len += p[1].len;
        p->to = -1;
        count--;
        memmove(p + 1, p + 2, (count - best - 1) * sizeof *p);
        if (best + 1 < count)
            look(e, word, p, p + 1);
        if (best > 0)
            look(e, word, p - 1, p);
    }
    for (uint32_t i = 0; i < count; i++)
        if (!emit_symbol(e, parts[i].id, word + parts[i].at, parts[i].len))
            return false;
    return true;
}

/* ---- long words ------------------------------------------------------------------------------ */

static bool push_pair(struct encoder *e, const char *word, uint32_t left)
{
    if (left == NOWHERE || e->nodes[left].next == NOWHERE)
        return true;
    const struct node *a = &e->nodes[left], *b = &e->nodes[a->next];
    struct fg_heap_item item = {.size = a->len + b->len};
    uint32_t order;
    if (!claim(e->v, word + a->at, item.size, a->id, b->id, &order, &item.id))
        return true;
    item.key = (uint64_t)order << 32 | left;
    return fg_heap_push(&e->heap, item) || fail(e, FG_NO_MEMORY);
}

/* Symbols of the word as a list; how many, 0 without memory. */
static uint32_t lay_out(struct encoder *e, const char *word, uint32_t len)
{
    uint32_t count = 0;
    for (uint32_t at = 0; at < len;) {
        if (count == e->node_room) {
            const size_t room = e->node_room ? e->node_room * 2 : 1024;
            struct node *nodes = realloc(e->nodes, room * sizeof *nodes);
            if (!nodes)
                return 0;
            e->nodes = nodes;
            e->node_room = room;
        }
        struct node *n = &e->nodes[count];
        n->at = at;
        n->id = first_symbol(e->v, word + at, len - at, &n->len);
        n->prev = count ? count - 1 : NOWHERE;
        n->next = count + 1;
        at += n->len;
        count++;
    }
    e->nodes[count - 1].next = NOWHERE;
    return count;
}

static bool merge_long(struct encoder *e, const char *word, uint32_t len)
{
    const uint32_t count = lay_out(e, word, len);
    if (!count)
        return fail(e, FG_NO_MEMORY);
    e->heap.len = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!push_pair(e, word, i))
            return false;
    while (e->heap.len) {
        const struct fg_heap_item top = fg_heap_pop(&e->heap);
        const uint32_t left = (uint32_t)top.key;
        struct node *a = &e->nodes[left];
        if (a->len == 0 || a->next == NOWHERE || a->len + e->nodes[a->next].len != top.size)
            continue; /* a part of it was merged otherwise */
        struct node *b = &e->nodes[a->next];
        a->id = top.id;
        a->len = top.size;
        a->next = b->next;
        b->len = 0;
        if (a->next != NOWHERE)
            e->nodes[a->next].prev = left;
        if (!push_pair(e, word, a->prev) || !push_pair(e, word, left))
            return false;
    }
    for (uint32_t i = 0; i != NOWHERE; i = e->nodes[i].next)
        if (!emit_symbol(e, e->nodes[i].id, word + e->nodes[i].at, e->nodes[i].len))
            return false;
    return true;
}

/* ---- words ----------------------------------------------------------------------------------- */

static bool merge_word(struct encoder *e, const char *word, uint32_t len)
{
    struct part parts[SHORT];
    uint32_t count = 0, at = 0;
    while (at < len && count < SHORT) {
        struct part *p = &parts[count++];
        p->at = at;
        p->id = first_symbol(e->v, word + at, len - at, &p->len);
        at += p->len;
    }
    return at == len ? merge_short(e, word, parts, count) : merge_long(e, word, len);
}

static bool is_newlines(const char *word, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        if (word[i] != '\n')
            return false;
    return true;
}

static bool encode_new(struct encoder *e, uint32_t at, uint32_t len)
{
    const struct fg_vocab *v = e->v;
    const char *word = e->text + at;
    if (v->ignores_merges || (v->kind == KIND_CHARS && is_newlines(word, len))) {
        const int32_t id = len <= v->longest ? key_find(v, (struct fg_str){word, len}) : -1;
        if (id >= 0)
            return emit(e, id);
    }
    return merge_word(e, word, len);
}

/* One word of the text: copied when it was met before. */
static bool encode_word(void *ctx, size_t offset, size_t length)
{
    struct encoder *e = ctx;
    const uint32_t at = (uint32_t)(e->shift + offset), len = (uint32_t)length;
    if (len > CACHE_WORD)
        return encode_new(e, at, len);
    const uint32_t hash = (uint32_t)fg_hash_bytes(e->v->index.seed, e->text + at, len);
    struct known *k = &e->cache[hash & (CACHE_SIZE - 1)];
    if (k->len == len && k->hash == hash && memcmp(e->text + k->at, e->text + at, len) == 0) {
        for (uint32_t i = 0; i < k->count; i++)
            if (!emit(e, e->out->ptr[k->first + i]))
                return false;
        return true;
    }
    const size_t first = e->out->len;
    if (!encode_new(e, at, len))
        return false;
    if (first < UINT32_MAX)
        *k = (struct known){hash, at, len, (uint32_t)first, (uint32_t)(e->out->len - first)};
    return true;
}

/* SPM has no words of its own, but no token spans a blank with these bytes before it. */
static bool split_spm(struct encoder *e, size_t from, size_t to)
{
    size_t begin = from;
    const char *t = e->text;
    for (size_t i = from + 1; i + 3 <= to; i++) {
        if (t[i] != BLANK[0] || t[i + 1] != BLANK[1] || t[i + 2] != BLANK[2] ||
            e->v->before_blank[(unsigned char)t[i - 1]] ||
            (i >= begin + 3 && memcmp(t + i - 3, BLANK, 3) == 0))
            continue;
        if (!encode_word(e, begin, i - begin))
            return false;
        begin = i;
    }
    return begin == to || encode_word(e, begin, to - begin);
}

/* ---- texts ----------------------------------------------------------------------------------- */

struct source { /* the joined pieces, and what is in them */
    struct fg_str text;
    char *owned;
    struct fg_span *spans; /* where control tokens may be */
    size_t span_count;
    struct fg_found *found;
    size_t found_count;
};

static int32_t join(const struct fg_piece *pieces, size_t count, struct source *s,
                    struct fg_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        bool broken = false;
        if (fg_utf8_valid(pieces[i].text, &broken) != pieces[i].text.len)
            return fg_fail(err, FG_INVALID, "the text is not valid UTF-8");
        if (pieces[i].text.len > MAX_TEXT - total)
            return fg_fail(err, FG_TOO_LONG, "the text is longer than %u bytes", MAX_TEXT);
        total += pieces[i].text.len;
    }
    s->spans = malloc((count + 1) * sizeof *s->spans);
    if (count != 1)
        s->owned = malloc(total + 1);
    if (!s->spans || (count != 1 && !s->owned))
        return fg_fail(err, FG_NO_MEMORY, "no memory for a text");
    uint32_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t end = at + (uint32_t)pieces[i].text.len;
        if (s->owned && end > at)
            memcpy(s->owned + at, pieces[i].text.ptr, end - at);
        if (pieces[i].special && end > at) {
            if (s->span_count && s->spans[s->span_count - 1].to == at)
                s->spans[s->span_count - 1].to = end;
            else
                s->spans[s->span_count++] = (struct fg_span){at, end};
        }
        at = end;
    }
    s->text = s->owned ? (struct fg_str){s->owned, total} : pieces[0].text;
    return FG_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The text with blanks as U+2581, and one in front where the model wants it; into *to. */
static size_t escape(const struct fg_vocab *v, struct fg_str s, bool first, char *to)
{
    char *at = to;
    if (first && v->adds_blank) {
        memcpy(at, BLANK, 3);
        at += 3;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == ' ') {
            memcpy(at, BLANK, 3);
            at += 3;
        } else {
            *at++ = s.ptr[i];
        }
    }
    return (size_t)(at - to);
}

/* Text between special tokens. escaped: room behind what was written there before. */
static bool encode_text(struct encoder *e, struct fg_str s, bool first, char *escaped, size_t *used,
                        struct fg_error *err)
{
    const struct fg_vocab *v = e->v;
    size_t from = (size_t)(s.ptr - e->text), len = s.len;
    if (escaped) {
        from = *used;
        len = escape(v, s, first, escaped + from);
        *used += len;
    }
    /* No token is longer than the longest: a text that cannot fit is not even begun. */
    if (v->longest && len / v->longest > e->most - e->out->len)
        return fail(e, FG_TOO_LONG);
    if (v->kind == KIND_SPM)
        return split_spm(e, from, from + len);
    e->shift = from;
    const int32_t rc =
        fg_pre_split(v->pre, (struct fg_str){e->text + from, len}, encode_word, e, err);
    if (e->status == FG_OK && rc != FG_OK)
        return fail(e, rc);
    return e->status == FG_OK;
}

static bool encode_source(struct encoder *e, const struct source *s, char *escaped,
                          struct fg_error *err)
{
    size_t at = 0, used = 0;
    bool first = true; /* behind a special token, or at the very start */
    e->text = escaped ? escaped : s->text.ptr;
    for (size_t i = 0; i <= s->found_count; i++) {
        const size_t end = i < s->found_count ? s->found[i].at : s->text.len;
        if (end > at) {
            if (!encode_text(e, (struct fg_str){s->text.ptr + at, end - at}, first, escaped, &used,
                             err))
                return false;
            first = false;
        }
        if (i == s->found_count)
            break;
        if (!emit(e, s->found[i].id))
            return false;
        first = true;
        at = end + s->found[i].len;
        const size_t next = i + 1 < s->found_count ? s->found[i + 1].at : s->text.len;
        if (e->v->tokens[s->found[i].id].attr & ATTR_RSTRIP)
            while (at < next && is_blank(s->text.ptr[at]))
                at++;
    }
    return true;
}

static size_t count_blanks(struct fg_str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += s.ptr[i] == ' ';
    return n;
}

static int32_t told(int32_t status, size_t most, struct fg_error *err)
{
    if (status == FG_TOO_LONG)
        return fg_fail(err, status, "the text has more than %zu tokens", most);
    if (status == FG_NO_MEMORY)
        return fg_fail(err, status, "no memory to tokenise a text");
    return status;
}

static int32_t run(struct encoder *e, const struct source *s, bool ends, struct fg_error *err)
{
    const struct fg_vocab *v = e->v;
    char *escaped = NULL;
    if (v->kind != KIND_BYTES) {
        escaped = malloc(s->text.len + 2 * count_blanks(s->text) + 3 * (s->found_count + 1) + 1);
        if (!escaped)
            return FG_NO_MEMORY;
    }
    e->cache = calloc(CACHE_SIZE, sizeof *e->cache);
    if (!e->cache)
        fail(e, FG_NO_MEMORY);
    if (ends && v->adds_bos && v->bos >= 0)
        emit(e, v->bos);
    if (e->status == FG_OK)
        encode_source(e, s, escaped, err);
    if (e->status == FG_OK && ends && v->adds_eos && v->eos >= 0)
        emit(e, v->eos);
    free(escaped);
    free(e->cache);
    free(e->nodes);
    fg_heap_done(&e->heap);
    return e->status;
}

int32_t fg_vocab_encode(const struct fg_vocab *v, const struct fg_piece *pieces, size_t count,
                        bool bos, size_t max_ids, struct fg_ids *out, struct fg_error *err)
{
    struct source s = {0};
    int32_t rc = join(pieces, count, &s, err);
    if (rc == FG_OK &&
        !fg_specials_find(&v->specials, s.text, s.spans, s.span_count, &s.found, &s.found_count))
        rc = fg_fail(err, FG_NO_MEMORY, "no memory to tokenise a text");
    if (rc == FG_OK) {
        struct encoder e = {.v = v,
                            .out = out,
                            .most = max_ids && max_ids < SIZE_MAX - out->len ? out->len + max_ids
                                                                             : SIZE_MAX};
        rc = told(run(&e, &s, bos, err), max_ids, err);
    }
    free(s.owned);
    free(s.spans);
    free(s.found);
    return rc;
}
