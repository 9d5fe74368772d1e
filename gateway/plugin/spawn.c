/*
 * See spawn.h. posix_spawn, because the gateway has threads. The environment is made from a list:
 * a key in ours is none of the child's business.
 */
#include "plugin/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/error.h"

enum { ENV_MOST = 64, SOCKET_AT = 3, SOCKET_BYTES = 1 << 20, REAP_MS = 5000 };

/* Ends with '*': every variable that starts so. */
static const char *const passed_on[] = {
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_*",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "CUDA_*",
    "NVIDIA_*",
    "FLUXGATE_CPU_*",
    "FLUXGATE_CACHE",
    "ASAN_OPTIONS",
    "UBSAN_OPTIONS",
    "TSAN_OPTIONS",
    "LSAN_OPTIONS",
    "LLVM_PROFILE_FILE",
    "GCOV_PREFIX",
};

static bool is_passed_on(const char *entry)
{
    for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++) {
        size_t n = strlen(passed_on[i]);
        bool prefix = passed_on[i][n - 1] == '*';
        if (strncmp(entry, passed_on[i], prefix ? n - 1 : n) == 0 && (prefix || entry[n] == '='))
            return true;
    }
    return false;
}

static void choose_environment(char *to[ENV_MOST + 1])
{
    size_t n = 0;
    for (char **e = environ; e && *e && n < ENV_MOST; e++)
        if (is_passed_on(*e))
            to[n++] = *e;
    to[n] = NULL;
}

static int spawn(const char *path, const char *backend, int socket, int output, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    char *env[ENV_MOST + 1], parent[16];
    char *argv[] = {"fg-plugin-host", (char *)backend, parent, NULL};
    snprintf(parent, sizeof parent, "%d", (int)getpid());
    choose_environment(env);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, output, 1);
    posix_spawn_file_actions_adddup2(&files, output, 2);
    posix_spawn_file_actions_adddup2(&files, socket, SOCKET_AT);
    posix_spawn_file_actions_addclosefrom_np(&files, SOCKET_AT + 1);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawn(pid, path, &files, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

static void close_if(int fd)
{
    if (fd >= 0)
        close(fd);
}

int32_t fg_child_start(const char *host_path, const char *backend, struct fg_child *out,
                       struct fg_error *err)
{
    int pair[2] = {-1, -1}, pipes[2] = {-1, -1};
    int32_t rc = FG_OK;
    pid_t pid = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 ||
        pipe2(pipes, O_CLOEXEC) != 0) {
        rc = fg_fail(err, FG_NO_MEMORY, "no descriptors for a child: %s", strerror(errno));
    } else {
        /* The numbers must not be those they are copied to. */
        int socket = fcntl(pair[1], F_DUPFD_CLOEXEC, 10),
            output = fcntl(pipes[1], F_DUPFD_CLOEXEC, 10);
        int why =
            socket < 0 || output < 0 ? errno : spawn(host_path, backend, socket, output, &pid);
        close_if(socket);
        close_if(output);
        if (why)
            rc = fg_fail(
                err, why == EAGAIN || why == ENOMEM || why == EMFILE ? FG_DEVICE_LOST : FG_INTERNAL,
                "child of backend \"%.64s\" not started: %.100s: %s", backend, host_path,
                strerror(why));
    }
    close_if(pair[1]);
    close_if(pipes[1]);
    if (rc != FG_OK) {
        close_if(pair[0]);
        close_if(pipes[0]);
        return rc;
    }
    int bytes = SOCKET_BYTES;
    (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    (void)fcntl(pair[0], F_SETFL, O_NONBLOCK);
    (void)fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    *out = (struct fg_child){.pid = pid,
                             .socket = pair[0],
                             .output = pipes[0],
                             .pidfd = (int)syscall(SYS_pidfd_open, pid, 0)};
    if (out->pidfd >= 0)
        (void)fcntl(out->pidfd, F_SETFD, FD_CLOEXEC);
    return FG_OK;
}

static void describe(int status, char *how, size_t room)
{
    if (WIFSIGNALED(status))
        snprintf(how, room, "ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(how, room, "ended with exit code %d", WEXITSTATUS(status));
}

void fg_child_end(struct fg_child *c, uint32_t grace_ms, char *how, size_t room)
{
    int status = 0;
    pid_t got;
    struct pollfd p = {.fd = c->pidfd, .events = POLLIN};
    snprintf(how, room, "ended");
    if (!c->pid)
        return;
    if (grace_ms)
        (void)poll(&p, 1, (int)grace_ms);
    kill(-c->pid, SIGKILL); /* also what it started; a dead leader keeps its status */
    (void)poll(&p, 1, REAP_MS);
    do
        got = waitpid(c->pid, &status, c->pidfd >= 0 ? WNOHANG : 0);
    while (got < 0 && errno == EINTR);
    if (got == c->pid)
        describe(status, how, room);
    c->pid = 0;
}

void fg_child_close(struct fg_child *c)
{
    close_if(c->socket);
    close_if(c->output);
    close_if(c->pidfd);
    c->socket = c->output = c->pidfd = -1;
}
