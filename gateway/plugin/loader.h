/*
 * plugin/loader.h - a shared object, loaded and held against the contract. [control], and the main
 * thread of fg-plugin-host.
 */
#ifndef FG_PLUGIN_LOADER_H
#define FG_PLUGIN_LOADER_H

#include <fluxgate/plugin.h>

#include <stdbool.h>

/* The plugin's table, for the life of the process: modules are never unloaded, because their
 * threads may end late. Every failure is one message that names the file. */
int32_t fg_loader_open(const char *path, const struct fg_plugin **, struct fg_error *);
/* Only root and whoever runs us may be able to write the file or any folder above it. */
int32_t fg_loader_trust(const char *path, struct fg_error *);
/* A table as a plugin gave it, of the file `path`. */
int32_t fg_loader_check(const struct fg_plugin *, const char *path, struct fg_error *);

#endif
