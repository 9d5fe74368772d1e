/*
 * plugin/remote.h - a plugin in a child process, behind the same table as one in ours.
 *
 * One instance is one life of one child: when the child ends, every job in it gets exactly one
 * FAILED/DEVICE_LOST, every call that waits returns FG_DEVICE_LOST, and the instance stays that
 * way. Its owner closes it and opens another. close() may come while models of a dead child are
 * still held; the memory goes with the last of them.
 */
#ifndef FG_PLUGIN_REMOTE_H
#define FG_PLUGIN_REMOTE_H

#include <fluxgate/plugin.h>

#include <stdbool.h>

struct fg_remote_ask {
    const char *name;        /* of the backend, for logs and the process list */
    const char *host_path;   /* fg-plugin-host */
    const char *plugin_path; /* of the .so */
    const char *config_json;
    const struct fg_host *host; /* borrowed for the instance's life; its log and device_changed */
    void (*gone)(void *ctx, const char *reason); /* [its own thread] once, before jobs hear it */
    void *ctx;
    uint64_t load_timeout_ns; /* without progress; the others: 0 means the default */
    uint64_t call_timeout_ns; /* any other call: 60 s */
    uint64_t hang_ns;         /* jobs run and no event comes: 60 s */
    uint64_t write_ns;        /* the child takes nothing off its socket: 5 s */
};

/* [control] Starts the child, loads the plugin there and opens it. FG_DEVICE_LOST: the child ended
 * (gone() is not called then); another status: the plugin is no good or refused. *pid is set. */
int32_t fg_remote_open(const struct fg_remote_ask *, const struct fg_plugin **,
                       struct fg_backend **, int32_t *pid, struct fg_error *);
/* [any] Ends the child; everything else follows on its thread. */
void fg_remote_kill(struct fg_backend *, const char *reason);

#endif
