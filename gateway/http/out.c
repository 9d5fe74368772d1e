/*
 * http/out.c - unsent output of a connection, and the pool of blocks it lives in. Bytes of one turn
 * gather in one contiguous buffer and leave in one send; the buffer goes back to the pool as soon
 * as it is empty, so that an idle connection owns none. Nothing here calls a handler: a failed send
 * sets is_broken, and fg_conn_settle() acts on it.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "http/inner.h"
#include "util/clock.h"

char *fg_block_take(struct fg_loop *l, size_t bytes)
{
    if (bytes > FG_BLOCK_BYTES)
        return malloc(bytes);
    return l->block_count ? l->blocks[--l->block_count] : malloc(FG_BLOCK_BYTES);
}

void fg_block_give(struct fg_loop *l, char *block, size_t bytes)
{
    if (block && bytes <= FG_BLOCK_BYTES && l->block_count < FG_BLOCKS_KEPT)
        l->blocks[l->block_count++] = block;
    else
        free(block);
}

void fg_out_drop(struct fg_conn *c)
{
    fg_block_give(c->loop, c->out, c->out_room);
    c->out = NULL;
    c->out_at = c->out_len = c->out_room = 0;
}

/* A larger buffer with what is unsent at its front. */
static bool grow(struct fg_conn *c, size_t more)
{
    size_t unsent = fg_out_unsent(c), room = (size_t)c->out_room * 2;
    if (room < FG_BLOCK_BYTES)
        room = FG_BLOCK_BYTES;
    if (room < unsent + more)
        room = unsent + more;
    char *fresh = room > INT32_MAX ? NULL : fg_block_take(c->loop, room);
    if (!fresh) {
        c->is_broken = true;
        return false;
    }
    if (unsent)
        memcpy(fresh, c->out + c->out_at, unsent);
    fg_out_drop(c);
    c->out = fresh;
    c->out_len = (uint32_t)unsent;
    c->out_room = (uint32_t)room;
    return true;
}

char *fg_out_room(struct fg_conn *c, size_t len)
{
    size_t unsent = fg_out_unsent(c);
    if (len <= c->out_room - c->out_len)
        return c->out + c->out_len;
    if (c->out_at >= unsent && len <= c->out_room - unsent) { /* at least half of it is sent */
        memcpy(c->out, c->out + c->out_at, unsent);
        c->out_at = 0;
        c->out_len = (uint32_t)unsent;
    } else if (!grow(c, len)) {
        return NULL;
    }
    return c->out + c->out_len;
}

void fg_out_grew(struct fg_conn *c, size_t len)
{
    c->out_len += (uint32_t)len;
}

bool fg_out_add(struct fg_conn *c, const char *data, size_t len)
{
    char *to = fg_out_room(c, len);
    if (!to)
        return false;
    if (len)
        memcpy(to, data, len);
    fg_out_grew(c, len);
    return true;
}

size_t fg_out_in_kernel(const struct fg_conn *c)
{
    int bytes = 0;
    return ioctl(c->fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

void fg_out_wait(struct fg_conn *c)
{
    c->loop->now_ns = fg_clock_ns(); /* a handler may write outside of our callbacks */
    c->kernel_bytes = fg_out_in_kernel(c);
    fg_timer_set(c, FG_TIMER_WRITE);
}

/* n as send and writev give it. True: go on. */
static bool took(struct fg_conn *c, ssize_t n, size_t wanted)
{
    if (n < 0 && errno == EINTR)
        n = 0;
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        c->is_broken = true;
        return false;
    }
    bool blocked = n < 0 || (size_t)n < wanted;
    if (blocked && (n > 0 || !c->is_blocked)) /* some progress, or the wait begins */
        fg_out_wait(c);
    else if (!blocked && c->timer_kind == FG_TIMER_WRITE)
        fg_timer_set(c, FG_TIMER_NONE);
    c->is_blocked = blocked;
    return true;
}

void fg_out_flush(struct fg_conn *c)
{
    size_t unsent = fg_out_unsent(c);
    if (unsent == 0 || c->is_broken)
        return;
    ssize_t n = send(c->fd, c->out + c->out_at, unsent, MSG_NOSIGNAL);
    if (!took(c, n, unsent) || n <= 0)
        return;
    c->out_at += (uint32_t)n;
    if (c->out_at == c->out_len)
        fg_out_drop(c);
}

void fg_out_add_large(struct fg_conn *c, struct fg_str body)
{
    size_t unsent = fg_out_unsent(c);
    if (c->is_blocked || c->is_broken || body.len < FG_DIRECT_BYTES) {
        fg_out_add(c, body.ptr, body.len);
        return;
    }
    struct iovec parts[2] = {{c->out + c->out_at, unsent}, {(void *)(uintptr_t)body.ptr, body.len}};
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
    if (!took(c, n, unsent + body.len))
        return;
    size_t sent = n > 0 ? (size_t)n : 0, of_out = sent < unsent ? sent : unsent;
    c->out_at += (uint32_t)of_out;
    if (c->out_at == c->out_len)
        fg_out_drop(c);
    sent -= of_out;
    if (sent < body.len)
        fg_out_add(c, body.ptr + sent, body.len - sent);
}
