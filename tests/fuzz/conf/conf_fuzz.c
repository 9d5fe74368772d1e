/*
 * Any bytes as a configuration: it loads or is refused with a message; what our checks let pass,
 * libcyaml takes (its own messages carry no path, so one of them would be a hole in the checks).
 * The same bytes are also a duration and a host.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/inner.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *file_of(const uint8_t *data, size_t size)
{
    static char path[64];
    if (!path[0])
        snprintf(path, sizeof path, "/dev/shm/fg-conf-fuzz-%d.yaml", (int)getpid());
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
    return path;
}

static bool checks_pass(struct fg_str text)
{
    struct fg_arena *arena = fg_arena_open(0, (size_t)16 << 20);
    struct fg_tree *tree = NULL;
    bool ok = arena && fg_tree_read("f", text, arena, &tree, NULL) == FG_OK &&
              fg_conf_check("f", tree, NULL) == FG_OK;
    fg_arena_close(arena);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_str text = {(const char *)data, size};
    struct fg_conf *conf = NULL;
    struct fg_conf_host host;
    struct fg_error err = {0};
    bool broken;
    int64_t ns;
    const char *path = file_of(data, size);
    int32_t rc = fg_conf_load(path, &conf, &err);
    unlink(path);
    if (rc == FG_OK) {
        fg_conf_free(conf);
    } else if (!err.text[0] || checks_pass(text)) {
        fprintf(stderr, "refused by the loader alone: %s\n", err.text);
        abort();
    }
    struct fg_str said = {err.text, strlen(err.text)};
    if (fg_utf8_valid(said, &broken) != said.len)
        abort();
    (void)fg_conf_duration(text, &ns, &err);
    (void)fg_conf_keep_alive(text, &ns, &err);
    (void)fg_conf_host(text, &host, &err);
    return 0;
}
