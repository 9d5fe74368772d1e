/*
 * tesla.so: the engine's contract (engine/plugin.c) on the tesla device. The only exported symbol.
 */
#include "engine/plugin.h"
#include "tesla/tesla.h"

const struct fg_engine_device fg_engine_device = {
    .name = "tesla",
    .version = FLUXGATE_VERSION,
    .open = fg_tesla_open,
    .close = fg_tesla_close,
    .describe = fg_tesla_describe,
    .text = fg_tesla_text,
};

FG_EXPORT const struct fg_plugin *fg_plugin_entry(uint32_t host_abi)
{
    return host_abi >> 16 == FG_ABI_MAJOR ? &fg_engine_plugin_table : NULL;
}
