/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When an epoch is to end. Pure: times are handed in, CLOCK_MONOTONIC ns.
 *
 * Output waits for the end of its epoch, so an epoch with output is short; each end stops the
 * guest, so it is no shorter than keeps the stops at a tenth of the guest's time, as long as
 * that is no longer than an epoch has by default. An
 * epoch without output costs nobody anything: it doubles from one to the next while
 * little is changed in it.
 */
#ifndef VMFT_PACER_H
#define VMFT_PACER_H

#include <stdbool.h>
#include <stdint.h>

struct vmft_pacer {
	uint64_t min_ns, normal_ns, max_ns;
	uint64_t began_ns;  /* the guest went on */
	uint64_t length_ns; /* of the epoch under way, if no output comes */
	uint64_t pause_ns;  /* smoothed: how long an end stops the guest */
	bool output;	    /* some waits for the end of the epoch under way */
};

void vmft_pacer_init(struct vmft_pacer *pacer, uint32_t min_ms, uint32_t normal_ms, uint32_t max_ms,
		     uint64_t now);
/* An epoch was taken and the next has begun; the end stopped the guest for so long, and found so
 * many bytes changed. */
void vmft_pacer_began(struct vmft_pacer *pacer, uint64_t now, uint64_t pause_ns, uint64_t bytes);
/* When the epoch under way is to end. */
uint64_t vmft_pacer_due(const struct vmft_pacer *pacer);

#endif
