/*
 * cpu/kernels/panel.h - what an instruction set gives for one weight type in the group layout.
 * Private to this folder.
 *
 * For a few rows of activations `direct` unpacks each record and uses it at once; memory is the
 * limit there. For more rows `fill` makes the records of a panel wide (8-bit weights, float scales)
 * once, in the first-level cache, and `panel` multiplies it with tile after tile of rows. panel.c
 * drives both; it holds no vector code.
 */
#ifndef FG_CPU_PANEL_H
#define FG_CPU_PANEL_H

#include "cpu/kernels/group.h"
#include "cpu/kernels/ops.h"

#define FG_PANEL_RECORDS 18u  /* two panels and a tile of rows fit into 48 KiB */
#define FG_PANEL_WIDE    768u /* the widest record: 512 weights, two scales and two mins a row */
#define FG_AHEAD         4096 /* bytes to prefetch ahead; chosen on Sapphire Rapids, only tried on Zen 5 */

/* One panel of one or two groups by one tile of activation rows (act.h). */
struct fg_panel {
    const uint8_t *wide[2], *act;
    const uint8_t *ahead; /* packed weights to prefetch meanwhile, ahead_step bytes a record */
    uint32_t groups, count, tile, ahead_step;
    uint32_t outputs[2]; /* of 16, those that exist */
    bool add;            /* to y */
    float *y;
    size_t stride;
};
struct fg_direct {
    const uint8_t *packed, *act; /* one group; one tile of `tile` rows */
    uint32_t blocks, tile, outputs;
    bool add;
    float *y;
    size_t stride;
};
struct fg_group_kernel {
    uint32_t few;  /* up to so many rows go the direct road; at most FG_ACT8_ROWS */
    uint32_t wide; /* bytes of a wide record */
    void (*direct)(const struct fg_direct *);
    /* Returns the place after the records. The first one begins a block of the type. */
    const uint8_t *(*fill)(const uint8_t *packed, uint32_t count, uint8_t *wide);
    void (*panel)(struct fg_panel *);
};

/* The product of fg_kernel_ops.multiply. */
void fg_group_multiply(const struct fg_matrix *, struct fg_group_traits,
                       const struct fg_group_kernel *, const void *act, const struct fg_product *);

/* By type; an entry without `panel` does not exist. Blocks of 32, then blocks of 256. */
#define FG_GROUP_TYPES 40 /* the highest of these types + 1 */
extern const struct fg_group_kernel fg_vnni_block[FG_GROUP_TYPES], fg_vnni_super[FG_GROUP_TYPES];
extern const struct fg_group_kernel fg_avx2_block[FG_GROUP_TYPES], fg_avx2_super[FG_GROUP_TYPES];
extern const struct fg_group_kernel fg_avxvnni_block[FG_GROUP_TYPES],
    fg_avxvnni_super[FG_GROUP_TYPES];

#endif
