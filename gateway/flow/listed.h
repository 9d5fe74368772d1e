/*
 * flow/listed.h - the models that backends have by themselves (list() of the contract), beside the
 * files that the gateway finds.
 *
 * Each backend is asked when it is up, and again when it says that something changed, on its control
 * thread; the answer is the keeper's. What a backend listed stays known while it is down: it may come back. Keeper's thread unless said
 * otherwise.
 */
#ifndef FG_FLOW_LISTED_H
#define FG_FLOW_LISTED_H

#include "flow/facts.h"
#include "store/scan.h"

struct fg_hub;
struct fg_listed;

/* Asks whoever is up and was not asked since its last change; again: everybody that is up. */
void fg_listed_next(struct fg_hub *, bool again);
/* Takes in the answers that came; true: there was one. */
bool fg_listed_collect(struct fg_hub *);
/* Until when an unknown name may still turn out to be a backend's own model; 0: all have answered,
 * or had their time. */
uint64_t fg_listed_wait_until(const struct fg_hub *, uint64_t now_ns);
/* Files and listed models in one list, each with its facts; a name that is taken is left out.
 * items and facts are malloc'ed, the caller's; what they point to is borrowed from the hub. */
bool fg_listed_merge(struct fg_hub *, struct fg_store_list *out, struct fg_facts ***facts);
bool fg_listed_is_asking(const struct fg_hub *);
void fg_listed_done(struct fg_hub *); /* after the keeper and the control threads */

#endif
