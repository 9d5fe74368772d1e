/*
 * What a snapshot says to a backend: which cards its `gpus` mean, and the energy of one until now.
 * Pure.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gpu/gpu.h"
#include "util/error.h"

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Indexes end where compute capabilities begin: 30 is one, 15 is not. */
static bool read_index(struct fg_str text, uint32_t *out)
{
    uint64_t n;
    if (!fg_str_u64(text, &n) || n >= FG_GPU_MOST)
        return false;
    *out = (uint32_t)n;
    return true;
}

static bool is_uuid(struct fg_str text)
{
    return text.len > 4 && fg_str_ieq((struct fg_str){text.ptr, 4}, FG_STR("GPU-"));
}

/* "0000:3b:00.0", "3b:00.0", "00000000:3B:00.0" */
static bool is_pci(struct fg_str text)
{
    uint32_t colons = 0, dots = 0;
    for (size_t i = 0; i < text.len; i++) {
        colons += text.ptr[i] == ':';
        dots += text.ptr[i] == '.';
        if (text.ptr[i] != ':' && text.ptr[i] != '.' && !is_hex(text.ptr[i]))
            return false;
    }
    return colons && dots == 1;
}

/* The ends are compared: how many digits the domain has is a matter of taste. */
static bool same_pci(struct fg_str asked, struct fg_str have)
{
    while (asked.len > have.len && asked.ptr[0] == '0')
        asked = fg_str_from(asked, 1);
    return asked.len && asked.len <= have.len &&
           fg_str_ieq(asked, fg_str_from(have, have.len - asked.len)) &&
           (asked.len == have.len || have.ptr[have.len - asked.len - 1] == ':');
}

static bool means(struct fg_str text, const struct fg_gpu_card *c)
{
    uint32_t index;
    struct fg_card_spelling spelling;
    struct fg_str uuid = fg_str_of(c->uuid);
    if (fg_str_ieq(text, FG_STR("all")))
        return true;
    if (read_index(text, &index))
        return index == c->index;
    if (is_uuid(text))
        return text.len <= uuid.len && fg_str_ieq(text, (struct fg_str){uuid.ptr, text.len});
    if (is_pci(text))
        return same_pci(text, fg_str_of(c->pci));
    return fg_card_read(text, &spelling, NULL, 0) &&
           fg_card_matches(&spelling, fg_str_of(c->name), c->major, c->minor);
}

uint32_t fg_gpus_match(const struct fg_gpus *g, char *const *gpus, uint32_t count,
                       const char **missing)
{
    uint32_t all = 0;
    if (missing)
        *missing = NULL;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bits = 0;
        for (uint32_t c = 0; c < g->count; c++)
            if (means(fg_str_trim(fg_str_of(gpus[i])), &g->cards[c]))
                bits |= 1u << c;
        if (!bits && missing && !*missing)
            *missing = gpus[i];
        all |= bits;
    }
    return all;
}

int32_t fg_gpus_check(const struct fg_conf *conf, struct fg_error *err)
{
    for (uint32_t b = 0; b < conf->backend_count; b++) {
        const struct fg_conf_backend *backend = &conf->backends[b];
        for (uint32_t i = 0; i < backend->gpu_count; i++) {
            struct fg_str text = fg_str_trim(fg_str_of(backend->gpus[i]));
            struct fg_card_spelling spelling;
            char nearest[64] = "";
            uint32_t index;
            if (fg_str_ieq(text, FG_STR("all")) || read_index(text, &index) || is_uuid(text) ||
                is_pci(text) || fg_card_read(text, &spelling, nearest, sizeof nearest))
                continue;
            return fg_fail(
                err, FG_INVALID, "backends[%u].gpus[%u]: no card is spelled \"%.32s\"%s%s%s", b, i,
                backend->gpus[i], nearest[0] ? "; is it " : "", nearest,
                nearest[0] ? "?" : " (an index, GPU-UUID, PCI address, P40, 6.1, sm_61)");
        }
    }
    return FG_OK;
}

double fg_gpus_joules(const struct fg_gpus *s, uint32_t index, uint64_t now_ns)
{
    if (index >= s->count)
        return NAN;
    const double *v = s->cards[index].values;
    double since = now_ns > s->at_ns ? (double)(now_ns - s->at_ns) / 1e9 : 0;
    double more = v[FG_GPU_WATTS] * (since < 60 ? since : 60);
    return isnan(more) ? v[FG_GPU_JOULES] : v[FG_GPU_JOULES] + more;
}
