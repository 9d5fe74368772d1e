/* A scripted world around gateway/api: exchanges that record replies, a hub that plays a script. */
#ifndef FG_TEST_API_WORLD_H
#define FG_TEST_API_WORLD_H

#include "api/api.h"

struct fg_exchange {
    struct fg_http_request request;
    struct fg_http_header headers[8];
    uint32_t header_count;
    void *user;
    int status;
    char type[64];
    struct fg_buf reply_headers, body; /* "name: value\n" each */
    bool begun, ended, aborted, over_during_write;
    int32_t flow; /* what write answers */
    uint32_t writes;
};

struct world {
    struct fg_api *api;
    struct fg_exchange x;
    struct fg_model_entry models[3]; /* smol:135m, vec:latest (embeds only), a/b:c */
    /* the script: plays synchronously inside fg_job_start unless is_deferred */
    const struct fg_event *events;
    uint32_t event_count;
    struct fg_job_end end;
    bool is_deferred;
    uint32_t pings;
    /* what was asked */
    uint32_t looks;         /* fg_hub_look(): answered at once, or by world_look() */
    bool look_is_deferred;
    bool comes_late;        /* models[2] is there only after a look */
    uint32_t jobs, cancels, pauses, unpauses, unloads;
    struct fg_job_ask ask; /* the running or last one; request only while it lives */
    struct fg_arena *arena;
    char asked_model[64];
};

extern struct world world;

int world_open(void **state);
int world_close(void **state);
/* Runs one whole request; body NULL: none. Headers set before by world_header(). */
void world_send(int32_t method, const char *path, const char *body);
void world_header(const char *name, const char *value);
void world_script(const struct fg_event *, uint32_t count);
void world_play(void);            /* the deferred job's events */
void world_finish(void);          /* and its end */
void world_look(void);            /* the deferred look is over */
void world_leave(void);           /* the client closes */
const char *world_body(void);     /* NUL-terminated */
const char *world_reply_header(const char *name); /* "" none; static buffer */

#endif
