/*
 * cpu/kernels/panel.c - products over the group layout: which outputs and rows go which road, and
 * in which order. The work itself is in the kernels (panel.h).
 *
 * Panels of two groups are filled and multiplied with all rows of the batch before the next: the
 * panels and a tile of rows stay in the first-level cache, the batch's share of k in the second.
 */
#include "cpu/kernels/panel.h"

#include "cpu/kernels/act.h"

static uint32_t outputs_of(uint32_t left)
{
    return left < FG_GROUP_ROWS ? left : FG_GROUP_ROWS;
}

static void few_rows(const struct fg_matrix *w, size_t bytes, const struct fg_group_kernel *kernel,
                     const void *act, const struct fg_product *p)
{
    for (uint32_t r = p->first; r < p->last; r += FG_GROUP_ROWS) {
        struct fg_direct job = {
            .packed = (const uint8_t *)w->packed + r / FG_GROUP_ROWS * bytes,
            .act = act,
            .blocks = w->k / 32,
            .tile = p->m,
            .outputs = outputs_of(p->last - r),
            .add = p->add,
            .y = p->y + r,
            .stride = p->stride,
        };
        kernel->direct(&job);
    }
}

/* Records of a panel: even shares of k, whole blocks of 256 where the type has them. */
static uint32_t panel_records(struct fg_group_traits t, uint32_t blocks)
{
    if (t.super)
        return blocks < 16 ? blocks : 16;
    uint32_t panels = (blocks + FG_PANEL_RECORDS - 1) / FG_PANEL_RECORDS;
    return (blocks + panels - 1) / panels;
}

/* One panel by every tile of the batch. */
static void all_tiles(struct fg_panel *job, const struct fg_group_kernel *kernel,
                      const uint8_t *act, uint32_t blocks, uint32_t b, float *y, uint32_t m)
{
    for (uint32_t i = 0; i < m; i += FG_ACT8_ROWS) {
        job->tile = m - i < FG_ACT8_ROWS ? m - i : FG_ACT8_ROWS;
        job->act = act + ((size_t)i * blocks + (size_t)b * job->tile) * FG_ACT8_RECORD;
        job->y = y + (size_t)i * job->stride;
        kernel->panel(job);
        job->ahead_step = 0; /* one pass has fetched it all */
    }
}

static void many_rows(const struct fg_matrix *w, struct fg_group_traits t,
                      const struct fg_group_kernel *kernel, const void *act,
                      const struct fg_product *p, uint32_t r)
{
    _Alignas(64) uint8_t wide[2][FG_PANEL_RECORDS * FG_PANEL_WIDE];
    const size_t bytes = fg_group_bytes(t, w->k);
    const uint32_t blocks = w->k / 32, records = panel_records(t, blocks);
    const uint8_t *from[2] = {(const uint8_t *)w->packed + r / FG_GROUP_ROWS * bytes, NULL};
    struct fg_panel job = {
        .wide = {wide[0], wide[1]},
        .groups = p->last - r > FG_GROUP_ROWS ? 2 : 1,
        .outputs = {outputs_of(p->last - r), 0},
        .stride = p->stride,
    };
    from[1] = from[0] + bytes;
    if (job.groups == 2)
        job.outputs[1] = outputs_of(p->last - r - FG_GROUP_ROWS);
    for (uint32_t b = 0; b < blocks; b += records) {
        job.count = blocks - b < records ? blocks - b : records;
        job.add = p->add || b > 0;
        for (uint32_t g = 0; g < job.groups; g++)
            from[g] = kernel->fill(from[g], job.count, wide[g]);
        job.ahead = b + job.count < blocks ? from[0] : from[job.groups - 1];
        job.ahead_step = (uint32_t)fg_group_record(t) * job.groups;
        all_tiles(&job, kernel, act, blocks, b, p->y + r, p->m);
    }
}

void fg_group_multiply(const struct fg_matrix *w, struct fg_group_traits t,
                       const struct fg_group_kernel *kernel, const void *act,
                       const struct fg_product *p)
{
    if (p->m <= kernel->few) {
        few_rows(w, fg_group_bytes(t, w->k), kernel, act, p);
        return;
    }
    for (uint32_t r = p->first; r < p->last; r += 2 * FG_GROUP_ROWS)
        many_rows(w, t, kernel, act, p, r);
}
