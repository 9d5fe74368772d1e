/* Takes more jobs than it tells of.
 * Caught by: beyond max_running it is busy, and a slot that came back is taken. */
#include "breaks.h"

struct visit {
    fg_model_visit *visit;
    void *ctx;
};
static void on_info(void *ctx, const struct fg_model_info *info)
{
    const struct visit *v = ctx;
    struct fg_model_info fewer = *info;
    fewer.max_running = 2;
    v->visit(v->ctx, &fewer);
}

static void info(struct fg_model *m, fg_model_visit *visit, void *ctx)
{
    struct visit v = {visit, ctx};
    kept->info(m, on_info, &v);
}

void breaks(struct breaks *b)
{
    b->table.info = info;
}
