/*
 * http/listen.c - listening sockets: one an address and worker, sharing the port by SO_REUSEPORT.
 * That option lets a second gateway of the same user share the port in silence, so the port is
 * first taken without it: a taken port is one clear error.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/inner.h"
#include "util/error.h"

enum { BACKLOG = 1024, NOT_SENT_LOW = 256 * 1024 };

union where {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

static bool read_address(const char *text, uint16_t port, union where *w, socklen_t *len)
{
    memset(w, 0, sizeof(*w));
    if (!text || strcmp(text, "localhost") == 0)
        text = "127.0.0.1";
    if (inet_pton(AF_INET, text, &w->four.sin_addr) == 1) {
        w->four.sin_family = AF_INET;
        w->four.sin_port = htons(port);
        *len = sizeof(w->four);
        return true;
    }
    if (inet_pton(AF_INET6, text, &w->six.sin6_addr) == 1) {
        w->six.sin6_family = AF_INET6;
        w->six.sin6_port = htons(port);
        *len = sizeof(w->six);
        return true;
    }
    return false;
}

static int32_t fail(struct fg_error *err, const char *address, uint16_t port, int error)
{
    const char *text = address ? address : "127.0.0.1";
    bool six = strchr(text, ':') != NULL;
    if (error == EADDRINUSE)
        return fg_fail(err, FG_BUSY,
                       "%s%s%s:%u is taken: another program, maybe Ollama, listens there; "
                       "end it or set FLUXGATE_PORT to another port",
                       six ? "[" : "", text, six ? "]" : "", port);
    if (error == EACCES)
        return fg_fail(err, FG_INVALID,
                       "%s port %u needs a privilege: set FLUXGATE_PORT to one above 1023", text,
                       port);
    if (error == EADDRNOTAVAIL)
        return fg_fail(err, FG_INVALID, "this machine has no address %s to listen on", text);
    return fg_fail(err, FG_INTERNAL, "cannot listen on %s port %u: %s", text, port,
                   strerror(error));
}

/* Options that accepted sockets inherit, so that accepting costs one call. */
static void set_options(int fd, const union where *w)
{
    static const int on = 1, low = NOT_SENT_LOW;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &low, sizeof(low));
    if (w->any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
}

/* A bound socket, or -errno. */
static int bound(const union where *w, socklen_t len, bool shared)
{
    static const int on = 1;
    int fd = socket(w->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    set_options(fd, w);
    if ((shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) ||
        bind(fd, &w->any, len) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/* The first socket of a port listens without SO_REUSEPORT, which proves that nobody else does, and
 * gets the option then: nothing is closed and bound again, for in that moment a child that was
 * forked but has not yet called exec would still hold the port. */
static int share(int fd)
{
    static const int on = 1;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0 ? 0 : errno;
}

int32_t fg_listen(const char *address, uint16_t *port, bool is_first, bool is_shared, int *out,
                  struct fg_error *err)
{
    union where w;
    socklen_t len = 0;
    if (!read_address(address, *port, &w, &len))
        return fg_fail(err, FG_INVALID, "listen address \"%.64s\" is no IP address", address);
    bool alone = is_first && *port;
    int fd = bound(&w, len, is_shared && !alone);
    if (fd < 0)
        return fail(err, address, *port, -fd);
    socklen_t room = sizeof(w);
    int error = listen(fd, BACKLOG) == 0 ? 0 : errno;
    if (!error && alone && is_shared)
        error = share(fd);
    if (!error && getsockname(fd, &w.any, &room) != 0)
        error = errno;
    if (error) {
        close(fd);
        return fail(err, address, *port, error);
    }
    *port = ntohs(w.any.sa_family == AF_INET6 ? w.six.sin6_port : w.four.sin_port);
    *out = fd;
    return FG_OK;
}

/* The next connection, its peer as address and text; -1 with errno. */
int fg_accept(int listener, struct fg_address *address, char *text, size_t room)
{
    union where w;
    socklen_t len = sizeof(w);
    int fd = accept4(listener, &w.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return -1;
    memset(address, 0, sizeof(*address));
    text[0] = '\0';
    if (w.any.sa_family == AF_INET) {
        address->bytes[10] = address->bytes[11] = 0xff;
        memcpy(address->bytes + 12, &w.four.sin_addr, 4);
        inet_ntop(AF_INET, &w.four.sin_addr, text, (socklen_t)room);
    } else if (w.any.sa_family == AF_INET6) {
        memcpy(address->bytes, &w.six.sin6_addr, 16);
        inet_ntop(AF_INET6, &w.six.sin6_addr, text, (socklen_t)room);
    }
    return fd;
}
