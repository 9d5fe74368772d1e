/* See wire.h. What frames mean is not known here. */
#include "plugin/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fluxgate/plugin.h>

enum {
    CHUNK = 64 << 10, /* frames are gathered up to this */
    FIRST_CHUNK = 16 << 10,
    READ_ROOM = 256 << 10,
    SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
};

struct chunk {
    struct fg_list node;
    size_t len, sent, room;
    bool is_big; /* one head, then a payload that goes into a memfd */
    char data[] __attribute__((aligned(16)));
};

static size_t padded(size_t n)
{
    return (n + 7) / 8 * 8;
}

/* ---- sending -----------------------------------------------------------------------------------
 */

void fg_wire_sender_init(struct fg_wire_sender *s, int fd)
{
    *s = (struct fg_wire_sender){.fd = fd};
    pthread_mutex_init(&s->lock, NULL);
    fg_list_init(&s->chunks);
}

void fg_wire_sender_done(struct fg_wire_sender *s)
{
    struct fg_list *node;
    while ((node = fg_list_pop(&s->chunks)))
        free(FG_CONTAINER(node, struct chunk, node));
    pthread_mutex_destroy(&s->lock);
}

static struct chunk *new_chunk(size_t room, bool is_big)
{
    struct chunk *c = malloc(sizeof *c + room);
    if (!c)
        return NULL;
    c->len = c->sent = 0;
    c->room = room;
    c->is_big = is_big;
    return c;
}

/* [lock] Room for `need` more bytes in one piece behind all that waits. */
static struct chunk *chunk_for(struct fg_wire_sender *s, size_t need)
{
    struct chunk *last =
        fg_list_empty(&s->chunks) ? NULL : FG_CONTAINER(s->chunks.prev, struct chunk, node);
    if (last && !last->is_big && last->room - last->len >= need)
        return last;
    size_t room = last ? CHUNK : FIRST_CHUNK;
    struct chunk *c = new_chunk(need > room ? need : room, false);
    if (c)
        fg_list_push(&s->chunks, &c->node);
    return c;
}

static void *put_head(struct chunk *c, uint8_t type, uint64_t id, size_t len)
{
    struct fg_wire_head head = {.len = (uint32_t)len,
                                .version = FG_WIRE_VERSION,
                                .type = type,
                                .flags = c->is_big ? FG_WIRE_MEMFD : 0,
                                .id = id};
    char *to = c->data + c->len;
    memcpy(to, &head, sizeof head);
    memset(to + sizeof head + len, 0, padded(len) - len);
    c->len += sizeof head + padded(len);
    return to + sizeof head;
}

void *fg_wire_begin(struct fg_wire_sender *s, uint8_t type, uint64_t id, size_t len, size_t limit)
{
    const bool is_big = len > FG_WIRE_INLINE;
    const size_t need = sizeof(struct fg_wire_head) + padded(len);
    /* A large payload is written to its chunk without the lock. */
    struct chunk *c = is_big && len <= FG_WIRE_MOST ? new_chunk(need, true) : NULL;
    pthread_mutex_lock(&s->lock);
    if (len > FG_WIRE_MOST || s->failed || (limit && s->bytes + need > limit)) {
        free(c);
        c = NULL;
    } else {
        if (!is_big)
            c = chunk_for(s, need);
        s->failed = !c;
    }
    if (!c || is_big)
        pthread_mutex_unlock(&s->lock);
    return c ? put_head(c, type, id, len) : NULL;
}

size_t fg_wire_end(struct fg_wire_sender *s, void *payload)
{
    struct fg_wire_head head;
    char *start = (char *)payload - sizeof head;
    memcpy(&head, start, sizeof head);
    if (head.flags & FG_WIRE_MEMFD) {
        struct chunk *c = (void *)(start - offsetof(struct chunk, data));
        pthread_mutex_lock(&s->lock);
        fg_list_push(&s->chunks, &c->node);
    }
    size_t before = s->bytes;
    s->bytes += sizeof head + padded(head.len);
    pthread_mutex_unlock(&s->lock);
    return before;
}

bool fg_wire_send(struct fg_wire_sender *s, uint8_t type, uint64_t id, const void *payload,
                  size_t len)
{
    void *to = fg_wire_begin(s, type, id, len, 0);
    if (!to)
        return false;
    if (len)
        memcpy(to, payload, len);
    fg_wire_end(s, to);
    return true;
}

size_t fg_wire_waiting(struct fg_wire_sender *s)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->bytes;
    pthread_mutex_unlock(&s->lock);
    return n;
}

uint64_t fg_wire_written(struct fg_wire_sender *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t n = s->written;
    pthread_mutex_unlock(&s->lock);
    return n;
}

