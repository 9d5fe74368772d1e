/*
 * Attention over paged KV. Work is cut into runs (rows of one sequence at consecutive positions, up
 * to a tile's worth of queries) by KV heads, and where there is little to hand out also by segments
 * of positions. A query's sums are always made segment by segment and joined in order, so a row
 * gets the same bits in a batch as alone.
 */
#include <math.h>
#include <string.h>

#include "cpu/cpu.h"

enum { SEGMENT = 256 }; /* positions; a multiple of FG_TILE_BLOCK */

struct attention {
    struct fg_dev *dev;
    const struct fg_attend *a;
    const struct fg_run *runs;
    uint32_t run_count;
    uint32_t group;    /* query heads that a task takes of a KV head */
    uint32_t heads;    /* tasks of a run: KV heads times `splits` */
    uint32_t splits;   /* groups of a KV head; 1 unless there are very many query heads */
    uint32_t row_step; /* most rows of a run */
    bool writes;               /* each row's K and V are written where it attends */
    uint32_t segments;         /* most of any run; 0: a task does all of its run's */
    float *partial;            /* [run][head][segment]: out, max, sum */
    size_t partial_floats;     /* of one segment: all queries of a tile */
};

/* ---- rows ------------------------------------------------------------------------------------ */

static uint32_t position_of(const struct attention *t, uint32_t row)
{
    return t->dev->rows->position[row];
}
static const uint32_t *table_of(const struct attention *t, uint32_t row)
{
    return t->dev->rows->page_table[t->dev->rows->sequence[row]];
}

/* Norm and rotation of a head, in place. */
static void turn(const struct attention *t, float *head, const struct fg_weight *norm, uint32_t row)
{
    const struct fg_rope *rope = t->a->rope;
    if (norm)
        t->dev->simd->rms_norm(head, norm->vector, t->a->eps, t->a->kv->shape.head_dim, head);
    if (rope) {
        const size_t at = (size_t)row * (rope->dims / 2);
        t->dev->simd->rotate(head, rope->dims, rope->halves, rope->cosine + at, rope->sine + at);
    }
}

static void write_row(const struct attention *t, uint32_t row, uint32_t head)
{
    const struct fg_kv_shape *s = &t->a->kv->shape;
    float *k = t->a->k->data + (size_t)row * t->a->k->width + (size_t)head * s->head_dim;
    const float *v = t->a->v->data + (size_t)row * t->a->v->width + (size_t)head * s->head_dim;
    const uint32_t at = position_of(t, row);
    turn(t, k, t->a->k_norm, row);
    fg_cpu_kv_write(t->dev, t->a->kv, t->a->layer, head, table_of(t, row)[at / s->page_tokens],
                    at % s->page_tokens, k, v);
}

static void write_chunk(void *arg, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    const struct attention *t = arg;
    enum { ROWS = 8 };
    const uint32_t first = chunk * ROWS, count = t->dev->count;
    for (uint32_t row = first; row < first + ROWS && row < count; row++)
        for (uint32_t head = 0; head < t->a->kv->shape.kv_heads; head++)
            write_row(t, row, head);
}

/* ---- tiles ----------------------------------------------------------------------------------- */

struct work { /* a thread's memory for one tile */
    float *queries, *scores, *out, *more;
    float max[FG_TILE_QUERIES], sum[FG_TILE_QUERIES];
    float more_max[FG_TILE_QUERIES], more_sum[FG_TILE_QUERIES];
    uint32_t first[FG_TILE_QUERIES], end[FG_TILE_QUERIES];
};

static size_t work_floats(const struct attention *t)
{
    const struct fg_kv_view *kv = &t->a->kv->view;
    return t->dev->simd->packed_queries(FG_TILE_QUERIES, kv->head_dim) +
           FG_TILE_QUERIES * ((size_t)FG_TILE_BLOCK + 2 * kv->v_stride) + kv->head_dim;
}

static void open_work(const struct attention *t, uint32_t worker, struct work *w)
{
    const struct fg_kv_view *kv = &t->a->kv->view;
    w->scores = t->dev->own[worker].ptr;
    w->out = w->scores + FG_TILE_QUERIES * (size_t)FG_TILE_BLOCK;
    w->more = w->out + FG_TILE_QUERIES * (size_t)kv->v_stride;
    w->queries = w->more + FG_TILE_QUERIES * (size_t)kv->v_stride;
}

