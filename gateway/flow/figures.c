/*
 * What backends say of themselves (fg_plugin.metrics), as Prometheus text behind our own figures:
 * fluxgate_plugin_<name>{backend="...",<labels of the plugin>} value.
 *
 * Samples of one name must stand together, so they are collected and sorted first. A plugin's names
 * and labels are checked: what is not a legal name, or could break a line, is left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/inner.h"

enum { SAMPLES_MOST = 2000, NAME_MOST = 100, LABELS_MOST = 400 };

struct sample {
    const char *backend;
    char *name, *labels; /* in one allocation */
    double value;
    uint32_t order;
};
struct samples {
    struct sample *items;
    uint32_t count, room;
    const char *backend;
};

static bool is_name(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const char c = s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
              (i && c >= '0' && c <= '9')))
            return false;
    }
    return len && len <= NAME_MOST;
}

/* a="b",c="d" with no control characters; quotes pair up. */
static bool is_labels(const char *s, size_t len)
{
    uint32_t quotes = 0;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)s[i] < 0x20 || (quotes % 2 == 0 && (s[i] == '{' || s[i] == '}')))
            return false;
        if (s[i] == '\\')
            i++;
        else
            quotes += s[i] == '"';
    }
    return len <= LABELS_MOST && quotes % 2 == 0;
}

static bool make_room(struct samples *all)
{
    if (all->count < all->room)
        return true;
    const uint32_t room = all->room ? all->room * 2 : 64;
    struct sample *more = realloc(all->items, room * sizeof *more);
    if (!more)
        return false;
    all->items = more;
    all->room = room;
    return true;
}

static void collect(void *ctx, const char *name, const char *labels, double value)
{
    struct samples *all = ctx;
    const size_t n = name ? strlen(name) : 0, l = labels ? strlen(labels) : 0;
    if (!is_name(name, n) || !is_labels(labels, l) || all->count == SAMPLES_MOST ||
        !make_room(all))
        return;
    char *text = malloc(n + l + 2);
    if (!text)
        return;
    memcpy(text, name, n + 1);
    memcpy(text + n + 1, l ? labels : "", l + 1);
    all->items[all->count] = (struct sample){all->backend, text, text + n + 1, value, all->count};
    all->count++;
}

static int by_name(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    const int order = strcmp(x->name, y->name);
    return order ? order : x->order < y->order ? -1 : 1;
}

bool fg_hub_figures(struct fg_hub *hub, struct fg_buf *out)
{
    struct samples all = {0};
    for (uint32_t i = 0; i < fg_registry_count(hub->registry); i++) {
        struct fg_backend_slot *slot = fg_registry_at(hub->registry, i);
        all.backend = fg_backend_name(slot);
        fg_backend_metrics(slot, collect, &all);
    }
    if (all.count)
        qsort(all.items, all.count, sizeof *all.items, by_name);
    for (uint32_t i = 0; i < all.count; i++) {
        const struct sample *s = &all.items[i];
        const size_t len = strlen(s->name);
        const bool total = len > 6 && strcmp(s->name + len - 6, "_total") == 0;
        if (i == 0 || strcmp(all.items[i - 1].name, s->name) != 0)
            fg_buf_printf(out, "# HELP fluxgate_plugin_%s as the backend says\n"
                               "# TYPE fluxgate_plugin_%s %s\n",
                          s->name, s->name, total ? "counter" : "gauge");
        fg_buf_printf(out, "fluxgate_plugin_%s{backend=\"%s\"%s%s} %.17g\n", s->name, s->backend,
                      s->labels[0] ? "," : "", s->labels, s->value);
    }
    for (uint32_t i = 0; i < all.count; i++)
        free(all.items[i].name);
    free(all.items);
    return !out->failed;
}
