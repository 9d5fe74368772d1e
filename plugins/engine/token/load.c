/*
 * engine/token/load.c - a vocabulary out of a model file's tokenizer.ggml.* keys.
 *
 * Everything is copied; nothing of the file is trusted: lengths and types of the arrays are
 * compared, ids outside the vocabulary count as absent, byte tokens are spelled strictly. Types of
 * well-known tokens that converters got wrong (an end of turn that is no control token) are put
 * right as llama.cpp does it, or a user could write them.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/token/inner.h"
#include "engine/token/letters.h"
#include "util/error.h"

#define MAX_TOKENS (2u << 20)
#define KEY        "tokenizer.ggml."

/* The file's own spelling of the tokens, while loading. */
struct raw {
    struct fg_str *text; /* [count], in the map */
    struct fg_index index;
};

static int32_t raw_find(const struct raw *raw, struct fg_str text)
{
    const uint32_t at = fg_index_find(&raw->index, raw->text, sizeof *raw->text, text);
    return at == FG_INDEX_NONE ? -1 : (int32_t)at;
}

/* ---- the kind -------------------------------------------------------------------------------- */

static int32_t read_kind(struct fg_vocab *v, const struct fg_gguf *g, struct fg_error *err)
{
    static const struct {
        const char *name;
        int32_t kind;
    } known[] = {{"gpt2", KIND_BYTES}, {"gemma4", KIND_CHARS}, {"llama", KIND_SPM}};
    static const struct {
        const char *name, *what;
    } others[] = {{"bert", "WordPiece"},
                  {"t5", "unigram"},
                  {"rwkv", "RWKV"},
                  {"plamo2", "PLaMo-2"},
                  {"no_vocab", "no vocabulary"},
                  {"none", "no vocabulary"}};
    struct fg_str name;
    const int32_t rc = fg_gguf_str(g, KEY "model", &name, err);
    if (rc != FG_OK)
        return rc == FG_NOT_FOUND ? fg_fail(err, FG_INVALID, "the file has no tokenizer") : rc;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (fg_str_is(name, known[i].name)) {
            v->kind = known[i].kind;
            return FG_OK;
        }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (fg_str_is(name, others[i].name))
            return fg_fail(err, FG_UNSUPPORTED, "tokenizer \"%s\" (%s) is not supported",
                           others[i].name, others[i].what);
    return fg_fail(err, FG_UNSUPPORTED, "tokenizer \"%.*s\" is not supported",
                   (int)(name.len < 64 ? name.len : 64), name.ptr);
}

static int32_t read_pre(struct fg_vocab *v, const struct fg_gguf *g, struct fg_error *err)
{
    struct fg_str name = FG_STR("default");
    struct fg_pre_facts facts = {0};
    int32_t rc = fg_gguf_str(g, KEY "pre", &name, err);
    if (rc != FG_OK && rc != FG_NOT_FOUND)
        return rc;
    if (v->kind == KIND_CHARS)
        name = FG_STR("gemma4");
    if (name.len == 0)
        name = FG_STR("default");
    rc = fg_pre_open(name, &v->pre, &facts, err);
    if (rc != FG_OK)
        return rc;
    if (facts.over_chars)
        v->kind = KIND_CHARS;
    v->ignores_merges = facts.ignores_merges;
    v->adds_bos = facts.adds_bos || v->kind == KIND_CHARS;
    return FG_OK;
}

/* ---- arrays ---------------------------------------------------------------------------------- */

static int32_t read_texts(struct fg_vocab *v, const struct fg_gguf *g, struct raw *raw,
                          struct fg_error *err)
{
    struct fg_gguf_array list;
    const int32_t rc = fg_gguf_array(g, KEY "tokens", &list, err);
    if (rc != FG_OK)
        return rc;
    if (list.type != FG_GGUF_STRING)
        return fg_fail(err, FG_INVALID, KEY "tokens: expected strings");
    if (list.count == 0 || list.count > MAX_TOKENS)
        return fg_fail(err, FG_INVALID, KEY "tokens: %llu tokens (1 to %u)",
                       (unsigned long long)list.count, MAX_TOKENS);
    v->count = (uint32_t)list.count;
    v->tokens = calloc(v->count, sizeof *v->tokens);
    raw->text = calloc(v->count, sizeof *raw->text);
    if (!v->tokens || !raw->text || !fg_index_reserve(&raw->index, v->count) ||
        !fg_index_reserve(&v->index, v->count))
        return fg_fail(err, FG_NO_MEMORY, "no memory for the vocabulary");
    const void *cursor = list.data;
    for (uint32_t i = 0; i < v->count; i++) {
        raw->text[i] = fg_gguf_next_string(&cursor);
        v->tokens[i].attr = ATTR_NORMAL;
        uint32_t at = i; /* of equal texts the first counts */
        if (raw->text[i].len && !fg_index_add(&raw->index, raw->text, sizeof *raw->text, &at))
            return fg_fail(err, FG_NO_MEMORY, "no memory for the vocabulary");
    }
    return FG_OK;
}

