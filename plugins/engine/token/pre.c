/*
 * engine/token/pre.c - the table of published pre-tokenizers, and their use through PCRE2.
 *
 * The expressions are those that the models' own tokenizer files carry (or what llama.cpp made of
 * them where the two agree), rewritten where PCRE2 would need quadratic time: every expression here
 * is linear over any text. \p{..} and \s follow Unicode (UCP). Not here, and refused by name: those
 * that need look-ahead over whole runs of digits (superbpe, tiny_aya, afmoe) or code of their own
 * (kimi-k2).
 *
 * JIT where the system allows it. A match needs no stack to speak of: all repetition is over single
 * characters. Should one run out all the same, the interpreter takes over, on the heap.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/token/pre.h"

#include <pcre2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/str.h"

#define MOST 6 /* expressions of one pre-tokenizer */

/* ---- the table ------------------------------------------------------------------------------- */

#define CONTRACTIONS "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define GPT2         "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define SPACES       "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* The family of GPT-4's expression; digits: how many go together. */
#define GPT4(digits)                                                                               \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits                                    \
                 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
/* Its successor: a word ends where capitals begin again. */
#define UPPER "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define CAMEL(end)                                                                                 \
    "[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]*[" LOWER "]+" end "|[^\\r\\n\\p{L}\\p{N}]?[" UPPER          \
    "]+[" LOWER "]*" end
#define GPT4O(end, digits) CAMEL(end) "|\\p{N}" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define MARKS              "!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~"
#define DEEPSEEK3                                                                                  \
    "[" MARKS "][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"                             \
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES
#define KANA     "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
#define CJK      "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
#define NO_MARKS " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{964}\\x{6D4}\\x{60C})]+"

/* Letters with case, as DeepSeek's first tokenizer lists them (an old edition of Unicode). */
#define CASED                                                                                      \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}"                 \
    "\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}"         \
    "\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}"                  \
    "\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}"                       \
    "\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"                 \
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}"                 \
    "\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}"                 \
    "\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}"         \
    "\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}"                           \
    "\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}"                 \
    "\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}"          \
    "\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}"                  \
    "\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}"         \
    "\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}"                  \
    "\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}"                 \
    "\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}"                 \
    "\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}"         \
    "\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"

struct rule {
    const char *names; /* between blanks */
    const char *expr[MOST];
    struct fg_pre_facts facts;
};
static const struct rule rules[] = {
    {" llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano ",
     {GPT4("{1,3}")},
     {.ignores_merges = true, .adds_bos = true}},
    {" dbrx smaug-bpe glm4 chatglm-bpe ", {GPT4("{1,3}")}, {0}},
    {" qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan grok-2 solar-open ",
     {GPT4("")},
     {0}},
    {" qwen35 ",
     {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
                   "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES},
     {0}},
    {" laguna ", {"[^\\n]+|[\\n]+", GPT4("")}, {0}},
    {" minicpm5 ", {"\\p{N}{1,3}", GPT4("+")}, {.ignores_merges = true}},
    {" seed-coder ",
     {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
                   "| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES},
     {0}},
    {" bailingmoe bailingmoe2 llada-moe ",
     {"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
      "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"},
     {0}},
    {" tekken ", {GPT4O("", "")}, {.ignores_merges = true, .adds_bos = true}},
    {" gpt-4o llama4 kanana2 talkie minimax-m2 ", {GPT4O(CONTRACTIONS "?", "{1,3}")}, {0}},
    {" granite-embed-multi-97m ", {GPT4O(CONTRACTIONS "?", "{1,3}")}, {.ignores_merges = true}},
    {" gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert mpt "
     "olmo jais trillion granite-docling exaone4 jina-v1-en jina-v2-code roberta-bpe ",
     {GPT2},
     {0}},
    {" starcoder refact command-r smollm codeshell exaone minerva-7b mellum2 ",
     {"\\p{N}", GPT2},
     {0}},
    {" falcon ", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}, {0}},
    {" default ", {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, {0}},
    {" deepseek-llm ",
     {"[\\r\\n]", "\\s?[" CASED "]+",
      "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+",
      "(?<!\\s)\\s+\\z", CJK, "\\p{N}+"},
     {0}},
    {" deepseek-coder ", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK, "\\p{N}"}, {0}},
    {" deepseek-v3 hunyuan-dense joyai-llm ", {"\\p{N}{1,3}", KANA, DEEPSEEK3}, {0}},
    {" poro-chat bloom gpt3-finnish ", {NO_MARKS}, {0}},
    {" viking ", {NO_MARKS, "\\p{N}"}, {0}},
    {" gemma4 granite-embed-multi-311m ", {"[^\\n]+|[\\n]+"}, {.over_chars = true}},
};

/* ---- use ------------------------------------------------------------------------------------- */

struct fg_pre {
    uint32_t count;
    bool is_jit[MOST];
    pcre2_code *code[MOST];
    pcre2_match_context *context; /* shared, read-only: no limits, the expressions are linear */
};

static const struct rule *find(struct fg_str name)
{
    char key[64];
    const int n = snprintf(key, sizeof key, " %.*s ", FG_STR_ARG(name));
    if (name.len == 0 || n < 0 || (size_t)n >= sizeof key || memchr(name.ptr, ' ', name.len))
        return NULL;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strstr(rules[i].names, key))
            return &rules[i];
    return NULL;
}

