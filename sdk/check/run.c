/*
 * A process for each check. The parent only waits: for the end, for a signal that ended the child,
 * or until the time is up. What the child was doing is in memory shared by both.
 */
#include "check/check.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"

enum { EXIT_BROKEN = 90, EXIT_SKIPPED = 91 };

static void __attribute__((format(printf, 3, 0)))
leave(struct bench *b, int code, const char *format, va_list args)
{
    vsnprintf(b->notes->text, sizeof b->notes->text, format, args);
    fflush(NULL);
    _exit(code); /* the plugin's threads may be anywhere */
}

void broken(struct bench *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    leave(b, EXIT_BROKEN, format, args);
    va_end(args);
    abort(); /* not reached */
}

void skipped(struct bench *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    leave(b, EXIT_SKIPPED, format, args);
    va_end(args);
    abort(); /* not reached */
}

static void child(const struct options *options, const struct check *check, struct notes *notes)
{
    const uint32_t half = options->timeout_ms / 2; /* so that the check itself can tell */
    struct bench b = {.options = options,
                      .notes = notes,
                      .patience_ms = half < PATIENCE_MS ? half : PATIENCE_MS,
                      .cancel_ms = half < CANCEL_MS ? half : CANCEL_MS};
    dup2(STDERR_FILENO, STDOUT_FILENO); /* what a plugin prints is not part of the report */
    host_init(&b);
    check->run(&b);
    exit(0); /* a sanitizer looks for leaks now */
}

static bool wait_child(pid_t pid, uint32_t timeout_ms, int *status)
{
    const uint64_t end = fg_clock_ns() + timeout_ms * FG_NS_PER_MS;
    for (;;) {
        const pid_t got = waitpid(pid, status, WNOHANG);
        if (got == pid || (got < 0 && errno != EINTR))
            return true;
        if (fg_clock_ns() > end)
            return false;
        usleep(2000);
    }
}

static enum verdict tell(struct notes *notes, int status)
{
    char what[600];
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return KEPT;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
        return SKIPPED;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_BROKEN)
        return BROKEN;
    if (WIFSIGNALED(status))
        snprintf(what, sizeof what, "the process was ended by signal %d (%s); last step: %s",
                 WTERMSIG(status), strsignal(WTERMSIG(status)), notes->step);
    else
        snprintf(what, sizeof what,
                 "the process ended with code %d (a sanitizer's report, or an exit() of the "
                 "plugin's); last step: %s",
                 WEXITSTATUS(status), notes->step);
    memcpy(notes->text, what, sizeof what);
    return BROKEN;
}

enum verdict run_check(const struct options *options, const struct check *check,
                       struct notes *notes)
{
    int status = 0;
    memset(notes, 0, sizeof *notes);
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0)
        child(options, check, notes);
    if (pid < 0) {
        snprintf(notes->text, sizeof notes->text, "fork: %s", strerror(errno));
        return BROKEN;
    }
    if (wait_child(pid, options->timeout_ms, &status))
        return tell(notes, status);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    snprintf(notes->text, sizeof notes->text,
             "no end within %u s: a call did not return or an event never came; last step: %.150s",
             options->timeout_ms / 1000, notes->step);
    return BROKEN;
}
