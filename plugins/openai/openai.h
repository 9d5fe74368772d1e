/*
 * openai/openai.h - what the files of openai.so share.
 *
 *   config.c   options -> struct fg_remote_config, the key from its place
 *   models.c   what the server has: configured names, and GET /models now and then
 *   plugin.c   the table
 *
 * The work is upstream's; a job never comes through here.
 */
#ifndef FG_OPENAI_OPENAI_H
#define FG_OPENAI_OPENAI_H

#include "upstream/openai.h"
#include "upstream/site.h"

struct fg_remote_model {
    char *ours, *theirs;
    uint32_t can, context, max_running;
};
struct fg_remote_models {
    struct fg_remote_model *list;
    uint32_t count;
};

struct fg_remote_config { /* read-only once open() is through */
    struct fg_url url;
    struct fg_client_times times;
    struct fg_openai_options dialect;
    struct fg_remote_models models; /* as configured */
    char *prefix;                   /* before the names that were found */
    char *ca_file;
    struct fg_buf fields;   /* header lines, the key's too */
    struct fg_str *secrets; /* the key, and the values of headers */
    uint32_t secret_count;
    bool verify, discover;
    uint32_t discover_s, keep_max, breaker_limit, breaker_ms, line_bytes, probe_ms;
    uint32_t can, context, max_running;
};
/* A message names the option and never repeats a key. */
int32_t fg_remote_config_parse(struct fg_str json, const struct fg_host *,
                               struct fg_remote_config *, struct fg_error *);
void fg_remote_config_done(struct fg_remote_config *);

struct fg_backend {
    const struct fg_host *host;
    struct fg_remote_config config;
    struct fg_site *site;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct fg_remote_models found; /* [lock] */
    uint64_t looks;                /* [lock] at the server's list that ended, well or not */
    bool is_known;                 /* [lock] one of them went well */
    char trouble[128];             /* [lock] how the last one went wrong; "" */

    uint32_t is_asked;     /* atomic: a look is wanted now */
    struct fg_fetch fetch; /* [io], as what follows */
    uint64_t look_ns;
    uint32_t failed_in_a_row;
};

/* models.c */
bool fg_remote_models_add(struct fg_remote_models *, const struct fg_remote_model *like,
                          struct fg_str ours, struct fg_str theirs);
void fg_remote_models_done(struct fg_remote_models *);
/* [io] The site's tick. */
uint64_t fg_remote_look(void *ctx, uint64_t now_ns);
/* [control] Waits until a look that begins now is over, or the time is. */
void fg_remote_look_now(struct fg_backend *, uint32_t ms);
/* [control] Waits for the first look only. */
void fg_remote_first_look(struct fg_backend *, uint32_t ms);
/* Visits each model once, configured ones first, until visit() answers false. */
void fg_remote_each(struct fg_backend *, bool (*visit)(void *ctx, const struct fg_remote_model *),
                    void *ctx);

#endif
