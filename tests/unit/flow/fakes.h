/*
 * A world for the hub's tests: one worker and one control thread that turn only when the test says
 * so, one backend whose plugin does what a script says. fakes.c defines the functions of loop/,
 * plugin/ and obs/ that flow/ calls.
 */
#ifndef FG_TEST_FLOW_FAKES_H
#define FG_TEST_FLOW_FAKES_H

#include "flow/hub.h"
#include "gpu/gpu.h"
#include "plugin/stream.h"

struct fake {
    int32_t state; /* of the backend */
    uint32_t generation, revision;
    int32_t load_status; /* what load() answers */
    int32_t submit_status;
    uint32_t max_running;
    uint32_t loads, unloads, submits, cancels, releases, resumes, live_jobs, live_models;
    uint32_t last_context;
    struct fg_stream *streams[64]; /* of the jobs, by number of submit */
    const char *inspect_json;      /* NULL: the plugin cannot look into files */
    uint32_t inspects;
    bool is_weightless;    /* its models take no memory: they are somewhere else */
    const char *own_model; /* what list() tells; NULL: nothing */
    uint32_t lists;
    char loaded_name[64], loaded_path[128];
    bool cancel_ends;     /* cancel() emits DONE/CANCELLED */
    uint32_t backends;    /* 1: "toy"; 2: "spare" as well, which does what toy does */
    int32_t spare_state;
    const char *loaded_on; /* name of the backend of the last load */
    uint32_t restarts, gpu_restarts, gpu_looks; /* bits of backends, of cards; count */
    struct fg_gpus *gpus; /* what the cards say; NULL: there is no such thing */
    bool control_stopped; /* the control thread takes no tasks: a load that lasts */
};
extern struct fake fake;

void fake_reset(void);
struct fg_worker *fake_worker(void);
struct fg_registry *fake_registry(void);
struct fg_backend_slot *fake_slot(void);
/* So many cards that are well; freed with the world. Also the hub's, after fg_hub_attach_gpu(). */
struct fg_gpus *fake_cards(uint32_t count);
struct fg_gpu *fake_gpu(void);
void fake_cards_changed(void); /* as the sampler tells it */
void fake_turn(void); /* worker and control run what is there */
void fake_text(uint32_t job, const char *text);
void fake_started(uint32_t job);
void fake_done(uint32_t job);
void fake_failed(uint32_t job, int32_t status, const char *text);
void fake_done_world(void);

#endif