/* An array beside the tokens: FG_NOT_FOUND when the file has none. */
static int32_t read_beside(const struct fg_vocab *v, const struct fg_gguf *g, const char *key,
                           int32_t type, int32_t other, const char **data, int32_t *found,
                           struct fg_error *err)
{
    struct fg_gguf_array list;
    const int32_t rc = fg_gguf_array(g, key, &list, err);
    if (rc != FG_OK)
        return rc;
    if (list.type != type && list.type != other)
        return fg_fail(err, FG_INVALID, "%s: elements of type %d", key, list.type);
    if (list.count != v->count)
        return fg_fail(err, FG_INVALID, "%s: %llu elements for %u tokens", key,
                       (unsigned long long)list.count, v->count);
    *data = list.data;
    *found = list.type;
    return FG_OK;
}

static int32_t read_types(struct fg_vocab *v, const struct fg_gguf *g, struct fg_error *err)
{
    static const uint8_t attrs[] = {
        /* by the numbers of the file */
        [0] = ATTR_UNUSED, [1] = ATTR_NORMAL, [2] = ATTR_UNKNOWN, [3] = ATTR_CONTROL,
        [4] = ATTR_USER,   [5] = ATTR_UNUSED, [6] = ATTR_BYTE};
    const char *data;
    int32_t type;
    const int32_t rc =
        read_beside(v, g, KEY "token_type", FG_GGUF_I32, FG_GGUF_U32, &data, &type, err);
    if (rc != FG_OK)
        return rc == FG_NOT_FOUND ? FG_OK : rc;
    for (uint32_t i = 0; i < v->count; i++) {
        uint32_t number;
        memcpy(&number, data + (size_t)i * 4, 4);
        v->tokens[i].attr = number < sizeof attrs ? attrs[number] : ATTR_UNUSED;
    }
    return FG_OK;
}

static int32_t read_scores(struct fg_vocab *v, const struct fg_gguf *g, struct fg_error *err)
{
    const char *data;
    int32_t type;
    const int32_t rc = read_beside(v, g, KEY "scores", FG_GGUF_F32, FG_GGUF_I32, &data, &type, err);
    if (rc != FG_OK)
        return rc == FG_NOT_FOUND ? FG_OK : rc;
    for (uint32_t i = 0; i < v->count; i++) {
        float score;
        int32_t whole;
        memcpy(&score, data + (size_t)i * 4, 4);
        memcpy(&whole, data + (size_t)i * 4, 4);
        if (type == FG_GGUF_I32)
            score = (float)whole;
        if (!isfinite(score))
            return fg_fail(err, FG_INVALID, KEY "scores: the score of token %u is not finite", i);
        v->tokens[i].score = score + 0.0f; /* -0 becomes 0: they compare by their bits */
    }
    return FG_OK;
}

/* ---- special tokens -------------------------------------------------------------------------- */

/* In order of preference; see llama.cpp for where each comes from. */
static const char *const ends[] = {"<|eot_id|>",
                                   "<|im_end|>",
                                   "<|end|>",
                                   "<|return|>",
                                   "<|call|>",
                                   "<|flush|>",
                                   "<|calls|>",
                                   "<end_of_turn>",
                                   "<|endoftext|>",
                                   "</s>",
                                   "<|eom_id|>",
                                   "<EOT>",
                                   "_<EOT>",
                                   "[EOT]",
                                   "[EOS]",
                                   "<|end_of_text|>",
                                   "<end_of_utterance>",
                                   "<eos>",
                                   "<turn|>",
                                   "<|tool_response>",
                                   "<\xef\xbd\x9c"
                                   "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
                                   "[e~[",
                                   NULL};
/* Fill-in-the-middle: the first of each row that is there is a control token. */
#define DEEPSEEK_FIM(name)                                                                         \
    "<\xef\xbd\x9c"                                                                                \
    "fim\xe2\x96\x81" name "\xef\xbd\x9c>"
