/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The live side: what keeps it from reaching the other hosts, for a person to mend. Each thing is
 * said in the journal when it is new; status has what is so now.
 */
#ifndef VMFT_REACH_H
#define VMFT_REACH_H

#include <stddef.h>

#include "monitor/common/pair-config.h"

struct vmft_monitor;

struct vmft_reach {
	int error[VMFT_HOST_COUNT]; /* why that host was not connected to, last; 0: it was */
	unsigned lost_mtu[VMFT_HOST_COUNT]; /* packets of so many bytes do not get there; 0 */
};

/* The host that is tried is connected to (0), or is not (a negative errno). */
void vmft_reach_note(struct vmft_monitor *m, int error);
/* Looks whether large frames get through on the connection there is. */
void vmft_reach_look(struct vmft_monitor *m);
/* "ADDRESS: why; ...", or "". */
void vmft_reach_describe(const struct vmft_monitor *m, char *text, size_t size);

#endif
