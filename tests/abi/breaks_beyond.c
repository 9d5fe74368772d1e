/* Reads a request further than its size. Caught by: a request of the least size is enough. */
#include "breaks.h"

static int32_t submit(struct fg_model *m, const struct fg_request *r, struct fg_stream *s,
                      struct fg_job **job, struct fg_error *err)
{
    const volatile char *later = (const volatile char *)r + r->size;
    if (*later == 77)
        return FG_INTERNAL;
    return kept->submit(m, r, s, job, err);
}

void breaks(struct breaks *b)
{
    b->table.submit = submit;
}
