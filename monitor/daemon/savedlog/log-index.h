/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notes at intervals where an event begins in a ring of log entries, so that the ring can be read
 * from its middle: for the report of a divergence.
 */
#ifndef VMFT_LOG_INDEX_H
#define VMFT_LOG_INDEX_H

#include <stdint.h>
#include <stdio.h>

#include "logging-channel/log-format.h"
#include "logging-channel/ring.h"

#define VMFT_LOG_MARKS 256u

struct vmft_log_index {
	uint64_t mark[VMFT_LOG_MARKS]; /* mark[i % VMFT_LOG_MARKS] is the i-th made */
	uint64_t marks;
};

/* Another log begins, at this position. */
void vmft_log_index_restart(struct vmft_log_index *index, uint64_t position);
/* An event begins at the position, further on than all before. */
void vmft_log_index_note(struct vmft_log_index *index, uint64_t position, uint64_t ring_bytes);

/*
 * Prints the events before and after a position, a line each: position, kind, bytes, and what
 * there is to a kind. The ring has been written up to end.
 */
void vmft_log_index_print(const struct vmft_log_index *index, const struct vmft_log_format *format,
			  const struct vmft_ring *ring, uint64_t end, uint64_t position, FILE *to);

#endif
