/*
 * cpu/kernels/vnni.h - what vnni_core.h and vnni_panel.c agree on. Private to those.
 *
 * A wide record is 8 vectors of 8-bit weights (with 128 added unless the type has mins), float
 * d[runs][16], then float m[runs][16] where there are mins.
 */
#ifndef FG_CPU_VNNI_H
#define FG_CPU_VNNI_H

#include "cpu/kernels/panel.h"

#define FG_VNNI_WIDE(runs, mins) (512u + (runs) * ((mins) ? 128u : 64u))

void fg_vnni_panel_1(struct fg_panel *); /* one run a record */
void fg_vnni_panel_1_mins(struct fg_panel *);
void fg_vnni_panel_2(struct fg_panel *);
void fg_vnni_panel_2_mins(struct fg_panel *);

#endif
