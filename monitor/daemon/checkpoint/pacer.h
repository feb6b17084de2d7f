/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When an epoch is to end. Pure: times are handed in, CLOCK_MONOTONIC ns.
 *
 * Output waits for the end of its epoch, and each end stops the guest. So an epoch with output ends
 * after nine times the pause that an end takes (smoothed): then pauses take a tenth of the guest's
 * time. It ends not before epoch-min-ms and not after epoch-ms. An epoch without output delays
 * nothing: its length doubles from one to the next while little is changed in it, up to
 * epoch-max-ms.
 */
#ifndef VMFT_PACER_H
#define VMFT_PACER_H

#include <stdbool.h>
#include <stdint.h>

struct vmft_pacer {
	uint64_t min_ns, normal_ns, max_ns;
	uint64_t began_ns;  /* when the guest ran again after the last end */
	uint64_t length_ns; /* of the epoch under way, if no output comes */
	uint64_t pause_ns;  /* smoothed: how long an end stops the guest */
	bool output;	    /* there is output that waits for the end of this epoch */
};

void vmft_pacer_init(struct vmft_pacer *pacer, uint32_t min_ms, uint32_t normal_ms, uint32_t max_ms,
		     uint64_t now);
/* An epoch was taken and the next one has begun. The end stopped the guest for pause_ns, and bytes
 * were changed in the epoch. */
void vmft_pacer_began(struct vmft_pacer *pacer, uint64_t now, uint64_t pause_ns, uint64_t bytes);
/* When the epoch under way is to end. */
uint64_t vmft_pacer_due(const struct vmft_pacer *pacer);

#endif
