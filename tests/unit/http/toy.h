/*
 * A real server over a toy handler, and raw sockets to ask it with.
 *
 *   /             replies "ok"              /echo    replies the body
 *   /later        replies after 30 ms       /wait    never replies
 *   /slow-stream  a line each 10 ms, for ever
 *   /flood?BYTES  a stream of that many bytes, obeying PAUSE
 *   /rude         a stream that does not obey PAUSE
 *   /big?BYTES    one reply of that many bytes
 *   /abort        begins a stream, then breaks it
 *   /stream       three chunks in one turn, then the end
 *   /refuse       401 on its head
 *   /headers      tries to split its reply
 */
#ifndef TOY_H
#define TOY_H

#include <stdbool.h>
#include <stdint.h>

#include "http/http.h"

struct toy {
    struct fg_http_server *server;
    struct fg_worker *workers[4];
    uint32_t worker_count;
    uint16_t port;
    /* atomic: what the handler saw */
    uint32_t heads, requests, overs, closed, drained, paused, stopped;
    uint64_t last_closed_ns, body_bytes;
    uint32_t most_unsent; /* not measured by the server: bytes written less bytes drained */
};
extern struct toy toy;

void toy_open(const struct fg_conf_limits *, uint32_t workers);
void toy_close(void);
uint32_t toy_seen(const uint32_t *counter);
/* Waits up to a second for the counter to reach value. */
void toy_await(const uint32_t *counter, uint32_t value);

int toy_connect(void);
int toy_connect_small(void); /* a small receive buffer */
void toy_send(int fd, const char *text);
void toy_send_bytes(int fd, const void *data, size_t len);
/* Reads until the peer closes, or for ms without a byte; terminated; length. *reset: how it ended. */
struct toy_reply {
    char text[16384];
    size_t len;
    bool closed, reset;
};
void toy_read(int fd, int ms, struct toy_reply *);
/* Reads one reply with Content-Length, or chunked to its end. */
void toy_read_one(int fd, struct toy_reply *);
int toy_status(const struct toy_reply *);
const char *toy_body(const struct toy_reply *);
/* One request on its own connection. */
void toy_ask(const char *request, struct toy_reply *);
uint64_t toy_now_ms(void);

#define toy_assert_has(reply, needle)                                                          \
    do {                                                                                       \
        if (!strstr((reply)->text, (needle)))                                                  \
            fail_msg("no \"%s\" in: %s", (needle), (reply)->text);                             \
    } while (0)
#define toy_assert_status(reply, status)                                                       \
    do {                                                                                       \
        if (toy_status(reply) != (status))                                                     \
            fail_msg("status %d, not %d: %s", toy_status(reply), (status), (reply)->text);     \
    } while (0)

#endif
