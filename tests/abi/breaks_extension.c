/* Has whatever extension is asked for. Caught by: an unknown extension is NULL. */
#include "breaks.h"

static const void *extension(struct fg_backend *b, const char *id)
{
    (void)b;
    return id;
}

void breaks(struct breaks *b)
{
    b->table.extension = extension;
}
