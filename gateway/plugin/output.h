/*
 * plugin/output.h - what a child writes to stdout and stderr, as lines of our log: cut, escaped and
 * not more than so much a second. One thread.
 */
#ifndef FG_PLUGIN_OUTPUT_H
#define FG_PLUGIN_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_output {
    int fd; /* non-blocking */
    char line[1024];
    size_t len;
    bool is_cut; /* the rest of this line is thrown away */
    uint64_t second, bytes, dropped;
};
/* Reads what is there; false: the other end is closed. */
bool fg_output_drain(struct fg_output *, const char *backend, uint64_t now_ns);
/* Whether so many more bytes may be logged in this second. */
bool fg_output_allow(struct fg_output *, size_t bytes, const char *backend, uint64_t now_ns);

#endif
