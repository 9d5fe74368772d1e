/*
 * flow/glob.h - does a name fit a pattern with '*' (any run) and '?' (any one)? Without regard to
 * case, as names of models are. Pure; time is bounded by the product of the lengths.
 */
#ifndef FG_FLOW_GLOB_H
#define FG_FLOW_GLOB_H

#include "util/str.h"

bool fg_glob_fits(struct fg_str pattern, struct fg_str name);

#endif
