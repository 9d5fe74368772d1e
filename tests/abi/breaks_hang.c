/* Does not come back from unload(). Caught by: models load and unload again, two at once. */
#include "breaks.h"

#include <unistd.h>

static void unload(struct fg_model *m)
{
    (void)m;
    for (;;)
        pause();
}

void breaks(struct breaks *b)
{
    b->table.unload = unload;
}
