/* Breaks nothing: the template through the same detour keeps every rule. Caught by: nobody. */
#include "breaks.h"

void breaks(struct breaks *b)
{
    b->emit = real_emit;
}