static const char *const fim[][9] = {
    {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", DEEPSEEK_FIM("begin"), "<PRE>",
     BLANK "<PRE>", "<|code_prefix|>", "<|prefix|>"},
    {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", DEEPSEEK_FIM("hole"), "<SUF>", BLANK "<SUF>",
     "<|code_suffix|>", "<|suffix|>"},
    {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", DEEPSEEK_FIM("end"), "<MID>", BLANK "<MID>",
     "<|code_middle|>", "<|middle|>"},
    {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"},
    {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"},
    {"<|file_sep|>"},
};
enum { FIM_PAD = 3 }; /* this row and those behind it also end a text */

/* An id that the file states; out of range counts as absent. */
static int32_t stated(const struct fg_vocab *v, const struct fg_gguf *g, const char *key,
                      int32_t otherwise)
{
    uint32_t id;
    if (fg_gguf_u32(g, key, &id, NULL) != FG_OK || id >= v->count)
        return otherwise >= 0 && (uint32_t)otherwise < v->count ? otherwise : -1;
    return (int32_t)id;
}

static void add_attr(struct fg_vocab *v, int32_t id, uint32_t attr)
{
    if (id >= 0)
        v->tokens[id].attr |= attr;
}

static void find_fim(struct fg_vocab *v, const struct fg_gguf *g, const struct raw *raw)
{
    static const char *const keys[][2] = {{KEY "fim_pre_token_id", KEY "prefix_token_id"},
                                          {KEY "fim_suf_token_id", KEY "suffix_token_id"},
                                          {KEY "fim_mid_token_id", KEY "middle_token_id"},
                                          {KEY "fim_pad_token_id", NULL},
                                          {KEY "fim_rep_token_id", NULL},
                                          {KEY "fim_sep_token_id", NULL}};
    for (size_t row = 0; row < sizeof fim / sizeof *fim; row++) {
        int32_t id = stated(v, g, keys[row][0], -1);
        if (id < 0 && keys[row][1])
            id = stated(v, g, keys[row][1], -1);
        for (size_t i = 0; id < 0 && fim[row][i]; i++) {
            id = raw_find(raw, fg_str_of(fim[row][i]));
            add_attr(v, id, ATTR_CONTROL);
        }
        if (row >= FIM_PAD)
            add_attr(v, id, ATTR_END);
    }
}

/* Harmony-like vocabularies end messages, not answers, with <|end|>; gemma 4 has a </s> of HTML. */
static void forget_false_ends(struct fg_vocab *v, const struct raw *raw)
{
    const int32_t end = raw_find(raw, FG_STR("<|end|>"));
    const int32_t html = raw_find(raw, FG_STR("</s>"));
    const bool returns = raw_find(raw, FG_STR("<|return|>")) >= 0;
    const bool calls =
        raw_find(raw, FG_STR("<|call|>")) >= 0 || raw_find(raw, FG_STR("<|calls|>")) >= 0;
    const bool flushes = raw_find(raw, FG_STR("<|flush|>")) >= 0;
    if (end >= 0 && calls && (returns || flushes))
        v->tokens[end].attr = ATTR_USER;
    if (html >= 0 && raw_find(raw, FG_STR("<|tool_response>")) >= 0)
        v->tokens[html].attr = ATTR_NORMAL;
}

/* Phi-3 swallows blanks behind its special tokens; the file does not say so. */
static void mark_phi3(struct fg_vocab *v, const struct fg_gguf *g, const struct raw *raw)
{
    static const char *const keep[] = {"<unk>", "<s>", "<|endoftext|>"};
    struct fg_str name;
    char lower[256];
    if (fg_gguf_str(g, "general.name", &name, NULL) != FG_OK || name.len >= sizeof lower)
        return;
    for (size_t i = 0; i < name.len; i++)
        lower[i] =
            name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? (char)(name.ptr[i] + 32) : name.ptr[i];
    if (!memmem(lower, name.len, "phi-3", 5) && !memmem(lower, name.len, "phi3", 4))
        return;
    for (uint32_t i = 0; i < v->count; i++)
        if (v->tokens[i].attr & (ATTR_SPECIAL | ATTR_USER))
            v->tokens[i].attr |= ATTR_RSTRIP;
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
        const int32_t id = raw_find(raw, fg_str_of(keep[i]));
        if (id >= 0)
            v->tokens[id].attr &= ~(uint32_t)ATTR_RSTRIP;
    }
}

static int32_t read_specials(struct fg_vocab *v, const struct fg_gguf *g, const struct raw *raw,
                             struct fg_error *err)
{
    const bool spm = v->kind == KIND_SPM;
    v->bos = stated(v, g, KEY "bos_token_id", spm ? 1 : -1);
    v->eos = stated(v, g, KEY "eos_token_id", spm ? 2 : -1);
    v->unk = stated(v, g, KEY "unknown_token_id", spm ? 0 : -1);
    for (size_t i = 0; ends[i]; i++)
        add_attr(v, raw_find(raw, fg_str_of(ends[i])), ATTR_CONTROL | ATTR_END);
    find_fim(v, g, raw);
    add_attr(v, stated(v, g, KEY "eot_token_id", -1), ATTR_END);
    add_attr(v, stated(v, g, KEY "eom_token_id", -1), ATTR_END);
    forget_false_ends(v, raw);
    add_attr(v, v->eos, ATTR_END);
    mark_phi3(v, g, raw);
    v->adds_blank = spm;
    v->adds_bos = v->adds_bos || spm;
    const struct {
        const char *key;
        bool *to;
    } flags[] = {{KEY "add_bos_token", &v->adds_bos},
                 {KEY "add_eos_token", &v->adds_eos},
                 {KEY "add_space_prefix", &v->adds_blank}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        const int32_t rc = fg_gguf_bool(g, flags[i].key, flags[i].to, err);
        if (rc != FG_OK && rc != FG_NOT_FOUND)
            return rc;
    }
    v->adds_bos = v->adds_bos || v->kind == KIND_CHARS; /* files of gemma 4 deny it, wrongly */
    v->adds_blank = v->adds_blank && spm;
    return FG_OK;
}

/* ---- pieces and keys ------------------------------------------------------------------------- */

/* "<0xHH>" strictly, capitals; -1 otherwise. */
static int32_t byte_of(struct fg_str s)
{
    static const char digits[] = "0123456789ABCDEF";
    if (s.len != 6 || memcmp(s.ptr, "<0x", 3) != 0 || s.ptr[5] != '>' || !s.ptr[3] || !s.ptr[4])
        return -1;
    const char *high = strchr(digits, s.ptr[3]), *low = strchr(digits, s.ptr[4]);
    return high && low ? (int32_t)((high - digits) * 16 + (low - digits)) : -1;
}

/* The pool was made large enough for every spelling twice. */
static struct fg_str keep(struct fg_vocab *v, struct fg_str s)
{
    char *at = v->pool + v->pool_len;
    if (s.len)
        memcpy(at, s.ptr, s.len);
    v->pool_len += s.len;
    return (struct fg_str){at, s.len};
}

static struct fg_str keep_unescaped(struct fg_vocab *v, struct fg_str s)
{
    char *at = v->pool + v->pool_len, *to = at;
    for (size_t i = 0; i < s.len;) {
        if (s.len - i >= 3 && memcmp(s.ptr + i, BLANK, 3) == 0) {
            *to++ = ' ';
            i += 3;
        } else {
            *to++ = s.ptr[i++];
        }
    }
    v->pool_len += (size_t)(to - at);
    return (struct fg_str){at, (size_t)(to - at)};
}

static struct fg_str keep_decoded(struct fg_vocab *v, struct fg_str s)
{
    char *at = v->pool + v->pool_len;
    size_t len = 0;
    if (!fg_letters_decode(s, at, &len))
        return (struct fg_str){0};
    v->pool_len += len;
    return (struct fg_str){at, len};
}

static void set_piece(struct fg_vocab *v, struct token *t, struct fg_str piece)
{
    t->piece_at = piece.len ? (uint32_t)(piece.ptr - v->pool) : 0;
    t->piece_len = (uint32_t)piece.len;
}

static void shape_token(struct fg_vocab *v, struct token *t, struct fg_str raw)
{
    const bool special = t->attr & (ATTR_SPECIAL | ATTR_USER);
    const int32_t byte = byte_of(raw);
    if ((t->attr & ATTR_BYTE) && byte >= 0) {
        const char c = (char)byte;
        set_piece(v, t, keep(v, (struct fg_str){&c, 1}));
        return;
    }
    t->key = v->kind == KIND_BYTES ? keep_decoded(v, raw) : keep(v, raw);
    if (special || (v->kind == KIND_BYTES && !t->key.len))
        set_piece(v, t, keep(v, raw));
    else if (v->kind == KIND_BYTES)
        set_piece(v, t, t->key);
    else
        set_piece(v, t, memmem(raw.ptr, raw.len, BLANK, 3) ? keep_unescaped(v, raw) : t->key);
}

static int32_t index_token(struct fg_vocab *v, uint32_t id, struct fg_error *err)
{
    const struct token *t = &v->tokens[id];
    const struct fg_str piece = {v->pool + t->piece_at, t->piece_len};
    if ((t->attr & (ATTR_SPECIAL | ATTR_USER)) &&
        !fg_specials_add(&v->specials, piece, (int32_t)id, !(t->attr & ATTR_SPECIAL)))
        return fg_fail(err, FG_INVALID, "the special tokens are too many");
    if (t->key.len == 0 || (t->attr & (ATTR_SPECIAL | ATTR_BYTE)))
        return FG_OK;
    if (t->key.len > v->longest)
        v->longest = (uint32_t)t->key.len;
    if (!fg_index_add(&v->index, v->tokens, sizeof *t, &id))
        return fg_fail(err, FG_NO_MEMORY, "no memory for the vocabulary");
    return FG_OK;
}

/* Which single bytes have a token, and where blanks may stand inside one. */
static void note_bytes(struct fg_vocab *v, const struct raw *raw)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        const char c = (char)byte;
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        v->byte_token[byte] = v->kind == KIND_BYTES ? key_find(v, (struct fg_str){&c, 1})
                                                    : raw_find(raw, fg_str_of(name));
    }
    for (uint32_t id = 0; v->kind == KIND_SPM && id < v->count; id++) {
        const struct fg_str key = v->tokens[id].key;
        for (size_t i = 1; i + 3 <= key.len; i++)
            if (memcmp(key.ptr + i, BLANK, 3) == 0 &&
                (i < 3 || memcmp(key.ptr + i - 3, BLANK, 3) != 0))
                v->before_blank[(unsigned char)key.ptr[i - 1]] = true;
    }
}

