/*
 * flow/catalog.h - making the snapshots that hub.h hands out. A snapshot is immutable, counted,
 * and replaced whole; building one is the keeper's.
 */
#ifndef FG_FLOW_CATALOG_H
#define FG_FLOW_CATALOG_H

#include "flow/facts.h"
#include "flow/hub.h"
#include "store/scan.h"

/* facts[i] belongs to list->items[i] and may be NULL. Copies what it needs. */
int32_t fg_catalog_new(const struct fg_store_list *, struct fg_facts *const *facts,
                       const struct fg_catalog **, struct fg_error *);
/* Other names for models that are in it; what is not there is left out. Only before anybody else
 * sees the snapshot. */
int32_t fg_catalog_add_aliases(const struct fg_catalog *, const struct fg_conf_alias *,
                               uint32_t count, struct fg_error *);
const struct fg_catalog *fg_catalog_retain(const struct fg_catalog *);
/* An entry's file was not yet inspected. */
bool fg_model_entry_is_bare(const struct fg_model_entry *);

#endif
