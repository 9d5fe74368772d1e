/*
 * store/name.h - model names: the grammar, the defaults, the short and the full form.
 *
 *   [scheme://][host/][namespace/]model[:tag]
 *
 * Names come from clients and from directories; nothing but a name that passed here is ever used
 * as a part of a path. Pure functions, any thread.
 */
#ifndef FG_STORE_NAME_H
#define FG_STORE_NAME_H

#include "util/str.h"

enum { FG_NAME_MAX = 256 /* bytes of a whole name */, FG_NAME_ROOM = 512 /* any form, with NUL */ };

struct fg_name { /* slices of the text, or constants where a part was left out */
    struct fg_str host, space, model, tag;
};

/* False: the text fits no grammar. */
bool fg_name_parse(struct fg_str text, struct fg_name *out);
enum fg_name_part { FG_NAME_HOST = 0, FG_NAME_SPACE = 1, FG_NAME_MODEL = 2, FG_NAME_TAG = 3 };
bool fg_name_part_ok(int32_t part, struct fg_str text);
/* Both write at most room bytes with a NUL and return the length; 0 when it did not fit. */
size_t fg_name_full(const struct fg_name *, char *out, size_t room);
size_t fg_name_short(const struct fg_name *, char *out, size_t room);
/* "SmolLM2-135M-Instruct.Q4_1.gguf" -> "smollm2-135m-instruct:q4_1"; the tag is a quantization
 * name at the end of the file name, else "latest". 0: no name can be made of it. */
size_t fg_name_of_file(struct fg_str file, char *out, size_t room);
/* A name that means somebody else's machine (":cloud", "-cloud"); never a local model. */
bool fg_name_is_cloud(const struct fg_name *);
/* ^sha256[:-][0-9a-f]{64}$, the whole string; hex points at the digits. */
bool fg_digest_parse(struct fg_str text, struct fg_str *hex);

#endif
