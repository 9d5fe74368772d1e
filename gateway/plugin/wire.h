/*
 * plugin/wire.h - frames between the gateway and fg-plugin-host over a stream socket.
 *
 * A frame is a head of 16 bytes and a payload padded to 8; payloads above 64 KiB travel as a
 * sealed memfd beside a frame without payload. The gateway trusts no child: lengths, versions and
 * descriptors are checked here, what a payload says is checked in message.h.
 *
 *   sender  [any] threads append to it, whoever finds it idle writes; several frames, one write
 *   reader  [its thread] bytes in, frames out, in place
 */
#ifndef FG_PLUGIN_WIRE_H
#define FG_PLUGIN_WIRE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/list.h"

enum {
    FG_WIRE_VERSION = 1,
    FG_WIRE_INLINE = 64 << 10,
    FG_WIRE_MOST = 64 << 20, /* one payload */
    FG_WIRE_FDS = 8,         /* descriptors that came before their frame was read */
};
enum { FG_WIRE_MEMFD = 1 }; /* flags */

struct fg_wire_head {
    uint32_t len; /* of the payload in bytes, without padding */
    uint8_t version, type;
    uint16_t flags;
    uint64_t id; /* of the job, or of the call */
};

/* ---- sending ---- */

struct fg_wire_sender {
    pthread_mutex_t lock;
    struct fg_list chunks; /* [lock] */
    size_t bytes;          /* [lock] not yet written */
    uint64_t written;      /* [lock] bytes since the start: whether it moves */
    bool is_writing;       /* [lock] somebody is in flush */
    bool failed;           /* [lock] memory or the socket is gone */
    int fd;
};
enum fg_wire_flushed {
    FG_WIRE_DONE = 0,    /* all written, or somebody else is at it */
    FG_WIRE_BLOCKED = 1, /* wait for POLLOUT and flush again */
    FG_WIRE_FAILED = 2,
};
void fg_wire_sender_init(struct fg_wire_sender *, int fd);
void fg_wire_sender_done(struct fg_wire_sender *);
/* [any] Room for a frame's payload, to be filled before fg_wire_end(), which the same thread calls
 * without delay (the lock may be held between the two). NULL: too long, memory is gone (the sender
 * has failed then), or with limit: more than so many bytes would wait. */
void *fg_wire_begin(struct fg_wire_sender *, uint8_t type, uint64_t id, size_t len, size_t limit);
/* Returns how many bytes waited before this frame. */
size_t fg_wire_end(struct fg_wire_sender *, void *payload);
/* The two for what is already in one piece; false as begin's NULL. */
bool fg_wire_send(struct fg_wire_sender *, uint8_t type, uint64_t id, const void *payload,
                  size_t len);
/* Writes without waiting. may_block: also what needs a memfd first (not on a worker); else that is
 * left, as BLOCKED, to who may. */
int32_t fg_wire_flush(struct fg_wire_sender *, bool may_block);
size_t fg_wire_waiting(struct fg_wire_sender *);
uint64_t fg_wire_written(struct fg_wire_sender *); /* bytes since the start */

/* ---- receiving ---- */

struct fg_wire_reader {
    int fd;
    char *buf; /* 8-byte aligned, as every frame in it */
    size_t at, len, room;
    int fds[FG_WIRE_FDS];
    uint32_t fd_count;
    void *big; /* payload of the frame last given out, if it came in a memfd */
};
struct fg_wire_frame { /* valid until the next call on the reader */
    uint8_t type;
    uint64_t id;
    const char *data; /* 8-byte aligned */
    size_t len;
};
int32_t fg_wire_reader_init(struct fg_wire_reader *, int fd); /* FG_NO_MEMORY */
void fg_wire_reader_done(struct fg_wire_reader *);
/* Bytes read; 0: none now; -1: the other side is gone; -2: it sent more descriptors than fit. */
ssize_t fg_wire_read(struct fg_wire_reader *);
/* 1: a frame; 0: read on; -1: what came is no frame. */
int fg_wire_next(struct fg_wire_reader *, struct fg_wire_frame *);
/* The payload that came in a memfd becomes the caller's (free()); NULL: it did not. */
void *fg_wire_take_big(struct fg_wire_reader *);

#endif