static int sealed_memfd(const char *data, size_t len)
{
    int fd = memfd_create("fg-payload", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    for (size_t at = 0; fd >= 0 && at < len;) {
        ssize_t n = write(fd, data + at, len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            close(fd);
            return -1;
        }
        at += (size_t)n;
    }
    if (fd >= 0 && fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static ssize_t send_with_fd(int socket, const void *data, size_t len, int fd)
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
    return sendmsg(socket, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The payload goes once, whole, into a memfd; then only the head is left to send. */
static ssize_t write_big(struct fg_wire_sender *s, struct chunk *c)
{
    struct fg_wire_head head;
    memcpy(&head, c->data, sizeof head);
    if (c->sent) /* a head cut in two: the descriptor went with its first byte */
        return send(s->fd, c->data + c->sent, sizeof head - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    int fd = sealed_memfd(c->data + sizeof head, head.len);
    if (fd < 0) { /* no descriptor, no memory: a moment later perhaps */
        errno = EAGAIN;
        return -1;
    }
    ssize_t n = send_with_fd(s->fd, &head, sizeof head, fd);
    int why = errno;
    close(fd);
    errno = why;
    return n;
}

/* Without the lock: the chunk is ours until it is put back or freed. */
static int32_t write_chunk(struct fg_wire_sender *s, struct chunk *c)
{
    size_t end = c->is_big ? sizeof(struct fg_wire_head) : c->len;
    while (c->sent < end) {
        ssize_t n =
            c->is_big ? write_big(s, c)
                      : send(s->fd, c->data + c->sent, end - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0)
            c->sent += (size_t)n;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            return FG_WIRE_BLOCKED;
        else if (errno != EINTR)
            return FG_WIRE_FAILED;
    }
    return FG_WIRE_DONE;
}

int32_t fg_wire_flush(struct fg_wire_sender *s, bool may_block)
{
    int32_t rc = FG_WIRE_DONE;
    pthread_mutex_lock(&s->lock);
    bool mine = !s->is_writing && !s->failed;
    rc = s->failed ? FG_WIRE_FAILED : FG_WIRE_DONE;
    s->is_writing |= mine;
    while (mine && rc == FG_WIRE_DONE && !fg_list_empty(&s->chunks)) {
        struct chunk *c = FG_CONTAINER(s->chunks.next, struct chunk, node);
        if (c->is_big && !may_block) {
            rc = FG_WIRE_BLOCKED;
            break;
        }
        fg_list_remove(&c->node); /* others append behind it, to a chunk of their own */
        pthread_mutex_unlock(&s->lock);
        size_t before = c->sent;
        rc = write_chunk(s, c);
        pthread_mutex_lock(&s->lock);
        s->written += c->sent - before;
        if (rc == FG_WIRE_DONE) {
            s->bytes -= c->len;
            free(c);
        } else {
            fg_list_push_front(&s->chunks, &c->node);
        }
    }
    if (mine) {
        s->is_writing = false;
        s->failed |= rc == FG_WIRE_FAILED;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- receiving ---------------------------------------------------------------------------------
 */

int32_t fg_wire_reader_init(struct fg_wire_reader *r, int fd)
{
    *r = (struct fg_wire_reader){.fd = fd, .room = READ_ROOM};
    r->buf = aligned_alloc(16, READ_ROOM);
    return r->buf ? FG_OK : FG_NO_MEMORY;
}

void fg_wire_reader_done(struct fg_wire_reader *r)
{
    for (uint32_t i = 0; i < r->fd_count; i++)
        close(r->fds[i]);
    r->fd_count = 0;
    free(r->big);
    free(r->buf);
    r->big = r->buf = NULL;
}

/* False: more descriptors than frames ask for. */
static bool take_fds(struct fg_wire_reader *r, struct msghdr *m)
{
    bool good = !(m->msg_flags & MSG_CTRUNC);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (r->fd_count < FG_WIRE_FDS)
                r->fds[r->fd_count++] = fd;
            else
                good = close(fd) != 0 && false;
        }
    }
    return good;
}

ssize_t fg_wire_read(struct fg_wire_reader *r)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int) * FG_WIRE_FDS)];
    } control;
    if (r->at) {
        memmove(r->buf, r->buf + r->at, r->len - r->at);
        r->len -= r->at;
        r->at = 0;
    }
    struct iovec iov = {.iov_base = r->buf + r->len, .iov_len = r->room - r->len};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control.room};
    ssize_t n = recvmsg(r->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
    if (!take_fds(r, &m))
        return -2;
    if (n == 0)
        return -1;
    r->len += (size_t)n;
    return n;
}

/* Only a sealed memfd is read: nothing else can be trusted neither to change nor to wait. */
static bool read_big(struct fg_wire_reader *r, size_t len)
{
    struct stat st;
    if (!r->fd_count)
        return false;
    int fd = r->fds[0];
    r->fd_count--;
    memmove(r->fds, r->fds + 1, r->fd_count * sizeof *r->fds);
    int seals = fcntl(fd, F_GET_SEALS);
    bool good = seals >= 0 && (seals & SEALS) == SEALS && fstat(fd, &st) == 0 &&
                S_ISREG(st.st_mode) && (uint64_t)st.st_size == len;
    r->big = good ? malloc(len) : NULL;
    for (size_t at = 0; r->big && at < len;) {
        ssize_t n = pread(fd, (char *)r->big + at, len - at, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        at += (size_t)n;
        good = at == len;
    }
    close(fd);
    return r->big && good;
}

int fg_wire_next(struct fg_wire_reader *r, struct fg_wire_frame *f)
{
    struct fg_wire_head head;
    free(r->big);
    r->big = NULL;
    if (r->len - r->at < sizeof head)
        return 0;
    memcpy(&head, r->buf + r->at, sizeof head);
    if (head.version != FG_WIRE_VERSION || head.flags > FG_WIRE_MEMFD)
        return -1;
    *f = (struct fg_wire_frame){.type = head.type, .id = head.id, .len = head.len};
    if (head.flags) {
        if (head.len <= FG_WIRE_INLINE || head.len > FG_WIRE_MOST || !read_big(r, head.len))
            return -1;
        r->at += sizeof head;
        f->data = r->big;
        return 1;
    }
    if (head.len > FG_WIRE_INLINE)
        return -1;
    if (r->len - r->at < sizeof head + padded(head.len))
        return 0;
    f->data = r->buf + r->at + sizeof head;
    r->at += sizeof head + padded(head.len);
    return 1;
}

void *fg_wire_take_big(struct fg_wire_reader *r)
{
    void *big = r->big;
    r->big = NULL;
    return big;
}
