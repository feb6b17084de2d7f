/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The last failover, and the last backup that was lost: for status. Pure bookkeeping. */
#ifndef VMFT_HISTORY_H
#define VMFT_HISTORY_H

#include <stdint.h>

#include "monitor/core/core.h"

/* All zeroes: nothing has happened yet. Times are CLOCK_MONOTONIC ns. */
struct vmft_history {
	uint64_t failovers; /* this side has taken the guest over */
	uint64_t took_over_ns;
	enum vmft_why took_over_why; /* why the primary of then was given up */
	uint64_t backups_lost;	     /* this side has gone on alone */
	uint64_t backup_lost_ns;
	enum vmft_why backup_lost_why;
};

/* The core has stepped from before to now. */
void vmft_history_step(struct vmft_history *history, const struct vmft_core *before,
		       const struct vmft_core *now, uint64_t now_ns);

#endif
