/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Execution lag: how long ago the primary sent what the backup has replayed by now, and
 * how much is sent a second. Pure bookkeeping on times handed in.
 */
#ifndef VMFT_LAG_H
#define VMFT_LAG_H

#include <stdint.h>

#define VMFT_LAG_SAMPLES 1024u
#define VMFT_LAG_STEP_NS 5000000u /* how far samples are apart while there are few */

struct vmft_lag {
	struct {
		uint64_t position, at_ns;
	} sample[VMFT_LAG_SAMPLES];
	unsigned first, count;
	uint64_t replayed_ns;		  /* at_ns of the last sample that was; 0: none was */
	uint64_t step_ns;		  /* 0: VMFT_LAG_STEP_NS */
	uint64_t window_bytes, window_ns; /* where the current second began */
	uint64_t bytes_per_s;
};

/* Log up to position existed at the time. When the samples run out every second one is
 * given up and new ones come half as often: a long lag is measured more coarsely. */
void vmft_lag_sent(struct vmft_lag *lag, uint64_t position, uint64_t now_ns);

/* So many bytes had been sent at the time; keeps bytes_per_s. */
void vmft_lag_rate(struct vmft_lag *lag, uint64_t bytes, uint64_t now_ns);

/* The lag in ms when the peer has replayed up to position and all sent is up to sent. */
uint64_t vmft_lag_ms(struct vmft_lag *lag, uint64_t replayed, uint64_t sent, uint64_t now_ns);

/* How long the guest took at most to log what the peer replays now. Of when vmft_lag_ms() looked.
 */
uint64_t vmft_lag_logged_ns(const struct vmft_lag *lag);

#endif