/* Queries of a run and head, row by row, the group's heads of a row together. Returns how many. */
static uint32_t take_queries(const struct attention *t, const struct fg_run *run, uint32_t head,
                             struct work *w)
{
    const struct fg_attend *a = t->a;
    const uint32_t dim = a->kv->shape.head_dim;
    float *one = w->queries + t->dev->simd->packed_queries(FG_TILE_QUERIES, dim);
    uint32_t n = 0;
    for (uint32_t row = run->row; row < run->row + run->count; row++) {
        const uint32_t at = position_of(t, row);
        const float *q = a->q->data + (size_t)row * a->q->width + (size_t)head * t->group * dim;
        for (uint32_t g = 0; g < t->group; g++, n++, q += dim) {
            memcpy(one, q, dim * sizeof *one);
            turn(t, one, a->q_norm, row);
            t->dev->simd->pack_query(one, a->scale, n, dim, w->queries);
            w->end[n] = at + 1;
            w->first[n] = a->window && at >= a->window ? at + 1 - a->window : 0;
        }
    }
    return n;
}

static struct fg_kv_view view_of(const struct attention *t, uint32_t head)
{
    const struct fg_kv *kv = t->a->kv;
    struct fg_kv_view view = kv->view;
    view.base +=
        ((size_t)t->a->layer * kv->shape.kv_heads + head / t->splits) * kv->head_bytes;
    return view;
}

static uint32_t first_segment(const struct work *w)
{
    return w->first[0] / SEGMENT; /* the oldest row sees farthest back */
}

static void run_segment(const struct attention *t, const struct fg_run *run, uint32_t head,
                        uint32_t count, uint32_t segment, struct work *w, float *out, float *max,
                        float *sum)
{
    const struct fg_kv_view view = view_of(t, head);
    const uint32_t from = segment * SEGMENT, end = w->end[count - 1];
    uint32_t begin = w->first[0] / FG_TILE_BLOCK * FG_TILE_BLOCK;
    begin = begin > from ? begin : from;
    const struct fg_tile tile = {.count = count,
                                 .from = begin,
                                 .to = end < from + SEGMENT ? end : from + SEGMENT,
                                 .page = table_of(t, run->row),
                                 .first = w->first,
                                 .end = w->end,
                                 .softcap = t->a->softcap,
                                 .queries = w->queries,
                                 .scores = w->scores,
                                 .out = out,
                                 .max = max,
                                 .sum = sum};
    t->dev->simd->attend(&view, &tile);
}

static void finish(const struct attention *t, const struct fg_run *run, uint32_t head,
                   uint32_t count, const float *out, const float *sum)
{
    const struct fg_kv_view *kv = &t->a->kv->view;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = run->row + i / t->group, of = head * t->group + i % t->group;
        float *to = t->a->out->data + (size_t)row * t->a->out->width + (size_t)of * kv->head_dim;
        t->dev->simd->scale(out + (size_t)i * kv->v_stride, 1.0f / sum[i], kv->head_dim, to);
    }
}

/* All segments of a run and head. */
static void run_whole(const struct attention *t, const struct fg_run *run, uint32_t head,
                      uint32_t worker)
{
    const uint32_t stride = t->a->kv->view.v_stride;
    struct work w;
    open_work(t, worker, &w);
    const uint32_t count = take_queries(t, run, head, &w), end = w.end[count - 1];
    uint32_t segment = first_segment(&w);
    run_segment(t, run, head, count, segment, &w, w.out, w.max, w.sum);
    while (++segment * SEGMENT < end) {
        run_segment(t, run, head, count, segment, &w, w.more, w.more_max, w.more_sum);
        for (uint32_t i = 0; i < count; i++)
            t->dev->simd->join(stride, w.out + (size_t)i * stride, &w.max[i], &w.sum[i],
                               w.more + (size_t)i * stride, w.more_max[i], w.more_sum[i]);
    }
    finish(t, run, head, count, w.out, w.sum);
}

static float *partial_of(const struct attention *t, uint32_t run, uint32_t head, uint32_t segment)
{
    const size_t place = ((size_t)run * t->heads + head) * t->segments + segment;
    return t->partial + place * t->partial_floats;
}

/* One segment of a run and head into its partial place. */
static void run_part(const struct attention *t, uint32_t index, uint32_t head, uint32_t segment,
                     uint32_t worker)
{
    const struct fg_run *run = &t->runs[index];
    const uint32_t stride = t->a->kv->view.v_stride;
    struct work w;
    open_work(t, worker, &w);
    const uint32_t count = take_queries(t, run, head, &w);
    const uint32_t first = first_segment(&w);
    if ((first + segment) * SEGMENT >= w.end[count - 1])
        return; /* a shorter one than the longest */
    float *out = partial_of(t, index, head, segment);
    float *max = out + (size_t)t->row_step * t->group * stride, *sum = max + FG_TILE_QUERIES;
    run_segment(t, run, head, count, first + segment, &w, out, max, sum);
}

