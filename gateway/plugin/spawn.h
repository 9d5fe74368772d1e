/*
 * plugin/spawn.h - the child's process: started with nothing of ours but a socket, ended, reaped.
 *
 * The kernel ends the child when the thread that started it ends (PR_SET_PDEATHSIG), so that must
 * be one that lives as long as the backend: its control thread.
 */
#ifndef FG_PLUGIN_SPAWN_H
#define FG_PLUGIN_SPAWN_H

#include <fluxgate/plugin.h>

#include <stdbool.h>

struct fg_child {
    int32_t pid; /* 0: none, or reaped */
    int socket;  /* ours, non-blocking */
    int output;  /* what the child writes to stdout and stderr, non-blocking */
    int pidfd;   /* readable once it has ended; -1: the kernel has none */
};

int32_t fg_child_start(const char *host_path, const char *backend, struct fg_child *,
                       struct fg_error *);
/* Ends the child's whole process group and reaps it. grace_ms: it may be about to end by itself,
 * and how it did is worth knowing. how: for people. */
void fg_child_end(struct fg_child *, uint32_t grace_ms, char *how, size_t room);
void fg_child_close(struct fg_child *); /* the descriptors */

#endif
