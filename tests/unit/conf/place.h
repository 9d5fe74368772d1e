/* A folder for configuration files, and an environment without surprises. */
#ifndef FG_TESTS_CONF_PLACE_H
#define FG_TESTS_CONF_PLACE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char place[64], file[96];

static inline void clear_environment(void)
{
    static const char *const names[] = {
        "FLUXGATE_HOST",       "FLUXGATE_PORT",    "FLUXGATE_MODELS",   "FLUXGATE_PLUGIN_DIR",
        "OLLAMA_HOST",         "OLLAMA_MODELS",    "OLLAMA_KEEP_ALIVE", "OLLAMA_CONTEXT_LENGTH",
        "OLLAMA_NUM_PARALLEL", "OLLAMA_MAX_QUEUE", "OLLAMA_ORIGINS",    "OLLAMA_MAX_LOADED_MODELS",
        "OLLAMA_LOAD_TIMEOUT", "XDG_DATA_HOME",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    setenv("HOME", place, 1);
}

static inline int make_place(void **state)
{
    (void)state;
    snprintf(place, sizeof place, "/tmp/fg-conf-XXXXXX");
    if (!mkdtemp(place))
        return -1;
    snprintf(file, sizeof file, "%s/f.yaml", place);
    clear_environment();
    return 0;
}

static inline int drop_place(void **state)
{
    (void)state;
    char path[128];
    unlink(file);
    snprintf(path, sizeof path, "%s/.ollama/models", place);
    rmdir(path);
    snprintf(path, sizeof path, "%s/.ollama", place);
    rmdir(path);
    return rmdir(place);
}

static inline void write_file(const char *text, size_t len)
{
    FILE *f = fopen(file, "wb");
    if (!f || fwrite(text, 1, len, f) != len || fclose(f) != 0)
        abort();
}

#endif
