/*
 * fluxgate/ext/inspect.h - what a model file says of itself, without loading its weights.
 *
 * Plugin side, asked for with extension(backend, FG_EXT_INSPECT). The gateway never parses model
 * files itself (they are hostile input); it asks a backend, which may live in a child process.
 */
#ifndef FLUXGATE_EXT_INSPECT_H
#define FLUXGATE_EXT_INSPECT_H

#include <fluxgate/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FG_EXT_INSPECT "fluxgate.inspect/1"

enum { FG_INSPECT_ARRAYS = 1, /* metadata arrays whole; else arrays over 16 entries are null */
       FG_INSPECT_TENSORS = 2 /* add "tensors" */ };

/*
 * json is one object, borrowed for the call:
 * {"info":      {"architecture","parameters","file_bytes","quantization","context","embedding",
 *                "layers","size_label"|null,"basename"|null,"license"|null},
 *  "can":       FG_CAN_* bits this engine has for the file, 0 when it cannot run it,
 *  "why":       "" or why it cannot run it,
 *  "metadata":  the GGUF metadata as flat keys, long arrays null unless asked,
 *  "chat_template": text or null,
 *  "tensors":   [{"name","type","shape":[...]}] when asked}
 */
typedef void fg_inspect_visit(void *ctx, struct fg_str json);

struct fg_inspect {
    uint32_t size;
    int32_t (*inspect)(struct fg_backend *, struct fg_str path, uint32_t flags,
                       fg_inspect_visit *, void *ctx, struct fg_error *);          /* [control] */
};

#ifdef __cplusplus
}
#endif
#endif
