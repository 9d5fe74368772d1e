/* Takes any operation for a completion.
 * Caught by: operations it cannot do are refused without an event. */
#include "breaks.h"

static int32_t submit(struct fg_model *m, const struct fg_request *r, struct fg_stream *s,
                      struct fg_job **job, struct fg_error *err)
{
    static struct fg_request other;
    if (r->op == FG_OP_CHAT || r->op == FG_OP_COMPLETE)
        return kept->submit(m, r, s, job, err);
    other = *r;
    other.op = FG_OP_COMPLETE;
    return kept->submit(m, &other, s, job, err);
}

void breaks(struct breaks *b)
{
    b->table.submit = submit;
}
