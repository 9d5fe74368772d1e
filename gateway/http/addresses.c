/*
 * http/addresses.c - how many connections each peer address has open, over all workers. A hash
 * table under one short lock, touched when a connection opens and closes, never by a request. The
 * hash is seeded: peers choose their addresses, at least in IPv6.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "http/inner.h"

enum { BUCKETS = 1024 };

struct entry {
    struct entry *next;
    struct fg_address address;
    uint32_t count;
};
struct fg_addresses {
    pthread_mutex_t lock;
    uint32_t limit;
    uint64_t seed[2];
    struct entry *buckets[BUCKETS];
};

struct fg_addresses *fg_addresses_open(uint32_t limit)
{
    struct fg_addresses *a = calloc(1, sizeof(*a));
    if (!a)
        return NULL;
    pthread_mutex_init(&a->lock, NULL);
    a->limit = limit;
    if (getrandom(a->seed, sizeof(a->seed), 0) != (ssize_t)sizeof(a->seed))
        a->seed[0] = (uint64_t)(uintptr_t)a;
    return a;
}

void fg_addresses_close(struct fg_addresses *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *e = a->buckets[i], *next; e; e = next) {
            next = e->next;
            free(e);
        }
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* Where the address's entry hangs, or the end of its chain. */
static struct entry **find(struct fg_addresses *a, const struct fg_address *address)
{
    uint64_t half[2];
    memcpy(half, address->bytes, sizeof(half));
    uint64_t h = (half[0] ^ a->seed[0]) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 32 ^ half[1] ^ a->seed[1]) * 0xBF58476D1CE4E5B9u;
    struct entry **at = &a->buckets[(h >> 48) % BUCKETS];
    while (*at && memcmp(&(*at)->address, address, sizeof(*address)) != 0)
        at = &(*at)->next;
    return at;
}

bool fg_addresses_enter(struct fg_addresses *a, const struct fg_address *address)
{
    pthread_mutex_lock(&a->lock);
    struct entry **at = find(a, address);
    if (!*at && (*at = calloc(1, sizeof(**at))))
        (*at)->address = *address;
    bool is_let_in = *at && (*at)->count < a->limit;
    if (is_let_in)
        (*at)->count++;
    pthread_mutex_unlock(&a->lock);
    return is_let_in;
}

void fg_addresses_leave(struct fg_addresses *a, const struct fg_address *address)
{
    pthread_mutex_lock(&a->lock);
    struct entry **at = find(a, address), *e = *at;
    if (e && --e->count == 0) {
        *at = e->next;
        free(e);
    }
    pthread_mutex_unlock(&a->lock);
}

bool fg_address_is_loopback(const struct fg_address *address)
{
    static const struct fg_address six = {{[15] = 1}}, four = {{[10] = 0xff, [11] = 0xff, [12] = 127}};
    return memcmp(address, &six, sizeof(six)) == 0 || memcmp(address, &four, 13) == 0;
}
