/*
 * `fluxgate serve`, and the door to every other command. The main thread only waits for signals
 * (a signalfd; they are blocked in every thread) and keeps the time of the drain.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/cli.h"
#include "gateway.h"
#include "obs/log.h"
#include "util/clock.h"
#include "util/str.h"

enum { EXIT_USE = 2, HARD_END_MS = 5000, LOOK_MS = 20 };

struct options {
    const char *config;
    uint16_t port;
    bool has_port, check, help;
};

static const char usage[] =
    "usage: fluxgate serve [--config FILE] [--port N] [--check]\n"
    "  --config FILE  a configuration (conf/fluxgate.yaml shows every key); none is good, too\n"
    "  --port N       instead of the first configured port\n"
    "  --check        says whether the configuration is good, and ends\n";

static int wrong_use(const char *text, const char *what)
{
    fprintf(stderr, "fluxgate serve: %s %.60s\n%s", text, what, usage);
    return EXIT_USE;
}

static int read_options(int argc, char **argv, struct options *o)
{
    for (int i = 2; i < argc; i++) {
        uint64_t port;
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            o->help = true;
        } else if (strcmp(argv[i], "--check") == 0) {
            o->check = true;
        } else if (strcmp(argv[i], "--config") == 0 && more) {
            o->config = argv[++i];
        } else if (strcmp(argv[i], "--port") == 0 && more) {
            if (!fg_str_u64(fg_str_of(argv[++i]), &port) || port > 65535)
                return wrong_use("a port is a number from 0 to 65535, not", argv[i]);
            o->port = (uint16_t)port;
            o->has_port = true;
        } else {
            return wrong_use("unknown or incomplete option", argv[i]);
        }
    }
    return 0;
}

/* Secrets and prompts must not land in a core file; many clients need many descriptors. */
static void harden(void)
{
    struct rlimit limit = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Before any thread is started, so that all of them inherit the mask. */
static int take_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return -1;
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* The number of the next signal; 0: none within timeout_ms (-1: wait for ever). */
static int next_signal(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct signalfd_siginfo info;
    if (poll(&p, 1, timeout_ms) <= 0)
        return 0;
    return read(fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

static void small_signal(struct fg_gateway *g, const struct options *o, int number)
{
    struct fg_error err = {0};
    char text[400];
    if (number == SIGUSR1) {
        int32_t rc = fg_log_reopen();
        fg_log(FG_LOG_INFO, "log_reopened", "status=%d", rc);
    } else if (number == SIGHUP && fg_gateway_reload(g, o->config, &err) != FG_OK) {
        fg_log(FG_LOG_ERROR, "reload_failed", "text=%s kept=old",
               fg_log_quote(fg_str_of(err.text), text, sizeof text));
    }
}

/* Waits until nothing runs, at most ms; false: a second SIGTERM or SIGINT came. */
static bool wait_idle(struct fg_gateway *g, const struct options *o, int signals, uint64_t ms)
{
    uint64_t until = fg_clock_ns() + ms * FG_NS_PER_MS;
    while (fg_gateway_busy(g) && fg_clock_ns() < until) {
        int number = next_signal(signals, LOOK_MS);
        if (number == SIGTERM || number == SIGINT)
            return false;
        small_signal(g, o, number);
    }
    return true;
}

static void stop(struct fg_gateway *g, const struct options *o, int signals)
{
    fg_log(FG_LOG_INFO, "drain_began", "busy=%u", fg_gateway_busy(g));
    fg_gateway_drain(g);
    bool patient = wait_idle(g, o, signals, fg_gateway_conf(g)->drain_ms);
    uint32_t left = fg_gateway_busy(g);
    if (left) {
        fg_log(FG_LOG_WARN, "drain_over", "busy=%u", left);
        fg_gateway_cancel_all(g);
        /* The error events must still reach their clients; a second signal shortens this. */
        (void)wait_idle(g, o, signals, patient ? HARD_END_MS : HARD_END_MS / 10);
    }
}

static int serve(const struct options *o)
{
    struct fg_error err = {0};
    struct fg_conf *conf = NULL;
    struct fg_gateway *g = NULL;
    if (fg_conf_load(o->config, &conf, &err) != FG_OK) {
        fprintf(stderr, "fluxgate: %s\n", err.text);
        return EXIT_USE;
    }
    if (o->check && fg_gateway_check(conf, &err) != FG_OK) {
        fprintf(stderr, "fluxgate: %s\n", err.text);
        fg_conf_free(conf);
        return EXIT_USE;
    }
    if (o->check) {
        printf("fluxgate: the configuration is good\n");
        fg_conf_free(conf);
        return 0;
    }
    if (o->has_port && conf->listen_count)
        conf->listen[0].port = o->port;
    harden();
    int signals = take_signals();
    if (signals < 0) {
        fprintf(stderr, "fluxgate: signals cannot be taken: errno %d\n", errno);
        fg_conf_free(conf);
        return 1;
    }
    if (fg_gateway_open(conf, &g, &err) != FG_OK) { /* conf is given */
        fprintf(stderr, "fluxgate: %s\n", err.text);
        return EXIT_USE;
    }
    const char *address = conf->listen_count ? conf->listen[0].address : "127.0.0.1";
    bool six = strchr(address, ':') != NULL;
    printf("fluxgate %s listening on http://%s%s%s:%u\n", FLUXGATE_VERSION, six ? "[" : "", address,
           six ? "]" : "", fg_gateway_port(g, 0));
    fflush(stdout);
    int number;
    do {
        number = next_signal(signals, -1);
        small_signal(g, o, number);
    } while (number != SIGTERM && number != SIGINT);
    stop(g, o, signals);
    fg_gateway_close(g);
    close(signals);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    if (argc < 2 || strcmp(argv[1], "serve") != 0)
        return fg_cli_main(argc, argv);
    int rc = read_options(argc, argv, &o);
    return rc || o.help ? rc : serve(&o);
}