static int32_t shape_tokens(struct fg_vocab *v, const struct raw *raw, struct fg_error *err)
{
    size_t total = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        if ((v->tokens[i].attr & ATTR_BYTE) && byte_of(raw->text[i]) < 0)
            return fg_fail(err, FG_INVALID, KEY "tokens: token %u is a byte but not <0xHH>", i);
        total += raw->text[i].len * 2;
    }
    if (total > UINT32_MAX / 2)
        return fg_fail(err, FG_INVALID, KEY "tokens: the vocabulary is too large");
    v->pool = malloc(total + 1);
    if (!v->pool)
        return fg_fail(err, FG_NO_MEMORY, "no memory for the vocabulary");
    int32_t rc = FG_OK;
    for (uint32_t i = 0; i < v->count && rc == FG_OK; i++) {
        shape_token(v, &v->tokens[i], raw->text[i]);
        rc = index_token(v, i, err);
    }
    if (rc == FG_OK)
        note_bytes(v, raw);
    return rc;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int32_t load(struct fg_vocab *v, const struct fg_gguf *g, struct raw *raw,
                    struct fg_error *err)
{
    int32_t rc = read_kind(v, g, err);
    if (rc == FG_OK && v->kind != KIND_SPM)
        rc = read_pre(v, g, err);
    if (rc == FG_OK)
        rc = read_texts(v, g, raw, err);
    if (rc == FG_OK)
        rc = read_types(v, g, err);
    if (rc == FG_OK)
        rc = read_scores(v, g, err);
    if (rc == FG_OK)
        rc = read_specials(v, g, raw, err);
    if (rc == FG_OK)
        rc = shape_tokens(v, raw, err);
    if (rc == FG_OK && v->kind != KIND_SPM)
        rc = bpe_load(v, g, err);
    return rc;
}

int32_t fg_vocab_open(const struct fg_gguf *g, struct fg_vocab **out, struct fg_error *err)
{
    struct fg_vocab *v = calloc(1, sizeof *v);
    if (!v)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a vocabulary");
    struct raw raw = {0};
    fg_index_init(&raw.index);
    fg_index_init(&v->index);
    const int32_t rc = load(v, g, &raw, err);
    fg_index_done(&raw.index);
    free(raw.text);
    if (rc != FG_OK) {
        fg_vocab_close(v);
        return rc;
    }
    *out = v;
    return FG_OK;
}
