/*
 * fg-plugin-host BACKEND PARENT: one plugin in a process of its own. Started by the gateway with a
 * socket as descriptor 3; everything else it gets to know comes through that.
 *
 * Before any foreign code runs the process gives up what it must not have: descriptors, core dumps
 * (prompts would be in them), rights gained by exec. It dies with the gateway, and the kernel picks
 * it first when memory runs out.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugin/child.h"
#include "util/str.h"

enum { SOCKET = 3, FILES = 4096, OOM_ABOVE = 300, OOM_MOST = 1000 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* The kernel ends us when the gateway's thread that started us ends; it may have been faster. */
static bool die_with(const char *parent)
{
    uint64_t pid;
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && fg_str_u64(fg_str_of(parent), &pid) &&
           (uint64_t)getppid() == pid;
}

/* Above the gateway's own value, which is the one we were born with. */
static void be_first_out_of_memory(void)
{
    char text[32] = {0};
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof text - 1);
    int64_t value = 0;
    (void)fg_str_i64(fg_str_trim((struct fg_str){text, n > 0 ? (size_t)n : 0}), &value);
    value = value + OOM_ABOVE > OOM_MOST ? OOM_MOST : value + OOM_ABOVE;
    int len = snprintf(text, sizeof text, "%d", (int)value);
    n = pwrite(fd, text, (size_t)len, 0);
    (void)n; /* where /proc is read-only it stays as it is */
    close(fd);
}

static void limit(int what, rlim_t most)
{
    struct rlimit l;
    if (getrlimit(what, &l) != 0)
        return;
    l.rlim_max = l.rlim_max < most ? l.rlim_max : most;
    l.rlim_cur = l.rlim_max;
    (void)setrlimit(what, &l);
}

static void give_up_rights(const char *backend)
{
    char name[16];
    snprintf(name, sizeof name, "fg-%.12s", backend);
    (void)prctl(PR_SET_NAME, name);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(077);
    (void)close_range(SOCKET + 1, ~0u, 0);
    (void)fcntl(SOCKET, F_SETFD, FD_CLOEXEC);
    be_first_out_of_memory();
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, FILES);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!SANITIZED) /* the leak checker reads its own memory as a debugger does */
        (void)prctl(PR_SET_DUMPABLE, 0);
}

int main(int argc, char **argv)
{
    static struct fg_served served;
    struct stat st;
    if (argc != 3 || fstat(SOCKET, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        fprintf(stderr, "fg-plugin-host is started by fluxgate, not by hand\n");
        return 2;
    }
    if (!die_with(argv[2]))
        return 1;
    give_up_rights(argv[1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    return fg_child_serve(&served, SOCKET);
}
