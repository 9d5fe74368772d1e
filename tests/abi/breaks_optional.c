/* Needs sampling to be there. Caught by: what is optional may be NULL. */
#include "breaks.h"

static int32_t submit(struct fg_model *m, const struct fg_request *r, struct fg_stream *s,
                      struct fg_job **job, struct fg_error *err)
{
    const volatile struct fg_sampling *sampling = r->sampling;
    if (sampling->top_k == 77)
        return FG_INTERNAL;
    return kept->submit(m, r, s, job, err);
}

void breaks(struct breaks *b)
{
    b->table.submit = submit;
}
