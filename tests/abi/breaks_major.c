/* Serves hosts of any ABI. Caught by: it serves hosts of its ABI major, whatever the minor. */
#include "breaks.h"

void breaks(struct breaks *b)
{
    b->serves_any_host = true;
}
