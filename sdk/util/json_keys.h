/* util/json_keys.h - the reader's set of keys; for json.c only. */
#ifndef FG_UTIL_JSON_KEYS_H
#define FG_UTIL_JSON_KEYS_H

#include "util/json.h"

enum fg_json_keys_result { FG_JSON_KEY_NEW = 0, FG_JSON_KEY_TWICE = 1, FG_JSON_KEY_MEMORY = 2 };
/* Adds a key to the innermost object (frame); the frames below it tell what is hashed. */
int32_t fg_json_keys_add(struct fg_json *, struct fg_json_frame *, struct fg_str key);
/* Forgets the keys of the innermost object. */
void fg_json_keys_drop(struct fg_json *, struct fg_json_frame *);
void fg_json_keys_done(struct fg_json_keys *);

#endif
