/* Wants a request of exactly its own size.
 * Caught by: a request larger than known is read as far as it is. */
#include "breaks.h"

#include <stdio.h>

static int32_t submit(struct fg_model *m, const struct fg_request *r, struct fg_stream *s,
                      struct fg_job **job, struct fg_error *err)
{
    if (r->size == sizeof *r)
        return kept->submit(m, r, s, job, err);
    if (err)
        snprintf(err->text, sizeof err->text, "the request has another size");
    return FG_INVALID;
}

void breaks(struct breaks *b)
{
    b->table.submit = submit;
}
