/* See remote.h. */
#include "plugin/remote.h"

#include "util/error.h"

int32_t fg_remote_open(const struct fg_remote_ask *ask, const struct fg_plugin **table,
                       struct fg_backend **out, int32_t *pid, struct fg_error *err)
{
    (void)table;
    (void)out;
    (void)pid;
    return fg_fail(err, FG_UNSUPPORTED, "backend \"%s\": isolation is not there yet", ask->name);
}
