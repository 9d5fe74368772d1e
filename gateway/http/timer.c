/*
 * http/timer.c - deadlines of connections. Each kind of wait has one fixed span, so appending to
 * its list keeps the list ordered by deadline: setting a timer is a few pointer moves, and one
 * libevent timer a worker, armed for the earliest of the list heads, serves all. It is not moved
 * when a deadline goes away; it then wakes once for nothing.
 */
#include "http/inner.h"
#include "util/clock.h"

static void arm(struct fg_loop *l, uint64_t at_ns)
{
    if (l->tick_ns && l->tick_ns <= at_ns)
        return;
    uint64_t wait_us = at_ns > l->now_ns ? (at_ns - l->now_ns) / 1000 + 1 : 1;
    struct timeval tv = {(time_t)(wait_us / 1000000), (suseconds_t)(wait_us % 1000000)};
    l->tick_ns = at_ns;
    evtimer_add(&l->tick, &tv);
}

void fg_timer_set(struct fg_conn *c, int kind)
{
    struct fg_loop *l = c->loop;
    fg_list_remove(&c->timer);
    c->timer_kind = (uint8_t)kind;
    if (kind == FG_TIMER_NONE)
        return;
    c->deadline_ns = l->now_ns + l->server->span_ns[kind];
    fg_list_push(&l->timers[kind], &c->timer);
    arm(l, c->deadline_ns);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_loop *l = arg;
    fg_loop_enter(l);
    l->tick_ns = 0;
    for (int kind = 0; kind < FG_TIMER_COUNT; kind++) {
        struct fg_list *head = &l->timers[kind];
        while (!fg_list_empty(head)) {
            struct fg_conn *c = FG_CONTAINER(head->next, struct fg_conn, timer);
            if (c->deadline_ns > l->now_ns) {
                arm(l, c->deadline_ns);
                break;
            }
            fg_list_remove(&c->timer);
            c->timer_kind = FG_TIMER_NONE;
            fg_conn_expire(c, kind);
        }
    }
    fg_loop_leave(l);
}

void fg_timer_init(struct fg_loop *l)
{
    for (int kind = 0; kind < FG_TIMER_COUNT; kind++)
        fg_list_init(&l->timers[kind]);
    evtimer_assign(&l->tick, l->base, on_tick, l);
}
