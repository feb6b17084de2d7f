/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the hub does for a hand-over: its world (monitor/daemon/handover). */
#ifndef VMFT_HANDING_OVER_H
#define VMFT_HANDING_OVER_H

struct vmft_monitor;

/* Initialises m->handover. The strategy and the arbiter's worker must be there. */
void vmft_handing_over_init(struct vmft_monitor *m);

#endif
