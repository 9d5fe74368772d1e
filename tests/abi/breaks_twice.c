/* Visits twice. Caught by: info visits once and tells what the model can. */
#include "breaks.h"

static void info(struct fg_model *m, fg_model_visit *visit, void *ctx)
{
    kept->info(m, visit, ctx);
    kept->info(m, visit, ctx);
}

void breaks(struct breaks *b)
{
    b->table.info = info;
}
