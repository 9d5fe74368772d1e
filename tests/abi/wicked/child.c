/*
 * Stands in for fg-plugin-host; argv[1] (the backend's name) says how to misbehave:
 *   exit, silent            ends at once; never greets
 *   garbage                 bytes that are no frames
 *   stranger                greets as another build
 *   offsets                 greets, opens, and sends an event whose pointers lead outside
 *   huge, unsealed, pipe    payloads that are too long, in a memfd that can change, in a pipe
 *   fds                     descriptors that no frame asks for
 *   orphan                  leaves a grandchild that holds the socket
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "plugin/message.h"
#include "plugin/wire.h"

static void send_fd(int fd, const void *data, size_t len)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control.room};
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    sendmsg(3, &m, MSG_NOSIGNAL);
}

static void send_all(struct fg_wire_sender *s)
{
    while (fg_wire_flush(s, true) == FG_WIRE_BLOCKED)
        usleep(100);
}

static void greet(struct fg_wire_sender *s, uint32_t event_bytes)
{
    const struct fg_msg_hello hello = {.magic = FG_MSG_MAGIC,
                                       .abi = FG_ABI,
                                       .event_bytes = event_bytes,
                                       .request_bytes = sizeof(struct fg_request)};
    fg_wire_send(s, FG_MSG_HELLO, 0, &hello, sizeof hello);
    send_all(s);
}

static void accept_open(struct fg_wire_sender *s)
{
    const struct fg_msg_reply reply = {.name = {"fake", 4}, .version = {"1", 1}};
    char block[256] __attribute__((aligned(16)));
    if (read(3, block, sizeof block) <= 0) /* OPEN, which is call 1 */
        exit(1);
    fg_wire_send(s, FG_MSG_REPLY, 1, block, fg_reply_pack(&reply, block));
    send_all(s);
}

int main(int argc, char **argv)
{
    struct fg_wire_sender s;
    const char *how = argc > 1 ? argv[1] : "exit";
    fg_wire_sender_init(&s, 3);
    if (strcmp(how, "exit") == 0)
        return 7;
    if (strcmp(how, "garbage") == 0) {
        const char text[] = "HTTP/1.1 200 OK\r\nthis is no frame at all";
        send(3, text, sizeof text, MSG_NOSIGNAL);
    } else if (strcmp(how, "stranger") == 0) {
        greet(&s, 1);
    } else if (strcmp(how, "silent") != 0) {
        greet(&s, sizeof(struct fg_event));
        accept_open(&s);
    }
    struct fg_wire_head head = {
        .len = 1 << 20, .version = FG_WIRE_VERSION, .type = FG_MSG_EVENT, .flags = FG_WIRE_MEMFD};
    if (strcmp(how, "offsets") == 0) {
        struct fg_event ev = {
            .size = sizeof ev, .kind = FG_EV_TEXT, .text = {(const char *)0x1000, 1 << 20}};
        fg_wire_send(&s, FG_MSG_EVENT, 1, &ev, sizeof ev);
        send_all(&s);
    } else if (strcmp(how, "huge") == 0) {
        head.flags = 0;
        send(3, &head, sizeof head, MSG_NOSIGNAL);
    } else if (strcmp(how, "unsealed") == 0) {
        int fd = memfd_create("x", MFD_ALLOW_SEALING);
        if (ftruncate(fd, 1 << 20) == 0)
            send_fd(fd, &head, sizeof head);
    } else if (strcmp(how, "pipe") == 0) {
        int fds[2];
        if (pipe(fds) == 0)
            send_fd(fds[0], &head, sizeof head);
    } else if (strcmp(how, "fds") == 0) {
        fg_wire_send(&s, FG_MSG_PONG, 0, NULL, 0);
        const struct fg_wire_head pong = {.version = FG_WIRE_VERSION, .type = FG_MSG_PONG};
        for (int i = 0; i < 20; i++)
            send_fd(0, &pong, sizeof pong);
    } else if (strcmp(how, "orphan") == 0) {
        if (fork() == 0)
            for (;;)
                pause();
        return 0;
    }
    char byte[4096];
    while (read(3, byte, sizeof byte) > 0) /* until the gateway has had enough */
        ;
    return 0;
}
