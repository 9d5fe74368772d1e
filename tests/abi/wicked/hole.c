/* A table in which a function is missing. */
#include <fluxgate/plugin.h>

static int32_t h_open(const struct fg_host *host, struct fg_str config, struct fg_backend **out,
                      struct fg_error *err)
{
    (void)host;
    (void)config;
    (void)out;
    (void)err;
    return FG_INTERNAL;
}

const struct fg_plugin *fg_plugin_entry(uint32_t host_abi)
{
    static const struct fg_plugin table = {
        .size = sizeof table, .abi = FG_ABI, .name = "hole", .version = "1", .open = h_open};
    (void)host_abi;
    return &table;
}
