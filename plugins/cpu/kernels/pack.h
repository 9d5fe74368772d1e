/*
 * cpu/kernels/pack.h - one group of rows from the file's layout. Private to this folder.
 */
#ifndef FG_CPU_PACK_H
#define FG_CPU_PACK_H

#include "cpu/kernels/group.h"
#include "cpu/kernels/ops.h"

/* `count` rows (16, or fewer at the end of a matrix) into the memory of one group. */
void fg_group_pack(const struct fg_matrix *, struct fg_group_traits, const uint8_t *rows,
                   uint32_t count, uint8_t *group);

#endif
