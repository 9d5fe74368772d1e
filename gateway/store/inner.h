/* store/inner.h - between the files of store/ only. */
#ifndef FG_STORE_INNER_H
#define FG_STORE_INNER_H

#include <sys/stat.h>

#include "store/scan.h"

/* Opens a regular file below dir without following a link or waiting on a FIFO. -1: not there, or
 * not a regular file. */
int fg_store_open_file(int dir, const char *name, struct stat *st);
/* -1: not there, or a link. */
int fg_store_open_dir(int dir, const char *name);
/* The whole file, at most limit bytes. False: longer, or unreadable. */
bool fg_store_read(int fd, size_t limit, struct fg_buf *out);
void fg_store_sha256_hex(struct fg_str bytes, char out[65]);
uint64_t fg_store_mtime_ns(const struct stat *);
/* A cleared item at the end; NULL: full or out of memory. */
struct fg_store_model *fg_store_add(struct fg_store_list *);
bool fg_store_has(const struct fg_store_list *, struct fg_str full_name);
void fg_store_scan_ollama(const char *root, struct fg_store_list *);

#endif
