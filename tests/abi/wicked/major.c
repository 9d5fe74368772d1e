/* Made for another major version of the ABI. */
#include <fluxgate/plugin.h>

const struct fg_plugin *fg_plugin_entry(uint32_t host_abi)
{
    static const struct fg_plugin table = {
        .size = sizeof table, .abi = 9u << 16 | 3, .name = "major", .version = "1"};
    (void)host_abi;
    return &table;
}
