/*
 * conf/inner.h - what the files of conf/ share: values are judged by one set of functions,
 * whether they come from the file or from the environment.
 */
#ifndef FG_CONF_INNER_H
#define FG_CONF_INNER_H

#include "conf/conf.h"
#include "conf/schema.h"
#include "conf/tree.h"

/* Walks the tree along the schema: keys, types, bounds, and what single values must look like. */
int32_t fg_conf_check(const char *file, const struct fg_tree *root, struct fg_error *);
/* What is at fault with one value, in words ("..."), or NULL. out: room for those words. */
const char *fg_conf_judge(const char *path, struct fg_str text, char *out, size_t room);

/* keep_alive: a Go duration or a number of seconds; negative: for ever (-1). */
int32_t fg_conf_keep_alive(struct fg_str text, int64_t *ns, struct fg_error *);
/* "localhost" or a literal of 127.0.0.0/8 or ::1. */
bool fg_conf_is_loopback(struct fg_str address);

/* What the environment says of keys that the file leaves out; an empty variable is none. */
struct fg_str fg_env_get(const char *name); /* trimmed of blanks and quotes; {NULL, 0}: none */
int32_t fg_env_number(const char *name, const char *path, uint64_t *out, bool *found,
                      struct fg_error *);
/* A list with `separator`; *list stays NULL when the variable is not set. */
int32_t fg_env_list(const char *name, char separator, char ***list, uint32_t *count,
                    struct fg_error *);

/* Copies of paths: "~/" is the home, a relative one is below `base` (NULL: the working folder);
 * NULL when memory is gone. */
char *fg_conf_path(struct fg_str text, const char *base);
char *fg_conf_default_plugin_dir(void); /* <folder of this program>/../lib/fluxgate */
char *fg_conf_default_directory(void);  /* XDG_DATA_HOME/fluxgate/models */
char *fg_conf_default_store(void);      /* ~/.ollama/models; NULL: does not exist */

#endif
