/*
 * cpu.so: the engine's contract (engine/plugin.c) on the cpu device. The only exported symbol.
 */
#include "cpu/cpu.h"
#include "engine/plugin.h"

const struct fg_engine_device fg_engine_device = {
    .name = "cpu",
    .version = FLUXGATE_VERSION,
    .open = fg_cpu_open,
    .close = fg_cpu_close,
    .describe = fg_cpu_describe,
    .text = fg_cpu_text,
};

FG_EXPORT const struct fg_plugin *fg_plugin_entry(uint32_t host_abi)
{
    return host_abi >> 16 == FG_ABI_MAJOR ? &fg_engine_plugin_table : NULL;
}
