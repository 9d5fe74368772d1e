/* Models of the cache for tests. See fixture.h. */
#include "fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "cpu/cpu.h"

enum { PAGE = 32 };

bool fixture_find(const char *folder, const char *file, char *room, size_t bytes)
{
    const char *cache = getenv("FLUXGATE_CACHE"), *home = getenv("HOME");
    if (cache && *cache)
        snprintf(room, bytes, "%s/%s/%s", cache, folder, file);
    else
        snprintf(room, bytes, "%s/.cache/fluxgate/%s/%s", home ? home : "", folder, file);
    return access(room, R_OK) == 0;
}

void fixture_open(struct fixture *f, const char *path, bool exact, uint32_t context)
{
    struct fg_error err = {0};
    const uint32_t pages = (context + PAGE - 1) / PAGE;
    *f = (struct fixture){0};
    setenv("FLUXGATE_CPU_EXACT", exact ? "1" : "0", 1);
    if (fg_gguf_open(path, &f->gguf, &err) != FG_OK || fg_cpu_open(NULL, &f->dev, &err) != FG_OK ||
        fg_net_open(f->gguf, f->dev, NULL, NULL, &f->net, &err) != FG_OK ||
        fg_net_kv_open(f->net, PAGE, pages, &err) != FG_OK)
        fail_msg("%s: %s", path, err.text);
    f->vocab = fg_net_info(f->net)->vocab;
    f->max_rows = fg_net_max_rows(f->net);
    f->table = calloc(pages, sizeof *f->table);
    assert_non_null(f->table);
    for (uint32_t i = 0; i < pages; i++)
        f->table[i] = pages - 1 - i; /* not in order, so that the table is really used */
}

void fixture_close(struct fixture *f)
{
    fg_net_close(f->net);
    fg_cpu_close(f->dev);
    fg_gguf_close(f->gguf);
    free(f->table);
}

void fixture_run(struct fixture *f, const int32_t *tokens, uint32_t at, uint32_t count,
                 uint32_t want_from, float *logits)
{
    struct fg_error err = {0};
    uint32_t *position = calloc(f->max_rows, sizeof *position);
    uint32_t *sequence = calloc(f->max_rows, sizeof *sequence);
    uint8_t *want = calloc(f->max_rows, 1);
    const uint32_t *tables[] = {f->table};
    assert_true(position && sequence && want);
    for (uint32_t done = 0; done < count;) {
        const uint32_t n = count - done < f->max_rows ? count - done : f->max_rows;
        uint32_t wanted = 0;
        for (uint32_t i = 0; i < n; i++) {
            position[i] = at + done + i;
            want[i] = done + i >= want_from;
            wanted += want[i];
        }
        const struct fg_rows rows = {.count = n,
                                     .tokens = tokens + done,
                                     .position = position,
                                     .sequence = sequence,
                                     .page_table = tables};
        if (fg_net_forward(f->net, &rows, want, logits, NULL, NULL, NULL, &err) != FG_OK)
            fail_msg("forward: %s", err.text);
        logits += (size_t)wanted * f->vocab;
        done += n;
    }
    free(position);
    free(sequence);
    free(want);
}

double fixture_logprob(const float *logits, uint32_t vocab, int32_t token)
{
    double most = (double)logits[0], sum = 0;
    for (uint32_t i = 1; i < vocab; i++)
        most = (double)logits[i] > most ? (double)logits[i] : most;
    for (uint32_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - most);
    return (double)logits[token] - most - log(sum);
}
