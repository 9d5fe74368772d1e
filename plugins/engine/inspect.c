/* Extension fluxgate.inspect/1: a look into a model file without loading its weights. */
#include "engine/inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/net.h"
#include "engine/token/vocab.h"
#include "util/error.h"
#include "util/str.h"

uint32_t fg_engine_can(const struct fg_gguf *g, struct fg_error *why)
{
    struct fg_net_info info;
    struct fg_vocab *vocab = NULL;
    if (fg_net_check(g, &info, why) != FG_OK || fg_vocab_open(g, &vocab, why) != FG_OK)
        return 0;
    fg_vocab_close(vocab);
    return FG_CAN_CHAT | FG_CAN_COMPLETE | FG_CAN_EMBED | FG_CAN_LOGPROBS | FG_CAN_RESUME |
           FG_CAN_TOKENIZE;
}

const char *fg_engine_quantization(const struct fg_gguf *g)
{
    uint32_t file_type;
    if (fg_gguf_u32(g, "general.file_type", &file_type, NULL) == FG_OK) {
        const char *name = fg_quant_file_type_name(file_type);
        if (name)
            return name;
    }
    uint64_t weights[64] = {0};
    int best = -1;
    for (uint64_t i = 0; i < fg_gguf_tensor_count(g); i++) {
        const struct fg_gguf_tensor *t = fg_gguf_tensor_at(g, i);
        if (t->type < 0 || t->type >= 64)
            continue;
        weights[t->type] += t->bytes;
        if (best < 0 || weights[t->type] > weights[best])
            best = t->type;
    }
    const struct fg_quant_info *info = best < 0 ? NULL : fg_quant_info(best);
    return info ? info->name : "";
}

uint32_t fg_engine_number(const struct fg_gguf *g, const char *name)
{
    struct fg_str arch;
    char key[256];
    uint32_t value = 0;
    if (fg_gguf_str(g, "general.architecture", &arch, NULL) != FG_OK || arch.len > 64)
        return 0;
    snprintf(key, sizeof key, "%.*s.%s", FG_STR_ARG(arch), name);
    (void)fg_gguf_u32(g, key, &value, NULL);
    return value;
}

uint64_t fg_engine_parameters(const struct fg_gguf *g)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < fg_gguf_tensor_count(g); i++) {
        const struct fg_gguf_tensor *t = fg_gguf_tensor_at(g, i);
        sum += t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3]; /* checked by the reader */
    }
    return sum;
}

static json_t *text_or_null(const json_t *metadata, const char *key)
{
    json_t *value = json_object_get(metadata, key);
    return json_is_string(value) ? json_incref(value) : json_null();
}

static json_t *info_of(const struct fg_gguf *g, const json_t *metadata)
{
    return json_pack("{s:o, s:I, s:I, s:s, s:I, s:I, s:I, s:o, s:o, s:o}", "architecture",
                     text_or_null(metadata, "general.architecture"), "parameters",
                     (json_int_t)fg_engine_parameters(g), "file_bytes",
                     (json_int_t)fg_gguf_file_bytes(g), "quantization", fg_engine_quantization(g),
                     "context", (json_int_t)fg_engine_number(g, "context_length"), "embedding",
                     (json_int_t)fg_engine_number(g, "embedding_length"), "layers",
                     (json_int_t)fg_engine_number(g, "block_count"), "size_label",
                     text_or_null(metadata, "general.size_label"), "basename",
                     text_or_null(metadata, "general.basename"), "license",
                     text_or_null(metadata, "general.license"));
}

static json_t *tensors_of(const struct fg_gguf *g)
{
    json_t *list = json_array();
    for (uint64_t i = 0; list && i < fg_gguf_tensor_count(g); i++) {
        const struct fg_gguf_tensor *t = fg_gguf_tensor_at(g, i);
        const struct fg_quant_info *type = fg_quant_info(t->type);
        json_t *shape = json_array();
        for (uint32_t d = 0; d < t->dims && d < 4; d++)
            json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
        json_t *name = json_stringn(t->name.ptr, t->name.len);
        json_array_append_new(list, json_pack("{s:o, s:s, s:o}", "name", name ? name : json_null(),
                                              "type", type ? type->name : "?", "shape", shape));
    }
    return list;
}

static json_t *describe(const struct fg_gguf *g, uint32_t flags)
{
    struct fg_error why = {0};
    const uint32_t can = fg_engine_can(g, &why);
    json_t *metadata = fg_gguf_metadata(g, flags & FG_INSPECT_ARRAYS);
    json_t *all = json_pack("{s:o, s:I, s:s, s:o}", "info", info_of(g, metadata), "can",
                            (json_int_t)can, "why", can ? "" : why.text, "chat_template",
                            text_or_null(metadata, "tokenizer.chat_template"));
    if (!all || json_object_set_new(all, "metadata", metadata) != 0) {
        json_decref(all);
        return NULL;
    }
    if ((flags & FG_INSPECT_TENSORS) && json_object_set_new(all, "tensors", tensors_of(g)) != 0) {
        json_decref(all);
        return NULL;
    }
    return all;
}

static int32_t inspect(struct fg_backend *backend, struct fg_str path, uint32_t flags,
                       fg_inspect_visit *visit, void *ctx, struct fg_error *err)
{
    (void)backend; /* a file says the same to every instance */
    struct fg_gguf *g = NULL;
    char *name = strndup(path.ptr ? path.ptr : "", path.len);
    if (!name)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a path");
    int32_t rc = fg_gguf_open(name, &g, err);
    free(name);
    if (rc != FG_OK)
        return rc;
    json_t *all = describe(g, flags);
    char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
    if (text)
        visit(ctx, fg_str_of(text));
    else
        rc = fg_fail(err, FG_NO_MEMORY, "no memory to describe the file");
    free(text);
    json_decref(all);
    fg_gguf_close(g);
    return rc;
}

const struct fg_inspect fg_engine_inspect = {.size = sizeof(struct fg_inspect), .inspect = inspect};
