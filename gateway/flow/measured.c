/* See measured.h. */
#include "flow/measured.h"

#include <math.h>

enum { FEWEST_TOKENS = 8 /* shorter answers tell of the first token, not of speed */ };
static const double share = 0.2; /* of the newest job */

uint64_t fg_measured_key(struct fg_str full_name)
{
    uint64_t hash = fg_str_hash(full_name);
    return hash ? hash : 1;
}

struct fg_figure fg_measured_get(const struct fg_measured *f, uint64_t model, uint32_t backend)
{
    for (uint32_t i = 0; i < FG_FIGURES; i++)
        if (f->rows[i].model == model && f->rows[i].backend == backend)
            return f->rows[i];
    return (struct fg_figure){0};
}

static struct fg_figure *row_of(struct fg_measured *f, uint64_t model, uint32_t backend)
{
    struct fg_figure *oldest = &f->rows[0];
    for (uint32_t i = 0; i < FG_FIGURES; i++) {
        struct fg_figure *r = &f->rows[i];
        if (r->model == model && r->backend == backend) {
            r->used = ++f->turn;
            return r;
        }
        if (r->used < oldest->used)
            oldest = r;
    }
    *oldest = (struct fg_figure){.model = model, .backend = backend, .used = ++f->turn};
    return oldest;
}

static void mix(double *into, double fresh)
{
    *into = *into > 0 ? *into + share * (fresh - *into) : fresh;
}

void fg_measured_note(struct fg_measured *f, uint64_t model, uint32_t backend, uint32_t tokens,
                      uint64_t output_ns, double joules)
{
    if (tokens < FEWEST_TOKENS)
        return;
    struct fg_figure *r = row_of(f, model, backend);
    r->jobs++;
    if (output_ns)
        mix(&r->tokens_per_s, tokens / ((double)output_ns / 1e9));
    if (!isnan(joules) && joules > 0)
        mix(&r->joules_per_token, joules / tokens);
}

void fg_measured_loaded(struct fg_measured *f, uint64_t model, uint32_t backend,
                        uint64_t memory_bytes)
{
    if (memory_bytes)
        row_of(f, model, backend)->memory_bytes = memory_bytes;
}
