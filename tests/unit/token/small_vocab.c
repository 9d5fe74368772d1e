/* See small_vocab.h. */
#include "small_vocab.h"

#include <stdio.h>
#include <string.h>

#include "engine/token/letters.h"

#define MOST 512
#define SP   "\xe2\x96\x81"

struct list {
    char text[MOST][24];
    int32_t type[MOST];
    float score[MOST];
    uint64_t count;
};

static void add(struct list *l, const char *text, int32_t type, float score)
{
    snprintf(l->text[l->count], sizeof l->text[0], "%s", text);
    l->type[l->count] = type;
    l->score[l->count++] = score;
}

void small_letter(uint32_t byte, char out[5])
{
    uint32_t letter = byte;
    if (!fg_letters_is_plain(byte))
        letter = 256 + (byte <= 32 ? byte : byte == 173 ? 67 : byte - 127 + 33);
    out[fg_utf8_put(out, letter)] = '\0';
}

/* Two halves and what they make, best first; in terms of blanks as written in the file. */
static const char *const halves[][2] = {
    {"a", "a"}, {"aa", "aa"},   {"aaaa", "aaaa"}, {"_", "_"}, {"__", "__"}, {"h", "e"},
    {"l", "l"}, {"he", "ll"},   {"hell", "o"},    {"_", "w"}, {"o", "r"},   {"_w", "or"},
    {"l", "d"}, {"_wor", "ld"}, {"_", "hello"},   {"1", "2"}};
#define HALVES (sizeof halves / sizeof *halves)

/* '_' becomes the blank of the kind. */
static void spell(char *out, size_t room, int32_t kind, const char *text)
{
    size_t n = 0;
    for (; *text && n + 4 < room; text++) {
        if (*text != '_')
            out[n++] = *text;
        else
            n += (size_t)snprintf(out + n, room - n, "%s", kind == SMALL_BYTES ? "\xc4\xa0" : SP);
    }
    out[n] = '\0';
}

static void add_special(struct list *l)
{
    add(l, "<unk>", 2, 0);
    add(l, "<s>", 3, 0);
    add(l, "</s>", 3, 0);
    add(l, "<|im_start|>", 3, 0);
    add(l, "<|im_end|>", 3, 0);
    add(l, "<think>", 4, 0);
}

static void add_bytes(struct list *l, int32_t kind)
{
    char text[8];
    for (uint32_t byte = 0; byte < 256; byte++) {
        if (kind == SMALL_BYTES)
            small_letter(byte, text);
        else
            snprintf(text, sizeof text, "<0x%02X>", byte);
        add(l, text, kind == SMALL_BYTES ? 1 : 6, -1000);
    }
}

static void add_words(struct list *l, int32_t kind)
{
    char text[24], letter[2] = "a";
    if (kind != SMALL_BYTES) {
        add(l, SP, 1, -200);
        add(l, "1", 1, -201);
        add(l, "2", 1, -202);
        for (; *letter <= 'z'; ++*letter)
            add(l, letter, 1, -100 - (float)*letter);
        add(l, "\xc3\xa9", 1, -300);
        add(l, "\n", 1, -301);
    }
    for (size_t i = 0; i < HALVES; i++) {
        char both[24];
        snprintf(both, sizeof both, "%s%s", halves[i][0], halves[i][1]);
        spell(text, sizeof text, kind, both);
        add(l, text, 1, -(float)i);
    }
}

static void write_merges(struct build *b, int32_t kind)
{
    build_array(b, "tokenizer.ggml.merges", FG_GGUF_STRING, HALVES);
    for (size_t i = 0; i < HALVES; i++) {
        char left[16], right[16], line[40];
        spell(left, sizeof left, kind, halves[i][0]);
        spell(right, sizeof right, kind, halves[i][1]);
        snprintf(line, sizeof line, "%s %s", left, right);
        build_str_raw(b, fg_str_of(line));
    }
}

struct fg_str small_vocab(struct build *b, int32_t kind)
{
    static const char *const models[] = {"gpt2", "gemma4", "llama"};
    static struct list l; /* too large for a stack; tests are one thread */
    memset(&l, 0, sizeof l);
    add_special(&l);
    add_bytes(&l, kind);
    add_words(&l, kind);
    build_init(b);
    build_str(b, "general.architecture", "llama");
    build_str(b, "tokenizer.ggml.model", models[kind]);
    if (kind == SMALL_BYTES)
        build_str(b, "tokenizer.ggml.pre", "gpt-2");
    build_array(b, "tokenizer.ggml.tokens", FG_GGUF_STRING, l.count);
    for (uint64_t i = 0; i < l.count; i++)
        build_str_raw(b, fg_str_of(l.text[i]));
    build_i32s(b, "tokenizer.ggml.token_type", l.type, l.count);
    build_f32s(b, "tokenizer.ggml.scores", l.score, l.count);
    if (kind != SMALL_SPM)
        write_merges(b, kind);
    build_u32(b, "tokenizer.ggml.bos_token_id", SMALL_BOS);
    build_u32(b, "tokenizer.ggml.eos_token_id", SMALL_EOS);
    build_u32(b, "tokenizer.ggml.unknown_token_id", SMALL_UNK);
    return build_finish(b, 0);
}
