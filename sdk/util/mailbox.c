/* See mailbox.h. */
#include "util/mailbox.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/error.h"

int32_t fg_mailbox_init(struct fg_mailbox *m, struct fg_error *err)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return fg_fail(err, FG_NO_MEMORY, "eventfd: %s", strerror(errno));
    pthread_mutex_init(&m->lock, NULL);
    fg_list_init(&m->tasks);
    m->fd = fd;
    m->closed = false;
    return FG_OK;
}

void fg_mailbox_done(struct fg_mailbox *m)
{
    close(m->fd);
    m->fd = -1;
    pthread_mutex_destroy(&m->lock);
}

bool fg_mailbox_post(struct fg_mailbox *m, struct fg_task *task)
{
    pthread_mutex_lock(&m->lock);
    bool taken = !m->closed;
    bool first = taken && fg_list_empty(&m->tasks);
    if (taken)
        fg_list_push(&m->tasks, &task->node);
    if (first) { /* inside the lock, so that the fd cannot be closed under us */
        ssize_t n = write(m->fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)n; /* EAGAIN: the counter is full, so the reader wakes anyway */
    }
    pthread_mutex_unlock(&m->lock);
    return taken;
}

size_t fg_mailbox_run(struct fg_mailbox *m)
{
    struct fg_list list;
    fg_list_init(&list);
    uint64_t count;
    ssize_t got = read(m->fd, &count, sizeof count);
    (void)got; /* EAGAIN: nobody posted since */
    pthread_mutex_lock(&m->lock);
    fg_list_take(&list, &m->tasks);
    pthread_mutex_unlock(&m->lock);
    size_t n = 0;
    for (struct fg_list *node; (node = fg_list_pop(&list)); n++) {
        struct fg_task *task = FG_CONTAINER(node, struct fg_task, node);
        task->run(task);
    }
    return n;
}

void fg_mailbox_close(struct fg_mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    m->closed = true;
    pthread_mutex_unlock(&m->lock);
}
