/*
 * engine/inspect.h - what a model file says of itself, as JSON and as limits. [control]
 */
#ifndef FG_ENGINE_INSPECT_H
#define FG_ENGINE_INSPECT_H

#include <fluxgate/ext/inspect.h>
#include <fluxgate/plugin.h>

#include "engine/gguf/gguf.h"

/* FG_CAN_* bits of a file this engine can run; 0 with why when it cannot. */
uint32_t fg_engine_can(const struct fg_gguf *, struct fg_error *why);
/* "Q4_1", from general.file_type or from the type most weights have. Constant. */
const char *fg_engine_quantization(const struct fg_gguf *);
/* "<architecture>.<name>" as a number; 0 when it is not there. */
uint32_t fg_engine_number(const struct fg_gguf *, const char *name);
uint64_t fg_engine_parameters(const struct fg_gguf *);

extern const struct fg_inspect fg_engine_inspect;

#endif
