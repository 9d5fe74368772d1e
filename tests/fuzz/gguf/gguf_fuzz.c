/* Any bytes as a model file: refused, or every value, tensor and token can be looked at. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/token/vocab.h"
#include "util/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned sum; /* what was read; keeps the reads */

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void read_bytes(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum += ((const unsigned char *)p)[i];
}

static void read_array(const struct fg_gguf *g, const char *key)
{
    struct fg_gguf_array list;
    if (fg_gguf_array(g, key, &list, NULL) != FG_OK || list.type != FG_GGUF_STRING)
        return;
    const void *cursor = list.data;
    for (uint64_t i = 0; i < list.count; i++) {
        const struct fg_str s = fg_gguf_next_string(&cursor);
        read_bytes(s.ptr, s.len);
    }
}

static void read_pairs(const struct fg_gguf *g)
{
    json_t *all = fg_gguf_metadata(g, true);
    const char *key;
    json_t *value;
    json_object_foreach(all, key, value)
    {
        uint32_t u;
        float f;
        bool flag;
        struct fg_str s;
        struct fg_error err = {0};
        (void)fg_gguf_u32(g, key, &u, &err);
        (void)fg_gguf_f32(g, key, &f, &err);
        (void)fg_gguf_bool(g, key, &flag, &err);
        if (fg_gguf_str(g, key, &s, &err) == FG_OK)
            read_bytes(s.ptr, s.len);
        read_array(g, key);
    }
    json_decref(all);
}

static void read_tensors(const struct fg_gguf *g, const uint8_t *data, size_t size)
{
    for (uint64_t i = 0; i < fg_gguf_tensor_count(g); i++) {
        const struct fg_gguf_tensor *t = fg_gguf_tensor_at(g, i);
        char name[64] = "";
        memcpy(name, t->name.ptr, t->name.len);
        check(fg_gguf_tensor_find(g, name) == t, "a tensor is not found by its name");
        check((const uint8_t *)t->data >= data &&
                  (const uint8_t *)t->data + t->bytes <= data + size,
              "a tensor lies outside the file");
        read_bytes(t->data, t->bytes);
    }
}

static void use_vocab(const struct fg_gguf *g)
{
    static const char text[] = "hello <|im_end|> 123 \xc3\xa9\xf0\x9f\x98\x80\n\n  x";
    struct fg_vocab *v = NULL;
    struct fg_error err = {0};
    if (fg_vocab_open(g, &v, &err) != FG_OK) {
        check(err.text[0] != 0, "a refusal without a message");
        return;
    }
    const struct fg_piece pieces[] = {{fg_str_of(text), false}, {fg_str_of(text), true}};
    struct fg_ids ids = {0};
    check(fg_vocab_encode(v, pieces, 2, true, 0, &ids, &err) == FG_OK, "a text is not encoded");
    for (size_t i = 0; i < ids.len; i++) {
        check(ids.ptr[i] >= 0 && (uint32_t)ids.ptr[i] < fg_vocab_size(v), "an id out of range");
        const struct fg_str s = fg_vocab_piece(v, ids.ptr[i], true);
        read_bytes(s.ptr, s.len);
    }
    fg_ids_done(&ids);
    fg_vocab_close(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_gguf *g = NULL;
    struct fg_error err = {0};
    if (fg_gguf_parse(data, size, &g, &err) != FG_OK) {
        check(err.text[0] != 0 && g == NULL, "a refusal without a message");
        return 0;
    }
    read_pairs(g);
    read_tensors(g, data, size);
    use_vocab(g);
    fg_gguf_close(g);
    return 0;
}