static int32_t compile(struct fg_pre *p, const char *expr, struct fg_error *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *made = pcre2_compile((PCRE2_SPTR)expr, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &code, &at, NULL);
    if (!made)
        return fg_fail(err, FG_INTERNAL, "pre-tokenizer: error %d at %zu of an expression", code,
                       (size_t)at);
    p->is_jit[p->count] = pcre2_jit_compile(made, PCRE2_JIT_COMPLETE) == 0;
    p->code[p->count++] = made;
    return FG_OK;
}

int32_t fg_pre_open(struct fg_str name, struct fg_pre **out, struct fg_pre_facts *facts,
                    struct fg_error *err)
{
    const struct rule *rule = find(name);
    if (!rule)
        return fg_fail(err, FG_UNSUPPORTED, "pre-tokenizer \"%.*s\" is not supported",
                       (int)(name.len < 64 ? name.len : 64), name.ptr);
    struct fg_pre *p = calloc(1, sizeof *p);
    if (!p)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a pre-tokenizer");
    int32_t rc = FG_OK;
    p->context = pcre2_match_context_create(NULL);
    if (!p->context)
        rc = fg_fail(err, FG_NO_MEMORY, "no memory for a pre-tokenizer");
    for (int i = 0; rc == FG_OK && i < MOST && rule->expr[i]; i++)
        rc = compile(p, rule->expr[i], err);
    if (rc != FG_OK) {
        fg_pre_close(p);
        return rc;
    }
    pcre2_set_match_limit(p->context, UINT32_MAX);
    pcre2_set_heap_limit(p->context, UINT32_MAX);
    pcre2_set_depth_limit(p->context, UINT32_MAX);
    *facts = rule->facts;
    *out = p;
    return FG_OK;
}

void fg_pre_close(struct fg_pre *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; i < p->count; i++)
        pcre2_code_free(p->code[i]);
    pcre2_match_context_free(p->context);
    free(p);
}

struct split {
    const struct fg_pre *pre;
    pcre2_match_data *match;
    const char *text;
    bool (*word)(void *ctx, size_t at, size_t len);
    void *ctx;
    int error; /* of PCRE2 */
};

/* Where the expression matches next in a chunk, seen as a text of its own. */
static bool next_match(struct split *s, uint32_t level, const char *chunk, size_t len, size_t from,
                       size_t *begin, size_t *end)
{
    const pcre2_code *code = s->pre->code[level];
    const PCRE2_SPTR subject = (PCRE2_SPTR)chunk;
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (s->pre->is_jit[level])
        rc = pcre2_jit_match(code, subject, len, from, 0, s->match, s->pre->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(code, subject, len, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->match,
                         s->pre->context);
    if (rc < 0) {
        if (rc != PCRE2_ERROR_NOMATCH)
            s->error = rc;
        return false;
    }
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->match);
    *begin = at[0];
    *end = at[1];
    return *end > *begin;
}

/* Matches and gaps go to the next level; at most MOST deep. */
static bool split_chunk(struct split *s, uint32_t level, size_t at, size_t len)
{
    if (len == 0)
        return true;
    if (level == s->pre->count)
        return s->word(s->ctx, at, len);
    size_t from = 0, begin, end;
    while (from < len && next_match(s, level, s->text + at, len, from, &begin, &end)) {
        if (!split_chunk(s, level + 1, at + from, begin - from) ||
            !split_chunk(s, level + 1, at + begin, end - begin))
            return false;
        from = end;
    }
    return !s->error && split_chunk(s, level + 1, at + from, len - from);
}

int32_t fg_pre_split(const struct fg_pre *p, struct fg_str text,
                     bool (*word)(void *ctx, size_t at, size_t len), void *ctx,
                     struct fg_error *err)
{
    struct split s = {.pre = p, .text = text.ptr, .word = word, .ctx = ctx};
    s.match = pcre2_match_data_create(1, NULL);
    if (!s.match)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a pre-tokenizer");
    split_chunk(&s, 0, 0, text.len);
    pcre2_match_data_free(s.match);
    if (s.error)
        return fg_fail(err, s.error == PCRE2_ERROR_NOMEMORY ? FG_NO_MEMORY : FG_INTERNAL,
                       "pre-tokenizer: matching failed (%d)", s.error);
    return FG_OK;
}
