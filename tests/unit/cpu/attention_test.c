/*
 * Attention of the cpu device against a plain loop: head lengths, groups, windows, page sizes and
 * batches of every kind, for each instruction set and both forms of KV.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/cpu.h"
#include "engine/device.h"

enum { ROWS = 128, SEQUENCES = 3, CONTEXT_MOST = 1024 };

struct shape {
    uint32_t heads, kv_heads, head_dim, page_tokens, window;
    float softcap;
};
struct chunk { /* rows of a step: `count` positions of one sequence from `from` on */
    uint32_t sequence, from, count;
};

struct world {
    const struct shape *s;
    struct fg_dev *dev;
    struct fg_kv *kv;
    struct fg_buffer *q, *k, *v, *out;
    uint32_t pages; /* of a sequence */
    uint32_t *table[SEQUENCES];
};

static float value(uint32_t what, uint32_t sequence, uint32_t position, uint32_t i)
{
    uint32_t h = what * 0x9e3779b9u + sequence * 0x85ebca6bu + position * 0xc2b2ae35u;
    h += i * 0x27d4eb2fu;
    h ^= h >> 15;
    h *= 0x2c1b3c6du;
    h ^= h >> 13;
    return ((float)(h % 4001) / 2000.0f - 1) * (what == 0 ? 1.5f : 1);
}

static void open_world(struct world *w, const struct shape *s, const char *isa, bool exact,
                       uint32_t threads)
{
    struct fg_error err = {0};
    const uint32_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    json_t *config = json_pack("{s:i}", "threads", (int)threads);
    *w = (struct world){.s = s, .pages = CONTEXT_MOST / s->page_tokens};
    setenv("FLUXGATE_CPU_ISA", isa, 1);
    setenv("FLUXGATE_CPU_EXACT", exact ? "1" : "0", 1);
    const struct fg_kv_shape shape = {2, s->kv_heads, s->head_dim, s->page_tokens,
                                      w->pages * SEQUENCES};
    if (fg_cpu_open(config, &w->dev, &err) != FG_OK ||
        fg_device_ops.kv_open(w->dev, &shape, &w->kv, &err) != FG_OK ||
        fg_device_ops.buffer_open(w->dev, ROWS, q, &w->q, &err) != FG_OK ||
        fg_device_ops.buffer_open(w->dev, ROWS, kv, &w->k, &err) != FG_OK ||
        fg_device_ops.buffer_open(w->dev, ROWS, kv, &w->v, &err) != FG_OK ||
        fg_device_ops.buffer_open(w->dev, ROWS, q, &w->out, &err) != FG_OK)
        fail_msg("%s", err.text);
    json_decref(config);
    for (uint32_t q_ = 0; q_ < SEQUENCES; q_++) {
        w->table[q_] = calloc(w->pages, sizeof *w->table[q_]);
        for (uint32_t i = 0; i < w->pages; i++)
            w->table[q_][i] = (w->pages - 1 - i) * SEQUENCES + q_;
    }
}

static void close_world(struct world *w)
{
    fg_device_ops.kv_free(w->dev, w->kv);
    fg_device_ops.buffer_free(w->dev, w->q);
    fg_device_ops.buffer_free(w->dev, w->k);
    fg_device_ops.buffer_free(w->dev, w->v);
    fg_device_ops.buffer_free(w->dev, w->out);
    fg_cpu_close(w->dev);
    for (uint32_t i = 0; i < SEQUENCES; i++)
        free(w->table[i]);
}

static void expected_of(const struct shape *s, uint32_t sequence, uint32_t at, uint32_t head,
                        double *out)
{
    static double weight[CONTEXT_MOST];
    const uint32_t of = head / (s->heads / s->kv_heads) * s->head_dim;
    const uint32_t first = s->window && at + 1 > s->window ? at + 1 - s->window : 0;
    double most = -1e300, sum = 0;
    for (uint32_t p = first; p <= at; p++) {
        double x = 0;
        for (uint32_t i = 0; i < s->head_dim; i++)
            x += (double)value(0, sequence, at, head * s->head_dim + i) *
                 (double)value(1, sequence, p, of + i);
        x *= 0.3;
        weight[p] = s->softcap > 0 ? (double)s->softcap * tanh(x / (double)s->softcap) : x;
        most = weight[p] > most ? weight[p] : most;
    }
    memset(out, 0, s->head_dim * sizeof *out);
    for (uint32_t p = first; p <= at; p++)
        sum += weight[p] = exp(weight[p] - most);
    for (uint32_t p = first; p <= at; p++)
        for (uint32_t i = 0; i < s->head_dim; i++)
            out[i] += weight[p] / sum * (double)value(2, sequence, p, of + i);
}

