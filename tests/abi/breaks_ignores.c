/* Leaves tools out silently. Caught by: features the model has not are refused, not ignored. */
#include "breaks.h"

static int32_t submit(struct fg_model *m, const struct fg_request *r, struct fg_stream *s,
                      struct fg_job **job, struct fg_error *err)
{
    static struct fg_request without; /* must outlive the job: one at a time is enough */
    if (!r->tool_count)
        return kept->submit(m, r, s, job, err);
    without = *r;
    without.tool_count = 0;
    return kept->submit(m, &without, s, job, err);
}

void breaks(struct breaks *b)
{
    b->table.submit = submit;
}
