/*
 * plugin/message.h - what the frames of wire.h mean: their types, and their payloads as blocks.
 *
 * gateway -> child   calls (id: of the call; each is answered by one REPLY) and words about jobs
 * child -> gateway   REPLY, what calls visit, EVENT (id: of the job), logs, a snapshot of numbers
 *
 * Every fg_..._view() takes a block that nobody vouches for and gives false when it is broken.
 */
#ifndef FG_PLUGIN_MESSAGE_H
#define FG_PLUGIN_MESSAGE_H

#include "plugin/block.h"

enum fg_message_type {
    /* calls, in the child on its control thread */
    FG_MSG_OPEN = 1,  /* fg_msg_open */
    FG_MSG_CLOSE = 2, /* then the child ends */
    FG_MSG_LIST = 3,
    FG_MSG_LOAD = 4,    /* fg_model_spec */
    FG_MSG_INFO = 5,    /* u64 model */
    FG_MSG_UNLOAD = 6,  /* u64 model */
    FG_MSG_INSPECT = 7, /* fg_msg_inspect */
    /* jobs, in the child on its main thread */
    FG_MSG_SUBMIT = 16, /* fg_msg_submit */
    FG_MSG_CANCEL = 17,
    FG_MSG_RELEASE = 18,
    FG_MSG_STOP = 19,   /* nobody listens */
    FG_MSG_PAUSE = 20,  /* u64: resumes sent when it was said; void when more came since */
    FG_MSG_RESUME = 21, /* u64: resumes sent with this one */
    FG_MSG_PING = 22,
    /* from the child */
    FG_MSG_HELLO = 64,    /* fg_msg_hello */
    FG_MSG_REPLY = 65,    /* fg_msg_reply */
    FG_MSG_PROGRESS = 66, /* float; of the call */
    FG_MSG_MODEL = 67,    /* fg_model_info; of the call */
    FG_MSG_JSON = 68,     /* text; of the call */
    FG_MSG_EVENT = 69,    /* fg_event */
    FG_MSG_LOG = 70,      /* text; id: level */
    FG_MSG_NUMBERS = 71,  /* fg_msg_numbers; id 1: a device changed */
    FG_MSG_PONG = 72,
};

#define FG_MSG_MAGIC 0x46474850u /* "FGHP" */

struct fg_msg_hello {
    uint32_t magic, abi;
    uint32_t event_bytes, request_bytes; /* of one build */
};
struct fg_msg_open {
    struct fg_str path, config_json;
};
struct fg_msg_reply {
    int32_t status;
    uint32_t can_inspect;        /* OPEN */
    uint64_t model;              /* LOAD */
    struct fg_str text;          /* of a failure */
    struct fg_str name, version; /* OPEN */
};
struct fg_msg_inspect {
    struct fg_str path;
    uint64_t flags;
};
struct fg_msg_submit {
    uint64_t model;
    struct fg_request request;
};
struct fg_msg_metric { /* strings with a NUL behind them */
    struct fg_str name, labels;
    double value;
};
struct fg_msg_numbers {
    const struct fg_device *devices;
    const struct fg_msg_metric *metrics;
    uint32_t device_count, metric_count;
};

/* Each returns the bytes of the block, and writes it unless block is NULL. */
size_t fg_open_pack(const struct fg_msg_open *, void *block);
size_t fg_reply_pack(const struct fg_msg_reply *, void *block);
size_t fg_inspect_pack(const struct fg_msg_inspect *, void *block);
size_t fg_spec_pack(const struct fg_model_spec *, void *block);
size_t fg_info_pack(const struct fg_model_info *, void *block);
size_t fg_submit_pack(const struct fg_msg_submit *, void *block);
size_t fg_numbers_pack(const struct fg_msg_numbers *, void *block);

bool fg_hello_view(struct fg_view *, struct fg_msg_hello *);
bool fg_open_view(struct fg_view *, struct fg_msg_open *);
bool fg_reply_view(struct fg_view *, struct fg_msg_reply *);
bool fg_inspect_view(struct fg_view *, struct fg_msg_inspect *);
bool fg_spec_view(struct fg_view *, struct fg_model_spec *);
bool fg_info_view(struct fg_view *, struct fg_model_info *);
bool fg_submit_view(struct fg_view *, struct fg_msg_submit *);
/* Texts of devices end; what is not fit for a page of metrics is left out. */
bool fg_numbers_view(struct fg_view *, struct fg_msg_numbers *);

#endif