static void join_parts(const struct attention *t, uint32_t index, uint32_t head)
{
    const struct fg_run *run = &t->runs[index];
    const uint32_t stride = t->a->kv->view.v_stride, last = run->row + run->count - 1;
    const uint32_t at = position_of(t, run->row), window = t->a->window;
    const uint32_t first = (window && at >= window ? at + 1 - window : 0) / SEGMENT;
    const uint32_t count = run->count * t->group;
    const uint32_t segments = position_of(t, last) / SEGMENT - first + 1;
    float *out = partial_of(t, index, head, 0);
    const size_t max_at = (size_t)t->row_step * t->group * stride;
    float *max = out + max_at, *sum = max + FG_TILE_QUERIES;
    for (uint32_t s = 1; s < segments; s++) {
        const float *more = partial_of(t, index, head, s);
        for (uint32_t i = 0; i < count; i++)
            t->dev->simd->join(stride, out + (size_t)i * stride, &max[i], &sum[i],
                               more + (size_t)i * stride, more[max_at + i],
                               more[max_at + FG_TILE_QUERIES + i]);
    }
    finish(t, run, head, count, out, sum);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static void attend_task(void *arg, uint32_t chunk, uint32_t worker)
{
    const struct attention *t = arg;
    const uint32_t segments = t->segments ? t->segments : 1;
    const uint32_t head = chunk % t->heads, segment = chunk / t->heads % segments;
    const uint32_t index = t->run_count - 1 - chunk / t->heads / segments; /* the long ones first */
    if (!t->segments) {
        if (t->writes)
            write_row(t, t->runs[index].row, head);
        run_whole(t, &t->runs[index], head, worker);
        return;
    }
    run_part(t, index, head, segment, worker);
}

/* Rows one behind the other in one sequence, cut into tiles. */
static uint32_t find_runs(const struct fg_rows *rows, uint32_t step, struct fg_run *runs,
                          bool *single)
{
    uint32_t n = 0;
    *single = true; /* every row its own sequence */
    for (uint32_t i = 0; i < rows->count; i++) {
        const bool follows = i && rows->sequence[i] == rows->sequence[i - 1] &&
                             rows->position[i] == rows->position[i - 1] + 1;
        if (i && rows->sequence[i] <= rows->sequence[i - 1])
            *single = false;
        if (follows && runs[n - 1].count < step)
            runs[n - 1].count++;
        else
            runs[n++] = (struct fg_run){.row = i, .count = 1};
    }
    return n;
}

static uint32_t most_segments(const struct attention *t)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < t->run_count; i++) {
        const struct fg_run *run = &t->runs[i];
        const uint32_t at = position_of(t, run->row), window = t->a->window;
        const uint32_t first = (window && at >= window ? at + 1 - window : 0) / SEGMENT;
        const uint32_t n = position_of(t, run->row + run->count - 1) / SEGMENT - first + 1;
        most = n > most ? n : most;
    }
    return most;
}

/* With less than four tasks a thread, long sequences are cut as well. */
static void choose_segments(struct attention *t)
{
    const struct fg_kv *kv = t->a->kv;
    const uint32_t tasks = t->run_count * t->heads;
    const uint32_t segments = most_segments(t);
    if (segments < 2 || fg_pool_threads(t->dev->pool) < 2 ||
        tasks >= 4 * fg_pool_threads(t->dev->pool))
        return;
    t->partial_floats =
        (size_t)t->row_step * t->group * kv->view.v_stride + 2 * (size_t)FG_TILE_QUERIES;
    t->partial = fg_scratch_need(t->dev, &t->dev->partial,
                                 t->partial_floats * tasks * segments * sizeof(float));
    t->segments = t->partial ? segments : 0;
}

static bool own_memory(const struct attention *t)
{
    for (uint32_t i = 0; i < fg_pool_threads(t->dev->pool); i++)
        fg_scratch_need(t->dev, &t->dev->own[i], work_floats(t) * sizeof(float));
    return !t->dev->failed;
}

void fg_cpu_attend(struct fg_dev *dev, const struct fg_attend *a)
{
    struct attention t = {.dev = dev, .a = a, .group = a->heads / a->kv->shape.kv_heads};
    bool single;
    struct fg_run *runs =
        fg_scratch_need(dev, &dev->runs, (size_t)dev->rows->count * sizeof *runs);
    t.splits = 1;
    while (t.group / t.splits > FG_TILE_QUERIES || t.group % t.splits)
        t.splits++;
    t.group /= t.splits;
    t.heads = a->kv->shape.kv_heads * t.splits;
    t.row_step = FG_TILE_QUERIES / t.group;
    if (!runs || !own_memory(&t))
        return;
    t.runs = runs;
    t.run_count = find_runs(dev->rows, t.row_step, runs, &single);
    if (a->out)
        choose_segments(&t);
    t.writes = a->out && single && !t.segments && t.splits == 1;
    if (!t.writes)
        fg_pool_run(dev->pool, write_chunk, &t, (dev->rows->count + 7) / 8);
    if (!a->out)
        return;
    fg_pool_run(dev->pool, attend_task, &t,
                t.run_count * t.heads * (t.segments ? t.segments : 1));
    for (uint32_t i = 0; t.segments && i < t.run_count; i++)
        for (uint32_t head = 0; head < t.heads; head++)
            join_parts(&t, i, head);
}
