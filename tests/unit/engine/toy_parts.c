/*
 * The rest of a toy engine, beside sched/toy.c: files, weights, a device. A path "toy..." is a
 * model; its name says what is wrong with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../sched/toy.h"
#include "engine/gguf/gguf.h"
#include "engine/plugin.h"
#include "toy_parts.h"
#include "util/error.h"

struct toy_parts toy_parts;

/* ---- device ---------------------------------------------------------------------------------- */

struct fg_dev {
    int threads;
};

static int32_t dev_open(json_t *config, struct fg_dev **out, struct fg_error *err)
{
    if (json_is_true(json_object_get(config, "broken")))
        return fg_fail(err, FG_DEVICE_LOST, "the toy device is broken");
    struct fg_dev *d = calloc(1, sizeof *d);
    assert_non_null(d);
    toy_parts.devices++;
    *out = d;
    return FG_OK;
}
static void dev_close(struct fg_dev *d)
{
    toy_parts.devices--;
    free(d);
}
static void dev_describe(struct fg_dev *d, struct fg_device *out)
{
    (void)d;
    snprintf(out->name, sizeof out->name, "toy");
    out->state = FG_DEVICE_READY;
    out->busy = out->celsius = out->watts = NAN;
}
static const char *dev_text(struct fg_dev *d)
{
    (void)d;
    return "toy device";
}
const struct fg_engine_device fg_engine_device = {.name = "toy",
                                                  .version = "1",
                                                  .open = dev_open,
                                                  .close = dev_close,
                                                  .describe = dev_describe,
                                                  .text = dev_text};

/* ---- file ------------------------------------------------------------------------------------ */

struct fg_gguf {
    char path[64];
};

int32_t fg_gguf_open(const char *path, struct fg_gguf **out, struct fg_error *err)
{
    if (strncmp(path, "toy", 3) != 0)
        return fg_fail(err, FG_NOT_FOUND, "no file \"%s\"", path);
    struct fg_gguf *g = calloc(1, sizeof *g);
    assert_non_null(g);
    snprintf(g->path, sizeof g->path, "%s", path);
    toy_parts.files++;
    *out = g;
    return FG_OK;
}
void fg_gguf_close(struct fg_gguf *g)
{
    if (g)
        toy_parts.files--;
    free(g);
}
static bool is(const struct fg_gguf *g, const char *what)
{
    return strstr(g->path, what) != NULL;
}
uint64_t fg_gguf_file_bytes(const struct fg_gguf *g)
{
    (void)g;
    return 1000;
}
uint64_t fg_gguf_tensor_count(const struct fg_gguf *g)
{
    (void)g;
    return 1;
}
const struct fg_gguf_tensor *fg_gguf_tensor_at(const struct fg_gguf *g, uint64_t index)
{
    static const struct fg_gguf_tensor t = {
        .name = {"w", 1}, .type = FG_Q8_0, .dims = 2, .shape = {64, 3, 1, 1}, .bytes = 204};
    (void)g;
    assert_int_equal(index, 0);
    return &t;
}
int32_t fg_gguf_u32(const struct fg_gguf *g, const char *key, uint32_t *out, struct fg_error *err)
{
    (void)err;
    if (strcmp(key, "toy.embedding_length") == 0)
        return *out = TOY_WIDTH, FG_OK;
    if (strcmp(key, "toy.pooling_type") == 0 && is(g, "last"))
        return *out = 3, FG_OK;
    return FG_NOT_FOUND;
}
int32_t fg_gguf_f32(const struct fg_gguf *g, const char *key, float *out, struct fg_error *err)
{
    (void)err;
    if (strcmp(key, "general.sampling.temp") == 0 && is(g, "greedy"))
        return *out = 0, FG_OK;
    return FG_NOT_FOUND;
}
int32_t fg_gguf_str(const struct fg_gguf *g, const char *key, struct fg_str *out,
                    struct fg_error *err)
{
    (void)err;
    if (strcmp(key, "general.architecture") == 0)
        return *out = FG_STR("toy"), FG_OK;
    if (strcmp(key, "tokenizer.chat_template") == 0 && is(g, "badtemplate"))
        return *out = FG_STR("{% bad"), FG_OK;
    return FG_NOT_FOUND;
}
json_t *fg_gguf_metadata(const struct fg_gguf *g, bool arrays)
{
    (void)g;
    return json_pack("{s:s, s:b}", "general.architecture", "toy", "arrays", arrays);
}
const char *fg_quant_file_type_name(uint32_t file_type)
{
    (void)file_type;
    return NULL;
}
const struct fg_quant_info *fg_quant_info(int32_t type)
{
    static const struct fg_quant_info q8 = {"Q8_0", 32, 34, true};
    return type == FG_Q8_0 ? &q8 : NULL;
}

/* ---- vocabulary, template, network ----------------------------------------------------------- */

int32_t fg_vocab_open(const struct fg_gguf *g, struct fg_vocab **out, struct fg_error *err)
{
    if (is(g, "badvocab"))
        return fg_fail(err, FG_UNSUPPORTED, "tokenizer model \"toy2\" is not known");
    *out = malloc(1);
    assert_non_null(*out);
    toy_parts.vocabs++;
    return FG_OK;
}
void fg_vocab_close(struct fg_vocab *v)
{
    toy_parts.vocabs--;
    free(v);
}
const char fg_template_chatml[] = "chatml";
int32_t fg_template_compile(struct fg_str source, struct fg_template **out, struct fg_error *err)
{
    if (!fg_str_is(source, "chatml"))
        return fg_fail(err, FG_INVALID, "line 1: unexpected end");
    *out = malloc(1);
    assert_non_null(*out);
    toy_parts.templates++;
    return FG_OK;
}
void fg_template_close(struct fg_template *t)
{
    toy_parts.templates--;
    free(t);
}
int32_t fg_net_check(const struct fg_gguf *g, struct fg_net_info *out, struct fg_error *err)
{
    (void)out;
    return is(g, "badnet") ? fg_fail(err, FG_UNSUPPORTED, "architecture \"x\" is not known")
                           : FG_OK;
}
int32_t fg_net_open(const struct fg_gguf *g, struct fg_dev *dev, void (*progress)(void *, float),
                    void *ctx, struct fg_net **out, struct fg_error *err)
{
    (void)dev;
    if (is(g, "badnet"))
        return fg_fail(err, FG_UNSUPPORTED, "architecture \"x\" is not known");
    progress(ctx, 0.5f);
    *out = toy_net_open();
    return FG_OK;
}
