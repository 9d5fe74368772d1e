/* Says that it cannot serve this host. */
#include <fluxgate/plugin.h>
#include <stddef.h>

const struct fg_plugin *fg_plugin_entry(uint32_t host_abi)
{
    (void)host_abi;
    return NULL;
}
