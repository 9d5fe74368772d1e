/*
 * store/scan.h - the models on disk: directories of *.gguf files and Ollama stores, read only.
 *
 * A scan reads directories, manifests and the small text layers; it never opens a weight file for
 * reading, that is a backend's work. Everything is opened below a directory descriptor without
 * following links (the configured directory itself may be a link), must be a regular file and has a
 * size limit. Waits on the disk: control threads only.
 */
#ifndef FG_STORE_SCAN_H
#define FG_STORE_SCAN_H

#include "util/arena.h"

enum {
    FG_STORE_MAX_MODELS = 10000,
    FG_STORE_MAX_MANIFEST = 256 << 10,
    FG_STORE_MAX_TEXT = 1 << 20, /* one template, system text or license */
};

struct fg_store_places { /* borrowed */
    char *const *directories;
    uint32_t directory_count;
    char *const *stores;
    uint32_t store_count;
};

struct fg_store_model {
    struct fg_str name, full_name; /* short display form, and with host and namespace */
    struct fg_str alias;           /* file name without .gguf; empty for a store's model */
    struct fg_str path;            /* of the GGUF */
    struct fg_str digest;          /* 64 hex digits: of the manifest's bytes; for a bare file of
                                      (name, size, mtime), not of its bytes: gigabytes would have
                                      to be read */
    uint64_t size_bytes;           /* config and layers; a bare file: its size */
    uint64_t modified_ns;          /* since 1970 */
    uint64_t file_bytes, file_modified_ns; /* of the GGUF itself: the key of what was inspected */
    struct fg_str family, quantization;    /* as the manifest's config says */
    struct fg_str system, license, template_go, params_json, messages_json, from;
    struct fg_str error; /* why it cannot be served; "" when nothing is known against it */
};
struct fg_store_list {
    struct fg_arena *arena;
    struct fg_store_model *items;
    uint32_t count, capacity, refused; /* refused: files and manifests that were skipped */
};

/* What cannot be read is skipped with a line in the log; only want of memory fails. */
int32_t fg_store_scan(const struct fg_store_places *, struct fg_store_list *, struct fg_error *);
void fg_store_list_done(struct fg_store_list *);
/* Changes when a directory changed: cheap, no file is opened. */
uint64_t fg_store_stamp(const struct fg_store_places *);

#endif
