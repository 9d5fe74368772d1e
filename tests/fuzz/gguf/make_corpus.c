/* Writes the seeds of the corpora gguf and tokenizer into a folder: make_corpus FOLDER. */
#include <stdio.h>
#include <string.h>

#include "small_vocab.h"

static void save(const char *folder, const char *name, struct fg_str bytes)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes.ptr, 1, bytes.len, f) != bytes.len)
        fprintf(stderr, "%s: not written\n", path);
    if (f)
        fclose(f);
}

static void save_values(const char *folder)
{
    static const int32_t numbers[] = {1, -1};
    static const char *const words[] = {"a", "", "\xc3\xa9"};
    struct build b;
    build_init(&b);
    build_str(&b, "general.architecture", "llama");
    build_u32(&b, "general.alignment", 64);
    build_bool(&b, "b", 1);
    build_f32(&b, "f", 0.5f);
    for (int32_t type = FG_GGUF_U8; type <= FG_GGUF_F64; type++) {
        char key[8];
        if (type == FG_GGUF_STRING || type == FG_GGUF_ARRAY)
            continue;
        snprintf(key, sizeof key, "k%d", type);
        build_key(&b, key, type);
        const size_t bytes = type <= FG_GGUF_I8 || type == FG_GGUF_BOOL ? 1
                             : type <= FG_GGUF_I16                      ? 2
                             : type <= FG_GGUF_F32                      ? 4
                                                                        : 8;
        build_raw(&b, "\1\0\0\0\0\0\0\0", bytes);
    }
    build_i32s(&b, "i", numbers, 2);
    build_strings(&b, "s", words, 3);
    save(folder, "values.gguf", build_finish(&b, 0));
    build_done(&b);
}

static void save_tensors(const char *folder)
{
    static const int32_t types[] = {FG_F32, FG_F16, FG_Q4_0, FG_Q8_0, FG_Q6_K};
    const uint64_t shape[] = {256, 2};
    uint64_t at = 0;
    struct build b;
    build_init(&b);
    build_str(&b, "general.architecture", "llama");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char name[16];
        snprintf(name, sizeof name, "blk.%zu.w", i);
        build_tensor(&b, name, types[i], 2, shape, at);
        const struct fg_quant_info *info = fg_quant_info(types[i]);
        at += (512 / info->block * info->block_bytes + 31) / 32 * 32;
    }
    save(folder, "tensors.gguf", build_finish(&b, at));
    build_done(&b);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"bytes.gguf", "chars.gguf", "spm.gguf"};
    if (argc != 2)
        return 1;
    save_values(argv[1]);
    save_tensors(argv[1]);
    for (int32_t kind = 0; kind < SMALL_KINDS; kind++) {
        struct build b;
        save(argv[1], names[kind], small_vocab(&b, kind));
        build_done(&b);
    }
    return 0;
}