/* Runs one step of chunks and compares every query of it, or only writes. */
static void step(struct world *w, const struct chunk *chunks, size_t count, bool look,
                 double allowed)
{
    static int32_t tokens[ROWS];
    static uint32_t position[ROWS], sequence[ROWS];
    const struct shape *s = w->s;
    uint32_t n = 0;
    for (size_t c = 0; c < count; c++)
        for (uint32_t i = 0; i < chunks[c].count; i++, n++) {
            assert_true(n < ROWS);
            position[n] = chunks[c].from + i;
            sequence[n] = chunks[c].sequence;
            for (uint32_t j = 0; j < w->q->width; j++)
                w->q->data[n * w->q->width + j] = value(0, sequence[n], position[n], j);
            for (uint32_t j = 0; j < w->k->width; j++) {
                w->k->data[n * w->k->width + j] = value(1, sequence[n], position[n], j);
                w->v->data[n * w->v->width + j] = value(2, sequence[n], position[n], j);
            }
        }
    const uint32_t *tables[] = {w->table[0], w->table[1], w->table[2]};
    const struct fg_rows rows = {n, tokens, position, sequence, tables};
    fg_device_ops.begin(w->dev, &rows);
    fg_device_ops.attend(w->dev, &(struct fg_attend){.q = w->q,
                                                     .k = w->k,
                                                     .v = w->v,
                                                     .kv = w->kv,
                                                     .layer = 1,
                                                     .heads = s->heads,
                                                     .scale = 0.3f,
                                                     .window = s->window,
                                                     .softcap = s->softcap,
                                                     .out = look ? w->out : NULL});
    assert_int_equal(fg_device_ops.sync(w->dev, NULL), FG_OK);
    double want[1024];
    for (uint32_t row = 0; look && row < n; row += 3)
        for (uint32_t head = 0; head < s->heads; head++) {
            const float *got = w->out->data + (size_t)row * w->out->width + head * s->head_dim;
            expected_of(s, sequence[row], position[row], head, want);
            for (uint32_t i = 0; i < s->head_dim; i++)
                if (!(fabs((double)got[i] - want[i]) <= allowed))
                    fail_msg("heads %u/%u of %u, page %u, window %u: row %u (position %u), "
                             "head %u, value %u is %.6f, expected %.6f",
                             s->heads, s->kv_heads, s->head_dim, s->page_tokens, s->window, row,
                             position[row], head, i, (double)got[i], want[i]);
        }
}

static void fill(struct world *w, uint32_t sequence, uint32_t to)
{
    for (uint32_t at = 0; at < to; at += ROWS) {
        const struct chunk c = {sequence, at, to - at < ROWS ? to - at : ROWS};
        step(w, &c, 1, false, 0);
    }
}

static void try_shape(const struct shape *s, const char *isa, bool exact, uint32_t threads)
{
    struct world w;
    const double allowed = exact ? 2e-5 : 2e-3; /* f16 holds values to 1/2048 of themselves */
    open_world(&w, s, isa, exact, threads);
    fill(&w, 0, 37);
    fill(&w, 1, 601);
    fill(&w, 2, 300);
    step(&w, (struct chunk[]){{0, 37, 20}, {1, 601, 1}, {2, 300, 33}}, 3, true, allowed);
    step(&w, (struct chunk[]){{0, 57, 1}, {1, 602, 1}, {2, 333, 1}}, 3, true, allowed);
    step(&w, (struct chunk[]){{1, 603, 1}}, 1, true, allowed);
    step(&w, (struct chunk[]){{2, 334, 1}, {0, 58, 2}, {2, 335, 1}}, 3, true, allowed);
    close_world(&w);
}

static const char *const isas[] = {"generic", "avx2", "avx512vnni"};

static void heads_of_many_lengths_and_groups_are_right(void **state)
{
    (void)state;
    static const struct shape shapes[] = {
        {9, 3, 64, 32, 0, 0},  {4, 1, 256, 32, 0, 0},  {8, 8, 80, 32, 0, 0},
        {6, 2, 18, 64, 0, 0},  {5, 1, 112, 128, 0, 0}, {3, 3, 2, 32, 0, 0},
        {64, 1, 16, 32, 0, 0}, {49, 1, 8, 32, 0, 0},   {16, 2, 128, 32, 0, 0},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t isa = 0; isa < 3; isa++) {
            try_shape(&shapes[i], isas[isa], true, 2);
            try_shape(&shapes[i], isas[isa], false, 1 + i % 3);
        }
}

static void windows_begin_where_they_should(void **state)
{
    (void)state;
    static const uint32_t windows[] = {1, 2, 31, 32, 100, 128, 256, 257, 300, 5000};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        const struct shape s = {4, 2, 32, 32, windows[i], 0};
        try_shape(&s, isas[i % 3], true, 2);
        try_shape(&s, isas[2], false, 1 + i % 2);
    }
}

static void a_softcap_bends_scores(void **state)
{
    (void)state;
    const struct shape s = {4, 2, 64, 32, 0, 1.5f};
    for (size_t isa = 0; isa < 3; isa++)
        try_shape(&s, isas[isa], true, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_of_many_lengths_and_groups_are_right),
        cmocka_unit_test(windows_begin_where_they_should),
        cmocka_unit_test(a_softcap_bends_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
