/* Exports a second symbol. Caught by: it exports fg_plugin_entry and nothing else. */
#include "breaks.h"

FG_EXPORT extern int fg_plugin_helper;
int fg_plugin_helper = 1;

void breaks(struct breaks *b)
{
    (void)b;
}
