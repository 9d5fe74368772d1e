/* Whose a process is that uses a card: read from /proc, a few small files. Not for a worker. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/inner.h"

enum { GENERATIONS = 16 };

/* "pid (name) state ppid ...": the name may hold blanks and parentheses, so the last ')' ends it.
 */
static uint32_t parent_of(const char *proc_folder, uint32_t pid, char *name, size_t room)
{
    char path[320], text[512];
    snprintf(path, sizeof path, "%.280s/%u/stat", proc_folder, pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    char *open_at = strchr(text, '('), *shut = strrchr(text, ')');
    if (!open_at || !shut || shut < open_at || shut[1] != ' ' || !shut[2])
        return 0;
    *shut = '\0';
    if (name) {
        snprintf(name, room, "%s", open_at + 1);
        for (char *c = name; *c; c++)
            if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
                *c = '?';
    }
    return (uint32_t)strtoul(shut + 3, NULL, 10);
}

bool fg_process_is_ours(const char *proc_folder, uint32_t pid, char *name, size_t room)
{
    uint32_t us = (uint32_t)getpid(), at = pid;
    snprintf(name, room, "?");
    for (int i = 0; at > 1 && i < GENERATIONS; i++) {
        uint32_t parent = parent_of(proc_folder, at, i ? NULL : name, room);
        if (at == us)
            return true;
        at = parent;
    }
    return false;
}
