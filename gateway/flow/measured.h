/*
 * flow/measured.h - what was measured of a model on a backend: speed, energy, memory. A small table
 * that forgets the one that was not used for longest. Pure; its owner's lock protects it.
 */
#ifndef FG_FLOW_MEASURED_H
#define FG_FLOW_MEASURED_H

#include "util/str.h"

enum { FG_FIGURES = 256 };

struct fg_figure {
    uint64_t model; /* hash of the full name; 0: free */
    uint32_t backend;
    uint32_t jobs; /* that counted */
    double tokens_per_s, joules_per_token; /* of output, smoothed; 0: not known */
    uint64_t memory_bytes;                 /* when it was last loaded; 0: not known */
    uint64_t used;                         /* order of use */
};
struct fg_measured {
    struct fg_figure rows[FG_FIGURES];
    uint64_t turn;
};

uint64_t fg_measured_key(struct fg_str full_name);
/* A zero row when nothing is known. */
struct fg_figure fg_measured_get(const struct fg_measured *, uint64_t model, uint32_t backend);
/* A job that ended well: tokens of output in that time; joules NaN: not known. */
void fg_measured_note(struct fg_measured *, uint64_t model, uint32_t backend, uint32_t tokens,
                     uint64_t output_ns, double joules);
void fg_measured_loaded(struct fg_measured *, uint64_t model, uint32_t backend,
                       uint64_t memory_bytes);

#endif
